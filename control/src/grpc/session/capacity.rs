//! Counts a worker's free slots for its session.
//!
//! A [`v1::Want`] carries how many tasks the worker would start and how many leases it had received
//! by then. Each lease claimed or sent after those takes one of these slots. So a `Want` that
//! crosses a lease on the wire does not free the lease's slot, and a repeated one changes nothing.
//!
//! **Invariant:** a slot that was taken is either filled by a lease that was sent, or free again as
//! soon as its [`ReservedSlot`] is dropped, on every path and also when the task that prepares the
//! lease panics.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use api::v1;

use super::SLOTS_MAX;

/// The kind of slot for which a session claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SlotKind {
    /// A slot, which takes any task.
    Any,
    /// An express slot, which takes only tasks of at least express priority.
    Express,
}

impl SlotKind {
    pub(super) const ALL: [Self; 2] = [Self::Any, Self::Express];
}

#[derive(Debug, Default)]
struct Counts {
    /// Tasks that the worker would start, by kind, as of its last `Want`.
    wanted: [u32; 2],
    /// Slots whose leases are being prepared, by kind.
    preparing: [u32; 2],
    /// Leases that the worker had not received when it sent its last `Want`: number and kind.
    sent: VecDeque<(u64, SlotKind)>,
    /// Leases sent on this stream.
    sent_total: u64,
}

impl Counts {
    fn free(&self, kind: SlotKind) -> u32 {
        let sent = self.sent.iter().filter(|(_, sent)| *sent == kind).count();
        let taken = self.preparing[kind as usize].saturating_add(sent as u32);
        self.wanted[kind as usize].saturating_sub(taken)
    }
}

/// The slots of one worker.
#[derive(Clone, Debug, Default)]
pub(super) struct Capacity(Arc<Mutex<Counts>>);

impl Capacity {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Applies a `Want`, bounded by [`SLOTS_MAX`]. True when more slots are free than before.
    pub(super) fn set(&self, want: v1::Want) -> bool {
        let mut counts = self.counts();
        let before = SlotKind::ALL.map(|kind| counts.free(kind));
        counts.wanted = [want.slots.min(SLOTS_MAX), want.express_slots.min(SLOTS_MAX)];
        // Workers of earlier releases send no count, so every lease sent to them counts as
        // received.
        let received = want.leases_received.unwrap_or(u64::MAX);
        counts.sent.retain(|(number, _)| *number > received);
        SlotKind::ALL.iter().zip(before).any(|(kind, before)| counts.free(*kind) > before)
    }

    /// The number of tasks that may be claimed for this kind.
    pub(super) fn free(&self, kind: SlotKind) -> u32 {
        self.counts().free(kind)
    }

    /// Takes a slot for a lease.
    pub(super) fn reserve(&self, kind: SlotKind) -> ReservedSlot {
        self.counts().preparing[kind as usize] += 1;
        ReservedSlot { capacity: self.clone(), kind }
    }
}

/// A slot taken for a lease that is being prepared; free again when dropped.
#[derive(Debug)]
pub(super) struct ReservedSlot {
    capacity: Capacity,
    kind: SlotKind,
}

impl ReservedSlot {
    /// The lease was sent: the slot stays taken until a later `Want` counts the lease as received.
    pub(super) fn mark_sent(self) {
        let mut counts = self.capacity.counts();
        counts.sent_total += 1;
        let number = counts.sent_total;
        counts.sent.push_back((number, self.kind));
    }
}

impl Drop for ReservedSlot {
    fn drop(&mut self) {
        let mut counts = self.capacity.counts();
        counts.preparing[self.kind as usize] -= 1;
    }
}

#[cfg(test)]
mod tests {
    use api::v1;

    use super::{Capacity, SlotKind};

    fn want(slots: u32, express_slots: u32, received: Option<u64>) -> v1::Want {
        v1::Want { slots, express_slots, leases_received: received }
    }

    fn free(capacity: &Capacity) -> [u32; 2] {
        SlotKind::ALL.map(|kind| capacity.free(kind))
    }

    #[test]
    fn a_slot_is_free_again_when_its_lease_is_not_sent() {
        let capacity = Capacity::default();
        assert!(capacity.set(want(1, 1, Some(0))));
        let (slot, express) =
            (capacity.reserve(SlotKind::Any), capacity.reserve(SlotKind::Express));
        assert_eq!(free(&capacity), [0, 0]);
        drop(slot);
        assert_eq!(free(&capacity), [1, 0]);
        express.mark_sent();
        assert_eq!(free(&capacity), [1, 0]);
    }

    #[test]
    fn a_slot_is_free_again_when_preparing_its_lease_panics() {
        let capacity = Capacity::default();
        capacity.set(want(1, 0, Some(0)));
        let slot = capacity.reserve(SlotKind::Any);
        let prepared = std::thread::spawn(move || {
            let _place = slot;
            panic!("on purpose");
        });
        assert!(prepared.join().is_err());
        assert_eq!(free(&capacity), [1, 0]);
    }

    #[test]
    fn a_want_message_that_crosses_a_lease_does_not_free_its_slot() {
        let capacity = Capacity::default();
        capacity.set(want(2, 0, Some(0)));
        capacity.reserve(SlotKind::Any).mark_sent();
        let preparing = capacity.reserve(SlotKind::Any);
        // Sent before either lease arrived, any number of times.
        assert!(!capacity.set(want(2, 0, Some(0))));
        assert!(!capacity.set(want(2, 0, Some(0))));
        assert_eq!(free(&capacity), [0, 0]);
        // The first lease has arrived, and the worker has one slot left: the second lease's.
        assert!(!capacity.set(want(1, 0, Some(1))));
        assert_eq!(free(&capacity), [0, 0]);
        // The first task is done.
        assert!(capacity.set(want(2, 0, Some(1))));
        assert_eq!(free(&capacity), [1, 0]);
        drop(preparing);
        assert_eq!(free(&capacity), [2, 0]);
    }

    #[test]
    fn want_messages_without_a_lease_count_are_applied_unchanged() {
        let capacity = Capacity::default();
        capacity.set(want(1, 0, None));
        capacity.reserve(SlotKind::Any).mark_sent();
        assert_eq!(free(&capacity), [0, 0]);
        assert!(capacity.set(want(1, 0, None)));
        assert_eq!(free(&capacity), [1, 0]);
        assert!(capacity.set(want(u32::MAX, 0, None)));
        assert_eq!(free(&capacity)[0], super::SLOTS_MAX);
    }
}
