//! Jobs as users see them: progress, cancelling, retrying, watching, and deleting a video while its
//! job runs.

use std::time::{Duration, Instant};

use api::v1::{JobState, WatchJobRequest};
use bytes::Bytes;
use hyper::Method;
use serde_json::json;

use crate::{
    harness::{
        clip::Numbered,
        eventually,
        script::{Behaviour, Ffmpeg},
        stack::Stack,
    },
    worker_lost::{assert_whole, busy_with},
};

const JOB_DEADLINE: Duration = Duration::from_secs(180);
/// Lease in tests that wait for a sweep; with the default lease they would wait for 30 s.
const LEASE_SECONDS: u64 = 6;
/// From the end of a job or the deletion of a video until control deletes objects that its leases
/// may still have written.
const SWEEP_SECONDS: u64 = 2 * LEASE_SECONDS;
/// Twice [`SWEEP_SECONDS`], and a margin for a busy machine.
const SWEEP_DEADLINE: Duration = Duration::from_secs(2 * SWEEP_SECONDS + 10);

/// A stack with one slot and short leases, so that its sweeps run soon.
async fn busy_and_soon_swept(clip: &Numbered) -> (Stack, Ffmpeg, String, String) {
    let lease = format!("{LEASE_SECONDS}s");
    let slots = ("STREAMING_WORKER_SLOTS", "1");
    let env = [slots, ("STREAMING_LEASE", &lease), ("STREAMING_HEARTBEAT", "1s")];
    busy_with(clip, &env).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancel_stops_ffmpeg_and_removes_objects_and_retry_finishes() {
    let clip = Numbered::seconds(64);
    let (stack, script, video, job) = busy_and_soon_swept(&clip).await;
    script.set(Behaviour::Slow(60));
    eventually("a long encode is under way", JOB_DEADLINE, async || {
        (!stack.running("sleep").is_empty() || !stack.running("ffmpeg").is_empty()).then_some(())
    })
    .await;
    let client = stack.client();
    let cancelled =
        client.send(Method::DELETE, &format!("/api/jobs/{job}"), &[], Bytes::new()).await;
    cancelled.expect("cancel").expect(202);
    let start = Instant::now();
    client.wait_job(&job, "cancelled", Duration::from_secs(5)).await;
    eventually("no encoder is left", Duration::from_secs(5), async || {
        let running =
            [stack.running("ffmpeg"), stack.running("bash"), stack.running("sleep")].concat();
        running.is_empty().then_some(())
    })
    .await;
    assert!(start.elapsed() < Duration::from_secs(8), "cancelling took {:?}", start.elapsed());
    eventually("the job's objects are deleted", SWEEP_DEADLINE, async || {
        let prefix = format!("videos/{video}/{job}/");
        (!stack.objects().iter().any(|key| key.starts_with(&prefix))).then_some(())
    })
    .await;
    script.set(Behaviour::Unchanged);
    client.post(&format!("/api/jobs/{job}/retry"), &json!({})).await.expect(202);
    client.wait_job(&job, "completed", JOB_DEADLINE).await;
    assert_whole(&stack, &video, &job, &clip).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watching_shows_every_stage_and_ends_with_the_job() {
    // Large enough that encoding a chunk takes several heartbeats.
    let clip = Numbered { width: 1280, height: 720, ..Numbered::seconds(24) };
    let (stack, _script, video, job) = busy_and_soon_swept(&clip).await;
    let request = WatchJobRequest { job_id: job.clone() };
    let mut updates = stack.rpc().jobs().watch_job(request).await.expect("watch").into_inner();
    let mut seen = Vec::new();
    while let Some(update) = updates.message().await.expect("update") {
        assert_eq!(update.video_id, video);
        seen.push(update);
    }
    assert!(seen.len() >= 3, "{} updates only", seen.len());
    assert_eq!(seen[0].state(), JobState::Running, "the current state is sent at once");
    let last = seen.last().expect("an update");
    assert_eq!((last.state(), last.progress.round()), (JobState::Completed, 100.0));
    let backwards = seen.windows(2).any(|pair| pair[1].progress + 1e-6 < pair[0].progress);
    assert!(
        !backwards,
        "progress went back: {:?}",
        seen.iter().map(|u| u.progress).collect::<Vec<_>>()
    );
    assert!(seen.iter().any(|update| update.eta_seconds.is_some()), "an estimate was given");
    assert!(seen.iter().any(|update| update.speed > 0.0), "a speed was given");
    assert!(!last.preset.is_empty() && last.profiles == ["360p", "480p", "720p"], "{last:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleting_a_video_during_its_transcode_removes_all_objects() {
    let (stack, _script, video, job) = busy_and_soon_swept(&Numbered::seconds(44)).await;
    let client = stack.client();
    let path = format!("/api/videos/{video}");
    client.send(Method::DELETE, &path, &[], Bytes::new()).await.expect("DELETE").expect(204);
    assert_eq!(client.get(&path).await.status, 404);
    assert_eq!(client.get(&format!("/api/jobs/{job}")).await.status, 404);
    let manifest = format!("/api/stream/{video}/hls/playlist.m3u8");
    eventually("the playlist is 404", Duration::from_secs(5), async || {
        (stack.anonymous().get(&manifest).await.status == 404).then_some(())
    })
    .await;
    eventually("none of the video's objects are stored", SWEEP_DEADLINE, async || {
        (!stack.objects().iter().any(|key| key.contains(&video))).then_some(())
    })
    .await;
}

/// A second job replaces the output without a gap: the old version is served until the new one is
/// complete.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn video_keeps_playing_while_it_is_transcoded_again() {
    let mut stack = Stack::new(&[]);
    let script = Ffmpeg::new(stack.beside(), Behaviour::Unchanged);
    stack.set("STREAMING_FFMPEG", script.path());
    stack.up().await;
    let clip = Numbered { width: 854, height: 480, ..Numbered::seconds(8) };
    let client = stack.client();
    let (video, first) = client.publish(&clip.file(), JOB_DEADLINE).await;
    script.set(Behaviour::Slow(2));
    let second = client.transcode(&video, &json!({"profiles": ["360p"]})).await;
    let manifest = format!("/api/stream/{video}/hls/playlist.m3u8");
    let served = eventually("the second job ends", JOB_DEADLINE, async || {
        let text = stack.anonymous().get(&manifest).await.expect(200).text();
        let old = text.contains(&first) && !text.contains(&second);
        let new = text.contains(&second) && !text.contains(&first);
        assert!(old || new, "the playlist mixes versions:\n{text}");
        new.then_some(text)
    })
    .await;
    assert!(served.contains("640x360") && !served.contains("854x480"), "{served}");
    client.wait_job(&second, "completed", Duration::from_secs(10)).await;
    // Sessions that have loaded the old playlist can play to the end.
    let old = format!("/api/stream/{video}/{first}/480p/h0.m4s");
    assert_eq!(
        stack.anonymous().get(&old).await.status,
        200,
        "segments of the old version are still served"
    );
}
