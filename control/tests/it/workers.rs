//! The worker's stream: from an upload to a playable video, and failures in between.

use std::{
    fs,
    time::{Duration, Instant},
};

use api::{
    code::{Code, Problem},
    v1::{self, JobState, control_message, worker_message},
};
use authz::Role;
use media::{index::Index, layout};

use crate::{
    clip,
    plane::{Caller, DEADLINE, Plane, Worker},
    waiting::eventually,
};

async fn transcode(caller: &Caller, video: &str) -> v1::Job {
    let request =
        caller.ask(v1::CreateJobRequest { video_id: video.to_owned(), ..Default::default() });
    caller.jobs().create_job(request).await.unwrap().into_inner()
}

async fn index(plane: &Plane, video: &str) -> Result<Index, Problem> {
    let caller = plane.caller(Role::Dataplane);
    let request = caller.ask(v1::GetIndexRequest {
        video_id: video.to_owned(),
        index_version: media::index::VERSION.into(),
    });
    match caller.playback().get_index(request).await {
        Ok(reply) => Ok(Index::decode(&reply.into_inner().index).unwrap()),
        Err(status) => Err(Problem::from_status(&status)),
    }
}

#[tokio::test]
async fn an_uploaded_video_is_transcoded_and_playable() {
    let plane = Plane::start().await;
    let caller = plane.caller(Role::Editor);
    let mut worker = plane.worker("one").await;
    let video = clip::upload(&plane, &mut worker).await;
    assert_eq!(index(&plane, &video).await.unwrap_err().code, Code::NotFound);
    let job = transcode(&caller, &video).await;
    assert_eq!(
        (job.state(), job.profiles.as_slice()),
        (JobState::Queued, &["360p".to_owned()][..])
    );
    let request = caller.ask(v1::WatchJobRequest { job_id: job.job_id.clone() });
    let mut watch = caller.jobs().watch_job(request).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().state(), JobState::Queued);

    worker.want(4).await;
    let mut commits = Vec::new();
    for n in 0..3 {
        let lease = worker.lease().await;
        let commit = clip::work(&lease);
        assert_eq!(worker.commit(commit.clone()).await.refusal, None);
        commits.push(commit);
        if n == 1 {
            // The first chunk and the audio are committed, so the growing video can be played.
            let growing = index(&plane, &video).await.unwrap();
            assert!(growing.finished_at_ms.is_none() && growing.published_at_ms > 0);
            assert_eq!(growing.version.to_string(), job.job_id);
        }
    }
    let mut last = v1::Job::default();
    while let Some(seen) = watch.message().await.unwrap() {
        last = seen;
    }
    assert_eq!((last.state(), last.progress), (JobState::Completed, 100.0));
    assert!(last.tasks.iter().all(|task| task.state() == v1::TaskState::Done));

    let complete = index(&plane, &video).await.unwrap();
    assert!(complete.finished_at_ms.is_some() && complete.public);
    for rendition in ["360p", "audio-0"] {
        let (track, _) = complete.track(rendition).unwrap();
        assert_eq!(track.frontier(), complete.grid.gops(), "{rendition}");
    }
    assert_eq!(complete.audio_renditions[0].label, "English");
    let object = plane.shared.store().join(layout::index(complete.video));
    assert_eq!(Index::decode(&fs::read(&object).unwrap()).unwrap(), complete);
    // A worker repeats a commit if the reply was lost; the repetition must succeed, too.
    for commit in commits {
        assert_eq!(worker.commit(commit).await.refusal, None);
    }
    plane.stop().await;
}

#[tokio::test]
async fn a_flipped_bit_and_a_truncated_end_are_rejected() {
    let plane = Plane::start().await;
    let caller = plane.caller(Role::Editor);
    let mut worker = plane.worker("one").await;
    let video = clip::upload(&plane, &mut worker).await;
    let job = transcode(&caller, &video).await;
    worker.want(1).await;
    let (mut first, mut others) = (None, Vec::new());
    for (attempt, spoil) in [(1, "flip"), (2, "cut"), (3, "foreign key")] {
        let lease = again(&mut worker, &mut first, &mut others).await;
        assert_eq!(lease.attempt, attempt, "{spoil}");
        let mut commit = clip::work(&lease);
        let path = plane.shared.store().join(&commit.outputs[0].key);
        let mut bytes = fs::read(&path).unwrap();
        match spoil {
            "flip" => {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
            }
            "cut" => bytes.truncate(bytes.len() - 1),
            _ => commit.outputs[0].key = commit.outputs[0].key.replace("/360p/", "/../360p/"),
        }
        fs::write(&path, bytes).unwrap();
        let reply = worker.commit(commit).await;
        assert!(reply.lease_lost);
        assert_eq!(reply.refusal.unwrap().code, "admission_refused", "{spoil}");
        worker.want(1).await;
    }
    assert_eq!(index(&plane, &video).await.unwrap_err().code, Code::NotFound);
    let lease = again(&mut worker, &mut first, &mut others).await;
    assert_eq!(worker.commit(clip::work(&lease)).await.refusal, None);
    let task = caller.job(&job.job_id).await.tasks.remove(0);
    assert_eq!((task.attempt, task.state()), (4, v1::TaskState::Done));
    plane.stop().await;
}

/// The next lease of the same task; leases of other tasks are collected in `others`.
async fn again(
    worker: &mut Worker,
    first: &mut Option<String>,
    others: &mut Vec<v1::Lease>,
) -> v1::Lease {
    loop {
        let lease = worker.lease().await;
        if *first.get_or_insert_with(|| lease.task_id.clone()) == lease.task_id {
            return lease;
        }
        others.push(lease);
        worker.want(1).await;
    }
}

#[tokio::test]
async fn a_broken_stream_releases_its_task_at_once() {
    let plane = Plane::start().await;
    let caller = plane.caller(Role::Editor);
    let mut doomed = plane.worker("doomed").await;
    let video = clip::upload(&plane, &mut doomed).await;
    let job = transcode(&caller, &video).await;
    doomed.want(1).await;
    let held = doomed.lease().await;
    let mut heir = plane.worker("heir").await;
    drop(doomed);
    heir.want(1).await;
    // The audio task may be leased first; the lost task is leased again well before its lease would
    // have expired.
    let mut again = heir.lease().await;
    while again.task_id != held.task_id {
        heir.want(1).await;
        again = heir.lease().await;
    }
    assert_eq!(again.attempt, 2);
    assert!(again.token > held.token);
    // The commit of the lost worker arrives late.
    let mut late = clip::work(&held);
    late.task_id.clone_from(&held.task_id);
    let reply = heir.commit(late).await;
    assert!(reply.lease_lost);
    let job = caller.job(&job.job_id).await;
    let task = job.tasks.iter().find(|task| task.task_id == held.task_id).unwrap();
    assert_eq!(task.error.as_ref().unwrap().code, "worker_lost");
    plane.stop().await;
}

#[tokio::test]
async fn a_silent_worker_loses_its_lease_and_a_release_uses_up_no_attempt() {
    let plane = Plane::brief("4s").await;
    let caller = plane.caller(Role::Editor);
    let mut worker = plane.worker("one").await;
    let video = clip::upload(&plane, &mut worker).await;
    transcode(&caller, &video).await;
    worker.want(1).await;
    let first = worker.lease().await;
    let release =
        v1::Release { task_id: first.task_id.clone(), token: first.token, delay_seconds: 0.0 };
    worker.send(worker_message::Message::Release(release)).await;
    worker.want(1).await;
    let second = worker.lease().await;
    assert_eq!((&second.task_id, second.attempt), (&first.task_id, 1));
    // Heartbeats keep the lease well beyond its four seconds.
    let claimed = Instant::now();
    while claimed.elapsed() < Duration::from_secs(5) {
        worker.beat(&second, 0.5).await;
        match worker.next().await {
            control_message::Message::HeartbeatReply(reply) => assert!(reply.lost.is_empty()),
            other => panic!("{other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    worker.want(1).await;
    let mut third = worker.lease().await;
    while third.task_id != second.task_id {
        worker.want(1).await;
        third = worker.lease().await;
    }
    assert_eq!(third.attempt, 2);
    worker.beat(&second, 0.6).await;
    assert_eq!(worker.lost().await, [second.task_id]);
    plane.stop().await;
}

#[tokio::test]
async fn a_cancel_reaches_the_worker_and_deletes_the_objects() {
    let plane = Plane::brief("8s").await;
    let caller = plane.caller(Role::Editor);
    let mut worker = plane.worker("one").await;
    let video = clip::upload(&plane, &mut worker).await;
    let job = transcode(&caller, &video).await;
    worker.want(1).await;
    let lease = worker.lease().await;
    assert_eq!(worker.commit(clip::work(&lease)).await.refusal, None);
    worker.want(1).await;
    let lease = worker.lease().await;
    let request = caller.ask(v1::CancelJobRequest { job_id: job.job_id.clone() });
    let cancelled = caller.jobs().cancel_job(request).await.unwrap().into_inner();
    assert_eq!(cancelled.state(), JobState::Cancelled);
    assert_eq!(worker.lost().await, std::slice::from_ref(&lease.task_id));
    assert!(worker.commit(clip::work(&lease)).await.lease_lost);
    let prefix = plane.shared.store().join(&lease.output_prefix);
    eventually("the output is deleted", 2 * DEADLINE, async || files(&prefix) == 0).await;
    // A retry starts over and completes the job.
    let request = caller.ask(v1::RetryJobRequest { job_id: job.job_id.clone() });
    caller.jobs().retry_job(request).await.unwrap();
    worker.want(4).await;
    for _ in 0..3 {
        let lease = worker.lease().await;
        assert_eq!(worker.commit(clip::work(&lease)).await.refusal, None);
    }
    caller.job_when(&job.job_id, |job| job.state() == JobState::Completed).await;
    plane.stop().await;
}

fn files(folder: &std::path::Path) -> usize {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let count = |path: std::path::PathBuf| if path.is_dir() { files(&path) } else { 1 };
    entries.map(|entry| count(entry.unwrap().path())).sum()
}

#[tokio::test]
async fn visibility_and_deletion_reach_the_index_object() {
    let plane = Plane::brief("8s").await;
    let caller = plane.caller(Role::Admin);
    let mut worker = plane.worker("one").await;
    let video = clip::upload(&plane, &mut worker).await;
    let job = transcode(&caller, &video).await;
    worker.want(4).await;
    for _ in 0..3 {
        let lease = worker.lease().await;
        worker.commit(clip::work(&lease)).await;
    }
    caller.job_when(&job.job_id, |job| job.state() == JobState::Completed).await;
    let watcher = plane.caller(Role::Dataplane);
    let request = watcher.ask(v1::WatchChangesRequest {});
    let mut changes = watcher.playback().watch_changes(request).await.unwrap().into_inner();
    assert_eq!(changes.message().await.unwrap().unwrap().video_id, "");
    let update = v1::UpdateVideoRequest {
        video_id: video.clone(),
        visibility: v1::Visibility::Private.into(),
        update_mask: Some(prost_types::FieldMask { paths: vec!["visibility".to_owned()] }),
        ..Default::default()
    };
    let changed = caller.videos().update_video(caller.ask(update)).await.unwrap().into_inner();
    assert_eq!((changed.visibility(), changed.title.as_str()), (v1::Visibility::Private, "a clip"));
    assert_eq!(changes.message().await.unwrap().unwrap().video_id, video);
    let object = plane.shared.store().join(layout::index(video.parse().unwrap()));
    assert!(!Index::decode(&fs::read(&object).unwrap()).unwrap().public);
    assert!(!index(&plane, &video).await.unwrap().public);

    let request = caller.ask(v1::DeleteVideoRequest { video_id: video.clone(), revision: None });
    caller.videos().delete_video(request).await.unwrap();
    assert!(!object.exists());
    assert_eq!(index(&plane, &video).await.unwrap_err().code, Code::NotFound);
    let request = caller.ask(v1::GetVideoRequest { video_id: video.clone() });
    let status = caller.videos().get_video(request).await.unwrap_err();
    assert_eq!(Problem::from_status(&status).code, Code::NotFound);
    let folder = plane.shared.store().join(layout::video_prefix(video.parse().unwrap()));
    eventually("the files are deleted", 2 * DEADLINE, async || files(&folder) == 0).await;
    plane.stop().await;
}

#[tokio::test]
async fn an_invalid_source_is_rejected_with_its_code_and_kept_for_a_while() {
    let plane = Plane::start().await;
    let caller = plane.caller(Role::Editor);
    let mut worker = plane.worker("one").await;
    let (id, complete) = clip::send_source(&plane, &caller).await;
    let mut uploads = caller.uploads();
    let waiting = uploads.complete_upload(caller.ask(complete.clone()));
    let probe = async {
        worker.want(1).await;
        let lease = worker.lease().await;
        let fail = v1::Fail {
            task_id: lease.task_id,
            token: lease.token,
            code: "truncated_source".to_owned(),
            message: "the file ends early".to_owned(),
            retryable: false,
            cause: v1::FailureCause::Source.into(),
        };
        worker.send(worker_message::Message::Fail(fail)).await;
    };
    let (reply, ()) = tokio::join!(waiting, probe);
    let problem = Problem::from_status(&reply.unwrap_err());
    assert_eq!(
        (problem.code, problem.violations[0].field.as_str()),
        (Code::TruncatedSource, "video")
    );
    assert_eq!(problem.video_id.as_ref(), Some(&id));
    let request = caller.ask(v1::GetVideoRequest { video_id: id.clone() });
    let video = caller.videos().get_video(request).await.unwrap().into_inner();
    assert_eq!(video.state(), v1::VideoState::Failed);
    let source = plane.shared.store().join(layout::source(id.parse().unwrap()));
    assert!(source.exists());
    // The reply was lost: a repetition returns the same.
    let again = caller.uploads().complete_upload(caller.ask(complete)).await.unwrap_err();
    assert_eq!(Problem::from_status(&again).video_id, Some(id.clone()));
    let request = caller.ask(v1::DeleteVideoRequest { video_id: id, revision: None });
    caller.videos().delete_video(request).await.unwrap();
    eventually("DELETE works at once", DEADLINE, async || !source.exists()).await;
    plane.stop().await;
}

#[tokio::test]
async fn without_a_worker_an_upload_waits_and_is_not_lost() {
    let plane = Plane::start().await;
    let caller = plane.caller(Role::Editor);
    let (id, complete) = clip::send_source(&plane, &caller).await;
    let impatient = v1::CompleteUploadRequest { wait_seconds: 0, ..complete.clone() };
    let video = caller.uploads().complete_upload(caller.ask(impatient)).await.unwrap().into_inner();
    assert_eq!(video.state(), v1::VideoState::Probing);
    let request = v1::CreateJobRequest { video_id: id, ..Default::default() };
    let status = caller.jobs().create_job(caller.ask(request)).await.unwrap_err();
    assert_eq!(Problem::from_status(&status).code, Code::Conflict);
    // The repeated call waits for the same probe.
    let mut worker = plane.worker("late").await;
    let mut uploads = caller.uploads();
    let waiting = uploads.complete_upload(caller.ask(complete));
    let probe = async {
        worker.want(1).await;
        let lease = worker.lease().await;
        worker.commit(clip::probed(&lease)).await
    };
    let (video, _) = tokio::join!(waiting, probe);
    assert_eq!(video.unwrap().into_inner().state(), v1::VideoState::Uploaded);
    plane.stop().await;
}

#[tokio::test]
async fn a_drained_worker_is_notified_and_gets_no_more_tasks() {
    let plane = Plane::start().await;
    let admin = plane.caller(Role::Admin);
    let mut worker = plane.worker("one").await;
    let listed = admin.workers().list_workers(admin.ask(v1::ListWorkersRequest {})).await.unwrap();
    let listed = listed.into_inner().workers;
    assert_eq!((listed.len(), listed[0].name.as_str(), listed[0].connected), (1, "one", true));
    let worker_id = worker.welcome.worker_id.clone();
    let request = admin.ask(v1::DrainWorkerRequest { worker_id });
    admin.workers().drain_worker(request).await.unwrap();
    assert!(matches!(worker.next().await, control_message::Message::Drain(_)));
    plane.stop().await;
}

#[tokio::test]
async fn another_protocol_version_is_rejected() {
    let plane = Plane::start().await;
    let caller = plane.caller(Role::Worker);
    let hello =
        v1::Hello { protocol_version: 2, name: "new".to_owned(), slots: 1, ..v1::Hello::default() };
    let hello = v1::WorkerMessage { message: Some(worker_message::Message::Hello(hello)) };
    let request = caller.ask(tokio_stream::iter([hello]));
    let status = caller.workers().work(request).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::FailedPrecondition);
    plane.stop().await;
}
