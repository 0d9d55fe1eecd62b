//! Claims and leases: which worker gets which task, and which leases still allow changes to it.

use std::collections::HashSet;

use control::{
    db::{
        claim::{self, Claimed, Share},
        completion,
        lease::{self, FailedAttempt, Progress},
        workers,
    },
    domain::{Failure, TaskKind, TaskState},
    plan::{
        self,
        retry::{Cause, RetryDelays},
    },
};

use crate::rows::{
    GRACE, LEASE, claim, claim_share, connect, db, expire, job, job_of, lease as lease_of, number,
    state, video, worker,
};

fn failed_attempt(code: &str) -> FailedAttempt {
    FailedAttempt {
        failure: Failure::new(code, "on purpose"),
        retryable: true,
        backoff_seconds: 0.0,
        expired_only: false,
        cause: Cause::Unknown,
        probe_retry: RetryDelays::default(),
    }
}

fn heartbeat(claimed: &Claimed, fraction: f64) -> [Progress; 1] {
    [Progress { lease: lease_of(claimed), fraction, speed: 2.0 }]
}

#[tokio::test]
async fn the_first_chunk_is_claimed_first_and_collect_waits() {
    let db = db().await;
    let video = video(&db).await;
    job(&db, video, 65).await;
    let claimed = claim(&db, &worker("a"), 100).await;
    let order: Vec<(TaskKind, u32, usize)> =
        claimed.iter().map(|c| (c.kind, c.ordinal, c.rungs.len())).collect();
    let chunks = (1..5).map(|n| (TaskKind::Chunk, n, 2));
    let mut expected =
        vec![(TaskKind::Chunk, 0, 1), (TaskKind::Audio, 0, 0), (TaskKind::Chunk, 0, 1)];
    expected.extend(chunks);
    assert_eq!(order, expected);
    assert_eq!(claimed[0].rungs, ["360p"]);
    assert!(claimed.iter().all(|c| c.attempt == 1 && c.token > 0));
    assert_eq!(number(&db, "SELECT count(*) FROM jobs WHERE state = 'running'").await, 1);
}

#[tokio::test]
async fn an_express_slot_takes_only_express_tasks() {
    let db = db().await;
    let video = video(&db).await;
    job(&db, video, 65).await;
    let express = Share { limit: 10, priority_min: plan::PRIORITY_EXPRESS_MIN };
    let claimed = claim_share(&db, &worker("busy"), express).await;
    let order: Vec<(TaskKind, u32)> = claimed.iter().map(|c| (c.kind, c.ordinal)).collect();
    assert_eq!(order, [(TaskKind::Chunk, 0), (TaskKind::Audio, 0)]);
    assert!(claim_share(&db, &worker("busy"), express).await.is_empty());
}

#[tokio::test]
async fn concurrent_claims_never_return_the_same_task() {
    let db = db().await;
    let video = video(&db).await;
    job(&db, video, 200).await;
    let claims = (0..8).map(|n| {
        let db = db.clone();
        async move {
            let mut mine = Vec::new();
            loop {
                let claimed = claim(&db, &worker(&format!("w{n}")), 2).await;
                if claimed.is_empty() {
                    return mine;
                }
                mine.extend(claimed);
            }
        }
    });
    let claimed: Vec<Claimed> = futures::future::join_all(claims).await.concat();
    let tasks: HashSet<_> = claimed.iter().map(|c| c.task).collect();
    let tokens: HashSet<_> = claimed.iter().map(|c| c.token).collect();
    let expected = number(&db, "SELECT count(*) FROM tasks WHERE kind <> 'collect'").await;
    assert_eq!(tasks.len() as i64, expected);
    assert_eq!((claimed.len(), tokens.len()), (tasks.len(), tasks.len()));
}

#[tokio::test]
async fn a_worker_gets_only_tasks_of_its_kinds() {
    let db = db().await;
    let video = video(&db).await;
    job(&db, video, 30).await;
    let mut deaf = worker("no-encoder");
    deaf.kinds = vec![TaskKind::Audio];
    let claimed = claim(&db, &deaf, 10).await;
    assert_eq!(claimed.iter().map(|c| c.kind).collect::<Vec<_>>(), [TaskKind::Audio]);
}

/// The plan for a video of three seconds with one rendition per codec.
fn mixed() -> plan::Plan {
    let profile = |codec: media::Codec| media::ladder::Profile {
        name: codec.text().to_owned(),
        codec,
        preset: codec.default_preset().to_owned(),
        ..media::ladder::default_profiles().remove(0)
    };
    let profiles = media::Codec::ALL.map(profile);
    let wish =
        plan::TranscodeOptions { hls: true, dash: true, ..plan::TranscodeOptions::default() };
    plan::plan(&crate::rows::source(3), &profiles, &wish).unwrap()
}

#[tokio::test]
async fn a_chunk_is_leased_only_to_a_worker_that_has_its_encoder() {
    let db = db().await;
    let video = video(&db).await;
    job_of(&db, video, mixed()).await;
    let with = |encoders: &[&str]| {
        let mut worker = worker(&encoders.join(" "));
        worker.encoders = encoders.iter().map(|e| (*e).to_owned()).collect();
        worker
    };
    let rungs = |claimed: &[Claimed]| {
        let chunks = claimed.iter().filter(|c| c.kind == TaskKind::Chunk);
        chunks.flat_map(|c| c.rungs.clone()).collect::<Vec<_>>()
    };
    let (av1, h264) = (with(&["libsvtav1"]), with(&["libx264"]));
    let c = db.get().await.unwrap();
    for w in [&av1, &h264] {
        connect(&*c, w.worker, &w.name, &w.encoders).await;
    }
    let claimed = claim(&db, &av1, 10).await;
    assert_eq!(rungs(&claimed), ["av1"]);
    assert_eq!(rungs(&claim(&db, &h264, 10).await), ["h264"]);
    // No other worker has the encoder, so the worker on which it failed gets it again.
    let failed = claimed.iter().find(|c| c.kind == TaskKind::Chunk).unwrap();
    completion::end_attempt(&*c, lease_of(failed), &failed_attempt("ffmpeg_failed"), GRACE)
        .await
        .unwrap();
    assert!(claim(&db, &h264, 10).await.is_empty());
    assert_eq!(rungs(&claim(&db, &av1, 10).await), ["av1"]);
    assert_eq!(rungs(&claim(&db, &with(&["libx265", "libx264"]), 10).await), ["hevc"]);
}

#[tokio::test]
async fn a_failed_task_is_leased_to_another_worker_if_there_is_one() {
    let db = db().await;
    let video = video(&db).await;
    job(&db, video, 3).await;
    let (first, second) = (worker("first"), worker("second"));
    let c = db.get().await.unwrap();
    for w in [&first, &second] {
        connect(&*c, w.worker, &w.name, &[]).await;
    }
    let failed = claim(&db, &first, 1).await.remove(0);
    let after =
        completion::end_attempt(&*c, lease_of(&failed), &failed_attempt("ffmpeg_failed"), GRACE)
            .await;
    assert_eq!(after.unwrap().unwrap().state, TaskState::Ready);
    let others = claim(&db, &first, 10).await;
    assert!(others.iter().all(|c| c.task != failed.task));
    let again = claim(&db, &second, 1).await.remove(0);
    assert_eq!((again.task, again.attempt), (failed.task, 2));
    // If no other worker is connected, the worker on which it failed gets it again.
    completion::end_attempt(&*c, lease_of(&again), &failed_attempt("ffmpeg_failed"), GRACE)
        .await
        .unwrap();
    workers::disconnect(&*c, second.worker).await.unwrap();
    assert_eq!(claim(&db, &first, 1).await.remove(0).task, failed.task);
}

#[tokio::test]
async fn a_task_cannot_be_claimed_during_its_backoff() {
    let db = db().await;
    let video = video(&db).await;
    job(&db, video, 3).await;
    let failed = claim(&db, &worker("a"), 1).await.remove(0);
    let slow = FailedAttempt { backoff_seconds: 100.0, ..failed_attempt("timeout") };
    let mut c = db.get().await.unwrap();
    // `now()` does not change within a transaction.
    let tx = c.transaction().await.unwrap();
    completion::end_attempt(&tx, lease_of(&failed), &slow, GRACE).await.unwrap();
    let left = "SELECT extract(epoch FROM max(run_after) - now())::int8 FROM tasks";
    let left: i64 = tx.query_one(left, &[]).await.unwrap().get(0);
    tx.commit().await.unwrap();
    // Between half of the backoff and all of it, but at most one minute.
    assert!((45..=60).contains(&left), "{left}");
    assert!(claim(&db, &worker("b"), 10).await.iter().all(|c| c.task != failed.task));
}

#[tokio::test]
async fn a_stale_token_changes_nothing() {
    let db = db().await;
    let video = video(&db).await;
    job(&db, video, 3).await;
    let stale = claim(&db, &worker("slept"), 1).await.remove(0);
    expire(&db).await;
    let c = db.get().await.unwrap();
    let expired = FailedAttempt { expired_only: true, ..failed_attempt("lease_expired") };
    assert!(
        completion::end_attempt(&*c, lease_of(&stale), &expired, GRACE).await.unwrap().is_some()
    );
    let fresh = claim(&db, &worker("awake"), 1).await.remove(0);
    assert_eq!(fresh.task, stale.task);
    assert!(fresh.token > stale.token);

    let id = lease_of(&stale);
    let beat = lease::extend(&*c, worker("slept").worker, &heartbeat(&stale, 0.5), LEASE).await;
    assert!(beat.unwrap().is_empty());
    assert!(!lease::release(&*c, id, 0.0).await.unwrap());
    assert!(lease::end_attempt(&*c, id, &failed_attempt("late")).await.unwrap().is_none());
    assert!(!completion::finish_task(&*c, id).await.unwrap());
    assert!(lease::held(&*c, &[id]).await.unwrap().is_empty());
    assert_eq!(lease::held(&*c, &[lease_of(&fresh)]).await.unwrap(), [fresh.task]);
    assert_eq!(state(&db, &fresh).await, "leased");
}

#[tokio::test]
async fn ending_an_expired_lease_too_late_changes_nothing() {
    let db = db().await;
    let video = video(&db).await;
    job(&db, video, 3).await;
    let claimed = claim(&db, &worker("a"), 2).await;
    expire(&db).await;
    let c = db.get().await.unwrap();
    let listed = lease::expired(&*c, None, 10).await.unwrap();
    assert_eq!(listed.len(), 2);
    // One completes and the other is renewed, both after the reaper has read its list.
    assert!(completion::finish_task(&*c, lease_of(&claimed[0])).await.unwrap());
    let beat = lease::extend(&*c, worker("a").worker, &heartbeat(&claimed[1], 0.5), LEASE).await;
    assert_eq!(beat.unwrap().len(), 1);
    let expired = FailedAttempt { expired_only: true, ..failed_attempt("lease_expired") };
    for lease::Expired { lease, .. } in listed {
        assert!(completion::end_attempt(&*c, lease, &expired, GRACE).await.unwrap().is_none());
    }
    assert_eq!(state(&db, &claimed[0]).await, "done");
    assert_eq!(state(&db, &claimed[1]).await, "leased");
}

#[tokio::test]
async fn heartbeats_extend_on_the_databases_clock_and_follow_the_worker() {
    let db = db().await;
    let video = video(&db).await;
    job(&db, video, 3).await;
    let claimed = claim(&db, &worker("a"), 1).await.remove(0);
    expire(&db).await;
    let c = db.get().await.unwrap();
    let reconnected = worker("a").worker;
    let kept = lease::extend(&*c, reconnected, &heartbeat(&claimed, 0.25), LEASE).await.unwrap();
    assert_eq!(kept, [(claimed.task, claimed.job)]);
    assert!(lease::expired(&*c, None, 10).await.unwrap().is_empty());
    assert_eq!(lease::of_worker(&*c, reconnected).await.unwrap(), [lease_of(&claimed)]);
    let row = "SELECT (fraction * 100)::int8 FROM tasks WHERE state = 'leased'";
    assert_eq!(number(&db, row).await, 25);
}

#[tokio::test]
async fn a_released_lease_does_not_count_as_an_attempt() {
    let db = db().await;
    let video = video(&db).await;
    job(&db, video, 3).await;
    for _ in 0..10 {
        let claimed = claim(&db, &worker("draining"), 1).await.remove(0);
        assert_eq!(claimed.attempt, 1);
        let c = db.get().await.unwrap();
        assert!(lease::release(&*c, lease_of(&claimed), 0.0).await.unwrap());
    }
}

#[tokio::test]
async fn ready_counts_the_claimable_tasks() {
    let db = db().await;
    let video = video(&db).await;
    job(&db, video, 3).await;
    let c = db.get().await.unwrap();
    let kinds = worker("a").kinds;
    assert_eq!(claim::ready(&*c, &kinds, 100).await.unwrap(), 3);
    assert_eq!(claim::ready(&*c, &kinds, 2).await.unwrap(), 2);
    assert_eq!(claim::ready(&*c, &[TaskKind::Collect], 100).await.unwrap(), 0);
}
