//! Lists over both planes: filters and pages over REST, workers and their drain, the system's
//! figures, and jobs that uploads ask for.

use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::Method;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::harness::{client::Client, clip::Numbered, eventually, stack::Stack};

const JOB_DEADLINE: Duration = Duration::from_secs(180);
/// From a worker's start to its connection: twice the time limit of its self-test, and a margin.
const START_DEADLINE: Duration = Duration::from_secs(2 * 20 + 20);
/// From the end of a worker's process until control sees the end of its connection.
const LOST_DEADLINE: Duration = Duration::from_secs(15);

fn titles(page: &Value) -> Vec<&str> {
    let videos = page["videos"].as_array().expect("videos");
    videos.iter().map(|video| video["title"].as_str().expect("title")).collect()
}

async fn workers(client: &Client) -> Vec<Value> {
    let listed = client.get("/api/workers").await.expect(200).json();
    listed["workers"].as_array().expect("workers").clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_asks_for_a_job_plays_without_another_request() {
    let stack = Stack::start().await;
    let client = stack.client();
    let clip = Numbered::seconds(6);
    let before = Instant::now();
    let fields = [("title", "100% done"), ("transcode", "auto")];
    let uploaded = client.upload(&clip.file(), &fields).await.expect(201).json();
    let (video, job) = (uploaded["videoId"].as_str(), uploaded["jobId"].as_str());
    let (video, job) = (video.expect("videoId").to_owned(), job.expect("jobId").to_owned());
    client.wait_job(&job, "completed", JOB_DEADLINE).await;
    let shown = client.get(&format!("/api/videos/{video}")).await.expect(200).json();
    assert_eq!((&shown["state"], &shown["jobId"]), (&json!("ready"), &json!(job)));
    assert!(shown["poster"].is_string(), "{shown}");
    let seconds = shown["playableSeconds"].as_f64().expect("playableSeconds");
    assert!(seconds > 0.0 && seconds < before.elapsed().as_secs_f64(), "{seconds}");
    let found = client.get("/api/videos?q=0%25%20D&state=ready&sort=title").await.expect(200);
    assert_eq!(titles(&found.json()), ["100% done"]);
    assert!(titles(&client.get("/api/videos?q=0_%20D").await.expect(200).json()).is_empty());
    let jobs = client.get(&format!("/api/jobs?videoId={video}&state=completed")).await.expect(200);
    let jobs = jobs.json();
    assert_eq!(jobs["jobs"].as_array().map(Vec::len), Some(1));
    assert_eq!(jobs["jobs"][0]["queuePosition"], Value::Null);
    let system = client.get("/api/system").await.expect(200).json();
    assert_eq!(system["dependencies"]["workers"]["state"], "ok", "{system}");
    assert_eq!(system["queueDepth"], 0);
    assert_eq!(system["playableSeconds"], json!({ "p50": seconds, "p95": seconds }));
    client.upload(&clip.file(), &[("transcode", "later")]).await.expect(422);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_worker_is_lost_and_a_drained_one_leaves_the_list() {
    let stack = Stack::start().await;
    let client = stack.client();
    let listed = workers(&client).await;
    let version = json!(env!("CARGO_PKG_VERSION"));
    assert_eq!((&listed[0]["state"], &listed[0]["version"]), (&json!("connected"), &version));
    let state = async |id: &Value| {
        let listed = workers(&client).await;
        listed.into_iter().find(|worker| worker["id"] == *id).map(|worker| worker["state"].clone())
    };
    let lost = listed[0]["id"].clone();
    stack.signal("streaming-worker", Signal::SIGKILL);
    eventually("the worker is lost", LOST_DEADLINE, async || {
        (state(&lost).await? == "lost").then_some(())
    })
    .await;
    // `up` starts another one.
    let next = eventually("another worker connects", START_DEADLINE, async || {
        let listed = workers(&client).await;
        let found = listed.iter().find(|worker| worker["state"] == "connected")?;
        Some(found["id"].clone())
    })
    .await;
    assert_eq!(state(&lost).await, Some(json!("lost")));
    let drain = format!("/api/workers/{}/drain", next.as_str().expect("id"));
    client.send(Method::POST, &drain, &[], Bytes::new()).await.expect("send").expect(202);
    eventually("the drained worker leaves the list", LOST_DEADLINE, async || {
        state(&next).await.is_none().then_some(())
    })
    .await;
    let unknown = "/api/workers/01936b2e-7c1a-7d33-8b0e-000000000001/drain";
    client.send(Method::POST, unknown, &[], Bytes::new()).await.expect("send").expect(404);
}
