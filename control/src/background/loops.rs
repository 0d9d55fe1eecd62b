//! Periodic background tasks. Every loop survives the loss of Postgres, Redis and the stores: it
//! logs the first error, backs off, and continues.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use api::limits::TOKEN_USES_MAX;
use futures::future::BoxFuture;
use jiff::Timestamp;
use media::VideoId;
use runtime::retry::doubled;
use tokio::sync::Notify;

use super::{BackgroundError, deletion, hardware, lead, probes, purges, status, uploads};
use crate::{
    cluster::events::{self, Event},
    db::{
        DbError, causes, changes, claim, jobs,
        lease::{self, FailedAttempt},
        pool, revocations, sign_in, task_counts, tokens, videos, workers,
    },
    domain::{Failure, TaskKind},
    metrics::Workers,
    plan::retry::Cause,
    publish::{admission, finalize},
    state::AppState,
};

const EXPIRED_EVERY: Duration = Duration::from_millis(500);
/// Maximum number of expired leases that one query returns.
const EXPIRED_MAX: i64 = 200;
const READY_EVERY: Duration = Duration::from_millis(500);
const READY_MAX: i64 = 64;
const FINALIZE_EVERY: Duration = Duration::from_secs(1);
const LEAD_EVERY: Duration = Duration::from_secs(1);
const HARDWARE_EVERY: Duration = Duration::from_secs(1);
const CHORES_EVERY: Duration = Duration::from_secs(1);
const PURGES_EVERY: Duration = Duration::from_secs(1);
const CHANGES_EVERY: Duration = Duration::from_secs(1);
const UPLOADS_EVERY: Duration = Duration::from_secs(2);
/// Interval of the measurements in the database.
const MEASURE_EVERY: Duration = Duration::from_secs(5);
/// Interval at which the uses of tokens are stored.
const USES_EVERY: Duration = Duration::from_secs(1);
const CLEAN_UP_EVERY: Duration = Duration::from_secs(10);
const BACKOFF_MAX: Duration = Duration::from_secs(5);
const DOUBLINGS_MAX: u32 = 4;
/// Changes become visible when their transaction commits: at most this long after the time that
/// they carry.
const CHANGES_OVERLAP: Duration = Duration::from_secs(15);

/// One round of a loop.
type Round = BoxFuture<'static, Result<(), BackgroundError>>;

/// Spawns every loop on the shutdown's task tracker.
pub fn spawn(app: &Arc<AppState>) {
    let start =
        |name, every, round: fn(Arc<AppState>) -> Round, call: fn(&AppState) -> Option<&Notify>| {
            app.shutdown.tracker.spawn(repeat(app.clone(), name, every, round, call));
        };
    start(
        "reap",
        EXPIRED_EVERY,
        |d| Box::pin(async move { end_expired_leases(&d).await }),
        |_| None,
    );
    start("call", READY_EVERY, |d| Box::pin(async move { notify_ready(&d).await }), |_| None);
    start(
        "collect",
        FINALIZE_EVERY,
        |d| Box::pin(async move { Ok(finalize::round(&d).await?) }),
        |d| Some(&d.bus.collect),
    );
    start(
        "hardware",
        HARDWARE_EVERY,
        |d| Box::pin(async move { hardware::round(&d).await }),
        |_| None,
    );
    start("lead", LEAD_EVERY, |d| Box::pin(async move { lead::round(&d).await }), |_| None);
    start(
        "chores",
        CHORES_EVERY,
        |d| Box::pin(async move { deletion::round(&d).await }),
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
        |d| Box::pin(async move { purges::round(&d).await }),
        |d| Some(&d.bus.purges),
    );
    start("measure", MEASURE_EVERY, |d| Box::pin(async move { measure(&d).await }), |_| None);
    start("tidy", CLEAN_UP_EVERY, |d| Box::pin(async move { clean_up(&d).await }), |_| None);
    start("uses", USES_EVERY, |d| Box::pin(async move { store_uses(&d).await }), |_| None);
    app.shutdown.tracker.spawn(changes(app.clone()));
    app.shutdown.tracker.spawn(apply_revocations(app.clone()));
}

/// Applies revocations by other instances as soon as their notification arrives. `changes` finds
/// any that were missed in the database.
async fn apply_revocations(app: Arc<AppState>) {
    let mut events = app.bus.subscribe();
    loop {
        tokio::select! {
            () = app.shutdown.soft.cancelled() => return,
            event = events::next(&mut events) => {
                if let Event::Revoked(id) = event {
                    app.verifier.revoke([id]);
                }
            }
        }
    }
}

/// Runs a round at the interval `every` and at each notification from `call`, until the soft stop.
async fn repeat(
    app: Arc<AppState>,
    name: &'static str,
    every: Duration,
    round: fn(Arc<AppState>) -> Round,
    call: fn(&AppState) -> Option<&Notify>,
) {
    let mut failures = 0;
    loop {
        let pause = match round(app.clone()).await {
            Ok(()) => {
                failures = 0;
                every
            }
            Err(error) => backoff(name, &error, every, &mut failures),
        };
        let called = async {
            match call(&app) {
                Some(notify) if failures == 0 => notify.notified().await,
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            () = app.shutdown.soft.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
            () = called => {}
        }
    }
}

fn backoff(name: &str, error: &BackgroundError, every: Duration, failures: &mut u32) -> Duration {
    *failures += 1;
    // Only once per outage: repeating the line every second would add no information.
    if *failures == 1 {
        let cause = causes(error);
        tracing::warn!(task = name, %error, cause, "background task failed, retrying");
    }
    doubled(every, (*failures).min(DOUBLINGS_MAX), BACKOFF_MAX)
}

/// Ends the attempts whose leases have expired. If one of them fails, for example because its row
/// cannot be read, the others are still handled, and the next round tries it again.
async fn end_expired_leases(app: &AppState) -> Result<(), BackgroundError> {
    let (mut after, mut failed) = (None, None);
    loop {
        let page = lease::expired(&*app.db.get().await?, after, EXPIRED_MAX).await?;
        for expired in &page {
            let failed_attempt = FailedAttempt {
                failure: Failure::new(
                    "lease_expired",
                    "the worker did not renew its lease in time",
                ),
                retryable: true,
                backoff_seconds: 0.0,
                expired_only: true,
                cause: Cause::Unknown,
                probe_retry: app.policy.probe_retry,
            };
            match admission::end_attempt(app, expired.lease, &failed_attempt).await {
                Ok(true) => tracing::info!(task.id = %expired.lease.task, "lease expired"),
                Ok(false) => {}
                Err(error) if error.transient() => return Err(error.into()),
                Err(error) => failed = Some(error),
            }
        }
        if (page.len() as i64) < EXPIRED_MAX {
            return failed.map_or(Ok(()), |error| Err(error.into()));
        }
        after = page.last().copied();
    }
}

/// Wakes sessions for tasks that became ready without a wake-up: those whose backoff is over, and
/// those that other instances queued.
async fn notify_ready(app: &AppState) -> Result<(), BackgroundError> {
    let kinds = TaskKind::with_property(TaskKind::is_for_workers);
    let ready = claim::ready(&*app.db.get().await?, &kinds, READY_MAX).await?;
    if let Ok(ready) = usize::try_from(ready)
        && ready > 0
    {
        app.bus.notify_local_sessions(ready);
    }
    Ok(())
}

/// Stores on which day tokens were used on this instance.
async fn store_uses(app: &AppState) -> Result<(), BackgroundError> {
    let uses = app.verifier.take_uses(TOKEN_USES_MAX);
    if uses.is_empty() {
        return Ok(());
    }
    let stored = async { tokens::record_uses(&*app.db.get().await?, &uses).await };
    if let Err(error) = stored.await {
        app.verifier.return_uses(uses);
        return Err(error.into());
    }
    Ok(())
}

async fn clean_up(app: &AppState) -> Result<(), BackgroundError> {
    let db = app.db.get().await?;
    workers::delete_old(&*db).await?;
    revocations::delete_old(&*db).await?;
    tokens::delete_old(&*db).await?;
    sign_in::delete_old(&*db).await?;
    drop(db);
    prune_changes(app).await?;
    probes::give_up(app).await?;
    deletion::stale_uploads(app).await
}

async fn prune_changes(app: &AppState) -> Result<(), BackgroundError> {
    let mut connection = app.db.get().await?;
    let tx = changes::lock(&mut connection).await?;
    changes::prune(&tx).await?;
    Ok(tx.commit().await.map_err(DbError::from)?)
}

/// Updates the metrics of load, workers and dependencies.
async fn measure(app: &AppState) -> Result<(), BackgroundError> {
    app.metrics.dependencies(&status::get(app).await);
    let db = app.db.get().await?;
    let load = task_counts::by_kind(&*db, app.lease_seconds()).await?;
    let workers = Workers {
        connected: workers::connected(&*db).await?.unsigned_abs(),
        unhealthy: workers::unhealthy(&*db).await?.unsigned_abs(),
    };
    app.metrics.set_load(load, workers);
    Ok(())
}

/// The changes of all instances that have been seen so far.
#[derive(Default)]
struct SeenChanges {
    until: Option<Timestamp>,
    revisions: HashMap<VideoId, i64>,
}

/// Finds changes that other instances made, and counts running jobs.
async fn changes(app: Arc<AppState>) {
    let mut seen = SeenChanges::default();
    let mut failures = 0;
    loop {
        let pause = match find_changes(&app, &mut seen).await {
            Ok(()) => {
                failures = 0;
                CHANGES_EVERY
            }
            Err(error) => backoff("changes", &error, CHANGES_EVERY, &mut failures),
        };
        tokio::select! {
            () = app.shutdown.soft.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

async fn find_changes(app: &AppState, seen: &mut SeenChanges) -> Result<(), BackgroundError> {
    let db = app.db.get().await?;
    let now = pool::now(&*db).await?;
    // The first round only initializes the baseline; nothing was subscribed before it.
    let first = seen.until.is_none();
    let since = seen.until.unwrap_or(now) - CHANGES_OVERLAP;
    let changed = videos::changed_since(&*db, since).await?;
    if changed.len() as i64 == videos::CHANGED_MAX {
        // The query's limit may have excluded further changes.
        app.bus.publish_locally(Event::Everything);
    }
    let mut revisions = HashMap::with_capacity(changed.len());
    let mut found = Vec::new();
    for (video, revision) in changed {
        if !first && seen.revisions.get(&video) != Some(&revision) {
            found.push(video);
        }
        revisions.insert(video, revision);
    }
    if let Some(redis) = &app.redis {
        redis.invalidate_unnotified(found.clone()).await;
    }
    found.into_iter().for_each(|video| app.bus.publish_locally(Event::Video(video)));
    let revoked = revocations::list(&*db, (!first).then_some(since)).await?;
    for id in app.verifier.revoke(revoked) {
        // The data planes that are connected to this instance get revocations only from it.
        app.bus.publish_locally(Event::Revoked(id));
    }
    app.running.store(jobs::running(&*db).await?, Ordering::Relaxed);
    seen.revisions = revisions;
    seen.until = Some(now);
    Ok(())
}
