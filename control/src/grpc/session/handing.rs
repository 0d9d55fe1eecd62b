//! Leases that are being prepared for a worker, handed over in the order in which they were claimed.
//!
//! **Invariant:** each is prepared by a task of its own on the tracker. Preparing takes a connection of the
//! pool; a future that only the session's `select!` polled would keep that connection for as long as another
//! arm waits for one, and enough such sessions would hold the whole pool for good.

use std::{
    collections::VecDeque,
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::Poll,
};

use api::{code::Code, v1};
use tokio_util::task::AbortOnDropHandle;

use super::places::Place;
use crate::{
    db::{claim::Claimed, lease::LeaseId},
    deps::Deps,
    domain::{Failure, TaskKind},
    grpc::leases::{self, Unprepared},
};

/// A lease that is ready, or why it is not.
pub(super) struct Prepared {
    pub(super) id: LeaseId,
    /// The worker's place that it takes.
    pub(super) place: Place,
    pub(super) lease: Result<v1::Lease, Unprepared>,
}

struct Entry {
    id: LeaseId,
    place: Place,
    /// Preparing it reads from the store, which may take seconds: those that do not read do not wait for it.
    reads: bool,
    lease: AbortOnDropHandle<Result<v1::Lease, Unprepared>>,
}

/// The leases of one session that are on their way.
#[derive(Default)]
pub(super) struct Handing(VecDeque<Entry>);

impl Handing {
    /// Begins to prepare a lease.
    pub(super) fn add(&mut self, deps: &Arc<Deps>, task: Claimed, place: Place) {
        let id = LeaseId { task: task.task, token: task.token };
        let reads = matches!(task.kind, TaskKind::Thumbnails | TaskKind::Preview);
        let own = deps.clone();
        let prepare = async move { leases::lease(&own, &task).await };
        let lease = AbortOnDropHandle::new(deps.shutdown.tracker.spawn(prepare));
        self.0.push_back(Entry { id, place, reads, lease });
    }

    /// The next lease; pending while there is none. Cancelling it loses nothing.
    pub(super) async fn next(&mut self) -> Prepared {
        poll_fn(|context| {
            for reads in [false, true] {
                // The first of its sort: those behind it wait.
                let first = self.0.iter().position(|entry| entry.reads == reads);
                let Some(number) = first else { continue };
                let lease = Pin::new(&mut self.0[number].lease);
                let Poll::Ready(joined) = lease.poll(context) else { continue };
                let Some(Entry { id, place, .. }) = self.0.remove(number) else { continue };
                let died = |_| Failure::new(Code::Internal.text(), "preparing it panicked");
                let lease = joined.unwrap_or_else(|e| Err(Unprepared::Passing(died(e))));
                return Poll::Ready(Prepared { id, place, lease });
            }
            Poll::Pending
        })
        .await
    }

    /// Stops preparing. Returns the leases that were not handed out.
    pub(super) fn stop(&mut self) -> Vec<LeaseId> {
        self.0.drain(..).map(|entry| entry.id).collect()
    }
}
