//! Notes on which days minted tokens are used, for the records of tokens. Each token is noted once a
//! day, in memory; the caller stores the notes later.

use std::sync::{Mutex, PoisonError};

use quick_cache::sync::Cache;

use crate::{Grant, Origin, Principal, verify::Verifier};

/// Tokens of which it is known that they are noted for the day.
const NOTED_MAX: usize = 10_000;
/// Notes that wait to be stored; further ones are made at a later use.
const WAITING_MAX: usize = 10_000;
const DAY_SECONDS: i64 = 86_400;

/// The first use of a token on one UTC day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenUse {
    /// The revocation id of its authority block.
    pub revocation_id: Vec<u8>,
    /// Its identity.
    pub grant: Grant,
    /// When it expires, in Unix seconds.
    pub expires_at: i64,
    /// When it was used, in Unix seconds.
    pub used_at: i64,
}

pub(crate) struct Uses {
    /// The day of the latest note by revocation id.
    noted: Cache<Vec<u8>, i64>,
    waiting: Mutex<Vec<TokenUse>>,
}

impl Uses {
    pub(crate) fn new() -> Self {
        Self { noted: Cache::new(NOTED_MAX), waiting: Mutex::default() }
    }
}

impl Verifier {
    /// Notes that a minted token is in use, if it is not noted yet for the day. A token narrowed from
    /// another one counts as that one. [`Verifier::authenticate`] does this by itself; streams that
    /// last for days call it again.
    pub fn note_use(&self, principal: &Principal, now: i64) {
        let (Origin::Minted, Some(id)) = (principal.origin, principal.revocation_ids.first())
        else {
            return;
        };
        let day = now.div_euclid(DAY_SECONDS);
        if self.uses.noted.get(id) == Some(day) {
            return;
        }
        let mut waiting = self.uses.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= WAITING_MAX {
            return;
        }
        self.uses.noted.insert(id.clone(), day);
        waiting.push(TokenUse {
            revocation_id: id.clone(),
            grant: Grant {
                subject: principal.subject.clone(),
                tenant: principal.tenant.clone(),
                role: principal.role,
            },
            expires_at: principal.expires_at,
            used_at: now,
        });
    }

    /// Takes up to `limit` of the notes that wait to be stored.
    pub fn take_uses(&self, limit: usize) -> Vec<TokenUse> {
        let mut waiting = self.uses.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = waiting.len().saturating_sub(limit);
        waiting.split_off(kept)
    }

    /// Returns notes that could not be stored.
    pub fn return_uses(&self, uses: Vec<TokenUse>) {
        let mut waiting = self.uses.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let room = WAITING_MAX.saturating_sub(waiting.len());
        waiting.extend(uses.into_iter().take(room));
    }
}
