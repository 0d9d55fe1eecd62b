//! Notes on the days on which tokens are used.

use authz::{Operation, Request, Restriction, Role, narrow};

use super::{END, NOW, grant, playback, request, setup};

const DAY: i64 = 86_400;

#[test]
fn a_token_is_noted_once_a_day_under_its_first_block() {
    let (keys, verifier) = setup();
    let token = keys.mint(&grant(Role::Editor), NOW + 10 * DAY).unwrap();
    let narrowed = narrow(&token, &Restriction::default()).unwrap();
    let at = |token: &str, now| {
        verifier.authenticate(token, &Request { now, ..request(Operation::Read) }).unwrap();
    };
    let midnight = NOW.div_euclid(DAY) * DAY + DAY;
    for (token, now) in
        [(&token, NOW), (&narrowed, NOW), (&token, midnight - 1), (&narrowed, midnight)]
    {
        at(token, now);
    }
    let uses = verifier.take_uses(100);
    assert_eq!(uses.iter().map(|one| one.used_at).collect::<Vec<_>>(), [NOW, midnight]);
    let ids = verifier.revocation_ids(&token).unwrap().0;
    for one in &uses {
        assert_eq!((&one.revocation_id, one.expires_at), (&ids[0], NOW + 10 * DAY));
        assert_eq!(one.grant, grant(Role::Editor));
    }
    assert!(verifier.take_uses(100).is_empty());
    verifier.return_uses(uses);
    assert_eq!((verifier.take_uses(1).len(), verifier.take_uses(100).len()), (1, 1));
}

#[test]
fn sessions_exchanged_and_rejected_tokens_are_not_noted() {
    let (keys, verifier) = setup();
    let token = keys.mint(&grant(Role::Editor), END).unwrap();
    let credential = verifier.credential(&token, NOW).unwrap();
    let (session, _) = keys.mint_session(&credential, NOW).unwrap();
    let exchanged = keys.mint_exchanged(&grant(Role::Editor), END, &[7; 32]).unwrap();
    for token in [&session, &exchanged] {
        verifier.authenticate(token, &request(Operation::Read)).unwrap();
    }
    assert!(verifier.authenticate(&token, &request(Operation::Admin)).is_err());
    assert!(
        verifier.authenticate(&playback(&keys, None, None), &request(Operation::Play)).is_err()
    );
    assert_eq!(verifier.take_uses(100), []);
}

#[test]
fn notes_that_wait_are_bounded() {
    let (keys, verifier) = setup();
    let token = keys.mint(&grant(Role::Editor), END).unwrap();
    let principal = verifier.identify(&token, NOW).unwrap();
    for number in 0..10_500_u32 {
        let mut other = principal.clone();
        other.revocation_ids = vec![number.to_be_bytes().to_vec()];
        verifier.note_use(&other, NOW);
    }
    assert_eq!(verifier.take_uses(usize::MAX).len(), 10_000);
}
