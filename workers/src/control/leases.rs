//! The leases that this worker holds according to the last replies. No I/O; times are arguments.
//!
//! **Invariant:** a lease that was not confirmed in time is lost, even if control still lists it:
//! another worker may already hold it.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use api::v1;
use tokio_util::sync::CancellationToken;

use crate::task::TaskProgress;

/// Heartbeats that are waiting for a reply; older ones no longer matter.
const UNANSWERED_MAX: usize = 64;

/// One lease.
#[derive(Debug)]
pub(super) struct HeldLease {
    pub(super) token: u64,
    pub(super) cancel: CancellationToken,
    pub(super) progress: Arc<TaskProgress>,
    /// When the lease ends unless control replies to a heartbeat.
    expires: Instant,
}

/// All leases, by task id.
#[derive(Debug, Default)]
pub(super) struct Leases {
    held: HashMap<String, HeldLease>,
    /// The heartbeats without a reply: when they were sent, and for which leases.
    unanswered: VecDeque<(Instant, Vec<(String, u64)>)>,
}

impl Leases {
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Adds a new lease. An older lease on the same task is void, because control never leases a
    /// task twice.
    pub(super) fn add(
        &mut self,
        task: String,
        token: u64,
        expires: Instant,
        cancel: CancellationToken,
        progress: Arc<TaskProgress>,
    ) {
        if let Some(older) = self.held.insert(task, HeldLease { token, cancel, progress, expires })
        {
            older.cancel.cancel();
        }
    }

    /// Removes a lease whose task has ended; returns false if it had been lost before.
    pub(super) fn remove(&mut self, task: &str, token: u64) -> bool {
        let is_current = self.held.get(task).is_some_and(|held| held.token == token);
        if is_current {
            self.held.remove(task);
        }
        is_current
    }

    /// The heartbeat to send at `now`.
    pub(super) fn heartbeat(&mut self, now: Instant) -> v1::Heartbeat {
        let sent_leases = self.held.iter().map(|(task, held)| (task.clone(), held.token)).collect();
        if self.unanswered.len() == UNANSWERED_MAX {
            self.unanswered.pop_front();
        }
        self.unanswered.push_back((now, sent_leases));
        let report = |(task, held): (&String, &HeldLease)| v1::Progress {
            task_id: task.clone(),
            token: held.token,
            fraction: held.progress.fraction(),
            speed: held.progress.speed(),
        };
        v1::Heartbeat { leases: self.held.iter().map(report).collect() }
    }

    /// Processes the reply to the oldest unanswered heartbeat: tasks in `lost` are lost; the
    /// heartbeat's other leases are extended to `lease` after it was sent. Returns the lost tasks.
    pub(super) fn answered(&mut self, lost: &[String], lease: Duration) -> Vec<String> {
        let Some((sent, sent_leases)) = self.unanswered.pop_front() else { return Vec::new() };
        let mut now_lost = Vec::new();
        for (task, token) in sent_leases {
            if lost.contains(&task) {
                if self.lose(&task, token) {
                    now_lost.push(task);
                }
            } else if let Some(held) = self.held.get_mut(&task).filter(|held| held.token == token) {
                held.expires = held.expires.max(sent + lease);
            }
        }
        now_lost
    }

    /// After a disconnect no reply to an earlier heartbeat can arrive.
    pub(super) fn disconnected(&mut self) {
        self.unanswered.clear();
    }

    /// Drops every lease that ended before `now` and returns the tasks.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<String> {
        let expired = self.held.iter().filter(|(_, held)| held.expires <= now);
        let expired: Vec<(String, u64)> =
            expired.map(|(task, held)| (task.clone(), held.token)).collect();
        for (task, token) in &expired {
            self.lose(task, *token);
        }
        expired.into_iter().map(|(task, _)| task).collect()
    }

    /// Cancels the work on a lost lease.
    pub(super) fn lose(&mut self, task: &str, token: u64) -> bool {
        match self.held.get(task) {
            Some(held) if held.token == token => {
                held.cancel.cancel();
                self.held.remove(task);
                true
            }
            _ => false,
        }
    }

    /// Cancels all work; the worker still holds the leases until it releases them.
    pub(super) fn stop_all(&self) {
        for held in self.held.values() {
            held.cancel.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::Arc,
        time::{Duration, Instant},
    };

    use tokio_util::sync::CancellationToken;

    use super::Leases;

    const LEASE: Duration = Duration::from_secs(15);

    fn add(leases: &mut Leases, task: &str, token: u64, expires: Instant) -> CancellationToken {
        let cancel = CancellationToken::new();
        leases.add(task.to_owned(), token, expires, cancel.clone(), Arc::default());
        cancel
    }

    #[test]
    fn an_answered_heartbeat_extends_from_when_it_was_sent() {
        let start = Instant::now();
        let mut leases = Leases::default();
        let cancel = add(&mut leases, "a", 1, start + LEASE);
        leases.heartbeat(start + Duration::from_secs(10));
        assert!(leases.answered(&[], LEASE).is_empty());
        assert!(leases.expire(start + Duration::from_secs(24)).is_empty());
        assert!(!cancel.is_cancelled());
        assert_eq!(leases.expire(start + Duration::from_secs(26)), ["a"]);
        assert!(cancel.is_cancelled());
    }

    #[test]
    fn a_late_reply_does_not_touch_a_newer_lease_of_the_same_task() {
        let start = Instant::now();
        let mut leases = Leases::default();
        let old = add(&mut leases, "a", 1, start + LEASE);
        leases.heartbeat(start);
        let new = add(&mut leases, "a", 2, start + LEASE);
        assert!(old.is_cancelled());
        assert!(leases.answered(&["a".to_owned()], LEASE).is_empty());
        assert!(!new.is_cancelled());
        assert!(!leases.remove("a", 1));
        assert!(leases.remove("a", 2));
    }

    #[test]
    fn a_lost_lease_stops_its_task_only() {
        let start = Instant::now();
        let mut leases = Leases::default();
        let (a, b) =
            (add(&mut leases, "a", 1, start + LEASE), add(&mut leases, "b", 2, start + LEASE));
        assert_eq!(leases.heartbeat(start).leases.len(), 2);
        assert_eq!(leases.answered(&["a".to_owned()], LEASE), ["a"]);
        assert!(a.is_cancelled() && !b.is_cancelled());
        assert_eq!(leases.len(), 1);
    }
}
