//! Faults that an instance must survive: unreadable rows, a busy database, deadlocks and
//! serialization failures, silent links, lost wake-ups, a store that rejects a write, and a
//! thousand simultaneous failures.

use std::{sync::Arc, time::Duration};

use api::{
    code::{Code, Problem},
    v1,
};
use authz::Role;
use control::{
    db::{
        Db, DbError,
        lease::{self, FailedAttempt},
        videos,
    },
    domain::Failure,
    plan::retry::{Cause, RetryDelays},
};
use media::layout;
use tokio::sync::Barrier;
use tokio_postgres::IsolationLevel;

use crate::{
    clip,
    plane::{DEADLINE, Plane, Shared},
    postgres::database,
    proxy::{Mode, Proxy},
    rows,
    waiting::eventually,
};

/// An instance's shared parts, and the test's own connection pool for the same database.
async fn shared() -> (Arc<Shared>, Db) {
    let shared = Shared::new(database().await);
    let db = Db::new(&shared.database, 4).unwrap();
    (shared, db)
}

/// After a newer version was rolled back, leases remain whose rows cannot be read. They fill more
/// than one page of the reaper and are all older than the lease that it can end.
#[tokio::test]
async fn leases_that_cannot_be_ended_do_not_block_others() {
    let (shared, db) = shared().await;
    let plane = Plane::with(shared, &["--lease", "4s"]).await;
    let mut worker = plane.worker("one").await;
    let video = clip::upload(&plane, &mut worker).await;
    let c = db.get().await.unwrap();
    c.batch_execute("ALTER TABLE tasks DROP CONSTRAINT tasks_kind_check").await.unwrap();
    c.batch_execute(
        "INSERT INTO tasks (id, job_id, video_id, tenant, kind, ordinal, state, priority,
                            attempts_max, token, worker, lease_expires)
         SELECT gen_random_uuid(), j.id, j.video_id, j.tenant, 'hologram', n, 'leased', 1, 4,
                nextval('lease_tokens'), 'newer', now() - interval '1 hour'
         FROM jobs j, generate_series(1, 250) AS n",
    )
    .await
    .unwrap();
    let caller = plane.caller(Role::Editor);
    let request = caller.ask(v1::CreateJobRequest { video_id: video, ..Default::default() });
    let job = caller.jobs().create_job(request).await.unwrap().into_inner();
    worker.want(1).await;
    let lost = worker.lease().await;
    // The loop pauses in between, as after every failure.
    eventually("the expired lease is ended", 3 * DEADLINE, async || {
        let job = caller.job(&job.job_id).await;
        let task = job.tasks.iter().find(|task| task.task_id == lost.task_id).unwrap();
        task.error.as_ref().is_some_and(|error| error.code == "lease_expired")
    })
    .await;
    let left = "SELECT count(*) FROM tasks WHERE kind = 'hologram' AND state = 'leased'";
    assert_eq!(rows::number(&db, left).await, 250);
    plane.stop().await;
}

/// No packet reports that the link is down, and the lease is far from its end.
#[tokio::test]
async fn a_worker_behind_a_silent_link_is_disconnected() {
    let (shared, db) = shared().await;
    let plane = Plane::with(shared, &["--lease", "10m"]).await;
    let video = rows::video(&db).await;
    rows::job(&db, video, 3).await;
    let proxy = Proxy::to(&plane.address.to_string()).await;
    let mut far = plane.worker_through(&proxy.address, "far").await;
    far.want(1).await;
    let lost = far.lease().await;
    proxy.set(Mode::Hold);
    let mut near = plane.worker("near").await;
    near.want(4).await;
    // Twice the time in which a dead peer is detected, and a margin for slow machines.
    let deadline = 2 * control::server::SILENCE_MAX + DEADLINE;
    let again = tokio::time::timeout(deadline, async {
        loop {
            let lease = near.lease_within(deadline).await;
            if lease.task_id == lost.task_id {
                return lease;
            }
        }
    });
    assert_eq!(again.await.expect("the stream is ended").attempt, 2);
    proxy.set(Mode::Cut);
    plane.stop().await;
}

/// The lock is released only after every caller has received its error.
#[tokio::test]
async fn calls_fail_at_once_when_no_database_connection_is_free() {
    let (shared, db) = shared().await;
    let plane = Plane::of(shared).await;
    let caller = plane.caller(Role::Viewer);
    let mut c = db.get().await.unwrap();
    let tx = c.transaction().await.unwrap();
    tx.batch_execute("LOCK TABLE videos IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let calls = (0..20).map(async |_| {
        let request = caller.ask(v1::ListVideosRequest::default());
        Problem::from_status(&caller.videos().list_videos(request).await.unwrap_err())
    });
    let failed = tokio::time::timeout(DEADLINE, futures::future::join_all(calls)).await.unwrap();
    for problem in failed {
        assert_eq!(problem.code, Code::Unavailable, "{problem}");
        assert!(problem.retry_after.is_some_and(|after| after <= Duration::from_secs(5)));
    }
    tx.rollback().await.unwrap();
    let request = caller.ask(v1::ListVideosRequest::default());
    assert!(caller.videos().list_videos(request).await.is_ok());
    plane.stop().await;
}

/// Two transactions lock two rows in opposite order; two others update rows that both have read.
#[tokio::test]
async fn deadlocks_and_serialization_failures_are_retried() {
    let db = rows::db().await;
    let (one, two) = (rows::video(&db).await, rows::video(&db).await);
    for (level, crosswise) in
        [(IsolationLevel::ReadCommitted, true), (IsolationLevel::RepeatableRead, false)]
    {
        let (barrier, tries) = (Barrier::new(2), std::sync::atomic::AtomicU32::new(0));
        let both = async |rows: [media::VideoId; 2]| {
            let mut waited = false;
            let mut connection = db.get().await.unwrap();
            for _ in 0..4 {
                tries.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                let attempt = async {
                    let tx = connection.build_transaction().isolation_level(level).start().await?;
                    tx.query("SELECT title FROM videos", &[]).await?;
                    if crosswise {
                        videos::touch(&tx, rows[0]).await?;
                    }
                    if !std::mem::replace(&mut waited, true) {
                        barrier.wait().await;
                    }
                    videos::touch(&tx, rows[1]).await?;
                    tx.commit().await.map_err(DbError::from)
                };
                match attempt.await {
                    Ok(()) => return,
                    Err(error) => assert!(error.transient(), "{error:?}"),
                }
            }
            panic!("four tries are not enough");
        };
        let other = if crosswise { [two, one] } else { [one, two] };
        tokio::join!(both([one, two]), both(other));
        assert!(tries.into_inner() >= 3, "{level:?}: no transaction conflicted");
    }
    // Transient errors are retried, others are not.
    let calls = std::sync::atomic::AtomicU32::new(0);
    let fails = |sql: &'static str| {
        let (db, calls) = (&db, &calls);
        db.run(3, async move |db| {
            calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            db.batch_execute(sql).await.map_err(DbError::from)
        })
    };
    let raise = "DO $$ BEGIN RAISE 'again' USING ERRCODE = '40001'; END $$";
    assert!(fails(raise).await.unwrap_err().transient());
    assert!(!fails("SELECT nonsense").await.unwrap_err().transient());
    assert_eq!(calls.into_inner(), 3 + 1);
}

/// The instance receives no wake-up, and a worker that asks twice gets the task once.
#[tokio::test]
async fn a_task_without_a_wake_up_is_found_by_polling() {
    let (shared, db) = shared().await;
    let plane = Plane::of(shared).await;
    let mut workers = [plane.worker("one").await, plane.worker("two").await];
    for worker in &workers {
        worker.want(1).await;
        worker.want(1).await;
    }
    let video = rows::video(&db).await;
    rows::job(&db, video, 3).await;
    let (one, two) = workers.split_at_mut(1);
    let (one, two) = tokio::join!(one[0].lease(), two[0].lease());
    assert_ne!(one.task_id, two.task_id);
    assert_eq!(rows::number(&db, "SELECT count(*) FROM tasks WHERE attempt > 0").await, 2);
    plane.stop().await;
}

/// The store rejects the index that control itself writes at the end of a job.
#[tokio::test]
async fn a_store_that_rejects_the_final_index_uses_up_no_attempt() {
    let (shared, db) = shared().await;
    let plane = Plane::of(shared).await;
    let caller = plane.caller(Role::Editor);
    let mut worker = plane.worker("one").await;
    let video = clip::upload(&plane, &mut worker).await;
    // A folder occupies the path of the object.
    let obstacle = plane.shared.store().join(layout::index(video.parse().unwrap())).join("x");
    std::fs::create_dir_all(&obstacle).unwrap();
    let request = caller.ask(v1::CreateJobRequest { video_id: video, ..Default::default() });
    let job = caller.jobs().create_job(request).await.unwrap().into_inner();
    worker.want(4).await;
    for _ in 0..3 {
        let lease = worker.lease().await;
        assert_eq!(worker.commit(clip::work(&lease)).await.refusal, None);
    }
    let tokens = "SELECT last_value FROM lease_tokens";
    let before = rows::number(&db, tokens).await;
    eventually("the collect task is retried", DEADLINE, async || {
        rows::number(&db, tokens).await >= before + 3
    })
    .await;
    assert_eq!(caller.job(&job.job_id).await.state(), v1::JobState::Running);
    std::fs::remove_dir_all(obstacle.parent().unwrap()).unwrap();
    let done = caller.job_when(&job.job_id, |job| job.state() == v1::JobState::Completed).await;
    assert!(done.tasks.iter().all(|task| task.attempt == 1), "{done:#?}");
    plane.stop().await;
}

/// A thousand tasks that fail at the same moment become ready again spread over their backoff.
#[tokio::test]
async fn tasks_that_fail_together_are_retried_at_different_times() {
    const TASKS: u32 = 1000;
    const SLICES: usize = 10;
    let db = rows::db().await;
    let video = rows::video(&db).await;
    rows::job(&db, video, 20 * (TASKS + 8)).await;
    let mut c = db.get().await.unwrap();
    c.batch_execute("UPDATE tasks SET attempts_max = 10").await.unwrap();
    let mut earliest_before = 0.0;
    for attempt in 1..=3 {
        c.batch_execute("UPDATE tasks SET run_after = now()").await.unwrap();
        let claimed = rows::claim(&db, &rows::worker("fleet"), TASKS).await;
        assert_eq!(claimed.len() as u32, TASKS);
        // One transaction, so that all tasks fail at the same time: now() does not change within
        // it.
        let tx = c.transaction().await.unwrap();
        for task in &claimed {
            let failed_attempt = FailedAttempt {
                failure: Failure::new("worker_lost", "on purpose"),
                retryable: true,
                backoff_seconds: 1.0,
                expired_only: false,
                cause: Cause::Unknown,
                probe_retry: RetryDelays::default(),
            };
            lease::end_attempt(&tx, rows::lease(task), &failed_attempt).await.unwrap().unwrap();
        }
        let sql = "SELECT extract(epoch FROM run_after - now())::float8 AS wait
                   FROM tasks
                   WHERE attempt = $1 AND state = 'ready'
                   ORDER BY wait";
        let waits = tx.query(sql, &[&attempt]).await.unwrap();
        let waits: Vec<f64> = waits.iter().map(|row| row.get("wait")).collect();
        tx.commit().await.unwrap();
        assert_eq!(waits.len() as u32, TASKS);
        let (first, last) = (waits[0], waits[waits.len() - 1]);
        let mut slices = [0; SLICES];
        for wait in &waits {
            let place = (wait - first) / (last - first) * SLICES as f64;
            slices[(place as usize).min(SLICES - 1)] += 1;
        }
        let mean = waits.len() / SLICES;
        assert!(slices.iter().all(|count| *count <= 2 * mean), "{slices:?}");
        assert!(first > earliest_before && last >= 1.5 * first, "{first} to {last}");
        earliest_before = first;
    }
}
