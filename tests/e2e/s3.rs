//! Videos in S3: spread over buckets, played and deleted; adding a bucket; a store that becomes
//! unavailable and recovers; and no store credentials in workers or logs.

use std::{fs, time::Duration};

use bytes::Bytes;
use hyper::Method;
use serde_json::{Value, json};

use crate::{
    conformance::{Phase, dash, hls},
    harness::{
        CHANGE_DEADLINE, capture::Capture, client::Client, clip::Numbered, eventually,
        flaky::Flaky, minio::Minio, picture, process, stack::Stack,
    },
};

const JOB_DEADLINE: Duration = Duration::from_secs(180);
/// The longest time for which the service retries a single request to a store.
const RETRY_TIME_MAX: Duration = Duration::from_secs(12);
/// Within this time a task must have repeated a request for longer than that.
const OUTAGE_DEADLINE: Duration = Duration::from_secs(90);
/// Uploads after which each of two buckets must contain a video: the probability that one bucket
/// has all is 2^-15.
const UPLOADS_MAX: usize = 16;

/// The buckets that contain a video's objects.
fn bucket<'a>(minio: &Minio, buckets: &[&'a str], video: &str) -> Vec<&'a str> {
    let holds = |name: &&&str| minio.objects(name).iter().any(|key| key.contains(video));
    buckets.iter().filter(holds).copied().collect()
}

/// Checks both manifests and every byte that they list.
async fn plays(viewer: &Client, video: &str) {
    let captured = Capture::hls(viewer, &format!("/api/stream/{video}/hls/playlist.m3u8")).await;
    hls::check(&captured, Phase::Final).assert_none("HLS");
    let manifest = format!("/api/stream/{video}/dash/manifest.mpd");
    let mpd = super::growing::settled_dash(viewer, &manifest).await;
    dash::check(&mpd, Phase::Final).assert_none("DASH");
}

/// Asserts that neither a worker nor a process that it started has a store's credentials, and that
/// no log contains the secret key or a signature.
fn assert_keys_are_kept(stack: &Stack, minio: &Minio) {
    let mut workers = stack.running("streaming-worker");
    assert!(!workers.is_empty());
    for worker in workers.clone() {
        workers.extend(process::descendants(worker.pid));
    }
    for worker in workers {
        let environment = fs::read(format!("/proc/{}/environ", worker.pid)).unwrap_or_default();
        let environment = String::from_utf8_lossy(&environment);
        for found in ["AWS_", "STREAMING_STORES", minio.secret(), "X-Amz-"] {
            assert!(
                !environment.contains(found),
                "{} has {found} in its environment",
                worker.program
            );
            assert!(
                !worker.command.contains(found),
                "{} has {found} in its arguments",
                worker.program
            );
        }
    }
    for entry in fs::read_dir(stack.data().join("logs")).expect("logs").flatten() {
        let text = fs::read(entry.path()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        for found in [minio.secret(), "X-Amz-"] {
            assert!(!text.contains(found), "{} holds {found}", entry.path().display());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn videos_are_spread_over_two_buckets_and_a_third_moves_no_objects() {
    let mut minio = Minio::start(&["videos-a", "videos-b"]);
    let mut buckets = vec!["videos-a", "videos-b"];
    let mut stack = Stack::start_on(&minio, &[]).await;
    let health = stack.anonymous().get("/health").await.expect(200).json();
    assert_eq!(health["dependencies"]["store"]["state"], "ok", "{health:#}");
    let client = stack.client();
    // The file's `moov` box is at the end, so that a reader must seek.
    let clip = Numbered::seconds(26).file();

    // One video in each bucket, with all its objects in that bucket.
    let mut placed: Vec<(String, String)> = Vec::new();
    for _ in 0..UPLOADS_MAX {
        let video = client.upload_clip(&clip).await;
        let place = bucket(&minio, &buckets, &video);
        assert_eq!(place.len(), 1, "all objects of a video lie in one bucket");
        if placed.iter().all(|(_, other)| other != place[0]) {
            let request = json!({"profiles": ["360p"]});
            let job = client.transcode(&video, &request).await;
            client.wait_job(&job, "completed", JOB_DEADLINE).await;
            assert_keys_are_kept(&stack, &minio);
            assert_eq!(bucket(&minio, &buckets, &video), place, "all objects lie in one bucket");
            plays(&stack.anonymous(), &video).await;
            placed.push((video, place[0].to_owned()));
        }
        if placed.len() == buckets.len() {
            break;
        }
    }
    assert_eq!(placed.len(), 2, "both buckets have their share");
    let keys = minio.objects("videos-a");
    assert!(keys.contains(&"keys/public.json".to_owned()), "{keys:?}");

    // Adding a third bucket moves no object; all videos still play, and the bucket gets a share of
    // new uploads.
    let before: Vec<Vec<String>> = buckets.iter().map(|name| minio.objects(name)).collect();
    assert!(stack.stop().success());
    minio.add_bucket("videos-c");
    stack.set_stores(&minio);
    stack.up().await;
    for (video, _) in &placed {
        plays(&stack.anonymous(), video).await;
    }
    let media = |keys: Vec<String>| -> Vec<String> {
        keys.into_iter().filter(|key| key.starts_with("videos/")).collect()
    };
    for (name, before) in buckets.iter().zip(before) {
        assert_eq!(media(minio.objects(name)), media(before), "{name}");
    }
    buckets.push("videos-c");
    eventually("the new bucket gets a video", JOB_DEADLINE, async || {
        let video = stack.client().upload_clip(&Numbered::seconds(2).file()).await;
        (bucket(&minio, &buckets, &video) == ["videos-c"]).then_some(())
    })
    .await;

    // Deleting a video deletes all its objects.
    for (video, place) in &placed {
        let path = format!("/api/videos/{video}");
        let deleted = stack.client().send(Method::DELETE, &path, &[], Bytes::new()).await;
        deleted.expect("DELETE").expect(204);
        eventually("none of the video's objects are stored", Duration::from_secs(60), async || {
            (!minio.objects(place).iter().any(|key| key.contains(video))).then_some(())
        })
        .await;
    }
}

fn attempts(job: &Value) -> Vec<u64> {
    let tasks = job["tasks"].as_array().expect("tasks");
    tasks.iter().filter_map(|task| task["attempt"].as_u64()).collect()
}

/// From the upload to the last image, a third of all calls to the store fail, and for a while the
/// store is unreachable for longer than requests are retried. No data is lost, and no task is
/// charged an attempt.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_and_then_unreachable_store_only_delays_work() {
    let mut minio = Minio::start(&["videos"]);
    let flaky = Flaky::to(&minio.address).await;
    // Presigned URLs that expire while the store is unreachable are replaced.
    let mut stack = Stack::new(&[("STREAMING_URL_LIFETIME", "5s")]);
    stack.set_stores(&minio);
    stack.set("AWS_ENDPOINT_URL", &format!("http://{}", flaky.address));
    stack.up().await;
    flaky.fail(30);
    let client = stack.client();
    let clip = Numbered { width: 854, height: 480, ..Numbered::seconds(64) };
    let video = client.upload_clip(&clip.file()).await;
    let request = json!({"generateThumbnails": true, "generatePreview": true});
    let job = client.transcode(&video, &request).await;
    let manifest = format!("/api/stream/{video}/hls/playlist.m3u8");
    eventually("the video becomes playable", JOB_DEADLINE, async || {
        (stack.anonymous().get(&manifest).await.status == 200).then_some(())
    })
    .await;
    minio.stop();
    eventually("health names the store", Duration::from_secs(20), async || {
        let reply = stack.anonymous().get("/health").await;
        (reply.status == 503 && reply.json()["dependencies"]["store"]["state"] == "down")
            .then_some(())
    })
    .await;
    eventually("a request is repeated after its retries have ended", OUTAGE_DEADLINE, async || {
        (flaky.unreachable_for(&video) > RETRY_TIME_MAX).then_some(())
    })
    .await;
    let now = client.job(&job).await;
    assert!(now["error"].is_null() && now["state"] == "running", "{now:#}");
    minio.start_again();
    let ended = client.wait_job(&job, "completed", JOB_DEADLINE).await;
    assert!(attempts(&ended).iter().all(|attempt| *attempt <= 1), "{ended:#}");
    assert!(flaky.failed() > 20, "{} requests failed", flaky.failed());
    flaky.fail(0);
    // The data plane has cached the index of the growing video. Control writes the final index to
    // the store before it sends the change.
    eventually("the final playlist is served", CHANGE_DEADLINE, async || {
        let text = stack.anonymous().get(&manifest).await.expect(200).text();
        text.contains("vod.m3u8").then_some(())
    })
    .await;
    let pictures = client.get(&format!("/api/videos/{video}")).await.expect(200).json();
    assert!(pictures["poster"].is_string() && pictures["preview"].is_string(), "{pictures:#}");
    let captured = Capture::hls(&stack.anonymous(), &manifest).await;
    hls::check(&captured, Phase::Final).assert_none("HLS");
    for track in captured.hls_tracks().iter().filter(|track| !track.is_audio()) {
        let found = picture::numbers(&track.write(stack.beside()));
        let expected: Vec<Option<u16>> = (0..clip.frames()).map(|n| Some(n as u16)).collect();
        assert!(found == expected, "{}: frames are missing, double or out of order", track.name);
    }
}

/// Invalid settings are reported to the operator in one line that names the store or the variable.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invalid_settings_are_reported_in_one_line() {
    let minio = Minio::start(&["videos"]);
    let start_error = |change: &dyn Fn(&mut Stack)| {
        let mut stack = Stack::new(&[]);
        stack.set_stores(&minio);
        change(&mut stack);
        let output = stack.command("streaming-service").arg("up").output().expect("run up");
        assert!(!output.status.success());
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(text.trim_end().lines().count(), 1, "{text}");
        assert!(!text.contains(minio.secret()) && !text.contains("hunter2"), "{text}");
        text
    };
    let text = start_error(&|stack| stack.set("STREAMING_STORES", "s3://videos,s3://nowhere"));
    assert!(text.contains("s3://nowhere: no such bucket"), "{text}");
    let text = start_error(&|stack| stack.set("AWS_SECRET_ACCESS_KEY", "hunter2-hunter2"));
    assert!(text.contains("s3://videos: access denied"), "{text}");
    let text = start_error(&|stack| stack.set("AWS_ACCESS_KEY_ID", ""));
    assert!(text.contains("AWS_ACCESS_KEY_ID"), "{text}");
}
