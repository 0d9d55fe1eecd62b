//! tus 1.0.0 from a client's view: offsets, interrupted uploads, checksums, errors.

use std::sync::atomic::Ordering;

use sha2::{Digest, Sha256};
use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    time::{Duration, Instant, sleep},
};

use crate::{
    fake_control::{Event, FakeControl},
    fake_uploads::Row,
    support::{Plane, Reply, eventually},
    upload::files,
};

const TUS: &str = "Tus-Resumable: 1.0.0";
const OCTETS: &str = "Content-Type: application/offset+octet-stream";
const BEARER: &str = "Authorization: Bearer good";

struct Fixture {
    plane: Plane,
    control: FakeControl,
}

impl Fixture {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let control = FakeControl::start(&folder).await;
        let urls = vec![control.url.clone()];
        let plane = Plane::start_in(folder, |config| {
            config.control_urls = urls;
            config.upload_bytes_max = 1 << 20;
        })
        .await;
        Self { plane, control }
    }

    async fn send(&self, method: &str, path: &str, headers: &[&str], body: &[u8]) -> Reply {
        let headers = [&[BEARER, TUS], headers].concat();
        self.plane.send_body(method, path, &headers, body).await
    }

    async fn create(&self, length: usize) -> String {
        let reply =
            self.send("POST", "/api/uploads", &[&format!("Upload-Length: {length}")], b"").await;
        assert_eq!(reply.status, 201, "{reply:?}");
        assert_eq!(reply.header("video-id"), FakeControl::ID);
        assert_eq!(reply.header("tus-resumable"), "1.0.0");
        reply.header("location").to_owned()
    }

    async fn patch(&self, path: &str, offset: usize, headers: &[&str], body: &[u8]) -> Reply {
        let offset = format!("Upload-Offset: {offset}");
        self.send("PATCH", path, &[&[OCTETS, &offset], headers].concat(), body).await
    }

    async fn offset(&self, path: &str) -> String {
        let reply = self.send("HEAD", path, &[], b"").await;
        assert_eq!((reply.status, reply.header("cache-control")), (200, "no-store"), "{reply:?}");
        reply.header("upload-offset").to_owned()
    }

    /// Sends the head of a request with a body of `length` bytes, but only these bytes of the body.
    async fn begin(&self, path: &str, offset: usize, length: usize, bytes: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(self.plane.addr).await.unwrap();
        let head = format!(
            "PATCH {path} HTTP/1.1\r\nHost: x\r\n{BEARER}\r\n{TUS}\r\n{OCTETS}\r\n\
             Upload-Offset: {offset}\r\nContent-Length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream
    }

    fn row(&self, path: &str) -> Row {
        self.control.uploads.rows.lock().unwrap()[path.rsplit('/').next().unwrap()].clone()
    }

    /// The durable offset that control has recorded; unlike HEAD, this does not stop the request.
    fn durable(&self, path: &str) -> u64 {
        self.row(path).upload.offset
    }

    fn stored(&self) -> Vec<u8> {
        std::fs::read(self.plane.folder.path().join(FakeControl::KEY)).unwrap_or_default()
    }

    fn digest(&self, path: &str) -> Vec<u8> {
        self.row(path).upload.digest.to_vec()
    }
}

fn content(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|n| (n * 31 % 251) as u8).collect()
}

#[tokio::test]
async fn upload_in_pieces_is_complete_and_its_digest_is_correct() {
    let fixture = Fixture::new().await;
    let content = content(300_001);
    let path = fixture.create(content.len()).await;
    assert_eq!(fixture.offset(&path).await, "0");
    let mut sent = 0;
    for piece in content.chunks(100_007) {
        let reply = fixture.patch(&path, sent, &[], piece).await;
        sent += piece.len();
        assert_eq!((reply.status, reply.header("upload-offset")), (204, &*sent.to_string()));
        assert_eq!(reply.header("video-id"), FakeControl::ID);
        let expires = reply.header("upload-expires");
        assert_eq!(expires.is_empty(), sent == content.len(), "{expires}");
        assert_eq!(fixture.offset(&path).await, sent.to_string());
    }
    assert!(fixture.stored() == content);
    assert_eq!(fixture.digest(&path), Sha256::digest(&content).to_vec());
    let events = fixture.control.events();
    assert!(matches!(&events[..], [Event::Begun, Event::Completed(_)]), "{events:?}");
    // A client that did not receive the last reply can still find out that the upload is complete.
    assert_eq!(fixture.offset(&path).await, content.len().to_string());
    assert_eq!(fixture.patch(&path, content.len(), &[], b"").await.status, 204);
}

#[tokio::test]
async fn creation_may_carry_the_upload() {
    let fixture = Fixture::new().await;
    let body = content(5000);
    let headers = ["Upload-Length: 5000", OCTETS];
    let reply = fixture.send("POST", "/api/uploads/", &headers, &body[..2000]).await;
    assert_eq!((reply.status, reply.header("upload-offset")), (201, "2000"), "{reply:?}");
    let path = reply.header("location").to_owned();
    assert_eq!(fixture.patch(&path, 2000, &[], &body[2000..]).await.status, 204);
    assert!(fixture.stored() == body);
    let whole = fixture.send("POST", "/api/uploads", &headers, &body).await;
    assert_eq!((whole.status, whole.header("upload-offset")), (201, "5000"));
    let before = fixture.control.events().len();
    let long = fixture.send("POST", "/api/uploads", &headers, &content(5001)).await;
    assert_eq!((long.status, long.code().as_str()), (413, "too_large"));
    assert_eq!(fixture.control.events().len(), before, "nothing is reserved");
}

#[tokio::test]
async fn wrong_offsets_return_409_with_the_current_offset() {
    let fixture = Fixture::new().await;
    let path = fixture.create(100).await;
    fixture.patch(&path, 0, &[], &[1; 40]).await;
    for wrong in [0, 39, 41, 100, 1000] {
        let reply = fixture.patch(&path, wrong, &[], &[2; 10]).await;
        assert_eq!((reply.status, reply.header("upload-offset")), (409, "40"), "{wrong}");
        assert_eq!(reply.code(), "conflict");
    }
    let long = fixture.patch(&path, 40, &[], &[2; 61]).await;
    assert_eq!((long.status, long.code().as_str()), (413, "too_large"));
    assert_eq!(fixture.offset(&path).await, "40");
    assert_eq!(fixture.patch(&path, 40, &[], &[3; 60]).await.status, 204);
    assert_eq!(fixture.stored(), [vec![1; 40], vec![3; 60]].concat());
}

#[tokio::test]
async fn body_of_unknown_length_that_is_too_long_is_not_stored() {
    let fixture = Fixture::new().await;
    let path = fixture.create(10).await;
    let head = format!(
        "PATCH {path} HTTP/1.1\r\nHost: x\r\n{BEARER}\r\n{TUS}\r\n{OCTETS}\r\nUpload-Offset: 0\r\n\
         Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n\
         6\r\nabcdef\r\n5\r\nghijk\r\n0\r\n\r\n"
    );
    let reply = Reply::parse(&fixture.plane.raw(head.as_bytes()).await);
    assert_eq!((reply.status, reply.code().as_str()), (413, "too_large"));
    assert_eq!(fixture.offset(&path).await, "0");
}

#[tokio::test]
async fn bytes_are_kept_only_if_their_checksum_matches() {
    let fixture = Fixture::new().await;
    let path = fixture.create(6).await;
    let right = "Upload-Checksum: sha1 qZk+NkcGgWq6PiVxeFDCbJzQ2J0=";
    let wrong = fixture.patch(&path, 0, &[right], b"abd").await;
    assert_eq!((wrong.status, wrong.code().as_str()), (460, "checksum_mismatch"));
    assert_eq!(fixture.offset(&path).await, "0");
    assert_eq!(fixture.patch(&path, 0, &[right], b"abc").await.status, 204);
    let unknown = fixture.patch(&path, 3, &["Upload-Checksum: crc32 AAAA"], b"def").await;
    assert_eq!(unknown.status, 400);
    assert_eq!(fixture.patch(&path, 3, &[], b"def").await.status, 204);
    assert_eq!(fixture.stored(), b"abcdef");
}

#[tokio::test]
async fn connection_cut_in_the_middle_keeps_the_received_bytes() {
    let fixture = Fixture::new().await;
    let content = content(200_000);
    let path = fixture.create(content.len()).await;
    let mut stream = TcpStream::connect(fixture.plane.addr).await.unwrap();
    let head = format!(
        "PATCH {path} HTTP/1.1\r\nHost: x\r\n{BEARER}\r\n{TUS}\r\n{OCTETS}\r\nUpload-Offset: 0\r\n\
         Content-Length: {}\r\n\r\n",
        content.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&content[..120_000]).await.unwrap();
    stream.flush().await.unwrap();
    drop(stream);
    eventually("the received bytes are durable", async || fixture.durable(&path) == 120_000).await;
    assert_eq!(fixture.offset(&path).await, "120000");
    assert_eq!(fixture.patch(&path, 120_000, &[], &content[120_000..]).await.status, 204);
    assert!(fixture.stored() == content);
    assert_eq!(fixture.digest(&path), Sha256::digest(&content).to_vec());
}

#[tokio::test]
async fn patch_takes_over_an_upload_from_a_running_request() {
    let fixture = Fixture::new().await;
    let path = fixture.create(30).await;
    let mut first = fixture.begin(&path, 0, 30, b"0123456789").await;
    eventually("ten bytes are durable", async || fixture.durable(&path) == 10).await;
    // The first connection is still open, while the client continues on another one.
    let second = fixture.patch(&path, 10, &[], &[b'x'; 10]).await;
    assert_eq!((second.status, second.header("upload-offset")), (204, "20"));
    let closed = read_reply(&mut first).await;
    assert_eq!((closed.status, closed.code().as_str()), (423, "locked"));
    // Bytes that the first connection sends now are dropped.
    let _closed = first.write_all(&[b'y'; 20]).await;
    assert_eq!(fixture.patch(&path, 20, &[], &[b'z'; 10]).await.status, 204);
    assert_eq!(fixture.stored(), b"0123456789xxxxxxxxxxzzzzzzzzzz");
}

#[tokio::test]
async fn head_settles_while_bytes_of_the_old_request_are_in_flight() {
    let fixture = Fixture::new().await;
    let content = content(1 << 20);
    let path = fixture.create(content.len()).await;
    let (mut settled, mut closed) = (0, Vec::new());
    for _ in 0..5 {
        let left = content.len() - settled;
        let stream = fixture.begin(&path, settled, left, &[]).await;
        let (reading, mut writing) = stream.into_split();
        let piece = content[settled..settled + left / 2].to_vec();
        let sending = tokio::spawn(async move {
            for bytes in piece.chunks(1000) {
                if writing.write_all(bytes).await.is_err() {
                    break;
                }
                sleep(Duration::from_millis(1)).await;
            }
            writing
        });
        sleep(Duration::from_millis(60)).await;
        let started = Instant::now();
        let offset: usize = fixture.offset(&path).await.parse().unwrap();
        assert!(started.elapsed() < Duration::from_secs(2));
        assert!(offset > settled, "the received bytes are kept");
        sleep(Duration::from_millis(30)).await;
        assert_eq!(fixture.offset(&path).await, offset.to_string(), "the offset is settled");
        let next = fixture.patch(&path, offset, &[], &content[offset..offset + 7]).await;
        assert_eq!(next.status, 204, "{next:?}");
        settled = offset + 7;
        closed.push((reading, sending));
    }
    for (reading, sending) in closed {
        let mut stream = reading.reunite(sending.await.unwrap()).unwrap();
        assert_eq!(read_reply(&mut stream).await.status, 423);
    }
    assert_eq!(fixture.patch(&path, settled, &[], &content[settled..]).await.status, 204);
    assert!(fixture.stored() == content);
    assert_eq!(fixture.digest(&path), Sha256::digest(&content).to_vec());
}

#[tokio::test]
async fn an_upload_lease_moves_to_another_data_plane() {
    let fixture = Fixture::new().await;
    let path = fixture.create(30).await;
    let mut first = fixture.begin(&path, 0, 30, b"0123456789").await;
    eventually("ten bytes are durable", async || fixture.durable(&path) == 10).await;
    first.write_all(b"abcde").await.unwrap();
    sleep(Duration::from_millis(100)).await;
    // Control does the same when a request on another data plane claims the lease.
    fixture.control.uploads.claim(path.rsplit('/').next().unwrap());
    let closed = read_reply(&mut first).await;
    assert_eq!((closed.status, closed.code().as_str()), (423, "locked"));
    let row = fixture.row(&path);
    assert_eq!((row.upload.offset, row.upload.held), (15, false), "its last write is included");
}

async fn read_reply(stream: &mut TcpStream) -> Reply {
    use tokio::io::AsyncReadExt;
    let mut bytes = Vec::new();
    let read = async {
        loop {
            let mut piece = [0; 4096];
            match stream.read(&mut piece).await {
                Ok(0) | Err(_) => break,
                Ok(count) => bytes.extend_from_slice(&piece[..count]),
            }
            let text = String::from_utf8_lossy(&bytes);
            if text.split_once("\r\n\r\n").is_some_and(|(_, body)| body.ends_with('}')) {
                break;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), read).await.unwrap();
    Reply::parse(&bytes)
}

#[tokio::test]
async fn the_later_of_two_requests_at_one_offset_takes_over() {
    let fixture = Fixture::new().await;
    let path = fixture.create(600_000).await;
    let mut first = fixture.begin(&path, 0, 600_000, &[1; 200_000]).await;
    eventually("the first is durable", async || fixture.durable(&path) == 200_000).await;
    let second = fixture.patch(&path, 0, &[], &vec![2; 600_000]).await;
    assert_eq!((second.status, second.header("upload-offset")), (409, "200000"));
    assert_eq!(read_reply(&mut first).await.status, 423);
    let third = fixture.patch(&path, 200_000, &[], &vec![3; 400_000]).await;
    assert_eq!(third.status, 204);
    assert!(fixture.stored() == [vec![1; 200_000], vec![3; 400_000]].concat());
}

#[tokio::test]
async fn invalid_creations_reserve_nothing() {
    let fixture = Fixture::new().await;
    let table: [(&[&str], u16, &str); 13] = [
        (&[], 400, "Upload-Length"),
        (&["Upload-Length: 1e9"], 400, "Upload-Length"),
        (&["Upload-Length: -1"], 400, "Upload-Length"),
        (&["Upload-Length: 9223372036854775808"], 413, "Upload-Length"),
        (&["Upload-Length: 9223372036854775807"], 413, "Upload-Length"),
        (&["Upload-Length: 1048577"], 413, "Upload-Length"),
        (&["Upload-Length: 0"], 422, "Upload-Length"),
        (&["Upload-Defer-Length: 1"], 400, "Upload-Defer-Length"),
        (&["Upload-Length: 1", "Upload-Concat: partial"], 400, "Upload-Concat"),
        (&["Upload-Length: 1", "Upload-Metadata: title @@@"], 422, "title"),
        (&["Upload-Length: 1", "Upload-Metadata: visibility c2VjcmV0"], 422, "visibility"),
        (&["Upload-Length: 1", "Upload-Length: 2"], 400, "Upload-Length"),
        (&["Upload-Length: 1", "Upload-Metadata: title YQ==,title YQ=="], 422, "title"),
    ];
    for (headers, status, field) in table {
        let reply = fixture.send("POST", "/api/uploads", headers, b"").await;
        assert_eq!(reply.status, status, "{headers:?} {reply:?}");
        assert_eq!(reply.json()["errors"][0]["field"], field, "{headers:?}");
        assert_eq!(reply.header("tus-resumable"), "1.0.0");
    }
    let kind = ["Upload-Length: 3", "Content-Type: video/mp4"];
    assert_eq!(fixture.send("POST", "/api/uploads", &kind, b"abc").await.status, 415);
    assert!(fixture.control.events().is_empty());
}

#[tokio::test]
async fn requests_follow_the_tus_protocol() {
    let fixture = Fixture::new().await;
    let plane = &fixture.plane;
    let options = plane.send("OPTIONS", "/api/uploads", &[]).await;
    assert_eq!(options.status, 204);
    for (name, value) in [
        ("tus-version", "1.0.0"),
        ("tus-resumable", "1.0.0"),
        ("tus-max-size", "1048576"),
        ("tus-extension", "creation,creation-with-upload,termination,checksum,expiration"),
        ("tus-checksum-algorithm", "sha1,sha256"),
    ] {
        assert_eq!(options.header(name), value, "{name}");
    }
    let length = "Upload-Length: 10";
    for version in [&[][..], &["Tus-Resumable: 0.2.2"]] {
        let headers = [&[BEARER, length], version].concat();
        let reply = plane.send("POST", "/api/uploads", &headers).await;
        assert_eq!((reply.status, reply.header("tus-version")), (412, "1.0.0"), "{version:?}");
    }
    let anonymous = plane.send("POST", "/api/uploads", &[TUS, length]).await;
    assert_eq!((anonymous.status, anonymous.code().as_str()), (401, "unauthenticated"));
    let path = fixture.create(10).await;
    let json = ["Content-Type: application/json", "Upload-Offset: 0"];
    assert_eq!(fixture.send("PATCH", &path, &json, b"{}").await.status, 415);
    assert_eq!(fixture.send("PATCH", &path, &[OCTETS], b"abc").await.status, 400);
    assert_eq!(fixture.send("GET", &path, &[], b"").await.status, 405);
    assert_eq!(fixture.send("HEAD", "/api/uploads/42", &[], b"").await.status, 400);
    let overridden = [OCTETS, "Upload-Offset: 0", "X-HTTP-Method-Override: PATCH"];
    let reply = fixture.send("POST", &path, &overridden, b"abc").await;
    assert_eq!((reply.status, reply.header("upload-offset")), (204, "3"), "{reply:?}");
    let delete = fixture.send("POST", &path, &["X-HTTP-Method-Override: DELETE"], b"").await;
    assert_eq!(delete.status, 204);
    assert_eq!(fixture.send("HEAD", &path, &[], b"").await.status, 404);
    assert_eq!(fixture.patch(&path, 3, &[], b"abc").await.status, 404);
    assert!(files(&plane.folder.path().join("videos")).is_empty());
}

#[tokio::test]
async fn short_outage_of_control_loses_no_bytes() {
    let fixture = Fixture::new().await;
    let path = fixture.create(20).await;
    let mut stream = fixture.begin(&path, 0, 20, b"0123456789").await;
    eventually("ten bytes are durable", async || fixture.durable(&path) == 10).await;
    fixture.control.uploads.down.store(true, Ordering::SeqCst);
    stream.write_all(b"abcdefghij").await.unwrap();
    let failed = async || fixture.control.uploads.failed.load(Ordering::SeqCst) > 0;
    eventually("a call fails", failed).await;
    fixture.control.uploads.down.store(false, Ordering::SeqCst);
    eventually("the upload is complete", async || fixture.stored().len() == 20).await;
    assert_eq!(fixture.stored(), b"0123456789abcdefghij");
}
