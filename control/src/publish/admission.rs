//! Admission: an output that a worker offers enters the index only after control has read it back
//! from the store and proven that it matches the plan.

mod images;
mod init_segment;
mod offer;
mod verify;

use api::code::Code;
use media::JobId;
use uuid::Uuid;

pub use self::offer::{Offer, OfferedImage, Outcome};
use self::verify::{VerificationError, belongs, verify};
use crate::{
    cluster::events::Event,
    db::{
        DbError, Transaction, WORK_TRIES_MAX, completion, jobs, lead,
        lease::{FailedAttempt, LeaseId},
        outputs::{self, Offered, Output, Subject},
        tasks, videos,
    },
    domain::{Failure, TaskKind},
    metrics::EndedJob,
    plan::{self, retry::Cause},
    state::AppState,
    transcode,
};

/// Base of the backoff after a failed attempt, in seconds.
const BACKOFF_SECONDS: f64 = 1.0;
/// The stable error code of an output that was not admitted.
pub const ADMISSION_REJECTED: &str = "admission_refused";

/// Checks the outputs of an offer and commits them.
///
/// # Errors
/// The database stays unavailable; the worker may repeat the offer.
pub async fn commit(app: &AppState, offer: &Offer) -> Result<Outcome, DbError> {
    let lease = offer.lease;
    let subject =
        app.db.run(WORK_TRIES_MAX, async |db| outputs::subject(db, lease.task).await).await?;
    let Some(subject) = subject else { return Ok(Outcome::Lost) };
    if repeated(app, &subject, offer).await? {
        return Ok(Outcome::Committed);
    }
    let outcome = match subject.kind {
        TaskKind::Probe => probed(app, &subject, offer).await?,
        TaskKind::Chunk | TaskKind::Audio | TaskKind::Surround => {
            media_offered(app, &subject, offer).await?
        }
        TaskKind::Subtitles | TaskKind::Thumbnails | TaskKind::Preview => {
            images::offered(app, &subject, offer).await?
        }
        TaskKind::Collect => Outcome::Lost,
    };
    match &outcome {
        Outcome::Rejected(failure) => {
            tracing::warn!(
                task.id = %lease.task, code = failure.code, reason = failure.message,
                "failed to admit an output"
            );
            let found = subject.kind.examines_source() && failure.is_source_error();
            let cause = if found { Cause::Source } else { Cause::Unknown };
            record_failed_attempt(app, lease, failure.clone(), !found, cause).await?;
        }
        Outcome::Committed => {
            app.bus.publish(Event::Job(subject.job));
            app.video_changed(subject.video);
        }
        Outcome::Undecided(_) | Outcome::Lost => {}
    }
    Ok(outcome)
}

/// Ends an attempt as failed and wakes the sessions that may run the next one.
///
/// # Errors
/// The database stays unavailable; the lease then expires.
pub async fn record_failed_attempt(
    app: &AppState,
    lease: LeaseId,
    failure: Failure,
    retryable: bool,
    cause: Cause,
) -> Result<bool, DbError> {
    let failed_attempt = FailedAttempt {
        failure,
        retryable,
        backoff_seconds: BACKOFF_SECONDS,
        expired_only: false,
        cause,
        probe_retry: app.policy.probe_retry,
    };
    end_attempt(app, lease, &failed_attempt).await
}

/// Ends an attempt as `failed_attempt` describes; false if the lease was not held.
///
/// # Errors
/// The database stays unavailable; the lease then expires.
pub async fn end_attempt(
    app: &AppState,
    lease: LeaseId,
    failed_attempt: &FailedAttempt,
) -> Result<bool, DbError> {
    let grace = app.policy.grace_seconds;
    let after = app.db.transact(WORK_TRIES_MAX, async |tx| {
        completion::end_attempt(tx, lease, failed_attempt, grace).await
    });
    let after = after.await?;
    let Some(after) = after else { return Ok(false) };
    app.metrics.attempt_failed(after.ends_job());
    if after.ends_job() {
        // A probe fails if its file is not a video. That is a result: only transcodes count as
        // failed.
        let transcode =
            app.db.run(WORK_TRIES_MAX, async |db| jobs::is_transcode(db, after.job).await);
        if transcode.await.unwrap_or(false) {
            app.metrics.ended(EndedJob::Failed);
        }
        app.bus.publish(Event::Stopped(after.job));
        // The rejected source may be due for deletion at once.
        app.bus.chores.notify_one();
        app.video_changed(after.video);
    } else if after.replaced_by > 0 {
        tracing::warn!(
            job.id = %after.job, after.encoder, tasks = after.replaced_by,
            code = failed_attempt.failure.code, reason = failed_attempt.failure.message,
            "the hardware encoder failed, encoding in software"
        );
        app.bus.notify_tasks_ready(after.replaced_by);
        app.video_changed(after.video);
    } else {
        app.bus.notify_tasks_ready(1);
    }
    app.bus.publish(Event::Job(after.job));
    Ok(true)
}

/// Whether this offer has been committed before, so that only the reply was lost.
async fn repeated(app: &AppState, subject: &Subject, offer: &Offer) -> Result<bool, DbError> {
    let held = app.db.run(WORK_TRIES_MAX, async |db| {
        if offer.last || offer.outputs.is_empty() {
            return outputs::finished_by(db, offer.lease).await;
        }
        for o in &offer.outputs {
            if !outputs::holds(db, subject.job, &o.rendition, o.chunk, &o.key).await? {
                return Ok(false);
            }
        }
        Ok(true)
    });
    held.await
}

async fn probed(app: &AppState, subject: &Subject, offer: &Offer) -> Result<Outcome, DbError> {
    let source = match &offer.source {
        Some(Ok(source)) => source,
        // The worker's report is invalid, which proves nothing about the source.
        Some(Err(message)) => return rejected(message.clone()),
        None => return rejected("the probe's report is missing".to_owned()),
    };
    if let Err(error) = source.grid() {
        let message = format!("the source cannot be planned: {error}");
        return Ok(Outcome::Rejected(Failure::new(Code::NotAVideo.text(), message)));
    }
    let Ok(json) = serde_json::to_value(source) else {
        return rejected("the probe's report cannot be stored".to_owned());
    };
    let (video, job) = (subject.video, JobId::new(Uuid::now_v7()));
    let recorded = app.db.transact(WORK_TRIES_MAX, async |tx| {
        if completion::probed(tx, subject.video, subject.job, offer.lease, &json).await? {
            // In the same transaction, so that no failure can lose the job, and no time is lost.
            return Ok((true, transcode::create_requested(app, tx, video, job, source).await?));
        }
        // An earlier commit whose reply was lost has ended the lease.
        let held = outputs::finished_by(tx, offer.lease).await?;
        Ok((held, held && jobs::is_transcode(tx, job).await?))
    });
    let (held, created) = recorded.await?;
    if created {
        transcode::announce(app, video, job);
    }
    Ok(if held { Outcome::Committed } else { Outcome::Lost })
}

/// The outcome of an offer whose output is invalid.
fn rejected(message: String) -> Result<Outcome, DbError> {
    Ok(Outcome::Rejected(Failure::new(ADMISSION_REJECTED, message)))
}

async fn media_offered(
    app: &AppState,
    subject: &Subject,
    offer: &Offer,
) -> Result<Outcome, DbError> {
    let Some(plan) = &subject.plan else { return Ok(Outcome::Lost) };
    let mut proven = Vec::with_capacity(offer.outputs.len());
    for offered in &offer.outputs {
        if let Err(message) = belongs(subject, &plan.grid, offer.lease, offered) {
            return rejected(message);
        }
        match verify(app, subject, plan.grid, offered).await {
            Ok((fragments, samples)) => {
                let object = offered.clone();
                proven.push(Output { object, fragments, samples: Some(samples) });
            }
            Err(VerificationError::Invalid(message)) => return rejected(message),
            Err(VerificationError::StoreUnavailable(message)) => {
                return Ok(Outcome::Undecided(Failure::new(Code::Unavailable.text(), message)));
            }
        }
    }
    let recorded =
        app.db.try_transact(WORK_TRIES_MAX, async |tx| record(tx, subject, offer, &proven).await);
    conclude(app, subject, offer, recorded.await?).await
}

/// Acts on a transaction that has recorded an offer or was rolled back.
async fn conclude(
    app: &AppState,
    subject: &Subject,
    offer: &Offer,
    recorded: Result<Recorded, RecordError>,
) -> Result<Outcome, DbError> {
    match recorded {
        Ok(Recorded { unblocked, playable_age }) => {
            if let Some(age) = playable_age {
                app.metrics.playable(age);
            }
            if unblocked {
                app.bus.notify_tasks_ready(1);
            }
            Ok(Outcome::Committed)
        }
        Err(RecordError::Lost) => match repeated(app, subject, offer).await? {
            true => Ok(Outcome::Committed),
            false => Ok(Outcome::Lost),
        },
        Err(RecordError::Invalid(message)) => rejected(message),
    }
}

/// The effects of a recorded offer.
struct Recorded {
    /// Whether tasks that waited for this one have become ready.
    unblocked: bool,
    /// The age of the job in seconds, if the offer has made it playable.
    playable_age: Option<f64>,
}

/// Why an offer cannot be recorded; its transaction is rolled back.
enum RecordError {
    /// The lease is not held any more, or the video was deleted.
    Lost,
    /// The output contradicts other outputs of the job, or some are missing.
    Invalid(String),
}

async fn record(
    tx: &Transaction<'_>,
    subject: &Subject,
    offer: &Offer,
    proven: &[Output],
) -> Result<Result<Recorded, RecordError>, DbError> {
    let Some(plan) = &subject.plan else { return Ok(Err(RecordError::Lost)) };
    if !videos::touch(tx, subject.video).await? || !outputs::lock_lease(tx, offer.lease).await? {
        return Ok(Err(RecordError::Lost));
    }
    for output in proven {
        let Offered { rendition, init, .. } = &output.object;
        if !outputs::fix_init(tx, subject.job, rendition, init).await? {
            let text = format!("{rendition}: the init segment differs from that of earlier chunks");
            return Ok(Err(RecordError::Invalid(text)));
        }
        // False if an earlier attempt of this task has committed the chunk. That one stays; the new
        // one is garbage and will be deleted.
        outputs::insert(tx, subject.job, output, offer.lease.stored_token()).await?;
    }
    let mut unblocked = false;
    if offer.last {
        let (renditions, chunk, wanted) = match subject.kind {
            TaskKind::Chunk => {
                (subject.rungs.clone(), Some(subject.ordinal), subject.rungs.len() as u64)
            }
            TaskKind::Audio | TaskKind::Surround => {
                let rendition = plan::rendition_of_sound(subject.kind, subject.ordinal);
                (rendition.into_iter().collect(), None, u64::from(plan.grid.chunks()))
            }
            TaskKind::Probe
            | TaskKind::Subtitles
            | TaskKind::Thumbnails
            | TaskKind::Preview
            | TaskKind::Collect => return Ok(Err(RecordError::Lost)),
        };
        let count = outputs::count(tx, subject.job, &renditions, chunk).await?;
        if count != wanted {
            let text = format!("only {count} of {wanted} outputs are committed");
            return Ok(Err(RecordError::Invalid(text)));
        }
        completion::finish_task(tx, offer.lease).await?;
        if let Some(chunk) = chunk {
            lead::finish_repeated(tx, subject.job, chunk).await?;
        }
        unblocked = tasks::unblock(tx, subject.job).await?;
    }
    let audio = plan.audio.first().map(plan::PlannedAudio::rendition);
    let pictures = plan.openers();
    let (video, job) = (subject.video, subject.job);
    let playable = outputs::publish(tx, video, job, &pictures, audio.as_deref()).await?;
    let playable_age = if playable { jobs::age_seconds(tx, job).await? } else { None };
    Ok(Ok(Recorded { unblocked, playable_age }))
}
