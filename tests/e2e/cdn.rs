//! nginx as a caching CDN in front of the service: cached replies are served without another
//! request to the origin, and deleted videos are purged.

use std::{fs, path::Path, time::Duration};

use crate::harness::{
    backing::PurgeReceiver, capture::Capture, client::Client, clip::Numbered, eventually,
    nginx::Nginx, port::free_address, program, stack::Stack,
};

const JOB_DEADLINE: Duration = Duration::from_secs(120);
const SOON: Duration = Duration::from_secs(20);
const MEDIA: &str = "route=\"/api/stream/{id}/{version}/{rendition}/{file}\"";

/// nginx at `address` with the configuration that docs/cdn.md shows.
fn start_nginx(folder: &Path, address: &str, origin: &str) -> Nginx {
    let page = fs::read_to_string(program::repository().join("docs/cdn.md")).expect("page");
    let config = page.split("```nginx\n").nth(1).and_then(|rest| rest.split("```").next());
    let config = config.expect("the page shows a configuration");
    let config = config
        .replace("/var/cache/nginx/streaming", &format!("{}/cache", folder.display()))
        .replace("listen 80;", &format!("listen {address};"))
        .replace("server 127.0.0.1:8080;", &format!("server {origin};"));
    Nginx::start(folder, &config)
}

/// Drops every cached reply that carries one of the tags, as a CDN does on a purge.
fn purge(cache: &Path, tags: &[String]) {
    let mut folders = vec![cache.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let bytes = fs::read(&path).unwrap_or_default();
            let head = String::from_utf8_lossy(&bytes[..bytes.len().min(4096)]).into_owned();
            let tagged = |tag: &String| head.contains(&format!("surrogate-key: {tag}"));
            if tags.iter().any(tagged) {
                let _gone = fs::remove_file(path);
            }
        }
    }
}

/// How many requests for media the origin has served.
async fn origin_requests(origin: &Client) -> f64 {
    let metrics = origin.get("/metrics").await.expect(200).text();
    let lines = metrics.lines().filter(|line| {
        line.starts_with("streaming_service_http_requests_total{") && line.contains(MEDIA)
    });
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// Requests from pages of several sites, with several spellings of the same encoding and with CMCD,
/// cause a single request to the origin.
async fn one_copy_serves_all_sites(origin: &Client, viewer: &Client, playlist: &str) {
    let before = origin_requests(origin).await;
    for (site, encoding) in [
        (None, "gzip"),
        (Some("https://a.example"), "gzip, deflate, br, zstd"),
        (Some("https://b.example"), "br;q=0.9, gzip;q=0.8"),
        (Some("https://a.example"), "gzip"),
    ] {
        let path = format!("{playlist}?CMCD=sid%3D%22{}%22", encoding.len());
        let site = site.map(|site| ("origin", site));
        let headers: Vec<_> = site.into_iter().chain([("accept-encoding", encoding)]).collect();
        let reply = viewer.get_with(&path, &headers).await.expect(200);
        assert_eq!(reply.header("access-control-allow-origin"), "*", "{headers:?}");
        assert_eq!(reply.header("content-encoding"), "gzip", "{headers:?}");
        assert!(!reply.header("vary").contains("Origin"), "{headers:?}");
    }
    let requests = origin_requests(origin).await - before;
    assert!(requests <= 1.0, "{requests} requests for one playlist");
}

/// The MPD of a final video differs between new sessions and those that began while it grew: the CDN
/// keeps one copy of each, in any order of requests and with any other parameters.
async fn new_and_running_sessions_get_their_own_mpd(origin: &Client, viewer: &Client, video: &str) {
    let new = format!("/api/stream/{video}/dash/manifest.mpd");
    let running = format!("{new}?reload=1");
    // Reloads get the last dynamic MPD for ten seconds.
    let ended = eventually("the MPD of running sessions turns static", SOON, async || {
        let text = origin.get(&running).await.expect(200).text();
        text.contains("type=\"static\"").then_some(text)
    })
    .await;
    let fresh = origin.get(&new).await.expect(200).text();
    assert_ne!(fresh, ended, "only new sessions get the set for trick play");
    let copies = [(&running, "MISS", &ended), (&new, "MISS", &fresh)];
    let again = [(&running, "HIT", &ended), (&new, "HIT", &fresh)];
    for (path, status, text) in copies.into_iter().chain(again) {
        let reply = viewer.get(path).await.expect(200);
        assert_eq!(reply.header("x-cache-status"), status, "{path}");
        assert_eq!(&reply.text(), text, "{path}");
    }
    let reply = viewer.get(&format!("{running}&CMCD=sid%3D%22a%22")).await.expect(200);
    assert_eq!((reply.header("x-cache-status"), &reply.text()), ("HIT", &ended));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn second_viewer_causes_no_origin_request_and_deleted_videos_are_purged() {
    let folder = tempfile::tempdir().expect("folder");
    let cache = folder.path().join("cache");
    let purged = cache.clone();
    let receiver = PurgeReceiver::start(Box::new(move |tags| purge(&purged, tags))).await;
    let edge = free_address();
    let base = format!("http://{edge}");
    let env = [
        ("STREAMING_PURGE_URL", receiver.url.as_str()),
        ("STREAMING_CDN_BASE_URL", base.as_str()),
        ("STREAMING_TRUSTED_PROXIES", "127.0.0.0/8"),
    ];
    let stack = Stack::start_with(&env).await;
    let _nginx = start_nginx(folder.path(), &edge, &stack.http);
    let (origin, viewer) = (stack.anonymous(), Client::new(&edge, None));
    let (video, job) = stack.client().publish(&Numbered::seconds(12).file(), JOB_DEADLINE).await;
    let path = format!("/api/stream/{video}/hls/playlist.m3u8");
    eventually("nginx passes requests on", SOON, async || {
        viewer.try_get(&path).await.is_ok_and(|reply| reply.status == 200).then_some(())
    })
    .await;

    // The manifests link to the CDN whichever address they are requested from, and no request
    // header changes that.
    let before = origin.get(&path).await.expect(200).text();
    assert!(before.contains(&format!("{base}/api/stream/{video}/{job}/")), "{before}");
    let hostile = [("x-forwarded-host", "evil.example"), ("x-forwarded-proto", "gopher")];
    assert_eq!(origin.get_with(&path, &hostile).await.text(), before);
    assert_eq!(origin.get(&format!("{path}?_HLS_msn=1&utm=x")).await.text(), before);

    let first = Capture::hls(&viewer, &path).await;
    let once = origin_requests(&origin).await;
    assert!(once > 0.0, "the first viewer's requests reach the origin");
    let second = Capture::hls(&viewer, &path).await;
    assert_eq!(first.media, second.media);
    let segments = once - origin_requests(&origin).await;
    assert_eq!(segments, 0.0, "the second viewer's requests do not reach the origin");
    let segment = format!("/api/stream/{video}/{job}/360p/h0.m4s");
    let reply = viewer.get(&segment).await.expect(200);
    assert_eq!(reply.header("x-cache-status"), "HIT");
    assert_eq!(reply.header("cache-control"), "public, max-age=31536000, immutable");
    assert_eq!(reply.header("x-content-type-options"), "nosniff");
    let part = viewer.get_with(&segment, &[("range", "bytes=10-19")]).await.expect(206);
    assert_eq!(part.body, reply.body.slice(10..20));
    assert!(reply.headers.get("set-cookie").is_none());
    let playlist = format!("/api/stream/{video}/{job}/360p/vod.m3u8");
    one_copy_serves_all_sites(&origin, &viewer, &playlist).await;
    new_and_running_sessions_get_their_own_mpd(&origin, &viewer, &video).await;

    stack
        .client()
        .send(hyper::Method::DELETE, &format!("/api/videos/{video}"), &[], Default::default())
        .await
        .expect("DELETE")
        .expect(204);
    let tag = format!("video-{video}");
    eventually("the CDN receives the purge request", SOON, async || {
        (receiver.count(&tag) > 0).then_some(())
    })
    .await;
    eventually("the CDN no longer serves the video", SOON, async || {
        (viewer.get(&segment).await.status == 404).then_some(())
    })
    .await;
    assert_eq!(viewer.get(&path).await.status, 404);
}
