//! The console and the files of pages, over a real listener with files that stand in for a build.

use api::v1;
use dataplane::WebFiles;

use crate::{
    support::{Plane, Reply},
    token_errors,
};

const INDEX: &str = "<!doctype html><html><head><!--config--><link href=\"./icon.svg\"></head>\
    <body>console</body></html>";
const SCRIPT: &str = "console/_app/immutable/entry/start.1a2b.js";
const BROWSER: &str = "Accept: text/html,application/xhtml+xml,*/*;q=0.8";

/// A build with one script in three forms.
pub(crate) fn build() -> WebFiles {
    let files = [
        ("console/index.html", INDEX),
        (SCRIPT, "plain script"),
        (&format!("{SCRIPT}.br"), "as brotli"),
        (&format!("{SCRIPT}.gz"), "as gzip"),
        ("console/icon.svg", "<svg/>"),
        ("player/page-3c4d.js", "player"),
        ("player/manifest.json", "{}"),
    ];
    WebFiles::new(files.map(|(path, text)| (path.to_owned(), text.to_owned().into())))
}

async fn start() -> Plane {
    Plane::start_with(|config| config.web_files = Some(build())).await
}

fn is_problem(reply: &Reply) -> bool {
    reply.header("content-type") == "application/problem+json"
}

#[tokio::test]
async fn browsers_are_redirected_to_the_console_and_other_clients_are_not() {
    let plane = start().await;
    let browser = plane.send("GET", "/", &[BROWSER]).await;
    assert_eq!((browser.status, browser.header("location")), (302, "console/"));
    assert!(browser.header("vary").contains("Accept"), "{browser:?}");
    for accept in ["Accept: */*", "Accept: application/json", "X: y"] {
        let other = plane.send("GET", "/", &[accept]).await;
        assert_eq!((other.status, &other.json()["service"]), (200, &"streaming-service".into()));
        assert!(other.header("vary").split(", ").any(|name| name == "Accept"), "{other:?}");
    }
    let bare = plane.get("/console").await;
    assert_eq!((bare.status, bare.header("location")), (302, "console/"));
}

#[tokio::test]
async fn every_screen_is_the_console_page_and_missing_files_are_not_found() {
    let plane = start().await;
    for (path, icon) in [
        ("/console/", "./icon.svg"),
        ("/console/videos", "./icon.svg"),
        ("/console/videos/1/x", "../../icon.svg"),
        ("/console/videos/", "../icon.svg"),
        ("/console/index.html", "./icon.svg"),
        ("/console/callback?code=1", "./icon.svg"),
    ] {
        let page = plane.get(path).await;
        assert_eq!(page.status, 200, "{path}");
        assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
        assert_eq!(page.header("cache-control"), "public, no-cache");
        let text = page.text();
        assert!(text.contains(&format!("<link href=\"{icon}\">")), "{path}: {text}");
        let config = text.split_once("<script type=\"application/json\" id=\"config\">").unwrap().1;
        let config = config.split_once("</script>").unwrap().0;
        let config: serde_json::Value = serde_json::from_str(config).unwrap();
        assert_eq!(config["cdn"], serde_json::Value::Null);
        assert!(config["version"].is_string() && text.ends_with("console</body></html>"));
        let tag = format!("If-None-Match: {}", page.header("etag"));
        assert_eq!(plane.send("GET", path, &[&tag]).await.status, 304, "{path}");
        let head = plane.send("HEAD", path, &[]).await;
        assert_eq!((head.status, head.body.len()), (200, 0));
        assert_eq!(head.header("etag"), page.header("etag"));
    }
    for path in [
        "/console/missing.js",
        "/console/a/b/c/d/e/f/g/h/i/j",
        "/console/_app/immutable/entry/other.js",
        "/console/videos/x.html",
        "/console/../Cargo.toml",
        "/console/..",
        "/player/missing.js",
        "/player/manifest.json",
        "/player/../player/page-3c4d.js",
        "/player/",
        "/consoles",
    ] {
        assert_eq!(plane.get(path).await.status, 404, "{path}");
    }
    assert_eq!(plane.send_body("POST", "/console/", &[], b"x").await.status, 405);
}

#[tokio::test]
async fn files_are_sent_in_the_best_form_that_the_client_accepts() {
    let plane = start().await;
    let path = format!("/{SCRIPT}");
    let mut tags = Vec::new();
    for (accept, coding, body) in [
        ("gzip, deflate, br, zstd", "br", "as brotli"),
        ("gzip", "gzip", "as gzip"),
        ("br;q=0, gzip;q=0.5", "gzip", "as gzip"),
        ("identity", "", "plain script"),
        ("br;q=0, gzip;q=0", "", "plain script"),
    ] {
        let accept = format!("Accept-Encoding: {accept}");
        let reply = plane.send("GET", &path, &[&accept]).await;
        assert_eq!((reply.status, reply.header("content-encoding")), (200, coding), "{accept}");
        assert_eq!(reply.text(), body);
        assert_eq!(reply.header("content-type"), "text/javascript; charset=utf-8");
        assert_eq!(reply.header("cache-control"), "public, max-age=31536000, immutable");
        assert!(reply.header("vary").contains("Accept-Encoding"));
        assert_eq!(reply.header("x-content-type-options"), "nosniff");
        let tag = reply.header("etag").to_owned();
        let known = plane.send("GET", &path, &[&accept, &format!("If-None-Match: {tag}")]).await;
        assert_eq!((known.status, known.body.len()), (304, 0));
        tags.push(tag);
    }
    tags.dedup();
    tags.sort_unstable();
    tags.dedup();
    assert_eq!(tags.len(), 3, "{tags:?}");
    let icon = plane.send("GET", "/console/icon.svg", &["Accept-Encoding: br"]).await;
    assert_eq!(icon.header("content-type"), "image/svg+xml");
    assert_eq!(icon.header("cache-control"), "public, no-cache");
    assert_eq!(icon.header("content-encoding"), "");
    let player = plane.get("/player/page-3c4d.js").await;
    assert_eq!(player.header("cache-control"), "public, max-age=31536000, immutable");
}

#[tokio::test]
async fn without_built_files_the_console_shows_how_to_build_them() {
    let plane = Plane::start().await;
    let page = plane.get("/console/").await;
    assert_eq!((page.status, page.header("cache-control")), (503, "no-store"));
    let text = page.text();
    assert!(text.contains("<h1>The web console was not built</h1>"), "{text}");
    assert!(text.contains("make build"), "{text}");
}

#[tokio::test]
async fn pages_and_their_files_can_be_switched_off() {
    let plane = Plane::start_with(|config| {
        config.web_files = Some(build());
        config.console = "off".to_owned();
    })
    .await;
    for path in ["/console", "/console/", "/console/videos", "/player/page-3c4d.js"] {
        let reply = plane.send("GET", path, &[BROWSER]).await;
        assert!(reply.status == 404 && is_problem(&reply), "{path} {reply:?}");
    }
    let root = plane.send("GET", "/", &[BROWSER]).await;
    assert_eq!((root.status, &root.json()["service"]), (200, &"streaming-service".into()));
    assert!(!root.header("vary").split(", ").any(|name| name == "Accept"), "{root:?}");
}

#[tokio::test]
async fn the_console_loads_only_from_its_own_origin_and_the_cdn() {
    let plane = Plane::start_with(|config| {
        config.web_files = Some(build());
        config.cdn_base_url = Some("https://cdn.example.com/base".to_owned());
    })
    .await;
    let page = plane.get("/console/").await;
    let policy = page.header("content-security-policy").to_owned();
    for directive in [
        "default-src 'self'",
        "script-src 'self'",
        "connect-src 'self' https://cdn.example.com",
        "media-src 'self' blob: https://cdn.example.com",
        "frame-ancestors 'none'",
    ] {
        assert!(policy.split("; ").any(|found| found == directive), "{directive}: {policy}");
    }
    assert!(page.text().contains("\"cdn\":\"https://cdn.example.com\""));
    assert_eq!(page.header("referrer-policy"), "no-referrer");
    assert_eq!(page.header("x-content-type-options"), "nosniff");
    assert_eq!(page.header("cross-origin-opener-policy"), "same-origin");
    assert!(page.header("permissions-policy").contains("camera=()"));
}

#[tokio::test]
async fn the_console_gets_the_ways_of_signing_in_from_control() {
    let (plane, control) = token_errors::start(|config| config.web_files = Some(build())).await;
    let page = plane.get("/console/").await;
    assert!(page.text().contains("\"oidc\":null"), "{}", page.text());
    *control.user_services.sign_in_options.lock().unwrap() = v1::GetSignInOptionsResponse {
        issuer: "https://id.example/</script>".to_owned(),
        client_id: "console".to_owned(),
        origins: vec!["https://id.example".to_owned(), "https://x; script-src *".to_owned()],
    };
    // Another data plane, which has not kept the earlier reply.
    let urls = vec![control.url.clone()];
    let plane = Plane::start_with(|config| {
        config.web_files = Some(build());
        config.control_urls = urls;
    })
    .await;
    let page = plane.get("/console/callback?code=secret").await;
    let config = page.text().split("id=\"config\">").nth(1).unwrap().to_owned();
    let config: serde_json::Value =
        serde_json::from_str(config.split("</script>").next().unwrap()).unwrap();
    assert_eq!(config["oidc"]["issuer"], "https://id.example/</script>");
    assert_eq!(config["oidc"]["clientId"], "console");
    let policy = page.header("content-security-policy");
    assert!(policy.contains("connect-src 'self' https://id.example;"), "{policy}");
    assert_eq!(policy.matches("script-src").count(), 1, "{policy}");
}
