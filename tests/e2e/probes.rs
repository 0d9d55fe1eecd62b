//! Hosts on which probes fail: no valid upload is lost, an invalid file makes no worker permanently
//! unhealthy, and a wrongly rejected source can be probed again.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Child,
    time::Duration,
};

use bytes::Bytes;
use futures::future::join_all;
use hyper::Method;
use serde_json::json;

use crate::harness::{client::Client, clip::Numbered, eventually, stack::Stack};

const SOON: Duration = Duration::from_secs(30);
const WORKING: &str = "exec ffprobe \"$@\"";
const INVALID: &str = "echo '[error] x: Invalid data found when processing input' >&2; exit 1";

/// A stand-in for ffprobe at a fixed path; it always handles `-version`.
struct Ffprobe(PathBuf);

impl Ffprobe {
    /// Writes the script to a folder of its own below `dir`, because the sandbox lets ffprobe read
    /// the folder of its executable.
    fn new(dir: &Path, name: &str, act: &str) -> Self {
        let dir = dir.join(name);
        fs::create_dir(&dir).expect("make folder");
        let script = Self(dir.join("ffprobe"));
        script.set(act);
        script
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("UTF-8 path")
    }

    /// Sets the shell commands of the next run.
    fn set(&self, act: &str) {
        let draft = self.0.with_extension("draft");
        let version = "[[ \" $* \" == *' -version '* ]] && exec ffprobe \"$@\"";
        fs::write(&draft, format!("#!/bin/bash\n{version}\n{act}\n")).expect("write script");
        fs::set_permissions(&draft, fs::Permissions::from_mode(0o755)).expect("make executable");
        fs::rename(&draft, &self.0).expect("replace script");
    }
}

/// Runs `act` for every file except the workers' built-in sample, which the real ffprobe reads.
fn except_for_the_sample(act: &str) -> String {
    format!("[[ \" $* \" == *sample.mp4* ]] && exec ffprobe \"$@\"\n{act}")
}

/// A service with one worker whose ffprobe runs `act`; probes are retried after 200 ms.
async fn stack(act: &str) -> (Stack, Ffprobe) {
    let mut stack = Stack::new(&[
        ("STREAMING_WORKERS", "1"),
        ("STREAMING_WORKER_SAMPLE_RETRY", "200ms"),
        ("STREAMING_PROBE_RETRY", "200ms"),
    ]);
    let ffprobe = Ffprobe::new(stack.beside(), "stand-in", act);
    stack.set("STREAMING_FFPROBE", ffprobe.path());
    stack.up().await;
    (stack, ffprobe)
}

/// The reasons why connected workers cannot probe; empty when all of them can.
async fn probe_errors(stack: &Stack) -> Vec<String> {
    let listed = stack.rpc().workers().list_workers(api::v1::ListWorkersRequest {}).await;
    let workers = listed.expect("list workers").into_inner().workers;
    let probe_errors =
        workers.into_iter().filter(|worker| worker.connected).map(|w| w.probe_trouble);
    probe_errors.filter(|error| !error.is_empty()).collect()
}

async fn state(client: &Client, video: &str) -> String {
    let video = client.get(&format!("/api/videos/{video}")).await.expect(200).json();
    video["state"].as_str().expect("state").to_owned()
}

async fn reaches_state(client: &Client, video: &str, wanted: &str) {
    eventually(wanted, SOON, async || (state(client, video).await == wanted).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_valid_upload_survives_every_fault_of_the_only_host() {
    let (stack, ffprobe) = stack(WORKING).await;
    let client = stack.client();
    let clip = Numbered::seconds(6).file();
    for fault in [
        "kill -KILL $$",
        "kill -SEGV $$",
        "exit 127",
        "exit 1",
        "echo '[error] x: Input/output error' >&2; exit 1",
    ] {
        ffprobe.set(fault);
        let upload = client.upload(&clip, &[]);
        let repaired = async {
            eventually("the worker is unhealthy", SOON, async || {
                (!probe_errors(&stack).await.is_empty()).then_some(())
            })
            .await;
            ffprobe.set(WORKING);
        };
        let (reply, ()) = tokio::join!(upload, repaired);
        let stored = reply.expect(201).json();
        assert_eq!(stored["metadata"]["height"], 360, "{fault}: {stored:#}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_a_host_fails_to_probe_is_accepted_and_probed_after_the_repair() {
    let (stack, ffprobe) = stack("kill -KILL $$").await;
    let client = stack.client();
    let clip = Numbered::seconds(6).file();
    let bytes = Bytes::from(fs::read(&clip).expect("read clip"));
    let length = bytes.len().to_string();
    let headers = [
        ("tus-resumable", "1.0.0"),
        ("upload-length", length.as_str()),
        ("content-type", "application/offset+octet-stream"),
    ];
    let sent = client.send(Method::POST, "/api/uploads", &headers, bytes).await.expect("POST");
    let resumable = sent.expect(201).header("video-id").to_owned();
    let reply = client.upload(&clip, &[]).await.expect(202);
    let accepted = reply.json();
    assert_eq!(accepted["state"], "probing", "{accepted:#}");
    let form = accepted["videoId"].as_str().expect("videoId").to_owned();
    assert!(!probe_errors(&stack).await.is_empty());
    for video in [&resumable, &form] {
        assert_eq!(state(&client, video).await, "probing");
        assert!(stack.objects().contains(&format!("videos/{video}/source")));
    }
    ffprobe.set(WORKING);
    for video in [&resumable, &form] {
        reaches_state(&client, video, "uploaded").await;
    }
}

/// A second worker beside the stack's own; killed on drop.
struct SecondWorker(Child);

impl SecondWorker {
    async fn start(stack: &Stack, ffprobe: &Ffprobe) -> Self {
        let child = stack
            .command("streaming-worker")
            .arg("run")
            .env("STREAMING_CONTROL_URLS", format!("http://{}", stack.grpc))
            .env("STREAMING_TOKEN_FILE", stack.data().join("run/worker.token"))
            .env("STREAMING_WORKER_NAME", "second")
            .env("STREAMING_FFPROBE", ffprobe.path())
            .spawn();
        let second = Self(child.expect("start worker"));
        eventually("the second worker is connected", SOON, async || {
            let listed = stack.rpc().workers().list_workers(api::v1::ListWorkersRequest {}).await;
            let workers = listed.expect("list workers").into_inner().workers;
            workers.iter().any(|w| w.connected && w.name == "second").then_some(())
        })
        .await;
        second
    }
}

impl Drop for SecondWorker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_worker_beside_a_working_one_rejects_no_upload() {
    let (stack, _ffprobe) = stack(WORKING).await;
    let client = stack.client();
    let clip = Numbered::seconds(6).file();
    for (number, act) in [
        "kill -KILL $$".to_owned(),
        except_for_the_sample("exit 127"),
        except_for_the_sample(INVALID),
    ]
    .into_iter()
    .enumerate()
    {
        let broken = Ffprobe::new(stack.beside(), &format!("broken-{number}"), &act);
        let _second = SecondWorker::start(&stack, &broken).await;
        let uploads = (0..4).map(|_| client.upload(&clip, &[]));
        for reply in join_all(uploads).await {
            let stored = reply.expect(201).json();
            assert_eq!(stored["metadata"]["height"], 360, "{act}: {stored:#}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrongly_rejected_source_can_be_probed_again() {
    let (stack, ffprobe) = stack(&except_for_the_sample(INVALID)).await;
    let client = stack.client();
    let rejected = client.upload(&Numbered::seconds(6).file(), &[]).await;
    assert_eq!(rejected.status, 422, "{}", rejected.text());
    let problem = rejected.json();
    assert_eq!(problem["code"], "not_a_video");
    let video = problem["videoId"].as_str().expect("videoId").to_owned();
    let source = format!("videos/{video}/source");
    assert!(stack.objects().contains(&source));
    assert_eq!(state(&client, &video).await, "failed");
    let probe = format!("/api/videos/{video}/probe");
    let editor = client.with_token(&stack.rpc().mint("editor").await);
    let viewer = client.with_token(&stack.rpc().mint("viewer").await);
    viewer.post(&probe, &json!({})).await.expect(403);
    stack.anonymous().post(&probe, &json!({})).await.expect(401);
    let again = editor.post(&probe, &json!({})).await.expect(202).json();
    assert_eq!(again, json!({"videoId": video, "state": "probing"}));
    reaches_state(&client, &video, "failed").await;
    ffprobe.set(WORKING);
    let output = stack.command("streaming-service").args(["videos", "probe", &video]).output();
    let output = output.expect("run command");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    reaches_state(&client, &video, "uploaded").await;
    editor.post(&probe, &json!({})).await.expect(409);
    // A rejected source is deleted immediately when its owner deletes the video.
    let junk = stack.beside().join("junk.mp4");
    fs::write(&junk, "not a video".repeat(1000)).expect("write junk");
    let problem = client.upload(&junk, &[]).await.expect(422).json();
    let video = problem["videoId"].as_str().expect("videoId").to_owned();
    let source = format!("videos/{video}/source");
    assert!(stack.objects().contains(&source));
    let path = format!("/api/videos/{video}");
    client.send(Method::DELETE, &path, &[], Bytes::new()).await.expect("DELETE").expect(204);
    eventually("its source is deleted", SOON, async || {
        (!stack.objects().contains(&source)).then_some(())
    })
    .await;
}
