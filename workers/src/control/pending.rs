//! Requests of tasks without a reply from control, by request number. They survive a broken stream:
//! the worker sends the same request again on the next stream, and control answers a repeated
//! request as it answered the first.

use std::{collections::BTreeMap, time::Instant};

use api::v1;

use crate::control_handles::Pending;

/// A message whose request number control repeats in its reply.
pub(super) trait Numbered: Clone {
    fn set_request(&mut self, number: u64);
}

impl Numbered for v1::Access {
    fn set_request(&mut self, number: u64) {
        self.request = number;
    }
}

impl Numbered for v1::Commit {
    fn set_request(&mut self, number: u64) {
        self.request = number;
    }
}

#[derive(Debug)]
struct Entry<K, V> {
    pending: Pending<K, V>,
    retry_at: Option<Instant>,
}

/// All requests of one kind without a reply.
#[derive(Debug)]
pub(super) struct PendingRequests<K, V> {
    last_request: u64,
    entries: BTreeMap<u64, Entry<K, V>>,
}

impl<K, V> Default for PendingRequests<K, V> {
    fn default() -> Self {
        Self { last_request: 0, entries: BTreeMap::new() }
    }
}

impl<K: Numbered, V> PendingRequests<K, V> {
    /// Assigns a number to a request and returns its message.
    pub(super) fn add(&mut self, mut pending: Pending<K, V>) -> K {
        self.drop_abandoned();
        self.last_request += 1;
        pending.message.set_request(self.last_request);
        let message = pending.message.clone();
        self.entries.insert(self.last_request, Entry { pending, retry_at: None });
        message
    }

    /// Removes a request to which control has replied.
    pub(super) fn take(&mut self, number: u64) -> Option<Pending<K, V>> {
        self.entries.remove(&number).map(|entry| entry.pending)
    }

    /// Schedules a retry of a request that control temporarily cannot process.
    pub(super) fn retry(&mut self, number: u64, at: Instant) {
        if let Some(entry) = self.entries.get_mut(&number) {
            entry.retry_at = Some(at);
        }
    }

    /// The messages to send again on a new stream.
    pub(super) fn unanswered(&mut self) -> Vec<K> {
        self.drop_abandoned();
        self.entries.values_mut().map(Entry::sent_again).collect()
    }

    /// The messages whose retry is due by `now`.
    pub(super) fn due(&mut self, now: Instant) -> Vec<K> {
        self.drop_abandoned();
        let due = |entry: &&mut Entry<K, V>| entry.retry_at.is_some_and(|at| at <= now);
        self.entries.values_mut().filter(due).map(Entry::sent_again).collect()
    }

    /// Drops the requests of tasks that have ended.
    fn drop_abandoned(&mut self) {
        self.entries.retain(|_, entry| !entry.pending.is_abandoned());
    }
}

impl<K: Clone, V> Entry<K, V> {
    fn sent_again(&mut self) -> K {
        self.retry_at = None;
        self.pending.message.clone()
    }
}
