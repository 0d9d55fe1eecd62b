//! Segments in S3: read once for all requests, completely or not at all. The data plane runs as a
//! process of its own, because it reads the S3 settings from its environment.

use std::{
    process::{Child, Command, Stdio},
    sync::atomic::Ordering,
    time::Duration,
};

use media::layout;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use object_store::{ObjectStoreExt, path::Path};
use store::{Settings, Store, Stores};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    minio::Minio,
    proxy::{Proxy, ProxyMode},
    support::{Clip, Reply, eventually},
};

/// Longer than requests to a failing store are retried.
const PATIENCE: Duration = Duration::from_secs(90);

const CLIENTS: usize = 1000;
/// The clients among them that disconnect after the first bytes.
const LEAVERS: usize = 100;

/// A running data plane with the bucket `clips` at `address`. Killed when dropped.
struct Process {
    child: Child,
    addr: String,
    _folder: TempDir,
}

impl Process {
    async fn start(minio: &Minio, address: &str) -> Self {
        // Each client needs a descriptor in this process and one in the data plane, which inherits
        // the limit.
        let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, most.min(65_536), most).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("addr");
        let child = Command::new(env!("CARGO_BIN_EXE_streaming-dataplane"))
            .arg("serve")
            .env_clear()
            .env("STREAMING_HTTP_ADDR", "127.0.0.1:0")
            .env("STREAMING_ADDR_FILE", &file)
            .env("STREAMING_STORES", "s3://clips")
            .env("STREAMING_RATE_STREAM", "off")
            .env("STREAMING_RATE_GENERAL", "off")
            // Nothing listens on the discard port: the index comes from the store.
            .env("STREAMING_CONTROL_URLS", "http://127.0.0.1:9")
            .env("LOG_LEVEL", "error")
            .envs(minio.vars_through(address))
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let mut process = Self { child, addr: String::new(), _folder: folder };
        let addr = || std::fs::read_to_string(&file).unwrap_or_default().trim().to_owned();
        eventually("the data plane listens", async || !addr().is_empty()).await;
        process.addr = addr();
        process
    }

    /// Sends a request, and disconnects as soon as any bytes arrive.
    async fn leave(&self, path: &str) {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        let mut stream = TcpStream::connect(&self.addr).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut first = [0; 64];
        let _anything = tokio::time::timeout(PATIENCE, stream.read(&mut first)).await.unwrap();
    }

    async fn get(&self, path: &str) -> Reply {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let exchange = async {
            let mut stream = TcpStream::connect(&self.addr).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut reply = Vec::new();
            // A reply that is cut off ends with an error.
            let _ = stream.read_to_end(&mut reply).await;
            reply
        };
        Reply::parse(&tokio::time::timeout(PATIENCE, exchange).await.unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Stores `clip` in the bucket.
async fn stored(minio: &Minio, clip: &Clip) -> Store {
    let vars = minio.vars().into_iter().map(|(key, value)| (key.to_owned(), value));
    let stores = Stores::parse_with("s3://clips", &Settings::from_vars(vars)).unwrap();
    let store = stores.all()[0].clone();
    let put = async |key: &str, bytes: Vec<u8>| {
        store.objects.put(&Path::from(key), bytes.into()).await.unwrap();
    };
    for (key, bytes) in &clip.objects {
        put(key, bytes.clone()).await;
    }
    let (video, version) = (clip.index.video, clip.index.version);
    put(&layout::index(video), clip.index.encode()).await;
    put(&format!("{}index", layout::job_prefix(video, version)), clip.index.encode()).await;
    store
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cold_segment_is_read_once_for_concurrent_requests() {
    let minio = Minio::start(&["clips"]);
    let clip = Clip::new(true);
    let store = stored(&minio, &clip).await;
    let proxy = Proxy::start(&minio.address, ProxyMode::Busy, 0).await;
    let plane = Process::start(&minio, &proxy.address).await;
    let path = clip.media("360p/h0.m4s");
    // Loads the index, but not the segment.
    assert_eq!(plane.get(&clip.path("hls/playlist.m3u8")).await.status, 200);
    let before = proxy.replied.load(Ordering::SeqCst);
    // The clients that disconnect likely include the one whose request started the read.
    let leavers = futures::future::join_all((0..LEAVERS).map(|_| plane.leave(&path)));
    let clients = futures::future::join_all((0..CLIENTS).map(|_| plane.get(&path)));
    let (_, replies) = tokio::join!(leavers, clients);
    for reply in &replies {
        assert_eq!(reply.status, 200);
        assert!(reply.body == clip.object(0));
    }
    let read = proxy.replied.load(Ordering::SeqCst) - before;
    let segment = clip.object(0).len();
    assert!(read < segment + segment / 4, "{CLIENTS} clients, {read} bytes for {segment}");
    let metrics = plane.get("/metrics").await.text();
    let counted = |result: &str| -> Option<usize> {
        let name = format!("streaming_service_segment_cache_lookups_total{{result=\"{result}\"}} ");
        metrics.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok())
    };
    assert_eq!(counted("miss"), Some(1), "{metrics}");
    assert!(counted("hit") >= Some(CLIENTS - 1), "{metrics}");

    // A missing object is a 404, while a cached segment is still served.
    for (key, _) in &clip.objects {
        store.objects.delete(&Path::from(&**key)).await.unwrap();
    }
    assert!(plane.get(&path).await.body == clip.object(0));
    let missing_object = plane.get(&clip.media("360p/h1.m4s")).await;
    assert_eq!((missing_object.status, missing_object.code().as_str()), (404, "not_found"));
    let metrics = plane.get("/metrics").await.text();
    assert!(metrics.contains("streaming_service_missing_objects_total 1"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_incomplete_segment_is_never_a_success_and_never_cached() {
    let minio = Minio::start(&["clips"]);
    let clip = Clip::new(true);
    stored(&minio, &clip).await;
    // Enough bytes for the index, and for the beginning of every segment.
    let proxy = Proxy::start(&minio.address, ProxyMode::Cut(8_000), usize::MAX).await;
    let plane = Process::start(&minio, &proxy.address).await;
    let path = clip.media("360p/h0.m4s");
    for reply in futures::future::join_all((0..8).map(|_| plane.get(&path))).await {
        let length: usize = reply.header("content-length").parse().unwrap();
        let whole = reply.status == 200 && reply.body.len() == length;
        assert!(!whole, "{} with {} bytes", reply.status, reply.body.len());
        assert!(matches!(reply.status, 200 | 503), "{}", reply.status);
    }
    proxy.stop_failing();
    let reply = plane.get(&path).await;
    assert_eq!(reply.status, 200);
    assert!(reply.body == clip.object(0), "complete once the store responds");
}
