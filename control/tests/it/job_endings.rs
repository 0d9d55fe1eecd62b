//! How jobs and videos end, and which rows and chores remain.

use control::{
    db::{
        chores::{self, Chore},
        completion::{self, JobOutcome},
        jobs,
        lease::FailedAttempt,
        outputs, tasks, uploads,
        videos::{self, Order},
        workers,
    },
    domain::{Failure, JobState, TaskKind, VideoState},
    page::Cursor,
    plan::retry::{Cause, RetryDelays},
};

use crate::rows::{
    GRACE, claim, commit, connect, db, job, lease, number, output, owner, source, state, video,
    worker,
};

fn finalizer() -> control::db::claim::Claimer {
    let mut finalizer = worker("control");
    finalizer.kinds = vec![TaskKind::Collect];
    finalizer
}

#[tokio::test]
async fn a_task_that_always_fails_ends_its_job_with_a_reason_and_frees_the_queue() {
    let db = db().await;
    let video = video(&db).await;
    let id = job(&db, video, 30).await;
    let c = db.get().await.unwrap();
    let crash = FailedAttempt {
        failure: Failure::new("ffmpeg_crashed", "ended by signal 11"),
        retryable: true,
        backoff_seconds: 0.0,
        expired_only: false,
        cause: Cause::Unknown,
        probe_retry: RetryDelays::default(),
    };
    let mut attempts = 0;
    while jobs::state(&*c, id).await.unwrap().unwrap().0 != JobState::Failed {
        let claimed = claim(&db, &worker(&format!("w{attempts}")), 1).await.remove(0);
        completion::end_attempt(&*c, lease(&claimed), &crash, GRACE).await.unwrap().unwrap();
        attempts += 1;
    }
    assert_eq!(attempts, tasks::ATTEMPTS_MAX);
    let row = jobs::get(&*c, "default", id).await.unwrap().unwrap();
    assert_eq!(row.failure.unwrap().code, "ffmpeg_crashed");
    let row = videos::get(&*c, "default", video).await.unwrap().unwrap();
    assert_eq!(
        (row.state, row.failure.unwrap().code.as_str()),
        (VideoState::Failed, "ffmpeg_crashed")
    );
    let open = "SELECT count(*) FROM tasks WHERE state IN ('ready', 'leased', 'blocked')";
    assert_eq!(number(&db, open).await, 0);
    assert!(claim(&db, &worker("z"), 10).await.is_empty());
}

#[tokio::test]
async fn a_permanent_error_fails_the_job_at_once() {
    let db = db().await;
    let video = video(&db).await;
    let id = job(&db, video, 30).await;
    let c = db.get().await.unwrap();
    let claimed = claim(&db, &worker("a"), 1).await.remove(0);
    let failed_attempt = FailedAttempt {
        failure: Failure::new("output_too_large", "too large"),
        retryable: false,
        backoff_seconds: 0.0,
        expired_only: false,
        cause: Cause::Unknown,
        probe_retry: RetryDelays::default(),
    };
    completion::end_attempt(&*c, lease(&claimed), &failed_attempt, GRACE).await.unwrap().unwrap();
    assert_eq!(jobs::state(&*c, id).await.unwrap().unwrap().0, JobState::Failed);
}

#[tokio::test]
async fn a_retry_keeps_committed_outputs() {
    let db = db().await;
    let video = video(&db).await;
    let id = job(&db, video, 30).await;
    let c = db.get().await.unwrap();
    let claimed = claim(&db, &worker("a"), 2).await;
    commit(&db, id, &output("360p", 0, claimed[0].token)).await;
    assert!(completion::finish_task(&*c, lease(&claimed[0])).await.unwrap());
    let failure = Failure::new("x", "y");
    assert!(completion::end_job(&*c, id, &JobOutcome::Failed(failure), GRACE).await.unwrap());
    assert!(jobs::reopen(&*c, id).await.unwrap());
    tasks::requeue_unfinished(&*c, id).await.unwrap();
    assert_eq!(state(&db, &claimed[0]).await, "done");
    assert_eq!(state(&db, &claimed[1]).await, "ready");
    assert_eq!(number(&db, "SELECT count(*) FROM tasks WHERE state = 'blocked'").await, 1);
    // A cancelled job has no outputs, so a retry starts from the beginning.
    assert!(completion::end_job(&*c, id, &JobOutcome::Cancelled, GRACE).await.unwrap());
    assert!(!completion::end_job(&*c, id, &JobOutcome::Cancelled, GRACE).await.unwrap());
    assert_eq!(number(&db, "SELECT count(*) FROM outputs").await, 0);
    assert!(jobs::reopen(&*c, id).await.unwrap());
    tasks::requeue_unfinished(&*c, id).await.unwrap();
    assert_eq!(state(&db, &claimed[0]).await, "ready");
}

#[tokio::test]
async fn a_cancel_ends_the_leases_and_unpublishes_unfinished_renditions() {
    let db = db().await;
    let video = video(&db).await;
    let id = job(&db, video, 30).await;
    let c = db.get().await.unwrap();
    let claimed = claim(&db, &worker("a"), 1).await.remove(0);
    commit(&db, id, &output("360p", 0, 1)).await;
    commit(&db, id, &output("audio-0", 0, 1)).await;
    assert!(outputs::publish(&*c, video, id, &["360p".to_owned()], Some("audio-0")).await.unwrap());
    assert_eq!(outputs::served(&*c, video).await.unwrap().unwrap().1, Some(id));
    assert!(completion::end_job(&*c, id, &JobOutcome::Cancelled, GRACE).await.unwrap());
    assert!(!completion::finish_task(&*c, lease(&claimed)).await.unwrap());
    let row = videos::get(&*c, "default", video).await.unwrap().unwrap();
    assert_eq!((row.state, row.served_job, row.published_at), (VideoState::Uploaded, None, None));
}

#[tokio::test]
async fn nothing_is_published_before_video_and_audio() {
    let db = db().await;
    let video = video(&db).await;
    let id = job(&db, video, 30).await;
    let c = db.get().await.unwrap();
    commit(&db, id, &output("audio-0", 0, 1)).await;
    assert!(
        !outputs::publish(&*c, video, id, &["360p".to_owned()], Some("audio-0")).await.unwrap()
    );
    commit(&db, id, &output("360p", 1, 1)).await;
    assert!(
        !outputs::publish(&*c, video, id, &["360p".to_owned()], Some("audio-0")).await.unwrap()
    );
    commit(&db, id, &output("360p", 0, 1)).await;
    assert!(outputs::publish(&*c, video, id, &["360p".to_owned()], Some("audio-0")).await.unwrap());
    assert!(
        !outputs::publish(&*c, video, id, &["360p".to_owned()], Some("audio-0")).await.unwrap()
    );
}

#[tokio::test]
async fn collect_runs_last_and_completes_the_job() {
    let db = db().await;
    let video = video(&db).await;
    let id = job(&db, video, 30).await;
    let c = db.get().await.unwrap();
    let claimed = claim(&db, &worker("a"), 100).await;
    for task in &claimed {
        assert!(!tasks::unblock(&*c, id).await.unwrap());
        assert!(claim(&db, &finalizer(), 1).await.is_empty());
        assert!(completion::finish_task(&*c, lease(task)).await.unwrap());
    }
    assert!(tasks::unblock(&*c, id).await.unwrap());
    let finalization = claim(&db, &finalizer(), 1).await.remove(0);
    let now = jobs::now_ms(&*c).await.unwrap();
    assert!(completion::complete(&*c, video, id, lease(&finalization), now, GRACE).await.unwrap());
    assert!(!completion::complete(&*c, video, id, lease(&finalization), now, GRACE).await.unwrap());
    let row = videos::get(&*c, "default", video).await.unwrap().unwrap();
    assert_eq!((row.state, row.served_job), (VideoState::Ready, Some(id)));
    let row = jobs::get(&*c, "default", id).await.unwrap().unwrap();
    assert_eq!((row.state, row.fraction, row.finished_at), (JobState::Completed, 1.0, Some(now)));
}

#[tokio::test]
async fn a_failed_second_job_leaves_the_first_one_served() {
    let db = db().await;
    let video = video(&db).await;
    let first = job(&db, video, 3).await;
    let c = db.get().await.unwrap();
    for task in claim(&db, &worker("a"), 100).await {
        completion::finish_task(&*c, lease(&task)).await.unwrap();
    }
    tasks::unblock(&*c, first).await.unwrap();
    let finalization = claim(&db, &finalizer(), 1).await.remove(0);
    let now = jobs::now_ms(&*c).await.unwrap();
    completion::complete(&*c, video, first, lease(&finalization), now, GRACE).await.unwrap();
    let second = job(&db, video, 3).await;
    assert_eq!(jobs::active_of(&*c, video).await.unwrap(), Some(second));
    let failure = Failure::new("x", "y");
    completion::end_job(&*c, second, &JobOutcome::Failed(failure), GRACE).await.unwrap();
    let row = videos::get(&*c, "default", video).await.unwrap().unwrap();
    assert_eq!((row.state, row.served_job), (VideoState::Ready, Some(first)));
    assert!(row.failure.is_none());
}

#[tokio::test]
async fn only_one_of_two_commits_of_a_chunk_succeeds() {
    let db = db().await;
    let video = video(&db).await;
    let id = job(&db, video, 30).await;
    let commits = (1..=8).map(|token| {
        let db = db.clone();
        async move {
            let c = db.get().await.unwrap();
            outputs::fix_init(&*c, id, "360p", b"init").await.unwrap();
            let mine = output("360p", 0, token);
            let won = outputs::insert(&*c, id, &mine, token.cast_signed()).await.unwrap();
            // A repetition returns the same result.
            assert_eq!(outputs::insert(&*c, id, &mine, token.cast_signed()).await.unwrap(), won);
            won
        }
    });
    let won = futures::future::join_all(commits).await;
    assert_eq!(won.into_iter().filter(|won| *won).count(), 1);
    assert_eq!(number(&db, "SELECT count(*) FROM outputs").await, 1);
    let c = db.get().await.unwrap();
    assert!(!outputs::fix_init(&*c, id, "360p", b"another").await.unwrap());
    let committed = outputs::of_job(&*c, id).await.unwrap();
    assert_eq!(committed[0].fragments, output("360p", 0, 1).fragments);
    assert_eq!(outputs::count(&*c, id, &["360p".to_owned()], Some(0)).await.unwrap(), 1);
    assert_eq!(outputs::keys(&*c, id).await.unwrap().len(), 1);
    assert_eq!(outputs::inits(&*c, id).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_deleted_video_rejects_outputs_and_its_objects_are_deleted_again() {
    let db = db().await;
    let video = video(&db).await;
    let id = job(&db, video, 30).await;
    let c = db.get().await.unwrap();
    let claimed = claim(&db, &worker("a"), 1).await.remove(0);
    assert!(completion::delete_video(&*c, video, 0.0).await.unwrap());
    assert!(!completion::delete_video(&*c, video, 0.0).await.unwrap());
    assert!(!videos::touch(&*c, video).await.unwrap());
    assert!(!completion::finish_task(&*c, lease(&claimed)).await.unwrap());
    assert!(videos::get(&*c, "default", video).await.unwrap().is_none());
    assert!(jobs::get(&*c, "default", id).await.unwrap().is_none());
    let mut taken = Vec::new();
    while let Some(chore) = chores::take(&*c).await.unwrap() {
        taken.push(chore);
    }
    // One sweep runs immediately, the other when the leases have expired; purges have their own
    // loop.
    assert_eq!(taken.iter().filter(|t| t.chore == Chore::Video(video)).count(), 2);
    assert_eq!(chores::take_purges(&*c, 10).await.unwrap().len(), 1);
    videos::delete_tombstone(&*c, video, 60.0).await.unwrap();
    assert_ne!(number(&db, "SELECT count(*) FROM tasks").await, 0);
    videos::delete_tombstone(&*c, video, 0.0).await.unwrap();
    assert_eq!(number(&db, "SELECT count(*) FROM tasks").await, 0);
    // The last sweep does not need the video's row.
    assert_eq!(
        number(&db, "SELECT count(*) FROM chores WHERE run_after > now() + '50 min'").await,
        1
    );
}

#[tokio::test]
async fn paging_returns_every_item_once() {
    let db = db().await;
    let c = db.get().await.unwrap();
    let mut made = Vec::new();
    for _ in 0..5 {
        let video = video(&db).await;
        made.push((video, job(&db, video, 3).await));
    }
    made.reverse();
    let all = videos::Filter::default();
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let order = Order::Created { descending: true, after };
        let page = videos::list(&*c, "default", all, &order, 2).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(Cursor { time: last.created_at, id: last.id.uuid() });
        seen.extend(page.into_iter().map(|v| v.id));
    }
    assert_eq!(seen, made.iter().map(|(video, _)| *video).collect::<Vec<_>>());
    let every = jobs::Filter::default();
    let jobs = jobs::list(&*c, "default", every, None, 10).await.unwrap();
    let jobs: Vec<_> = jobs.into_iter().map(|j| j.id).collect();
    assert_eq!(jobs, made.iter().map(|(_, job)| *job).collect::<Vec<_>>());
    let of_video = jobs::Filter { video: Some(made[2].0), ..every };
    let one = jobs::list(&*c, "default", of_video, None, 10).await.unwrap();
    assert_eq!(one.len(), 1);
    let first = Order::Created { descending: true, after: None };
    assert!(videos::list(&*c, "other", all, &first, 10).await.unwrap().is_empty());
    assert!(jobs::list(&*c, "other", every, None, 10).await.unwrap().is_empty());
    assert!(videos::get(&*c, "other", made[0].0).await.unwrap().is_none());
    assert!(jobs::get(&*c, "other", made[0].1).await.unwrap().is_none());
}

#[tokio::test]
async fn a_probe_completes_or_fails_the_video() {
    let db = db().await;
    let c = db.get().await.unwrap();
    let mut ends = Vec::new();
    for good in [true, false] {
        let id = media::VideoId::new(uuid::Uuid::now_v7());
        let new = videos::NewVideo {
            id,
            title: "t".to_owned(),
            description: String::new(),
            public: false,
            store: "file:///nowhere".to_owned(),
            auto_transcode: false,
        };
        videos::create(&*c, &owner(), &new).await.unwrap();
        let received = uploads::Received {
            title: String::new(),
            description: "d".to_owned(),
            public: Some(true),
            bytes: 1,
            sha256: vec![0; 32],
            filename: String::new(),
            auto_transcode: false,
            arrived: std::time::Instant::now(),
        };
        assert!(uploads::received(&*c, id, &received).await.unwrap());
        assert!(!uploads::received(&*c, id, &received).await.unwrap());
        let probe = media::JobId::new(uuid::Uuid::now_v7());
        jobs::create_probe(&*c, "default", id, probe).await.unwrap();
        let tasks = [control::plan::probe()];
        tasks::create(&*c, "default", id, probe, &tasks).await.unwrap();
        let claimed = claim(&db, &worker("a"), 1).await.remove(0);
        if good {
            let json = serde_json::to_value(source(3)).unwrap();
            assert!(completion::probed(&*c, id, probe, lease(&claimed), &json).await.unwrap());
            assert!(outputs::finished_by(&*c, lease(&claimed)).await.unwrap());
        } else {
            let failed_attempt = FailedAttempt {
                failure: Failure::new("not_a_video", "no video track"),
                retryable: false,
                backoff_seconds: 0.0,
                expired_only: false,
                cause: Cause::Source,
                probe_retry: RetryDelays::default(),
            };
            completion::end_attempt(&*c, lease(&claimed), &failed_attempt, GRACE).await.unwrap();
        }
        let row = videos::get(&*c, "default", id).await.unwrap().unwrap();
        assert_eq!((row.title.as_str(), row.description.as_str(), row.public), ("t", "d", true));
        ends.push((row.state, row.source.is_some(), row.failure.map(|f| f.code)));
    }
    let not_a_video = Some("not_a_video".to_owned());
    let expected = [(VideoState::Uploaded, true, None), (VideoState::Failed, false, not_a_video)];
    assert_eq!(ends, expected);
}

#[tokio::test]
async fn worker_connections_are_listed_counted_and_deleted() {
    let db = db().await;
    let c = db.get().await.unwrap();
    let (a, b) = (worker("a").worker, worker("b").worker);
    connect(&*c, a, "a", &[]).await;
    connect(&*c, b, "b", &[]).await;
    assert!(workers::drain(&*c, b).await.unwrap());
    assert!(workers::touch(&*c, b).await.unwrap() && !workers::touch(&*c, a).await.unwrap());
    workers::disconnect(&*c, b).await.unwrap();
    assert_eq!(workers::connected(&*c).await.unwrap(), 1);
    let listed = workers::list(&*c, 10).await.unwrap();
    let listed: Vec<_> = listed.iter().map(|w| (w.name.as_str(), w.draining)).collect();
    assert_eq!(listed, [("a", false), ("b", true)]);
    c.execute("UPDATE workers SET seen_at = now() - interval '2 days'", &[]).await.unwrap();
    workers::delete_old(&*c).await.unwrap();
    assert_eq!(number(&db, "SELECT count(*) FROM workers").await, 0);
}

#[tokio::test]
async fn two_processes_with_the_same_name_count_as_two_workers() {
    let db = db().await;
    let c = db.get().await.unwrap();
    let connected = async |id: media::WorkerId, instance: &str| {
        let (name, encoders) = ("a", &[][..]);
        let worker = workers::Connecting { id, name, instance, slots: 1, encoders, version: "" };
        workers::connect(&*c, &worker).await.unwrap()
    };
    let (first, second) = (worker("a").worker, worker("a").worker);
    assert_eq!(connected(first, "0123456789").await, "a");
    assert_eq!(connected(second, "9876543210").await, "a~76543210");
    // One that reconnects before its old stream has ended keeps its name.
    assert_eq!(connected(worker("a").worker, "0123456789").await, "a");
    assert_eq!(connected(worker("a").worker, "9876543210").await, "a~76543210");
    // A worker of an earlier release does not state which process it is.
    let old = worker("a").worker;
    let text = old.to_string();
    assert_eq!(connected(old, "").await, format!("a~{}", &text[text.len() - 8..]));
    c.execute("UPDATE workers SET connected = false", &[]).await.unwrap();
    assert_eq!(connected(worker("a").worker, "9876543210").await, "a");
}
