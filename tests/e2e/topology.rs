//! The whole topology as plain processes: two control planes, two data planes, three workers, one
//! database, one Redis, MinIO with two buckets, and a load balancer. One of each plane is killed
//! while a video is uploaded, encoded and played.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use api::v1::ListWorkersRequest;
use bytes::Bytes;
use futures::{StreamExt, stream};
use serde_json::json;
use tokio::{
    net::TcpStream,
    sync::{mpsc, watch},
};

use crate::{
    conformance::{Phase, hls},
    harness::{
        capture::Capture,
        client::Client,
        clip::Numbered,
        eventually,
        fleet::Fleet,
        minio::Minio,
        picture,
        script::{Behaviour, Ffmpeg},
    },
    tus::{
        self,
        client::{Created, Tus},
    },
    worker_lost::tasks,
};

const JOB_DEADLINE: Duration = Duration::from_secs(120);
const UPLOAD_DEADLINE: Duration = Duration::from_secs(40);
/// The time from the start of a data plane to its first segment.
const WARM_DEADLINE: Duration = Duration::from_secs(5);
/// How long a drained worker's chunks may still run: `STREAMING_WORKER_DRAIN`.
const DRAIN_SECONDS: u64 = 8;
/// The time from SIGTERM to a worker's end: twice as long, and a margin.
const DRAIN_DEADLINE: Duration = Duration::from_secs(2 * DRAIN_SECONDS + 10);
/// nginx avoids an upstream server for one second after a failure (`fail_timeout`).
const NGINX_DEADLINE: Duration = Duration::from_secs(10);
/// Requests that may fail along with the data plane that serves them.
const BROKEN_MAX: usize = 2;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn video_plays_after_the_loss_of_one_instance_of_each_plane() {
    let scripts = tempfile::tempdir().expect("folder");
    let script = Ffmpeg::new(scripts.path(), Behaviour::Slow(1));
    let store = Minio::start(&["media-1", "media-2"]);
    let (stores, vars) = (store.stores(), store.vars());
    let drain = format!("{DRAIN_SECONDS}s");
    let mut env = vec![("STREAMING_STORES", stores.as_str()), ("STREAMING_WORKER_SLOTS", "1")];
    env.push(("STREAMING_FFMPEG", script.path()));
    env.push(("STREAMING_WORKER_DRAIN", drain.as_str()));
    env.extend(vars.iter().map(|(key, value)| (*key, value.as_str())));
    let mut fleet = Fleet::start(&env, 3).await;
    let clip = Numbered::seconds(64);

    let video = upload(&mut fleet, &clip).await;
    let client = fleet.base.client();
    let job = transcode(&client, &video).await;
    let viewer = Viewer::watch(fleet.base.anonymous(), &video, &job);
    eventually("some chunks are done and others under way", JOB_DEADLINE, async || {
        let reply = client.try_get(&format!("/api/jobs/{job}")).await.ok()?;
        let now = (reply.status == 200).then(|| reply.json())?;
        let count = |state| tasks(&now, "chunk").iter().filter(|t| t["state"] == state).count();
        (count("done") >= 1 && count("leased") >= 1).then_some(())
    })
    .await;
    // Without it, no data plane would be left for nginx when the other one is killed.
    receives_requests(&fleet.dataplanes[0].address).await;
    fleet.workers[0].kill();
    fleet.controls[0].kill();
    fleet.dataplanes[1].kill();
    // The tasks of a drained worker are not counted as failed.
    assert!(fleet.workers[1].drain(DRAIN_DEADLINE).await.success());
    let done = client.wait_job(&job, "completed", JOB_DEADLINE).await;
    assert!(tasks(&done, "chunk").iter().all(|task| task["error"].is_null()), "{done:#}");
    let (answered, broken) = viewer.end().await;
    let log = std::fs::read_to_string(fleet.base.beside().join("nginx.log")).unwrap_or_default();
    let few = broken.len() <= BROKEN_MAX;
    assert!(answered > 5 && few, "{answered} answered, broken: {broken:#?}\n{log}");
    serves_again(&mut fleet, &video, &job).await;
    let workers = fleet.base.rpc().workers().list_workers(ListWorkersRequest {}).await;
    assert!(!workers.expect("gRPC through nginx").into_inner().workers.is_empty());

    let path = format!("/api/stream/{video}/hls/playlist.m3u8");
    let captured = Capture::hls(&fleet.base.anonymous(), &path).await;
    hls::check(&captured, Phase::Final).assert_none("HLS");
    let expected: Vec<Option<u16>> = (0..clip.frames()).map(|n| Some(n as u16)).collect();
    for track in captured.hls_tracks().iter().filter(|track| !track.is_audio()) {
        let found = picture::numbers(&track.write(fleet.base.beside()));
        assert!(found == expected, "{}: frames are missing, double or out of order", track.name);
    }
}

/// The first half of a resumable upload, in progress on the data plane that will be killed.
struct Resumable {
    clip: Vec<u8>,
    created: Created,
    _open: TcpStream,
}

impl Resumable {
    async fn begin(fleet: &Fleet) -> Self {
        let clip = tus::padded(6, 12 << 20);
        let client = Tus::at(&fleet.dataplanes[0].address, &fleet.base.token);
        let created = client.create(clip.len(), "").await;
        let open = client.begin_patch(&created.path, 0, &clip, 9 << 20).await;
        tus::durable(&fleet.base, &created.path, 8 << 20).await;
        Self { clip, created, _open: open }
    }

    /// The other data plane resumes at the first one's offset, although the first one still held
    /// the upload lease.
    async fn resume(self, fleet: &Fleet) {
        let client = Tus::at(&fleet.dataplanes[1].address, &fleet.base.token);
        let offset = client.offset(&self.created.path).await;
        assert!(offset >= 8 << 20, "{offset} is less than was acknowledged");
        let rest = Bytes::copy_from_slice(&self.clip[offset as usize..]);
        let last = client.patch(&self.created.path, offset, &[], rest).await.expect(204);
        assert_eq!(last.header("video-id"), self.created.video);
        tus::reaches(&fleet.base, &self.created.video, "uploaded").await;
    }
}

/// Two uploads at the same time, one on each data plane, one of which is killed meanwhile. If both
/// uploads fail, the video is sent again.
async fn upload(fleet: &mut Fleet, clip: &Numbered) -> String {
    let bytes = Bytes::from(std::fs::read(clip.file()).expect("read clip"));
    let (started, mut begun) = mpsc::channel(2);
    let (open, ready) = watch::channel(false);
    let mut uploads = tokio::task::JoinSet::new();
    for _ in 0..2 {
        let (client, bytes) = (fleet.base.client(), bytes.clone());
        let (started, mut ready) = (started.clone(), ready.clone());
        let half = bytes.len() / 2;
        let (first, second) = (bytes.slice(..half), bytes.slice(half..));
        let rest = async move {
            started.send(()).await.expect("the test listens");
            ready.wait_for(|open| *open).await.expect("the uploads may finish");
            Ok(second)
        };
        let content = stream::once(async { Ok(first) }).chain(stream::once(rest)).boxed();
        uploads.spawn(async move { client.upload_stream("video.mp4", &[], content).await });
    }
    for _ in 0..2 {
        begun.recv().await.expect("an upload begins");
    }
    let resumable = Resumable::begin(fleet).await;
    fleet.dataplanes[0].kill();
    open.send_replace(true);
    let replies = uploads.join_all().await;
    resumable.resume(fleet).await;
    fleet.dataplanes[0].start_again();
    assert!(replies.iter().all(|r| matches!(r.status, 201 | 502..=504)), "{replies:?}");
    let whole = replies.iter().find(|reply| reply.status == 201);
    match whole {
        Some(reply) => reply.json()["videoId"].as_str().expect("videoId").to_owned(),
        None => send_again(&fleet.base.client(), clip).await,
    }
}

/// Retries as a client does after a 502: nothing was stored, and another attempt is harmless.
async fn send_again(client: &Client, clip: &Numbered) -> String {
    eventually("the upload succeeds", UPLOAD_DEADLINE, async || {
        let reply = client.upload(&clip.file(), &[]).await;
        assert!(matches!(reply.status, 201 | 502..=504), "{}", reply.text());
        (reply.status == 201).then(|| reply.json())?["videoId"].as_str().map(str::to_owned)
    })
    .await
}

/// Retries the request for a job in the same way.
async fn transcode(client: &Client, video: &str) -> String {
    eventually("the job is queued", UPLOAD_DEADLINE, async || {
        let reply = client.post(&format!("/api/videos/{video}/transcode"), &json!({})).await;
        assert!(matches!(reply.status, 202 | 502..=504), "{}", reply.text());
        (reply.status == 202).then(|| reply.json())?["jobId"].as_str().map(str::to_owned)
    })
    .await
}

/// Waits until nginx sends requests to a restarted data plane again.
async fn receives_requests(address: &str) {
    let direct = Client::new(address, None);
    eventually("nginx uses the restarted data plane", NGINX_DEADLINE, async || {
        let metrics = direct.try_get("/metrics").await.ok()?.text();
        let mut requests = metrics
            .lines()
            .filter(|line| line.starts_with("streaming_service_http_requests_total{"));
        requests.any(|line| line.contains("/api/stream/")).then_some(())
    })
    .await;
}

/// A viewer that keeps requesting through the load balancer.
struct Viewer {
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<(u32, Vec<String>)>,
}

impl Viewer {
    fn watch(client: Client, video: &str, job: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let playlist = format!("/api/stream/{video}/hls/playlist.m3u8");
        let segment = format!("/api/stream/{video}/{job}/360p/h0.m4s");
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let (mut answered, mut broken) = (0, Vec::new());
            while !stopped.load(Ordering::Relaxed) {
                for path in [&playlist, &segment] {
                    match client.try_get(path).await {
                        Ok(reply) if reply.status == 200 => answered += 1,
                        // Nothing is playable yet.
                        Ok(reply) if reply.status == 404 && answered == 0 => {}
                        Ok(reply) => {
                            broken.push(format!("{} {path} {}", reply.status, reply.text()))
                        }
                        Err(error) => broken.push(format!("{path} {error}")),
                    }
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            (answered, broken)
        });
        Self { stop, task }
    }

    async fn end(self) -> (u32, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.expect("viewer")
    }
}

/// A data plane that is restarted serves segments immediately, without intervention.
async fn serves_again(fleet: &mut Fleet, video: &str, job: &str) {
    fleet.dataplanes[1].start_again();
    let direct = Client::new(&fleet.dataplanes[1].address, None);
    let path = format!("/api/stream/{video}/{job}/360p/h0.m4s");
    eventually("the data plane serves again", WARM_DEADLINE, async || {
        direct.try_get(&path).await.is_ok_and(|reply| reply.status == 200).then_some(())
    })
    .await;
}
