//! Several instances of one service, restarts of instances, and a restart of the database.

use api::v1;
use authz::Role;
use control::db::Db;

use crate::{
    clip,
    plane::{Caller, DEADLINE, Plane, Shared},
    postgres::{Server, database},
    rows,
    waiting::eventually,
};

async fn create_job(caller: &Caller, video: &str) -> v1::Job {
    let request =
        caller.ask(v1::CreateJobRequest { video_id: video.to_owned(), ..Default::default() });
    caller.jobs().create_job(request).await.unwrap().into_inner()
}

#[tokio::test]
async fn changes_by_one_instance_reach_the_other() {
    let one = Plane::start().await;
    let two = Plane::of(one.shared.clone()).await;
    let watcher = two.caller(Role::Dataplane);
    let request = watcher.ask(v1::WatchChangesRequest {});
    let mut changes = watcher.playback().watch_changes(request).await.unwrap().into_inner();
    assert_eq!(changes.message().await.unwrap().unwrap().video_id, "");
    // The video is uploaded and its job queued at one instance; the worker is connected to the
    // other.
    let mut worker = one.worker("one").await;
    let video = clip::upload(&one, &mut worker).await;
    let received = async { while changes.message().await.unwrap().unwrap().video_id != video {} };
    tokio::time::timeout(DEADLINE, received).await.unwrap();
    let caller = one.caller(Role::Editor);
    let job = create_job(&caller, &video).await;
    let mut elsewhere = two.worker("two").await;
    elsewhere.want(4).await;
    for _ in 0..3 {
        let lease = elsewhere.lease().await;
        assert_eq!(elsewhere.commit(clip::work(&lease)).await.refusal, None);
    }
    caller.job_when(&job.job_id, |job| job.state() == v1::JobState::Completed).await;
    // A token that is revoked at one instance is rejected at the other.
    let viewer = one.caller(Role::Viewer);
    let revoke = v1::RevokeTokenRequest { token: viewer.token.clone() };
    viewer.auth().revoke_token(viewer.ask(revoke)).await.unwrap();
    let viewer = Caller { channel: two.channel.clone(), ..viewer };
    eventually("the other instance rejects the token", DEADLINE, async || {
        let list = viewer.ask(v1::ListVideosRequest::default());
        viewer.videos().list_videos(list).await.is_err()
    })
    .await;
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn a_worker_keeps_its_lease_while_its_instance_restarts() {
    let shared = Shared::new(database().await);
    // The lease must outlast the restart, even on a busy machine.
    let first = Plane::with(shared.clone(), &["--lease", "2m"]).await;
    let caller = first.caller(Role::Editor);
    let mut worker = first.worker("one").await;
    let video = clip::upload(&first, &mut worker).await;
    let job = create_job(&caller, &video).await;
    worker.want(1).await;
    let lease = worker.lease().await;
    first.stop().await;
    assert!(worker.ends().await);
    let second = Plane::with(shared, &["--lease", "2m"]).await;
    let mut worker = second.worker("one").await;
    worker.beat(&lease, 0.5).await;
    let reply = worker.next().await;
    assert!(
        matches!(&reply, v1::control_message::Message::HeartbeatReply(r) if r.lost.is_empty()),
        "{reply:?}"
    );
    assert_eq!(worker.commit(clip::work(&lease)).await.refusal, None);
    let caller = second.caller(Role::Editor);
    let job = caller.job(&job.job_id).await;
    let task = job.tasks.iter().find(|task| task.task_id == lease.task_id).unwrap();
    assert_eq!((task.state(), task.attempt), (v1::TaskState::Done, 1));
    second.stop().await;
}

/// Fifty workers hold leases while their only instance is replaced.
#[tokio::test]
async fn a_fleet_keeps_its_leases_while_their_instance_restarts() {
    const FLEET: usize = 50;
    let shared = Shared::new(database().await);
    let db = Db::new(&shared.database, 2).unwrap();
    let video = rows::video(&db).await;
    rows::job(&db, video, 1200).await;
    // The leases must outlast the restart, even on a slow machine.
    let first = Plane::with(shared.clone(), &["--lease", "2m"]).await;
    let mut held = Vec::new();
    for n in 0..FLEET {
        let mut worker = first.worker(&format!("w{n}")).await;
        worker.want(1).await;
        held.push((worker.lease().await, worker));
    }
    first.stop().await;
    for (_, worker) in &mut held {
        assert!(worker.ends().await);
    }
    let second = Plane::with(shared, &["--lease", "2m"]).await;
    let reconnected = held.into_iter().enumerate().map(async |(n, (lease, _))| {
        let mut worker = second.worker(&format!("w{n}")).await;
        worker.beat(&lease, 0.5).await;
        match worker.next().await {
            v1::control_message::Message::HeartbeatReply(reply) => reply.lost.len(),
            other => panic!("{other:?}"),
        }
    });
    let lost = futures::future::join_all(reconnected).await;
    assert_eq!((lost.len(), lost.iter().sum::<usize>()), (FLEET, 0));
    let again = "SELECT count(*) FROM tasks WHERE attempt > 1";
    assert_eq!(rows::number(&db, again).await, 0);
    second.stop().await;
}

#[tokio::test]
async fn a_restart_of_postgres_fails_no_job() {
    let mut server = tokio::task::spawn_blocking(Server::new).await.unwrap();
    let database = server.create("streaming", "template0").await;
    let db = Db::new(&database, 1).unwrap();
    // The leases must outlast the restart, even on a slow machine.
    let plane = Plane::with(Shared::new(database), &["--lease", "2m"]).await;
    let caller = plane.caller(Role::Editor);
    let mut worker = plane.worker("one").await;
    let video = clip::upload(&plane, &mut worker).await;
    let job = create_job(&caller, &video).await;
    worker.want(4).await;
    let leases = [worker.lease().await, worker.lease().await, worker.lease().await];
    // The test's server acknowledges commits before it writes them; the leases must survive a
    // crash.
    db.get().await.unwrap().batch_execute("CHECKPOINT").await.unwrap();
    let mut server = tokio::task::spawn_blocking(move || {
        server.stop();
        server
    })
    .await
    .unwrap();
    // API calls fail immediately; a worker's commit waits for the database and then gets its reply.
    let status = caller.jobs().list_jobs(caller.ask(v1::ListJobsRequest::default())).await;
    assert_eq!(status.unwrap_err().code(), tonic::Code::Unavailable);
    let commit = worker.offer(clip::work(&leases[0])).await;
    // An invalid commit is rejected without the database. Control takes a worker's messages in
    // order, so by the time of this reply it is trying the valid one.
    let nonsense = worker.offer(v1::Commit::default()).await;
    assert!(worker.answer(nonsense).await.refusal.is_some());
    // A heartbeat and a claim are sent during the outage, too.
    worker.beat(&leases[1], 0.5).await;
    worker.want(4).await;
    let restart = tokio::task::spawn_blocking(move || {
        server.start();
        server
    });
    let (reply, server) = tokio::join!(worker.answer(commit), restart);
    assert_eq!(reply.refusal, None);
    for lease in &leases[1..] {
        assert_eq!(worker.commit(clip::work(lease)).await.refusal, None);
    }
    let done = caller.job_when(&job.job_id, |job| job.state() == v1::JobState::Completed).await;
    assert!(done.tasks.iter().all(|task| task.attempt == 1), "{done:#?}");
    plane.stop().await;
    drop(server);
}
