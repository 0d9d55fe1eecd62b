//! Verifying: is the token genuine, in time, not revoked, and does it allow this request?
//!
//! Checking signatures costs ten times what evaluating checks does, so genuine tokens (and forged ones)
//! are remembered by the digest of their text.

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
    role::{Operation, Role},
    token::{self, Kind, TOKEN_BYTES_MAX, Verified},
};

/// Tokens whose verdict is remembered.
const CACHED_TOKENS_MAX: usize = 10_000;
/// Answers to the checks of narrowed tokens that are remembered; each holds for one second.
const CACHED_ANSWERS_MAX: usize = 10_000;

type Verdict = Result<Arc<Verified>, AuthError>;

/// What a token is asked to allow.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// The present time, in Unix seconds.
    pub now: i64,
    /// What is to be done.
    pub operation: Operation,
    /// The video it is done to, if it is one.
    pub video: Option<VideoId>,
    /// The client's address, where it is known.
    pub address: Option<IpAddr>,
}

/// Whom a request is made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// Who.
    pub subject: String,
    /// Whose videos and jobs are visible.
    pub tenant: String,
    /// What it may do.
    pub role: Role,
    /// When the token ends at the latest, in Unix seconds.
    pub expires_at: i64,
    /// What to revoke to take the token back; the first covers every token narrowed from it.
    pub revocation_ids: Vec<Vec<u8>>,
}

impl Principal {
    /// Whether the role may do this at all.
    ///
    /// # Errors
    /// [`AuthError::Forbidden`]
    pub fn may(&self, operation: Operation) -> Result<(), AuthError> {
        if self.role.allows(operation) {
            return Ok(());
        }
        Err(AuthError::Forbidden(format!("role {} may not {operation}", self.role)))
    }
}

/// What a playback token allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Playback {
    /// The highest rung, in lines; all when absent.
    pub max_height: Option<u32>,
    /// When the token ends at the latest, in Unix seconds.
    pub expires_at: i64,
}

/// Verifies tokens against a set of root keys.
pub struct Verifier {
    keys: RwLock<PublicKeys>,
    revoked: RwLock<HashSet<Vec<u8>>>,
    verdicts: Cache<[u8; 32], Verdict>,
    answers: Cache<[u8; 32], Result<(), AuthError>>,
}

impl Verifier {
    /// A verifier that knows these keys and no revocations.
    pub fn new(keys: PublicKeys) -> Self {
        let verdicts = Cache::new(CACHED_TOKENS_MAX);
        let answers = Cache::new(CACHED_ANSWERS_MAX);
        Self { keys: RwLock::new(keys), revoked: RwLock::default(), verdicts, answers }
    }

    /// Verifies against other keys from now on.
    pub fn replace_keys(&self, keys: PublicKeys) {
        let mut held = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        if *held != keys {
            *held = keys;
            // Under the lock, so that no verdict of the old keys is remembered after this.
            self.verdicts.clear();
        }
    }

    /// Whether any keys are known to verify against.
    pub fn has_keys(&self) -> bool {
        !self.keys.read().unwrap_or_else(PoisonError::into_inner).0.is_empty()
    }

    /// Refuses tokens that hold any of these revocation ids. Returns those that are news.
    pub fn revoke(&self, ids: impl IntoIterator<Item = Vec<u8>>) -> Vec<Vec<u8>> {
        let mut revoked = self.revoked.write().unwrap_or_else(PoisonError::into_inner);
        ids.into_iter().filter(|id| revoked.insert(id.clone())).collect()
    }

    /// How many ids are known to be revoked.
    pub fn revoked_count(&self) -> usize {
        self.revoked.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether any of these ids is among the revoked ones.
    pub fn is_revoked(&self, ids: &[Vec<u8>]) -> bool {
        let revoked = self.revoked.read().unwrap_or_else(PoisonError::into_inner);
        ids.iter().any(|id| revoked.contains(id))
    }

    /// Checks a bearer token for a request.
    ///
    /// # Errors
    /// [`AuthError`]; [`AuthError::Busy`] is worth another try, the rest is not.
    pub fn authenticate(&self, text: &str, request: &Request) -> Result<Principal, AuthError> {
        let verified = self.genuine(text)?;
        let Kind::Bearer { subject, tenant, role } = &verified.kind else {
            return Err(AuthError::Forbidden("it is a playback token".to_owned()));
        };
        self.check(&verified, request)?;
        let principal = Principal {
            subject: subject.clone(),
            tenant: tenant.clone(),
            role: *role,
            expires_at: verified.expires_at,
            revocation_ids: verified.revocation_ids.clone(),
        };
        principal.may(request.operation)?;
        Ok(principal)
    }

    /// Checks a playback token for one video.
    ///
    /// # Errors
    /// [`AuthError`]; [`AuthError::Busy`] is worth another try, the rest is not.
    pub fn playback(
        &self,
        text: &str,
        video: VideoId,
        now: i64,
        address: Option<IpAddr>,
    ) -> Result<Playback, AuthError> {
        let verified = self.genuine(text)?;
        let Kind::Playback { video: granted, max_height } = verified.kind else {
            return Err(AuthError::Forbidden("it is no playback token".to_owned()));
        };
        let request = Request { now, operation: Operation::Play, video: Some(video), address };
        self.check(&verified, &request)?;
        if granted != video {
            return Err(AuthError::Forbidden("it plays another video".to_owned()));
        }
        Ok(Playback { max_height, expires_at: verified.expires_at })
    }

    /// Whom a genuine bearer token stands for, whatever else it demands: to count requests by, never to
    /// let one in.
    ///
    /// # Errors
    /// [`AuthError`]
    pub fn identify(&self, text: &str, now: i64) -> Result<Principal, AuthError> {
        let verified = self.genuine(text)?;
        let Kind::Bearer { subject, tenant, role } = &verified.kind else {
            return Err(AuthError::Forbidden("it is a playback token".to_owned()));
        };
        self.current(&verified, now)?;
        Ok(Principal {
            subject: subject.clone(),
            tenant: tenant.clone(),
            role: *role,
            expires_at: verified.expires_at,
            revocation_ids: verified.revocation_ids.clone(),
        })
    }

    /// The ids that revoke a genuine token, whatever it allows and even when it has expired.
    ///
    /// # Errors
    /// [`AuthError::Malformed`], [`AuthError::BadSignature`] or [`AuthError::Limit`].
    pub fn revocation_ids(&self, text: &str) -> Result<(Vec<Vec<u8>>, i64), AuthError> {
        let verified = self.genuine(text)?;
        Ok((verified.revocation_ids.clone(), verified.expires_at))
    }

    /// The remembered or fresh verdict on a token's signatures.
    fn genuine(&self, text: &str) -> Verdict {
        if text.len() > TOKEN_BYTES_MAX {
            return Err(AuthError::Limit);
        }
        let digest = crate::digest(text);
        if let Some(verdict) = self.verdicts.get(&digest) {
            return verdict;
        }
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let verdict = token::verify(text, &keys).map(Arc::new);
        if !matches!(verdict, Err(AuthError::Busy)) {
            self.verdicts.insert(digest, verdict.clone());
        }
        verdict
    }

    /// Time and revocation.
    fn current(&self, verified: &Verified, now: i64) -> Result<(), AuthError> {
        if now >= verified.expires_at {
            return Err(AuthError::Expired);
        }
        if self.is_revoked(&verified.revocation_ids) { Err(AuthError::Revoked) } else { Ok(()) }
    }

    /// Time, revocation, and every check of every block.
    fn check(&self, verified: &Verified, request: &Request) -> Result<(), AuthError> {
        self.current(verified, request.now)?;
        if let Some(plain) = &verified.plain {
            let from = request.address.map(|address| address.to_canonical());
            let holds = plain.address.is_none() || plain.address == from;
            return if holds { Ok(()) } else { Err(token::unmet()) };
        }
        // Only the time moves while somebody plays: within a second the answer is the same.
        let key = question(verified, request);
        if let Some(answer) = self.answers.get(&key) {
            return answer;
        }
        let answer = token::evaluated(|| ask(verified, request));
        if answer != Err(AuthError::Busy) {
            self.answers.insert(key, answer.clone());
        }
        answer
    }
}

/// Everything that an answer depends on, as a digest. The last block's signature covers all before it.
fn question(verified: &Verified, request: &Request) -> [u8; 32] {
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

/// Runs the checks of every block.
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
    // Before `build`, which evaluates for the first time.
    let mut builder = AuthorizerBuilder::new().set_limits(token::limits());
    for fact in facts {
        builder = builder.fact(fact).map_err(|_| AuthError::Malformed)?;
    }
    // Who the token stands for has been read from its authority; what is left are its checks.
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
