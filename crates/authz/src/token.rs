//! From text to a verified biscuit: checks limits first, then structure, then signatures, then the
//! identity.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use biscuit_auth::{
    Authorizer, AuthorizerBuilder, AuthorizerLimits, Biscuit, UnverifiedBiscuit, builder::Fact,
    error, format::schema,
};
use biscuit_prost::Message;
use media::VideoId;

use crate::{
    AuthError, blocks, cost,
    keys::PublicKeys,
    mint,
    renew::Family,
    role::Role,
    session::{self, Origin},
};

/// Maximum size in bytes of a token's text. Every block costs a signature check, so the size is
/// checked first.
pub(crate) const TOKEN_BYTES_MAX: usize = 8 * 1024;
/// Maximum number of blocks of a token.
pub(crate) const BLOCKS_MAX: usize = 16;

/// A genuine token: its signatures are valid. Whether it allows an operation is checked per
/// request.
#[derive(Debug)]
pub(crate) struct Verified {
    pub(crate) biscuit: Biscuit,
    pub(crate) kind: Kind,
    pub(crate) expires_at: i64,
    /// The earliest expiry that appended blocks set, if it is recognized.
    pub(crate) narrowed_end: Option<i64>,
    /// The checks of the authority block, if they are exactly those that this service mints.
    pub(crate) authority: Option<Plain>,
    /// The checks, if they are exactly those that this service mints; otherwise Datalog has to
    /// evaluate them.
    pub(crate) plain: Option<Plain>,
    /// First the ids of what it was made from, if any: of the JWT that it was exchanged for, of the
    /// credential of the session, or of the token that it renews; then one id per block. Revoking any of them revokes this token and
    /// every token narrowed from that block on.
    pub(crate) revocation_ids: Vec<Vec<u8>>,
}

/// The checks of a token exactly as minted: before its expiry, and possibly from one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plain {
    pub(crate) address: Option<IpAddr>,
}

/// The kind of token, according to its authority block.
#[derive(Debug)]
pub(crate) enum Kind {
    Bearer {
        subject: String,
        tenant: String,
        role: Role,
        origin: Origin,
    },
    Playback {
        video: VideoId,
        max_height: Option<u32>,
        /// Unix seconds; tokens of earlier releases have none.
        minted_at: Option<i64>,
        /// Of the token that it renews, if any.
        family: Option<Family>,
    },
}

/// How often an evaluation is attempted if it times out: the limit is wall time, and a busy machine
/// may have spent it on other work.
pub(crate) const EVALUATIONS_MAX: u32 = 2;

/// [`cost`] has bounded the input of an evaluation; these limits bound the facts that rules
/// generate.
pub(crate) fn limits() -> AuthorizerLimits {
    AuthorizerLimits {
        max_facts: cost::FACTS_MAX,
        max_iterations: cost::ITERATIONS_MAX,
        max_time: Duration::from_millis(20),
    }
}

/// Evaluates once more if the first evaluation timed out.
pub(crate) fn evaluated<T>(evaluate: impl Fn() -> Result<T, AuthError>) -> Result<T, AuthError> {
    for _ in 1..EVALUATIONS_MAX {
        match evaluate() {
            Err(AuthError::Busy) => {}
            other => return other,
        }
    }
    evaluate()
}

/// Parses a token without checking signatures.
pub(crate) fn parse(text: &str) -> Result<UnverifiedBiscuit, AuthError> {
    let bytes = bytes(text)?;
    decode_unverified(&bytes)?;
    UnverifiedBiscuit::from(&bytes).map_err(|_| AuthError::Malformed)
}

fn bytes(text: &str) -> Result<Vec<u8>, AuthError> {
    if text.len() > TOKEN_BYTES_MAX {
        return Err(AuthError::Limit);
    }
    URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).map_err(|_| AuthError::Malformed)
}

/// Decodes the token's blocks and checks that they are few, and signed in a way that has only one
/// form.
fn decode_unverified(bytes: &[u8]) -> Result<schema::Biscuit, AuthError> {
    let outline = schema::Biscuit::decode(bytes).map_err(|_| AuthError::Malformed)?;
    if outline.blocks.len() + 1 > BLOCKS_MAX {
        return Err(AuthError::Limit);
    }
    // A holder may choose the key that signs the next block. A block is revoked by its signature,
    // and for every P-256 signature there is a second one that verifies as well; under strict
    // verification, Ed25519 has no such pairs.
    let mut blocks = std::iter::once(&outline.authority).chain(&outline.blocks);
    let ed25519 = schema::public_key::Algorithm::Ed25519 as i32;
    if blocks.any(|block| block.next_key.algorithm != ed25519) {
        return Err(AuthError::Malformed);
    }
    Ok(outline)
}

/// Parses a token, checks every block's signature and reads the token's kind and identity.
pub(crate) fn verify(text: &str, keys: &PublicKeys) -> Result<Verified, AuthError> {
    let bytes = bytes(text)?;
    let outline = decode_unverified(&bytes)?;
    let token = UnverifiedBiscuit::from(&bytes).map_err(|_| AuthError::Malformed)?;
    let find = |id: Option<u32>| keys.find(id.unwrap_or(0)).ok_or(error::Format::UnknownPublicKey);
    let biscuit = token.verify(find).map_err(|_| AuthError::BadSignature)?;
    cost::check(&outline.blocks)?;
    let (expires_at, made_from, kind) = evaluated(|| {
        let mut authorizer = AuthorizerBuilder::new()
            .set_limits(limits())
            .build(&biscuit)
            .map_err(|error| evaluation(&error))?;
        let expires_at = one::<i64>(&mut authorizer, "expires")?.ok_or(AuthError::Malformed)?;
        let (kind, made_from) = kind(&mut authorizer)?;
        Ok((expires_at, made_from, kind))
    })?;
    let revocation_ids = made_from.into_iter().chain(biscuit.revocation_identifiers()).collect();
    let narrowed_end = blocks::earliest_end(&biscuit);
    let authority = authority(&biscuit, expires_at);
    // A token that has not been narrowed, so that the data plane need not run Datalog per segment.
    let plain = authority.filter(|_| biscuit.block_count() == 1);
    Ok(Verified { biscuit, kind, expires_at, narrowed_end, authority, plain, revocation_ids })
}

/// Recognizes an authority block with the checks that this service mints. Only checks can reject a
/// request, so a check that does not match a minted one exactly makes this return `None`.
fn authority(biscuit: &Biscuit, expires_at: i64) -> Option<Plain> {
    let end = format!("{};", mint::check_end(expires_at));
    let source = biscuit.print_block_source(0).ok()?;
    let is_check = |line: &&str| line.starts_with("check") || line.starts_with("reject");
    let mut plain = Plain { address: None };
    for line in source.lines().filter(is_check).filter(|line| *line != end) {
        let text = line.strip_prefix("check if ip(\"")?.strip_suffix("\");")?;
        let address = text.parse().ok()?;
        let ours = format!("{};", mint::check_address(address));
        if plain.address.replace(address).is_some() || line != ours {
            return None;
        }
    }
    Some(plain)
}

/// The kind of a token, and the revocation ids of what it was made from.
fn kind(authorizer: &mut Authorizer) -> Result<(Kind, Vec<Vec<u8>>), AuthError> {
    let subject = one::<String>(authorizer, "subject")?;
    let playback = one::<String>(authorizer, "playback")?;
    match (subject, playback) {
        (Some(subject), None) => {
            let tenant = one(authorizer, "tenant")?.ok_or(AuthError::Malformed)?;
            let role: String = one(authorizer, "role")?.ok_or(AuthError::Malformed)?;
            let role = role.parse().map_err(|_| AuthError::Malformed)?;
            let exchanged = one::<Vec<u8>>(authorizer, "exchanged")?;
            let session = one::<Vec<u8>>(authorizer, "session")?;
            let (origin, made_from) = match (exchanged, session) {
                (None, None) => (Origin::Minted, Vec::new()),
                (Some(jwt), None) => (Origin::Provider, vec![jwt]),
                (None, Some(ids)) => (Origin::Session, session::decode(&ids)?),
                (Some(_), Some(_)) => return Err(AuthError::Malformed),
            };
            Ok((Kind::Bearer { subject, tenant, role, origin }, made_from))
        }
        (None, Some(video)) => {
            let video = video.parse().map_err(|_| AuthError::Malformed)?;
            let max_height = one::<i64>(authorizer, "max_height")?;
            let max_height = max_height.map(u32::try_from).transpose();
            let max_height = max_height.map_err(|_| AuthError::Malformed)?;
            let minted_at = one(authorizer, "minted")?;
            let family = Family::read(authorizer)?;
            let made_from = family.as_ref().map(|family| family.ids.clone()).unwrap_or_default();
            Ok((Kind::Playback { video, max_height, minted_at, family }, made_from))
        }
        _ => Err(AuthError::Malformed),
    }
}

/// The only value of `name(value)` in the authority block. `query` uses only facts of the authority
/// block and of the authorizer, so blocks appended by a holder have no influence.
fn one<T>(authorizer: &mut Authorizer, name: &str) -> Result<Option<T>, AuthError>
where
    (T,): TryFrom<Fact, Error = error::Token>,
    T: Ord,
{
    let rule = format!("value($value) <- {name}($value)");
    let found: Vec<(T,)> = authorizer.query(rule.as_str()).map_err(|error| evaluation(&error))?;
    let mut values: BTreeSet<T> = found.into_iter().map(|(value,)| value).collect();
    match values.len() {
        0 => Ok(None),
        1 => Ok(values.pop_first()),
        _ => Err(AuthError::Malformed),
    }
}

/// Exceeding a limit does not mean that the holder lacks a right, and must not be reported as if it
/// did.
pub(crate) fn evaluation(error: &error::Token) -> AuthError {
    match error {
        error::Token::RunLimit(error::RunLimit::Timeout) => AuthError::Busy,
        error::Token::RunLimit(_) => AuthError::Limit,
        error::Token::FailedLogic(_) => unmet(),
        _ => AuthError::Malformed,
    }
}

/// A check of the token failed.
pub(crate) fn unmet() -> AuthError {
    AuthError::Forbidden("a restriction of the token is not met".to_owned())
}

#[cfg(test)]
mod tests {
    use biscuit_auth::UnverifiedBiscuit;
    use media::VideoId;

    use super::{Plain, Verified, verify};
    use crate::{Grant, PlaybackGrant, Restriction, Role, RootKeys, narrow};

    const END: i64 = 1_800_000_000;

    fn check(keys: &RootKeys, token: &str) -> Verified {
        verify(token, &keys.public()).unwrap()
    }

    #[test]
    fn tokens_as_minted_are_plain() {
        let keys = RootKeys::generate();
        let odd = "x\ncheck if time($time), $time < 2000-01-01T00:00:00Z;";
        for (subject, plain) in [("ana", true), (odd, false)] {
            let grant = Grant { subject: subject.into(), tenant: "t".into(), role: Role::Admin };
            let token = keys.mint(&grant, END).unwrap();
            assert_eq!(check(&keys, &token).plain.is_some(), plain, "{subject}");
        }
        let video = VideoId::new(uuid::Uuid::from_u128(1));
        for address in ["192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1"] {
            let address = address.parse().ok();
            let token =
                keys.mint_playback(&PlaybackGrant { video, max_height: None, address }, 0, END);
            let address = address.map(|address: std::net::IpAddr| address.to_canonical());
            assert_eq!(check(&keys, &token.unwrap()).plain, Some(Plain { address }));
        }
    }

    #[test]
    fn tokens_with_other_checks_are_not_plain() {
        let keys = RootKeys::generate();
        let grant = Grant { subject: "ana".into(), tenant: "t".into(), role: Role::Admin };
        let token = keys.mint(&grant, END).unwrap();
        let narrowed = narrow(&token, &Restriction::default()).unwrap();
        assert!(UnverifiedBiscuit::from_base64(&narrowed).is_ok());
        assert_eq!(check(&keys, &narrowed).plain, None);
        let (_, pair) = keys.newest();
        for extra in [
            "check if operation(\"read\")",
            "check if ip(\"192.0.2.1\") or ip(\"192.0.2.2\")",
            "check all time($time), $time < 2100-01-01T00:00:00Z",
            "check if time($time), $time < 2020-01-01T00:00:00Z",
            "reject if ip(\"192.0.2.1\")",
        ] {
            let code =
                format!("subject(\"a\"); tenant(\"t\"); role(\"admin\"); expires({END}); {extra};");
            let builder = biscuit_auth::Biscuit::builder().root_key_id(0).code(code).unwrap();
            let token = builder.build(pair).unwrap().to_base64().unwrap();
            assert_eq!(check(&keys, &token).plain, None, "{extra}");
        }
    }
}
