//! Tenants take turns within each priority, at a cost that does not grow with the queue.

use control::{
    db::{
        Db,
        claim::{self, Claimed, Claimer, Share},
        completion::{self, JobOutcome},
        jobs,
        lease::{self, FailedAttempt},
        tasks, videos,
    },
    domain::{Failure, Owner, TaskKind, TaskState},
    plan::{
        self, NewTask,
        retry::{Cause, RetryDelays},
    },
};
use media::{JobId, VideoId};
use tokio_postgres::GenericClient;
use uuid::Uuid;

use crate::rows::{GRACE, LEASE, claim, db, lease as lease_of, number, plan_of, worker};

/// The priority of a video's later chunks.
const LATER: i32 = 500;

/// Creates a job without tasks for a tenant.
async fn empty_job(db: &Db, tenant: &str) -> (VideoId, JobId) {
    let (video, job) = (VideoId::new(Uuid::now_v7()), JobId::new(Uuid::now_v7()));
    let new = videos::NewVideo {
        id: video,
        title: String::new(),
        description: String::new(),
        public: true,
        store: "file:///nowhere".to_owned(),
        auto_transcode: false,
    };
    let owner = Owner { tenant: tenant.to_owned(), subject: "ana".to_owned() };
    let c = db.get().await.unwrap();
    videos::create(&*c, &owner, &new).await.unwrap();
    jobs::create(&*c, tenant, video, job, &plan_of(3)).await.unwrap();
    (video, job)
}

fn chunk(ordinal: u32, encoder: &'static str) -> NewTask {
    NewTask {
        kind: TaskKind::Chunk,
        ordinal,
        rungs: vec!["360p".to_owned()],
        state: TaskState::Ready,
        priority: LATER,
        weight: 1.0,
        encoder,
    }
}

/// Creates a job with this many chunks for a tenant.
async fn queue_for(db: &Db, tenant: &str, chunks: u32, encoder: &'static str) -> JobId {
    let (video, job) = empty_job(db, tenant).await;
    let tasks: Vec<NewTask> = (0..chunks).map(|n| chunk(n, encoder)).collect();
    let c = db.get().await.unwrap();
    tasks::create(&*c, tenant, video, job, &tasks).await.unwrap();
    job
}

async fn queue(db: &Db, tenant: &str, chunks: u32) -> JobId {
    queue_for(db, tenant, chunks, "libx264").await
}

/// The jobs whose tasks are claimed when `count` slots become free one after the other.
async fn next(db: &Db, claimer: &Claimer, count: usize) -> Vec<JobId> {
    let mut jobs = Vec::new();
    for _ in 0..count {
        jobs.extend(claim(db, claimer, 1).await.into_iter().map(|claimed| claimed.job));
    }
    jobs
}

fn share_of(jobs: &[JobId], job: JobId) -> usize {
    jobs.iter().filter(|j| **j == job).count()
}

#[tokio::test]
async fn a_flood_of_one_tenant_delays_another_by_two_tasks() {
    let (db, fleet) = (db().await, worker("fleet"));
    let flood = queue(&db, "a", 500).await;
    assert_eq!(share_of(&next(&db, &fleet, 60).await, flood), 60);
    let small = queue(&db, "b", 1).await;
    assert_eq!(next(&db, &fleet, 3).await, [flood, flood, small]);
    // More tasks of the flood do not delay the next newcomer, and neither does the newcomer's own
    // second job.
    queue(&db, "a", 500).await;
    let (one, two) = (queue(&db, "b", 2).await, queue(&db, "b", 20).await);
    let order = next(&db, &fleet, 20).await;
    let place = order.iter().position(|job| *job == one);
    assert!(place <= Some(2), "{place:?}");
    assert_eq!(share_of(&order, one) + share_of(&order, two), 9, "from then on one each");
}

#[tokio::test]
async fn waiting_tenants_get_equal_shares_and_unused_shares_go_to_the_others() {
    let (db, fleet) = (db().await, worker("fleet"));
    let mut waiting = Vec::new();
    for (tenant, chunks) in [("a", 300), ("b", 40), ("c", 10)] {
        waiting.push(queue(&db, tenant, chunks).await);
    }
    let shares = |jobs: &[JobId]| waiting.iter().map(|j| share_of(jobs, *j)).collect::<Vec<_>>();
    // The current turn belongs to tenant a.
    assert_eq!(shares(&next(&db, &fleet, 31).await), [11, 10, 10]);
    assert_eq!(shares(&next(&db, &fleet, 60).await), [30, 30, 0]);
    assert_eq!(shares(&next(&db, &fleet, 500).await), [259, 0, 0], "no tenant is limited");
}

#[tokio::test]
async fn a_tenant_alone_fills_every_slot_in_order_of_age() {
    let db = db().await;
    queue(&db, "a", 40).await;
    queue(&db, "a", 40).await;
    let claimed = claim(&db, &worker("large"), 64).await;
    assert_eq!(claimed.len(), 64);
    let mut last = None;
    for one in claim_one_by_one(&db, 16).await {
        assert!(last < Some(one.ordinal), "{last:?} {}", one.ordinal);
        last = Some(one.ordinal);
    }
}

async fn claim_one_by_one(db: &Db, count: usize) -> Vec<Claimed> {
    let mut claimed = Vec::new();
    for _ in 0..count {
        claimed.extend(claim(db, &worker("one"), 1).await);
    }
    claimed
}

#[tokio::test]
async fn express_tasks_come_before_every_turn() {
    let db = db().await;
    queue(&db, "a", 50).await;
    let (video, job_of_b) = empty_job(&db, "b").await;
    let c = db.get().await.unwrap();
    tasks::create(&*c, "b", video, job_of_b, &plan_of(65).tasks()).await.unwrap();
    let (video, probe) = empty_job(&db, "a").await;
    tasks::create(&*c, "a", video, probe, &[plan::probe()]).await.unwrap();
    let order: Vec<(JobId, TaskKind, u32)> =
        claim_one_by_one(&db, 4).await.into_iter().map(|c| (c.job, c.kind, c.ordinal)).collect();
    let expected = [
        (probe, TaskKind::Probe, 0),
        (job_of_b, TaskKind::Chunk, 0),
        (job_of_b, TaskKind::Audio, 0),
        (job_of_b, TaskKind::Chunk, 0),
    ];
    assert_eq!(order, expected);
}

#[tokio::test]
async fn a_stream_of_new_tenants_does_not_starve_a_waiting_one() {
    let (db, fleet) = (db().await, worker("fleet"));
    let patient = queue(&db, "patient", 20).await;
    let mut served = 0;
    for n in 0..30 {
        queue(&db, &format!("new-{n}"), 1).await;
        queue(&db, &format!("newer-{n}"), 1).await;
        served += share_of(&next(&db, &fleet, 1).await, patient);
    }
    // One slot becomes free for every two tenants that arrive: the rounds grow, but each serves all
    // tenants.
    assert!(served >= 4, "{served}");
}

#[tokio::test]
async fn a_second_attempt_keeps_its_turn_and_a_retried_job_takes_new_ones() {
    let (db, fleet) = (db().await, worker("fleet"));
    let first = queue(&db, "a", 30).await;
    let failed = claim(&db, &fleet, 1).await.remove(0);
    let c = db.get().await.unwrap();
    let failed_attempt = FailedAttempt {
        failure: Failure::new("ffmpeg_crashed", "on purpose"),
        retryable: true,
        backoff_seconds: 0.0,
        expired_only: false,
        cause: Cause::Unknown,
        probe_retry: RetryDelays::default(),
    };
    lease::end_attempt(&*c, lease_of(&failed), &failed_attempt).await.unwrap().unwrap();
    assert_eq!(claim(&db, &fleet, 1).await.remove(0).task, failed.task);
    // Its old turn must not let a newcomer overtake tenants that wait.
    lease::end_attempt(&*c, failed_again(&db).await, &failed_attempt).await.unwrap().unwrap();
    c.execute("UPDATE tasks SET run_after = now() + '1 hour' WHERE attempt > 0", &[])
        .await
        .unwrap();
    next(&db, &fleet, 10).await;
    let other = queue(&db, "b", 10).await;
    assert_eq!(share_of(&next(&db, &fleet, 10).await, first), 6);

    assert!(completion::end_job(&*c, other, &JobOutcome::Cancelled, GRACE).await.unwrap());
    assert!(jobs::reopen(&*c, other).await.unwrap());
    tasks::requeue_unfinished(&*c, other).await.unwrap();
    assert_eq!(share_of(&next(&db, &fleet, 10).await, first), 6);
}

/// The only lease of a second attempt.
async fn failed_again(db: &Db) -> lease::LeaseId {
    let sql = "SELECT id, token FROM tasks WHERE state = 'leased' AND attempt = 2";
    let row = db.get().await.unwrap().query_one(sql, &[]).await.unwrap();
    let token: i64 = row.get("token");
    lease::LeaseId { task: media::TaskId::new(row.get("id")), token: token.unsigned_abs() }
}

#[tokio::test]
async fn an_encoder_that_lags_behind_gives_no_tenant_an_advantage() {
    let db = db().await;
    let with = |encoder: &str| Claimer { encoders: vec![encoder.to_owned()], ..worker(encoder) };
    let (h264, av1) = (with("libx264"), with("libsvtav1"));
    let slow = queue_for(&db, "a", 100, "libsvtav1").await;
    let fast = queue(&db, "a", 100).await;
    next(&db, &h264, 50).await;
    // A newcomer enters each encoder's queue at that queue's current turn.
    let (quick, thorough) = (queue(&db, "b", 20).await, queue_for(&db, "b", 20, "libsvtav1").await);
    let order = next(&db, &h264, 22).await;
    assert_eq!((share_of(&order, fast), share_of(&order, quick)), (12, 10));
    let order = next(&db, &av1, 22).await;
    assert_eq!((share_of(&order, slow), share_of(&order, thorough)), (12, 10));
}

/// How many rows of `tasks` this transaction has read: by index, and by sequential scan.
async fn touched(tx: &impl GenericClient) -> (i64, i64) {
    let sql = "SELECT idx_tup_fetch, seq_tup_read
               FROM pg_stat_xact_user_tables
               WHERE relname = 'tasks'";
    let row = tx.query_one(sql, &[]).await.unwrap();
    (row.get("idx_tup_fetch"), row.get("seq_tup_read"))
}

/// The test counts rows rather than measuring time: the number of rows read must not grow with the
/// queue.
#[tokio::test]
async fn claims_read_a_handful_of_rows_of_a_hundred_thousand() {
    const READ_MAX: i64 = 64;
    let db = db().await;
    for tenant in 0..20 {
        queue(&db, &format!("tenant-{tenant}"), 5_000).await;
    }
    assert_eq!(number(&db, "SELECT count(*) FROM tasks WHERE state = 'ready'").await, 100_000);
    let mut c = db.get().await.unwrap();
    c.batch_execute("ANALYZE tasks").await.unwrap();
    let collector = Claimer { kinds: vec![TaskKind::Collect], ..worker("control") };
    let all = Share { limit: 4, priority_min: i32::MIN };
    let express = Share { limit: 2, priority_min: plan::PRIORITY_EXPRESS_MIN };
    for (claimer, share, expected) in
        [(worker("any"), all, 4), (worker("busy"), express, 0), (collector, all, 0)]
    {
        let tx = c.transaction().await.unwrap();
        let before = touched(&tx).await;
        let claimed = claim::claim(&tx, &claimer, share, LEASE).await.unwrap();
        assert_eq!(claimed.len(), expected, "{claimer:?}");
        let after = touched(&tx).await;
        assert!(after.0 - before.0 <= READ_MAX, "{claimer:?}: {before:?} {after:?}");
        assert_eq!(after.1, before.1, "{claimer:?}");
        tx.commit().await.unwrap();
    }
    // Queueing further tasks reads no more rows.
    for tenant in ["tenant-7", "late"] {
        let (video, job) = empty_job(&db, tenant).await;
        let tx = c.transaction().await.unwrap();
        let before = touched(&tx).await;
        tasks::create(&tx, tenant, video, job, &[chunk(0, "libx264")]).await.unwrap();
        let after = touched(&tx).await;
        assert!(after.0 - before.0 <= READ_MAX, "{tenant}: {before:?} {after:?}");
        assert_eq!(after.1, before.1, "{tenant}");
        tx.commit().await.unwrap();
    }
    let late = "SELECT count(*) FROM tasks WHERE tenant = 'late' AND state = 'leased'";
    next(&db, &worker("any"), 45).await;
    assert_eq!(number(&db, late).await, 1, "within two turns of twenty tenants");
}
