//! Uploads: leases, progress, quotas, and cleanup after the end.

use std::path::PathBuf;

use api::{
    code::{Code, Problem},
    v1::{self, worker_message},
};
use authz::Role;
use futures::future::join_all;
use media::layout;
use sha2::{Digest, Sha256};
use tonic::Status;
use uuid::Uuid;

use crate::{
    plane::{Caller, DEADLINE, Plane, Shared},
    waiting::eventually,
};

pub(crate) async fn begin(caller: &Caller, length: u64) -> Result<v1::Upload, Problem> {
    let request = caller.ask(v1::BeginUploadRequest {
        length: Some(length),
        bytes_max: length,
        resumable: true,
        title: "a clip".to_owned(),
        filename: "clip.mkv".to_owned(),
        metadata: "title YSBjbGlw".to_owned(),
        ..v1::BeginUploadRequest::default()
    });
    let begun = caller.uploads().begin_upload(request).await;
    begun.map(|reply| reply.into_inner().upload.unwrap()).map_err(problem)
}

pub(crate) fn problem(status: Status) -> Problem {
    Problem::from_status(&status)
}

pub(crate) async fn get(caller: &Caller, id: &str) -> Result<v1::Upload, Problem> {
    let request = caller.ask(v1::GetUploadRequest { upload_id: id.to_owned(), settle: false });
    caller.uploads().get_upload(request).await.map(|r| r.into_inner()).map_err(problem)
}

pub(crate) async fn acquire(
    caller: &Caller,
    id: &str,
    offset: u64,
    writer: &str,
) -> v1::AcquireUploadResponse {
    let (upload_id, writer) = (id.to_owned(), writer.to_owned());
    let message = v1::AcquireUploadRequest { upload_id, offset, writer, take_over: false };
    let request = caller.ask(message);
    caller.uploads().acquire_upload(request).await.unwrap().into_inner()
}

pub(crate) fn step(id: &str, writer: &str, from: u64, to: u64) -> v1::AdvanceUploadRequest {
    v1::AdvanceUploadRequest {
        upload_id: id.to_owned(),
        writer: writer.to_owned(),
        from,
        to,
        digest: Sha256::digest(b"source").to_vec().into(),
        ..v1::AdvanceUploadRequest::default()
    }
}

pub(crate) async fn advance(
    caller: &Caller,
    step: v1::AdvanceUploadRequest,
) -> Result<v1::Upload, Problem> {
    let moved = caller.uploads().advance_upload(caller.ask(step)).await;
    moved.map(|reply| reply.into_inner()).map_err(problem)
}

/// The path of an upload's bytes.
fn file(plane: &Plane, upload: &v1::Upload) -> PathBuf {
    let ids = (upload.video_id.parse().unwrap(), upload.upload_id.parse().unwrap());
    plane.shared.store().join(layout::upload_file(ids.0, ids.1))
}

pub(crate) fn store_bytes(plane: &Plane, upload: &v1::Upload, bytes: &[u8]) {
    let file = file(plane, upload);
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(file, bytes).unwrap();
}

#[tokio::test]
async fn an_upload_that_is_begun_again_by_its_name_is_the_same_one() {
    let plane = Plane::start().await;
    let caller = plane.caller(Role::Editor);
    let named = |key: &str, length: u64| v1::BeginUploadRequest {
        length: Some(length),
        bytes_max: length,
        resumable: true,
        metadata: "title YSBjbGlw".to_owned(),
        idempotency_key: key.to_owned(),
        ..v1::BeginUploadRequest::default()
    };
    let begin = async |caller: &Caller, request: v1::BeginUploadRequest| {
        let begun = caller.uploads().begin_upload(caller.ask(request)).await;
        begun.map(|reply| reply.into_inner().upload.unwrap()).map_err(problem)
    };
    // All at once, as after a lost reply whose request still runs.
    let all = join_all((0..4).map(|_| begin(&caller, named("one", 10)))).await;
    let all: Vec<v1::Upload> = all.into_iter().map(Result::unwrap).collect();
    assert!(all.iter().all(|upload| *upload == all[0]), "{all:?}");
    let listed = caller.videos().list_videos(caller.ask(v1::ListVideosRequest::default())).await;
    assert_eq!(listed.unwrap().into_inner().videos.len(), 1);
    // Names belong to a subject of a tenant.
    let others = [
        begin(&caller, named("two", 10)).await.unwrap(),
        begin(&plane.caller_of(Role::Editor, "theirs"), named("one", 10)).await.unwrap(),
        begin(&plane.caller(Role::Admin), named("one", 10)).await.unwrap(),
    ];
    assert!(others.iter().all(|other| other.upload_id != all[0].upload_id), "{others:?}");
    let differs = begin(&caller, named("one", 11)).await.unwrap_err();
    assert_eq!(differs.code, Code::Conflict);
    let metadata = v1::BeginUploadRequest { metadata: String::new(), ..named("one", 10) };
    assert_eq!(begin(&caller, metadata).await.unwrap_err().code, Code::Conflict);
    for bad in [
        named(&"x".repeat(256), 10),
        v1::BeginUploadRequest { resumable: false, ..named("one", 10) },
        v1::BeginUploadRequest { writer: Uuid::new_v4().to_string(), ..named("one", 10) },
    ] {
        let rejected = begin(&caller, bad).await.unwrap_err();
        assert_eq!(rejected.violations[0].field, "idempotency_key", "{rejected:?}");
    }
    let abort =
        v1::AbortUploadRequest { upload_id: all[0].upload_id.clone(), ..Default::default() };
    caller.uploads().abort_upload(caller.ask(abort)).await.unwrap();
    let gone = begin(&caller, named("one", 10)).await;
    // Until the row is swept; afterwards the name is free.
    assert!(gone.is_err_and(|problem| problem.code == Code::Conflict));
    let listed = caller.videos().list_videos(caller.ask(v1::ListVideosRequest::default())).await;
    let left = listed.unwrap().into_inner().videos;
    assert!(left.iter().all(|video| video.video_id != all[0].video_id), "no second video is left");
    plane.stop().await;
}

#[tokio::test]
async fn one_writer_at_a_time_advances_an_upload_from_its_offset() {
    let plane = Plane::start().await;
    let caller = plane.caller(Role::Editor);
    let upload = begin(&caller, 10).await.unwrap();
    let id = upload.upload_id.as_str();
    let [one, two] = [Uuid::new_v4().to_string(), Uuid::new_v4().to_string()];
    assert!(!acquire(&caller, id, 3, &one).await.held, "its offset is 0");
    // Only the first of two requests gets the lease.
    let both = [acquire(&caller, id, 0, &one), acquire(&caller, id, 0, &two)];
    let both = join_all(both).await;
    assert_eq!(both.iter().filter(|reply| reply.held).count(), 1);
    let (holder, other) = if both[0].held { (&one, &two) } else { (&two, &one) };
    assert!(acquire(&caller, id, 0, holder).await.held, "the same again, its reply was lost");
    let lost = advance(&caller, step(id, other, 0, 4)).await.unwrap_err();
    assert_eq!(lost.code, Code::LeaseLost);
    let moved = advance(&caller, step(id, holder, 0, 4)).await.unwrap();
    assert_eq!((moved.offset, moved.digest.len()), (4, 32));
    let again = advance(&caller, step(id, holder, 0, 4)).await.unwrap();
    assert_eq!(again.offset, 4, "a repeated step changes nothing");
    let mut back = step(id, holder, 4, 11);
    assert_eq!(advance(&caller, back.clone()).await.unwrap_err().code, Code::LeaseLost);
    (back.to, back.release) = (6, true);
    assert_eq!(advance(&caller, back).await.unwrap().offset, 6);
    assert_eq!(
        advance(&caller, step(id, holder, 6, 7)).await.unwrap_err().code,
        Code::LeaseLost,
        "it released the lease"
    );
    assert!(acquire(&caller, id, 6, other).await.held);
    let other_tenant = plane.caller_of(Role::Admin, "theirs");
    assert_eq!(get(&other_tenant, id).await.unwrap_err().code, Code::NotFound);
    let foreign = advance(&other_tenant, step(id, other, 6, 7)).await.unwrap_err();
    assert_eq!(foreign.code, Code::NotFound);
    plane.stop().await;
}

#[tokio::test]
async fn silent_writer_loses_its_lease() {
    let plane = Plane::start().await;
    let caller = plane.caller(Role::Editor);
    let upload = begin(&caller, 10).await.unwrap();
    let [one, two] = [Uuid::new_v4().to_string(), Uuid::new_v4().to_string()];
    assert!(acquire(&caller, &upload.upload_id, 0, &one).await.held);
    eventually("the lease runs out", DEADLINE, async || {
        acquire(&caller, &upload.upload_id, 0, &two).await.held
    })
    .await;
    let late = advance(&caller, step(&upload.upload_id, &one, 0, 1)).await.unwrap_err();
    assert_eq!(late.code, Code::LeaseLost);
    plane.stop().await;
}

#[tokio::test]
async fn parallel_creations_never_exceed_the_quota() {
    let shared = Shared::new(crate::postgres::database().await);
    let flags = ["--uploads-open-max", "10", "--uploads-bytes-max", "1000"];
    let plane = Plane::with(shared, &flags).await;
    let caller = plane.caller(Role::Editor);
    let begun = join_all((0..40).map(|_| begin(&caller, 10))).await;
    let (begun, rejected): (Vec<_>, Vec<_>) = begun.into_iter().partition(Result::is_ok);
    assert_eq!(begun.len(), 10);
    for problem in rejected.into_iter().filter_map(Result::err) {
        assert_eq!(problem.code, Code::QuotaExceeded, "{problem}");
    }
    // Another tenant has its own quota, which also counts bytes.
    let other = plane.caller_of(Role::Editor, "other");
    let begun = join_all((0..12).map(|_| begin(&other, 300))).await;
    assert_eq!(begun.iter().filter(|begun| begun.is_ok()).count(), 3);
    // Ending an upload frees its share of the quota.
    let upload = begun.into_iter().find_map(Result::ok).unwrap();
    let abort = v1::AbortUploadRequest { upload_id: upload.upload_id, ..Default::default() };
    other.uploads().abort_upload(other.ask(abort)).await.unwrap();
    assert!(begin(&other, 300).await.is_ok());
    plane.stop().await;
}

#[tokio::test]
async fn a_complete_upload_is_finished_even_without_its_data_plane() {
    let plane = Plane::start().await;
    let caller = plane.caller(Role::Editor);
    let upload = begin(&caller, 6).await.unwrap();
    let id = upload.upload_id.as_str();
    let early = v1::CompleteUploadRequest { upload_id: id.to_owned(), ..Default::default() };
    let early = caller.uploads().complete_upload(caller.ask(early)).await.unwrap_err();
    assert_eq!(problem(early).code, Code::Conflict);
    let writer = Uuid::new_v4().to_string();
    assert!(acquire(&caller, id, 0, &writer).await.held);
    store_bytes(&plane, &upload, b"source");
    // The data plane crashes after the last bytes were stored and before it completes the upload.
    advance(&caller, step(id, &writer, 0, 6)).await.unwrap();
    eventually("the upload is complete", DEADLINE, async || {
        get(&caller, id).await.unwrap().complete
    })
    .await;
    let request = v1::GetVideoRequest { video_id: upload.video_id.clone() };
    let video = caller.videos().get_video(caller.ask(request)).await.unwrap().into_inner();
    assert_eq!((video.state(), video.title.as_str()), (v1::VideoState::Probing, "a clip"));
    let source = plane.shared.store().join(layout::source(upload.video_id.parse().unwrap()));
    assert_eq!(std::fs::read(source).unwrap(), b"source");
    assert!(!file(&plane, &upload).exists());
    // The call is repeated, as after a lost reply.
    let again = v1::CompleteUploadRequest { upload_id: id.to_owned(), ..Default::default() };
    let video = caller.uploads().complete_upload(caller.ask(again)).await.unwrap().into_inner();
    assert_eq!(video.state(), v1::VideoState::Probing);
    plane.stop().await;
}

/// No call waits for the probe of a resumable upload: the client reads the reason from its video.
#[tokio::test]
async fn without_retention_a_rejected_source_is_deleted_at_once_and_its_video_keeps_the_reason() {
    let shared = Shared::new(crate::postgres::database().await);
    let plane = Plane::with(shared, &["--rejected-keep", "0", "--probe-retry", "10m"]).await;
    let caller = plane.caller(Role::Editor);
    let mut worker = plane.worker("one").await;
    let mut rejected = async |code: &str, ours: bool| {
        let upload = begin(&caller, 6).await.unwrap();
        let writer = Uuid::new_v4().to_string();
        assert!(acquire(&caller, &upload.upload_id, 0, &writer).await.held);
        store_bytes(&plane, &upload, b"source");
        advance(&caller, step(&upload.upload_id, &writer, 0, 6)).await.unwrap();
        let upload_id = upload.upload_id.clone();
        let complete = v1::CompleteUploadRequest { upload_id, ..Default::default() };
        caller.uploads().complete_upload(caller.ask(complete)).await.unwrap();
        worker.want(1).await;
        let lease = worker.lease().await;
        worker.want(0).await;
        let fail = v1::Fail {
            task_id: lease.task_id,
            token: lease.token,
            code: code.to_owned(),
            message: "as it is".to_owned(),
            retryable: false,
            cause: if ours { 0 } else { v1::FailureCause::Source.into() },
        };
        worker.send(worker_message::Message::Fail(fail)).await;
        upload.video_id
    };
    let state = async |id: &str| {
        let ask = caller.ask(v1::GetVideoRequest { video_id: id.to_owned() });
        caller.videos().get_video(ask).await.unwrap().into_inner().state()
    };
    let source = |id: &str| plane.shared.store().join(layout::source(id.parse().unwrap()));
    // A full disk on the server proves nothing about the source.
    let ours = rejected("disk_full", true).await;
    let theirs = rejected("not_a_video", false).await;
    eventually("a rejected source is deleted", DEADLINE, async || !source(&theirs).exists()).await;
    assert_eq!(state(&theirs).await, v1::VideoState::Failed);
    assert!(source(&ours).exists());
    assert_eq!(state(&ours).await, v1::VideoState::Probing);
    let request = caller.ask(v1::GetVideoRequest { video_id: theirs });
    let video = caller.videos().get_video(request).await.unwrap().into_inner();
    assert_eq!(video.failure.unwrap().code, "not_a_video");
    plane.stop().await;
}

#[tokio::test]
async fn terminated_and_expired_uploads_leave_no_objects() {
    let shared = Shared::new(crate::postgres::database().await);
    let plane = Plane::with(shared, &["--upload-expiry", "3s"]).await;
    let caller = plane.caller(Role::Editor);
    let assert_deleted = async |upload: &v1::Upload| {
        eventually("the bytes are swept", DEADLINE, async || !file(&plane, upload).exists()).await;
        assert_eq!(get(&caller, &upload.upload_id).await.unwrap_err().code, Code::NotFound);
        let request = v1::GetVideoRequest { video_id: upload.video_id.clone() };
        let video = caller.videos().get_video(caller.ask(request)).await;
        assert_eq!(problem(video.unwrap_err()).code, Code::NotFound);
    };
    let expiring = begin(&caller, 6).await.unwrap();
    store_bytes(&plane, &expiring, b"sour");
    let terminated = begin(&caller, 6).await.unwrap();
    store_bytes(&plane, &terminated, b"sour");
    let upload_id = terminated.upload_id.clone();
    let abort = v1::AbortUploadRequest { upload_id, ..Default::default() };
    caller.uploads().abort_upload(caller.ask(abort.clone())).await.unwrap();
    let twice = caller.uploads().abort_upload(caller.ask(abort)).await.unwrap_err();
    assert_eq!(problem(twice).code, Code::NotFound);
    assert_deleted(&terminated).await;
    assert_deleted(&expiring).await;
    plane.stop().await;
}
