//! Signing in to the console: one-time links, sessions, records of tokens, and that no secret is
//! stored or logged.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use bytes::Bytes;
use hyper::Method;
use serde_json::{Value, json};

use crate::harness::{
    backing::sql,
    client::{Client, Reply},
    clip::Numbered,
    eventually,
    fleet::Fleet,
    stack::Stack,
};

/// Time within which every data plane must apply a revocation.
const REVOKED: Duration = Duration::from_secs(1);
/// Time within which a use that only a data plane saw is recorded.
const REPORTED: Duration = Duration::from_secs(25);
const ENCODED: Duration = Duration::from_secs(120);

fn command(stack: &Stack, args: &[&str]) -> String {
    let output = stack.command("streaming-service").args(args).output().expect("run command");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{args:?}: {errors}");
    String::from_utf8(output.stdout).expect("UTF-8").trim().to_owned()
}

/// The code in a link to the console of this service.
fn code_of(stack: &Stack, link: &str) -> String {
    let start = format!("http://{}/console/#code=", stack.http);
    let code = link.trim().strip_prefix(&start).unwrap_or_else(|| panic!("{link}: no {start}"));
    assert!(code.len() >= 22 && code.bytes().all(|c| c.is_ascii_alphanumeric()), "{code}");
    code.to_owned()
}

async fn sign_in(client: &Client, code: &str) -> Reply {
    client.post("/api/auth/sign-in", &json!({ "code": code })).await
}

async fn delete(client: &Client, path: &str) -> Reply {
    client.send(Method::DELETE, path, &[], Bytes::new()).await.expect("DELETE")
}

fn text(reply: &Value, field: &str) -> String {
    reply[field].as_str().unwrap_or_else(|| panic!("no {field} in {reply}")).to_owned()
}

async fn mint(client: &Client, role: &str, subject: &str) -> Value {
    let request = json!({ "role": role, "subject": subject, "ttlSeconds": 86_400 });
    let reply = client.post("/api/tokens", &request).await.expect(201);
    assert_eq!(reply.header("cache-control"), "no-store");
    reply.json()
}

async fn records(client: &Client) -> Vec<Value> {
    let listed = client.get("/api/tokens?pageSize=100").await.expect(200).json();
    listed["tokens"].as_array().expect("tokens").clone()
}

/// Asserts that a token is rejected in time.
async fn rejected(client: &Client) {
    let start = Instant::now();
    while client.get("/api/me").await.status != 401 {
        assert!(start.elapsed() < REVOKED, "a revoked token is accepted");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Asserts that no file below a folder contains one of the secrets. Files that may are left out.
fn search(folder: &Path, secrets: &[&str], found_in: &mut Vec<String>) -> usize {
    let mut searched = 0;
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let (path, kind) = (entry.path(), entry.file_type().expect("a type"));
        if kind.is_dir() {
            searched += search(&path, secrets, found_in);
        } else if kind.is_file() {
            let bytes = fs::read(&path).unwrap_or_default();
            searched += 1;
            let has = |secret: &&&str| {
                let secret = secret.as_bytes();
                bytes.windows(secret.len()).any(|window| window == secret)
            };
            if secrets.iter().any(|secret| has(&secret)) {
                found_in.push(path.display().to_string());
            }
        }
    }
    searched
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_signs_in_once_and_leaves_no_secret_behind() {
    let stack = Stack::start_with(&[("LOG_LEVEL", "debug")]).await;
    let anonymous = stack.anonymous();
    let printed = eventually("the ready block", Duration::from_secs(20), async || {
        let text = fs::read_to_string(stack.beside().join("up-1.out")).expect("output of up");
        text.contains("Ctrl-C").then_some(text)
    })
    .await;
    assert!(!printed.contains(&stack.token), "the ready block has no token");
    let block = printed.split("streaming-service is ready").nth(1).expect("the ready block");
    let first = block.lines().find(|line| line.contains("http")).expect("a link");
    sign_in(&anonymous, &code_of(&stack, first)).await.expect(200);

    let link: Value = serde_json::from_str(&command(&stack, &["console", "--json"])).expect("JSON");
    assert!(text(&link, "expiresAt").ends_with('Z'), "{link}");
    let used = code_of(&stack, &text(&link, "console"));
    let reply = sign_in(&anonymous, &used).await.expect(200);
    assert_eq!(reply.header("cache-control"), "no-store");
    let session = stack.client().with_token(&text(&reply.json(), "token"));
    let me = session.get("/api/me").await.expect(200).json();
    assert_eq!((text(&me, "subject"), text(&me, "role")), ("admin".into(), "admin".into()));
    assert_eq!((text(&me, "tenant"), &me["limits"]["general"]), ("default".into(), &Value::Null));
    let late = code_of(&stack, &command(&stack, &["console"]));
    sql(&stack, "UPDATE sign_in_codes SET expires_at = now() WHERE used_at IS NULL");
    for code in [&used, &late, "unknown"] {
        let reply = sign_in(&anonymous, code).await.expect(401);
        assert_eq!(reply.json()["code"], "unauthenticated");
    }
    for bad in [json!({}), json!({ "code": "" }), json!({ "code": 1 }), json!({ "x": used })] {
        anonymous.post("/api/auth/sign-in", &bad).await.expect(422);
    }

    let minted = mint(&session, "editor", "ana").await;
    let (id, token) = (text(&minted, "id"), text(&minted, "token"));
    let ana = session.with_token(&token);
    ana.get("/api/videos").await.expect(200);
    ana.get("/api/tokens").await.expect(403);
    delete(&ana, "/api/tokens/01936b2e-7c1a-7d33-8b0e-000000000001").await.expect(403);
    session.get("/api/tokens?size=1").await.expect(400);
    let listed = eventually("the day of use", REPORTED, async || {
        let records = records(&session).await;
        let record = records.iter().find(|record| record["id"] == id.as_str())?.clone();
        record["lastUsedDay"].is_string().then_some(record)
    })
    .await;
    let fields: Vec<&String> = listed.as_object().expect("an object").keys().collect();
    let expected = ["createdAt", "expiresAt", "id", "lastUsedDay", "role", "subject", "tenant"];
    assert_eq!(fields, expected, "never the token");
    delete(&session, &format!("/api/tokens/{id}")).await.expect(204);
    rejected(&ana).await;
    delete(&session, &format!("/api/tokens/{id}")).await.expect(404);

    let kept = text(&mint(&session, "viewer", "bea").await, "token");
    session.post("/api/auth/sign-out", &json!({})).await.expect(204);
    rejected(&session).await;
    session.with_token(&kept).get("/api/videos").await.expect(200);
    let pasted = stack.client();
    pasted.post("/api/auth/sign-out", &json!({})).await.expect(204);
    pasted.get("/api/videos").await.expect(200);

    let own = session.token().expect("a token").to_owned();
    let mut found_in = Vec::new();
    let searched = search(stack.beside(), &[&used, &late, &own, &token, &kept], &mut found_in);
    assert!(searched > 100, "database, logs and run files are searched: {searched}");
    assert_eq!(found_in, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_only_a_data_plane_sees_gets_its_record() {
    let stack = Stack::start().await;
    let admin = stack.client();
    let clip = Numbered::seconds(2).file();
    let reply = admin.upload(&clip, &[("visibility", "private")]).await.expect(201);
    let video = text(&reply.json(), "videoId");
    let job = admin.transcode(&video, &json!({ "profiles": ["360p"] })).await;
    admin.wait_job(&job, "completed", ENCODED).await;
    let key = stack.data().join("root.keys");
    let key = key.to_str().expect("UTF-8");
    let args = ["token", "mint", "--root-key", key, "--role", "viewer", "--subject", "watcher"];
    let watcher = admin.with_token(&command(&stack, &args));
    watcher.get(&format!("/api/stream/{video}/hls/playlist.m3u8")).await.expect(200);
    eventually("the record", REPORTED, async || {
        let records = records(&admin).await;
        let record = records.iter().find(|record| record["subject"] == "watcher")?;
        record["lastUsedDay"].is_string().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_are_shown_without_being_used_and_no_link_leads_to_a_console_that_is_off() {
    let stack = Stack::start_with(&[
        ("STREAMING_RATE_GENERAL", "50/1h"),
        ("STREAMING_RATE_UPLOAD", "3/1h"),
        ("STREAMING_CONSOLE", "off"),
    ])
    .await;
    let viewer = command(&stack, &["token", "mint", "--role", "viewer", "--subject", "v"]);
    let viewer = stack.client().with_token(&viewer);
    for remaining in [49, 48, 47] {
        let reply = viewer.get("/api/me").await.expect(200);
        assert_eq!(reply.header("ratelimit-remaining"), remaining.to_string());
        let limits = &reply.json()["limits"];
        assert_eq!(limits["general"]["limit"], 50);
        assert_eq!(limits["general"]["remaining"], remaining);
        assert!(limits["general"]["resetSeconds"].as_u64().is_some_and(|seconds| seconds > 60));
        let full = json!({ "limit": 3, "remaining": 3, "resetSeconds": 0 });
        assert_eq!((&limits["upload"], &limits["stream"]), (&full, &Value::Null));
    }
    viewer.get("/api/me?verbose=1").await.expect(400);
    let printed = eventually("the ready block", Duration::from_secs(20), async || {
        let text = fs::read_to_string(stack.beside().join("up-1.out")).expect("output of up");
        text.contains("Ctrl-C").then_some(text)
    })
    .await;
    assert!(!printed.contains("#code="), "{printed}");
    let output = stack.command("streaming-service").arg("console").output().expect("run command");
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), &b""[..]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_stay_as_narrow_as_their_token_and_end_on_every_data_plane() {
    let fleet = Fleet::start(&[], 1).await;
    let admin = fleet.base.client();
    let planes: Vec<Client> =
        fleet.dataplanes.iter().map(|plane| Client::new(&plane.address, None)).collect();
    let everywhere = |token: &str| -> Vec<Client> {
        planes.iter().map(|plane| plane.with_token(token)).collect()
    };
    let session_of = async |client: &Client| {
        let reply = client.post("/api/auth/session", &json!({})).await.expect(200);
        text(&reply.json(), "token")
    };
    let minted = mint(&admin, "admin", "narrow").await;
    let narrow = ["token", "narrow", "--operation", "read", &text(&minted, "token")];
    let reader = everywhere(&session_of(&admin.with_token(&command(&fleet.base, &narrow))).await);
    for plane in &reader {
        plane.get("/api/videos").await.expect(200);
        for path in ["/api/tokens", "/api/auth/session"] {
            let reply = plane.post(path, &json!({ "role": "viewer", "subject": "x" })).await;
            assert_eq!(reply.status, if path == "/api/tokens" { 403 } else { 200 }, "{path}");
        }
        let nested = plane.with_token(&session_of(plane).await);
        nested.post("/api/tokens", &json!({ "role": "viewer", "subject": "x" })).await.expect(403);
    }
    // The session ends with the token behind it, and with signing out, on the other data plane.
    delete(&admin, &format!("/api/tokens/{}", text(&minted, "id"))).await.expect(204);
    for plane in &reader {
        rejected(plane).await;
    }
    let session = everywhere(&session_of(&admin).await);
    session[1].get("/api/me").await.expect(200);
    session[0].post("/api/auth/sign-out", &json!({})).await.expect(204);
    rejected(&session[1]).await;
    admin.get("/api/me").await.expect(200);
}
