//! The lower rungs of a growing video are encoded ahead where the whole ladder is encoded more
//! slowly than it plays.

use control::{
    db::{
        Db,
        claim::{Claimed, Share},
        completion,
        lead::{self, GrowingJob},
        outputs,
    },
    plan::{self, PRIORITY_EXPRESS_MIN, PRIORITY_LEAD},
};
use media::JobId;

use crate::rows::{
    LEASE, claim, claim_share, commit, db, job_of, lease as lease_of, number, output, source,
    video, worker,
};

/// A served job of 200 s in two rungs, of which chunk 0 is encoded, and a worker with one slot that
/// encodes chunk 1.
async fn growing(db: &Db) -> (JobId, Claimed) {
    growing_at(db, 480).await
}

/// The same for a source of this height.
async fn growing_at(db: &Db, height: u32) -> (JobId, Claimed) {
    let mut source = source(200);
    if let Some(video) = &mut source.video {
        (video.width, video.height) = (height * 16 / 9 + height * 16 / 9 % 2, height);
    }
    let options = plan::TranscodeOptions { hls: true, ..Default::default() };
    let plan = plan::plan(&source, &media::ladder::default_profiles(), &options).unwrap();
    let id = video(db).await;
    let job = job_of(db, id, plan).await;
    let first = claim(db, &worker("a"), 3).await;
    let c = db.get().await.unwrap();
    for task in &first {
        assert!(completion::finish_task(&*c, lease_of(task)).await.unwrap());
    }
    for rendition in ["360p", "480p", "audio-0"] {
        commit(db, job, &output(rendition, 0, 1)).await;
    }
    let opening = ["360p".to_owned()];
    assert!(outputs::publish(&*c, id, job, &opening, Some("audio-0")).await.unwrap());
    let [chunk] = &claim(db, &worker("a"), 1).await[..] else { panic!("no chunk is ready") };
    assert_eq!((chunk.ordinal, chunk.rungs[0].as_str()), (1, "360p"));
    (job, chunk.clone())
}

/// Reports that a task, after `seconds`, has encoded this part of its chunk.
async fn progress(db: &Db, task: &Claimed, seconds: f64, fraction: f64) {
    let sql = "UPDATE tasks
               SET started_at = now() - make_interval(secs => $2),
                   lease_expires = now() + make_interval(secs => $3),
                   fraction = $4
               WHERE id = $1";
    let c = db.get().await.unwrap();
    c.execute(sql, &[&task.task.uuid(), &seconds, &LEASE, &fraction]).await.unwrap();
}

/// The speed at which the job is encoded, if it can be measured.
async fn speed(db: &Db, job: JobId) -> Option<(GrowingJob, f64)> {
    let c = db.get().await.unwrap();
    let running = lead::running(&*c, LEASE).await.unwrap();
    let found = lead::growing_job(&*c, job).await.unwrap()?;
    let speed = found.plan.ladder_speed(running.get(&job)?)?;
    Some((found, speed))
}

/// Runs a round; returns the number of tasks that became more urgent.
async fn round(db: &Db, job: JobId) -> usize {
    let Some((found, speed)) = speed(db, job).await else { return 0 };
    let chunks = found.plan.lead_chunks(speed, found.position);
    let ahead = db.transact(1, async |tx| lead::encode_ahead(tx, &found, &chunks).await);
    ahead.await.unwrap()
}

/// The rungs of the tasks of a chunk, by priority.
async fn rungs(db: &Db, chunk: u32) -> Vec<String> {
    let sql = "SELECT array_to_string(rungs, ' ') AS rungs
               FROM tasks
               WHERE kind = 'chunk' AND ordinal = $1
               ORDER BY priority DESC";
    let c = db.get().await.unwrap();
    let rows = c.query(sql, &[&chunk.cast_signed()]).await.unwrap();
    rows.iter().map(|row| row.get("rungs")).collect()
}

#[tokio::test]
async fn a_fast_fleet_decodes_no_chunk_twice() {
    let db = db().await;
    let (job, chunk) = growing(&db).await;
    progress(&db, &chunk, 4.0, 0.01).await;
    assert_eq!(speed(&db, job).await.map(|(_, speed)| speed), None, "not measured yet");
    // 20 s of video in less than 20 s.
    progress(&db, &chunk, 16.0, 0.8).await;
    let (_, fast) = speed(&db, job).await.unwrap();
    assert!((1.0..1.2).contains(&fast), "{fast}");
    assert_eq!(round(&db, job).await, 0);
    // Two workers, each at half of that speed.
    let [other] = &claim(&db, &worker("b"), 1).await[..] else { panic!("no chunk is ready") };
    progress(&db, &chunk, 16.0, 0.4).await;
    progress(&db, other, 16.0, 0.4).await;
    assert!(speed(&db, job).await.unwrap().1 >= 1.0);
    assert_eq!(round(&db, job).await, 0);
    assert_eq!(rungs(&db, 3).await, ["360p 480p"]);
}

#[tokio::test]
async fn the_lowest_rung_of_a_slow_job_gets_tasks_of_its_own() {
    let db = db().await;
    let (job, chunk) = growing(&db).await;
    let sum = "SELECT round(sum(weight))::int8 FROM tasks";
    let work = number(&db, sum).await;
    // At half the speed of playback, one chunk takes 40 s; so the lead is 80 s.
    progress(&db, &chunk, 21.0, 0.4999).await;
    assert_eq!(round(&db, job).await, 4);
    for chunk in 1..5 {
        let expected = if chunk == 1 { ["360p", "360p 480p"] } else { ["360p", "480p"] };
        assert_eq!(rungs(&db, chunk).await, expected, "chunk {chunk}");
    }
    assert_eq!(rungs(&db, 5).await, ["360p 480p"], "no viewer is there soon");
    assert_eq!(number(&db, sum).await, work, "no work is counted twice");
    assert_eq!(round(&db, job).await, 0, "once is enough");
    // Express slots take them, but prefer express tasks.
    let share = |priority_min| Share { limit: 9, priority_min };
    assert!(claim_share(&db, &worker("a"), share(PRIORITY_EXPRESS_MIN)).await.is_empty());
    let ahead = claim_share(&db, &worker("a"), share(PRIORITY_LEAD)).await;
    let ahead: Vec<_> = ahead.iter().map(|c| (c.ordinal, c.rungs.join(" "))).collect();
    assert_eq!(ahead, [1, 2, 3, 4].map(|chunk| (chunk, "360p".to_owned())));
    let next = claim(&db, &worker("b"), 1).await;
    assert_eq!((next[0].ordinal, next[0].rungs.join(" ")), (2, "480p".to_owned()));
}

#[tokio::test]
async fn the_rungs_between_wait_for_neither_the_highest_nor_the_lowest() {
    let db = db().await;
    let (job, chunk) = growing_at(&db, 1080).await;
    let sum = "SELECT round(sum(weight))::int8 FROM tasks";
    let work = number(&db, sum).await;
    progress(&db, &chunk, 21.0, 0.4999).await;
    assert_eq!(round(&db, job).await, 7);
    assert_eq!(rungs(&db, 1).await, ["360p", "360p 480p 720p 1080p"]);
    assert_eq!(rungs(&db, 2).await, ["360p", "480p 720p", "1080p"]);
    assert_eq!(number(&db, sum).await, work, "no work is counted twice");
    let order = claim(&db, &worker("b"), 9).await;
    let order: Vec<_> = order.iter().map(|c| (c.ordinal, c.rungs.len())).collect();
    assert_eq!(order, [(1, 1), (2, 1), (3, 1), (4, 1), (2, 2), (3, 2), (4, 2), (2, 1), (3, 1)]);
}

#[tokio::test]
async fn more_chunks_follow_as_the_viewer_advances() {
    let db = db().await;
    let (job, chunk) = growing(&db).await;
    progress(&db, &chunk, 21.0, 0.4999).await;
    assert_eq!(round(&db, job).await, 4);
    let sql = "UPDATE videos SET published_at = published_at - interval '40 seconds'";
    db.get().await.unwrap().execute(sql, &[]).await.unwrap();
    assert_eq!(round(&db, job).await, 2);
    assert_eq!(rungs(&db, 6).await, ["360p", "480p"]);
    assert_eq!(rungs(&db, 7).await, ["360p 480p"]);
}

#[tokio::test]
async fn a_rung_that_was_encoded_twice_is_committed_once() {
    let db = db().await;
    let (job, chunk) = growing(&db).await;
    progress(&db, &chunk, 21.0, 0.4999).await;
    round(&db, job).await;
    // The task for both rungs is first; the waiting one for the lowest rung is not needed.
    commit(&db, job, &output("360p", 1, chunk.token)).await;
    commit(&db, job, &output("480p", 1, chunk.token)).await;
    let c = db.get().await.unwrap();
    assert!(completion::finish_task(&*c, lease_of(&chunk)).await.unwrap());
    lead::finish_repeated(&*c, job, 1).await.unwrap();
    let unfinished =
        "SELECT count(*) FROM tasks WHERE kind = 'chunk' AND ordinal = 1 AND state <> 'done'";
    assert_eq!(number(&db, unfinished).await, 0);
    // A task of which an output is missing stays.
    commit(&db, job, &output("360p", 2, 9)).await;
    lead::finish_repeated(&*c, job, 2).await.unwrap();
    let waiting =
        "SELECT count(*) FROM tasks WHERE ordinal = 2 AND state = 'ready' AND rungs = '{480p}'";
    assert_eq!(number(&db, waiting).await, 1);
    let done =
        "SELECT count(*) FROM tasks WHERE ordinal = 2 AND state = 'done' AND rungs = '{360p}'";
    assert_eq!(number(&db, done).await, 1);
}

#[tokio::test]
async fn a_lost_lease_and_a_retry_leave_one_task_per_rung() {
    let db = db().await;
    let (job, chunk) = growing(&db).await;
    progress(&db, &chunk, 21.0, 0.4999).await;
    round(&db, job).await;
    let c = db.get().await.unwrap();
    // Its worker drains: the task waits again, and is split as the others are.
    assert!(control::db::lease::release(&*c, lease_of(&chunk), 0.0).await.unwrap());
    let other = claim(&db, &worker("b"), 9).await;
    let [lowest, both] = &other.iter().filter(|c| c.ordinal == 1).collect::<Vec<_>>()[..] else {
        panic!("{other:?}")
    };
    assert_eq!((lowest.rungs.len(), both.rungs.len()), (1, 2));
    for task in &other {
        assert!(control::db::lease::release(&*c, lease_of(task), 0.0).await.unwrap());
    }
    let found = lead::growing_job(&*c, job).await.unwrap().unwrap();
    let split = db.transact(1, async |tx| lead::encode_ahead(tx, &found, &(1..3)).await);
    assert_eq!(split.await.unwrap(), 0, "the tasks for the lowest rung exist");
    assert_eq!(rungs(&db, 1).await, ["360p", "480p"]);
    // An ended job gets no tasks.
    c.execute("UPDATE jobs SET state = 'failed'", &[]).await.unwrap();
    let ended = db.transact(1, async |tx| lead::encode_ahead(tx, &found, &(1..9)).await);
    assert_eq!(ended.await.unwrap(), 0);
    assert_eq!(rungs(&db, 8).await, ["360p 480p"]);
}
