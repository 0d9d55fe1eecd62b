//! Leases that are being prepared for a worker. They are sent in the order in which they were claimed,
//! except that a lease whose preparation reads from the store does not hold up those that do not.
//!
//! **Invariant:** a separate task on the tracker prepares each lease. Preparing takes a connection from
//! the pool; a future that only the session's `select!` polled would keep that connection for as long
//! as another branch waits for one, and enough such sessions would occupy the whole pool permanently.

use std::{
    collections::VecDeque,
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::Poll,
};

use api::{code::Code, v1};
use tokio_util::task::AbortOnDropHandle;

use super::capacity::Place;
use crate::{
    db::{claim::Claimed, lease::LeaseId},
    domain::Failure,
    grpc::leases::{self, Unprepared},
    state::AppState,
};

/// A prepared lease, or why it could not be prepared.
pub(super) struct Prepared {
    pub(super) id: LeaseId,
    /// The place of the worker that it takes.
    pub(super) place: Place,
    pub(super) lease: Result<v1::Lease, Unprepared>,
}

struct Entry {
    id: LeaseId,
    place: Place,
    /// Preparing it reads from the store, which may take seconds; leases that do not read from the
    /// store do not wait for it.
    reads: bool,
    lease: AbortOnDropHandle<Result<v1::Lease, Unprepared>>,
}

/// The leases of one session that are being prepared.
#[derive(Default)]
pub(super) struct Handing(VecDeque<Entry>);

impl Handing {
    /// Starts to prepare a lease.
    pub(super) fn add(&mut self, app: &Arc<AppState>, task: Claimed, place: Place) {
        let id = LeaseId { task: task.task, token: task.token };
        let reads = task.kind.reads_excerpt();
        let own = app.clone();
        let prepare = async move { leases::lease(&own, &task).await };
        let lease = AbortOnDropHandle::new(app.shutdown.tracker.spawn(prepare));
        self.0.push_back(Entry { id, place, reads, lease });
    }

    /// Returns the next lease; stays pending while none is ready. Cancel-safe.
    pub(super) async fn next(&mut self) -> Prepared {
        poll_fn(|context| {
            for reads in [false, true] {
                // Only the first of each kind is polled, which keeps the others in order.
                let first = self.0.iter().position(|entry| entry.reads == reads);
                let Some(number) = first else { continue };
                let lease = Pin::new(&mut self.0[number].lease);
                let Poll::Ready(joined) = lease.poll(context) else { continue };
                let Some(Entry { id, place, .. }) = self.0.remove(number) else { continue };
                let died = |_| Failure::new(Code::Internal.text(), "preparing the lease panicked");
                let lease = joined.unwrap_or_else(|e| Err(Unprepared::Passing(died(e))));
                return Poll::Ready(Prepared { id, place, lease });
            }
            Poll::Pending
        })
        .await
    }

    /// Stops preparing and returns the leases that were not sent.
    pub(super) fn stop(&mut self) -> Vec<LeaseId> {
        self.0.drain(..).map(|entry| entry.id).collect()
    }
}
