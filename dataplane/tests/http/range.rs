//! RFC 9110, sections 13 and 14, for a served segment.

use crate::support::{Clip, Plane};

#[tokio::test]
async fn ranges_follow_rfc_9110() {
    let plane = Plane::start().await;
    let clip = Clip::new(true);
    clip.store(&plane.folder);
    let path = clip.media("360p/h0.m4s");
    let whole = clip.object(0);
    let size = whole.len();
    // Header, status, first byte, end.
    let table = [
        ("bytes=0-", 206, 0, size),
        ("bytes=0-0", 206, 0, 1),
        ("bytes=10-19", 206, 10, 20),
        ("bytes=-1", 206, size - 1, size),
        ("bytes=-999999999", 206, 0, size),
        ("bytes=500000-99999999999", 206, 500_000, size),
        ("bytes=0-18446744073709551615", 206, 0, size),
        ("bytes=0-99999999999999999999999", 206, 0, size),
        ("BYTES=1-2", 206, 1, 3),
        ("bytes= 1-2 ", 206, 1, 3),
        ("bytes=5-2", 200, 0, size),
        ("bytes=a-b", 200, 0, size),
        ("bytes=--1", 200, 0, size),
        ("bytes=", 200, 0, size),
        ("lines=0-1", 200, 0, size),
        ("bytes=0-0,2-2", 200, 0, size),
        ("bytes = 0-1", 200, 0, size),
        ("bytes=0x0-1", 200, 0, size),
        ("bytes=+1-2", 200, 0, size),
    ];
    for (range, status, start, end) in table {
        let reply = plane.send("GET", &path, &[&format!("Range: {range}")]).await;
        assert_eq!(reply.status, status, "{range}");
        assert!(reply.body == whole[start..end], "{range}");
        assert_eq!(reply.header("content-length"), (end - start).to_string(), "{range}");
        let expected = match status {
            206 => format!("bytes {start}-{}/{size}", end - 1),
            _ => String::new(),
        };
        assert_eq!(reply.header("content-range"), expected, "{range}");
        assert_eq!(reply.header("content-type"), "video/mp4");
    }
    let many = format!("Range: bytes={}", vec!["0-0,2-2"; 1000].join(","));
    assert_eq!(plane.send("GET", &path, &[&many]).await.status, 200);
    let two = plane.send("GET", &path, &["Range: bytes=0-1", "Range: bytes=2-3"]).await;
    assert_eq!((two.status, two.body.len()), (200, size));
}

#[tokio::test]
async fn ranges_outside_the_file_are_rejected() {
    let plane = Plane::start().await;
    let clip = Clip::new(true);
    clip.store(&plane.folder);
    let path = clip.media("360p/h0.m4s");
    let size = clip.object(0).len();
    for range in ["bytes=-0", "bytes=99999999-", "bytes=9223372036854775808-"] {
        let reply = plane.send("GET", &path, &[&format!("Range: {range}")]).await;
        assert_eq!((reply.status, reply.code().as_str()), (416, "range_not_satisfiable"));
        assert_eq!(reply.header("content-range"), format!("bytes */{size}"));
    }
}

#[tokio::test]
async fn conditions_decide_before_ranges() {
    let plane = Plane::start().await;
    let clip = Clip::new(true);
    clip.store(&plane.folder);
    for name in ["360p/h0.m4s", "360p/init.mp4", "audio-0/d1.m4s"] {
        let path = clip.media(name);
        let first = plane.get(&path).await;
        let etag = first.header("etag").to_owned();
        assert!(etag.starts_with('"') && etag.len() > 10, "{etag}");
        let status = async |lines: &[&str]| plane.send("GET", &path, lines).await.status;
        assert_eq!(status(&[&format!("If-None-Match: {etag}")]).await, 304);
        assert_eq!(status(&["If-None-Match: \"other\""]).await, 200);
        assert_eq!(status(&[&format!("If-Match: {etag}")]).await, 200);
        assert_eq!(status(&["If-Match: \"other\""]).await, 412);
        assert_eq!(status(&["Range: bytes=0-3", &format!("If-Range: {etag}")]).await, 206);
        assert_eq!(status(&["Range: bytes=0-3", "If-Range: \"other\""]).await, 200);
        assert_eq!(status(&["Range: bytes=-0", "If-Range: \"other\""]).await, 200);
        let not_modified = plane.send("GET", &path, &["If-None-Match: *", "Range: bytes=-0"]).await;
        assert_eq!((not_modified.status, not_modified.body.len()), (304, 0));
        assert_eq!(not_modified.header("etag"), etag);
        assert!(not_modified.header("cache-control").contains("immutable"));
    }
}

#[tokio::test]
async fn head_has_the_headers_of_get() {
    let plane = Plane::start().await;
    let clip = Clip::new(true);
    clip.store(&plane.folder);
    for path in
        [clip.media("360p/h1.m4s"), clip.media("360p/init.mp4"), clip.media("360p/vod.m3u8")]
    {
        let mut get = plane.get(&path).await;
        // Ranges apply to GET only.
        let mut head = plane.send("HEAD", &path, &["Range: bytes=0-0"]).await;
        assert_eq!((get.status, head.status), (200, 200), "{path}");
        assert!(head.body.is_empty());
        for reply in [&mut get, &mut head] {
            reply.headers.retain(|(name, _)| name != "date");
            reply.headers.sort();
        }
        assert_eq!(get.headers, head.headers);
    }
}
