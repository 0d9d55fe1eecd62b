//! Sessions: what they allow, when they end, and what revokes them.

use authz::{
    AuthError, Credential, Operation, Origin, Restriction, Role, RootKeys, SESSION_SECONDS_MAX,
    Verifier, narrow,
};

use super::{END, NOW, address, append, forbidden, grant, playback, request, setup};

fn session(keys: &RootKeys, verifier: &Verifier, token: &str) -> String {
    keys.mint_session(&verifier.credential(token, NOW).unwrap(), NOW).unwrap().0
}

fn allows(verifier: &Verifier, token: &str, operation: Operation) -> Result<(), AuthError> {
    verifier.authenticate(token, &request(operation)).map(drop)
}

#[test]
fn a_session_has_the_identity_of_its_credential_and_ends_no_later() {
    let (keys, verifier) = setup();
    for (life, expected) in
        [(60, 60), (SESSION_SECONDS_MAX, SESSION_SECONDS_MAX), (1 << 30, 43_200)]
    {
        let token = keys.mint(&grant(Role::Editor), NOW + life).unwrap();
        let credential = verifier.credential(&token, NOW).unwrap();
        let (session, expires_at) = keys.mint_session(&credential, NOW).unwrap();
        assert_eq!(expires_at, NOW + expected);
        let principal = verifier.authenticate(&session, &request(Operation::Write)).unwrap();
        assert_eq!((principal.subject.as_str(), principal.tenant.as_str()), ("ana", "acme"));
        assert_eq!((principal.role, principal.ends_at()), (Role::Editor, expires_at));
        assert_eq!(principal.origin, Origin::Session);
        assert!(verifier.is_session(&session) && !verifier.is_session(&token));
        assert_eq!(verifier.credential(&token, NOW + life), Err(AuthError::Expired));
    }
    assert!(!verifier.is_session("nonsense"));
}

#[test]
fn a_session_keeps_the_restrictions_of_its_credential() {
    let (keys, verifier) = setup();
    let token = keys.mint(&grant(Role::Admin), END).unwrap();
    let reads = Restriction {
        operations: vec![Operation::Read],
        address: address("192.0.2.7"),
        expires_at: Some(NOW + 100),
        ..Restriction::default()
    };
    let narrowed = narrow(&narrow(&token, &Restriction::default()).unwrap(), &reads).unwrap();
    let credential = verifier.credential(&narrowed, NOW).unwrap();
    let (session, expires_at) = keys.mint_session(&credential, NOW).unwrap();
    assert_eq!((credential.expires_at, expires_at), (NOW + 100, NOW + 100));
    let from = |operation, ip: &str, now| {
        let ask = authz::Request { address: address(ip), now, ..request(operation) };
        verifier.authenticate(&session, &ask).map(drop)
    };
    assert_eq!(from(Operation::Read, "192.0.2.7", NOW), Ok(()));
    assert!(forbidden(from(Operation::Read, "192.0.2.8", NOW)));
    for operation in [Operation::Write, Operation::Admin, Operation::Delete] {
        assert!(forbidden(from(operation, "192.0.2.7", NOW)), "{operation}");
    }
    assert_eq!(from(Operation::Read, "192.0.2.7", NOW + 100), Err(AuthError::Expired));
    assert_eq!(verifier.credential(&narrowed, NOW + 100), Err(AuthError::Expired));
    // A token minted in a session has the same restrictions, but not the end of the session.
    let other = verifier.credential(&session, NOW).unwrap();
    let minted = keys.mint_narrowed(&grant(Role::Admin), END, &other.checks).unwrap();
    assert!(forbidden(allows(&verifier, &minted, Operation::Admin)));
    assert_eq!(verifier.identify(&minted, NOW).unwrap().ends_at(), NOW + 100);
}

#[test]
fn a_restriction_that_cannot_be_copied_prevents_a_session() {
    let (keys, verifier) = setup();
    let token = keys.mint(&grant(Role::Admin), END).unwrap();
    let odd =
        append(&token, r#"check if operation("read") or operation("a\"); allow if true; //")"#);
    assert!(allows(&verifier, &odd, Operation::Read).is_ok());
    assert!(forbidden(verifier.credential(&odd, NOW)));
}

#[test]
fn revoking_the_credential_ends_the_session_but_not_the_reverse() {
    let (keys, verifier) = setup();
    let token = keys.mint(&grant(Role::Admin), END).unwrap();
    let narrowed = narrow(&token, &Restriction::default()).unwrap();
    let one = session(&keys, &verifier, &narrowed);
    let two = session(&keys, &verifier, &one);
    let other = session(&keys, &verifier, &narrowed);
    let read = |token: &str| allows(&verifier, token, Operation::Read);
    verifier.revoke([verifier.revoking_id(&one).unwrap().0]);
    assert_eq!(read(&one), Err(AuthError::Revoked));
    assert_eq!(read(&two), Err(AuthError::Revoked), "it descends from the revoked session");
    assert_eq!(verifier.credential(&one, NOW), Err(AuthError::Revoked));
    assert!(read(&narrowed).is_ok() && read(&other).is_ok());
    let minted = keys.mint_narrowed(&grant(Role::Viewer), END, &[]).unwrap();
    verifier.revoke([verifier.revoking_id(&token).unwrap().0]);
    for token in [&token, &narrowed, &other] {
        assert_eq!(read(token), Err(AuthError::Revoked));
    }
    assert!(read(&minted).is_ok(), "a minted token descends from nothing");
}

#[test]
fn sessions_of_sessions_end_together_and_stay_within_the_size_of_a_token() {
    let (keys, verifier) = setup();
    let mut token = keys.mint(&grant(Role::Admin), NOW + (1 << 30)).unwrap();
    for _ in 0..200 {
        match keys.mint_session(&verifier.credential(&token, NOW).unwrap(), NOW) {
            Ok((session, expires_at)) => {
                assert_eq!(expires_at, NOW + SESSION_SECONDS_MAX);
                let later = verifier.credential(&session, NOW + 1).unwrap();
                assert_eq!(later.expires_at, NOW + SESSION_SECONDS_MAX, "never extended");
                token = session;
            }
            Err(error) => return assert_eq!(error, AuthError::Limit),
        }
    }
    panic!("a token of any size is minted");
}

#[test]
fn a_session_is_signed_by_the_key_of_its_credential() {
    let (mut keys, verifier) = setup();
    let token = keys.mint(&grant(Role::Admin), END).unwrap();
    keys.rotate();
    verifier.replace_keys(keys.public());
    let session = session(&keys, &verifier, &token);
    assert!(allows(&verifier, &session, Operation::Read).is_ok());
    keys.remove(0);
    verifier.replace_keys(keys.public());
    assert_eq!(allows(&verifier, &session, Operation::Read), Err(AuthError::BadSignature));
    let jwt = Credential {
        grant: grant(Role::Viewer),
        expires_at: END,
        revocation_ids: vec![vec![7; 32]],
        checks: Vec::new(),
        key: None,
    };
    let (session, _) = keys.mint_session(&jwt, NOW).unwrap();
    assert!(allows(&verifier, &session, Operation::Read).is_ok());
    verifier.revoke([vec![7; 32]]);
    assert_eq!(allows(&verifier, &session, Operation::Read), Err(AuthError::Revoked));
}

#[test]
fn playback_tokens_begin_no_sessions() {
    let (keys, verifier) = setup();
    assert!(forbidden(verifier.credential(&playback(&keys, None, None), NOW)));
}
