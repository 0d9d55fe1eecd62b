//! Every REST route with every kind of caller: docs/access.md defines the expected result, the
//! OpenAPI document the set of routes. A route that docs/access.md does not list fails the test.

use std::collections::BTreeMap;

use bytes::Bytes;
use hyper::Method;
use serde_json::{Value, json};

use crate::harness::{
    client::{Client, Reply},
    clip::Numbered,
    eventually, program,
    stack::Stack,
};

const ROLES: [&str; 5] = ["viewer", "editor", "admin", "worker", "dataplane"];
/// A well-formed id that does not exist.
const UNKNOWN: &str = "01936b2e-7c1a-7d33-8b0e-000000000001";
const PAGES: [&str; 5] = ["/console", "/player/", "/watch/", "/embed/", "/oembed"];
const BOUNDARY: &str = "roles-boundary";

/// The table of docs/access.md: from "METHOD /path" to the result for each of [`ROLES`].
fn table() -> BTreeMap<String, Vec<String>> {
    let text = std::fs::read_to_string(program::repository().join("docs/access.md")).expect("docs");
    let table = text.split("### REST").nth(1).expect("a table of routes");
    let table = table.split("\n### ").next().expect("its end");
    let cells = |line: &str| -> Vec<String> {
        let cells = line.trim_matches('|').split('|');
        cells.map(|cell| cell.trim().trim_matches('`').to_owned()).collect()
    };
    let mut rows = table.lines().filter(|line| line.starts_with('|')).map(cells);
    assert_eq!(rows.next().expect("a head")[1..], ROLES);
    rows.skip(1).map(|mut row| (row.remove(0), row)).collect()
}

/// All routes of the OpenAPI document.
async fn routes(stack: &Stack) -> Vec<(String, String)> {
    let document = stack.anonymous().get("/api/openapi.json").await.expect(200).json();
    let mut routes = Vec::new();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for method in methods.as_object().expect("methods").keys() {
            let known = ["get", "head", "post", "put", "patch", "delete"];
            if known.contains(&method.as_str()) {
                routes.push((method.to_uppercase(), path.clone()));
            }
        }
    }
    // HEAD behaves like GET where both are listed.
    let gets: Vec<String> =
        routes.iter().filter(|(method, _)| method == "GET").map(|(_, path)| path.clone()).collect();
    routes.retain(|(method, path)| method != "HEAD" || !gets.contains(path));
    // The document lists HEAD only for routes without GET; an upload in progress has none.
    let upload = ("HEAD".to_owned(), "/api/uploads/{id}".to_owned());
    if !routes.contains(&upload) {
        routes.push(upload);
    }
    routes
}

/// The values of the path parameters.
struct Ids {
    video: String,
    job: String,
    version: String,
}

impl Ids {
    fn unknown() -> Self {
        let unknown = || UNKNOWN.to_owned();
        Self { video: unknown(), job: unknown(), version: unknown() }
    }

    fn fill(&self, path: &str) -> String {
        let id = match path.split('/').nth(2) {
            Some("jobs") => &self.job,
            Some("uploads") => UNKNOWN,
            _ => self.video.as_str(),
        };
        path.replace("{id}", id)
            .replace("{version}", &self.version)
            .replace("{rendition}", "360p")
            .replace("{rung}", "360p")
            .replace("{file}", "init.mp4")
            .replace("{path}", "videos")
            .replace("{caption}", UNKNOWN)
            .replace("{n}.jpg", "0.jpg")
            .replace("{n}", "0")
    }
}

/// Sends a request with a body that the route can parse.
async fn request(client: &Client, method: &str, path: &str) -> Reply {
    let junk = "not a video";
    let form = format!(
        "--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"video\"; filename=\"a.mp4\"\r\n\r\n\
         {junk}\r\n--{BOUNDARY}--\r\n"
    );
    let multipart = format!("multipart/form-data; boundary={BOUNDARY}");
    let (kind, body) = match (method, path) {
        ("GET" | "HEAD" | "DELETE", _) => ("", String::new()),
        (_, "/api/videos/upload") => (multipart.as_str(), form),
        ("PATCH", path) if path.starts_with("/api/videos/") => {
            ("application/json", json!({"title": "changed"}).to_string())
        }
        (_, path) if path.starts_with("/api/uploads") => {
            ("application/offset+octet-stream", "".into())
        }
        ("PUT", _) => ("application/octet-stream", junk.to_owned()),
        _ => ("application/json", "{}".to_owned()),
    };
    let mut headers =
        vec![("tus-resumable", "1.0.0"), ("upload-offset", "0"), ("upload-length", "5")];
    if !kind.is_empty() {
        headers.push(("content-type", kind));
    }
    // Streams of events do not end by themselves.
    let method = if path.ends_with("/events") { "HEAD" } else { method };
    let method = Method::from_bytes(method.as_bytes()).expect("method");
    client.send(method, path, &headers, Bytes::from(body)).await.expect("send")
}

async fn mint(stack: &Stack, role: &str, tenant: &str) -> String {
    let request = api::v1::MintTokenRequest {
        role: role.to_owned(),
        subject: format!("walk-{role}"),
        ttl_seconds: 3600,
        tenant: tenant.to_owned(),
    };
    stack.rpc().auth().mint_token(request).await.expect("mint").into_inner().token
}

/// Publishes a private video and returns its ids.
async fn clip(stack: &Stack) -> Ids {
    let admin = stack.client();
    let reply = admin.upload(&Numbered::seconds(6).file(), &[("visibility", "private")]).await;
    let video = reply.expect(201).json()["videoId"].as_str().expect("videoId").to_owned();
    let job = admin.transcode(&video, &json!({"profiles": ["360p"]})).await;
    admin.wait_job(&job, "completed", std::time::Duration::from_secs(120)).await;
    Ids { video, version: job.clone(), job }
}

fn offline(stack: &Stack, args: &[&str]) -> String {
    let output = stack.command("streaming-service").args(args).output().expect("run command");
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8").trim().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_permits_exactly_the_documented_roles() {
    let stack = Stack::start().await;
    let (table, routes) = (table(), routes(&stack).await);
    let mut existing: Vec<String> =
        routes.iter().map(|(method, path)| format!("{method} {path}")).collect();
    existing.sort_unstable();
    let listed: Vec<String> = table.keys().cloned().collect();
    assert_eq!(
        listed, existing,
        "docs/access.md, table REST: the routes differ from those of the service"
    );
    let clip = clip(&stack).await;
    each_role_is_permitted_its_routes(&stack, &table, &routes, &clip).await;
    invalid_tokens_are_rejected_by_every_route(&stack, &table, &routes, &clip).await;
    other_tenants_get_the_reply_for_unknown_ids(&stack, &table, &routes, &clip).await;
}

async fn each_role_is_permitted_its_routes(
    stack: &Stack,
    table: &BTreeMap<String, Vec<String>>,
    routes: &[(String, String)],
    clip: &Ids,
) {
    let unknown = Ids::unknown();
    for (number, role) in ROLES.into_iter().enumerate() {
        let client = stack.client().with_token(&mint(stack, role, "").await);
        for (method, path) in routes {
            let cell = table[&format!("{method} {path}")][number].as_str();
            // Routes that change something get unknown ids, so that nothing is changed; the status
            // still shows whether the role was allowed.
            let ids = if method == "GET" { clip } else { &unknown };
            let filled = ids.fill(path);
            if filled.ends_with("/events") {
                continue;
            }
            let reply = request(&client, method, &filled).await;
            let rejected = matches!(reply.status, 401 | 403);
            match cell {
                "open" if path.as_str() == "/api/auth/exchange" => {}
                // The body has no token to renew, and no code.
                "open"
                    if matches!(
                        path.as_str(),
                        "/api/playback-token/renew" | "/api/auth/sign-in"
                    ) =>
                {
                    assert_eq!(reply.status, 422, "{role} {method} {filled}");
                }
                // Pages: redirects, files that need not have been built, a private video.
                "open" if PAGES.iter().any(|page| path.starts_with(page)) => {
                    assert!(!rejected && reply.status != 500, "{role} {method} {filled}");
                }
                "open" => assert_eq!(reply.status, 200, "{role} {method} {filled}"),
                "yes" | "any" => assert!(!rejected, "{role} {method} {filled}: {}", reply.text()),
                _ => assert_eq!(reply.status, 403, "{role} {method} {filled}: {}", reply.text()),
            }
            if cell == "yes" && method == "GET" && !path.contains("{n}") {
                assert_ne!(reply.status, 500, "{role} {method} {filled}");
            }
        }
    }
}

async fn invalid_tokens_are_rejected_by_every_route(
    stack: &Stack,
    table: &BTreeMap<String, Vec<String>>,
    routes: &[(String, String)],
    clip: &Ids,
) {
    let revoked = mint(stack, "admin", "").await;
    offline(stack, &["token", "revoke", &revoked]);
    let key = stack.data().join("root.keys");
    let key = key.to_str().expect("UTF-8");
    let short = ["token", "mint", "--root-key", key, "--role", "admin", "--ttl", "1s"];
    let expired = offline(stack, &short);
    let narrowed = offline(stack, &["token", "narrow", "--video", UNKNOWN, "--operation", "play"]);
    let playback = offline(stack, &["token", "playback", &clip.video]);
    let admin = stack.client();
    let late = admin.with_token(&expired);
    eventually("the token expires", std::time::Duration::from_secs(10), async || {
        (late.get("/api/videos").await.status == 401).then_some(())
    })
    .await;
    for (kind, token, status) in [
        ("none", None, 401),
        ("forged", Some("En0KEwoEMTIzNBgDIgkKBwgK"), 401),
        ("expired", Some(expired.as_str()), 401),
        ("revoked", Some(revoked.as_str()), 401),
        ("narrowed", Some(narrowed.as_str()), 403),
        ("playback", Some(playback.as_str()), 403),
    ] {
        let client = token.map_or(stack.anonymous(), |token| admin.with_token(token));
        for (method, path) in routes {
            if table[&format!("{method} {path}")][2] == "open" {
                continue;
            }
            let filled = clip.fill(path);
            let reply = request(&client, method, &filled).await;
            // Without a token, the existence of a private video is not revealed; a token that does
            // not allow it is rejected as such.
            let expected = match (path.starts_with("/api/stream"), kind) {
                (true, "none") => 404,
                (true, _) => 403,
                (false, _) => status,
            };
            if kind == "narrowed" && table[&format!("{method} {path}")][2] == "any" {
                assert!(reply.status < 300, "{kind} {method} {filled}: {}", reply.text());
                continue;
            }
            assert_eq!(reply.status, expected, "{kind} {method} {filled}: {}", reply.text());
            if expected == 401 {
                assert!(!reply.header("www-authenticate").is_empty(), "{kind} {method} {filled}");
            }
        }
    }
    let opened = format!("/api/stream/{}/hls/playlist.m3u8?token={playback}", clip.video);
    stack.anonymous().get(&opened).await.expect(200);
}

/// Another tenant's ids get exactly the same responses as unknown ids.
async fn other_tenants_get_the_reply_for_unknown_ids(
    stack: &Stack,
    table: &BTreeMap<String, Vec<String>>,
    routes: &[(String, String)],
    clip: &Ids,
) {
    let other_tenant = stack.client().with_token(&mint(stack, "admin", "elsewhere").await);
    let unknown = Ids::unknown();
    for (method, path) in routes {
        if table[&format!("{method} {path}")][2] == "open" || !path.contains("{id}") {
            continue;
        }
        let foreign = request(&other_tenant, method, &clip.fill(path)).await;
        let missing = request(&other_tenant, method, &unknown.fill(path)).await;
        assert_eq!(foreign.status, 404, "{method} {path}: {}", foreign.text());
        assert_eq!(foreign.status, missing.status, "{method} {path}");
        assert_eq!(foreign.body, missing.body, "{method} {path}");
    }
    for path in ["/api/videos", "/api/jobs"] {
        let listed = other_tenant.get(path).await.expect(200).json();
        let rows = listed.as_object().expect("an object").values().find_map(Value::as_array);
        assert_eq!(rows.map(Vec::len), Some(0), "{path}: {listed}");
    }
    let admin = stack.client();
    let video = admin.get(&format!("/api/videos/{}", clip.video)).await.expect(200).json();
    assert_ne!(video["title"], "changed", "no rejected change was made");
    // Fields that a caller may not set, such as owner and state, are not changed.
    let forged = json!({"title": "mine", "tenant": "elsewhere", "owner": "x", "state": "failed"});
    let headers = [("content-type", "application/json")];
    let path = format!("/api/videos/{}", clip.video);
    let body = Bytes::from(forged.to_string());
    let patched = admin.send(Method::PATCH, &path, &headers, body).await.expect("PATCH");
    assert!(matches!(patched.status, 200 | 400 | 422), "{}", patched.text());
    let after = admin.get(&path).await.expect(200).json();
    assert_eq!(after["state"], video["state"]);
    other_tenant.get(&path).await.expect(404);
}
