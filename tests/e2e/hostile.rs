//! Uploads that try to read other files are rejected with an error code, and a canary file is never
//! read.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use tokio::{net::TcpListener, task::JoinHandle};

use crate::harness::{clip::Numbered, stack::Stack};

/// A file that no ffmpeg may read: a valid video beside the store, with an access time so old that
/// any read updates it.
struct Canary {
    file: PathBuf,
    seen: SystemTime,
    connections: Arc<AtomicUsize>,
    address: String,
    listener: JoinHandle<()>,
}

impl Canary {
    async fn in_folder(dir: &Path) -> Self {
        let file = dir.join("canary.mp4");
        fs::copy(Numbered::seconds(6).file(), &file).expect("copy canary");
        // With relatime, a read updates the access time only if it is older than a day.
        let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let times = fs::FileTimes::new().set_accessed(old).set_modified(old);
        fs::File::options()
            .write(true)
            .open(&file)
            .expect("open")
            .set_times(times)
            .expect("set times");
        let seen = fs::metadata(&file).expect("metadata").accessed().expect("access time");
        let socket = TcpListener::bind("127.0.0.1:0").await.expect("bind canary");
        let address = socket.local_addr().expect("address").to_string();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = connections.clone();
        let listener = tokio::spawn(async move {
            while socket.accept().await.is_ok() {
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
        Self { file, seen, connections, address, listener }
    }

    fn assert_untouched(&self, by: &str) {
        let now = fs::metadata(&self.file).expect("metadata").accessed().expect("access time");
        assert_eq!(now, self.seen, "{by}: the canary file was read");
        assert_eq!(self.connections.load(Ordering::SeqCst), 0, "{by}: the canary was called");
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

/// Name of the attack, name of the file, and its content.
fn attacks(canary: &Canary) -> Vec<(&'static str, &'static str, String)> {
    let (path, http) = (canary.file.display(), format!("http://{}/x.mp4", canary.address));
    let hls = |uri: &str| {
        format!("#EXTM3U\n#EXT-X-TARGETDURATION:6\n#EXTINF:6,\n{uri}\n#EXT-X-ENDLIST\n")
    };
    let mpd = |base: &str| {
        format!(
            "<?xml version=\"1.0\"?><MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" type=\"static\" \
             mediaPresentationDuration=\"PT6S\"><Period><AdaptationSet mimeType=\"video/mp4\">\
             <Representation id=\"1\" bandwidth=\"1000\"><BaseURL>{base}</BaseURL><SegmentBase/>\
             </Representation></AdaptationSet></Period></MPD>"
        )
    };
    vec![
        ("ffconcat", "video.mp4", format!("ffconcat version 1.0\nfile '{path}'\n")),
        ("ffconcat over http", "video.mp4", format!("ffconcat version 1.0\nfile '{http}'\n")),
        ("HLS with a path", "video.mp4", hls(&path.to_string())),
        ("HLS with file:", "video.mp4", hls(&format!("file://{path}"))),
        ("HLS with http:", "video.mp4", hls(&http)),
        ("HLS with concat:", "video.mp4", hls(&format!("concat:{http}|file://{path}"))),
        ("HLS with a key", "video.mp4", hls(&http).replace("#EXTINF", &format!("#EXT-X-KEY:METHOD=AES-128,URI=\"{http}\"\n#EXTINF"))),
        ("MPD", "video.mp4", mpd(&format!("file://{path}"))),
        ("MPD over http", "video.mp4", mpd(&http)),
        ("SDP", "video.mp4", "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n".into()),
        ("a name like an option", "-f lavfi -i testsrc.mp4", "not a video".into()),
        ("text", "video.mp4", "not a video at all\n".repeat(100)),
        ("nothing", "video.mp4", String::new()),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disguised_playlists_read_no_files_and_are_rejected() {
    let stack = Stack::start().await;
    let canary = Canary::in_folder(stack.beside()).await;
    let client = stack.client();
    for (attack, name, content) in attacks(&canary) {
        let body = futures::stream::once(async move { Ok(bytes::Bytes::from(content)) });
        let reply = client.upload_stream(name, &[], Box::pin(body)).await;
        assert_eq!(reply.status, 422, "{attack}: {}", reply.text());
        assert_eq!(reply.header("content-type"), "application/problem+json", "{attack}");
        let code = if attack == "nothing" { "invalid_field" } else { "not_a_video" };
        assert_eq!(reply.json()["code"], code, "{attack}: {}", reply.text());
        let text = reply.text();
        assert!(!text.contains(&*stack.data().to_string_lossy()), "{attack} shows paths: {text}");
        canary.assert_untouched(attack);
    }
    let left = client.get("/api/videos").await.expect(200).json();
    let left = left["videos"].as_array().expect("videos");
    assert!(
        left.iter().all(|video| video["state"] == "failed"),
        "only rejected sources: {left:#?}"
    );
    let objects = stack.objects();
    let kept = |key: &String| !key.starts_with("videos/") || key.ends_with("/source");
    assert!(objects.iter().all(kept), "more than rejected sources is stored: {objects:?}");
}

/// The canary detects reads: an unsandboxed ffmpeg that is given such a playlist does read the
/// file.
#[tokio::test]
async fn canary_detects_an_unsandboxed_ffmpeg() {
    let dir = tempfile::tempdir().expect("folder");
    let canary = Canary::in_folder(dir.path()).await;
    let list = dir.path().join("list.txt");
    fs::write(&list, format!("ffconcat version 1.0\nfile '{}'\n", canary.file.display()))
        .expect("write");
    let list = list.to_string_lossy().into_owned();
    let args = ["-v", "error", "-safe", "0", "-f", "concat", "-i", &list, "-f", "null", "-"];
    crate::harness::program::output("ffmpeg", &args);
    let now = fs::metadata(&canary.file).expect("metadata").accessed().expect("access time");
    let mounted_without_times =
        fs::read_to_string("/proc/mounts").expect("mounts").contains("noatime");
    assert!(
        now != canary.seen || mounted_without_times,
        "the file system does not record access times"
    );
}
