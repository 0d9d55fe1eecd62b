//! Jobs that control creates by itself when a probe succeeds, and the time from an upload to
//! playback.

use std::time::Duration;

use api::{
    code::Problem,
    v1::{self, FailureCause, JobState, VideoState, worker_message::Message as FromWorker},
};
use authz::Role;

use crate::{
    clip::{self, probed, work},
    plane::{Caller, DEADLINE, Plane, Shared, Worker},
    waiting::eventually,
};

fn auto() -> String {
    "auto".to_owned()
}

async fn video(caller: &Caller, id: &str) -> v1::Video {
    let request = caller.ask(v1::GetVideoRequest { video_id: id.to_owned() });
    caller.videos().get_video(request).await.unwrap().into_inner()
}

async fn jobs(caller: &Caller, video_id: &str) -> Vec<v1::Job> {
    let request = v1::ListJobsRequest { video_id: video_id.to_owned(), ..Default::default() };
    caller.jobs().list_jobs(caller.ask(request)).await.unwrap().into_inner().jobs
}

async fn begin(caller: &Caller, request: v1::BeginUploadRequest) -> Result<String, Problem> {
    let begun = caller.uploads().begin_upload(caller.ask(request)).await;
    begun.map(|begun| begun.into_inner().video_id).map_err(|s| Problem::from_status(&s))
}

/// Commits the next probe of `worker`, twice, as after a lost reply.
async fn probe(worker: &mut Worker) {
    worker.want(1).await;
    let lease = worker.lease().await;
    assert!(matches!(lease.work, Some(v1::lease::Work::Probe(_))), "{lease:?}");
    worker.want(0).await;
    for _ in 0..2 {
        assert_eq!(worker.commit(probed(&lease)).await.refusal, None);
    }
}

#[tokio::test]
async fn an_upload_that_asks_for_a_job_gets_one_when_its_probe_succeeds() {
    let plane = Plane::start().await;
    let caller = plane.caller(Role::Editor);
    let mut worker = plane.worker("one").await;
    // The field of the form arrives with the end of the upload.
    let (id, complete) = clip::send_source(&plane, &caller).await;
    let complete = v1::CompleteUploadRequest { transcode: auto(), ..complete };
    let (request, mut uploads) = (caller.ask(complete), caller.uploads());
    let completed = uploads.complete_upload(request);
    let (completed, ()) = tokio::join!(completed, probe(&mut worker));
    let completed = completed.unwrap().into_inner();
    assert_eq!((completed.video_id.as_str(), completed.state()), (&*id, VideoState::Processing));
    let jobs = jobs(&caller, &id).await;
    assert_eq!(jobs.iter().map(|job| &job.job_id).collect::<Vec<_>>(), [&completed.job_id]);
    let job = caller.job(&completed.job_id).await;
    assert!(job.generate_hls && job.generate_dash && !job.profiles.is_empty());
    let images = job.tasks.iter().filter(|task| task.kind == "thumbnails").count();
    assert_eq!(images, 1, "poster, thumbnails and storyboard");
    plane.stop().await;
}

#[tokio::test]
async fn the_requested_job_survives_a_restart_and_the_end_of_its_client() {
    let shared = Shared::new(crate::postgres::database().await);
    let plane = Plane::of(shared.clone()).await;
    let caller = plane.caller(Role::Editor);
    // Requested when the video is reserved, and kept by an upload that does not mention it.
    let request = v1::CreateVideoRequest { transcode: auto(), ..Default::default() };
    let reserved = caller.videos().create_video(caller.ask(request)).await.unwrap().into_inner();
    let begin_request =
        v1::BeginUploadRequest { video_id: reserved.video_id.clone(), ..Default::default() };
    let id = begin(&caller, begin_request).await.unwrap();
    let path = shared.store().join(media::layout::source(id.parse().unwrap()));
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, b"source").unwrap();
    let (_, complete) = clip::send_source(&plane, &caller).await;
    let complete = v1::CompleteUploadRequest { video_id: id.clone(), wait_seconds: 0, ..complete };
    caller.uploads().complete_upload(caller.ask(complete)).await.unwrap();
    plane.stop().await;
    let plane = Plane::of(shared).await;
    let caller = plane.caller(Role::Editor);
    probe(&mut plane.worker("later").await).await;
    let listed = jobs(&caller, &id).await;
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].state(), JobState::Queued);
    // The request is fulfilled: the end of this job does not create another one.
    let cancel = caller.ask(v1::CancelJobRequest { job_id: listed[0].job_id.clone() });
    caller.jobs().cancel_job(cancel).await.unwrap();
    // The loop that creates missing jobs has looked at all videos once it has created that of another one.
    let db = control::db::Db::new(&plane.shared.database, 2).unwrap();
    let other = crate::rows::video(&db).await;
    control::db::videos::request_transcode(&*db.get().await.unwrap(), other).await.unwrap();
    let other = other.to_string();
    eventually("another job", DEADLINE, async || jobs(&caller, &other).await.len() == 1).await;
    assert_eq!(jobs(&caller, &id).await.len(), 1);
    assert_eq!(video(&caller, &id).await.state(), VideoState::Uploaded);
    plane.stop().await;
}

#[tokio::test]
async fn a_job_that_an_earlier_release_did_not_create_is_created_later() {
    let plane = Plane::start().await;
    let caller = plane.caller(Role::Editor);
    let db = control::db::Db::new(&plane.shared.database, 2).unwrap();
    let id = crate::rows::video(&db).await;
    // An instance of the earlier release has recorded the probe.
    control::db::videos::request_transcode(&*db.get().await.unwrap(), id).await.unwrap();
    let id = id.to_string();
    eventually("the job is created", DEADLINE, async || jobs(&caller, &id).await.len() == 1).await;
    assert_eq!(video(&caller, &id).await.state(), VideoState::Processing);
    plane.stop().await;
}

#[tokio::test]
async fn the_request_is_kept_while_the_source_is_rejected_and_replaced() {
    let plane = Plane::start().await;
    let caller = plane.caller(Role::Editor);
    let mut worker = plane.worker("one").await;
    let (id, complete) = clip::send_source(&plane, &caller).await;
    let complete = v1::CompleteUploadRequest { transcode: auto(), wait_seconds: 0, ..complete };
    caller.uploads().complete_upload(caller.ask(complete)).await.unwrap();
    worker.want(1).await;
    let lease = worker.lease().await;
    worker.want(0).await;
    let fail = v1::Fail {
        task_id: lease.task_id,
        token: lease.token,
        code: "not_a_video".to_owned(),
        message: "on purpose".to_owned(),
        retryable: false,
        cause: FailureCause::Source.into(),
    };
    worker.send(FromWorker::Fail(fail)).await;
    eventually("the source is rejected", DEADLINE, async || {
        video(&caller, &id).await.state() == VideoState::Failed
    })
    .await;
    assert!(jobs(&caller, &id).await.is_empty());
    let again = caller.ask(v1::ReprobeVideoRequest { video_id: id.clone() });
    caller.videos().reprobe_video(again).await.unwrap();
    probe(&mut worker).await;
    assert_eq!(jobs(&caller, &id).await.len(), 1);
    plane.stop().await;
}

#[tokio::test]
async fn another_value_than_auto_is_rejected_wherever_it_is_sent() {
    let plane = Plane::start().await;
    let caller = plane.caller(Role::Editor);
    let (id, complete) = clip::send_source(&plane, &caller).await;
    for bad in ["Auto", "yes", "auto "] {
        let transcode = bad.to_owned();
        let request = v1::BeginUploadRequest { transcode: transcode.clone(), ..Default::default() };
        let begun = begin(&caller, request).await.map(drop);
        let create = v1::CreateVideoRequest { transcode: transcode.clone(), ..Default::default() };
        let created = caller.videos().create_video(caller.ask(create)).await;
        let created = created.map(drop).map_err(|status| Problem::from_status(&status));
        let complete = v1::CompleteUploadRequest { transcode, ..complete.clone() };
        let completed = caller.uploads().complete_upload(caller.ask(complete)).await;
        let completed = completed.map(drop).map_err(|status| Problem::from_status(&status));
        for result in [begun, created, completed] {
            assert_eq!(result.unwrap_err().violations[0].field, "transcode", "{bad}");
        }
    }
    assert_eq!(video(&caller, &id).await.state(), VideoState::Uploading);
    plane.stop().await;
}

#[tokio::test]
async fn the_time_to_playable_runs_from_the_last_byte_to_the_first_listed_segment() {
    let plane = Plane::start().await;
    let (caller, admin) = (plane.caller(Role::Editor), plane.caller(Role::Admin));
    let system = async |caller: &Caller| {
        let system = caller.system().get_system(caller.ask(v1::GetSystemRequest {})).await;
        system.unwrap().into_inner()
    };
    assert_eq!(system(&admin).await.playable_seconds, None);
    let mut worker = plane.worker("one").await;
    let (id, complete) = clip::send_source(&plane, &caller).await;
    let complete = v1::CompleteUploadRequest { transcode: auto(), wait_seconds: 0, ..complete };
    let arrived = std::time::Instant::now();
    caller.uploads().complete_upload(caller.ask(complete)).await.unwrap();
    probe(&mut worker).await;
    assert_eq!(video(&caller, &id).await.playable_seconds, None);
    assert!(system(&admin).await.queue_depth.unwrap() >= 2, "video and audio wait");
    tokio::time::sleep(Duration::from_millis(700)).await;
    while !video(&caller, &id).await.playable {
        worker.want(1).await;
        let lease = worker.lease().await;
        assert_eq!(worker.commit(work(&lease)).await.refusal, None);
    }
    let measured = video(&caller, &id).await.playable_seconds.unwrap();
    let outside = arrived.elapsed().as_secs_f64();
    assert!((0.7..=outside).contains(&measured), "{measured} of {outside}");
    let percentiles = system(&admin).await.playable_seconds.unwrap();
    assert_eq!((percentiles.p50, percentiles.p95), (measured, measured));
    // Another tenant's admin sees the figures of that tenant.
    let foreign = system(&plane.caller_of(Role::Admin, "elsewhere")).await;
    assert_eq!((foreign.queue_depth, foreign.playable_seconds), (Some(0), None));
    assert!(!foreign.operator && system(&admin).await.operator);
    plane.stop().await;
}
