//! A data plane on a free port, a video in its store, and an HTTP client that sends exactly the
//! given bytes.

use std::{net::SocketAddr, time::Duration};

use dataplane::Config;
use media::{
    FrameRate, Grid, JobId, VideoId,
    index::{AudioRendition, Chunk, Fragment, Index, Track, VideoRendition},
    layout,
};
use runtime::{Shutdown, Telemetry};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(20);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Waits until the condition is true, within a deadline.
pub(crate) async fn eventually(what: &str, holds: impl AsyncFn() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    };
    timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("timed out waiting: {what}"));
}

/// A running data plane; stops when dropped.
pub(crate) struct Plane {
    pub(crate) addr: SocketAddr,
    pub(crate) folder: TempDir,
    pub(crate) shutdown: Shutdown,
}

impl Drop for Plane {
    fn drop(&mut self) {
        self.shutdown.soft.cancel();
        self.shutdown.hard.cancel();
    }
}

impl Plane {
    /// Starts a data plane whose control plane is unreachable.
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), change).await
    }

    pub(crate) async fn start_in(folder: TempDir, change: impl FnOnce(&mut Config)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let mut config = Config {
            http_addr: addr.to_string(),
            // Nothing listens on the discard port.
            control_urls: vec!["http://127.0.0.1:9".to_owned()],
            token_file: None,
            stores: format!("file://{}", folder.path().display()),
            addr_file: None,
            metrics_addr: None,
            metrics_include_control: false,
            cors_origins: Vec::new(),
            playback_origins: Vec::new(),
            cdn_base_url: None,
            console: "on".to_owned(),
            embed_origins: Vec::new(),
            public_url: None,
            web_files: Some(dataplane::WebFiles::new([])),
            upload_bytes_max: 64 << 20,
            connections_max: 1000,
            segment_cache_bytes: 64 << 20,
            drain: Duration::from_secs(10),
            pace: Default::default(),
            listen: Default::default(),
            dial: Default::default(),
            redis_url: None,
            redis_ca_file: None,
            rate_general: "off".to_owned(),
            rate_upload: "off".to_owned(),
            rate_stream: "off".to_owned(),
            trusted_proxies: Vec::new(),
        };
        change(&mut config);
        let shutdown = Shutdown::new();
        let telemetry = Telemetry::new("dataplane-test");
        let plane = dataplane::serve(config, listener, telemetry, shutdown.clone());
        shutdown.tracker.spawn(async move { plane.await.unwrap() });
        Self { addr, folder, shutdown }
    }

    /// Sends a request with these header lines and reads the reply.
    pub(crate) async fn send(&self, method: &str, path: &str, headers: &[&str]) -> Reply {
        self.send_body(method, path, headers, b"").await
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[]).await
    }

    pub(crate) async fn send_body(
        &self,
        method: &str,
        path: &str,
        headers: &[&str],
        body: &[u8],
    ) -> Reply {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", self.addr);
        for line in headers {
            head.push_str(line);
            head.push_str("\r\n");
        }
        if !body.is_empty() {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        head.push_str("Connection: close\r\n\r\n");
        let bytes = self.raw(&[head.as_bytes(), body].concat()).await;
        Reply::parse(&bytes)
    }

    /// Sends bytes and reads until the server closes the connection.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.addr).await.unwrap();
        // A server that rejects the request may close the connection before it has read everything.
        let _sent = stream.write_all(bytes).await;
        let mut reply = Vec::new();
        let read = timeout(PATIENCE, stream.read_to_end(&mut reply)).await;
        let _end = read.expect("the server neither replies nor closes the connection");
        reply
    }
}

/// A reply, with its headers in lower case.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|w| w == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("no reply: {}", String::from_utf8_lossy(bytes)));
        let head = std::str::from_utf8(&bytes[..end]).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let split = |line: &str| {
            let (name, value) = line.split_once(':').unwrap();
            (name.to_ascii_lowercase(), value.trim().to_owned())
        };
        Self { status, headers: lines.map(split).collect(), body: bytes[end + 4..].to_vec() }
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(other, _)| other == name);
        found.map_or("", |(_, value)| value)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{self:?}"))
    }

    /// The problem's code.
    pub(crate) fn code(&self) -> String {
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        self.json()["code"].as_str().unwrap().to_owned()
    }
}

/// A video of 12 s with one rung and one audio track.
pub(crate) struct Clip {
    pub(crate) index: Index,
    /// The objects, by key.
    pub(crate) objects: Vec<(String, Vec<u8>)>,
}

impl Clip {
    pub(crate) fn new(public: bool) -> Self {
        let video = VideoId::new(Uuid::now_v7());
        Self::of(video, JobId::new(Uuid::now_v7()), public)
    }

    pub(crate) fn of(video: VideoId, version: JobId, public: bool) -> Self {
        // Larger than one read, so that it is streamed.
        Self::with(video, version, public, 400_000)
    }

    /// A video with `gop_bytes` bytes per GOP of two seconds.
    pub(crate) fn with(video: VideoId, version: JobId, public: bool, gop_bytes: u32) -> Self {
        let grid = Grid::new(FrameRate::new(25, 1).unwrap(), 300).unwrap();
        let mut objects = Vec::new();
        let prefix = layout::job_prefix(video, version);
        let mut track = |rendition: &str, fragment_bytes: u32, timescale, codec: &str| {
            let chunks = (0..grid.chunks()).map(|chunk| {
                let gops = grid.chunk_gops(chunk).len() as u32;
                let key = layout::chunk(&prefix, rendition, chunk, 1, "0123456789abcdef");
                let size = (gops * fragment_bytes) as usize;
                let content = (0..size).map(|n| (n * 7 + chunk as usize) as u8).collect();
                objects.push((key.clone(), content));
                let fragment =
                    Fragment { bytes: fragment_bytes, intra_bytes: 100, duration: 2 * timescale };
                Some(Chunk { key, fragments: vec![fragment; gops as usize] })
            });
            let chunks = chunks.collect();
            let init = b"ftyp and moov".to_vec();
            Track { codec: codec.to_owned(), timescale, init, chunks, table: None }
        };
        let rung = VideoRendition {
            name: "360p".to_owned(),
            width: 640,
            height: 360,
            target_bitrate: 800_000,
            track: track("360p", gop_bytes, grid.rate().timescale(), "avc1.64001e"),
        };
        let sound = AudioRendition {
            name: "audio-0".to_owned(),
            label: "English".to_owned(),
            language: "en".to_owned(),
            channels: 2,
            target_bitrate: 96_000,
            track: track("audio-0", 1000, 48_000, "mp4a.40.2"),
        };
        let index = Index {
            video,
            version,
            tenant: "default".to_owned(),
            title: "a clip".to_owned(),
            public,
            hls: true,
            dash: true,
            published_at_ms: 1_700_000_000_000,
            finished_at_ms: Some(1_700_000_060_000),
            grid,
            video_renditions: vec![rung],
            audio_renditions: vec![sound],
            pictures: media::pictures::Pictures::default(),
            captions: Vec::new(),
            audio_details: Vec::new(),
        };
        Self { index, objects }
    }

    /// Writes the video into a store, in the form that control plane and workers create.
    pub(crate) fn store(&self, folder: &TempDir) {
        let put = |key: &str, bytes: &[u8]| {
            let path = folder.path().join(key);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        };
        for (key, bytes) in &self.objects {
            put(key, bytes);
        }
        let index = self.index.encode();
        put(&layout::index(self.index.video), &index);
        put(&format!("{}index", layout::job_prefix(self.index.video, self.index.version)), &index);
    }

    /// A path below `/api/stream/{id}/`.
    pub(crate) fn path(&self, rest: &str) -> String {
        format!("/api/stream/{}/{rest}", self.index.video)
    }

    /// A path below the current version.
    pub(crate) fn media(&self, rest: &str) -> String {
        self.path(&format!("{}/{rest}", self.index.version))
    }

    /// The bytes of HLS segment `number` of the rung: the first is chunk 0, the second the first
    /// five GOPs of chunk 1 (it has four).
    pub(crate) fn object(&self, number: usize) -> &[u8] {
        &self.objects[number].1
    }
}
