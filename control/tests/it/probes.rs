//! Failing probes: which failures are attributed to the source, which are retried, which sources
//! are kept, and how they are probed again.

use std::{path::PathBuf, time::Duration};

use api::{
    code::{Code, Problem},
    v1::{self, FailureCause, VideoState, worker_message::Message as FromWorker},
};
use authz::Role;
use media::layout;

use crate::{
    clip::{self, probed},
    plane::{Caller, Plane, Shared, Worker},
    waiting::eventually,
};

/// Control searches for overdue probes every ten seconds.
const SEARCH_DEADLINE: Duration = Duration::from_secs(60);
/// Flags for retries with pauses of only 10 ms.
const AT_ONCE: [&str; 2] = ["--probe-retry", "10ms"];

async fn plane(more: &[&str]) -> Plane {
    let at_once = AT_ONCE.iter().filter(|_| !more.contains(&AT_ONCE[0]));
    let flags: Vec<&str> = at_once.chain(more).copied().collect();
    Plane::with(Shared::new(crate::postgres::database().await), &flags).await
}

async fn video(caller: &Caller, id: &str) -> v1::Video {
    let request = caller.ask(v1::GetVideoRequest { video_id: id.to_owned() });
    caller.videos().get_video(request).await.unwrap().into_inner()
}

async fn video_in(caller: &Caller, id: &str, state: VideoState) -> v1::Video {
    eventually("the video reaches the state", SEARCH_DEADLINE, async || {
        video(caller, id).await.state() == state
    })
    .await;
    video(caller, id).await
}

/// Uploads a source in one request, whose reply does not wait for the probe.
async fn send(plane: &Plane, caller: &Caller) -> String {
    let (id, complete) = clip::send_source(plane, caller).await;
    let complete = v1::CompleteUploadRequest { wait_seconds: 0, ..complete };
    caller.uploads().complete_upload(caller.ask(complete)).await.unwrap();
    id
}

/// The next probe of `worker`, which asks for one task.
async fn lease(worker: &mut Worker) -> v1::Lease {
    worker.want(1).await;
    let lease = worker.lease().await;
    assert!(matches!(lease.work, Some(v1::lease::Work::Probe(_))), "{lease:?}");
    lease
}

async fn fail(worker: &Worker, lease: &v1::Lease, code: &str, cause: FailureCause) {
    let fail = v1::Fail {
        task_id: lease.task_id.clone(),
        token: lease.token,
        code: code.to_owned(),
        message: "on purpose".to_owned(),
        retryable: cause != FailureCause::Source,
        cause: cause.into(),
    };
    worker.want(0).await;
    worker.send(FromWorker::Fail(fail)).await;
}

async fn reprobe(caller: &Caller, id: &str) -> Result<v1::Video, Problem> {
    let request = caller.ask(v1::ReprobeVideoRequest { video_id: id.to_owned() });
    let reply = caller.videos().reprobe_video(request).await;
    reply.map(|reply| reply.into_inner()).map_err(|status| Problem::from_status(&status))
}

fn source(plane: &Plane, id: &str) -> PathBuf {
    plane.shared.store().join(layout::source(id.parse().unwrap()))
}

#[tokio::test]
async fn a_source_is_rejected_only_when_a_second_worker_agrees() {
    let plane = plane(&[]).await;
    let caller = plane.caller(Role::Editor);
    let mut one = plane.worker("one").await;
    let mut two = plane.worker("two").await;
    let good = send(&plane, &caller).await;
    let first = lease(&mut one).await;
    fail(&one, &first, "not_a_video", FailureCause::Source).await;
    // Both workers ask for tasks; the other one gets the probe.
    one.want(1).await;
    let second = lease(&mut two).await;
    assert_eq!(second.task_id, first.task_id);
    two.want(0).await;
    assert_eq!(two.commit(probed(&second)).await.refusal, None);
    video_in(&caller, &good, VideoState::Uploaded).await;
    one.want(0).await;
    let bad = send(&plane, &caller).await;
    let first = lease(&mut one).await;
    fail(&one, &first, "not_a_video", FailureCause::Source).await;
    let second = lease(&mut two).await;
    fail(&two, &second, "truncated_source", FailureCause::Source).await;
    let failed = video_in(&caller, &bad, VideoState::Failed).await;
    assert_eq!(failed.failure.unwrap().code, "truncated_source");
    plane.stop().await;
}

#[tokio::test]
async fn the_only_worker_can_reject_a_source() {
    let plane = plane(&[]).await;
    let caller = plane.caller(Role::Editor);
    let mut one = plane.worker("one").await;
    let id = send(&plane, &caller).await;
    let first = lease(&mut one).await;
    // A second worker that cannot probe cannot confirm the finding.
    let two = plane.worker("two").await;
    two.send(FromWorker::Health(v1::Health { can_probe: false, trouble: "no".to_owned() })).await;
    eventually("the failure is listed", SEARCH_DEADLINE, async || {
        troubles(&plane).await.contains(&"no".to_owned())
    })
    .await;
    fail(&one, &first, "unsupported", FailureCause::Source).await;
    let failed = video_in(&caller, &id, VideoState::Failed).await;
    assert_eq!(failed.failure.unwrap().code, "not_a_video");
    plane.stop().await;
}

async fn troubles(plane: &Plane) -> Vec<String> {
    let admin = plane.caller(Role::Admin);
    let listed = admin.workers().list_workers(admin.ask(v1::ListWorkersRequest {})).await.unwrap();
    listed.into_inner().workers.into_iter().map(|worker| worker.probe_trouble).collect()
}

#[tokio::test]
async fn a_worker_that_fails_its_sample_gets_no_probes_until_it_succeeds() {
    let plane = plane(&[]).await;
    let caller = plane.caller(Role::Editor);
    let mut one = plane.worker("one").await;
    let id = send(&plane, &caller).await;
    let first = lease(&mut one).await;
    one.send(FromWorker::Health(v1::Health { can_probe: false, trouble: "killed".to_owned() }))
        .await;
    fail(&one, &first, "out_of_memory", FailureCause::UnhealthyHost).await;
    one.want(1).await;
    eventually("the failure is listed", SEARCH_DEADLINE, async || {
        troubles(&plane).await == ["killed"]
    })
    .await;
    // Messages of one worker are handled in order: a probe for it would have arrived before this
    // reply.
    one.beat(&first, 0.5).await;
    let next = one.next().await;
    assert!(matches!(next, v1::control_message::Message::HeartbeatReply(_)), "{next:?}");
    one.send(FromWorker::Health(v1::Health { can_probe: true, trouble: String::new() })).await;
    let again = one.lease().await;
    assert_eq!((&again.task_id, again.attempt), (&first.task_id, 1), "no attempt is counted");
    one.want(0).await;
    one.commit(probed(&again)).await;
    video_in(&caller, &id, VideoState::Uploaded).await;
    assert_eq!(troubles(&plane).await, [""]);
    plane.stop().await;
}

#[tokio::test]
async fn a_probe_that_fails_on_two_healthy_workers_or_eight_times_keeps_its_source() {
    let plane = plane(&["--rejected-keep", "0"]).await;
    let caller = plane.caller(Role::Editor);
    let mut one = plane.worker("one").await;
    let alone = send(&plane, &caller).await;
    for attempt in 1..=8 {
        assert_eq!(video(&caller, &alone).await.state(), VideoState::Probing);
        let lease = lease(&mut one).await;
        assert_eq!(lease.attempt, attempt);
        fail(&one, &lease, "ffmpeg_crashed", FailureCause::HealthyHost).await;
    }
    let failed = video_in(&caller, &alone, VideoState::Failed).await;
    assert_eq!(failed.failure.unwrap().code, "probe_failed");
    let mut two = plane.worker("two").await;
    let shared = send(&plane, &caller).await;
    for worker in [&mut one, &mut two] {
        let lease = lease(worker).await;
        fail(worker, &lease, "ffmpeg_crashed", FailureCause::HealthyHost).await;
    }
    let failed = video_in(&caller, &shared, VideoState::Failed).await;
    assert_eq!(failed.failure.unwrap().code, "probe_failed");
    for id in [&alone, &shared] {
        assert!(source(&plane, id).exists());
        assert_eq!(reprobe(&caller, id).await.unwrap().state(), VideoState::Probing);
        let lease = lease(&mut one).await;
        one.want(0).await;
        one.commit(probed(&lease)).await;
        video_in(&caller, id, VideoState::Uploaded).await;
        assert_eq!(reprobe(&caller, id).await.unwrap_err().code, Code::Conflict);
    }
    plane.stop().await;
}

#[tokio::test]
async fn a_probe_that_no_worker_can_finish_fails_after_a_day() {
    let plane = plane(&[]).await;
    let caller = plane.caller(Role::Editor);
    let mut one = plane.worker("one").await;
    let (tried, new) = (send(&plane, &caller).await, send(&plane, &caller).await);
    let lease = lease(&mut one).await;
    assert_eq!(lease.video_id, tried);
    one.send(FromWorker::Health(v1::Health { can_probe: false, trouble: "killed".to_owned() }))
        .await;
    fail(&one, &lease, "out_of_memory", FailureCause::UnhealthyHost).await;
    eventually("the task is ready again", SEARCH_DEADLINE, async || {
        let aged = "UPDATE tasks SET created_at = now() - interval '1 day' WHERE state = 'ready'";
        execute(&plane, aged).await == 2
    })
    .await;
    let failed = video_in(&caller, &tried, VideoState::Failed).await;
    assert_eq!(failed.failure.unwrap().code, "probe_failed");
    assert!(source(&plane, &tried).exists());
    assert_eq!(video(&caller, &new).await.state(), VideoState::Probing, "it was never tried");
    plane.stop().await;
}

/// Changes rows directly, without an instance.
async fn execute(plane: &Plane, sql: &str) -> u64 {
    let connected = tokio_postgres::connect(&plane.shared.database, tokio_postgres::NoTls).await;
    let (db, connection) = connected.unwrap();
    let connection = tokio::spawn(connection);
    let rows = db.execute(sql, &[]).await.unwrap();
    drop(db);
    connection.await.unwrap().unwrap();
    rows
}

/// Uploads a video whose source is rejected; `one` is the only worker.
async fn reject_source(plane: &Plane, caller: &Caller, one: &mut Worker) -> String {
    let id = send(plane, caller).await;
    let lease = lease(one).await;
    fail(one, &lease, "not_a_video", FailureCause::Source).await;
    video_in(caller, &id, VideoState::Failed).await;
    id
}

#[tokio::test]
async fn a_rejected_source_can_be_probed_again_until_it_expires() {
    let plane = plane(&["--rejected-keep", "1h"]).await;
    let caller = plane.caller(Role::Editor);
    let mut one = plane.worker("one").await;
    let mistaken = reject_source(&plane, &caller, &mut one).await;
    let expired = reject_source(&plane, &caller, &mut one).await;
    assert!(source(&plane, &mistaken).exists() && source(&plane, &expired).exists());
    assert_eq!(reprobe(&caller, &mistaken).await.unwrap().state(), VideoState::Probing);
    let lease = lease(&mut one).await;
    one.want(0).await;
    one.commit(probed(&lease)).await;
    video_in(&caller, &mistaken, VideoState::Uploaded).await;
    execute(&plane, "UPDATE videos SET refused_at = refused_at - interval '1 hour'").await;
    eventually("the other one is deleted", SEARCH_DEADLINE, async || {
        !source(&plane, &expired).exists()
    })
    .await;
    assert!(source(&plane, &mistaken).exists(), "valid sources stay");
    assert_eq!(video(&caller, &expired).await.state(), VideoState::Failed);
    assert_eq!(reprobe(&caller, &expired).await.unwrap_err().code, Code::Conflict);
    plane.stop().await;
}

#[tokio::test]
async fn the_oldest_rejected_sources_are_deleted_to_make_room_for_uploads() {
    // Each source has six bytes.
    let plane = plane(&["--uploads-bytes-max", "20"]).await;
    let caller = plane.caller(Role::Editor);
    let mut one = plane.worker("one").await;
    let oldest = reject_source(&plane, &caller, &mut one).await;
    let newest = reject_source(&plane, &caller, &mut one).await;
    let begin = v1::BeginUploadRequest {
        length: Some(10),
        bytes_max: 10,
        resumable: true,
        ..v1::BeginUploadRequest::default()
    };
    caller.uploads().begin_upload(caller.ask(begin)).await.unwrap();
    eventually("the oldest one is deleted", SEARCH_DEADLINE, async || {
        !source(&plane, &oldest).exists()
    })
    .await;
    assert!(source(&plane, &newest).exists(), "16 of 20 bytes fit");
    plane.stop().await;
}

#[tokio::test]
async fn a_source_that_never_became_playable_can_be_replaced() {
    let plane = plane(&[]).await;
    let caller = plane.caller(Role::Editor);
    let mut one = plane.worker("one").await;
    let id = reject_source(&plane, &caller, &mut one).await;
    let begin = || v1::BeginUploadRequest {
        video_id: id.clone(),
        writer: uuid::Uuid::new_v4().to_string(),
        ..v1::BeginUploadRequest::default()
    };
    // An aborted replacement leaves the old source in place.
    caller.uploads().begin_upload(caller.ask(begin())).await.unwrap();
    assert_eq!(reprobe(&caller, &id).await.unwrap_err().code, Code::Conflict);
    let abort =
        v1::AbortUploadRequest { video_id: id.clone(), ..v1::AbortUploadRequest::default() };
    caller.uploads().abort_upload(caller.ask(abort)).await.unwrap();
    assert_eq!(video(&caller, &id).await.state(), VideoState::Failed);
    assert!(source(&plane, &id).exists());
    let begun = caller.uploads().begin_upload(caller.ask(begin())).await.unwrap().into_inner();
    let upload = begun.upload.unwrap();
    let ids = (id.parse().unwrap(), upload.upload_id.parse().unwrap());
    std::fs::write(plane.shared.store().join(layout::upload_file(ids.0, ids.1)), b"better")
        .unwrap();
    let complete = v1::CompleteUploadRequest {
        video_id: id.clone(),
        bytes: 6,
        sha256: "00".repeat(32),
        ..v1::CompleteUploadRequest::default()
    };
    caller.uploads().complete_upload(caller.ask(complete)).await.unwrap();
    assert_eq!(std::fs::read(source(&plane, &id)).unwrap(), b"better");
    let lease = lease(&mut one).await;
    one.want(0).await;
    one.commit(probed(&lease)).await;
    video_in(&caller, &id, VideoState::Uploaded).await;
    let late = caller.uploads().begin_upload(caller.ask(begin())).await.unwrap_err();
    assert_eq!(Problem::from_status(&late).code, Code::Conflict);
    plane.stop().await;
}

#[tokio::test]
async fn only_editors_of_the_tenant_can_probe_again_and_only_stored_sources() {
    let plane = plane(&["--probe-retry", "10m"]).await;
    let caller = plane.caller(Role::Editor);
    let id = send(&plane, &caller).await;
    assert_eq!(
        reprobe(&plane.caller(Role::Viewer), &id).await.unwrap_err().code,
        Code::PermissionDenied
    );
    let other = plane.caller_of(Role::Editor, "other");
    assert_eq!(reprobe(&other, &id).await.unwrap_err().code, Code::NotFound);
    assert_eq!(reprobe(&caller, "x").await.unwrap_err().code, Code::InvalidId);
    let create = caller.ask(v1::CreateVideoRequest::default());
    let reserved = caller.videos().create_video(create).await.unwrap().into_inner().video_id;
    assert_eq!(reprobe(&caller, &reserved).await.unwrap_err().code, Code::Conflict);
    // A probe that waits for its next attempt is retried immediately.
    let mut one = plane.worker("one").await;
    let first = lease(&mut one).await;
    fail(&one, &first, "timeout", FailureCause::HealthyHost).await;
    one.want(1).await;
    let again = loop {
        reprobe(&caller, &id).await.unwrap();
        let waited = tokio::time::timeout(Duration::from_secs(1), one.lease()).await;
        if let Ok(lease) = waited {
            break lease;
        }
    };
    assert_eq!((again.task_id, again.attempt), (first.task_id, 2));
    plane.stop().await;
}
