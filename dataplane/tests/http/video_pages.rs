//! `/watch/{id}`, `/embed/{id}` and `/oembed`: what browsers and other sites read of a video, and
//! that private and unready videos reveal nothing.

use api::v1;
use authz::PlaybackGrant;
use dataplane::{Config, WebFiles};
use media::{
    VideoId,
    pictures::{Picture, Pictures},
};
use runtime::{Clock, SystemClock};

use crate::{
    fake_control::FakeControl,
    support::{Clip, Plane, Reply, eventually},
    token_errors,
};

const HOSTILE: &str = "</title><script>alert(1)</script>\"'<!--& b";
const MANIFEST: &str = r#"{
    "src/page.ts": {"file": "page-1.js", "imports": ["src/player.ts"]},
    "src/player.ts": {"file": "player-2.js", "css": ["player-3.css"]}
}"#;

fn player() -> WebFiles {
    let files = [("player/manifest.json", MANIFEST), ("player/page-1.js", "page")];
    WebFiles::new(files.map(|(path, text)| (path.to_owned(), text.to_owned().into())))
}

fn set(config: &mut Config) {
    config.web_files = Some(player());
    config.public_url = Some("https://video.example/base/".to_owned());
}

/// A data plane without a control plane, with this video in its store.
async fn plane_with(clip: &Clip) -> Plane {
    let plane = Plane::start_with(set).await;
    clip.store(&plane.folder);
    plane
}

fn watch(clip: &Clip) -> String {
    format!("/watch/{}", clip.index.video)
}

fn titled(public: bool, title: &str) -> Clip {
    let mut clip = Clip::new(public);
    clip.index.title = title.to_owned();
    let poster = Picture { key: "poster".to_owned(), bytes: 1, sha256: [1; 32] };
    clip.index.pictures = Pictures { poster: Some(poster), ..Pictures::default() };
    clip
}

/// The contents of the tag with this name or property.
fn tag(page: &str, name: &str) -> Option<String> {
    let start = page.find(&format!("=\"{name}\" content=\""))?;
    let content = page[start..].split('"').nth(3).unwrap();
    Some(content.to_owned())
}

fn attribute(page: &str, name: &str) -> Option<String> {
    let element = page.split("<stream-player").nth(1)?.split('>').next().unwrap();
    let value = element.split(&format!(" {name}=\"")).nth(1)?;
    Some(value.split('"').next().unwrap().to_owned())
}

fn oembed(url: &str, more: &str) -> String {
    let url: String = url::form_urlencoded::byte_serialize(url.as_bytes()).collect();
    format!("/oembed?url={url}{more}")
}

#[tokio::test]
async fn a_public_video_has_a_page_that_other_sites_can_read_without_scripts() {
    let clip = titled(true, "A title");
    let (plane, id) = (plane_with(&clip).await, clip.index.video);
    let page = plane.get(&watch(&clip)).await;
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    assert_eq!(page.header("cache-control"), "public, no-cache");
    let text = page.text();
    assert!(text.contains("<title>A title</title>") && text.contains("<h1>A title</h1>"), "{text}");
    let base = "https://video.example/base";
    for (name, content) in [
        ("og:title", "A title".to_owned()),
        ("og:url", format!("{base}/watch/{id}")),
        ("og:video", format!("{base}/embed/{id}")),
        ("og:video:secure_url", format!("{base}/embed/{id}")),
        ("og:video:type", "text/html".to_owned()),
        ("og:video:width", "640".to_owned()),
        ("og:video:height", "360".to_owned()),
        ("og:image", format!("{base}/api/stream/{id}/poster.jpg")),
        ("og:image:width", "640".to_owned()),
        ("video:duration", "12".to_owned()),
        ("twitter:card", "player".to_owned()),
        ("twitter:player", format!("{base}/embed/{id}")),
    ] {
        assert_eq!(tag(&text, name), Some(content), "{name}");
    }
    let data = text.split("<script type=\"application/ld+json\">").nth(1).unwrap();
    let data: serde_json::Value =
        serde_json::from_str(data.split("</script>").next().unwrap()).unwrap();
    assert_eq!((&data["@type"], &data["name"]), (&"VideoObject".into(), &"A title".into()));
    assert_eq!(data["duration"], "PT12.000S");
    assert_eq!(data["thumbnailUrl"][0], format!("{base}/api/stream/{id}/poster.jpg"));
    assert!(data["uploadDate"].as_str().unwrap().starts_with("2023-11-14T"));
    let player = |name| attribute(&text, name).unwrap();
    assert_eq!(player("src"), format!("../api/stream/{id}/hls/playlist.m3u8"));
    assert_eq!(player("events"), format!("../api/stream/{id}/events"));
    assert_eq!((player("state"), player("duration")), ("ready".to_owned(), "12".to_owned()));
    assert_eq!(player("poster"), format!("../api/stream/{id}/poster.jpg"));
    assert!(text.contains("<script type=\"module\" src=\"../player/page-1.js\"></script>"));
    assert!(text.contains("<link rel=\"stylesheet\" href=\"../player/player-3.css\">"));

    let tagged = format!("If-None-Match: {}", page.header("etag"));
    assert_eq!(plane.send("GET", &watch(&clip), &[&tagged]).await.status, 304);
    let head = plane.send("HEAD", &watch(&clip), &[]).await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    let zipped = plane.send("GET", &watch(&clip), &["Accept-Encoding: gzip"]).await;
    assert_eq!(zipped.header("content-encoding"), "gzip");
    assert_ne!(zipped.header("etag"), page.header("etag"));

    // The link to the oEmbed document leads to one.
    let link = text.split("type=\"application/json+oembed\" href=\"").nth(1).unwrap();
    let link = link.split('"').next().unwrap().replace("&amp;", "&");
    let path = link.strip_prefix(base).unwrap();
    assert_eq!(plane.get(path).await.json()["title"], "A title");
}

#[tokio::test]
async fn titles_cannot_break_out_of_the_page() {
    let clip = titled(true, HOSTILE);
    let plane = plane_with(&clip).await;
    for page in [watch(&clip), format!("/embed/{}", clip.index.video)] {
        let text = plane.get(&page).await.text();
        assert!(!text.contains("alert(1)</script>") && !text.contains("<!--"), "{text}");
        assert_eq!(text.matches("<script").count(), 2, "{text}");
        let data = text.split("<script type=\"application/ld+json\">").nth(1).unwrap();
        let data: serde_json::Value =
            serde_json::from_str(data.split("</script>").next().unwrap()).unwrap();
        assert_eq!(data["name"], HOSTILE);
    }
    let url = format!("https://video.example/base{}", watch(&clip));
    let document = plane.get(&oembed(&url, "")).await.json();
    assert_eq!(document["title"], HOSTILE);
    assert!(!document["html"].as_str().unwrap().contains("<script"), "{document}");
}

/// Everything of a reply that a client sees, except for the date.
fn seen(reply: &Reply) -> (u16, Vec<(String, String)>, Vec<u8>) {
    let headers = reply.headers.iter().filter(|(name, _)| name != "date").cloned();
    (reply.status, headers.collect(), reply.body.clone())
}

#[tokio::test]
async fn private_unknown_and_malformed_videos_have_the_same_page() {
    let (plane, control) = token_errors::start(set).await;
    let private = titled(false, "secret");
    control.publish(Some(private.index.clone()));
    control.user_services.video.lock().unwrap().visibility = v1::Visibility::Private.into();
    for kind in ["watch", "embed"] {
        let page = async |id: &str, query: &str| plane.get(&format!("/{kind}/{id}{query}")).await;
        for query in ["", "?token=nonsense", "?t=20&token="] {
            let unknown = page(&VideoId::new(uuid::Uuid::now_v7()).to_string(), query).await;
            assert_eq!(unknown.status, 404, "{kind}{query}");
            assert_eq!(unknown.header("cache-control"), "no-store");
            assert_eq!(unknown.header("referrer-policy"), "no-referrer");
            assert!(unknown.text().contains("<h1>Video not found</h1>"), "{}", unknown.text());
            // One that can be played, and one that cannot be played yet.
            for id in [private.index.video.to_string(), FakeControl::ID.to_owned()] {
                assert_eq!(seen(&page(&id, query).await), seen(&unknown), "{kind}/{id}{query}");
            }
        }
        let malformed = page("nope", "").await;
        assert_eq!(malformed.status, 404);
        assert!(malformed.text().contains("<h1>Video not found</h1>"));
    }
    for id in [private.index.video.to_string(), FakeControl::ID.to_owned()] {
        let url = format!("https://video.example/base/watch/{id}");
        let reply = plane.get(&oembed(&url, "")).await;
        assert_eq!((reply.status, reply.code().as_str()), (404, "not_found"));
        assert!(!reply.text().contains("secret"));
    }
}

#[tokio::test]
async fn a_token_opens_a_private_video_and_only_the_player_gets_it() {
    let (plane, control) = token_errors::start(set).await;
    let clip = titled(false, "secret");
    control.publish(Some(clip.index.clone()));
    let now = SystemClock.now_unix();
    let grant = PlaybackGrant { video: clip.index.video, max_height: None, address: None };
    let token = control.user_services.keys.mint_playback(&grant, now - 60, now + 600).unwrap();
    let path = format!("{}?token={token}", watch(&clip));
    let known = async || plane.get(&path).await.status == 200;
    eventually("the token is accepted", known).await;
    let page = plane.get(&path).await;
    assert_eq!(page.header("cache-control"), "no-store");
    assert_eq!(page.header("referrer-policy"), "no-referrer");
    let text = page.text();
    assert!(text.contains("<h1>secret</h1>") && text.contains("content=\"noindex\""), "{text}");
    let source = format!("../api/stream/{}/hls/playlist.m3u8?token={token}", clip.index.video);
    assert_eq!(attribute(&text, "src"), Some(source));
    assert_eq!(tag(&text, "og:title"), None, "{text}");
    assert!(!text.contains("oembed") && !text.contains("ld+json"), "{text}");
    assert_eq!(plane.get(&watch(&clip)).await.status, 404);
}

#[tokio::test]
async fn a_video_of_which_nothing_can_be_played_has_a_neutral_page_until_it_can() {
    let (plane, control) = token_errors::start(set).await;
    {
        let mut video = control.user_services.video.lock().unwrap();
        video.title = "not yet".to_owned();
        video.description = "a description".to_owned();
        video.state = v1::VideoState::Processing.into();
        let metadata = v1::VideoMetadata { duration_seconds: 600.04, ..Default::default() };
        video.metadata = Some(metadata);
    }
    let id: VideoId = FakeControl::ID.parse().unwrap();
    let path = format!("/watch/{id}");
    let page = plane.get(&path).await;
    let text = page.text();
    assert_eq!((page.status, attribute(&text, "src")), (200, None), "{text}");
    assert_eq!(attribute(&text, "state").unwrap(), "waiting");
    assert_eq!(attribute(&text, "duration").unwrap(), "600.04");
    assert!(text.contains("<h1>Video</h1>") && text.contains("content=\"noindex\""), "{text}");
    for secret in ["not yet", "a description", "poster", "og:", "ld+json", "oembed"] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
    let url = format!("https://video.example/base/watch/{id}");
    let document = plane.get(&oembed(&url, "")).await.json();
    assert!(document["html"].is_string() && document.get("title").is_none(), "{document}");

    let mut index = Clip::new(true).index;
    (index.video, index.title, index.finished_at_ms) = (id, "now it can".to_owned(), None);
    control.publish(Some(index));
    let growing = async || plane.get(&path).await.text().contains("<h1>now it can</h1>");
    eventually("the page shows the video", growing).await;
    let text = plane.get(&path).await.text();
    assert_eq!(attribute(&text, "state").unwrap(), "growing");
    // The description and the probed length are control's.
    assert_eq!(attribute(&text, "duration").unwrap(), "600.04");
    assert_eq!(tag(&text, "og:description").unwrap(), "a description");
    assert!(text.contains("<p class=\"description\">a description</p>"), "{text}");
}

#[tokio::test]
async fn parameters_reach_the_player_and_wrong_ones_are_rejected_with_a_page() {
    let clip = titled(true, "A title");
    let plane = plane_with(&clip).await;
    let path = format!("/embed/{}", clip.index.video);
    let text = plane.get(&format!("{path}?t=1m30s&autoplay=1&cc=de&lang=de")).await.text();
    let expected = " t=\"90\" autoplay muted cc=\"de\" lang=\"de\"></stream-player>";
    assert!(text.contains(expected) && text.contains("<html lang=\"de\">"), "{text}");
    for query in ["?x=1", "?t=x", "?t=1&t=2", "?autoplay=yes", "?cc=%3Cscript%3E", "?token=a&tok=b"]
    {
        let page = plane.get(&format!("{path}{query}")).await;
        assert_eq!((page.status, page.header("cache-control")), (400, "no-store"), "{query}");
        let text = page.text();
        assert!(text.contains("<h1>Invalid link</h1>") && !text.contains("<script"), "{text}");
    }
}

#[tokio::test]
async fn only_configured_sites_may_embed_players() {
    let clip = titled(true, "A title");
    let plane = Plane::start_with(|config| {
        set(config);
        config.embed_origins = vec!["https://blog.example".to_owned()];
    })
    .await;
    clip.store(&plane.folder);
    let policy =
        async |path: String| plane.get(&path).await.header("content-security-policy").to_owned();
    let embed = policy(format!("/embed/{}", clip.index.video)).await;
    assert!(embed.ends_with("frame-ancestors 'self' https://blog.example"), "{embed}");
    let watch_page = policy(watch(&clip)).await;
    assert!(watch_page.ends_with("frame-ancestors 'self'"), "{watch_page}");
    let missing = policy("/embed/nope".to_owned()).await;
    assert_eq!(missing, embed);
}

#[tokio::test]
async fn oembed_documents_fit_the_maxima_and_only_own_urls_have_one() {
    let clip = titled(true, "A title");
    let (plane, id) = (plane_with(&clip).await, clip.index.video);
    let url = format!("https://video.example/base/watch/{id}");
    let reply = plane.send("GET", &oembed(&url, "&format=json"), &["Origin: null"]).await;
    assert_eq!((reply.status, reply.header("content-type")), (200, "application/json"));
    assert_eq!(reply.header("access-control-allow-origin"), "*");
    let document = reply.json();
    assert_eq!((&document["type"], &document["version"]), (&"video".into(), &"1.0".into()));
    assert_eq!((&document["width"], &document["height"]), (&640.into(), &360.into()));
    assert_eq!(document["thumbnail_width"], 640);
    assert_eq!(document["provider_name"], "streaming-service");
    assert!(document["cache_age"].is_u64());
    let html = document["html"].as_str().unwrap();
    let source = format!(
        "<iframe src=\"https://video.example/base/embed/{id}\" width=\"640\" height=\"360\""
    );
    assert!(html.starts_with(&source), "{html}");

    let small = plane.get(&oembed(&format!("{url}?t=20&token=x"), "&maxwidth=320&dnt=1")).await;
    let small = small.json();
    assert_eq!((&small["width"], &small["height"]), (&320.into(), &180.into()));
    assert!(small.get("thumbnail_url").is_none(), "{small}");
    let html = small["html"].as_str().unwrap();
    assert!(html.contains(&format!("/embed/{id}?t=20\"")), "{html}");

    for (path, status) in [
        (oembed(&url, "&format=xml"), 501),
        (oembed(&url, "&format=yaml"), 400),
        (oembed(&url, "&maxwidth=0"), 400),
        (oembed(&url, "&maxheight=wide"), 400),
        (oembed("nope", ""), 400),
        (oembed("https://evil.example/watch/x", ""), 404),
        (oembed(&format!("http://{}/watch/{id}", plane.addr), ""), 404),
        ("/oembed".to_owned(), 400),
    ] {
        let reply = plane.get(&path).await;
        assert_eq!(reply.status, status, "{path}");
        reply.code();
    }
}

#[tokio::test]
async fn without_a_public_url_absolute_urls_are_those_that_the_client_uses() {
    let clip = titled(true, "A title");
    let plane = Plane::start_with(|config| {
        config.web_files = Some(player());
        config.trusted_proxies = vec!["127.0.0.0/8".to_owned()];
    })
    .await;
    clip.store(&plane.folder);
    let plain = plane.get(&watch(&clip)).await.text();
    let own = format!("http://{}{}", plane.addr, watch(&clip));
    assert_eq!(tag(&plain, "og:url"), Some(own.clone()));
    assert_eq!(plane.get(&oembed(&own, "")).await.status, 200);
    let proxied = ["X-Forwarded-Proto: https", "X-Forwarded-Host: cdn.example"];
    let text = plane.send("GET", &watch(&clip), &proxied).await.text();
    let public = format!("https://cdn.example{}", watch(&clip));
    assert_eq!(tag(&text, "og:url"), Some(public.clone()));
    assert_eq!(plane.send("GET", &oembed(&public, ""), &proxied).await.status, 200);
    assert_eq!(plane.get(&oembed(&public, "")).await.status, 404);
}

#[tokio::test]
async fn pages_of_videos_can_be_switched_off_and_do_without_built_files() {
    let clip = titled(true, "A title");
    let off = Plane::start_with(|config| config.console = "off".to_owned()).await;
    clip.store(&off.folder);
    let embed = format!("/embed/{}", clip.index.video);
    for path in [watch(&clip), embed, "/watch/nope".to_owned(), "/oembed?url=x".to_owned()] {
        let reply = off.get(&path).await;
        assert_eq!((reply.status, reply.code().as_str()), (404, "not_found"), "{path}");
    }
    let bare = Plane::start().await;
    clip.store(&bare.folder);
    let page = bare.get(&watch(&clip)).await;
    assert_eq!((page.status, tag(&page.text(), "og:title").as_deref()), (200, Some("A title")));
    assert!(page.text().contains("make build") && !page.text().contains("<stream-player"));
}
