//! The console's screens against a running service: grid, jobs, workers and roles, in Chromium
//! (tests/browser/console).

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    harness::{
        clip::Numbered,
        console::Script,
        eventually,
        script::{Behaviour, Ffmpeg},
        stack::Stack,
        worker::Worker,
    },
    worker_lost::tasks,
};

const JOB_DEADLINE: Duration = Duration::from_secs(180);

/// A service with one slot whose encodes behave as given, and an uploaded video of six chunks
/// without a job.
async fn stack(behaviour: Behaviour) -> (Stack, Ffmpeg, String) {
    let mut stack = Stack::new(&[("STREAMING_WORKER_SLOTS", "1")]);
    let script = Ffmpeg::new(stack.beside(), behaviour);
    stack.set("STREAMING_FFMPEG", script.path());
    stack.up().await;
    let video = stack.client().upload_clip(&Numbered::seconds(104).file()).await;
    (stack, script, video)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grid_follows_tasks_survives_a_cut_and_stays_smooth_with_ten_thousand_chunks() {
    let (stack, _script, video) = stack(Behaviour::Slow(4)).await;
    let job = stack.client().transcode(&video, &json!({})).await;
    eventually("the first chunk is done", JOB_DEADLINE, async || {
        let now = stack.client().job(&job).await;
        tasks(&now, "chunk").iter().any(|task| task["state"] == "done").then_some(())
    })
    .await;
    Script::begin("grid.mjs", &stack, &json!({"video": video, "job": job})).finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failed_chunk_is_shown_with_its_attempts_and_retried_alone() {
    // Chunk 2 begins with frame 600: 4 s and 20 s at 25 frames per second.
    let (stack, script, video) = stack(Behaviour::Fail("start_pts=600:")).await;
    let job = stack.client().transcode(&video, &json!({})).await;
    let mut page = Script::begin("retry.mjs", &stack, &json!({"video": video, "job": job}));
    while let Some(question) = page.question().await {
        match question["ask"].as_str() {
            Some("heal") => script.set(Behaviour::Unchanged),
            Some("slow") => script.set(Behaviour::Slow(60)),
            _ => panic!("unknown question: {question}"),
        }
        page.answer(&Value::Null).await;
    }
    page.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn absence_of_workers_is_shown_until_one_connects_and_a_killed_one_is_lost() {
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
    let client = stack.client();
    eventually("the service answers", Duration::from_secs(30), async || {
        let reply = client.try_get("/api/videos").await;
        reply.is_ok_and(|reply| reply.status == 200).then_some(())
    })
    .await;
    // Without a worker the probe waits, and the upload is answered with 202.
    let reply = client.upload(&Numbered::seconds(64).file(), &[]).await.expect(202);
    let video = reply.json()["videoId"].as_str().expect("a video").to_owned();
    let mut page = Script::begin("workers.mjs", &stack, &json!({"video": video}));
    let mut workers: Vec<(String, Worker)> = Vec::new();
    while let Some(question) = page.question().await {
        let name = question["worker"].as_str().unwrap_or_default();
        match question["ask"].as_str() {
            Some("start") => {
                let worker = Worker::start(&stack, &stack.grpc, name).await;
                workers.push((name.to_owned(), worker));
            }
            // Dropping a worker kills it.
            Some("kill") => workers.retain(|(other, _)| other != name),
            Some("encode") => {
                eventually("the probe is done", JOB_DEADLINE, async || {
                    let video = client.get(&format!("/api/videos/{video}")).await.expect(200);
                    (video.json()["state"] == "uploaded").then_some(())
                })
                .await;
                client.transcode(&video, &json!({})).await;
            }
            _ => panic!("unknown question: {question}"),
        }
        page.answer(&Value::Null).await;
    }
    page.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn console_has_exactly_the_rights_of_its_token() {
    let stack = Stack::start().await;
    let clip = Numbered::seconds(6).file();
    let (video, job) = stack.client().publish(&clip, JOB_DEADLINE).await;
    Script::begin("roles.mjs", &stack, &json!({"video": video, "job": job})).finish().await;
}
