//! Seeded random schedules of all operations on leases, checked against a model: a task has at most
//! one holder, only the holder can change it, and every job ends.

use std::collections::HashMap;

use control::{
    db::{
        Db,
        claim::Claimer,
        completion,
        lease::{self, FailedAttempt, LeaseId, Progress},
        tasks,
    },
    domain::{Failure, TaskState},
    plan::retry::{Cause, RetryDelays},
};
use media::TaskId;
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};

use crate::rows::{GRACE, LEASE, claim, db, expire, job, lease as lease_of, number, video, worker};

const SEEDS: u64 = 4;
const STEPS: usize = 120;

/// The expected state after the steps so far.
#[derive(Default)]
struct Model {
    holder: HashMap<TaskId, LeaseId>,
    done: HashMap<TaskId, LeaseId>,
    /// All leases that were ever granted.
    leases: Vec<LeaseId>,
}

impl Model {
    fn holds(&self, lease: LeaseId) -> bool {
        self.holder.get(&lease.task) == Some(&lease)
    }
}

fn failed_attempt(expired_only: bool) -> FailedAttempt {
    FailedAttempt {
        failure: Failure::new("on_purpose", "on purpose"),
        retryable: true,
        backoff_seconds: 0.0,
        expired_only,
        cause: Cause::Unknown,
        probe_retry: RetryDelays::default(),
    }
}

async fn step(db: &Db, model: &mut Model, workers: &[Claimer], rng: &mut StdRng) {
    let c = db.get().await.unwrap();
    let any = model.leases.choose(rng).copied();
    match (rng.random_range(0..10), any) {
        (0..4, _) | (_, None) => {
            let worker = workers.choose(rng).unwrap();
            for claimed in claim(db, worker, rng.random_range(1..4)).await {
                let lease = lease_of(&claimed);
                assert!(!model.holder.contains_key(&lease.task), "two holders of one task");
                assert!(!model.done.contains_key(&lease.task), "a done task was leased");
                model.holder.insert(lease.task, lease);
                model.leases.push(lease);
            }
        }
        (4, Some(lease)) => {
            let held = completion::finish_task(&*c, lease).await.unwrap();
            assert_eq!(held, model.holds(lease));
            if held {
                model.holder.remove(&lease.task);
                model.done.insert(lease.task, lease);
            }
        }
        (5, Some(lease)) => {
            let held = lease::release(&*c, lease, 0.0).await.unwrap();
            assert_eq!(held, model.holds(lease));
            if held {
                model.holder.remove(&lease.task);
            }
        }
        (6, Some(lease)) => {
            let after = lease::end_attempt(&*c, lease, &failed_attempt(false)).await.unwrap();
            assert_eq!(after.is_some(), model.holds(lease));
            if let Some(after) = after {
                assert_eq!(after.state, TaskState::Ready);
                model.holder.remove(&lease.task);
            }
        }
        (7, Some(lease)) => {
            let progress = [Progress { lease, fraction: 0.5, speed: 1.0 }];
            let kept = lease::extend(&*c, workers[0].worker, &progress, LEASE).await.unwrap();
            assert_eq!(kept.len() == 1, model.holds(lease));
        }
        (8, Some(lease)) => {
            // Reaping a lease that has not expired changes nothing.
            let after = lease::end_attempt(&*c, lease, &failed_attempt(true)).await.unwrap();
            assert!(after.is_none());
        }
        _ => {
            expire(db).await;
            for lease::Expired { lease, .. } in lease::expired(&*c, None, 100).await.unwrap() {
                assert!(model.holds(lease));
                lease::end_attempt(&*c, lease, &failed_attempt(true)).await.unwrap().unwrap();
                model.holder.remove(&lease.task);
            }
        }
    }
}

#[tokio::test]
async fn leases_follow_the_model_under_any_schedule() {
    for seed in 0..SEEDS {
        let mut rng = StdRng::seed_from_u64(seed);
        let db = db().await;
        let video = video(&db).await;
        let id = job(&db, video, 300).await;
        let c = db.get().await.unwrap();
        // Here the number of attempts is unlimited; another test covers the limit.
        c.execute("UPDATE tasks SET attempts_max = 1000000", &[]).await.unwrap();
        let workers = ["a", "b", "c"].map(worker);
        let mut model = Model::default();
        for _ in 0..STEPS {
            step(&db, &mut model, &workers, &mut rng).await;
        }
        // Without further faults, every task ends.
        expire(&db).await;
        for lease::Expired { lease, .. } in lease::expired(&*c, None, 100).await.unwrap() {
            completion::end_attempt(&*c, lease, &failed_attempt(true), GRACE).await.unwrap();
        }
        for claimed in claim(&db, &workers[0], 100).await {
            assert!(completion::finish_task(&*c, lease_of(&claimed)).await.unwrap());
        }
        assert!(tasks::unblock(&*c, id).await.unwrap(), "seed {seed}");
        for lease in model.done.values() {
            let held = control::db::outputs::finished_by(&*c, *lease).await.unwrap();
            assert!(held, "seed {seed}");
        }
        let open = "SELECT count(*) FROM tasks WHERE kind <> 'collect' AND state <> 'done'";
        assert_eq!(number(&db, open).await, 0);
    }
}
