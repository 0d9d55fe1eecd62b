//! FFmpeg's output files are not trusted: truncated and bit-flipped output never becomes part of a
//! video, and the job completes once FFmpeg works again. The `admission` module tests what control
//! rejects.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    harness::{
        clip::Numbered,
        eventually,
        script::{Behaviour, Ffmpeg},
        stack::Stack,
    },
    worker_lost::{assert_whole, tasks},
};

const JOB_DEADLINE: Duration = Duration::from_secs(240);
const CLIP: Numbered = Numbered::seconds(26);

async fn damaged(behaviour: Behaviour) -> (Stack, Ffmpeg, String, String) {
    let mut stack = Stack::new(&[]);
    let script = Ffmpeg::new(stack.beside(), behaviour);
    stack.set("STREAMING_FFMPEG", script.path());
    stack.up().await;
    let client = stack.client();
    let video = client.upload_clip(&CLIP.file()).await;
    let job = client.transcode(&video, &json!({})).await;
    (stack, script, video, job)
}

async fn rejected_then_completes(behaviour: Behaviour) {
    let (stack, script, video, job) = damaged(behaviour).await;
    let client = stack.client();
    eventually("a damaged chunk is rejected and its task retried", JOB_DEADLINE, async || {
        let now = client.job(&job).await;
        let again = |task: &&Value| task["attempt"].as_u64() >= Some(2);
        tasks(&now, "chunk").iter().find(|task| again(task)).map(|_| ())
    })
    .await;
    let manifest = format!("/api/stream/{video}/hls/playlist.m3u8");
    assert_eq!(stack.anonymous().get(&manifest).await.status, 404, "nothing damaged is served");
    script.set(Behaviour::Unchanged);
    client.wait_job(&job, "completed", JOB_DEADLINE).await;
    assert_whole(&stack, &video, &job, &CLIP).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn truncated_encoder_output_is_rejected() {
    rejected_then_completes(Behaviour::Truncate).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bit_flipped_encoder_output_is_rejected() {
    rejected_then_completes(Behaviour::Flip).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn output_damaged_in_every_attempt_fails_the_job_with_a_stable_code() {
    let (stack, _script, video, job) = damaged(Behaviour::Flip).await;
    let failed = stack.client().wait_job(&job, "failed", JOB_DEADLINE).await;
    let code = failed["error"]["code"].as_str().unwrap_or_default();
    let stable = ["output_refused", "admission_refused", "ffmpeg_failed"].contains(&code);
    assert!(stable, "the job's error carries a stable code: {failed:#}");
    let reply = stack.client().get(&format!("/api/videos/{video}")).await.expect(200);
    assert_eq!(reply.json()["state"], "failed", "{}", reply.text());
    let manifest = format!("/api/stream/{video}/hls/playlist.m3u8");
    assert_eq!(stack.anonymous().get(&manifest).await.status, 404, "nothing is served");
}
