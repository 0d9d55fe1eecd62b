//! From text to a verified biscuit: limits first, then structure, then signatures, then who it is.

use std::{collections::BTreeSet, time::Duration};

use biscuit_auth::{
    Authorizer, AuthorizerBuilder, AuthorizerLimits, Biscuit, UnverifiedBiscuit, builder::Fact,
    error,
};
use media::VideoId;

use crate::{AuthError, keys::PublicKeys, role::Role};

/// Bytes of a token's text. Every block costs a signature check, so size is checked before anything.
pub(crate) const TOKEN_BYTES_MAX: usize = 8 * 1024;
/// Blocks of a token.
pub(crate) const BLOCKS_MAX: usize = 16;

/// A genuine token: its signatures hold. Whether it allows anything is asked per request.
#[derive(Debug)]
pub(crate) struct Verified {
    pub(crate) biscuit: Biscuit,
    pub(crate) kind: Kind,
    pub(crate) expires_at: i64,
    /// One per block; revoking any of them revokes the token and everything narrowed from that block on.
    pub(crate) revocation_ids: Vec<Vec<u8>>,
}

/// What the authority block says the token is.
#[derive(Debug)]
pub(crate) enum Kind {
    Bearer { subject: String, tenant: String, role: Role },
    Playback { video: VideoId, max_height: Option<u32> },
}

/// Generous in time: the default of one millisecond denies at random when the machine is busy. Facts and
/// iterations bound the work itself.
pub(crate) fn limits() -> AuthorizerLimits {
    AuthorizerLimits { max_facts: 1000, max_iterations: 100, max_time: Duration::from_millis(250) }
}

/// Parses without checking signatures.
pub(crate) fn parse(text: &str) -> Result<UnverifiedBiscuit, AuthError> {
    if text.len() > TOKEN_BYTES_MAX {
        return Err(AuthError::Limit);
    }
    let mut padded = text.trim_end_matches('=').to_owned();
    while !padded.len().is_multiple_of(4) {
        padded.push('=');
    }
    let token = UnverifiedBiscuit::from_base64(&padded).map_err(|_| AuthError::Malformed)?;
    if token.block_count() > BLOCKS_MAX { Err(AuthError::Limit) } else { Ok(token) }
}

/// Parses, checks every block's signature and reads what the token is.
pub(crate) fn verify(text: &str, keys: &PublicKeys) -> Result<Verified, AuthError> {
    let find = |id: Option<u32>| keys.find(id.unwrap_or(0)).ok_or(error::Format::UnknownPublicKey);
    let biscuit = parse(text)?.verify(find).map_err(|_| AuthError::BadSignature)?;
    let mut authorizer = AuthorizerBuilder::new()
        .set_limits(limits())
        .build(&biscuit)
        .map_err(|error| evaluation(&error))?;
    let expires_at = one::<i64>(&mut authorizer, "expires")?.ok_or(AuthError::Malformed)?;
    let kind = kind(&mut authorizer)?;
    let revocation_ids = biscuit.revocation_identifiers();
    Ok(Verified { biscuit, kind, expires_at, revocation_ids })
}

fn kind(authorizer: &mut Authorizer) -> Result<Kind, AuthError> {
    let subject = one::<String>(authorizer, "subject")?;
    let playback = one::<String>(authorizer, "playback")?;
    match (subject, playback) {
        (Some(subject), None) => {
            let tenant = one(authorizer, "tenant")?.ok_or(AuthError::Malformed)?;
            let role: String = one(authorizer, "role")?.ok_or(AuthError::Malformed)?;
            let role = role.parse().map_err(|_| AuthError::Malformed)?;
            Ok(Kind::Bearer { subject, tenant, role })
        }
        (None, Some(video)) => {
            let video = video.parse().map_err(|_| AuthError::Malformed)?;
            let max_height = one::<i64>(authorizer, "max_height")?;
            let max_height = max_height.map(u32::try_from).transpose();
            Ok(Kind::Playback { video, max_height: max_height.map_err(|_| AuthError::Malformed)? })
        }
        _ => Err(AuthError::Malformed),
    }
}

/// The one value of `name(value)` in the authority block. `query` sees facts of the authority block and
/// of the authorizer only, so a holder's own blocks have no say.
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

/// Running out of a limit is nobody's lack of rights, and must not look like it.
pub(crate) fn evaluation(error: &error::Token) -> AuthError {
    match error {
        error::Token::RunLimit(_) => AuthError::Limit,
        error::Token::FailedLogic(_) => {
            AuthError::Forbidden("a restriction of the token does not hold".to_owned())
        }
        _ => AuthError::Malformed,
    }
}
