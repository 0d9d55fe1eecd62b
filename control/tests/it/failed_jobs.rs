//! The segments that a failed job has committed stay playable until the job is retried to its end,
//! cancelled, or replaced by a newer job.

use std::time::Duration;

use api::v1;
use authz::Role;
use control::{
    db::{
        Db,
        completion::{self, JobOutcome},
        jobs, outputs, tasks, videos,
    },
    domain::{Failure, JobState, VideoState},
};
use media::{JobId, VideoId, index::Index};

use crate::{
    clip,
    plane::{Caller, DEADLINE, Plane},
    rows::{GRACE, claim, commit, db, job, lease, number, output, video, worker},
    waiting::eventually,
};

/// A job whose first chunk and audio are served, and that then fails.
async fn failed_while_served(db: &Db) -> (VideoId, JobId) {
    let video = video(db).await;
    let id = job(db, video, 30).await;
    let c = db.get().await.unwrap();
    let first = claim(db, &worker("a"), 1).await.remove(0);
    commit(db, id, &output("360p", 0, first.token)).await;
    commit(db, id, &output("audio-0", 0, 1)).await;
    assert!(completion::finish_task(&*c, lease(&first)).await.unwrap());
    assert!(outputs::publish(&*c, video, id, &["360p".to_owned()], Some("audio-0")).await.unwrap());
    let failed = JobOutcome::Failed(Failure::new("encode", "it broke"));
    assert!(completion::end_job(&*c, id, &failed, GRACE).await.unwrap());
    (video, id)
}

async fn row(db: &Db, video: VideoId) -> (VideoState, Option<JobId>, bool, Option<String>) {
    let c = db.get().await.unwrap();
    let row = videos::get(&*c, "default", video).await.unwrap().unwrap();
    let code = row.failure.map(|failure| failure.code);
    (row.state, row.served_job, row.published_at.is_some(), code)
}

#[tokio::test]
async fn what_a_failed_job_has_committed_stays_served_through_its_retry() {
    let db = db().await;
    let (video, id) = failed_while_served(&db).await;
    let encode = Some("encode".to_owned());
    assert_eq!(row(&db, video).await, (VideoState::Failed, Some(id), true, encode));
    let c = db.get().await.unwrap();
    let before = number(&db, "SELECT count(*) FROM outputs").await;
    assert!(jobs::reopen(&*c, id).await.unwrap());
    tasks::requeue_unfinished(&*c, id).await.unwrap();
    videos::processing(&*c, video).await.unwrap();
    assert_eq!(row(&db, video).await, (VideoState::Processing, Some(id), true, None));
    assert_eq!(number(&db, "SELECT count(*) FROM outputs").await, before);
    // The retry fails as well.
    let failed = JobOutcome::Failed(Failure::new("again", "it broke again"));
    assert!(completion::end_job(&*c, id, &failed, GRACE).await.unwrap());
    let again = Some("again".to_owned());
    assert_eq!(row(&db, video).await, (VideoState::Failed, Some(id), true, again));
}

#[tokio::test]
async fn a_cancel_removes_what_a_failed_job_serves() {
    let db = db().await;
    let (video, id) = failed_while_served(&db).await;
    let c = db.get().await.unwrap();
    assert!(completion::end_job(&*c, id, &JobOutcome::Cancelled, GRACE).await.unwrap());
    assert_eq!(row(&db, video).await, (VideoState::Uploaded, None, false, None));
    assert_eq!(jobs::state(&*c, id).await.unwrap().unwrap().0, JobState::Cancelled);
    assert_eq!(number(&db, "SELECT count(*) FROM outputs").await, 0);
    assert!(!completion::end_job(&*c, id, &JobOutcome::Cancelled, GRACE).await.unwrap());
    // A failed job that serves nothing stays failed.
    let other = self::video(&db).await;
    let id = job(&db, other, 30).await;
    let failed = JobOutcome::Failed(Failure::new("x", "y"));
    assert!(completion::end_job(&*c, id, &failed, GRACE).await.unwrap());
    assert!(!completion::end_job(&*c, id, &JobOutcome::Cancelled, GRACE).await.unwrap());
    assert_eq!(jobs::state(&*c, id).await.unwrap().unwrap().0, JobState::Failed);
    assert_eq!(row(&db, other).await, (VideoState::Failed, None, false, Some("x".to_owned())));
}

#[tokio::test]
async fn a_newer_job_replaces_what_a_failed_one_serves_once_it_can_be_played() {
    let db = db().await;
    let (video, first) = failed_while_served(&db).await;
    let c = db.get().await.unwrap();
    let second = job(&db, video, 30).await;
    let playable = async |job| {
        outputs::publish(&*c, video, job, &["360p".to_owned()], Some("audio-0")).await.unwrap()
    };
    assert!(!playable(second).await);
    assert_eq!(row(&db, video).await, (VideoState::Processing, Some(first), true, None));
    // A newer job that is cancelled before leaves the failed one, with its reason.
    assert!(completion::end_job(&*c, second, &JobOutcome::Cancelled, GRACE).await.unwrap());
    let encode = Some("encode".to_owned());
    assert_eq!(row(&db, video).await, (VideoState::Failed, Some(first), true, encode));
    // One that fails gives its own.
    let third = job(&db, video, 30).await;
    let failed = JobOutcome::Failed(Failure::new("third", "it broke"));
    assert!(completion::end_job(&*c, third, &failed, GRACE).await.unwrap());
    let code = Some("third".to_owned());
    assert_eq!(row(&db, video).await, (VideoState::Failed, Some(first), true, code));
    let fourth = job(&db, video, 30).await;
    commit(&db, fourth, &output("360p", 0, 1)).await;
    commit(&db, fourth, &output("audio-0", 0, 1)).await;
    assert!(playable(fourth).await && !playable(fourth).await);
    assert_eq!(row(&db, video).await, (VideoState::Processing, Some(fourth), true, None));
    assert!(!playable(first).await, "an unfinished job is not replaced");
}

/// The index that data planes get; `None` if there is nothing to play.
async fn index(plane: &Plane, video_id: &str) -> Option<Index> {
    let caller = plane.caller(Role::Dataplane);
    let index_version = media::index::VERSION.into();
    let request = v1::GetIndexRequest { video_id: video_id.to_owned(), index_version };
    let reply = caller.playback().get_index(caller.ask(request)).await.ok()?;
    Some(Index::decode(&reply.into_inner().index).unwrap())
}

async fn state(caller: &Caller, video_id: &str) -> (v1::VideoState, bool) {
    let request = caller.ask(v1::GetVideoRequest { video_id: video_id.to_owned() });
    let video = caller.videos().get_video(request).await.unwrap().into_inner();
    (video.state(), video.playable)
}

#[tokio::test]
async fn a_failed_job_plays_on_through_sweep_restart_and_retry() {
    // The sweep of the job's objects follows within seconds.
    let plane = Plane::brief("2s").await;
    let shared = plane.shared.clone();
    let db = Db::new(&shared.database, 2).unwrap();
    let caller = plane.caller(Role::Editor);
    let mut worker = plane.worker("one").await;
    let video_id = clip::upload(&plane, &mut worker).await;
    let create = v1::CreateJobRequest { video_id: video_id.clone(), ..Default::default() };
    let job_id = caller.jobs().create_job(caller.ask(create)).await.unwrap().into_inner().job_id;
    for _ in 0..2 {
        worker.want(1).await;
        let lease = worker.lease().await;
        assert_eq!(worker.commit(clip::work(&lease)).await.refusal, None);
    }
    worker.want(1).await;
    let lease = worker.lease().await;
    let failed = v1::Fail {
        task_id: lease.task_id.clone(),
        token: lease.token,
        code: "encode".to_owned(),
        message: "it broke".to_owned(),
        retryable: false,
        ..Default::default()
    };
    worker.send(v1::worker_message::Message::Fail(failed)).await;
    caller.job_when(&job_id, |job| job.state() == v1::JobState::Failed).await;
    assert_eq!(state(&caller, &video_id).await, (v1::VideoState::Failed, true));
    let growing = index(&plane, &video_id).await.expect("an index");
    assert_eq!((growing.version.to_string(), growing.finished_at_ms), (job_id.clone(), None));
    let keys = |index: &Index| -> Vec<String> {
        let tracks = index.video_renditions.iter().map(|rung| &rung.track);
        let tracks = tracks.chain(index.audio_renditions.iter().map(|sound| &sound.track));
        tracks.flat_map(|track| track.chunks.iter().flatten().map(|c| c.key.clone())).collect()
    };
    let listed = keys(&growing);
    assert!(listed.len() >= 2, "{listed:?}");
    let swept = async || number(&db, "SELECT count(*) FROM chores WHERE kind = 'job'").await == 0;
    eventually("the objects of the job are swept", DEADLINE, swept).await;
    for key in &listed {
        assert!(shared.store().join(key).exists(), "{key}");
    }
    plane.stop().await;
    drop(worker);
    let plane = Plane::with(shared.clone(), &["--lease", "2m"]).await;
    let caller = plane.caller(Role::Editor);
    assert_eq!(keys(&index(&plane, &video_id).await.expect("an index")), listed);
    let retry = v1::RetryJobRequest { job_id: job_id.clone() };
    caller.jobs().retry_job(caller.ask(retry)).await.unwrap();
    assert_eq!(state(&caller, &video_id).await, (v1::VideoState::Processing, true));
    assert_eq!(keys(&index(&plane, &video_id).await.expect("an index")), listed);
    let mut worker = plane.worker("two").await;
    worker.want(1).await;
    let lease = worker.lease_within(Duration::from_secs(20)).await;
    assert_eq!(worker.commit(clip::work(&lease)).await.refusal, None);
    caller.job_when(&job_id, |job| job.state() == v1::JobState::Completed).await;
    let whole = index(&plane, &video_id).await.expect("an index");
    assert_eq!(whole.version, growing.version);
    assert!(whole.finished_at_ms.is_some());
    assert!(listed.iter().all(|key| keys(&whole).contains(key)), "nothing was encoded twice");
    plane.stop().await;
}

#[tokio::test]
async fn a_cancel_takes_the_list_of_a_failed_job_from_viewers() {
    let plane = Plane::start().await;
    let db = Db::new(&plane.shared.database, 2).unwrap();
    let (video, job) = failed_while_served(&db).await;
    let caller = plane.caller(Role::Editor);
    let video_id = video.to_string();
    assert_eq!(state(&caller, &video_id).await, (v1::VideoState::Failed, true));
    let cancel = v1::CancelJobRequest { job_id: job.to_string() };
    let cancelled = caller.jobs().cancel_job(caller.ask(cancel)).await.unwrap().into_inner();
    assert_eq!(cancelled.state(), v1::JobState::Cancelled);
    assert_eq!(state(&caller, &video_id).await, (v1::VideoState::Uploaded, false));
    assert!(index(&plane, &video_id).await.is_none());
    plane.stop().await;
}

#[tokio::test]
async fn a_task_that_is_retried_shows_why_and_its_job_does_too() {
    let plane = Plane::start().await;
    let mut worker = plane.worker("one").await;
    let video_id = clip::upload(&plane, &mut worker).await;
    let caller = plane.caller(Role::Editor);
    let create = v1::CreateJobRequest { video_id, ..Default::default() };
    let job = caller.jobs().create_job(caller.ask(create)).await.unwrap().into_inner();
    assert_eq!((job.attempt, job.last_error), (0, None));
    worker.want(1).await;
    let lease = worker.lease().await;
    let failed = v1::Fail {
        task_id: lease.task_id.clone(),
        token: lease.token,
        code: "encode".to_owned(),
        message: "it broke".to_owned(),
        retryable: true,
        ..Default::default()
    };
    worker.send(v1::worker_message::Message::Fail(failed)).await;
    // The other tasks are leased first.
    loop {
        worker.want(1).await;
        let other = worker.lease().await;
        if other.task_id == lease.task_id {
            break;
        }
        assert_eq!(worker.commit(clip::work(&other)).await.refusal, None);
    }
    let reason = Some(v1::Failure { code: "encode".to_owned(), message: "it broke".to_owned() });
    let now = caller.job(&job.job_id).await;
    let task = now.tasks.iter().find(|task| task.task_id == lease.task_id).unwrap();
    assert_eq!((task.state(), task.attempt), (v1::TaskState::Leased, 2));
    assert_eq!((&task.error, task.worker.as_str()), (&reason, "one"));
    let list = v1::ListJobsRequest::default();
    let listed = caller.jobs().list_jobs(caller.ask(list)).await.unwrap().into_inner().jobs;
    assert_eq!((listed[0].attempt, &listed[0].last_error), (2, &reason));
    plane.stop().await;
}
