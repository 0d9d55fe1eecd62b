//! A finished video needs only a data plane and its store.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::{
    browser::Play, capture::Capture, client::Client, clip, eventually, process, stack::Stack,
};

/// Kills everything except the data plane and `up`, which is stopped first so that it restarts
/// nothing.
async fn kill_everything_but_the_data_plane(stack: &Stack) {
    process::send(stack.up_pid(), Signal::SIGSTOP);
    let doomed = ["streaming-control", "streaming-worker", "postgres", "redis-server"];
    let pids: Vec<i32> =
        doomed.iter().flat_map(|program| stack.running(program)).map(|p| p.pid).collect();
    assert!(pids.len() >= doomed.len(), "all four ran: {pids:?}");
    for pid in &pids {
        process::send(*pid, Signal::SIGKILL);
    }
    let left = process::wait_gone(&pids, Duration::from_secs(5));
    assert!(left.is_empty(), "still running: {left:?}");
}

async fn recovers(stack: &Stack) {
    process::send(stack.up_pid(), Signal::SIGCONT);
    eventually("up restarts the killed programs", Duration::from_secs(60), async || {
        let reply = stack.anonymous().try_get("/health").await.ok()?;
        (reply.status == 200).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn final_video_plays_without_control_postgres_and_redis() {
    let stack = Stack::start().await;
    let (video, _) = stack.client().publish(&clip::real(), Duration::from_secs(180)).await;
    let manifest = format!("/api/stream/{video}/hls/playlist.m3u8");
    Capture::hls(&stack.anonymous(), &manifest).await;
    kill_everything_but_the_data_plane(&stack).await;
    let reply = stack.anonymous().get("/health").await;
    assert_eq!(
        reply.status,
        503,
        "the reply reports that the data plane is not ready: {}",
        reply.text()
    );
    let play = Play {
        player: "hls.js",
        manifest,
        start: None,
        switches: Vec::new(),
        text: None,
        deadline: Duration::from_secs(60),
    };
    play.run(&stack.http).await.assert_clean(30.0);
    // A request that needs a killed component fails immediately, with the service's own error.
    let reply = stack.client().get("/api/videos").await;
    assert_eq!(reply.status, 503, "{}", reply.text());
    assert_eq!(reply.json()["code"], "unavailable");
    recovers(&stack).await;
}

/// A data plane that starts while control is down finds the index in the store.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn final_video_plays_from_a_data_plane_that_never_reached_control() {
    let stack = Stack::start().await;
    let clip = clip::Numbered::seconds(12).file();
    let (video, _) = stack.client().publish(&clip, Duration::from_secs(120)).await;
    kill_everything_but_the_data_plane(&stack).await;
    let addr_file = stack.beside().join("cold.addr");
    let token_file = stack.data().join("run/dataplane.token");
    let log = std::fs::File::create(stack.beside().join("cold.log")).expect("create log");
    let mut cold = stack
        .command("streaming-dataplane")
        .arg("serve")
        .env("STREAMING_CONTROL_URLS", format!("http://{}", stack.grpc))
        .env("STREAMING_STORES", format!("file://{}", stack.store().display()))
        .env("STREAMING_TOKEN_FILE", token_file)
        .env("STREAMING_ADDR_FILE", &addr_file)
        .stderr(log)
        .spawn()
        .expect("start data plane");
    let address = eventually("the cold data plane listens", Duration::from_secs(20), async || {
        let text = std::fs::read_to_string(&addr_file).ok()?;
        (!text.trim().is_empty()).then(|| text.trim().to_owned())
    })
    .await;
    let viewer = Client::new(&address, None);
    let captured = Capture::hls(&viewer, &format!("/api/stream/{video}/hls/playlist.m3u8")).await;
    assert!(!captured.hls_tracks().is_empty(), "the whole video is served");
    cold.kill().expect("kill cold data plane");
    cold.wait().expect("reap cold data plane");
    recovers(&stack).await;
}
