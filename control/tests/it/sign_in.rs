//! One-time codes, sessions and signing out.

use api::{
    code::{Code, Problem},
    v1,
};
use authz::{Operation, Restriction, Role, narrow};
use control::db::Db;
use tonic::Status;

use crate::{
    jwt::good,
    plane::{Caller, DEADLINE, Plane, Shared},
    provider::{AUDIENCE, ISSUER, Signer},
    waiting::eventually,
};

fn code(status: &Status) -> Code {
    Problem::from_status(status).code
}

fn as_bearer(plane: &Plane, token: &str) -> Caller {
    Caller { token: token.to_owned(), channel: plane.channel.clone() }
}

async fn new_code(caller: &Caller) -> Result<String, Code> {
    let request = caller.ask(v1::CreateSignInCodeRequest {});
    let created = caller.auth().create_sign_in_code(request).await;
    created.map(|reply| reply.into_inner().code).map_err(|status| code(&status))
}

async fn sign_in(plane: &Plane, text: &str) -> Result<String, Code> {
    let mut client = plane.caller(Role::Viewer).auth();
    let signed_in = client.sign_in(v1::SignInRequest { code: text.to_owned() }).await;
    signed_in.map(|reply| reply.into_inner().token).map_err(|status| code(&status))
}

async fn session(caller: &Caller) -> Result<v1::CreateSessionResponse, Code> {
    let created = caller.auth().create_session(caller.ask(v1::CreateSessionRequest {})).await;
    created.map(tonic::Response::into_inner).map_err(|status| code(&status))
}

async fn sign_out(caller: &Caller) -> Result<(), Code> {
    let ended = caller.auth().sign_out(caller.ask(v1::SignOutRequest {})).await;
    ended.map(drop).map_err(|status| code(&status))
}

async fn revoke(admin: &Caller, token: &str) {
    let request = admin.ask(v1::RevokeTokenRequest { token: token.to_owned() });
    admin.auth().revoke_token(request).await.unwrap();
}

async fn lists(caller: &Caller) -> Option<Code> {
    let listed = caller.videos().list_videos(caller.ask(v1::ListVideosRequest::default())).await;
    listed.err().map(|status| code(&status))
}

async fn mint(
    caller: &Caller,
    role: &str,
    ttl_seconds: u64,
) -> Result<v1::MintTokenResponse, Code> {
    let (role, subject) = (role.to_owned(), "new".to_owned());
    let request = v1::MintTokenRequest { role, subject, ttl_seconds, tenant: String::new() };
    let minted = caller.auth().mint_token(caller.ask(request)).await;
    minted.map(tonic::Response::into_inner).map_err(|status| code(&status))
}

#[tokio::test]
async fn a_code_begins_one_session_with_its_creators_rights() {
    let shared = Shared::new(crate::postgres::database().await);
    let (one, two) = (Plane::of(shared.clone()).await, Plane::of(shared).await);
    let admin = one.caller_of(Role::Admin, "acme");
    let text = new_code(&admin).await.unwrap();
    assert!(text.len() >= 32 && text != new_code(&admin).await.unwrap());
    // Of many attempts at the same time on two instances, one succeeds.
    let attempts = (0..12).map(|n| sign_in(if n % 2 == 0 { &one } else { &two }, &text));
    let results = futures::future::join_all(attempts).await;
    let (good, bad): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    assert_eq!((good.len(), bad), (1, vec![Err(Code::Unauthenticated); 11]));
    let caller = as_bearer(&two, good[0].as_ref().unwrap());
    let me = caller.auth().get_caller(caller.ask(v1::GetCallerRequest {})).await.unwrap();
    let me = me.into_inner();
    assert_eq!(
        (me.subject.as_str(), me.role.as_str(), me.tenant.as_str()),
        ("admin", "admin", "acme")
    );
    assert_eq!(sign_in(&one, &text).await, Err(Code::Unauthenticated));
    for unknown in ["x", &text[1..], &text.to_uppercase(), &"0".repeat(40)] {
        assert_eq!(sign_in(&one, unknown).await, Err(Code::Unauthenticated), "{unknown}");
    }
    assert_eq!(sign_in(&one, " ").await, Err(Code::InvalidField));
    for plane in [one, two] {
        plane.stop().await;
    }
}

#[tokio::test]
async fn a_code_ends_after_ten_minutes_or_with_its_creators_token() {
    let plane = Plane::start().await;
    let db = Db::new(&plane.shared.database, 1).unwrap();
    let admin = plane.caller(Role::Admin);
    let late = new_code(&admin).await.unwrap();
    let row = db.get().await.unwrap();
    let life = "SELECT max(expires_at - now()) BETWEEN interval '9.5 min' AND interval '10 min'
                FROM sign_in_codes";
    assert!(row.query_one(life, &[]).await.unwrap().get::<_, bool>(0));
    row.execute("UPDATE sign_in_codes SET expires_at = now()", &[]).await.unwrap();
    assert_eq!(sign_in(&plane, &late).await, Err(Code::Unauthenticated));
    let orphan = new_code(&admin).await.unwrap();
    revoke(&plane.caller(Role::Admin), &admin.token).await;
    assert_eq!(sign_in(&plane, &orphan).await, Err(Code::Unauthenticated));
    eventually("expired codes are deleted", DEADLINE, async || {
        let sql = "SELECT count(*) FROM sign_in_codes WHERE expires_at < now()";
        row.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) == 0
    })
    .await;
    for role in [Role::Editor, Role::Viewer, Role::Worker, Role::Dataplane] {
        let created = new_code(&plane.caller(role)).await;
        assert_eq!(created, Err(Code::PermissionDenied), "{role}");
    }
    plane.stop().await;
}

#[tokio::test]
async fn a_narrowed_credential_begins_only_narrowed_sessions() {
    let plane = Plane::start().await;
    let admin = plane.caller(Role::Admin);
    let reads = Restriction { operations: vec![Operation::Read], ..Restriction::default() };
    let reader = as_bearer(&plane, &narrow(&admin.token, &reads).unwrap());
    let session_of_reader = as_bearer(&plane, &session(&reader).await.unwrap().token);
    assert_eq!(lists(&session_of_reader).await, None);
    let denied = Err(Code::PermissionDenied);
    assert_eq!(mint(&session_of_reader, "viewer", 60).await.map(drop), denied);
    // An admin's token for 60 s also creates codes, sessions and tokens for 60 s.
    let end = runtime::Clock::now_unix(&runtime::SystemClock) + 60;
    let brief = Restriction {
        operations: vec![Operation::Read, Operation::Admin],
        expires_at: Some(end),
        ..Restriction::default()
    };
    let brief = as_bearer(&plane, &narrow(&admin.token, &brief).unwrap());
    let text = new_code(&brief).await.unwrap();
    let of_code = as_bearer(&plane, &sign_in(&plane, &text).await.unwrap());
    let of_token = session(&brief).await.unwrap();
    assert_eq!(of_token.expires_at.unwrap().seconds, end);
    for caller in [&brief, &of_code, &as_bearer(&plane, &of_token.token)] {
        let me = caller.auth().get_caller(caller.ask(v1::GetCallerRequest {})).await.unwrap();
        assert_eq!(me.into_inner().expires_at.unwrap().seconds, end);
        let minted = mint(caller, "editor", 3600).await.unwrap();
        assert_eq!(minted.expires_at.unwrap().seconds, end);
        let minted = as_bearer(&plane, &minted.token);
        assert_eq!(lists(&minted).await, None);
        let create = minted.ask(v1::CreateVideoRequest::default());
        let created = minted.videos().create_video(create).await.map(drop);
        assert_eq!(created.map_err(|status| code(&status)), denied);
    }
    plane.stop().await;
}

#[tokio::test]
async fn signing_out_ends_only_the_session() {
    let shared = Shared::new(crate::postgres::database().await);
    let (one, two) = (Plane::of(shared.clone()).await, Plane::of(shared).await);
    let admin = one.caller(Role::Admin);
    let first = as_bearer(&one, &session(&admin).await.unwrap().token);
    let second = as_bearer(&one, &session(&admin).await.unwrap().token);
    let nested = as_bearer(&one, &session(&first).await.unwrap().token);
    // Minted in a session, it lives longer than the session and does not end with it.
    let minted = mint(&first, "viewer", 30 * 86_400).await.unwrap();
    let life = minted.expires_at.unwrap().seconds - runtime::Clock::now_unix(&runtime::SystemClock);
    assert!(life > 29 * 86_400, "{life}");
    assert_eq!(sign_out(&first).await, Ok(()));
    for ended in [&first, &nested] {
        assert_eq!(lists(ended).await, Some(Code::Unauthenticated));
        let elsewhere = as_bearer(&two, &ended.token);
        eventually("the other instance rejects it", DEADLINE, async || {
            lists(&elsewhere).await == Some(Code::Unauthenticated)
        })
        .await;
    }
    assert_eq!(sign_out(&first).await, Err(Code::Unauthenticated));
    assert_eq!(session(&first).await.map(drop), Err(Code::Unauthenticated));
    for kept in [&admin, &second, &as_bearer(&one, &minted.token)] {
        assert_eq!(lists(kept).await, None);
    }
    // A token that is not a session is only forgotten by the browser.
    assert_eq!(sign_out(&admin).await, Ok(()));
    assert_eq!(lists(&admin).await, None);
    revoke(&one.caller(Role::Admin), &admin.token).await;
    assert_eq!(lists(&second).await, Some(Code::Unauthenticated), "its credential is revoked");
    for plane in [one, two] {
        plane.stop().await;
    }
}

#[tokio::test]
async fn a_jwt_begins_a_session_that_ends_with_it() {
    let signer = Signer::es256("a");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), signer.pem()).unwrap();
    let plane = crate::jwt::plane(&["--jwt-public-key-file", file.path().to_str().unwrap()]).await;
    let claims = good("editor");
    let jwt = as_bearer(&plane, &signer.token(&claims));
    let begun = session(&jwt).await.unwrap();
    assert_eq!(Some(begun.expires_at.unwrap().seconds), claims["exp"].as_i64());
    let caller = as_bearer(&plane, &begun.token);
    let me = caller.auth().get_caller(caller.ask(v1::GetCallerRequest {})).await.unwrap();
    assert_eq!(me.into_inner().role, "editor");
    // An ID token names the user who logged in; it grants nothing.
    let mut id_token = claims.clone();
    id_token["typ"] = "ID".into();
    let rejected = session(&as_bearer(&plane, &signer.token(&id_token))).await;
    assert_eq!(rejected.map(drop), Err(Code::Unauthenticated));
    revoke(&plane.caller(Role::Admin), &jwt.token).await;
    assert_eq!(lists(&caller).await, Some(Code::Unauthenticated));
    assert_eq!(session(&jwt).await.map(drop), Err(Code::Unauthenticated));
    plane.stop().await;
}

#[tokio::test]
async fn guessing_codes_is_limited_per_client() {
    let shared = Shared::new(crate::postgres::database().await);
    let plane = Plane::with(shared, &["--rate-tokens", "3/1h"]).await;
    let mut codes = Vec::new();
    for number in 0..5 {
        codes.push(sign_in(&plane, &format!("guess-{number}")).await.unwrap_err());
    }
    let (bad, limited) = (Code::Unauthenticated, Code::RateLimited);
    assert_eq!(codes, [bad, bad, bad, limited, limited]);
    let good = new_code(&plane.caller(Role::Admin)).await.unwrap();
    assert!(sign_in(&plane, &good).await.is_ok(), "a valid code is accepted at any time");
    plane.stop().await;
}

#[tokio::test]
async fn neither_codes_nor_tokens_are_stored() {
    let plane = Plane::start().await;
    let admin = plane.caller(Role::Admin);
    let (used, open) = (new_code(&admin).await.unwrap(), new_code(&admin).await.unwrap());
    let session = sign_in(&plane, &used).await.unwrap();
    let minted = mint(&admin, "viewer", 60).await.unwrap().token;
    lists(&as_bearer(&plane, &session)).await;
    let db = Db::new(&plane.shared.database, 1).unwrap();
    let row = db.get().await.unwrap();
    let sql = "SELECT query_to_xml(format('SELECT * FROM %I', table_name), true, true, '')::text
               FROM information_schema.tables
               WHERE table_schema = 'public' AND table_type = 'BASE TABLE'";
    let dumped = row.query(sql, &[]).await.unwrap();
    let text: String = dumped.iter().map(|row| row.get::<_, String>(0)).collect();
    assert!(text.contains("credential_expires_at") && text.contains("revocation_id"));
    for secret in [&used, &open, &session, &minted, &admin.token] {
        assert!(!text.contains(secret.as_str()), "a secret is stored");
        let bytes = hex::encode(secret.as_bytes());
        assert!(!text.contains(&bytes), "a secret is stored as bytes");
    }
    plane.stop().await;
}

#[tokio::test]
async fn sign_in_options_are_those_that_the_provider_publishes() {
    let signer = Signer::es256("a");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), signer.pem()).unwrap();
    let key = ["--jwt-public-key-file", file.path().to_str().unwrap()];
    let options = async |plane: &Plane| {
        let mut client = plane.caller(Role::Viewer).auth();
        let options = client.get_sign_in_options(v1::GetSignInOptionsRequest {}).await;
        options.map(tonic::Response::into_inner).map_err(|status| code(&status))
    };
    let none = crate::jwt::plane(&key).await;
    assert_eq!(options(&none).await, Ok(v1::GetSignInOptionsResponse::default()));
    none.stop().await;
    let server = crate::jwt::KeyServer::start(&[]).await;
    let issuer = server.url.trim_end_matches("/keys").to_owned();
    let more = ["--jwt-issuer", &issuer, "--jwt-audience", AUDIENCE, "--oidc-client-id", "console"];
    let shared = Shared::new(crate::postgres::database().await);
    server.respond(
        "200 OK",
        "",
        &format!(r#"{{"issuer": "{ISSUER}", "token_endpoint": "{ISSUER}"}}"#),
    );
    let plane = Plane::with(shared, &[&more[..], &key].concat()).await;
    assert_eq!(options(&plane).await, Err(Code::Unavailable), "the document has another issuer");
    let endpoint = "https://tokens.example.com:8443/oauth/token";
    let document = format!(r#"{{"issuer": "{issuer}", "token_endpoint": "{endpoint}"}}"#);
    server.respond("200 OK", "", &document);
    eventually("the provider is found", DEADLINE, async || options(&plane).await.is_ok()).await;
    let found = options(&plane).await.unwrap();
    assert_eq!((found.issuer.as_str(), found.client_id.as_str()), (issuer.as_str(), "console"));
    assert_eq!(found.origins, [issuer.as_str(), "https://tokens.example.com:8443"]);
    plane.stop().await;
}
