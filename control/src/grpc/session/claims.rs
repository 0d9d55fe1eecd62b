//! Claims tasks for a session's worker: any task for its slots, express tasks for its express
//! slots.
//!
//! Because of express slots, a video uploaded to a busy fleet is probed and playable within
//! seconds: its probe, first chunk and audio do not wait for chunks of another tenant's long video.

use std::{sync::Arc, time::Duration};

use api::v1;
use runtime::retry::doubled;
use tokio::{task::JoinSet, time::Instant};

use super::{LeaseId, Out, Session, TRIES_MAX, capacity::SlotKind, preparation::Prepared};
use crate::{
    cluster::events::Event,
    db::{
        WORK_TRIES_MAX,
        claim::{self, Share},
        lease, workers,
    },
    domain::{Failure, TaskKind},
    grpc::{leases::PrepareError, worker_messages},
    plan::{PRIORITY_EXPRESS_MIN, PRIORITY_LEAD, retry::Cause},
    publish::admission,
    state::AppState,
};

/// Delay of a task after its lease could not be prepared.
const REST_SECONDS: f64 = 2.0;
/// How long a session pauses its claims after a lease could not be prepared. The pause doubles with
/// each further one in a row, up to the maximum, so that an outage does not make the session race
/// through the whole queue.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Leases of a session that could not be prepared.
#[derive(Default)]
pub(super) struct PreparationBackoff {
    /// Number of such leases in a row.
    count: u32,
    /// When the next claim is allowed; `None` if claims are not paused.
    paused: Option<Instant>,
    /// Tasks that release leases while the session continues to reply to heartbeats.
    returning: JoinSet<()>,
}

impl PreparationBackoff {
    fn pause(&mut self) {
        let pause = doubled(PAUSE_MIN, self.count, PAUSE_MAX);
        self.count += 1;
        self.paused = Some(Instant::now() + pause);
    }

    /// Returns when the pause is over; stays pending if claims are not paused. Cancel-safe.
    pub(super) async fn over(&self) {
        match self.paused {
            Some(until) => tokio::time::sleep_until(until).await,
            None => std::future::pending().await,
        }
    }

    /// Returns when every lease has been released.
    pub(super) async fn returned(&mut self) {
        while self.returning.join_next().await.is_some() {}
    }
}

/// The shares to claim for the free slots of a kind: the second one only if the first one is empty.
///
/// The lowest rung of a slowly encoded video may use express slots, too, but never the last one, so
/// that a new video still starts within seconds.
fn shares(kind: SlotKind, free: u32) -> [Share; 2] {
    let (first, second) = match kind {
        SlotKind::Any => (i32::MIN, Share { limit: 0, priority_min: i32::MIN }),
        SlotKind::Express => {
            let lead = Share { limit: free.saturating_sub(1), priority_min: PRIORITY_LEAD };
            (PRIORITY_EXPRESS_MIN, lead)
        }
    };
    [Share { limit: free, priority_min: first }, second]
}

impl Session {
    /// Records whether the worker can probe; while it cannot, it gets no probes.
    pub(super) async fn health(&mut self, health: &v1::Health) {
        let (can_probe, trouble) = worker_messages::health(health);
        let able = |kind: TaskKind| can_probe || !kind.examines_source();
        let kinds = TaskKind::with_property(|kind| kind.is_for_workers() && able(kind));
        let changed = kinds != self.claimer.kinds;
        if can_probe && !changed {
            return;
        }
        self.claimer.kinds = kinds;
        if changed && !can_probe {
            let (id, name) = (self.worker, &self.claimer.name);
            tracing::warn!(worker.id = %id, worker.name = name, trouble, "worker failed to probe its own sample");
        }
        let recorded = self
            .app
            .db
            .run(TRIES_MAX, async |db| workers::health(db, self.worker, can_probe, &trouble).await);
        if let Err(error) = recorded.await {
            tracing::warn!(%error, "failed to record a worker's health");
        }
        if can_probe {
            self.claim_all().await;
        }
    }

    /// Whether the session may claim for this kind now.
    pub(super) fn wants(&self, kind: SlotKind) -> bool {
        !self.draining && self.preparation_backoff.paused.is_none() && self.capacity.free(kind) > 0
    }

    /// Claims tasks for every free slot.
    pub(super) async fn claim_all(&mut self) {
        for kind in SlotKind::ALL {
            self.claim(kind).await;
        }
    }

    /// Ends the pause.
    pub(super) async fn resume(&mut self) {
        self.preparation_backoff.paused = None;
        self.claim_all().await;
    }

    /// Claims as many tasks as the worker has free slots, and notifies another session after each
    /// claim, because more tasks may be ready.
    pub(super) async fn claim(&mut self, kind: SlotKind) {
        while self.wants(kind) {
            let shares = shares(kind, self.capacity.free(kind));
            let seconds = self.app.lease_seconds();
            self.claimer.avoided = self.app.outages.current();
            let claimer = &self.claimer;
            let claimed = self.app.db.run(TRIES_MAX, async |db| {
                let mut claimed = claim::claim(db, claimer, shares[0], seconds).await?;
                if claimed.is_empty() && shares[1].limit > 0 {
                    claimed = claim::claim(db, claimer, shares[1], seconds).await?;
                }
                if !claimed.is_empty()
                    && let Err(error) = claim::start_jobs(db, &claimed).await
                {
                    // The next claim of the job marks it.
                    tracing::warn!(%error, "failed to mark jobs as running");
                }
                Ok(claimed)
            });
            let claimed = match claimed.await {
                Ok(claimed) => claimed,
                Err(error) => {
                    tracing::warn!(%error, "failed to claim tasks");
                    return;
                }
            };
            if claimed.is_empty() {
                return;
            }
            for task in claimed {
                let id = LeaseId { task: task.task, token: task.token };
                self.held.insert(task.task, (id, task.job));
                self.app.bus.publish(Event::Job(task.job));
                self.preparations.add(&self.app, task, self.capacity.reserve(kind));
            }
            match kind {
                SlotKind::Any => self.app.bus.ready.notify_one(),
                SlotKind::Express => self.app.bus.express.notify_one(),
            }
        }
    }

    /// Sends a prepared lease. Releases one that could not be prepared or that was lost meanwhile,
    /// and claims another task for its slot immediately.
    pub(super) async fn send_prepared(&mut self, prepared: Prepared) {
        let Prepared { id, slot, lease } = prepared;
        let held = self.held.get(&id.task).is_some_and(|(held, _)| *held == id);
        match lease {
            Ok(lease) if held => {
                self.preparation_backoff.count = 0;
                slot.mark_sent();
                return self.send(Out::Lease(lease));
            }
            Ok(_) => self.give_back(id, 0.0),
            Err(why) => self.preparation_failed(id, why),
        }
        if held {
            self.held.remove(&id.task);
        }
        drop(slot);
        self.claim_all().await;
    }

    /// Handles a lease that could not be prepared. The attempt counts only if no instance can
    /// prepare the task.
    fn preparation_failed(&mut self, id: LeaseId, why: PrepareError) {
        let Failure { code, message } = why.failure();
        tracing::warn!(task.id = %id.task, code, reason = message, "failed to prepare a lease");
        match why {
            PrepareError::Store { url, .. } => {
                self.app.outages.add(url);
                self.give_back(id, 0.0);
            }
            PrepareError::Temporary(_) => {
                self.preparation_backoff.pause();
                self.give_back(id, REST_SECONDS);
            }
            PrepareError::Task(failure) => {
                let app = self.app.clone();
                self.returning().spawn(async move {
                    let recorded =
                        admission::record_failed_attempt(&app, id, failure, true, Cause::Unknown)
                            .await;
                    if let Err(error) = recorded {
                        tracing::warn!(%error, "failed to record a failure");
                    }
                });
            }
        }
    }

    /// Releases a lease without counting the attempt.
    pub(super) fn give_back(&mut self, id: LeaseId, rest_seconds: f64) {
        let app = self.app.clone();
        self.returning().spawn(give_back(app, id, rest_seconds));
    }

    fn returning(&mut self) -> &mut JoinSet<()> {
        let returning = &mut self.preparation_backoff.returning;
        while returning.try_join_next().is_some() {}
        returning
    }
}

async fn give_back(app: Arc<AppState>, id: LeaseId, rest_seconds: f64) {
    let released =
        app.db.run(WORK_TRIES_MAX, async |db| lease::release(db, id, rest_seconds).await);
    match released.await {
        // Another instance may be able to prepare it.
        Ok(true) if rest_seconds == 0.0 => app.bus.notify_tasks_ready(1),
        Ok(_) => {}
        // The lease then expires.
        Err(error) => tracing::warn!(%error, "failed to release a lease"),
    }
}
