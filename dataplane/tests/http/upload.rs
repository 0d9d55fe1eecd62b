//! Form uploads: all variants of the form, and cleanup when an upload is interrupted.

use sha2::{Digest, Sha256};
use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::{
    fake_control::{Event, FakeControl},
    support::{Plane, Reply, eventually},
};

const BOUNDARY: &str = "----frontier";

/// Every file below a folder, recursively.
pub(crate) fn files(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found
}

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

    async fn post(&self, form: &[u8]) -> Reply {
        let kind = format!("Content-Type: multipart/form-data; boundary={BOUNDARY}");
        let headers = ["Authorization: Bearer good", &kind];
        self.plane.send_body("POST", "/api/videos/upload", &headers, form).await
    }

    /// Waits until every reservation has been aborted and no object is left.
    async fn assert_nothing_left(&self) {
        let clean = async || {
            let events = self.control.events();
            events.is_empty() || events == [Event::Begun, Event::Aborted]
        };
        eventually("the upload is aborted", clean).await;
        assert_eq!(
            files(&self.plane.folder.path().join("videos")),
            Vec::<std::path::PathBuf>::new()
        );
    }
}

fn part(name: &str, content: &[u8]) -> Vec<u8> {
    let file = if name == "video" { "; filename=\"../a.mp4\"" } else { "" };
    let head =
        format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n");
    [head.as_bytes(), content, b"\r\n"].concat()
}

fn form(parts: &[(&str, &[u8])]) -> Vec<u8> {
    let mut form: Vec<u8> = parts.iter().flat_map(|(name, content)| part(name, content)).collect();
    form.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
    form
}

#[tokio::test]
async fn a_form_in_any_order_is_stored_and_returns_the_documented_json() {
    let content: Vec<u8> = (0..600_000_u32).map(|n| (n % 255) as u8).collect();
    let text: [(&str, &[u8]); 3] =
        [("title", b"A clip"), ("description", b"of mine"), ("visibility", b"private")];
    let file = ("video", &content[..]);
    for order in [[text[0], text[1], text[2], file], [file, text[2], text[1], text[0]]] {
        let fixture = Fixture::new().await;
        let reply = fixture.post(&form(&order)).await;
        assert_eq!(reply.status, 201, "{reply:?}");
        let expected = serde_json::json!({
            "videoId": FakeControl::ID,
            "message": "the video is stored",
            "metadata": {
                "duration": 2.5, "format": "mov", "width": 640, "height": 360,
                "bitrate": 1000, "fps": 25.0, "codec": "h264",
            },
        });
        assert_eq!(reply.json(), expected);
        let events = fixture.control.events();
        let [Event::Begun, Event::Completed(request)] = &events[..] else { panic!("{events:?}") };
        assert_eq!((request.title.as_str(), request.description.as_str()), ("A clip", "of mine"));
        assert_eq!(request.visibility(), api::v1::Visibility::Private);
        assert_eq!(request.bytes, content.len() as u64);
        assert_eq!(request.sha256, hex::encode(Sha256::digest(&content)));
        assert_eq!(request.filename, "../a.mp4");
        let stored = std::fs::read(fixture.plane.folder.path().join(FakeControl::KEY)).unwrap();
        assert!(stored == content);
    }
}

#[tokio::test]
async fn a_source_that_was_not_probed_returns_202_instead_of_201() {
    for (title, state) in [("slow", "probing"), ("given up", "failed")] {
        let fixture = Fixture::new().await;
        let reply = fixture.post(&form(&[("video", b"abc"), ("title", title.as_bytes())])).await;
        assert_eq!((reply.status, reply.json()["state"].clone()), (202, state.into()));
    }
}

#[tokio::test]
async fn bare_body_is_stored_for_a_reserved_video() {
    let fixture = Fixture::new().await;
    let path = format!("/api/videos/{}/source", FakeControl::ID);
    let headers = ["Authorization: Bearer good", "Content-Type: video/mp4"];
    let reply = fixture.plane.send_body("PUT", &path, &headers, b"bytes").await;
    assert_eq!(reply.status, 201);
    let stored = std::fs::read(fixture.plane.folder.path().join(FakeControl::KEY)).unwrap();
    assert_eq!(stored, b"bytes");
}

#[tokio::test]
async fn invalid_forms_name_the_error_and_store_nothing() {
    let whole = form(&[("video", &[7; 5000])]);
    let large = vec![0; (1 << 20) + 1];
    let field = |name: &str, content: &[u8]| form(&[("video", b"abc"), (name, content)]);
    let table: [(&str, Vec<u8>, u16, &str); 11] = [
        ("cut in the file", whole[..3000].to_vec(), 400, ""),
        ("cut before the last boundary", whole[..whole.len() - 10].to_vec(), 400, ""),
        ("no boundary", vec![b'x'; 5000], 400, ""),
        ("no file", form(&[("title", b"x")]), 422, "video"),
        ("empty file", form(&[("video", b"")]), 422, "video"),
        ("two files", field("video", b"x"), 422, "video"),
        ("too large", form(&[("video", &large)]), 413, "video"),
        ("unknown field", field("tenant", b"x"), 422, "tenant"),
        ("long title", field("title", &[b'x'; 201]), 422, "title"),
        ("bad visibility", field("visibility", b"secret"), 422, "visibility"),
        ("title is not text", field("title", b"\xff\xfe"), 422, "title"),
    ];
    for (what, form, status, name) in table {
        let fixture = Fixture::new().await;
        let reply = fixture.post(&form).await;
        assert_eq!(reply.status, status, "{what}: {reply:?}");
        let _code = reply.code();
        if !name.is_empty() {
            assert_eq!(reply.json()["errors"][0]["field"], name, "{what}");
        }
        fixture.assert_nothing_left().await;
    }
}

#[tokio::test]
async fn ten_thousand_parts_and_endless_headers_are_rejected() {
    let fixture = Fixture::new().await;
    let parts: Vec<_> = (0..10_000).flat_map(|_| part("x", b"y")).collect();
    assert_eq!(fixture.post(&parts).await.status, 422);
    let mut header = format!("--{BOUNDARY}\r\nX-Long: ").into_bytes();
    header.resize(1 << 20, b'y');
    assert_eq!(Fixture::new().await.post(&header).await.status, 400);
    // The same oversized header, but terminated and in an otherwise valid form.
    let rest = String::from_utf8(form(&[("video", b"clip")])).unwrap();
    let rest = rest.strip_prefix(&format!("--{BOUNDARY}")).unwrap();
    let fixture = Fixture::new().await;
    let reply = fixture.post(&[&header, rest.as_bytes()].concat()).await;
    assert_eq!((reply.status, reply.code().as_str()), (400, "malformed"));
    fixture.assert_nothing_left().await;
}

#[tokio::test]
async fn wrong_type_and_wrong_token_are_rejected_before_the_body() {
    let fixture = Fixture::new().await;
    let json = ["Authorization: Bearer good", "Content-Type: application/json"];
    let reply = fixture.plane.send_body("POST", "/api/videos/upload", &json, b"{}").await;
    assert_eq!((reply.status, reply.code().as_str()), (415, "unsupported_media_type"));
    let none = ["Authorization: Bearer good", "Content-Type: multipart/form-data"];
    assert_eq!(
        fixture.plane.send_body("POST", "/api/videos/upload", &none, b"x").await.status,
        400
    );
    let kind = format!("Content-Type: multipart/form-data; boundary={BOUNDARY}");
    let bad = ["Authorization: Bearer bad", &kind];
    let body = form(&[("video", &[1; 900_000])]);
    let reply = fixture.plane.send_body("POST", "/api/videos/upload", &bad, &body).await;
    assert_eq!((reply.status, reply.code().as_str()), (401, "unauthenticated"));
    assert!(fixture.control.events().is_empty());
    // An announced length above the limit is rejected without reading the body.
    let head = format!(
        "POST /api/videos/upload HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer good\r\n{kind}\r\n\
         Content-Length: 99999999999\r\nConnection: close\r\nExpect: 100-continue\r\n\r\n"
    );
    assert_eq!(Reply::parse(&fixture.plane.raw(head.as_bytes()).await).status, 413);
}

#[tokio::test]
async fn bytes_of_a_client_that_disconnects_are_removed() {
    let fixture = Fixture::new().await;
    let mut stream = TcpStream::connect(fixture.plane.addr).await.unwrap();
    let form = form(&[("video", &[1; 500_000])]);
    let head = format!(
        "POST /api/videos/upload HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer good\r\n\
         Content-Type: multipart/form-data; boundary={BOUNDARY}\r\nContent-Length: {}\r\n\r\n",
        form.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&form[..300_000]).await.unwrap();
    eventually("the upload has begun", async || !fixture.control.events().is_empty()).await;
    drop(stream);
    fixture.assert_nothing_left().await;
}
