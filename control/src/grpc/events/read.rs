//! Reads pages of events: numbers what has changed and reads the newest states in one snapshot.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use api::v1::{self, event::Event};
use media::{JobId, TaskId, VideoId, WorkerId};
use runtime::retry::doubled;

use crate::{
    cluster::events,
    db::{
        DbError, GenericClient, causes,
        changes::{self, Change, Log, Object},
        jobs, pool, tasks, videos, workers,
    },
    event_feed::Page,
    grpc::convert,
    state::AppState,
};

/// Maximum number of changes on a page.
const PAGE_MAX: i64 = 250;
/// Maximum number of workers that are listed.
const WORKERS_MAX: i64 = 10_000;
/// Changes within this time become one event per object.
const COALESCE: Duration = Duration::from_millis(250);
/// Changes by other instances are found by polling.
const POLL_EVERY: Duration = Duration::from_millis(500);
const BACKOFF_MAX: Duration = Duration::from_secs(5);
const DOUBLINGS_MAX: u32 = 4;

/// Sends pages to the watchers of this instance while there are any, until the soft stop.
pub async fn run(app: Arc<AppState>) {
    let mut notifications = app.bus.subscribe();
    let mut position = None;
    let mut failures = 0;
    loop {
        if app.events.open() == 0 {
            position = None;
            tokio::select! {
                () = app.shutdown.soft.cancelled() => return,
                () = app.events.begun.notified() => continue,
            }
        }
        let pause = match send_page(&app, &mut position).await {
            Ok(true) => continue,
            Ok(false) => {
                failures = 0;
                COALESCE
            }
            Err(error) => {
                failures += 1;
                // Only once per outage.
                if failures == 1 {
                    let cause = causes(&error);
                    tracing::warn!(%error, cause, "failed to read changes, retrying");
                }
                doubled(POLL_EVERY, failures.min(DOUBLINGS_MAX), BACKOFF_MAX)
            }
        };
        let changed = async {
            tokio::time::sleep(pause).await;
            let notified = events::next(&mut notifications);
            drop(tokio::time::timeout(POLL_EVERY.saturating_sub(COALESCE), notified).await);
        };
        tokio::select! {
            () = app.shutdown.soft.cancelled() => return,
            () = changed => {}
        }
    }
}

/// Sends the changes after `position` to the watchers, and advances it. Returns whether further
/// changes follow at once. Without a position it begins at the end of the log, with a page for no
/// tenant, so that each watcher reads for itself what it has missed up to there.
async fn send_page(app: &AppState, position: &mut Option<i64>) -> Result<bool, DbError> {
    let Some(after) = *position else {
        let last = log(app).await?.last;
        *position = Some(last);
        app.events.send(Page { after: last, upto: last, ..Page::default() });
        return Ok(false);
    };
    let Some(page) = page(app, &app.events.tenants(), after).await? else {
        *position = None;
        return Ok(true);
    };
    *position = Some(page.upto);
    let more = page.more;
    if page.upto > page.after {
        app.events.send(page);
    }
    Ok(more)
}

/// The state of the log after everything committed so far has been numbered.
///
/// # Errors
/// The database failed.
pub async fn log(app: &AppState) -> Result<Log, DbError> {
    let mut connection = app.db.get().await?;
    if !changes::are_pending(&*connection).await? {
        return changes::log(&*connection).await;
    }
    let tx = changes::lock(&mut connection).await?;
    changes::number(&tx).await?;
    let log = changes::log(&tx).await?;
    tx.commit().await?;
    Ok(log)
}

/// The changes of `tenants` after a number, with the states of their objects at the end of the
/// page. `None` if some of them have been deleted.
///
/// # Errors
/// The database failed.
pub async fn page(app: &AppState, tenants: &[String], after: i64) -> Result<Option<Page>, DbError> {
    let mut connection = app.db.get().await?;
    let snapshot = pool::snapshot(&mut connection).await?;
    if !changes::are_pending(&snapshot).await? {
        return page_in(&snapshot, tenants, after).await;
    }
    drop(snapshot);
    let tx = changes::lock(&mut connection).await?;
    changes::number(&tx).await?;
    let page = page_in(&tx, tenants, after).await?;
    tx.commit().await?;
    Ok(page)
}

async fn page_in(
    snapshot: &impl GenericClient,
    tenants: &[String],
    after: i64,
) -> Result<Option<Page>, DbError> {
    let log = changes::log(snapshot).await?;
    if after < log.pruned {
        return Ok(None);
    }
    let changed = changes::after(snapshot, tenants, after, PAGE_MAX).await?;
    let more = changed.len() as i64 == PAGE_MAX;
    let upto = changed.last().map(|change| change.number).filter(|_| more).unwrap_or(log.last);
    let mut states = States::read(snapshot, &changed).await?;
    let events = changed.into_iter().filter_map(|Change { object, tenant, number }| {
        Some((tenant, number, states.take(object)?))
    });
    Ok(Some(Page { tenants: tenants.to_vec(), after, upto, more, events: events.collect() }))
}

/// The states of changed objects.
struct States(HashMap<Object, Event>);

impl States {
    async fn read(db: &impl GenericClient, changed: &[Change]) -> Result<Self, DbError> {
        let (mut video_ids, mut job_ids, mut task_ids) = (Vec::new(), Vec::new(), Vec::new());
        let mut worker_ids = HashSet::new();
        for change in changed {
            match change.object {
                Object::Video(id) => video_ids.push(id),
                Object::Job(id) => job_ids.push(id),
                Object::Task(id) => task_ids.push(id),
                Object::Worker(id) => drop(worker_ids.insert(id)),
            }
        }
        let mut states = Self(HashMap::with_capacity(changed.len()));
        states.videos(db, &video_ids).await?;
        states.jobs(db, &job_ids).await?;
        states.tasks(db, &task_ids).await?;
        states.workers(db, &worker_ids).await?;
        Ok(states)
    }

    async fn videos(&mut self, db: &impl GenericClient, ids: &[VideoId]) -> Result<(), DbError> {
        if ids.is_empty() {
            return Ok(());
        }
        for id in ids {
            let deleted = v1::DeletedEvent { video_id: id.to_string() };
            self.0.insert(Object::Video(*id), Event::Deleted(deleted));
        }
        for video in videos::of_ids(db, ids).await? {
            self.0.insert(Object::Video(video.id), Event::Video(video.into()));
        }
        Ok(())
    }

    async fn jobs(&mut self, db: &impl GenericClient, ids: &[JobId]) -> Result<(), DbError> {
        if !ids.is_empty() {
            for job in jobs::of_ids(db, ids).await? {
                let id = job.id;
                self.0.insert(Object::Job(id), Event::Job(convert::job(job, Vec::new())));
            }
        }
        Ok(())
    }

    async fn tasks(&mut self, db: &impl GenericClient, ids: &[TaskId]) -> Result<(), DbError> {
        if !ids.is_empty() {
            for (job, task) in tasks::of_ids(db, ids).await? {
                let id = task.id;
                let task = Some(convert::task(task));
                let event = v1::TaskEvent { job_id: job.to_string(), task };
                self.0.insert(Object::Task(id), Event::Task(event));
            }
        }
        Ok(())
    }

    async fn workers(
        &mut self,
        db: &impl GenericClient,
        ids: &HashSet<WorkerId>,
    ) -> Result<(), DbError> {
        if !ids.is_empty() {
            // The whole list, because a worker's state may depend on the others.
            let listed = workers::list(db, WORKERS_MAX).await?;
            for worker in listed.into_iter().filter(|worker| ids.contains(&worker.id)) {
                self.0.insert(Object::Worker(worker.id), Event::Worker(worker.into()));
            }
        }
        Ok(())
    }

    /// The state of an object; `None` for a job, task or worker that does not exist any more.
    fn take(&mut self, object: Object) -> Option<Event> {
        self.0.remove(&object)
    }
}
