//! Counts a worker's free places for its session.
//!
//! A [`v1::Want`] carries how many tasks the worker would start and how many leases it had received by then.
//! Each lease claimed or sent after those takes one of the places. So a `Want` that crosses a lease on the
//! wire does not free the lease's place, and a repeated one changes nothing.
//!
//! **Invariant:** a place that was taken is either filled by a lease that was sent, or free again as soon as
//! its [`Place`] is dropped, on every path and also when the task that prepares the lease panics.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use api::v1;

use super::SLOTS_MAX;

/// The kind of place for which a session claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// A slot, which takes any task.
    Any,
    /// An express slot, which takes only tasks of at least express priority.
    Express,
}

impl Lane {
    pub(super) const ALL: [Self; 2] = [Self::Any, Self::Express];
}

#[derive(Debug, Default)]
struct Counts {
    /// Tasks that the worker would start, by lane, as of its last `Want`.
    wanted: [u32; 2],
    /// Places whose leases are being prepared, by lane.
    preparing: [u32; 2],
    /// Leases that the worker had not received when it sent its last `Want`: number and lane.
    sent: VecDeque<(u64, Lane)>,
    /// Leases sent on this stream.
    sent_total: u64,
}

impl Counts {
    fn free(&self, lane: Lane) -> u32 {
        let sent = self.sent.iter().filter(|(_, sent)| *sent == lane).count();
        let taken = self.preparing[lane as usize].saturating_add(sent as u32);
        self.wanted[lane as usize].saturating_sub(taken)
    }
}

/// The places of one worker.
#[derive(Clone, Debug, Default)]
pub(super) struct Places(Arc<Mutex<Counts>>);

impl Places {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Applies a `Want`, bounded by [`SLOTS_MAX`]. True when more places are free than before.
    pub(super) fn set(&self, want: v1::Want) -> bool {
        let mut counts = self.counts();
        let before = Lane::ALL.map(|lane| counts.free(lane));
        counts.wanted = [want.slots.min(SLOTS_MAX), want.express_slots.min(SLOTS_MAX)];
        // Workers of earlier releases send no count, so every lease sent to them counts as received.
        let received = want.leases_received.unwrap_or(u64::MAX);
        counts.sent.retain(|(number, _)| *number > received);
        Lane::ALL.iter().zip(before).any(|(lane, before)| counts.free(*lane) > before)
    }

    /// The number of tasks that may be claimed for this lane.
    pub(super) fn free(&self, lane: Lane) -> u32 {
        self.counts().free(lane)
    }

    /// Takes a place for a lease.
    pub(super) fn take(&self, lane: Lane) -> Place {
        self.counts().preparing[lane as usize] += 1;
        Place { places: self.clone(), lane }
    }
}

/// A place taken for a lease that is being prepared; free again when dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Places,
    lane: Lane,
}

impl Place {
    /// The lease was sent: the place stays taken until a later `Want` counts the lease as received.
    pub(super) fn fill(self) {
        let mut counts = self.places.counts();
        counts.sent_total += 1;
        let number = counts.sent_total;
        counts.sent.push_back((number, self.lane));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.places.counts();
        counts.preparing[self.lane as usize] -= 1;
    }
}

#[cfg(test)]
mod tests {
    use api::v1;

    use super::{Lane, Places};

    fn want(slots: u32, express_slots: u32, received: Option<u64>) -> v1::Want {
        v1::Want { slots, express_slots, leases_received: received }
    }

    fn free(places: &Places) -> [u32; 2] {
        Lane::ALL.map(|lane| places.free(lane))
    }

    #[test]
    fn a_place_is_free_again_when_its_lease_is_not_sent() {
        let places = Places::default();
        assert!(places.set(want(1, 1, Some(0))));
        let (slot, express) = (places.take(Lane::Any), places.take(Lane::Express));
        assert_eq!(free(&places), [0, 0]);
        drop(slot);
        assert_eq!(free(&places), [1, 0]);
        express.fill();
        assert_eq!(free(&places), [1, 0]);
    }

    #[test]
    fn a_place_is_free_again_when_preparing_its_lease_panics() {
        let places = Places::default();
        places.set(want(1, 0, Some(0)));
        let place = places.take(Lane::Any);
        let prepared = std::thread::spawn(move || {
            let _place = place;
            panic!("on purpose");
        });
        assert!(prepared.join().is_err());
        assert_eq!(free(&places), [1, 0]);
    }

    #[test]
    fn a_want_that_crosses_a_lease_does_not_free_its_place() {
        let places = Places::default();
        places.set(want(2, 0, Some(0)));
        places.take(Lane::Any).fill();
        let preparing = places.take(Lane::Any);
        // Sent before either lease arrived, any number of times.
        assert!(!places.set(want(2, 0, Some(0))));
        assert!(!places.set(want(2, 0, Some(0))));
        assert_eq!(free(&places), [0, 0]);
        // The first lease has arrived, and the worker has one place left: the second lease's.
        assert!(!places.set(want(1, 0, Some(1))));
        assert_eq!(free(&places), [0, 0]);
        // The first task is done.
        assert!(places.set(want(2, 0, Some(1))));
        assert_eq!(free(&places), [1, 0]);
        drop(preparing);
        assert_eq!(free(&places), [2, 0]);
    }

    #[test]
    fn workers_that_do_not_count_leases_are_trusted() {
        let places = Places::default();
        places.set(want(1, 0, None));
        places.take(Lane::Any).fill();
        assert_eq!(free(&places), [0, 0]);
        assert!(places.set(want(1, 0, None)));
        assert_eq!(free(&places), [1, 0]);
        assert!(places.set(want(u32::MAX, 0, None)));
        assert_eq!(free(&places)[0], super::SLOTS_MAX);
    }
}
