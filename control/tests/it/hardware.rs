//! Rungs of hardware encoders: which workers get their tasks, and their restart in software.

use control::{
    db::{Db, claim::Claimed, completion, hardware, jobs, lease, tasks, videos},
    domain::{Failure, JobState, TaskKind},
    plan::{
        self, Plan,
        hardware::Loss,
        retry::{Cause, RetryDelays},
    },
};
use media::{HardwareEncoder, JobId, VideoId, ladder::Profile};

use crate::rows::{self, GRACE, claim, commit, connect, db, job_of, number, output, video};

/// Seconds that count as absence, because tests do not wait for workers.
const ABSENT: f64 = 30.0;
const NVENC: HardwareEncoder = HardwareEncoder::Nvenc;

/// A plan of 30 s, two chunks, whose 480p rung needs NVENC and whose 360p rung is software.
fn mixed() -> Plan {
    let hardware = |mut profile: Profile| {
        profile.hardware = (profile.name == "480p").then_some(NVENC);
        profile
    };
    let profiles: Vec<_> = media::ladder::default_profiles().into_iter().map(hardware).collect();
    let options = plan::TranscodeOptions {
        hls: true,
        dash: true,
        thumbnails: Some(3),
        preview: true,
        ..plan::TranscodeOptions::default()
    };
    plan::plan(&rows::source(30), &profiles, &options).unwrap()
}

fn worker(encoders: &[&str]) -> control::db::claim::Claimer {
    let mut worker = rows::worker(&encoders.join(" "));
    worker.kinds = vec![TaskKind::Chunk];
    worker.encoders = encoders.iter().map(|name| (*name).to_owned()).collect();
    worker
}

/// Chunks and rungs of leases, in order.
fn work(mut claimed: Vec<Claimed>) -> Vec<String> {
    claimed.sort_by_key(|c| (c.ordinal, c.rungs.clone()));
    claimed.iter().map(|c| format!("{} {}", c.ordinal, c.rungs.join("+"))).collect()
}

/// Records that a worker is connected, and was seen so many seconds ago.
async fn seen(db: &Db, worker: &control::db::claim::Claimer, seconds: f64) {
    let c = db.get().await.unwrap();
    connect(&*c, worker.worker, &worker.name, &worker.encoders).await;
    let sql = "UPDATE workers SET seen_at = now() - make_interval(secs => $2) WHERE id = $1";
    c.execute(sql, &[&worker.worker.uuid(), &seconds]).await.unwrap();
}

/// Restarts the rungs of a waiting job; returns the number of new tasks.
async fn restart(db: &Db, found: hardware::WaitingJob) -> usize {
    let restarted = db.transact(1, async |tx| {
        assert!(completion::lock_video(tx, found.video).await?);
        hardware::restart_in_software(tx, found, ABSENT).await
    });
    restarted.await.unwrap()
}

/// Runs a round; returns the number of new tasks.
async fn round(db: &Db) -> usize {
    let waiting = hardware::waiting(&*db.get().await.unwrap(), ABSENT).await.unwrap();
    let mut tasks = 0;
    for found in waiting {
        tasks += restart(db, found).await;
    }
    tasks
}

async fn plan_now(db: &Db, job: JobId) -> Plan {
    let c = db.get().await.unwrap();
    jobs::get(&*c, "default", job).await.unwrap().unwrap().plan
}

async fn revision(db: &Db, video: VideoId) -> i64 {
    let c = db.get().await.unwrap();
    let sql = "SELECT revision FROM videos WHERE id = $1";
    c.query_one(sql, &[&video.uuid()]).await.unwrap().get(0)
}

#[tokio::test]
async fn a_hardware_chunk_is_leased_only_to_a_worker_that_announces_the_encoder() {
    let db = db().await;
    let id = video(&db).await;
    job_of(&db, id, mixed()).await;
    let software = work(claim(&db, &worker(&["libx264", "libx265"]), 10).await);
    assert_eq!(software, ["0 360p", "1 360p", "2 360p"]);
    // An earlier release that announces nothing has software encoders only.
    assert!(claim(&db, &worker(&[]), 10).await.is_empty());
    assert!(claim(&db, &worker(&["libx264", "h264_vaapi"]), 10).await.is_empty());
    let hardware = work(claim(&db, &worker(&["libx264", "h264_nvenc"]), 10).await);
    assert_eq!(hardware, ["0 480p", "1 480p", "2 480p"]);
}

#[tokio::test]
async fn without_a_worker_for_it_a_rung_is_encoded_in_software_from_its_first_chunk() {
    let db = db().await;
    let id = video(&db).await;
    let job = job_of(&db, id, mixed()).await;
    seen(&db, &worker(&["libx264"]), 0.0).await;
    assert_eq!(round(&db).await, 3);
    assert_eq!(round(&db).await, 0, "nothing waits any more");
    let plan = plan_now(&db, job).await;
    let names: Vec<&str> = plan.rungs.iter().map(|rung| rung.name.as_str()).collect();
    assert_eq!(names, ["360p", "480p"], "no player has seen the rung");
    assert!(plan.rungs.iter().all(|rung| rung.hardware.is_none()));
    assert_eq!(
        plan.notes.last().unwrap(),
        "480p: encoded in software, because no worker has h264_nvenc"
    );
    let all = work(claim(&db, &worker(&["libx264"]), 10).await);
    assert_eq!(all, ["0 360p", "0 480p", "1 360p", "1 480p", "2 360p", "2 480p"]);
}

#[tokio::test]
async fn a_worker_that_reconnects_within_half_a_minute_keeps_its_rungs() {
    let db = db().await;
    let id = video(&db).await;
    job_of(&db, id, mixed()).await;
    let nvenc = worker(&["h264_nvenc"]);
    seen(&db, &nvenc, 25.0).await;
    assert_eq!(round(&db).await, 0);
    seen(&db, &nvenc, 35.0).await;
    assert_eq!(round(&db).await, 3);
}

#[tokio::test]
async fn a_rung_whose_encoder_is_lost_restarts_in_software_under_another_name() {
    let db = db().await;
    let id = video(&db).await;
    let job = job_of(&db, id, mixed()).await;
    let nvenc = worker(&["h264_nvenc"]);
    seen(&db, &nvenc, 0.0).await;
    assert_eq!(work(claim(&db, &nvenc, 1).await), ["0 480p"]);
    for rendition in ["360p", "480p"] {
        commit(&db, job, &output(rendition, 0, 1)).await;
    }
    let before = revision(&db, id).await;
    seen(&db, &nvenc, 60.0).await;
    rows::expire(&db).await;
    assert_eq!(round(&db).await, 3);
    let plan = plan_now(&db, job).await;
    let names: Vec<&str> = plan.rungs.iter().map(|rung| rung.name.as_str()).collect();
    assert_eq!(names, ["360p", "480p-software"]);
    assert_eq!(plan.pictures.as_ref().unwrap().poster_from, "480p-software");
    assert_eq!(plan.preview.as_ref().unwrap().rung, "480p-software");
    let note =
        "480p: restarted in software as 480p-software, because no worker has h264_nvenc any more";
    assert_eq!(plan.notes.last().unwrap(), note);
    assert!(revision(&db, id).await > before, "data planes drop the index");
    // Only the outputs of the other rung remain.
    assert_eq!(number(&db, "SELECT count(*) FROM outputs WHERE rendition = '480p'").await, 0);
    assert_eq!(number(&db, "SELECT count(*) FROM inits WHERE rendition = '480p'").await, 0);
    assert_eq!(number(&db, "SELECT count(*) FROM outputs WHERE rendition = '360p'").await, 1);
    let left = work(claim(&db, &worker(&["libx264"]), 10).await);
    let software = ["0 480p-software", "1 480p-software", "2 480p-software"];
    assert_eq!(
        left.iter().filter(|work| work.contains("480p")).collect::<Vec<_>>(),
        software.iter().collect::<Vec<_>>()
    );
    // A worker with the encoder that comes back has nothing left to do in this job.
    assert!(claim(&db, &nvenc, 10).await.is_empty());
}

/// Claims a task and ends its attempt as failed, until `worker` gets none or the job is over; returns
/// the number of attempts.
async fn fail_all(db: &Db, job: JobId, worker: &control::db::claim::Claimer) -> i32 {
    let failed = lease::FailedAttempt {
        failure: Failure::new("ffmpeg_failed", "No capable devices found"),
        retryable: true,
        backoff_seconds: 0.0,
        expired_only: false,
        cause: Cause::Unknown,
        probe_retry: RetryDelays::default(),
    };
    let mut attempts = 0;
    while let Some(claimed) = claim(db, worker, 1).await.first() {
        let ended = db.transact(1, async |tx| {
            completion::end_attempt(tx, rows::lease(claimed), &failed, GRACE).await
        });
        ended.await.unwrap().unwrap();
        attempts += 1;
        let c = db.get().await.unwrap();
        if jobs::state(&*c, job).await.unwrap().unwrap().0 == JobState::Failed {
            break;
        }
    }
    attempts
}

#[tokio::test]
async fn a_rung_whose_encoder_keeps_failing_restarts_in_software() {
    let db = db().await;
    let id = video(&db).await;
    let job = job_of(&db, id, mixed()).await;
    let nvenc = worker(&["h264_nvenc"]);
    seen(&db, &nvenc, 0.0).await;
    let late = claim(&db, &nvenc, 2).await;
    assert_eq!(work(late.clone()), ["0 480p", "1 480p"]);
    let before = revision(&db, id).await;
    // The worker fails the last chunk at every attempt.
    assert_eq!(fail_all(&db, job, &nvenc).await, tasks::ATTEMPTS_MAX);
    assert_eq!(round(&db).await, 0, "the worker is connected");
    let c = db.get().await.unwrap();
    assert_ne!(jobs::state(&*c, job).await.unwrap().unwrap().0, JobState::Failed);
    let plan = plan_now(&db, job).await;
    assert!(plan.rungs.iter().all(|rung| rung.hardware.is_none()));
    let note = "480p: encoded in software, because h264_nvenc failed";
    assert_eq!(plan.notes.last().unwrap(), note);
    assert!(revision(&db, id).await > before, "data planes drop the index");
    // Its other leases are lost, so their commits are rejected.
    for lost in &late {
        assert_eq!(lease::video_of(&*c, rows::lease(lost)).await.unwrap(), None);
    }
    let software = worker(&["libx264"]);
    let all = work(claim(&db, &software, 10).await);
    assert_eq!(all, ["0 360p", "0 480p", "1 360p", "1 480p", "2 360p", "2 480p"]);
    // A failure in software still ends the job.
    c.execute("UPDATE tasks SET state = 'ready', token = NULL WHERE state = 'leased'", &[])
        .await
        .unwrap();
    assert_eq!(fail_all(&db, job, &software).await, tasks::ATTEMPTS_MAX - 1);
    assert_eq!(jobs::state(&*c, job).await.unwrap().unwrap().0, JobState::Failed);
}

#[tokio::test]
async fn a_rung_that_fails_after_its_first_chunk_restarts_under_another_name() {
    let db = db().await;
    let id = video(&db).await;
    let job = job_of(&db, id, mixed()).await;
    let nvenc = worker(&["h264_nvenc"]);
    seen(&db, &nvenc, 0.0).await;
    assert_eq!(work(claim(&db, &nvenc, 1).await), ["0 480p"]);
    commit(&db, job, &output("480p", 0, 1)).await;
    assert_eq!(fail_all(&db, job, &nvenc).await, tasks::ATTEMPTS_MAX);
    let plan = plan_now(&db, job).await;
    let note = "480p: restarted in software as 480p-software, because h264_nvenc failed";
    assert_eq!(plan.notes.last().unwrap(), note);
    assert_eq!(number(&db, "SELECT count(*) FROM outputs WHERE rendition = '480p'").await, 0);
    let left = work(claim(&db, &worker(&["libx264"]), 10).await);
    assert!(left.contains(&"2 480p-software".to_owned()), "{left:?}");
}

#[tokio::test]
async fn a_job_that_has_ended_is_not_restarted() {
    let db = db().await;
    let id = video(&db).await;
    let job = job_of(&db, id, mixed()).await;
    let waiting = hardware::waiting(&*db.get().await.unwrap(), ABSENT).await.unwrap();
    let [found] = waiting[..] else { panic!("{waiting:?}") };
    assert_eq!((found.job, found.video, found.hardware), (job, id, NVENC));
    let c = db.get().await.unwrap();
    assert!(videos::touch(&*c, id).await.unwrap());
    c.execute("UPDATE jobs SET state = 'cancelled'", &[]).await.unwrap();
    assert_eq!(restart(&db, found).await, 0);
    assert_eq!(plan_now(&db, job).await, mixed());
}

#[test]
fn rungs_of_a_hardware_encoder_have_their_own_tasks_until_it_is_replaced() {
    let mut plan = mixed();
    let of_chunk = |tasks: &[plan::NewTask], chunk: u32| {
        let tasks = tasks.iter().filter(|t| t.kind == TaskKind::Chunk && t.ordinal == chunk);
        tasks.map(|t| format!("{} {}", t.encoder, t.rungs.join("+"))).collect::<Vec<_>>()
    };
    for chunk in [0, 2] {
        let tasks = of_chunk(&plan.tasks(), chunk);
        assert_eq!(tasks, ["libx264 360p", "h264_nvenc 480p"], "chunk {chunk}");
    }
    assert_eq!(plan.lead_tasks(1).len(), 1, "the lowest rung, and none between");
    let mut all = plan.clone();
    all.rungs[0].hardware = Some(NVENC);
    assert_eq!(of_chunk(&all.tasks(), 0), ["h264_nvenc 360p", "h264_nvenc 480p"]);
    assert_eq!(of_chunk(&all.tasks(), 1), ["h264_nvenc 360p+480p"]);
    let (replaced, tasks) = all.replace_hardware(NVENC, Loss::Absent, |name| name == "480p");
    let names = replaced.iter().map(|rung| (rung.before.as_str(), rung.after.as_str()));
    assert_eq!(names.collect::<Vec<_>>(), [("360p", "360p"), ("480p", "480p-software")]);
    assert_eq!(of_chunk(&tasks, 0), ["libx264 360p", "libx264 480p-software"]);
    assert_eq!(of_chunk(&tasks, 1), ["libx264 360p+480p-software"]);
    let vaapi = HardwareEncoder::Vaapi;
    assert!(plan.replace_hardware(vaapi, Loss::Absent, |_| false).0.is_empty(), "another encoder");
}
