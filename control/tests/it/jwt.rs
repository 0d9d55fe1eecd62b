//! JWTs of an identity provider, whose key server the tests simulate: every algorithm, rotation,
//! outage, exchange, revocation, and the rate limit for invalid tokens.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use api::{
    code::{Code, Problem},
    v1,
};
use authz::Role;
use runtime::{Clock, SystemClock};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::{
    plane::{Caller, Plane, Shared},
    provider::{AUDIENCE, ISSUER, Signer, claims, jwks, with},
    uploads,
    waiting::eventually,
};

/// A key server that sends the reply set by the test, and counts requests.
#[derive(Clone)]
pub(crate) struct KeyServer {
    reply: Arc<Mutex<String>>,
    requests: Arc<AtomicUsize>,
    pub(crate) url: String,
}

impl KeyServer {
    pub(crate) async fn start(signers: &[&Signer]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/keys", listener.local_addr().unwrap());
        let server = Self { reply: Arc::default(), requests: Arc::default(), url };
        server.publish(signers);
        let own = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                own.clone().answer(stream).await;
            }
        });
        server
    }

    fn publish(&self, signers: &[&Signer]) {
        self.respond("200 OK", "", &jwks(signers).to_string());
    }

    pub(crate) fn respond(&self, status: &str, headers: &str, body: &str) {
        let length = body.len();
        *self.reply.lock().unwrap() = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{headers}Connection: close\r\n\r\n{body}"
        );
    }

    async fn answer(self, mut stream: TcpStream) {
        let mut request = [0; 4096];
        let _head = stream.read(&mut request).await;
        self.requests.fetch_add(1, Ordering::SeqCst);
        let reply = self.reply.lock().unwrap().clone();
        let _sent = stream.write_all(reply.as_bytes()).await;
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

pub(crate) async fn plane(more: &[&str]) -> Plane {
    let shared = Shared::new(crate::postgres::database().await);
    let common = ["--jwt-issuer", ISSUER, "--jwt-audience", AUDIENCE];
    Plane::with(shared, &[&common, more].concat()).await
}

pub(crate) fn end() -> i64 {
    SystemClock.now_unix() + 300
}

pub(crate) fn good(role: &str) -> Value {
    claims(role, "default", end())
}

pub(crate) fn bearer(plane: &Plane, token: &str) -> Caller {
    Caller { token: token.to_owned(), channel: plane.channel.clone() }
}

async fn list(plane: &Plane, token: &str) -> Result<(), Problem> {
    let caller = bearer(plane, token);
    let listed = caller.videos().list_videos(caller.ask(v1::ListVideosRequest::default())).await;
    listed.map(drop).map_err(|status| Problem::from_status(&status))
}

pub(crate) async fn code(plane: &Plane, token: &str) -> Option<Code> {
    list(plane, token).await.err().map(|problem| problem.code)
}

#[tokio::test]
async fn jwts_of_every_algorithm_authenticate_and_are_exchanged() {
    let signers = [Signer::rs256("r"), Signer::es256("e"), Signer::eddsa("d")];
    let server = KeyServer::start(&signers.each_ref()).await;
    let secret = b"0123456789abcdef0123456789abcdef";
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), secret).unwrap();
    let path = file.path().to_str().unwrap();
    let plane = plane(&["--jwt-jwks-url", &server.url, "--jwt-hs256-secret-file", path]).await;
    let shared = Signer::hs256(secret);
    for signer in signers.iter().chain([&shared]) {
        let token = signer.token(&good("editor"));
        assert_eq!(list(&plane, &token).await, Ok(()), "{}", signer.alg());
        let caller = bearer(&plane, &token);
        let request = v1::CreateVideoRequest { title: "mine".to_owned(), ..Default::default() };
        caller.videos().create_video(caller.ask(request)).await.unwrap();
        // It grants no more than its role, whether presented itself or exchanged.
        let mint = v1::MintTokenRequest { role: "admin".to_owned(), ..Default::default() };
        let status = caller.auth().mint_token(caller.ask(mint)).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::PermissionDenied);
        let request = v1::ExchangeTokenRequest { token: token.clone() };
        let minted = caller.auth().exchange_token(request).await.unwrap().into_inner();
        let left = minted.expires_at.unwrap().seconds - SystemClock.now_unix();
        assert!((290..=300).contains(&left), "no longer than the JWT: {left}");
        assert!(!authz::is_jwt(&minted.token));
        assert_eq!(list(&plane, &minted.token).await, Ok(()));
        // A biscuit cannot be exchanged.
        let again = v1::ExchangeTokenRequest { token: minted.token };
        let status = caller.auth().exchange_token(again).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::Unauthenticated);
    }
    let long = signers[0].token(&claims("viewer", "default", end() + 360_000));
    let request = v1::ExchangeTokenRequest { token: long };
    let minted = plane.caller(Role::Viewer).auth().exchange_token(request).await.unwrap();
    let left = minted.into_inner().expires_at.unwrap().seconds - SystemClock.now_unix();
    assert!((3590..=3600).contains(&left), "no longer than allowed: {left}");
    plane.stop().await;
}

#[tokio::test]
async fn invalid_jwts_are_rejected_wherever_they_are_presented() {
    let (signer, other_signer) = (Signer::es256("a"), Signer::es256("a"));
    let server = KeyServer::start(&[&signer]).await;
    let plane = plane(&["--jwt-jwks-url", &server.url]).await;
    let none = format!("{}.", signer.sign(&json!({"alg": "none"}), &good("admin")));
    let jku = format!("{}/evil", server.url);
    let header = with(&other_signer.header(), "jku", json!(jku));
    let cases = [
        (none.clone(), Code::Unauthenticated),
        (none.rsplit_once('.').unwrap().0.to_owned(), Code::Unauthenticated),
        (other_signer.token(&good("admin")), Code::Unauthenticated),
        (other_signer.sign(&header, &good("admin")), Code::Unauthenticated),
        (signer.token(&with(&good("admin"), "exp", json!("9999999999"))), Code::Unauthenticated),
        (signer.token(&with(&good("admin"), "exp", Value::Null)), Code::Unauthenticated),
        (signer.token(&with(&good("admin"), "nbf", json!(end()))), Code::Unauthenticated),
        (signer.token(&with(&good("admin"), "aud", json!(["x"]))), Code::Unauthenticated),
        (signer.token(&with(&good("admin"), "iss", json!("x"))), Code::Unauthenticated),
        (signer.token(&claims("admin", "default", end() - 301)), Code::Unauthenticated),
        (signer.token(&good("root")), Code::UnknownRole),
        (signer.token(&good("worker")), Code::UnknownRole),
        (signer.token(&good("dataplane")), Code::UnknownRole),
        (signer.token(&with(&good("admin"), "tenant", Value::Null)), Code::UnknownTenant),
    ];
    for (token, expected) in cases {
        let problem = list(&plane, &token).await.unwrap_err();
        assert_eq!(problem.code, expected, "{token}");
        assert!(!problem.message.contains(&token[token.len().saturating_sub(20)..]));
        let request = v1::ExchangeTokenRequest { token };
        let exchanged = plane.caller(Role::Admin).auth().exchange_token(request).await;
        assert_eq!(Problem::from_status(&exchanged.unwrap_err()).code, expected);
    }
    let metrics = plane.caller(Role::Dataplane);
    let request = metrics.ask(v1::GetMetricsRequest {});
    let text = metrics.playback().get_metrics(request).await.unwrap().into_inner().text;
    for reason in ["algorithm", "signature", "claim", "expired", "not_yet", "role", "tenant"] {
        let line = format!("streaming_service_tokens_refused_total{{reason=\"{reason}\"}}");
        assert!(text.contains(&line), "{line} is not in {text}");
    }
    plane.stop().await;
}

#[tokio::test]
async fn a_new_key_is_found_by_one_fetch_and_unknown_keys_cause_no_further_ones() {
    let (old, new) = (Signer::es256("old"), Signer::es256("new"));
    let server = KeyServer::start(&[&old]).await;
    let plane = plane(&["--jwt-jwks-url", &server.url, "--rate-tokens", "off"]).await;
    assert_eq!(code(&plane, &old.token(&good("viewer"))).await, None);
    let before = server.requests();
    server.publish(&[&new, &old]);
    assert_eq!(code(&plane, &new.token(&good("viewer"))).await, None);
    assert_eq!(server.requests(), before + 1);
    assert_eq!(code(&plane, &old.token(&good("viewer"))).await, None);
    for n in 0..500 {
        let made_up = with(&new.header(), "kid", json!(format!("made-up-{n}")));
        let token = new.sign(&made_up, &good("viewer"));
        assert_eq!(code(&plane, &token).await, Some(Code::Unauthenticated));
    }
    assert_eq!(server.requests(), before + 1);
    plane.stop().await;
}

#[tokio::test]
async fn keys_stay_valid_for_a_while_without_their_server_and_then_all_jwts_are_rejected() {
    let signer = Signer::eddsa("a");
    let server = KeyServer::start(&[&signer]).await;
    let flags = ["--jwt-jwks-url", &server.url, "--jwt-jwks-max-age", "3s"];
    let plane = plane(&flags).await;
    let token = signer.token(&good("viewer"));
    assert_eq!(code(&plane, &token).await, None);
    // A reply that is not a key set changes nothing, and redirects are not followed.
    let elsewhere = format!("Location: {}\r\n", server.url);
    server.respond("302 Found", &elsewhere, "");
    let unknown = Signer::eddsa("b").token(&good("viewer"));
    assert_eq!(code(&plane, &unknown).await, Some(Code::Unauthenticated));
    assert_eq!(code(&plane, &token).await, None, "the last good set counts");
    let requests = server.requests();
    server.respond("200 OK", "", &" ".repeat(300 << 10));
    eventually("the keys are too old", Duration::from_secs(10), async || {
        code(&plane, &token).await == Some(Code::Unavailable)
    })
    .await;
    let problem = list(&plane, &token).await.unwrap_err();
    assert!(problem.retry_after.is_some(), "{problem:?}");
    assert!(server.requests() > requests, "the keys were fetched again");
    assert_eq!(code(&plane, &plane.shared.token(Role::Viewer, "default")).await, None);
    server.publish(&[&signer]);
    eventually("the keys are fetched", Duration::from_secs(10), async || {
        code(&plane, &token).await.is_none()
    })
    .await;
    plane.stop().await;
}

#[tokio::test]
async fn a_revoked_jwt_is_rejected_and_so_is_its_exchange() {
    let signer = Signer::eddsa("a");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), signer.pem()).unwrap();
    let plane = plane(&["--jwt-public-key-file", file.path().to_str().unwrap()]).await;
    let token = signer.token(&good("viewer"));
    let caller = bearer(&plane, &token);
    let admin = plane.caller(Role::Admin);
    // Revoking the JWT also revokes the biscuit that it was exchanged for, and tokens derived from
    // that.
    let request = v1::ExchangeTokenRequest { token: token.clone() };
    let exchanged = caller.auth().exchange_token(request).await.unwrap().into_inner().token;
    let narrowed = authz::narrow(&exchanged, &authz::Restriction::default()).unwrap();
    for token in [&exchanged, &narrowed] {
        assert_eq!(code(&plane, token).await, None);
    }
    let revoke = v1::RevokeTokenRequest { token: token.clone() };
    let other = signer.token(&claims("editor", "default", end()));
    let editor = bearer(&plane, &other);
    let status = editor.auth().revoke_token(editor.ask(revoke.clone())).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::PermissionDenied);
    admin.auth().revoke_token(admin.ask(revoke)).await.unwrap();
    let problem = list(&plane, &token).await.unwrap_err();
    assert_eq!(
        (problem.code, problem.message.as_str()),
        (Code::Unauthenticated, "token has been revoked")
    );
    for token in [&exchanged, &narrowed] {
        assert_eq!(code(&plane, token).await, Some(Code::Unauthenticated));
    }
    let request = v1::ExchangeTokenRequest { token };
    let status = caller.auth().exchange_token(request).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unauthenticated);
    // A token may be revoked by its holder.
    editor
        .auth()
        .revoke_token(editor.ask(v1::RevokeTokenRequest { token: other.clone() }))
        .await
        .unwrap();
    assert_eq!(code(&plane, &other).await, Some(Code::Unauthenticated));
    plane.stop().await;
}

#[tokio::test]
async fn a_request_outlives_its_jwt_and_ends_when_that_is_revoked() {
    let signer = Signer::es256("a");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), signer.pem()).unwrap();
    let plane = plane(&["--jwt-public-key-file", file.path().to_str().unwrap()]).await;
    let proof = plane.shared.token(Role::Dataplane, "default");
    let began = SystemClock.now_unix();
    let token = signer.token(&claims("editor", "default", began + 2));
    let caller = bearer(&plane, &token);
    let upload = uploads::begin(&caller, 6).await.unwrap();
    let (id, holder) = (upload.upload_id.as_str(), uuid::Uuid::new_v4().to_string());
    assert!(uploads::acquire(&caller, id, 0, &holder).await.held);
    eventually("the token expires", Duration::from_secs(10), async || {
        code(&plane, &token).await == Some(Code::Unauthenticated)
    })
    .await;
    let advance = async |from, to| {
        let step = uploads::step(id, &holder, from, to);
        let moved = caller.uploads().advance_upload(caller.through_plane(&proof, step)).await;
        moved.map(drop).map_err(|status| Problem::from_status(&status).code)
    };
    assert_eq!(advance(0, 1).await, Ok(()));
    // For a request with a long body, the data plane reports when the request began.
    let listed = async |plane_token: &str, began: i64| {
        let mut request = caller.through_plane(plane_token, v1::ListVideosRequest::default());
        request.metadata_mut().insert(api::BEGAN_METADATA, began.into());
        caller.videos().list_videos(request).await.is_ok()
    };
    assert!(listed(&proof, began).await);
    assert!(!listed(&proof, began + 2).await, "it had expired by then");
    assert!(!listed(&proof, began - 1000).await, "no body takes so long");
    let editor = plane.shared.token(Role::Editor, "default");
    assert!(!listed(&editor, began).await, "an editor is not a data plane");
    let admin = plane.caller(Role::Admin);
    let revoke = admin.ask(v1::RevokeTokenRequest { token: token.clone() });
    admin.auth().revoke_token(revoke).await.unwrap();
    assert_eq!(advance(1, 2).await, Err(Code::Unauthenticated));
    assert!(!listed(&proof, began).await);
    plane.stop().await;
}

#[tokio::test]
async fn token_guessing_is_rate_limited_per_client_and_valid_tokens_still_work() {
    let signer = Signer::eddsa("a");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), signer.pem()).unwrap();
    let path = file.path().to_str().unwrap();
    let plane = plane(&["--jwt-public-key-file", path, "--rate-tokens", "5/1h"]).await;
    let guess = |client: &'static str, proof: Option<String>| {
        let caller = bearer(&plane, "a.b.c");
        async move {
            let mut request = caller.ask(v1::ExchangeTokenRequest { token: "a.b.c".to_owned() });
            let metadata = request.metadata_mut();
            metadata.insert(api::CLIENT_METADATA, client.parse().unwrap());
            if let Some(proof) = proof {
                metadata.insert(api::PLANE_METADATA, proof.parse().unwrap());
            }
            let status = caller.auth().exchange_token(request).await.unwrap_err();
            Problem::from_status(&status).code
        }
    };
    let proof = || Some(plane.shared.token(Role::Dataplane, "default"));
    for (client, expected) in [("192.0.2.1", 5), ("192.0.2.2", 5)] {
        for n in 0..8 {
            let code = guess(client, proof()).await;
            let limited = if n < expected { Code::Unauthenticated } else { Code::RateLimited };
            assert_eq!(code, limited, "{client} {n}");
        }
    }
    // Without a data plane's token, the limit applies to the peer; the client address that it sends
    // is ignored.
    let mut codes = Vec::new();
    for client in ["192.0.2.3", "192.0.2.4", "192.0.2.5", "192.0.2.6", "192.0.2.7", "192.0.2.8"] {
        codes.push(guess(client, None).await);
    }
    assert_eq!(codes[5], Code::RateLimited, "{codes:?}");
    assert_eq!(code(&plane, &signer.token(&good("viewer"))).await, None);
    plane.stop().await;
}
