//! Sessions of workers when preparing a lease is slow, fails, or finds no free database connection:
//! neither a task nor a slot is lost.

use std::sync::Arc;

use api::v1::{self, worker_message::Message};
use authz::Role;
use control::{
    db::{Db, jobs, tasks},
    plan,
};
use media::{JobId, layout};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::{
    clip,
    plane::{DEADLINE, Plane, Shared, Worker},
    postgres::database,
    rows,
    waiting::eventually,
};

/// An instance's shared parts, and the test's own connection pool for the same database.
async fn shared() -> (Arc<Shared>, Db) {
    let shared = Shared::new(database().await);
    let db = Db::new(&shared.database, 4).unwrap();
    (shared, db)
}

/// Creates `count` videos that wait for their probe.
async fn probes(db: &Db, count: usize) {
    let c = db.get().await.unwrap();
    for _ in 0..count {
        let video = rows::video(db).await;
        let job = JobId::new(Uuid::now_v7());
        c.execute(
            "UPDATE videos SET state = 'probing', source = NULL WHERE id = $1",
            &[&video.uuid()],
        )
        .await
        .unwrap();
        jobs::create_probe(&*c, "default", video, job).await.unwrap();
        tasks::create(&*c, "default", video, job, &[plan::probe()]).await.unwrap();
    }
}

/// Completes probes as long as there are any.
async fn probe_all(mut worker: Worker, slots: u32) {
    worker.want(slots).await;
    loop {
        let lease = worker.lease_within(6 * DEADLINE).await;
        assert_eq!(worker.commit(clip::probed(&lease)).await.refusal, None);
        worker.want(slots).await;
    }
}

/// If a session kept the connections of the leases that it prepares while it waits for another
/// connection, enough sessions would occupy the whole pool permanently.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_sessions_on_a_pool_of_two_complete_every_task() {
    const SESSIONS: usize = 50;
    const TASKS: usize = 400;
    let (shared, db) = shared().await;
    let flags = ["--database-pool", "2", "--lease", "2m"];
    let plane = Plane::with(shared, &flags).await;
    probes(&db, TASKS).await;
    let mut workers = JoinSet::new();
    for n in 0..SESSIONS {
        workers.spawn(probe_all(plane.worker(&format!("w{n}")).await, 4));
    }
    let left = "SELECT count(*) FROM tasks WHERE state <> 'done'";
    eventually("every task ends", 6 * DEADLINE, async || rows::number(&db, left).await == 0).await;
    let again = "SELECT count(*) FROM tasks WHERE attempt <> 1";
    assert_eq!(rows::number(&db, again).await, 0);
    workers.shutdown().await;
    plane.stop().await;
}

/// Queues a probe, which has express priority, and checks that the worker gets it: that fails if
/// the worker's slots were lost before.
async fn gets_a_probe(worker: &mut Worker, db: &Db) {
    probes(db, 1).await;
    let urgent = async {
        loop {
            let lease = worker.lease().await;
            if matches!(lease.work, Some(v1::lease::Work::Probe(_))) {
                return lease;
            }
        }
    };
    let lease = tokio::time::timeout(DEADLINE, urgent).await.expect("the worker gets the probe");
    assert_eq!(lease.attempt, 1);
}

/// Runs `do_it` and waits until this many more leases have been granted than before.
async fn claimed_again(db: &Db, leases: i64, do_it: impl AsyncFnOnce()) {
    let before = rows::number(db, "SELECT nextval('lease_tokens')").await;
    do_it().await;
    eventually("the session claims again by itself, within seconds", 3 * DEADLINE, async || {
        rows::number(db, "SELECT last_value FROM lease_tokens").await >= before + leases
    })
    .await;
}

/// Checks that no task has a counted attempt unless it is leased.
async fn assert_no_attempt_is_counted(db: &Db) {
    let sql = "SELECT count(*) FROM tasks WHERE attempt > 0 AND state <> 'leased'";
    assert_eq!(rows::number(db, sql).await, 0);
}

#[tokio::test]
async fn a_database_failure_while_preparing_a_lease_uses_up_no_slot_and_no_attempt() {
    let (shared, db) = shared().await;
    let plane = Plane::with(shared, &["--lease", "2m"]).await;
    let mut worker = plane.worker("one").await;
    let video = rows::video(&db).await;
    rows::job(&db, video, 30).await;
    // A claim does not read the table `jobs`; preparing its leases does.
    let mut c = db.get().await.unwrap();
    let tx = c.transaction().await.unwrap();
    tx.batch_execute("LOCK TABLE jobs IN ACCESS EXCLUSIVE MODE").await.unwrap();
    // The worker requests tasks for its two slots only once.
    claimed_again(&db, 4, async || worker.want(2).await).await;
    assert_no_attempt_is_counted(&db).await;
    tx.rollback().await.unwrap();
    let leases = [worker.lease().await, worker.lease().await];
    assert!(leases.iter().all(|lease| lease.attempt == 1), "{leases:?}");
    plane.stop().await;
}

#[tokio::test]
async fn tasks_of_an_unknown_store_do_not_block_others() {
    let (shared, db) = shared().await;
    let plane = Plane::with(shared, &["--lease", "2m"]).await;
    let mut worker = plane.worker("one").await;
    let video = rows::video(&db).await;
    let job = rows::job(&db, video, 300).await;
    let c = db.get().await.unwrap();
    c.execute("UPDATE videos SET store = 's3://elsewhere'", &[]).await.unwrap();
    c.execute("UPDATE tasks SET priority = 2000", &[]).await.unwrap();
    claimed_again(&db, 2, async || worker.want(1).await).await;
    gets_a_probe(&mut worker, &db).await;
    assert_no_attempt_is_counted(&db).await;
    // Once the store is known, the tasks are leased, still on their first attempt.
    c.execute("UPDATE videos SET store = 'file:///nowhere'", &[]).await.unwrap();
    worker.want(1).await;
    let lease = worker.lease().await;
    assert_eq!((lease.job_id, lease.attempt), (job.to_string(), 1));
    plane.stop().await;
}

#[tokio::test]
async fn a_store_failure_while_preparing_a_lease_uses_up_no_slot_and_no_attempt() {
    let (shared, db) = shared().await;
    let plane = Plane::with(shared, &["--lease", "2m"]).await;
    let caller = plane.caller(Role::Editor);
    let mut worker = plane.worker("one").await;
    let video = clip::upload(&plane, &mut worker).await;
    let request = v1::CreateJobRequest {
        video_id: video.clone(),
        generate_thumbnails: Some(true),
        generate_preview: Some(true),
        ..Default::default()
    };
    let job = caller.jobs().create_job(caller.ask(request)).await.unwrap().into_inner();
    // A file occupies the path of the folder of the renditions' excerpts.
    let prefix = layout::job_prefix(video.parse().unwrap(), job.job_id.parse().unwrap());
    let obstacle = plane.shared.store().join(prefix).join("scenes");
    std::fs::create_dir_all(obstacle.parent().unwrap()).unwrap();
    std::fs::write(&obstacle, "no folder").unwrap();
    worker.want(3).await;
    for _ in 0..3 {
        let lease = worker.lease().await;
        assert_eq!(worker.commit(clip::work(&lease)).await.refusal, None);
    }
    // Two slots for two tasks whose leases cannot be prepared.
    claimed_again(&db, 4, async || worker.want(2).await).await;
    std::fs::remove_file(&obstacle).unwrap();
    let leases = [worker.lease().await, worker.lease().await];
    assert!(leases.iter().all(|lease| lease.attempt == 1), "{leases:?}");
    plane.stop().await;
}

/// A heartbeat names an older, lost lease of the task while the new lease is being prepared.
#[tokio::test]
async fn a_lease_that_is_lost_while_it_is_prepared_uses_up_no_slot_and_no_attempt() {
    let (shared, db) = shared().await;
    let plane = Plane::with(shared, &["--lease", "2m"]).await;
    let mut worker = plane.worker("one").await;
    probes(&db, 1).await;
    // A claim does not read the table `jobs`; preparing its leases does.
    let mut c = db.get().await.unwrap();
    let tx = c.transaction().await.unwrap();
    tx.batch_execute("LOCK TABLE jobs IN ACCESS EXCLUSIVE MODE").await.unwrap();
    worker.want(1).await;
    let leased = "SELECT count(*) FROM tasks WHERE state = 'leased'";
    eventually("the task is claimed", DEADLINE, async || rows::number(&db, leased).await > 0).await;
    let row = db.get().await.unwrap().query_one("SELECT id FROM tasks", &[]).await.unwrap();
    let task_id = row.get::<_, Uuid>("id").to_string();
    let older = v1::Lease { task_id: task_id.clone(), ..v1::Lease::default() };
    worker.beat(&older, 0.5).await;
    assert_eq!(worker.lost().await, std::slice::from_ref(&task_id));
    tx.rollback().await.unwrap();
    let lease = worker.lease().await;
    assert_eq!((lease.task_id, lease.attempt), (task_id, 1));
    plane.stop().await;
}

/// The worker sent the request before the lease reached it.
#[tokio::test]
async fn a_want_message_that_crosses_a_lease_frees_no_slot() {
    let (shared, db) = shared().await;
    let plane = Plane::with(shared, &["--lease", "2m"]).await;
    let mut worker = plane.worker("one").await;
    probes(&db, 3).await;
    let want = |slots, received| {
        let leases_received = Some(received);
        Message::Want(v1::Want { slots, leases_received, ..v1::Want::default() })
    };
    worker.send(want(1, 0)).await;
    let first = worker.lease().await;
    for _ in 0..5 {
        worker.send(want(1, 0)).await;
    }
    // The reply comes after all of them have been handled.
    worker.beat(&first, 0.5).await;
    assert!(matches!(worker.next().await, v1::control_message::Message::HeartbeatReply(_)));
    let leased = "SELECT count(*) FROM tasks WHERE state = 'leased'";
    assert_eq!(rows::number(&db, leased).await, 1);
    worker.send(want(1, 1)).await;
    assert_ne!(worker.lease().await.task_id, first.task_id);
    plane.stop().await;
}
