//! Revocation of JWTs by their signed content, regardless of the form of the signature.

use api::{
    code::{Code, Problem},
    v1,
};
use authz::Role;
use control::db::{Db, revocations};
use serde_json::json;

use crate::{
    jwt::{bearer, code, end, good, plane},
    plane::{DEADLINE, Plane},
    provider::{Signer, claims, other_form},
    waiting::eventually,
};

async fn exchange(plane: &Plane, token: &str) -> Result<String, Code> {
    let request = v1::ExchangeTokenRequest { token: token.to_owned() };
    match bearer(plane, token).auth().exchange_token(request).await {
        Ok(reply) => Ok(reply.into_inner().token),
        Err(status) => Err(Problem::from_status(&status).code),
    }
}

async fn provider_of(signer: &Signer) -> Plane {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), signer.pem()).unwrap();
    plane(&["--jwt-public-key-file", file.path().to_str().unwrap()]).await
}

#[tokio::test]
async fn revoking_an_es256_jwt_covers_the_other_form_of_its_signature() {
    let signer = Signer::es256("a");
    let plane = provider_of(&signer).await;
    let admin = plane.caller(Role::Admin);
    let token = signer.token(&good("viewer"));
    let other_form = other_form(&token);
    assert_ne!(token, other_form);
    let mut dead = vec![token.clone(), other_form.clone()];
    for text in [&token, &other_form, &token] {
        dead.push(exchange(&plane, text).await.unwrap());
    }
    for text in &dead {
        assert_eq!(code(&plane, text).await, None);
    }
    // The same claims with another header are another token.
    let other = signer.sign(&json!({"alg": "ES256", "kid": "a"}), &good("viewer"));
    admin.auth().revoke_token(admin.ask(v1::RevokeTokenRequest { token })).await.unwrap();
    for text in &dead {
        assert_eq!(code(&plane, text).await, Some(Code::Unauthenticated));
    }
    for text in &dead[..2] {
        assert_eq!(exchange(&plane, text).await, Err(Code::Unauthenticated));
    }
    assert_eq!(code(&plane, &other).await, None);
    plane.stop().await;
}

#[tokio::test]
async fn a_caller_ends_its_own_jwt_by_either_form_of_the_signature() {
    let signer = Signer::es256("a");
    let plane = provider_of(&signer).await;
    let token = signer.token(&good("viewer"));
    let viewer = bearer(&plane, &token);
    let revoke = v1::RevokeTokenRequest { token: other_form(&token) };
    viewer.auth().revoke_token(viewer.ask(revoke)).await.unwrap();
    assert_eq!(code(&plane, &token).await, Some(Code::Unauthenticated));
    plane.stop().await;
}

#[tokio::test]
async fn tokens_revoked_by_earlier_releases_stay_revoked() {
    let signer = Signer::es256("a");
    let plane = provider_of(&signer).await;
    let db = Db::new(&plane.shared.database, 1).unwrap();
    let token = signer.token(&good("viewer"));
    assert_eq!(code(&plane, &token).await, None);
    // Earlier releases identified a JWT by the digest of its whole text.
    let former = blake3::hash(token.as_bytes()).as_bytes().to_vec();
    revocations::add(&*db.get().await.unwrap(), std::slice::from_ref(&former), None).await.unwrap();
    eventually("the token is rejected", DEADLINE, async || code(&plane, &token).await.is_some())
        .await;
    // Revocations by this release are also stored in the form that earlier releases read.
    let admin = plane.caller(Role::Admin);
    let token = signer.token(&claims("editor", "default", end()));
    let former = blake3::hash(token.as_bytes()).as_bytes().to_vec();
    admin.auth().revoke_token(admin.ask(v1::RevokeTokenRequest { token })).await.unwrap();
    let listed = revocations::list(&*db.get().await.unwrap(), None).await.unwrap();
    assert!(listed.contains(&former));
    plane.stop().await;
}
