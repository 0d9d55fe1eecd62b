//! Leases that are being prepared for a worker. They are sent in the order in which they were
//! claimed, except that a lease whose preparation reads from the store does not hold up those that
//! do not.
//!
//! **Invariant:** a separate task on the tracker prepares each lease. Preparing takes a connection
//! from the pool; a future that only the session's `select!` polled would keep that connection for
//! as long as another branch waits for one, and enough such sessions would occupy the whole pool
//! permanently.

use std::{
    collections::VecDeque,
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::Poll,
};

use api::{code::Code, v1};
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::capacity::ReservedSlot;
use crate::{
    db::{claim::Claimed, lease::LeaseId},
    domain::Failure,
    grpc::leases::{self, PrepareError},
    state::AppState,
};

/// A prepared lease, or why it could not be prepared.
pub(super) struct Prepared {
    pub(super) id: LeaseId,
    /// The slot of the worker that it takes.
    pub(super) slot: ReservedSlot,
    pub(super) lease: Result<v1::Lease, PrepareError>,
}

struct Entry {
    id: LeaseId,
    slot: ReservedSlot,
    /// Preparing it reads from the store, which may take seconds; leases that do not read from the
    /// store do not wait for it.
    reads: bool,
    lease: AbortOnDropHandle<Result<v1::Lease, PrepareError>>,
}

/// The leases of one session that are being prepared.
#[derive(Default)]
pub(super) struct Preparations(VecDeque<Entry>);

impl Preparations {
    /// Starts to prepare a lease.
    pub(super) fn add(&mut self, app: &Arc<AppState>, task: Claimed, slot: ReservedSlot) {
        let id = LeaseId { task: task.task, token: task.token };
        let reads = task.kind.reads_excerpt();
        let own = app.clone();
        let prepare = async move { leases::lease(&own, &task).await };
        self.start(&app.shutdown.tracker, (id, slot, reads), prepare);
    }

    /// Runs `prepare` in a task of its own.
    fn start(
        &mut self,
        tracker: &TaskTracker,
        (id, slot, reads): (LeaseId, ReservedSlot, bool),
        prepare: impl Future<Output = Result<v1::Lease, PrepareError>> + Send + 'static,
    ) {
        let lease = AbortOnDropHandle::new(tracker.spawn(prepare));
        self.0.push_back(Entry { id, slot, reads, lease });
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
                let Some(Entry { id, slot, .. }) = self.0.remove(number) else { continue };
                let died = |_| Failure::new(Code::Internal.text(), "preparing the lease panicked");
                let lease = joined.unwrap_or_else(|e| Err(PrepareError::Temporary(died(e))));
                return Poll::Ready(Prepared { id, slot, lease });
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

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use api::v1;
    use media::TaskId;
    use tokio::{
        sync::{Semaphore, oneshot},
        time::timeout,
    };
    use tokio_util::task::TaskTracker;
    use uuid::Uuid;

    use super::{
        super::capacity::{Capacity, SlotKind},
        LeaseId, Preparations,
    };

    /// Longer than the test needs; a deadlock exceeds it.
    const DEADLINE: Duration = Duration::from_secs(10);

    /// The pool has one connection, which the lease's preparation holds when the session, in
    /// another branch of its `select!`, begins to wait for a connection.
    #[tokio::test]
    async fn a_lease_that_holds_a_connection_is_prepared_while_its_session_waits_for_one() {
        let (tracker, pool) = (TaskTracker::new(), Arc::new(Semaphore::new(1)));
        let (query, mut queried) = oneshot::channel::<()>();
        let (reply, replied) = oneshot::channel::<()>();
        let connections = pool.clone();
        let prepare = async move {
            let _connection = connections.acquire().await.unwrap();
            query.send(()).unwrap();
            replied.await.unwrap();
            Ok(v1::Lease::default())
        };
        let id = LeaseId { task: TaskId::new(Uuid::now_v7()), token: 1 };
        let mut preparations = Preparations::default();
        preparations.start(
            &tracker,
            (id, Capacity::default().reserve(SlotKind::Any), false),
            prepare,
        );
        tokio::select! {
            biased;
            _ = preparations.next() => panic!("it is prepared before the database replies"),
            queried = &mut queried => queried.unwrap(),
        }
        // The body of the other branch: `preparations` is not polled here.
        reply.send(()).unwrap();
        let connection = timeout(DEADLINE, pool.acquire()).await;
        drop(connection.expect("preparing the lease gives its connection back").unwrap());
        let prepared = timeout(DEADLINE, preparations.next()).await.unwrap();
        assert!(prepared.id == id && prepared.lease.is_ok());
    }
}
