//! Verification: is the token genuine, not expired and not revoked, and does it allow this request?
//!
//! Checking signatures costs ten times as much as evaluating checks, so the results for genuine and
//! forged tokens are cached by the digest of their text.

use std::{
    collections::HashSet,
    net::IpAddr,
    sync::{Arc, PoisonError, RwLock},
};

use biscuit_auth::{
    AuthorizerBuilder,
    builder::{Term, fact, string},
    macros::policy,
};
use media::VideoId;
use quick_cache::sync::Cache;

use crate::{
    AuthError,
    keys::PublicKeys,
    renew::Family,
    role::{Operation, Role},
    session::Origin,
    token::{self, Kind, TOKEN_BYTES_MAX, Verified},
    uses::Uses,
};

/// Maximum number of tokens whose verification result is cached.
const CACHED_TOKENS_MAX: usize = 10_000;
/// Maximum number of cached results of the checks of narrowed tokens; each is valid for one second.
const CACHED_RESULTS_MAX: usize = 10_000;

type Verification = Result<Arc<Verified>, AuthError>;

/// The request that a token has to allow.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// The current time, in Unix seconds.
    pub now: i64,
    /// The requested operation.
    pub operation: Operation,
    /// The video that it concerns, if any.
    pub video: Option<VideoId>,
    /// The client's address, if known.
    pub address: Option<IpAddr>,
}

/// The caller on whose behalf a request is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The caller within the tenant.
    pub subject: String,
    /// The tenant whose videos and jobs are visible.
    pub tenant: String,
    /// The operations that it may perform.
    pub role: Role,
    /// When the token expires at the latest, in Unix seconds.
    pub expires_at: i64,
    /// When it expires because a holder narrowed it, if that is known.
    pub narrowed_end: Option<i64>,
    /// The ids that revoke the token; revoking the first one covers every token narrowed from it.
    pub revocation_ids: Vec<Vec<u8>>,
    /// How the token came to exist.
    pub origin: Origin,
}

impl Principal {
    /// The identity in a bearer token.
    fn of(verified: &Verified) -> Result<Self, AuthError> {
        let Kind::Bearer { subject, tenant, role, origin } = &verified.kind else {
            return Err(AuthError::Forbidden("it is a playback token".to_owned()));
        };
        Ok(Self {
            subject: subject.clone(),
            tenant: tenant.clone(),
            role: *role,
            expires_at: verified.expires_at,
            narrowed_end: verified.narrowed_end,
            revocation_ids: verified.revocation_ids.clone(),
            origin: *origin,
        })
    }

    /// When the token expires, in Unix seconds, as far as it is known without evaluating its checks.
    pub fn ends_at(&self) -> i64 {
        self.narrowed_end.map_or(self.expires_at, |end| end.min(self.expires_at))
    }

    /// Checks whether the role allows the operation at all.
    ///
    /// # Errors
    /// [`AuthError::Forbidden`] if the role does not allow it.
    pub fn may(&self, operation: Operation) -> Result<(), AuthError> {
        if self.role.allows(operation) {
            return Ok(());
        }
        Err(AuthError::Forbidden(format!("role {} may not {operation}", self.role)))
    }
}

/// Limits of a playback token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Playback {
    /// The greatest height of a rendition, in lines; `None` allows all.
    pub max_height: Option<u32>,
    /// When the token expires at the latest, in Unix seconds.
    pub expires_at: i64,
}

/// Verifies tokens against a set of root keys.
pub struct Verifier {
    keys: RwLock<PublicKeys>,
    revoked: RwLock<HashSet<Vec<u8>>>,
    verifications: Cache<[u8; 32], Verification>,
    results: Cache<[u8; 32], Result<(), AuthError>>,
    pub(crate) uses: Uses,
}

impl Verifier {
    /// A verifier with these keys and no revocations.
    pub fn new(keys: PublicKeys) -> Self {
        let verifications = Cache::new(CACHED_TOKENS_MAX);
        let results = Cache::new(CACHED_RESULTS_MAX);
        let (keys, revoked) = (RwLock::new(keys), RwLock::default());
        Self { keys, revoked, verifications, results, uses: Uses::new() }
    }

    /// Replaces the keys to verify against.
    pub fn replace_keys(&self, keys: PublicKeys) {
        let mut held = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        if *held != keys {
            *held = keys;
            // Under the lock, so that no result that the old keys gave is cached after this.
            self.verifications.clear();
        }
    }

    /// Whether there are any keys to verify against.
    pub fn has_keys(&self) -> bool {
        !self.keys.read().unwrap_or_else(PoisonError::into_inner).0.is_empty()
    }

    /// Rejects tokens with any of these revocation ids from now on. Returns the ids that were not
    /// known before.
    pub fn revoke(&self, ids: impl IntoIterator<Item = Vec<u8>>) -> Vec<Vec<u8>> {
        let mut revoked = self.revoked.write().unwrap_or_else(PoisonError::into_inner);
        ids.into_iter().filter(|id| revoked.insert(id.clone())).collect()
    }

    /// The number of revoked ids.
    pub fn revoked_count(&self) -> usize {
        self.revoked.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether any of these ids is revoked.
    pub fn is_revoked(&self, ids: &[Vec<u8>]) -> bool {
        let revoked = self.revoked.read().unwrap_or_else(PoisonError::into_inner);
        ids.iter().any(|id| revoked.contains(id))
    }

    /// Checks a bearer token for a request.
    ///
    /// # Errors
    /// If the token is invalid or does not allow the request; only [`AuthError::Busy`] can succeed
    /// on a retry.
    pub fn authenticate(&self, text: &str, request: &Request) -> Result<Principal, AuthError> {
        let verified = self.genuine(text)?;
        let principal = Principal::of(&verified)?;
        self.check(&verified, request)?;
        principal.may(request.operation)?;
        self.note_use(&principal, request.now);
        Ok(principal)
    }

    /// Checks a playback token for one video.
    ///
    /// # Errors
    /// If the token is invalid or does not allow the request; only [`AuthError::Busy`] can succeed
    /// on a retry.
    pub fn playback(
        &self,
        text: &str,
        video: VideoId,
        now: i64,
        address: Option<IpAddr>,
    ) -> Result<Playback, AuthError> {
        let verified = self.genuine(text)?;
        let Kind::Playback { video: granted, max_height, .. } = verified.kind else {
            return Err(AuthError::Forbidden("it is not a playback token".to_owned()));
        };
        let request = Request { now, operation: Operation::Play, video: Some(video), address };
        self.check(&verified, &request)?;
        if granted != video {
            return Err(AuthError::Forbidden("it plays another video".to_owned()));
        }
        Ok(Playback { max_height, expires_at: verified.expires_at })
    }

    /// The identity in a genuine bearer token, ignoring its other checks than those of the expiry.
    /// Suitable for counting requests and for describing the token to its holder, never for
    /// authorizing an operation.
    ///
    /// # Errors
    /// If the token is not a genuine bearer token, is expired or is revoked.
    pub fn identify(&self, text: &str, now: i64) -> Result<Principal, AuthError> {
        let verified = self.genuine(text)?;
        let principal = Principal::of(&verified)?;
        self.current(&verified, now)?;
        if now >= principal.ends_at() { Err(AuthError::Expired) } else { Ok(principal) }
    }

    /// The ids that revoke a genuine token, independent of its rights and even if it has expired,
    /// and its expiry.
    ///
    /// # Errors
    /// If the token is malformed, has no valid signature, exceeds a limit, or cannot be checked in
    /// time.
    pub fn revocation_ids(&self, text: &str) -> Result<(Vec<Vec<u8>>, i64), AuthError> {
        let verified = self.genuine(text)?;
        Ok((verified.revocation_ids.clone(), verified.expires_at))
    }

    /// The id by which a genuine token is revoked, even if it has expired, and its expiry. The id
    /// also revokes the tokens narrowed from it and, if it plays a video, every token of its family of
    /// renewals; the token from which it was narrowed remains valid.
    ///
    /// # Errors
    /// As [`Verifier::revocation_ids`].
    pub fn revoking_id(&self, text: &str) -> Result<(Vec<u8>, i64), AuthError> {
        let verified = self.genuine(text)?;
        let id = Family::ids(&verified).pop().ok_or(AuthError::Malformed)?;
        Ok((id, verified.expires_at))
    }

    /// The result of verifying a token's signatures, from the cache if possible.
    pub(crate) fn genuine(&self, text: &str) -> Verification {
        if text.len() > TOKEN_BYTES_MAX {
            return Err(AuthError::Limit);
        }
        let digest = crate::digest(text);
        if let Some(verification) = self.verifications.get(&digest) {
            return verification;
        }
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let verification = token::verify(text, &keys).map(Arc::new);
        if !matches!(verification, Err(AuthError::Busy)) {
            self.verifications.insert(digest, verification.clone());
        }
        verification
    }

    /// Checks expiry and revocation.
    fn current(&self, verified: &Verified, now: i64) -> Result<(), AuthError> {
        if now >= verified.expires_at {
            return Err(AuthError::Expired);
        }
        if self.is_revoked(&verified.revocation_ids) { Err(AuthError::Revoked) } else { Ok(()) }
    }

    /// Checks expiry, revocation, and every check of every block.
    pub(crate) fn check(&self, verified: &Verified, request: &Request) -> Result<(), AuthError> {
        self.current(verified, request.now)?;
        if let Some(plain) = &verified.plain {
            let from = request.address.map(|address| address.to_canonical());
            let holds = plain.address.is_none() || plain.address == from;
            return if holds { Ok(()) } else { Err(token::unmet()) };
        }
        // During playback only the time changes from request to request: within one second the
        // result is the same.
        let key = cache_key(verified, request);
        if let Some(result) = self.results.get(&key) {
            return result;
        }
        let result = token::evaluated(|| ask(verified, request));
        if result != Err(AuthError::Busy) {
            self.results.insert(key, result.clone());
        }
        result
    }
}

/// A digest of everything that the result depends on. The last block's signature covers all blocks
/// before it.
fn cache_key(verified: &Verified, request: &Request) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&request.now.to_be_bytes());
    hasher.update(request.operation.text().as_bytes());
    hasher.update(&[0]);
    hasher.update(&[u8::from(request.video.is_some())]);
    hasher.update(request.video.map(|video| video.uuid()).unwrap_or_default().as_bytes());
    let address = request.address.map(|address| address.to_canonical().to_string());
    hasher.update(address.unwrap_or_default().as_bytes());
    hasher.update(&[0]);
    for id in &verified.revocation_ids {
        hasher.update(id);
    }
    *hasher.finalize().as_bytes()
}

/// Evaluates the checks of every block.
fn ask(verified: &Verified, request: &Request) -> Result<(), AuthError> {
    let now = u64::try_from(request.now).map_err(|_| AuthError::Expired)?;
    let mut facts = vec![
        fact("time", &[Term::Date(now)]),
        fact("operation", &[string(request.operation.text())]),
    ];
    if let Some(video) = request.video {
        facts.push(fact("resource", &[string(&video.to_string())]));
    }
    if let Some(address) = request.address {
        facts.push(fact("ip", &[string(&address.to_canonical().to_string())]));
    }
    // The limits must be set before `build`, which runs the first evaluation.
    let mut builder = AuthorizerBuilder::new().set_limits(token::limits());
    for fact in facts {
        builder = builder.fact(fact).map_err(|_| AuthError::Malformed)?;
    }
    // The identity has already been read from the authority block; only the checks remain.
    builder
        .policy(policy!("allow if true"))
        .and_then(|builder| builder.build(&verified.biscuit))
        .and_then(|mut authorizer| authorizer.authorize())
        .map(drop)
        .map_err(|error| token::evaluation(&error))
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier").finish_non_exhaustive()
    }
}
