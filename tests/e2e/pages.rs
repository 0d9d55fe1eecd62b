//! The pages of a running service: the console, `/watch`, `/embed` and `/oembed` of public, private
//! and unready videos, and that no address with a secret gets into a log.

use std::{fs, time::Duration};

use serde_json::{Value, json};

use crate::harness::{
    client::{Client, Reply},
    clip::Numbered,
    program,
    stack::Stack,
};

const ENCODED: Duration = Duration::from_secs(120);
const UNKNOWN: &str = "01936b2e-7c1a-7d33-8b0e-000000000001";
const TITLE: &str = "A <b>title</b> & \"more\"";
const ESCAPED: &str = "A &lt;b&gt;title&lt;/b&gt; &amp; &quot;more&quot;";

/// Uploads a clip and returns its id.
async fn upload(client: &Client, visibility: &str) -> String {
    let fields = [("title", TITLE), ("description", "Two\nlines"), ("visibility", visibility)];
    let reply = client.upload(&Numbered::seconds(6).file(), &fields).await.expect(201);
    reply.json()["videoId"].as_str().expect("videoId").to_owned()
}

async fn encode(client: &Client, video: &str) {
    let job =
        client.transcode(video, &json!({"profiles": ["360p"], "generateThumbnails": true})).await;
    client.wait_job(&job, "completed", ENCODED).await;
}

fn meta(page: &str, name: &str) -> Option<String> {
    let from = page.find(&format!("=\"{name}\" content=\""))?;
    page[from..].split('"').nth(3).map(str::to_owned)
}

fn oembed(url: &str, more: &str) -> String {
    format!("/oembed?url={}{more}", url.replace(':', "%3A").replace('/', "%2F"))
}

/// Everything of a reply that depends on the video.
fn seen(reply: &Reply) -> (u16, Vec<u8>, [String; 4]) {
    let names = ["cache-control", "content-security-policy", "referrer-policy", "etag"];
    (reply.status, reply.body.to_vec(), names.map(|name| reply.header(name).to_owned()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_show_public_videos_and_reveal_nothing_of_others() {
    let stack = Stack::start_with(&[("LOG_LEVEL", "debug")]).await;
    let (client, visitor) = (stack.client(), stack.anonymous());
    let public = upload(&client, "public").await;
    let unready = visitor.get(&format!("/watch/{public}")).await.expect(200).text();
    assert!(unready.contains("<h1>Video</h1>"), "{unready}");
    for secret in [ESCAPED, "Two", "og:", "ld+json", "poster=", " src=\"../api"] {
        assert!(!unready.contains(secret), "{secret}: {unready}");
    }
    let private = upload(&client, "private").await;
    encode(&client, &public).await;
    encode(&client, &private).await;
    public_page(&stack, &visitor, &public).await;
    oembed_document(&stack, &visitor, &public, &private).await;

    for kind in ["watch", "embed"] {
        let unknown = visitor.get(&format!("/{kind}/{UNKNOWN}")).await.expect(404);
        assert!(unknown.text().contains("<h1>Video not found</h1>"), "{}", unknown.text());
        for query in ["", "?token=nonsense"] {
            let hidden = visitor.get(&format!("/{kind}/{private}{query}")).await;
            assert_eq!(seen(&hidden), seen(&unknown), "{kind}{query}");
        }
    }
    let minted = client.post(&format!("/api/videos/{private}/playback-token"), &json!({})).await;
    let token = minted.expect(200).json()["token"].as_str().expect("token").to_owned();
    let opened = visitor.get(&format!("/watch/{private}?token={token}")).await.expect(200);
    assert_eq!(opened.header("cache-control"), "no-store");
    assert!(opened.text().contains(ESCAPED) && meta(&opened.text(), "og:title").is_none());
    // A page of another origin could not read it: no CORS header.
    assert_eq!(opened.header("access-control-allow-origin"), "");

    visitor.get("/console/callback?code=secretcode&state=secretstate").await;
    visitor.get("/embed/nope?token=secrettoken").await.expect(404);
    visitor.get(&format!("/watch/{public}?secretname=1")).await.expect(400);
    nothing_secret_is_logged(
        &stack,
        &[&token, "secretcode", "secretstate", "secrettoken", "secretname"],
    );
}

async fn public_page(stack: &Stack, visitor: &Client, video: &str) {
    let page = visitor.get(&format!("/watch/{video}?t=1")).await.expect(200);
    let text = page.text();
    assert!(text.contains(&format!("<h1>{ESCAPED}</h1>")), "{text}");
    let base = format!("http://{}", stack.http);
    assert_eq!(meta(&text, "og:title").as_deref(), Some(ESCAPED));
    assert_eq!(meta(&text, "og:url"), Some(format!("{base}/watch/{video}")));
    assert_eq!(meta(&text, "description").as_deref(), Some("Two\nlines"));
    let poster = meta(&text, "og:image").expect("a poster");
    let poster = visitor.get(poster.strip_prefix(&base).expect("an own URL")).await.expect(200);
    let size = |name| meta(&text, name).expect("a size").parse::<u32>().expect("a number");
    let dimensions = jpeg_size(&poster.body);
    assert_eq!((size("og:image:width"), size("og:image:height")), dimensions);
    assert!(text.contains(" state=\"ready\"") && text.contains(" t=\"1\""), "{text}");
    let source = format!("/api/stream/{video}/hls/playlist.m3u8");
    assert!(!program::continuous_integration() || text.contains(&source), "{text}");
    visitor.get(&source).await.expect(200);
    let tag = [("if-none-match", page.header("etag"))];
    assert_eq!(visitor.get_with(&format!("/watch/{video}?t=1"), &tag).await.status, 304);
    // The Host of the request, not that of another site, is in the page.
    let foreign = [("x-forwarded-host", "evil.example"), ("x-forwarded-proto", "https")];
    let foreign = visitor.get_with(&format!("/watch/{video}"), &foreign).await.text();
    assert_eq!(meta(&foreign, "og:url"), Some(format!("{base}/watch/{video}")));
}

/// Width and height of a baseline JPEG, from its frame header (ITU-T T.81, B.2.2).
fn jpeg_size(bytes: &[u8]) -> (u32, u32) {
    let mut at = 2;
    loop {
        let (marker, length) = (bytes[at + 1], u16::from_be_bytes([bytes[at + 2], bytes[at + 3]]));
        if matches!(marker, 0xC0..=0xC2) {
            let side = |from: usize| u32::from(u16::from_be_bytes([bytes[from], bytes[from + 1]]));
            return (side(at + 7), side(at + 5));
        }
        at += 2 + usize::from(length);
    }
}

async fn oembed_document(stack: &Stack, visitor: &Client, public: &str, private: &str) {
    let url = |video: &str| format!("http://{}/watch/{video}", stack.http);
    let document = visitor.get(&oembed(&url(public), "&maxwidth=320&format=json")).await;
    assert_eq!(document.header("access-control-allow-origin"), "*");
    let document: Value = document.expect(200).json();
    assert_eq!((&document["type"], &document["title"]), (&json!("video"), &json!(TITLE)));
    let side = |name: &str| document[name].as_u64().expect("a size");
    let (width, height) = (side("width"), side("height"));
    assert!(width <= 320 && width.abs_diff(height * 16 / 9) <= 2, "{document}");
    let frame = format!("/embed/{public}\" width=\"{width}\" height=\"{height}\"");
    assert!(document["html"].as_str().expect("html").contains(&frame), "{document}");
    for (path, status) in [
        (oembed(&url(private), ""), 404),
        (oembed(&url(UNKNOWN), ""), 404),
        (oembed(&format!("https://evil.example/watch/{public}"), ""), 404),
        (oembed(&url(public), "&format=xml"), 501),
    ] {
        let reply = visitor.get(&path).await.expect(status);
        assert_eq!(reply.header("content-type"), "application/problem+json", "{path}");
        assert!(!reply.text().contains("title</b>"), "{}", reply.text());
    }
}

fn nothing_secret_is_logged(stack: &Stack, secrets: &[&str]) {
    let mut bytes = 0;
    for entry in fs::read_dir(stack.data().join("logs")).expect("logs") {
        let path = entry.expect("entry").path();
        let log = String::from_utf8_lossy(&fs::read(&path).expect("read log")).into_owned();
        bytes += log.len();
        for secret in secrets {
            assert!(!log.contains(secret), "{secret} is in {}", path.display());
        }
    }
    assert!(bytes > 0, "the planes write logs");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_console_is_embedded_with_strict_headers_and_can_be_switched_off() {
    let mut stack = Stack::start().await;
    let browser = [("accept", "text/html,*/*;q=0.8"), ("accept-encoding", "br, gzip")];
    let root = stack.anonymous().get_with("/", &browser).await.expect(302);
    assert_eq!(root.header("location"), "console/");
    stack.anonymous().get("/").await.expect(200);
    let console = stack.anonymous().get("/console/videos").await;
    let policy = console.header("content-security-policy").to_owned();
    assert!(policy.contains("script-src 'self';"), "{policy}");
    assert!(policy.ends_with("frame-ancestors 'none'"), "{policy}");
    assert!(console.text().contains("<h1>") || console.status == 200, "{}", console.text());
    if console.status != 200 {
        assert!(!program::continuous_integration(), "web/dist is missing: run tools/build-web");
    } else {
        let text = console.text();
        assert!(text.contains("id=\"config\">{") && !text.contains("<script>"), "{text}");
        let script = text.split("<script type=\"module\" src=\"./").nth(1).expect("a script");
        let script = format!("/console/{}", script.split('"').next().expect("its end"));
        let script = stack.anonymous().get_with(&script, &browser).await.expect(200);
        assert!(script.header("cache-control").contains("immutable"));
        assert_eq!(script.header("content-type"), "text/javascript; charset=utf-8");
    }
    stack.stop();
    stack.set("STREAMING_CONSOLE", "off");
    stack.up().await;
    for path in ["/console", "/console/", "/watch/nope", "/embed/nope", "/oembed?url=x"] {
        let reply = stack.anonymous().get_with(path, &browser).await.expect(404);
        assert_eq!(reply.header("content-type"), "application/problem+json", "{path}");
    }
    stack.anonymous().get_with("/", &browser).await.expect(200);
}
