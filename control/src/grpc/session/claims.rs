//! Claiming for a session's worker: any task for its slots, urgent ones for its express slots.
//!
//! Express slots are why a film uploaded to a busy fleet is probed and playable within seconds: its
//! probe, first chunk and sound wait for no chunk of somebody else's long film.

use api::{code::Code, v1};

use super::{super::workers::SLOTS_MAX, LeaseId, Out, Session, TRIES_MAX};
use crate::{
    admit,
    bus::Event,
    db::{
        claim::{self, Share},
        lease, retrying,
    },
    domain::Failure,
    grpc::leases,
    plan::PRIORITY_EXPRESS_MIN,
};

/// How long a task rests that this instance could not hand out.
const OUR_TROUBLE_SECONDS: f64 = 2.0;

/// What the worker would start now.
#[derive(Clone, Copy, Default)]
pub(super) struct Want {
    slots: u32,
    express: u32,
}

/// Which of a worker's places a claim is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// A slot takes any task.
    Any,
    /// An express slot takes only what somebody waits for.
    Express,
}

impl Want {
    /// As the worker says, within reason.
    pub(super) fn new(want: v1::Want) -> Self {
        Self { slots: want.slots.min(SLOTS_MAX), express: want.express_slots.min(SLOTS_MAX) }
    }

    fn share(self, lane: Lane) -> Share {
        match lane {
            Lane::Any => Share { limit: self.slots, priority_min: i32::MIN },
            Lane::Express => Share { limit: self.express, priority_min: PRIORITY_EXPRESS_MIN },
        }
    }

    /// A lease went out.
    fn count_down(&mut self, lane: Lane) {
        let count = match lane {
            Lane::Any => &mut self.slots,
            Lane::Express => &mut self.express,
        };
        *count = count.saturating_sub(1);
    }
}

impl Session {
    /// Whether a call for this lane is for us.
    pub(super) fn wants(&self, lane: Lane) -> bool {
        !self.draining && self.want.share(lane).limit > 0
    }

    /// Claims as much as the worker wants, and passes the call on while there may be more.
    pub(super) async fn claim(&mut self, lane: Lane) {
        while self.wants(lane) {
            let share = self.want.share(lane);
            let seconds = self.deps.lease_seconds();
            let claimed = retrying(TRIES_MAX, || async {
                let db = self.deps.db.get().await?;
                let claimed = claim::claim(&*db, &self.claimer, share, seconds).await?;
                if !claimed.is_empty()
                    && let Err(error) = claim::start_jobs(&*db, &claimed).await
                {
                    // The next claim of the job does it.
                    tracing::warn!(%error, "mark jobs as running");
                }
                Ok(claimed)
            });
            let claimed = match claimed.await {
                Ok(claimed) => claimed,
                Err(error) => {
                    tracing::warn!(%error, "claim tasks");
                    return;
                }
            };
            if claimed.is_empty() {
                return;
            }
            for task in claimed {
                self.want.count_down(lane);
                let id = LeaseId { task: task.task, token: task.token };
                self.held.insert(task.task, (id, task.job));
                self.deps.bus.tell(Event::Job(task.job));
                let deps = self.deps.clone();
                let lease = async move { (id, leases::lease(&deps, &task).await) };
                self.handing.push_back(Box::pin(lease));
            }
            match lane {
                Lane::Any => self.deps.bus.ready.notify_one(),
                Lane::Express => self.deps.bus.express.notify_one(),
            }
        }
    }

    /// Sends a lease that is ready, unless it was lost meanwhile.
    pub(super) async fn hand(&mut self, id: LeaseId, lease: Result<v1::Lease, Failure>) {
        if self.held.get(&id.task).is_none_or(|(held, _)| *held != id) {
            return;
        }
        let failure = match lease {
            Ok(lease) => return self.send(Out::Lease(lease)),
            Err(failure) => failure,
        };
        self.held.remove(&id.task);
        tracing::warn!(task.id = %id.task, code = failure.code, "lease not sent");
        // Our own trouble is no attempt; a store that this instance does not know is one.
        if failure.code == Code::Unavailable.text() {
            self.rest(id, OUR_TROUBLE_SECONDS).await;
        } else if let Err(error) = admit::setback(&self.deps, id, failure, true).await {
            tracing::warn!(%error, "give a lease back");
        }
    }

    /// Gives a lease back without counting it.
    pub(super) async fn rest(&mut self, id: LeaseId, seconds: f64) {
        let deps = self.deps.clone();
        let released = retrying(TRIES_MAX, || async {
            lease::release(&*deps.db.get().await?, id, seconds).await
        });
        if let Err(error) = released.await {
            tracing::warn!(%error, "give a lease back");
        }
    }
}
