//! Sources and outputs in S3, with a real MinIO: read by ranges from within the sandbox, written by
//! presigned URLs, and deferred while the store is down.

use std::{fs, io::Write, sync::atomic::Ordering, time::Duration};

use api::v1::{self, control_message::Message as ToWorker, worker_message::Message as FromWorker};
use media::admission::{TrackKind, admit};
use object_store::{ObjectStoreExt, path::Path};
use store::{Settings, Store, Stores};

use crate::{
    clip::{Clip, numbers},
    control::Control,
    encodes::Probed,
    minio::Minio,
    proxy::{Proxy, ProxyMode},
    worker::{Worker, eventually},
};

const SOURCE: &str = "videos/b/source";
const LIFETIME: Duration = Duration::from_secs(60);

/// A bucket that contains `clip`, accessed through `address`.
async fn bucket(minio: &Minio, address: &str, clip: &Clip) -> Store {
    let vars = minio.vars_through(address).into_iter();
    let settings = Settings::from_vars(vars.map(|(key, value)| (key.to_owned(), value)));
    let store = Stores::parse_with("s3://videos", &settings).unwrap().all()[0].clone();
    let bytes = fs::read(clip.path()).unwrap();
    store.objects.put(&Path::from(SOURCE), bytes.into()).await.unwrap();
    store
}

/// A lease of `work` on the source in `store`.
async fn lease(
    worker: &Worker,
    store: &Store,
    work: v1::lease::Work,
    lifetime: Duration,
) -> v1::Lease {
    let url = store.sign_get(SOURCE, lifetime).await.unwrap().unwrap();
    v1::Lease {
        source_path: String::new(),
        output_root: String::new(),
        source_url: url.expose().to_owned(),
        source_key: SOURCE.to_owned(),
        url_seconds: lifetime.as_secs_f64(),
        ..worker.lease(std::path::Path::new("/"), work)
    }
}

fn probe() -> v1::lease::Work {
    v1::lease::Work::Probe(v1::ProbeWork { filename: "a.mp4".to_owned() })
}

/// Waits until the store rejects `url`.
async fn until_expired(url: &str) {
    let client = reqwest::Client::new();
    eventually("the presigned URL expires", async || {
        let request = client.get(url).header("range", "bytes=0-0");
        !request.send().await.unwrap().status().is_success()
    })
    .await;
}

/// Encodes every chunk of a clip from the bucket and compares the frames.
async fn frames_are_exact(flags: &[&str], lifetime: Duration) {
    let clip = Clip::numbered("a.mp4", "25", 26);
    frames_of(&clip, 0..650, flags, lifetime).await;
}

/// Encodes every chunk of `clip` from the bucket; its frames must have the `expected` numbers.
async fn frames_of(
    clip: &Clip,
    expected: impl Iterator<Item = usize>,
    flags: &[&str],
    lifetime: Duration,
) {
    let minio = Minio::start(&["videos"]);
    let mut control = Control::start().await;
    let worker = Worker::start(&mut control, flags).await;
    let store = bucket(&minio, &minio.address, clip).await;
    control.sign_for(&store, lifetime);
    let done = control.work(lease(&worker, &store, probe(), lifetime).await).await.unwrap();
    let probed = Probed::of(done.source.unwrap());
    let movie = tempfile::NamedTempFile::with_suffix(".mp4").unwrap();
    for chunk in 0..probed.grid.chunks() {
        let work = lease(&worker, &store, probed.chunk(chunk, &[(160, 90)]), lifetime).await;
        if lifetime < LIFETIME {
            until_expired(&work.source_url).await;
        }
        let done = control.work(work).await.unwrap();
        let output = &done.outputs[0];
        let bytes = store.read(&output.key, 0..output.bytes).await.unwrap();
        admit(TrackKind::Video, &probed.grid, chunk, &output.init, &bytes).unwrap();
        if chunk == 0 {
            movie.as_file().write_all(&output.init).unwrap();
        }
        movie.as_file().write_all(&bytes).unwrap();
    }
    assert_eq!(numbers(movie.path()), expected.collect::<Vec<_>>());
    let work = probed.audio(0);
    let done = control.work(lease(&worker, &store, work, lifetime).await).await.unwrap();
    assert_eq!(done.outputs.len() as u32, probed.grid.chunks());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_are_exact_from_a_bucket_by_ranges() {
    frames_are_exact(&["--worker-source", "ranges"], LIFETIME).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_are_exact_from_a_copy_where_the_kernel_is_too_old() {
    frames_are_exact(&["--worker-source", "download"], LIFETIME).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn joined_recordings_are_read_from_a_bucket_by_ranges() {
    let part = Clip::numbered("a.ts", "25", 8);
    let clip = Clip::bytes("j.ts", &fs::read(part.path()).unwrap().repeat(2));
    let flags = ["--worker-source", "ranges"];
    frames_of(&clip, (0..200).chain(0..200), &flags, LIFETIME).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expired_urls_are_replaced() {
    frames_are_exact(&[], Duration::from_secs(1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chunk_of_a_large_source_reads_only_a_part_of_it() {
    let minio = Minio::start(&["videos"]);
    let proxy = Proxy::start(&minio.address, ProxyMode::Busy, 0).await;
    let mut control = Control::start().await;
    let worker = Worker::start(&mut control, &[]).await;
    // About 40 MB, with the index at the end.
    let large = [
        "-g",
        "50",
        "-b:v",
        "4M",
        "-minrate",
        "4M",
        "-maxrate",
        "4M",
        "-bufsize",
        "4M",
        "-x264-params",
        "nal-hrd=cbr",
        "-c:a",
        "aac",
    ];
    let clip = Clip::with("a.mp4", "25", 84, &large);
    let size = fs::metadata(clip.path()).unwrap().len() as usize;
    assert!(size > 30_000_000, "{size}");
    let store = bucket(&minio, &proxy.address, &clip).await;
    control.sign_for(&store, LIFETIME);
    let before = proxy.replied.load(Ordering::SeqCst);
    let done = control.work(lease(&worker, &store, probe(), LIFETIME).await).await.unwrap();
    let probed = proxy.replied.load(Ordering::SeqCst) - before;
    assert!(probed < size / 2, "a probe read {probed} of {size} bytes");
    let probed = Probed::of(done.source.unwrap());
    let before = proxy.replied.load(Ordering::SeqCst);
    let work = probed.chunk(2, &[(160, 90)]);
    control.work(lease(&worker, &store, work, LIFETIME).await).await.unwrap();
    let read = proxy.replied.load(Ordering::SeqCst) - before;
    // The 20 s chunk of 84 s, the index, and the blocks that were sent ahead.
    assert!(read < size * 2 / 5, "a chunk read {read} of {size} bytes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_is_deferred_without_a_failure_while_the_store_is_down() {
    let mut minio = Minio::start(&["videos"]);
    let mut control = Control::start().await;
    let worker = Worker::start(&mut control, &[]).await;
    let clip = Clip::numbered("a.mp4", "25", 8);
    let store = bucket(&minio, &minio.address, &clip).await;
    control.sign_for(&store, LIFETIME);
    let first = lease(&worker, &store, probe(), LIFETIME).await;
    let again = lease(&worker, &store, probe(), LIFETIME).await;
    let nothing = store.sign_get("videos/b/nothing", LIFETIME).await.unwrap().unwrap();
    let mut missing = lease(&worker, &store, probe(), LIFETIME).await;
    missing.source_key = "videos/b/nothing".to_owned();
    missing.source_url = nothing.expose().to_owned();
    minio.stop();
    let task = first.task_id.clone();
    control.send(ToWorker::Lease(first));
    let delay = control
        .wait(|message| match message {
            FromWorker::Release(release) if release.task_id == task => Some(release.delay_seconds),
            FromWorker::Fail(fail) => panic!("{fail:?}"),
            _ => None,
        })
        .await;
    assert!(delay > 0.0, "the task is deferred");
    minio.start_again();
    control.work(again).await.unwrap();
    let fail = control.work(missing).await.unwrap_err();
    assert_eq!((fail.code.as_str(), fail.retryable), ("source_missing", true), "{fail:?}");
}
