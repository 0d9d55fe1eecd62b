//! What an instance does without being asked. Every loop survives the loss of Postgres, Redis and the
//! stores: it logs the first error, backs off, and goes on.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures::future::BoxFuture;
use jiff::Timestamp;
use media::VideoId;
use tokio::sync::Notify;

use crate::{
    admit,
    bus::{self, Event},
    collect,
    db::{DbError, causes, claim, jobs, lease, lease::Setback, load, revocations, videos, workers},
    deps::Deps,
    domain::{Failure, TaskKind},
    index::IndexProblem,
    metrics::Workers,
    probes, purge, status, sweep, uploads,
    verdict::Cause,
};

const REAP_EVERY: Duration = Duration::from_millis(500);
/// Leases of one page.
const REAP_MAX: i64 = 200;
const READY_EVERY: Duration = Duration::from_millis(500);
const READY_MAX: i64 = 64;
const COLLECT_EVERY: Duration = Duration::from_secs(1);
const CHORES_EVERY: Duration = Duration::from_secs(1);
const PURGES_EVERY: Duration = Duration::from_secs(1);
const CHANGES_EVERY: Duration = Duration::from_secs(1);
const UPLOADS_EVERY: Duration = Duration::from_secs(2);
/// How old what is measured may be.
const MEASURE_EVERY: Duration = Duration::from_secs(5);
const TIDY_EVERY: Duration = Duration::from_secs(10);
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// A transaction's changes show up this much later than they say, at most.
const CHANGES_OVERLAP: Duration = Duration::from_secs(15);

/// One round of a loop.
type Round = BoxFuture<'static, Result<(), IndexProblem>>;

/// Starts every loop on the tracker.
pub fn spawn(deps: &Arc<Deps>) {
    let start = |name, every, round: fn(Arc<Deps>) -> Round, call: fn(&Deps) -> Option<&Notify>| {
        deps.shutdown.tracker.spawn(repeat(deps.clone(), name, every, round, call));
    };
    start("reap", REAP_EVERY, |d| Box::pin(async move { reap(&d).await }), |_| None);
    start("call", READY_EVERY, |d| Box::pin(async move { call(&d).await }), |_| None);
    start(
        "collect",
        COLLECT_EVERY,
        |d| Box::pin(async move { collect::round(&d).await }),
        |d| Some(&d.bus.collect),
    );
    start(
        "chores",
        CHORES_EVERY,
        |d| Box::pin(async move { sweep::round(&d).await }),
        |d| Some(&d.bus.chores),
    );
    start(
        "uploads",
        UPLOADS_EVERY,
        |d| Box::pin(async move { uploads::round(&d).await }),
        |_| None,
    );
    start(
        "purges",
        PURGES_EVERY,
        |d| Box::pin(async move { purge::round(&d).await }),
        |d| Some(&d.bus.purges),
    );
    start("measure", MEASURE_EVERY, |d| Box::pin(async move { measure(&d).await }), |_| None);
    start("tidy", TIDY_EVERY, |d| Box::pin(async move { tidy(&d).await }), |_| None);
    deps.shutdown.tracker.spawn(changes(deps.clone()));
    deps.shutdown.tracker.spawn(revocations_heard(deps.clone()));
}

/// Takes what other instances revoked as soon as it is heard; the rows say it again.
async fn revocations_heard(deps: Arc<Deps>) {
    let mut events = deps.bus.listen();
    loop {
        tokio::select! {
            () = deps.shutdown.soft.cancelled() => return,
            event = bus::next(&mut events) => {
                if let Event::Revoked(id) = event {
                    deps.verifier.revoke([id]);
                }
            }
        }
    }
}

/// Runs rounds until the soft stop: `every` so often, and when called.
async fn repeat(
    deps: Arc<Deps>,
    name: &'static str,
    every: Duration,
    round: fn(Arc<Deps>) -> Round,
    call: fn(&Deps) -> Option<&Notify>,
) {
    let mut failures = 0;
    loop {
        let pause = match round(deps.clone()).await {
            Ok(()) => {
                failures = 0;
                every
            }
            Err(error) => backoff(name, &error, every, &mut failures),
        };
        let called = async {
            match call(&deps) {
                Some(notify) if failures == 0 => notify.notified().await,
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            () = deps.shutdown.soft.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
            () = called => {}
        }
    }
}

fn backoff(name: &str, error: &IndexProblem, every: Duration, failures: &mut u32) -> Duration {
    *failures += 1;
    // Once per outage: the same line every second tells nothing new.
    if *failures == 1 {
        let cause = causes(error);
        tracing::warn!(task = name, %error, cause, "background work failed, go on trying");
    }
    (every * 2_u32.pow((*failures).min(4))).min(BACKOFF_MAX)
}

/// Returns tasks whose leases ran out. One that cannot be returned, whatever its row holds, is no reason to
/// leave the others; the next round meets it again.
async fn reap(deps: &Deps) -> Result<(), IndexProblem> {
    let (mut after, mut failed) = (None, None);
    loop {
        let page = lease::expired(&*deps.db.get().await?, after, REAP_MAX).await?;
        for expired in &page {
            let setback = Setback {
                failure: Failure::new("lease_expired", "the worker was not heard of in time"),
                retryable: true,
                backoff_seconds: 0.0,
                expired_only: true,
                cause: Cause::Unknown,
                probe_retry: deps.policy.probe_retry,
            };
            match admit::end_attempt(deps, expired.lease, &setback).await {
                Ok(true) => tracing::info!(task.id = %expired.lease.task, "lease expired"),
                Ok(false) => {}
                Err(error) if error.transient() => return Err(error.into()),
                Err(error) => failed = Some(error),
            }
        }
        if (page.len() as i64) < REAP_MAX {
            return failed.map_or(Ok(()), |error| Err(error.into()));
        }
        after = page.last().copied();
    }
}

/// Calls sessions for what has become ready without anybody saying so: backoffs that are over, and
/// whatever other instances queued.
async fn call(deps: &Deps) -> Result<(), IndexProblem> {
    let ready = claim::ready(&*deps.db.get().await?, &TaskKind::LEASED, READY_MAX).await?;
    if let Ok(ready) = usize::try_from(ready)
        && ready > 0
    {
        deps.bus.call(ready);
    }
    Ok(())
}

async fn tidy(deps: &Deps) -> Result<(), IndexProblem> {
    let db = deps.db.get().await?;
    workers::tidy(&*db).await?;
    revocations::tidy(&*db).await?;
    drop(db);
    probes::give_up(deps).await?;
    sweep::stale_uploads(deps).await
}

/// Looks at what there is to do and at the parts, for the metrics.
async fn measure(deps: &Deps) -> Result<(), IndexProblem> {
    deps.metrics.dependencies(&status::get(deps).await);
    let db = deps.db.get().await?;
    let load = load::by_kind(&*db, deps.lease_seconds()).await?;
    let workers = Workers {
        connected: workers::connected(&*db).await?.unsigned_abs(),
        unhealthy: workers::unhealthy(&*db).await?.unsigned_abs(),
    };
    deps.metrics.found(load, workers);
    Ok(())
}

/// What has been seen of the changes that all instances make.
#[derive(Default)]
struct Seen {
    until: Option<Timestamp>,
    revisions: HashMap<VideoId, i64>,
}

/// Finds what other instances changed, and counts running jobs.
async fn changes(deps: Arc<Deps>) {
    let mut seen = Seen::default();
    let mut failures = 0;
    loop {
        let pause = match look(&deps, &mut seen).await {
            Ok(()) => {
                failures = 0;
                CHANGES_EVERY
            }
            Err(error) => backoff("changes", &error, CHANGES_EVERY, &mut failures),
        };
        tokio::select! {
            () = deps.shutdown.soft.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

async fn look(deps: &Deps, seen: &mut Seen) -> Result<(), IndexProblem> {
    let db = deps.db.get().await?;
    let now = db.query_one("SELECT now() AS now", &[]).await.map_err(DbError::from)?;
    let now: Timestamp = now.try_get("now").map_err(DbError::from)?;
    // The first round only takes stock: nobody listened before.
    let first = seen.until.is_none();
    let since = seen.until.unwrap_or(now) - CHANGES_OVERLAP;
    let changed = videos::changed_since(&*db, since).await?;
    if changed.len() as i64 == videos::CHANGED_MAX {
        // More than fit: nobody can say which.
        deps.bus.hear(Event::Everything);
    }
    let mut revisions = HashMap::with_capacity(changed.len());
    let mut found = Vec::new();
    for (video, revision) in changed {
        if !first && seen.revisions.get(&video) != Some(&revision) {
            found.push(video);
        }
        revisions.insert(video, revision);
    }
    if let Some(redis) = &deps.redis {
        redis.forget_unheard(found.clone()).await;
    }
    found.into_iter().for_each(|video| deps.bus.hear(Event::Video(video)));
    let revoked = revocations::list(&*db, (!first).then_some(since)).await?;
    for id in deps.verifier.revoke(revoked) {
        // Our data planes hear of it from us alone.
        deps.bus.hear(Event::Revoked(id));
    }
    deps.running.store(jobs::running(&*db).await?, Ordering::Relaxed);
    seen.revisions = revisions;
    seen.until = Some(now);
    Ok(())
}
