//! Times that people notice in the console and the player, in Chromium: with the scripts and the harness of the
//! end-to-end tests, which allow three times as much.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    assert_release,
    harness::{
        capture::resolve,
        client::Client,
        clip::Numbered,
        console::Script,
        driver::{Driver, number},
        eventually, m3u8,
        script::{Behaviour, Ffmpeg},
        stack::Stack,
        worker::Worker,
    },
    report, service,
};

/// For one step, also on a slow machine.
const STEP_DEADLINE: Duration = Duration::from_secs(180);

/// Measures every time in each round, and prints a row for each.
pub(crate) async fn measure(rounds: usize, clip: &Path) {
    let mut times: [Vec<f64>; 5] = Default::default();
    for round in 0..rounds {
        let (resumed, jumped) = at_the_edge().await;
        let found = [first_frame(clip).await, jumped, resumed, cell().await, notice().await];
        eprintln!("pages {round}: {found:.2?} s");
        for (all, time) in times.iter_mut().zip(found) {
            all.push(time);
        }
    }
    let goals = [
        ("first frame after the last byte of an upload", "<= 5 s"),
        ("jump after its position is listed", "<= 2 s"),
        ("playback after a stall, next segment listed", "<= 2 s"),
        ("slowest cell of the grid after its task", "<= 1 s"),
        ("notice gone after a worker connects", "<= 2 s"),
    ];
    let row = |((what, goal), times): ((&str, &str), &Vec<f64>)| {
        report::row(what, format!("{:.2} s", report::median(times)), goal)
    };
    let rows = goals.into_iter().zip(&times).map(row).collect();
    let all = goals.iter().zip(&times).map(|((what, _), times)| ((*what).to_owned(), json!(times)));
    report::write("pages", rows, &[], json!({ "seconds": all.collect::<serde_json::Map<_, _>>() }));
}

/// Runs parts of a console script; answers its questions by `answer`. Returns the value of `key`.
async fn printed(
    (name, parts): (&'static str, &[&str]),
    stack: &Stack,
    mut order: Value,
    key: &str,
    answer: impl AsyncFn(&Value),
) -> Value {
    order["only"] = json!(parts);
    let mut script = Script::begin(name, stack, &order);
    while let Some(question) = script.question().await {
        answer(&question).await;
        script.answer(&Value::Null).await;
    }
    let lines = script.finish().await;
    let found = lines.iter().map(|line| &line[key]).find(|value| !value.is_null());
    found.unwrap_or_else(|| panic!("{name} prints no {key}: {lines:#?}")).clone()
}

/// From the last byte of a file dropped on the console until its first picture is there.
async fn first_frame(clip: &Path) -> f64 {
    let stack = service(&[]).await;
    let parts = ["signIn", "aDroppedFilePlaysInPlaceAndTheNumberShownIsTheMeasuredOne"];
    let order = json!({ "clip": clip });
    let none = async |question: &Value| panic!("unknown question: {question}");
    let time = printed(("upload.mjs", &parts), &stack, order, "firstFrame", none).await;
    time.as_f64().expect("seconds")
}

/// A service with one slot whose encodes behave as given.
async fn slowed(behaviour: Behaviour) -> (Stack, Ffmpeg) {
    assert_release();
    let mut stack =
        Stack::new(&[("STREAMING_WORKER_SLOTS", "1"), ("STREAMING_WORKER_STALL", "10m")]);
    let script = Ffmpeg::new(stack.beside(), behaviour);
    stack.set("STREAMING_FFMPEG", script.path());
    stack.up().await;
    (stack, script)
}

/// The longest time from the end of a task until the console shows its cell as done.
async fn cell() -> f64 {
    let (stack, _script) = slowed(Behaviour::Slow(4)).await;
    let client = stack.client();
    let video = client.upload_clip(&Numbered::seconds(104).file()).await;
    let job = client.transcode(&video, &json!({})).await;
    let order = json!({ "video": video, "job": job });
    let none = async |question: &Value| panic!("unknown question: {question}");
    let delays =
        printed(("grid.mjs", &["aCellFollowsItsTaskInOrder"]), &stack, order, "delays", none);
    let delays = delays.await;
    let delays = delays.as_array().expect("delays").iter().filter_map(Value::as_f64);
    delays.fold(0.0, f64::max) / 1000.0
}

/// From the connection of the first worker until the console's notice is gone.
async fn notice() -> f64 {
    assert_release();
    let mut stack = Stack::new(&[("STREAMING_WORKERS", "0")]);
    stack.launch();
    stack.wait_addresses().await;
    let client = stack.client();
    eventually("the service answers", STEP_DEADLINE, async || {
        let reply = client.try_get("/api/videos").await;
        reply.is_ok_and(|reply| reply.status == 200).then_some(())
    })
    .await;
    // Without a worker the probe waits, and the upload is answered with 202.
    let reply = client.upload(&Numbered::seconds(4).file(), &[]).await.expect(202).json();
    let order = json!({ "video": reply["videoId"] });
    let parts = ["withoutAWorkerANoticeHasTheCommand", "theNoticeDisappearsWithAWorker"];
    let worker = tokio::sync::Mutex::new(None);
    let start = async |_: &Value| {
        *worker.lock().await = Some(Worker::start(&stack, &stack.grpc, "first").await);
    };
    let gone = printed(("workers.mjs", &parts), &stack, order, "gone", start).await;
    gone.as_f64().expect("milliseconds") / 1000.0
}

/// The length of the video that is encoded in parts. Chunks begin at 4 s, 24 s, 44 s and so on.
const SECONDS: u32 = 300;
/// Chunks that begin later are held at first.
const HELD: u32 = 30;
/// Where the first part ends, in seconds.
const EDGE: f64 = 44.0;

/// Seconds from the moment at which a segment is listed until the player goes on: after it has waited
/// at the edge, and after a seek beyond it.
async fn at_the_edge() -> (f64, f64) {
    let (stack, script) = slowed(Behaviour::Until(HELD)).await;
    let clip = Numbered { rate: (10, 1), width: 160, height: 90, ..Numbered::seconds(SECONDS) };
    let (client, viewer) = (stack.client(), stack.anonymous());
    let video = client.upload_clip(&clip.file()).await;
    client.transcode(&video, &json!({})).await;
    wait_listed(&viewer, &video, EDGE).await;
    let mut driver = Driver::start(&stack.http).await;
    driver.open("page", &format!("/watch/{video}?muted=1"), json!({})).await;
    let ready = |state: &Value| number(state, "ready") >= 2.0;
    driver.until("page", "it can play", STEP_DEADLINE, ready).await;
    driver.act("page", "seek", json!({ "to": EDGE - 2.0 })).await;
    driver.act("page", "play", json!({})).await;
    let waits = |state: &Value| state["status"] == "Waiting for the encoder";
    driver.until("page", "playback waits", STEP_DEADLINE, waits).await;
    script.set(Behaviour::Until(HELD + 20));
    let listed = wait_listed(&viewer, &video, EDGE + 1.0).await;
    let on = |state: &Value| number(state, "time") > EDGE + 0.2;
    driver.until("page", "playback goes on", STEP_DEADLINE, on).await;
    let resumed = listed.elapsed().as_secs_f64();
    let target = 0.8 * f64::from(SECONDS);
    driver.act("page", "seek", json!({ "to": target })).await;
    script.set(Behaviour::Unchanged);
    let listed = wait_listed(&viewer, &video, target + 1.0).await;
    let jumped = |state: &Value| number(state, "time") >= target;
    driver.until("page", "playback jumps", STEP_DEADLINE, jumped).await;
    (resumed, listed.elapsed().as_secs_f64())
}

/// Waits until the lowest rung is listed up to `seconds`; returns when that was found.
async fn wait_listed(viewer: &Client, video: &str, seconds: f64) -> Instant {
    let path = format!("/api/stream/{video}/hls/playlist.m3u8");
    eventually("the segments are listed", STEP_DEADLINE, async || {
        let reply = viewer.get(&path).await;
        if reply.status != 200 {
            return None;
        }
        let lowest =
            &m3u8::multivariant(&reply.text()).expect("multivariant playlist").variants[0].1;
        let text = viewer.get(&resolve(&path, lowest)).await.expect(200).text();
        let list = m3u8::media(&text).expect("media playlist");
        let end: f64 = list.segments.iter().map(|segment| segment.duration).sum();
        (end >= seconds).then(Instant::now)
    })
    .await
}
