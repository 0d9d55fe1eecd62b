//! Renewal of playback tokens: when it is possible, what a renewed token allows, and how a
//! family of tokens is revoked.

use authz::{
    AuthError, Operation, PLAYBACK_SECONDS_MAX, PlaybackGrant, RenewalError, Renewed, Restriction,
    Role, RootKeys, Verifier, narrow,
};

use super::{END, NOW, OTHER, VIDEO, address, append, forbidden, grant, playback, setup};

/// Within the last third of a token that [`playback`] minted.
const LATE: i64 = NOW + 3000;

fn renew(keys: &RootKeys, verifier: &Verifier, token: &str, now: i64) -> Renewed {
    verifier.renew(keys, token, now * 1000, None).unwrap()
}

fn plays(verifier: &Verifier, token: &str, now: i64) -> Result<(), AuthError> {
    verifier.playback(token, VIDEO, now, None).map(drop)
}

fn revoke(verifier: &Verifier, token: &str) {
    verifier.revoke([verifier.revoking_id(token).unwrap().0]);
}

#[test]
fn a_token_is_renewed_only_in_the_last_third_of_its_life() {
    let (keys, verifier) = setup();
    let token = playback(&keys, None, None);
    let at = |now_ms| verifier.renew(&keys, &token, now_ms, None).map(|renewed| renewed.expires_at);
    assert_eq!(at(NOW * 1000), Err(RenewalError::Early(2400)));
    assert_eq!(at(NOW * 1000 + 2_399_999), Err(RenewalError::Early(1)));
    assert_eq!(at(NOW * 1000 + 2_400_000), Ok(NOW + 2400 + 3600));
    assert_eq!(at(END * 1000 - 1000), Ok(END - 1 + 3600));
    assert_eq!(at(END * 1000), Err(AuthError::Expired.into()));
    // Of a token of one second, the last third is shorter than the clock of tokens shows.
    let grant = PlaybackGrant { video: VIDEO, max_height: None, address: None };
    let brief = keys.mint_playback(&grant, NOW, NOW + 1).unwrap();
    let at = |now_ms| verifier.renew(&keys, &brief, now_ms, None).map(|renewed| renewed.expires_at);
    assert_eq!(at(NOW * 1000 + 600), Err(RenewalError::Early(1)));
    assert_eq!(at(NOW * 1000 + 700), Ok(NOW + 2));
}

#[test]
fn a_renewed_token_has_the_rights_and_restrictions_of_the_one_that_it_renews() {
    let (keys, verifier) = setup();
    let from = address("192.0.2.7");
    let token = playback(&keys, Some(720), from);
    for elsewhere in [None, address("192.0.2.8")] {
        let rejected = verifier.renew(&keys, &token, LATE * 1000, elsewhere);
        assert!(matches!(rejected, Err(RenewalError::Token(AuthError::Forbidden(_)))));
    }
    let renewed = verifier.renew(&keys, &token, LATE * 1000, from).unwrap();
    assert_eq!((renewed.video, renewed.expires_at), (VIDEO, LATE + 3600));
    assert!(!renewed.token.contains('='), "needs no escaping in a URL");
    let play = |video, now, from| verifier.playback(&renewed.token, video, now, from);
    let allowed = play(VIDEO, END + 1, from).unwrap();
    assert_eq!((allowed.max_height, allowed.expires_at), (Some(720), LATE + 3600));
    assert!(forbidden(play(VIDEO, LATE, address("192.0.2.8"))));
    assert!(forbidden(play(VIDEO, LATE, None)));
    assert!(forbidden(play(OTHER, LATE, from)));
    assert_eq!(play(VIDEO, LATE + 3600, from), Err(AuthError::Expired));
}

#[test]
fn a_renewed_token_keeps_the_restrictions_of_its_holders() {
    let (keys, verifier) = setup();
    let from = address("192.0.2.7");
    let bound = Restriction { address: from, ..Restriction::default() };
    let narrowed = narrow(&playback(&keys, None, None), &bound).unwrap();
    let code = r#"
        class("free");
        paid($user) <- class($user), $user != "free";
        check if time($now), $now > 2020-01-01T00:00:00Z || 1 == 2;
        check if class($class), ["free", "paid"].contains($class), !(1 + 2 * 3 == 9);
        check all operation($what), $what == "play" && $what.length() < 7;
        reject if paid("x");
    "#;
    let narrowed = append(&narrowed, code);
    let renewed = verifier.renew(&keys, &narrowed, LATE * 1000, from).unwrap();
    let again = verifier.renew(&keys, &renewed.token, (LATE + 3000) * 1000, from).unwrap();
    for token in [&renewed.token, &again.token] {
        assert!(verifier.playback(token, VIDEO, LATE, from).is_ok());
        assert!(forbidden(verifier.playback(token, VIDEO, LATE, address("192.0.2.8"))));
    }
    // A string that could be read as code when it is copied.
    let quoted = append(&playback(&keys, None, None), r#"check if "x\" || \"" != "x";"#);
    let rejected = verifier.renew(&keys, &quoted, LATE * 1000, None);
    assert!(matches!(rejected, Err(RenewalError::Token(AuthError::Forbidden(_)))), "{rejected:?}");
    // A renewal would outlive the end that a holder has set.
    let ends = Restriction { expires_at: Some(LATE + 60), ..Restriction::default() };
    let brief = narrow(&playback(&keys, None, None), &ends).unwrap();
    let rejected = verifier.renew(&keys, &brief, LATE * 1000, None);
    assert!(matches!(rejected, Err(RenewalError::Token(AuthError::Forbidden(_)))));
    let other = Restriction { operations: vec![Operation::Read], ..Restriction::default() };
    let unusable = narrow(&playback(&keys, None, None), &other).unwrap();
    let rejected = verifier.renew(&keys, &unusable, LATE * 1000, None);
    assert!(matches!(rejected, Err(RenewalError::Token(AuthError::Forbidden(_)))));
}

#[test]
fn renewals_end_seven_days_after_the_first_token_was_minted() {
    let (keys, verifier) = setup();
    let grant = PlaybackGrant { video: VIDEO, max_height: None, address: None };
    let (mut now, mut expires_at) = (NOW, NOW + 86_400);
    let mut token = keys.mint_playback(&grant, NOW, expires_at).unwrap();
    for _ in 0..100 {
        match verifier.renew(&keys, &token, now * 1000, None) {
            Ok(renewed) => {
                assert!(renewed.expires_at > expires_at);
                assert!(token.len() <= renewed.token.len() && renewed.token.len() < 600);
                (token, expires_at) = (renewed.token, renewed.expires_at);
                now = expires_at - 60;
            }
            Err(RenewalError::Early(seconds)) => now += i64::try_from(seconds).unwrap(),
            Err(RenewalError::Token(error)) => {
                assert!(forbidden(Err::<(), _>(error)));
                break;
            }
        }
    }
    assert_eq!(expires_at, NOW + PLAYBACK_SECONDS_MAX);
    let longest = keys.mint_playback(&grant, NOW, NOW + PLAYBACK_SECONDS_MAX).unwrap();
    let late_ms = (NOW + PLAYBACK_SECONDS_MAX - 60) * 1000;
    let rejected = verifier.renew(&keys, &longest, late_ms, None);
    assert!(matches!(rejected, Err(RenewalError::Token(AuthError::Forbidden(_)))));
}

#[test]
fn revoking_any_token_of_a_family_ends_all_of_them() {
    for revoked in 0..3 {
        let (keys, verifier) = setup();
        let first = playback(&keys, None, None);
        let second = renew(&keys, &verifier, &first, LATE).token;
        let third = renew(&keys, &verifier, &second, LATE + 3000).token;
        let other = playback(&keys, None, address("192.0.2.7"));
        let family = [&first, &second, &third];
        let child = narrow(&third, &Restriction::default()).unwrap();
        revoke(&verifier, family[revoked]);
        for token in family.into_iter().chain([&child]) {
            assert_eq!(plays(&verifier, token, LATE), Err(AuthError::Revoked), "{revoked}");
            let renewed = verifier.renew(&keys, token, LATE * 1000, None);
            assert_eq!(renewed, Err(AuthError::Revoked.into()));
        }
        assert!(verifier.playback(&other, VIDEO, LATE, address("192.0.2.7")).is_ok());
    }
}

#[test]
fn revoking_the_renewal_of_a_narrowed_token_spares_the_token_from_which_it_was_narrowed() {
    let (keys, verifier) = setup();
    let parent = playback(&keys, None, None);
    let child = narrow(&parent, &Restriction::default()).unwrap();
    let renewed_child = renew(&keys, &verifier, &child, LATE).token;
    let renewed_parent = renew(&keys, &verifier, &parent, LATE).token;
    // Narrowed after a renewal, and renewed once more.
    let grandchild = narrow(&renewed_child, &Restriction::default()).unwrap();
    let renewed_grandchild = renew(&keys, &verifier, &grandchild, LATE + 3000).token;
    revoke(&verifier, &renewed_grandchild);
    for token in [&grandchild, &renewed_grandchild] {
        assert_eq!(plays(&verifier, token, LATE), Err(AuthError::Revoked));
    }
    for token in [&parent, &child, &renewed_child, &renewed_parent] {
        assert!(plays(&verifier, token, LATE).is_ok());
    }
    revoke(&verifier, &renewed_child);
    for token in [&child, &renewed_child] {
        assert_eq!(plays(&verifier, token, LATE), Err(AuthError::Revoked));
    }
    for token in [&parent, &renewed_parent] {
        assert!(plays(&verifier, token, LATE).is_ok());
    }
    revoke(&verifier, &renewed_parent);
    assert_eq!(plays(&verifier, &parent, LATE), Err(AuthError::Revoked));
}

#[test]
fn removing_a_key_ends_the_renewals_of_the_tokens_that_it_signed() {
    let (mut keys, verifier) = setup();
    let token = playback(&keys, None, None);
    keys.rotate();
    verifier.replace_keys(keys.public());
    let renewed = renew(&keys, &verifier, &token, LATE);
    assert!(plays(&verifier, &renewed.token, LATE).is_ok());
    assert!(keys.remove(0));
    verifier.replace_keys(keys.public());
    assert_eq!(plays(&verifier, &renewed.token, LATE), Err(AuthError::BadSignature));
}

#[test]
fn tokens_that_are_not_genuine_playback_tokens_are_not_renewed() {
    let (keys, verifier) = setup();
    let bearer = keys.mint(&grant(Role::Admin), END).unwrap();
    let foreign = playback(&RootKeys::generate(), None, None);
    // A holder cannot extend a token by facts of its own.
    let forged =
        append(&playback(&keys, None, None), &format!("minted({NOW}); expires({});", END * 2));
    for (token, now) in
        [(bearer, LATE), (foreign, LATE), ("garbage".to_owned(), LATE), (forged, END)]
    {
        let rejected = verifier.renew(&keys, &token, now * 1000, None);
        assert!(matches!(rejected, Err(RenewalError::Token(_))), "{rejected:?}");
    }
}
