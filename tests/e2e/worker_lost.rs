//! Jobs complete although workers crash and connections break, with every chunk committed once.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use api::v1::ListWorkersRequest;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::{
    conformance::{Phase, hls},
    harness::{
        capture::Capture,
        clip::Numbered,
        eventually, picture, process,
        proxy::{Mode, Proxy},
        script::{Behaviour, Ffmpeg},
        stack::Stack,
        worker::Worker,
    },
};

const JOB_DEADLINE: Duration = Duration::from_secs(240);
/// From a job's end until the objects that it did not use are deleted.
const SWEEP_DEADLINE: Duration = Duration::from_secs(60);
/// From a worker's start to its connection: twice the time limit of its self-test, and a margin.
const START_DEADLINE: Duration = Duration::from_secs(2 * 20 + 20);

/// Asserts that every chunk of every rendition has exactly one object, and that every frame appears
/// once.
pub(crate) async fn assert_whole(stack: &Stack, video: &str, job: &str, clip: &Numbered) {
    let captured =
        Capture::hls(&stack.anonymous(), &format!("/api/stream/{video}/hls/playlist.m3u8")).await;
    hls::check(&captured, Phase::Final).assert_none("HLS");
    for track in captured.hls_tracks().iter().filter(|track| !track.is_audio()) {
        let found = picture::numbers(&track.write(stack.beside()));
        let expected: Vec<Option<u16>> = (0..clip.frames()).map(|n| Some(n as u16)).collect();
        assert!(found == expected, "{}: frames are missing, double or out of order", track.name);
    }
    // Objects of attempts that were not committed are deleted after the job completes; the sweep
    // may take a moment.
    let start = Instant::now();
    while let Some(duplicates) = duplicates(stack, video, job) {
        assert!(
            start.elapsed() < SWEEP_DEADLINE,
            "chunks with more than one object: {duplicates:?}"
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// The objects of chunks that have more than one; None when no chunk has.
fn duplicates(stack: &Stack, video: &str, job: &str) -> Option<Vec<String>> {
    let prefix = format!("videos/{video}/{job}/");
    let mut chunks: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for key in stack.objects().into_iter().filter(|key| key.starts_with(&prefix)) {
        let (chunk, _) = key.rsplit_once('/').expect("a key has folders");
        chunks.entry(chunk.to_owned()).or_default().push(key);
    }
    assert!(!chunks.is_empty(), "the job has objects");
    let duplicates: Vec<String> =
        chunks.into_values().filter(|keys| keys.len() > 1).flatten().collect();
    (!duplicates.is_empty()).then_some(duplicates)
}

pub(crate) fn tasks<'a>(job: &'a Value, kind: &str) -> Vec<&'a Value> {
    let tasks = job["tasks"].as_array().expect("tasks");
    tasks.iter().filter(|task| task["kind"] == kind).collect()
}

fn attempts(job: &Value) -> u64 {
    job["tasks"].as_array().expect("tasks").iter().filter_map(|task| task["attempt"].as_u64()).sum()
}

/// A stack with slow encodes and a running job; returns once a chunk is done and another is being
/// encoded.
pub(crate) async fn busy(clip: &Numbered, slots: &str) -> (Stack, Ffmpeg, String, String) {
    busy_with(clip, &[("STREAMING_WORKER_SLOTS", slots)]).await
}

/// As [`busy`], with these variables set.
pub(crate) async fn busy_with(
    clip: &Numbered,
    env: &[(&str, &str)],
) -> (Stack, Ffmpeg, String, String) {
    let mut stack = Stack::new(env);
    let script = Ffmpeg::new(stack.beside(), Behaviour::Slow(2));
    stack.set("STREAMING_FFMPEG", script.path());
    stack.up().await;
    let client = stack.client();
    let video = client.upload_clip(&clip.file()).await;
    let job = client.transcode(&video, &json!({})).await;
    eventually("some chunks are done and others under way", JOB_DEADLINE, async || {
        let now = client.job(&job).await;
        let in_state =
            |state: &str| tasks(&now, "chunk").iter().filter(|t| t["state"] == state).count();
        (in_state("done") >= 1 && in_state("leased") >= 1).then_some(())
    })
    .await;
    (stack, script, video, job)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_worker_loses_at_most_the_chunks_in_flight() {
    let clip = Numbered::seconds(84);
    let (stack, _script, video, job) = busy(&clip, "2").await;
    let before = stack.client().job(&job).await;
    let leased = before["tasks"]
        .as_array()
        .expect("tasks")
        .iter()
        .filter(|t| t["state"] == "leased")
        .count();
    let encoders: Vec<i32> = stack.running("ffmpeg").iter().map(|p| p.pid).collect();
    stack.replace("streaming-worker").await;
    let remaining = process::wait_gone(&encoders, Duration::from_secs(2));
    assert!(remaining.is_empty(), "ffmpeg outlives its worker: {remaining:?}");
    let done = stack.client().wait_job(&job, "completed", JOB_DEADLINE).await;
    let total = done["tasks"].as_array().expect("tasks").len() as u64;
    let wasted = attempts(&done) - total;
    // A lease granted between reading the job and the kill counts, too: at most one per slot.
    assert!(
        wasted >= 1 && wasted <= leased.max(2) as u64,
        "{wasted} wasted, {leased} in flight: {done:#}"
    );
    assert_whole(&stack, &video, &job, &clip).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_workers_share_the_chunks_of_one_video() {
    let clip = Numbered::seconds(64);
    let mut stack = Stack::new(&[("STREAMING_WORKER_SLOTS", "1")]);
    let script = Ffmpeg::new(stack.beside(), Behaviour::Slow(1));
    stack.set("STREAMING_FFMPEG", script.path());
    stack.up().await;
    let _second = Worker::start(&stack, &stack.grpc, "second").await;
    // Until the second worker is connected, the first one would encode alone.
    eventually("both workers are connected", START_DEADLINE, async || {
        let listed = stack.rpc().workers().list_workers(ListWorkersRequest {}).await;
        let workers = listed.expect("list workers").into_inner().workers;
        (workers.iter().filter(|worker| worker.connected).count() == 2).then_some(())
    })
    .await;
    let (video, job) = stack.client().publish(&clip.file(), JOB_DEADLINE).await;
    let done = stack.client().job(&job).await;
    let names: BTreeSet<&str> =
        tasks(&done, "chunk").iter().filter_map(|task| task["worker"].as_str()).collect();
    assert_eq!(names.len(), 2, "both workers encode: {done:#}");
    assert_whole(&stack, &video, &job, &clip).await;
}

/// A worker whose connection passes no bytes loses its leases; its later commits are rejected.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn worker_behind_a_silent_link_is_replaced() {
    let clip = Numbered::seconds(64);
    let mut stack = Stack::new(&[
        ("STREAMING_WORKER_SLOTS", "1"),
        ("STREAMING_WORKERS", "0"),
        ("STREAMING_LEASE", "6s"),
        ("STREAMING_HEARTBEAT", "1s"),
    ]);
    let script = Ffmpeg::new(stack.beside(), Behaviour::Slow(3));
    stack.set("STREAMING_FFMPEG", script.path());
    stack.launch();
    stack.wait_addresses().await;
    let proxy = Proxy::to(&stack.grpc).await;
    let far = Worker::start(&stack, &proxy.address, "far").await;
    stack.wait_ready().await;
    let client = stack.client();
    let video = client.upload_clip(&clip.file()).await;
    let job = client.transcode(&video, &json!({})).await;
    eventually("the far worker encodes", JOB_DEADLINE, async || {
        let now = client.job(&job).await;
        tasks(&now, "chunk").iter().any(|t| t["state"] == "leased").then_some(())
    })
    .await;
    proxy.set(Mode::Hold);
    let _near = Worker::start(&stack, &stack.grpc, "near").await;
    eventually("the near worker takes over", Duration::from_secs(60), async || {
        let now = client.job(&job).await;
        tasks(&now, "chunk")
            .iter()
            .any(|t| t["worker"] == "near" && t["attempt"] == 2)
            .then_some(())
    })
    .await;
    proxy.set(Mode::Pass);
    client.wait_job(&job, "completed", JOB_DEADLINE).await;
    assert!(process::alive(far.pid()), "the far worker keeps running");
    assert_whole(&stack, &video, &job, &clip).await;
}

/// A worker that was stopped until its lease had expired resumes and commits: control rejects the
/// commit, and the other worker's result stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn worker_frozen_past_its_lease_cannot_commit() {
    let clip = Numbered::seconds(44);
    let (stack, _script, video, job) = busy(&clip, "1").await;
    let frozen = stack.running("streaming-worker")[0].pid;
    process::send(frozen, Signal::SIGSTOP);
    let _near = Worker::start(&stack, &stack.grpc, "near").await;
    let done = stack.client().wait_job(&job, "completed", JOB_DEADLINE).await;
    process::send(frozen, Signal::SIGCONT);
    let twice = tasks(&done, "chunk").iter().any(|task| task["attempt"].as_u64() > Some(1));
    assert!(twice, "a chunk of the frozen was leased again: {done:#}");
    assert_whole(&stack, &video, &job, &clip).await;
}
