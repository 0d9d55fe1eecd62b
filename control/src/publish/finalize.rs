//! Finalizes jobs: control itself runs the task `collect`, which writes the final index and
//! completes the job.

use media::{JobId, VideoId, WorkerId, index::Index, layout, manifest};
use runtime::telemetry;
use tracing::Instrument;
use uuid::Uuid;

use crate::{
    cluster::events::Event,
    db::{
        WORK_TRIES_MAX,
        claim::{self, Claimed, Claimer, Share},
        completion, images, jobs,
        lease::{self, LeaseId},
    },
    domain::{Failure, JobState, TaskKind},
    metrics::EndedJob,
    objects::{self, ObjectError},
    plan::retry::Cause,
    publish::{PublishError, admission, index, sample_tables},
    state::AppState,
};

/// The tasks that one claim takes.
const SHARE: Share = Share { limit: 4, priority_min: i32::MIN };
/// The lease gets no heartbeats: even the index of a 24-hour video is built within seconds.
const LEASE_SECONDS: f64 = 60.0;
/// Pause before the next try while the store is unavailable.
const REST_SECONDS: f64 = 2.0;

/// Finalizes all jobs whose `collect` task is ready.
///
/// # Errors
/// The database failed; an interrupted task is retried after its lease has expired.
pub async fn round(app: &AppState) -> Result<(), PublishError> {
    loop {
        let claimer = Claimer {
            encoders: Vec::new(),
            avoided: app.outages.current(),
            worker: WorkerId::new(Uuid::nil()),
            name: "control".to_owned(),
            kinds: vec![TaskKind::Collect],
        };
        let claimed = claim::claim(&*app.db.get().await?, &claimer, SHARE, LEASE_SECONDS).await?;
        if claimed.is_empty() {
            return Ok(());
        }
        for task in claimed {
            let span = tracing::info_span!("collect", job.id = %task.job, video.id = %task.video);
            if telemetry::is_traced()
                && let Some(parent) = jobs::traceparent(&*app.db.get().await?, task.job).await?
            {
                telemetry::context::adopt(&span, &parent);
            }
            run(app, &task).instrument(span).await?;
        }
    }
}

async fn run(app: &AppState, task: &Claimed) -> Result<(), PublishError> {
    let lease = LeaseId { task: task.task, token: task.token };
    match finalize_job(app, task.video, task.job, lease).await {
        Ok(true) => Ok(()),
        Ok(false) => {
            tracing::info!(job.id = %task.job, "finalization lost its lease");
            Ok(())
        }
        // An unavailable database or store is not counted as a failed attempt.
        Err(error) if error.transient() => {
            tracing::warn!(job.id = %task.job, %error, "failed to finalize, postponing finalization");
            lease::release(&*app.db.get().await?, lease, REST_SECONDS).await?;
            Ok(())
        }
        // The store may be configured in another instance.
        Err(PublishError::Object(ObjectError::Store(url))) => {
            tracing::warn!(job.id = %task.job, store.url = url, "failed to finalize a job: its store is not configured in this instance");
            app.outages.add(url);
            lease::release(&*app.db.get().await?, lease, REST_SECONDS).await?;
            Ok(())
        }
        Err(error) => {
            tracing::warn!(job.id = %task.job, %error, "failed to finalize a job");
            let failure = Failure::new("collect_failed", "the final index could not be written");
            admission::record_failed_attempt(app, lease, failure, true, Cause::Unknown).await?;
            Ok(())
        }
    }
}

async fn finalize_job(
    app: &AppState,
    video: VideoId,
    job: JobId,
    lease: LeaseId,
) -> Result<bool, PublishError> {
    let built = index::of_job(&*app.db.get().await?, video, job).await?;
    let Some((_, mut final_index)) = built else { return Ok(false) };
    let Some(found) = crate::db::videos::find(&*app.db.get().await?, video).await? else {
        return Ok(false);
    };
    let now = jobs::now_ms(&*app.db.get().await?).await?;
    final_index.finished_at_ms.get_or_insert(now.as_millisecond());
    if final_index.published_at_ms == 0 {
        final_index.published_at_ms = now.as_millisecond();
    }
    let tables = sample_tables::tables(app, (video, job), &found.store, &mut final_index).await?;
    let bytes = final_index.encode();
    let key = format!("{}index", layout::job_prefix(video, job));
    objects::put(&app.stores, &found.store, &key, bytes.clone()).await?;
    objects::put(&app.stores, &found.store, &layout::index(video), bytes).await?;
    let (grace, notes) = (app.policy.grace_seconds, notes(&final_index));
    let completed = app.db.try_transact(WORK_TRIES_MAX, async |tx| {
        if completion::complete(tx, video, job, lease, now, grace).await? {
            images::insert_tables(tx, job, &tables).await?;
            jobs::add_notes(tx, job, &notes).await?;
            return Ok(Ok(true));
        }
        // An earlier try may have committed and lost the reply with its connection.
        let state = jobs::state(tx, job).await?;
        Ok(Err(state.is_some_and(|(state, _)| state == JobState::Completed)))
    });
    let (Ok(done) | Err(done)) = completed.await?;
    // The row may have changed, or been lost, while the object was written.
    index::sync_object(&app.db, &app.stores, video, &found.store).await?;
    if done {
        record_duration(app, job, now).await?;
        app.metrics.ended(EndedJob::Completed);
        tracing::info!(job.id = %job, video.id = %video, "job completed");
    }
    app.video_changed_for(video).await;
    app.bus.publish(Event::Job(job));
    Ok(done)
}

/// Notes about what only the finished renditions show.
fn notes(index: &Index) -> Vec<String> {
    let left_out = manifest::replaced(index).into_iter().map(|(rung, higher)| {
        let (rung, higher) = (&rung.name, &higher.name);
        format!(
            "{rung}: left out of the manifests, because its bit rate is at least that of {higher}; \
             it can be downloaded"
        )
    });
    left_out.collect()
}

async fn record_duration(
    app: &AppState,
    job: JobId,
    finished: jiff::Timestamp,
) -> Result<(), PublishError> {
    let state = jobs::state(&*app.db.get().await?, job).await?;
    if let Some((_, Some(started))) = state {
        app.transcode_seconds.record(finished.duration_since(started).as_secs_f64(), &[]);
    }
    Ok(())
}
