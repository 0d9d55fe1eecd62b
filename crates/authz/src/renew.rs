//! Renewal: a playback token in the last third of its life is exchanged for a new one with the same
//! rights and restrictions, without a bearer token.
//!
//! A token and its renewals form a family. One id per block revokes the whole family: it is the
//! signature of that block in the first token, which every renewal repeats in `renews`. If a renewal
//! could be revoked alone, the token that it renews could be renewed once more.
//!
//! A renewal is signed by the key that signed the first token, so that removing a key ends them all.

use std::{fmt, net::IpAddr};

use biscuit_auth::Authorizer;
use media::VideoId;

use crate::{
    AuthError, PlaybackGrant, RootKeys, blocks, mint,
    role::Operation,
    token::{self, Kind, Verified},
    verify::{Request, Verifier},
};

/// Longest life of a playback token, and of a family from the minting of the first token,
/// in seconds: seven days.
pub const PLAYBACK_SECONDS_MAX: i64 = 7 * 86_400;
/// Size in bytes of an Ed25519 signature, and so of a revocation id.
const ID_BYTES: usize = 64;

/// A renewed token.
#[derive(Clone, PartialEq, Eq)]
pub struct Renewed {
    /// The token, without base64 padding.
    pub token: String,
    /// The only video that it plays.
    pub video: VideoId,
    /// When it expires, in Unix seconds.
    pub expires_at: i64,
}

impl fmt::Debug for Renewed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Renewed")
            .field("video", &self.video)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

/// Why a token is not renewed.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum RenewalError {
    /// The token is invalid, or cannot be renewed at all.
    #[error(transparent)]
    Token(#[from] AuthError),
    /// The last third of its life begins only after so many seconds.
    #[error("the token can be renewed only in the last third of its life, in {0} s")]
    Early(u64),
}

/// The tokens from which a playback token descends by renewal.
#[derive(Clone, Debug)]
pub(crate) struct Family {
    /// When the first token was minted, in Unix seconds.
    pub(crate) first_minted_at: i64,
    /// The id by which each block of the family is revoked, the authority block first.
    pub(crate) ids: Vec<Vec<u8>>,
}

impl Family {
    /// Reads the family from the authority block.
    pub(crate) fn read(authorizer: &mut Authorizer) -> Result<Option<Self>, AuthError> {
        let rule = "value($first, $ids) <- renews($first, $ids)";
        let found: Vec<(i64, Vec<u8>)> =
            authorizer.query(rule).map_err(|error| token::evaluation(&error))?;
        match &found[..] {
            [] => Ok(None),
            [(first, ids)] if !ids.is_empty() && ids.len() % ID_BYTES == 0 => {
                let ids = ids.chunks(ID_BYTES).map(<[u8]>::to_vec).collect();
                Ok(Some(Self { first_minted_at: *first, ids }))
            }
            _ => Err(AuthError::Malformed),
        }
    }

    /// The id by which each block of a token is revoked together with its renewals. Blocks that were
    /// appended after the last renewal have their own.
    pub(crate) fn ids(verified: &Verified) -> Vec<Vec<u8>> {
        let mut ids = match &verified.kind {
            Kind::Playback { family: Some(family), .. } => family.ids.clone(),
            _ => Vec::new(),
        };
        ids.extend(verified.biscuit.revocation_identifiers().into_iter().skip(ids.len()));
        ids
    }
}

impl Verifier {
    /// Renews a playback token for a client at `address`: with the same life, but ending at most
    /// [`PLAYBACK_SECONDS_MAX`] after the first token of its family was minted.
    ///
    /// # Errors
    /// [`RenewalError::Early`] before the last third of the token's life; otherwise if the token is
    /// invalid, does not allow the client to play, is the last of its family, or was minted by a
    /// release without renewal. Only [`AuthError::Busy`] can succeed on a retry.
    pub fn renew(
        &self,
        keys: &RootKeys,
        text: &str,
        now_ms: i64,
        address: Option<IpAddr>,
    ) -> Result<Renewed, RenewalError> {
        let verified = self.genuine(text)?;
        let Kind::Playback { video, max_height, minted_at, family } = &verified.kind else {
            return Err(forbidden("it is not a playback token").into());
        };
        let now = now_ms.div_euclid(1000);
        let request = Request { now, operation: Operation::Play, video: Some(*video), address };
        self.check(&verified, &request)?;
        let (Some(minted_at), Some(checks)) = (*minted_at, verified.authority) else {
            return Err(forbidden("it was minted by a release without renewal").into());
        };
        let life = verified.expires_at.saturating_sub(minted_at).clamp(0, PLAYBACK_SECONDS_MAX);
        let last_third_ms = verified.expires_at.saturating_mul(1000) - life * 1000 / 3;
        if let Ok(wait) = u64::try_from(last_third_ms - now_ms)
            && wait > 0
        {
            return Err(RenewalError::Early(wait.div_ceil(1000)));
        }
        let first_minted_at = family.as_ref().map_or(minted_at, |family| family.first_minted_at);
        // Rounded up, so that a token of one second can be renewed, too.
        let minted_at = now_ms.saturating_add(999).div_euclid(1000);
        let latest = first_minted_at.saturating_add(PLAYBACK_SECONDS_MAX);
        let expires_at = minted_at.saturating_add(life).min(latest);
        if expires_at <= verified.expires_at {
            return Err(forbidden("it cannot be renewed beyond seven days").into());
        }
        let grant =
            PlaybackGrant { video: *video, max_height: *max_height, address: checks.address };
        let family = Family { first_minted_at, ids: Family::ids(&verified) };
        let key = verified.biscuit.root_key_id().unwrap_or(0);
        // This instance may verify with a new key a few seconds before it signs with it.
        let pair = keys.find(key).ok_or(AuthError::Busy)?;
        let renewed = mint::playback(&grant, minted_at, expires_at, Some(&family))?
            .root_key_id(key)
            .build(pair)
            .map_err(|_| AuthError::Malformed)?;
        let renewed = blocks::append(renewed, &blocks::sources(&verified.biscuit)?)?;
        let token = renewed.to_base64().map_err(|_| AuthError::Malformed)?;
        let token = token.trim_end_matches('=').to_owned();
        let renewed = token::verify(&token, &keys.public())?;
        self.check(&renewed, &Request { now: expires_at - 1, ..request })
            .map_err(|_| forbidden("a restriction ends it earlier than its renewal"))?;
        Ok(Renewed { token, video: *video, expires_at })
    }
}

fn forbidden(why: &str) -> AuthError {
    AuthError::Forbidden(why.to_owned())
}
