//! Checks docs/troubleshooting.md: each problem that it describes is caused for real, and
//! `/health`, the replies and the logs must show what the page describes.

use std::{
    fs,
    process::{Child, Stdio},
    time::Duration,
};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::harness::{clip::Numbered, eventually, process, program, stack::Stack};

const JOB_DEADLINE: Duration = Duration::from_secs(120);
const DEADLINE: Duration = Duration::from_secs(30);
const UNKNOWN: &str = "00000000-0000-7000-8000-000000000000";

/// Asserts that the page contains `text`.
fn assert_documented(text: &str) {
    let page = fs::read_to_string(program::repository().join("docs/troubleshooting.md"));
    assert!(
        page.expect("read page").contains(text),
        "docs/troubleshooting.md does not contain {text}"
    );
}

/// Waits for a line in the plane's log with this message, which the page must name, and with all of
/// `fields`.
async fn logged(stack: &Stack, plane: &str, message: &str, fields: &[&str]) -> Value {
    assert_documented(message);
    let path = stack.data().join(format!("logs/{plane}.log"));
    eventually(&format!("{plane} logs {message:?} with {fields:?}"), DEADLINE, async || {
        let text = fs::read_to_string(&path).unwrap_or_default();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let matches = |line: &Value| line["message"] == message;
        lines.filter(matches).find(|line| fields.iter().all(|field| !line[*field].is_null()))
    })
    .await
}

/// Waits until `/health` returns 503 and reports `part` as down with `detail`; the page must name
/// the part.
async fn down(stack: &Stack, part: &str, detail: &str) {
    assert_documented(&format!("\"{part}\""));
    eventually(&format!("/health matches that {part} is down"), DEADLINE, async || {
        let reply = stack.anonymous().get("/health").await;
        let document = reply.json();
        let dependency = &document["dependencies"][part];
        (reply.status == 503 && dependency["state"] == "down" && dependency["detail"] == detail)
            .then_some(())
    })
    .await;
}

/// Starts a worker whose token file is missing; its log names the file and that connecting to
/// control needs it.
fn lost_worker(stack: &Stack) -> Child {
    let log = fs::File::create(stack.data().join("logs/lost.log")).expect("create log");
    stack
        .command("streaming-worker")
        .arg("run")
        .env("STREAMING_CONTROL_URLS", format!("http://{}", stack.grpc))
        .env("STREAMING_TOKEN_FILE", stack.beside().join("no-such.token"))
        .stderr(log)
        .stdout(Stdio::null())
        .spawn()
        .expect("start worker")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn problems_have_the_documented_symptoms() {
    let mut stack = Stack::new(&[("STREAMING_WORKERS", "0")]);
    stack.launch();
    stack.wait_addresses().await;
    no_worker(&stack).await;
    assert!(stack.stop().success());

    stack.set("STREAMING_WORKERS", "1");
    stack.up().await;
    let client = stack.client();
    ffmpeg_fails(&stack).await;
    let clip = Numbered::seconds(4).file();
    let (video, job) = client.publish(&clip, JOB_DEADLINE).await;
    no_playback(&stack, &video, &job).await;
    no_database(&stack, &video).await;
    assert_structured(&stack);
}

async fn no_worker(stack: &Stack) {
    assert_documented("no worker is connected");
    down(stack, "workers", "no worker is connected").await;
    let mut worker = lost_worker(stack);
    let line = logged(stack, "lost", "connection to control lost", &["error"]).await;
    let error = line["error"].as_str().unwrap_or_default();
    assert!(error.contains("read token file") && error.contains("no-such.token"), "{line}");
    assert_documented("read token file");
    worker.kill().expect("kill worker");
    worker.wait().expect("reap worker");
}

async fn ffmpeg_fails(stack: &Stack) {
    let mut missing = stack.command("streaming-worker");
    missing
        .arg("run")
        .env("STREAMING_FFMPEG", "/no/ffmpeg")
        .env("STREAMING_CONTROL_URLS", format!("http://{}", stack.grpc))
        .env("STREAMING_TOKEN_FILE", stack.data().join("run/worker.token"));
    let output = missing.output().expect("run worker");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    assert_documented("cannot find the program ffmpeg");
    assert!(text.contains("cannot find the program /no/ffmpeg"), "{text}");

    let file = stack.beside().join("no-video.mp4");
    fs::write(&file, "this is not a video\n".repeat(100)).expect("write file");
    let rejected = stack.client().upload(&file, &[]).await.expect(422).json();
    assert_documented("422 `not_a_video`");
    assert_eq!(rejected["code"], "not_a_video", "{rejected:#}");
    let line = logged(stack, "worker-1", "task failed", &["task.id", "code", "reason"]).await;
    assert_eq!(line["code"], "not_a_video", "{line}");
}

async fn no_playback(stack: &Stack, video: &str, job: &str) {
    let (client, anonymous) = (stack.client(), stack.anonymous());
    let playlist = |video: &str| format!("/api/stream/{video}/hls/playlist.m3u8");
    anonymous.get(&playlist(UNKNOWN)).await.expect(404);
    anonymous.get("/api/videos").await.expect(401);
    let fresh = client.upload_clip(&Numbered::seconds(2).file()).await;
    let early = anonymous.get(&playlist(&fresh)).await.expect(404).json();
    assert_documented("404 `not_found`");
    assert_eq!(early["code"], "not_found", "{early:#}");

    let path = format!("/api/videos/{fresh}/playback-token");
    let token = client.post(&path, &json!({})).await.expect(200).json();
    let token = token["token"].as_str().expect("token");
    let change = |visibility: &str| json!({ "visibility": visibility }).to_string().into();
    let headers = [("content-type", "application/json")];
    let (patch, path) = (hyper::Method::PATCH, format!("/api/videos/{video}"));
    client.send(patch.clone(), &path, &headers, change("private")).await.expect("send").expect(200);
    anonymous.get(&playlist(video)).await.expect(404);
    anonymous.get(&format!("{}?token={token}", playlist(video))).await.expect(403);
    client.send(patch, &path, &headers, change("public")).await.expect("send").expect(200);

    // An operator has deleted objects from the store by mistake.
    for key in stack.objects().iter().filter(|key| key.contains(job) && key.contains("360p")) {
        fs::remove_file(stack.store().join(key)).expect("remove object");
    }
    anonymous.get(&format!("/api/stream/{video}/{job}/360p/h0.m4s")).await.expect(404);
    logged(
        stack,
        "dataplane",
        "failed to read an object: it is missing or short",
        &["video.id", "object.key"],
    )
    .await;
    assert_documented("streaming_service_missing_objects_total");
    let page = anonymous.get("/metrics").await.expect(200).text();
    let counted =
        page.lines().find(|line| line.starts_with("streaming_service_missing_objects_total"));
    assert!(counted.is_some_and(|line| !line.ends_with(" 0")), "{counted:?}");
}

/// Kills the database and Redis while `up` is stopped and cannot restart them.
async fn no_database(stack: &Stack, video: &str) {
    process::send(stack.up_pid(), Signal::SIGSTOP);
    for program in ["postgres", "redis-server"] {
        let pids: Vec<i32> = stack.running(program).iter().map(|process| process.pid).collect();
        pids.iter().for_each(|pid| process::send(*pid, Signal::SIGKILL));
        assert!(!pids.is_empty() && process::wait_gone(&pids, DEADLINE).is_empty(), "{program}");
    }
    assert_documented("the database is not reachable");
    down(stack, "postgres", "the database is not reachable").await;
    down(stack, "redis", "redis is not reachable").await;
    let rejected = stack.client().get("/api/videos").await.expect(503).json();
    assert_eq!(rejected["code"], "unavailable", "{rejected:#}");
    stack.anonymous().get(&format!("/api/stream/{video}/hls/playlist.m3u8")).await.expect(200);
    logged(stack, "control", "background task failed, retrying", &["cause"]).await;
    process::send(stack.up_pid(), Signal::SIGCONT);
    eventually("the service recovers", Duration::from_secs(60), async || {
        let reply = stack.anonymous().try_get("/health").await.ok()?;
        (reply.status == 200).then_some(())
    })
    .await;
}

/// Every log line of the planes is JSON without duplicate fields.
fn assert_structured(stack: &Stack) {
    for plane in ["control", "dataplane", "worker-1", "lost"] {
        let path = stack.data().join(format!("logs/{plane}.log"));
        for line in fs::read_to_string(path).expect("read log").lines() {
            let document: Value =
                serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
            let fields = document.as_object().expect("object");
            for name in fields.keys() {
                assert_eq!(line.matches(&format!("\"{name}\":")).count(), 1, "{name} in {line}");
            }
        }
    }
}
