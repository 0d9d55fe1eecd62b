//! Minting: the content of a token's authority block.
//!
//! | kind | facts | checks |
//! |---|---|---|
//! | bearer | `subject(s)`, `tenant(t)`, `role(r)`, `expires(n)`, `exchanged(name)` or `session(ids)`? | `time` before the end |
//! | playback | `playback(video)`, `minted(n)`, `expires(n)`, `max_height(h)`?, `renews(n, ids)`? | `time` before the end, `ip`? |

use std::net::IpAddr;

use biscuit_auth::{
    BiscuitBuilder,
    builder::{Check, Fact, Term, bytes, fact, int, string},
    macros::check,
};
use media::VideoId;

use crate::{AuthError, blocks, keys::RootKeys, renew::Family, role::Role, token::TOKEN_BYTES_MAX};

/// Maximum size in bytes of a subject or tenant.
const NAME_BYTES_MAX: usize = 256;

/// The identity in a bearer token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The caller; appears in logs and owns what it uploads.
    pub subject: String,
    /// The tenant whose videos and jobs are visible.
    pub tenant: String,
    /// The operations that it may perform.
    pub role: Role,
}

/// The content of a playback token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlaybackGrant {
    /// The only video that it plays.
    pub video: VideoId,
    /// The greatest height of a rendition, in lines; `None` allows all.
    pub max_height: Option<u32>,
    /// The only client address that may use it; `None` allows any.
    pub address: Option<IpAddr>,
}

impl RootKeys {
    /// Mints a bearer token, as URL-safe base64.
    ///
    /// # Errors
    /// [`AuthError::Limit`] if the subject or tenant is empty or too long.
    pub fn mint(&self, grant: &Grant, expires_at: i64) -> Result<String, AuthError> {
        self.sign(with_end(&bearer(grant)?, expires_at)?)
    }

    /// Like [`RootKeys::mint`], narrowed by the checks of a [`crate::Credential`].
    ///
    /// # Errors
    /// As [`RootKeys::mint`], and if the token has no room for the checks.
    pub fn mint_narrowed(
        &self,
        grant: &Grant,
        expires_at: i64,
        checks: &[String],
    ) -> Result<String, AuthError> {
        let (id, pair) = self.newest();
        let token = with_end(&bearer(grant)?, expires_at)?.root_key_id(id).build(pair);
        let token = blocks::append(token.map_err(|_| AuthError::Malformed)?, checks)?;
        let text = token.to_base64().map_err(|_| AuthError::Malformed)?;
        if text.len() > TOKEN_BYTES_MAX { Err(AuthError::Limit) } else { Ok(text) }
    }

    /// Mints a bearer token in exchange for a JWT. It contains the JWT's
    /// [`crate::JwtNames::signed`] and is thus revoked together with the JWT.
    ///
    /// # Errors
    /// As [`RootKeys::mint`].
    pub fn mint_exchanged(
        &self,
        grant: &Grant,
        expires_at: i64,
        signed: &[u8; 32],
    ) -> Result<String, AuthError> {
        let mut facts = bearer(grant)?;
        facts.push(fact("exchanged", &[bytes(signed)]));
        self.sign(with_end(&facts, expires_at)?)
    }

    /// Mints a token that allows nothing but playing one video, from `minted_at` to `expires_at` in
    /// Unix seconds. It has no base64 padding, because it is part of URLs.
    ///
    /// # Errors
    /// None in practice; [`AuthError::Malformed`] if the token cannot be built.
    pub fn mint_playback(
        &self,
        grant: &PlaybackGrant,
        minted_at: i64,
        expires_at: i64,
    ) -> Result<String, AuthError> {
        let token = self.sign(playback(grant, minted_at, expires_at, None)?)?;
        Ok(token.trim_end_matches('=').to_owned())
    }

    fn sign(&self, builder: BiscuitBuilder) -> Result<String, AuthError> {
        let (id, pair) = self.newest();
        let token = builder.root_key_id(id).build(pair).map_err(|_| AuthError::Malformed)?;
        token.to_base64().map_err(|_| AuthError::Malformed)
    }
}

/// The content of a playback token; `family` is that of the token which it renews.
pub(crate) fn playback(
    grant: &PlaybackGrant,
    minted_at: i64,
    expires_at: i64,
    family: Option<&Family>,
) -> Result<BiscuitBuilder, AuthError> {
    let video = string(&grant.video.to_string());
    let mut facts = vec![fact("playback", &[video]), fact("minted", &[int(minted_at)])];
    if let Some(height) = grant.max_height {
        facts.push(fact("max_height", &[int(i64::from(height))]));
    }
    if let Some(Family { first_minted_at, ids }) = family {
        facts.push(fact("renews", &[int(*first_minted_at), bytes(&ids.concat())]));
    }
    let builder = with_end(&facts, expires_at)?;
    match grant.address {
        Some(address) => builder.check(check_address(address)).map_err(|_| AuthError::Malformed),
        None => Ok(builder),
    }
}

/// The identity in a bearer token, as facts.
pub(crate) fn bearer(grant: &Grant) -> Result<Vec<Fact>, AuthError> {
    for name in [&grant.subject, &grant.tenant] {
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            return Err(AuthError::Limit);
        }
    }
    Ok(vec![
        fact("subject", &[string(&grant.subject)]),
        fact("tenant", &[string(&grant.tenant)]),
        fact("role", &[string(grant.role.text())]),
    ])
}

/// Adds the expiry twice: as a fact, for the holder to read, and as a check, for other verifiers.
pub(crate) fn with_end(facts: &[Fact], expires_at: i64) -> Result<BiscuitBuilder, AuthError> {
    let malformed = |_| AuthError::Malformed;
    let mut builder = BiscuitBuilder::new();
    for fact in facts {
        builder = builder.fact(fact.clone()).map_err(malformed)?;
    }
    builder
        .fact(fact("expires", &[int(expires_at)]))
        .and_then(|builder| builder.check(check_end(expires_at)))
        .map_err(malformed)
}

/// Passes only before `expires_at`.
pub(crate) fn check_end(expires_at: i64) -> Check {
    let end = Term::Date(u64::try_from(expires_at).unwrap_or(0));
    check!("check if time($time), $time < {end}")
}

/// Passes only for requests from `address`.
pub(crate) fn check_address(address: IpAddr) -> Check {
    let address = address.to_canonical().to_string();
    check!("check if ip({address})")
}
