//! Tokens in the running service: JWTs of an identity provider over REST, gRPC and playback;
//! exchange, narrowing, revocation and rotation, each observed at the data plane.

use std::{fs, path::PathBuf, time::Duration};

use bytes::Bytes;
use hyper::Method;
use serde_json::{Value, json};

use crate::{
    harness::{client::Client, clip::Numbered, eventually, stack::Stack},
    provider::{AUDIENCE, ISSUER, Signer, claims, other_form, with},
};

/// Time within which every instance must apply a revocation or a new key.
const REVOCATION_DEADLINE: Duration = Duration::from_secs(5);
const ENCODED: Duration = Duration::from_secs(120);
const SECRET: &str = "a secret of the tests, long enough";

/// An identity provider with one signer per algorithm.
struct Provider {
    signers: [Signer; 4],
    _folder: tempfile::TempDir,
    keys: PathBuf,
    secret: PathBuf,
}

impl Provider {
    fn new() -> Self {
        let signers = [
            Signer::rs256("r"),
            Signer::es256("e"),
            Signer::eddsa("d"),
            Signer::hs256(SECRET.as_bytes()),
        ];
        let folder = tempfile::tempdir().expect("folder");
        let (keys, secret) = (folder.path().join("keys.pem"), folder.path().join("secret"));
        let pems: String = signers[..3].iter().map(Signer::pem).collect();
        fs::write(&keys, pems).expect("write keys");
        fs::write(&secret, format!("{SECRET}\n")).expect("write secret");
        Self { signers, _folder: folder, keys, secret }
    }

    async fn stack(&self) -> Stack {
        Stack::start_with(&[
            ("STREAMING_JWT_ISSUER", ISSUER),
            ("STREAMING_JWT_AUDIENCE", AUDIENCE),
            ("STREAMING_JWT_PUBLIC_KEY_FILE", self.keys.to_str().expect("UTF-8")),
            ("STREAMING_JWT_HS256_SECRET_FILE", self.secret.to_str().expect("UTF-8")),
        ])
        .await
    }
}

fn soon() -> i64 {
    let now = std::time::UNIX_EPOCH.elapsed().expect("a clock after 1970").as_secs();
    i64::try_from(now).expect("seconds") + 600
}

fn good(role: &str) -> Value {
    claims(role, "default", soon())
}

/// Uploads a private video, transcodes it and returns its id.
async fn private_video(stack: &Stack) -> String {
    let admin = stack.client();
    let clip = Numbered::seconds(6).file();
    let reply = admin.upload(&clip, &[("visibility", "private")]).await.expect(201);
    let video = reply.json()["videoId"].as_str().expect("videoId").to_owned();
    let job = admin.transcode(&video, &json!({"profiles": ["360p"]})).await;
    admin.wait_job(&job, "completed", ENCODED).await;
    video
}

fn command(stack: &Stack, args: &[&str]) -> String {
    let output = stack.command("streaming-service").args(args).output().expect("run command");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{args:?}: {errors}");
    String::from_utf8(output.stdout).expect("UTF-8").trim().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_grant_exactly_their_rights() {
    let provider = Provider::new();
    let stack = provider.stack().await;
    let video = private_video(&stack).await;
    let playlist = format!("/api/stream/{video}/hls/playlist.m3u8");
    for signer in &provider.signers {
        jwts_authenticate_as_bearer_tokens(&stack, signer, &playlist).await;
    }
    invalid_jwts_are_rejected(&stack, &provider.signers, &playlist).await;
    a_revoked_token_is_rejected_in_time(&stack, &provider.signers[1], &video).await;
    a_narrowed_token_opens_only_its_video(&stack, &video).await;
    root_keys_rotate_while_planes_run(&stack, &playlist).await;
}

async fn jwts_authenticate_as_bearer_tokens(stack: &Stack, signer: &Signer, playlist: &str) {
    let jwt = signer.token(&good("editor"));
    let caller = Client::new(&stack.http, Some(&jwt));
    caller.get("/api/videos").await.expect(200);
    let mut jobs = stack.rpc().with_token(&jwt).jobs();
    let jobs = jobs.list_jobs(api::v1::ListJobsRequest::default()).await;
    let jobs = jobs.expect("list jobs").into_inner().jobs;
    assert_eq!(jobs.len(), 1, "{} lists its tenant's job", signer.alg());
    let master = caller.get(playlist).await.expect(200);
    assert!(master.header("cache-control").starts_with("private"), "{:?}", master.headers);
    let text = master.text();
    assert!(!text.contains(&jwt[..20]), "a JWT must not be accepted in a URL");
    let media = text.lines().find(|line| line.ends_with(".m3u8")).expect("a rendition");
    let media = if media.starts_with('/') {
        media.to_owned()
    } else {
        playlist.replace("hls/playlist.m3u8", media.trim_start_matches("../"))
    };
    caller.get(&media).await.expect(200);
    stack.anonymous().get(&media).await.expect(404);

    let exchanged = caller.post("/api/auth/exchange", &json!({})).await.expect(200).json();
    let biscuit = exchanged["token"].as_str().expect("token");
    assert!(!biscuit.contains('.'), "a biscuit");
    assert!(exchanged["expiresAt"].as_str().is_some_and(|time| time.ends_with('Z')), "{exchanged}");
    let exchanged = caller.with_token(biscuit);
    exchanged.get("/api/videos").await.expect(200);
    exchanged.get(playlist).await.expect(200);
}

async fn invalid_jwts_are_rejected(stack: &Stack, signers: &[Signer; 4], playlist: &str) {
    let [rsa, .., shared] = signers;
    let none = rsa.sign(&json!({"alg": "none", "typ": "JWT"}), &good("admin"));
    let forged = Signer::hs256(rsa.pem().as_bytes()).token(&good("admin"));
    let cases = [
        (none, 401, "unauthenticated"),
        (forged, 401, "unauthenticated"),
        (Signer::eddsa("d").token(&good("admin")), 401, "unauthenticated"),
        (shared.token(&with(&good("admin"), "exp", json!("9999999999"))), 401, "unauthenticated"),
        (shared.token(&claims("admin", "default", soon() - 601)), 401, "unauthenticated"),
        (shared.token(&with(&good("admin"), "aud", json!("other"))), 401, "unauthenticated"),
        (shared.token(&good("worker")), 403, "unknown_role"),
        (shared.token(&good("owner")), 403, "unknown_role"),
        (shared.token(&with(&good("admin"), "tenant", Value::Null)), 403, "unknown_tenant"),
    ];
    for (jwt, status, code) in &cases {
        let caller = Client::new(&stack.http, Some(jwt));
        for reply in
            [caller.get("/api/videos").await, caller.post("/api/auth/exchange", &json!({})).await]
        {
            assert_eq!(
                (reply.status, reply.json()["code"].as_str()),
                (*status, Some(*code)),
                "{jwt}"
            );
            let challenged = !reply.header("www-authenticate").is_empty();
            assert_eq!(challenged, *status == 401, "{:?}", reply.headers);
            assert!(!reply.text().contains(&jwt[..20]), "the reply contains no part of the token");
        }
        caller.get(playlist).await.expect(403);
    }
    // Valid tokens that must still be rejected: another tenant's, one whose role does not permit
    // the operation, and one passed where a playback token belongs.
    let other_tenant =
        Client::new(&stack.http, Some(&shared.token(&claims("admin", "other", soon()))));
    other_tenant.get(playlist).await.expect(404);
    let viewer = shared.token(&good("viewer"));
    let reply =
        Client::new(&stack.http, Some(&viewer)).upload(&Numbered::seconds(6).file(), &[]).await;
    reply.expect(403);
    stack.anonymous().get(&format!("{playlist}?token={viewer}")).await.expect(403);
}

/// Polls a URL until it returns `status`.
async fn answers(client: &Client, path: &str, status: u16) {
    eventually(&format!("{path} returns {status}"), REVOCATION_DEADLINE, async || {
        (client.get(path).await.status == status).then_some(())
    })
    .await;
}

async fn a_revoked_token_is_rejected_in_time(stack: &Stack, signer: &Signer, video: &str) {
    let playlist = format!("/api/stream/{video}/hls/playlist.m3u8");
    let admin = stack.client();
    let minted = admin.post(&format!("/api/videos/{video}/playback-token"), &json!({})).await;
    let minted = minted.expect(200).json();
    let url = minted["hls"].as_str().expect("hls").to_owned();
    stack.anonymous().get(&url).await.expect(200);
    let jwt = signer.token(&good("viewer"));
    let viewer = Client::new(&stack.http, Some(&jwt));
    viewer.get(&playlist).await.expect(200);
    // The same JWT with the other valid form of its signature.
    let other_form = Client::new(&stack.http, Some(&other_form(&jwt)));
    other_form.get(&playlist).await.expect(200);
    for token in [minted["token"].as_str().expect("token"), &jwt] {
        command(stack, &["token", "revoke", token]);
    }
    answers(&stack.anonymous(), &url, 403).await;
    answers(&viewer, &playlist, 403).await;
    answers(&viewer, "/api/videos", 401).await;
    answers(&other_form, &playlist, 403).await;
    answers(&other_form, "/api/videos", 401).await;
    // Revocations are stored in the database: they still apply after Redis and control have
    // restarted.
    stack.replace("redis-server").await;
    stack.replace("streaming-control").await;
    eventually("control serves again", Duration::from_secs(30), async || {
        (admin.try_get("/api/videos").await.ok()?.status == 200).then_some(())
    })
    .await;
    viewer.get("/api/videos").await.expect(401);
    stack.anonymous().get(&url).await.expect(403);
}

async fn a_narrowed_token_opens_only_its_video(stack: &Stack, video: &str) {
    let args = ["token", "narrow", "--operation", "read,play", "--video", video, "--ttl", "10m"];
    let narrowed = stack.client().with_token(&command(stack, &args));
    let path = format!("/api/videos/{video}");
    narrowed.get(&path).await.expect(200);
    narrowed.get(&format!("/api/stream/{video}/hls/playlist.m3u8")).await.expect(200);
    narrowed.get("/api/videos").await.expect(403);
    let deleted = narrowed.send(Method::DELETE, &path, &[], Bytes::new()).await.expect("DELETE");
    deleted.expect(403);
    let other = "01936b2e-7c1a-7d33-8b0e-000000000001";
    narrowed.get(&format!("/api/videos/{other}")).await.expect(403);
    // The holder can revoke the narrowed token; the original token stays valid.
    command(stack, &["token", "revoke", narrowed.token().expect("a token")]);
    answers(&narrowed, &path, 401).await;
    stack.client().get(&path).await.expect(200);
}

async fn root_keys_rotate_while_planes_run(stack: &Stack, playlist: &str) {
    let keys = stack.data().join("root.keys");
    let keys = keys.to_str().expect("UTF-8");
    command(stack, &["keys", "rotate", "--root-key", keys]);
    let minted = command(stack, &["token", "mint", "--root-key", keys, "--role", "admin"]);
    let new = stack.client().with_token(&minted);
    answers(&new, "/api/videos", 200).await;
    answers(&new, playlist, 200).await;
    stack.client().get(playlist).await.expect(200);
    assert_eq!(command(stack, &["keys", "list", "--root-key", keys]), "0\n1  signs");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invalid_provider_settings_are_reported_at_start() {
    let stack = Stack::new(&[
        ("STREAMING_JWT_ISSUER", ISSUER),
        ("STREAMING_JWT_JWKS_URL", "http://id.example.com/keys"),
        ("STREAMING_JWT_HS256_SECRET_FILE", "/nowhere/secret"),
    ]);
    let output = stack.command("streaming-service").arg("up").output().expect("run up");
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr);
    for name in
        ["STREAMING_JWT_AUDIENCE", "STREAMING_JWT_JWKS_URL", "STREAMING_JWT_HS256_SECRET_FILE"]
    {
        assert!(text.contains(name), "{name} is not in {text}");
    }
}
