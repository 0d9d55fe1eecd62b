//! Tests of what tokens allow, and of everything that must be rejected.

#![cfg(test)] // helpers fail by panicking, as tests do

mod cost;
mod renewal;
mod sessions;
mod uses;

use std::net::IpAddr;

use authz::{
    AuthError, Grant, Operation, PlaybackGrant, Principal, Request, Restriction, Role, RootKeys,
    Verifier, narrow,
};
use biscuit_auth::{
    Algorithm, KeyPair, PrivateKey, UnverifiedBiscuit, builder::BlockBuilder, format::schema,
};
use media::VideoId;
use uuid::Uuid;

const NOW: i64 = 1_800_000_000;
const END: i64 = NOW + 3600;
const VIDEO: VideoId = VideoId::new(Uuid::from_u128(1));
const OTHER: VideoId = VideoId::new(Uuid::from_u128(2));

fn grant(role: Role) -> Grant {
    Grant { subject: "ana".into(), tenant: "acme".into(), role }
}

fn request(operation: Operation) -> Request {
    Request { now: NOW, operation, video: Some(VIDEO), address: None }
}

fn address(text: &str) -> Option<IpAddr> {
    Some(text.parse().unwrap())
}

fn setup() -> (RootKeys, Verifier) {
    let keys = RootKeys::generate();
    let verifier = Verifier::new(keys.public());
    (keys, verifier)
}

fn playback(keys: &RootKeys, max_height: Option<u32>, address: Option<IpAddr>) -> String {
    keys.mint_playback(&PlaybackGrant { video: VIDEO, max_height, address }, NOW, END).unwrap()
}

fn append(token: &str, code: &str) -> String {
    let token = UnverifiedBiscuit::from_base64(token).unwrap();
    token.append(BlockBuilder::new().code(code).unwrap()).unwrap().to_base64().unwrap()
}

fn forbidden<T: std::fmt::Debug>(result: Result<T, AuthError>) -> bool {
    matches!(result, Err(AuthError::Forbidden(_)))
}

#[test]
fn bearer_tokens_identify_their_caller() {
    let (keys, verifier) = setup();
    for role in Role::ALL {
        let token = keys.mint(&grant(role), END).unwrap();
        let operation = match role {
            Role::Worker => Operation::Work,
            Role::Dataplane => Operation::Serve,
            _ => Operation::Read,
        };
        // Twice: the second result comes from the cache.
        for _ in 0..2 {
            let principal: Principal = verifier.authenticate(&token, &request(operation)).unwrap();
            assert_eq!((principal.subject.as_str(), principal.tenant.as_str()), ("ana", "acme"));
            assert_eq!((principal.role, principal.expires_at), (role, END));
            assert_eq!(principal.revocation_ids.len(), 1);
        }
    }
}

#[test]
fn names_are_data_not_datalog() {
    let (keys, verifier) = setup();
    let subject = r#"x"); role("admin"); subject("y"#.to_owned();
    let token = keys.mint(&Grant { subject: subject.clone(), ..grant(Role::Viewer) }, END).unwrap();
    let principal = verifier.authenticate(&token, &request(Operation::Read)).unwrap();
    assert_eq!((principal.subject, principal.role), (subject, Role::Viewer));
    for bad in [String::new(), "x".repeat(257)] {
        let grant = Grant { subject: bad, ..grant(Role::Viewer) };
        assert_eq!(keys.mint(&grant, END), Err(AuthError::Limit));
    }
}

#[test]
fn a_flipped_byte_at_any_position_is_rejected() {
    let (keys, verifier) = setup();
    let token = keys.mint(&grant(Role::Admin), END).unwrap();
    for position in 0..token.trim_end_matches('=').len() - 1 {
        let mut bytes = token.clone().into_bytes();
        bytes[position] = if bytes[position] == b'A' { b'B' } else { b'A' };
        let text = String::from_utf8(bytes).unwrap();
        let result = verifier.authenticate(&text, &request(Operation::Read));
        let rejected = matches!(result, Err(AuthError::Malformed | AuthError::BadSignature));
        assert!(rejected, "position {position}: {result:?}");
    }
}

#[test]
fn tokens_expire_at_their_time() {
    let (keys, verifier) = setup();
    let token = keys.mint(&grant(Role::Admin), END).unwrap();
    let at = |now| verifier.authenticate(&token, &Request { now, ..request(Operation::Read) });
    assert!(at(END - 1).is_ok());
    assert_eq!(at(END), Err(AuthError::Expired));
    assert_eq!(at(i64::MAX), Err(AuthError::Expired));
    let playback = playback(&keys, None, None);
    assert!(verifier.playback(&playback, VIDEO, END - 1, None).is_ok());
    assert_eq!(verifier.playback(&playback, VIDEO, END, None), Err(AuthError::Expired));
    let past = keys.mint(&grant(Role::Admin), -1).unwrap();
    assert_eq!(verifier.authenticate(&past, &request(Operation::Read)), Err(AuthError::Expired));
}

#[test]
fn foreign_root_key_is_rejected_and_rotation_keeps_old_tokens() {
    let (mut keys, verifier) = setup();
    let foreign = RootKeys::generate().mint(&grant(Role::Admin), END).unwrap();
    let read = request(Operation::Read);
    assert_eq!(verifier.authenticate(&foreign, &read), Err(AuthError::BadSignature));

    let old = keys.mint(&grant(Role::Editor), END).unwrap();
    keys.rotate();
    let new = keys.mint(&grant(Role::Viewer), END).unwrap();
    // The verifier does not know the new key yet, and must not cache that result.
    assert_eq!(verifier.authenticate(&new, &read), Err(AuthError::BadSignature));
    verifier.replace_keys(keys.public());
    assert_eq!(verifier.authenticate(&new, &read).unwrap().role, Role::Viewer);
    assert_eq!(verifier.authenticate(&old, &read).unwrap().role, Role::Editor);
    let mut retired = keys.public();
    retired.0.remove(0);
    verifier.replace_keys(retired);
    assert_eq!(verifier.authenticate(&old, &read), Err(AuthError::BadSignature));
}

#[test]
fn appended_blocks_cannot_extend_the_rights() {
    let (keys, verifier) = setup();
    let token = keys.mint(&grant(Role::Viewer), END).unwrap();
    let appended = append(
        &token,
        r#"role("admin"); subject("root"); tenant("other"); expires(9999999999);
           role("admin") <- role($r); operation("admin"); time(2000-01-01T00:00:00Z);"#,
    );
    let read = verifier.authenticate(&appended, &request(Operation::Read)).unwrap();
    assert_eq!(
        (read.role, read.subject.as_str(), read.tenant.as_str()),
        (Role::Viewer, "ana", "acme")
    );
    assert_eq!(read.expires_at, END);
    for operation in [Operation::Write, Operation::Admin, Operation::Delete, Operation::Serve] {
        assert!(forbidden(verifier.authenticate(&appended, &request(operation))), "{operation}");
    }
    let late = Request { now: END, ..request(Operation::Read) };
    assert_eq!(verifier.authenticate(&appended, &late), Err(AuthError::Expired));
    // A block cannot satisfy its own check with a fact that the request does not provide, either.
    let self_checked = append(&token, r#"check if operation("read"); check if time($t), $t > 2100-01-01;"#
        .replace("2100-01-01;", "2100-01-01T00:00:00Z;").as_str());
    assert!(forbidden(verifier.authenticate(&self_checked, &request(Operation::Read))));

    let video = playback(&keys, Some(480), None);
    let padded = narrow(&video, &Restriction::default()).unwrap();
    let widened = append(&padded, &format!("playback(\"{OTHER}\"); max_height(2160);"));
    assert_eq!(verifier.playback(&widened, VIDEO, NOW, None).unwrap().max_height, Some(480));
    assert!(forbidden(verifier.playback(&widened, OTHER, NOW, None)));
}

#[test]
fn token_kinds_are_not_interchangeable() {
    let (keys, verifier) = setup();
    let bearer = keys.mint(&grant(Role::Admin), END).unwrap();
    let playback = playback(&keys, None, None);
    assert!(forbidden(verifier.authenticate(&playback, &request(Operation::Play))));
    assert!(forbidden(verifier.authenticate(&playback, &request(Operation::Read))));
    assert!(forbidden(verifier.playback(&bearer, VIDEO, NOW, None)));
    let disguised = append(&bearer, &format!("playback(\"{VIDEO}\");"));
    assert!(forbidden(verifier.playback(&disguised, VIDEO, NOW, None)));
    let padded = narrow(&playback, &Restriction::default()).unwrap();
    let disguised = append(&padded, r#"subject("x"); tenant("acme"); role("admin");"#);
    assert!(forbidden(verifier.authenticate(&disguised, &request(Operation::Read))));
}

#[test]
fn playback_token_plays_its_video_from_its_address() {
    let (keys, verifier) = setup();
    let token = playback(&keys, Some(720), address("192.0.2.7"));
    assert!(!token.contains('='), "needs no escaping in a URL");
    let play = |video, from| verifier.playback(&token, video, NOW, from);
    let allowed = play(VIDEO, address("192.0.2.7")).unwrap();
    assert_eq!((allowed.max_height, allowed.expires_at), (Some(720), END));
    assert!(
        play(VIDEO, address("::ffff:192.0.2.7")).is_ok(),
        "the same address, seen by a v6 socket"
    );
    assert!(forbidden(play(VIDEO, address("192.0.2.8"))));
    assert!(forbidden(play(VIDEO, None)));
    assert!(forbidden(play(OTHER, address("192.0.2.7"))));
    let anywhere = playback(&keys, None, None);
    assert_eq!(verifier.playback(&anywhere, VIDEO, NOW, None).unwrap().max_height, None);
}

#[test]
fn narrowed_token_keeps_to_its_restrictions() {
    let (keys, verifier) = setup();
    let restriction = Restriction {
        expires_at: Some(NOW + 60),
        operations: vec![Operation::Read, Operation::Write],
        video: Some(VIDEO),
        address: address("2001:db8::1"),
    };
    let token = narrow(&keys.mint(&grant(Role::Admin), END).unwrap(), &restriction).unwrap();
    let good = Request { address: address("2001:db8::1"), ..request(Operation::Write) };
    assert_eq!(verifier.authenticate(&token, &good).unwrap().role, Role::Admin);
    for bad in [
        Request { now: NOW + 60, ..good },
        Request { operation: Operation::Delete, ..good },
        Request { operation: Operation::Admin, ..good },
        Request { video: Some(OTHER), ..good },
        Request { video: None, ..good },
        Request { address: address("2001:db8::2"), ..good },
        Request { address: None, ..good },
    ] {
        assert!(forbidden(verifier.authenticate(&token, &bad)), "{bad:?}");
    }
}

#[test]
fn blocks_of_third_parties_are_rejected() {
    let (keys, verifier) = setup();
    let (token, other) = (
        keys.mint(&grant(Role::Viewer), END).unwrap(),
        keys.mint(&grant(Role::Editor), END).unwrap(),
    );
    let foreign_key = KeyPair::new();
    let unverified = |token: &str| UnverifiedBiscuit::from_base64(token).unwrap();
    let block = BlockBuilder::new().code(r#"role("admin"); check if true;"#).unwrap();
    let request_of = |token: &str| unverified(token).third_party_request().unwrap();
    let signed = request_of(&token).create_block(&foreign_key.private(), block).unwrap();
    let bytes = signed.serialize().unwrap();
    let own = unverified(&token).append_third_party(&bytes).unwrap().to_base64().unwrap();
    let read = request(Operation::Read);
    assert_eq!(verifier.authenticate(&own, &read), Err(AuthError::Malformed));
    // Its signature covers the token for which it was made.
    if let Ok(moved) = unverified(&other).append_third_party(&bytes) {
        let moved = moved.to_base64().unwrap();
        let rejected = verifier.authenticate(&moved, &read);
        assert_eq!(rejected, Err(AuthError::BadSignature));
    }
    let trusting = append(&token, r#"check if role("admin") trusting previous;"#);
    assert_eq!(verifier.authenticate(&trusting, &read), Err(AuthError::Malformed));
}

#[test]
fn removed_reordered_and_sealed_blocks_are_rejected() {
    let (keys, verifier) = setup();
    let token = keys.mint(&grant(Role::Admin), END).unwrap();
    let restriction =
        |operation| Restriction { operations: vec![operation], ..Restriction::default() };
    let one = narrow(&token, &restriction(Operation::Read)).unwrap();
    let two = narrow(&one, &restriction(Operation::Play)).unwrap();
    let decode = |token: &str| {
        use base64::Engine;
        let bytes = base64::engine::general_purpose::URL_SAFE.decode(token).unwrap();
        <schema::Biscuit as biscuit_prost::Message>::decode(&bytes[..]).unwrap()
    };
    let encode = |token: &schema::Biscuit| {
        use base64::Engine;
        let bytes = biscuit_prost::Message::encode_to_vec(token);
        base64::engine::general_purpose::URL_SAFE.encode(bytes)
    };
    let read = request(Operation::Read);
    let mut removed = decode(&one);
    removed.blocks.clear();
    assert_eq!(verifier.authenticate(&encode(&removed), &read), Err(AuthError::BadSignature));
    let mut reordered = decode(&two);
    reordered.blocks.swap(0, 1);
    assert_eq!(verifier.authenticate(&encode(&reordered), &read), Err(AuthError::BadSignature));
    let mut middle = decode(&two);
    middle.blocks.remove(0);
    assert_eq!(verifier.authenticate(&encode(&middle), &read), Err(AuthError::BadSignature));
    let sealed = UnverifiedBiscuit::from_base64(&one).unwrap().seal().unwrap();
    let sealed = sealed.to_base64().unwrap();
    assert!(verifier.authenticate(&sealed, &read).is_ok());
    assert_eq!(narrow(&sealed, &restriction(Operation::Play)), Err(AuthError::Malformed));
}

#[test]
fn revoked_tokens_and_their_descendants_are_rejected() {
    let (keys, verifier) = setup();
    let parent = keys.mint(&grant(Role::Editor), END).unwrap();
    let child = narrow(&parent, &Restriction::default()).unwrap();
    let read = request(Operation::Read);
    let ids = verifier.authenticate(&child, &read).unwrap().revocation_ids;
    assert_eq!(ids.len(), 2);
    assert_eq!(verifier.revoke([ids[1].clone()]).len(), 1);
    assert!(verifier.revoke([ids[1].clone()]).is_empty(), "no news");
    assert_eq!(verifier.authenticate(&child, &read), Err(AuthError::Revoked));
    assert!(verifier.authenticate(&parent, &read).is_ok());
    verifier.revoke([verifier.revocation_ids(&parent).unwrap().0[0].clone()]);
    assert_eq!(verifier.authenticate(&parent, &read), Err(AuthError::Revoked));
    let playback = playback(&keys, None, None);
    verifier.revoke(verifier.revocation_ids(&playback).unwrap().0);
    assert_eq!(verifier.playback(&playback, VIDEO, NOW, None), Err(AuthError::Revoked));
}

#[test]
fn blocks_with_malleable_signatures_are_rejected() {
    let (keys, verifier) = setup();
    let token = keys.mint(&grant(Role::Editor), END).unwrap();
    let unverified = |token: &str| UnverifiedBiscuit::from_base64(token).unwrap();
    // The holder chooses the key that will sign the block after the next one.
    let chosen = |algorithm| {
        let key = KeyPair::new_with_algorithm(algorithm);
        let block = BlockBuilder::new().code("check if true;").unwrap();
        let token = unverified(&token).append_with_keypair(&key, block).unwrap();
        token.to_base64().unwrap()
    };
    let (ours, other) = (chosen(Algorithm::Ed25519), chosen(Algorithm::Secp256r1));
    let read = request(Operation::Read);
    assert!(verifier.authenticate(&append(&ours, "check if true;"), &read).is_ok());
    for token in [append(&other, "check if true;"), other] {
        assert_eq!(verifier.authenticate(&token, &read), Err(AuthError::Malformed));
        assert!(verifier.revocation_ids(&token).is_err());
        assert_eq!(narrow(&token, &Restriction::default()), Err(AuthError::Malformed));
    }
}

#[test]
fn a_valid_signature_without_the_required_facts_is_rejected() {
    let (keys, verifier) = setup();
    let stored: serde_json::Value = serde_json::from_str(&keys.to_json()).unwrap();
    let private = stored[0]["private"].as_str().unwrap();
    let pair = KeyPair::from(&PrivateKey::from_bytes_hex(private, Algorithm::Ed25519).unwrap());
    let sign = |code: &str| {
        let builder = biscuit_auth::Biscuit::builder().root_key_id(0).code(code).unwrap();
        builder.build(&pair).unwrap().to_base64().unwrap()
    };
    for code in [
        r#"role("admin");"#,
        r#"subject("x"); tenant("t"); role("admin");"#,
        r#"subject("x"); tenant("t"); role("root"); expires(1900000000);"#,
        r#"subject("x"); tenant("t"); role("admin"); role("viewer"); expires(1900000000);"#,
        r#"subject("x"); tenant("t"); role("admin"); playback("v"); expires(1900000000);"#,
    ] {
        let result = verifier.authenticate(&sign(code), &request(Operation::Read));
        assert_eq!(result, Err(AuthError::Malformed), "{code}");
    }
    for text in ["", "=", "abc", "not base64 at all", "Ü", "AAAA"] {
        let result = verifier.authenticate(text, &request(Operation::Read));
        assert_eq!(result, Err(AuthError::Malformed), "{text}");
    }
}
