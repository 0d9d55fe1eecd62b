//! Admission: an output that a worker offers enters the index only after control has read it back from the
//! store and proven that it matches the plan.

mod images;
mod init_segment;
mod offer;

use std::time::Duration;

use api::code::Code;
use bytes::Bytes;
use media::{
    Grid,
    admission::{self, TrackKind},
    grid::AAC_FRAME_SAMPLES,
    index::Fragment,
    layout, tables,
};
use sha2::{Digest, Sha256};
use store::ReadError;

use crate::{
    cluster::events::Event,
    db::{
        DbError, Transaction, WORK_TRIES_MAX, completion, jobs,
        lease::{LeaseId, Setback},
        outputs::{self, Offered, Output, Subject},
        tasks, videos,
    },
    domain::{Failure, TaskKind},
    metrics::Ended,
    plan::{self, retry::Cause},
    state::AppState,
};
pub use offer::{Offer, OfferedPicture, Outcome};

/// Maximum size of one rendition's chunk.
pub const OBJECT_BYTES_MAX: u64 = 256 << 20;
/// Attempts to read an object from the store, each with the store's own retries, before control asks the
/// worker to repeat the offer later.
const STORE_TRIES_MAX: u32 = 3;
const STORE_RETRY_BASE: Duration = Duration::from_millis(200);
/// Base of the backoff after a failed attempt, in seconds.
const BACKOFF_SECONDS: f64 = 1.0;
/// The stable error code of an output that was not admitted.
pub const ADMISSION_REFUSED: &str = "admission_refused";

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
        TaskKind::Chunk | TaskKind::Audio => media_offered(app, &subject, offer).await?,
        TaskKind::Subtitles | TaskKind::Thumbnails | TaskKind::Preview => {
            images::offered(app, &subject, offer).await?
        }
        TaskKind::Collect => Outcome::Lost,
    };
    match &outcome {
        Outcome::Refused(failure) => {
            tracing::warn!(
                task.id = %lease.task, code = failure.code, reason = failure.message,
                "admission refused"
            );
            let found = subject.kind.examines_source() && failure.blames_source();
            let cause = if found { Cause::Source } else { Cause::Unknown };
            setback(app, lease, failure.clone(), !found, cause).await?;
        }
        Outcome::Committed => {
            app.bus.tell(Event::Job(subject.job));
            app.video_changed(subject.video);
        }
        Outcome::Later(_) | Outcome::Lost => {}
    }
    Ok(outcome)
}

/// Ends an attempt as failed and wakes the sessions that may run the next one.
///
/// # Errors
/// The database stays unavailable; the lease then expires.
pub async fn setback(
    app: &AppState,
    lease: LeaseId,
    failure: Failure,
    retryable: bool,
    cause: Cause,
) -> Result<bool, DbError> {
    let setback = Setback {
        failure,
        retryable,
        backoff_seconds: BACKOFF_SECONDS,
        expired_only: false,
        cause,
        probe_retry: app.policy.probe_retry,
    };
    end_attempt(app, lease, &setback).await
}

/// Ends an attempt as `setback` describes; false if the lease was not held.
///
/// # Errors
/// The database stays unavailable; the lease then expires.
pub async fn end_attempt(
    app: &AppState,
    lease: LeaseId,
    setback: &Setback,
) -> Result<bool, DbError> {
    let grace = app.policy.grace_seconds;
    let after = app
        .db
        .transact(WORK_TRIES_MAX, async |tx| completion::attempt(tx, lease, setback, grace).await);
    let after = after.await?;
    let Some(after) = after else { return Ok(false) };
    app.metrics.attempt_failed(after.ends_job());
    if after.ends_job() {
        // A probe fails if its file is not a video. That is a result: only transcodes count as failed.
        let transcode =
            app.db.run(WORK_TRIES_MAX, async |db| jobs::is_transcode(db, after.job).await);
        if transcode.await.unwrap_or(false) {
            app.metrics.ended(Ended::Failed);
        }
        app.bus.tell(Event::Stopped(after.job));
        // The refused source may be due for deletion at once.
        app.bus.chores.notify_one();
        app.video_changed(after.video);
    } else {
        app.bus.wake(1);
    }
    app.bus.tell(Event::Job(after.job));
    Ok(true)
}

/// Whether this very offer has been committed before, so that only the reply was lost.
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
    let refused = |code: &str, message: String| Ok(Outcome::Refused(Failure::new(code, message)));
    let source = match &offer.source {
        Some(Ok(source)) => source,
        // The worker's report is invalid, which proves nothing about the source.
        Some(Err(message)) => return refused(ADMISSION_REFUSED, message.clone()),
        None => return refused(ADMISSION_REFUSED, "the probe's report is missing".to_owned()),
    };
    if let Err(error) = source.grid() {
        let message = format!("the source cannot be planned: {error}");
        return refused(Code::NotAVideo.text(), message);
    }
    let Ok(json) = serde_json::to_value(source) else {
        return refused(ADMISSION_REFUSED, "the probe's report cannot be stored".to_owned());
    };
    let held = app.db.transact(WORK_TRIES_MAX, async |tx| {
        let held = completion::probed(tx, subject.video, subject.job, offer.lease, &json).await?;
        // An earlier commit whose reply was lost has ended the lease.
        Ok(held || outputs::finished_by(tx, offer.lease).await?)
    });
    let held = held.await?;
    Ok(if held { Outcome::Committed } else { Outcome::Lost })
}

async fn media_offered(
    app: &AppState,
    subject: &Subject,
    offer: &Offer,
) -> Result<Outcome, DbError> {
    let Some(plan) = &subject.plan else { return Ok(Outcome::Lost) };
    let refused = |message: String| Ok(Outcome::Refused(Failure::new(ADMISSION_REFUSED, message)));
    let mut proven = Vec::with_capacity(offer.outputs.len());
    for offered in &offer.outputs {
        if let Err(message) = belongs(subject, &plan.grid, offer.lease, offered) {
            return refused(message);
        }
        match prove(app, subject, plan.grid, offered).await {
            Ok((fragments, samples)) => {
                let object = offered.clone();
                proven.push(Output { object, fragments, samples: Some(samples) });
            }
            Err(Doubt::Refused(message)) => return refused(message),
            Err(Doubt::Store(message)) => {
                return Ok(Outcome::Later(Failure::new(Code::Unavailable.text(), message)));
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
    recorded: Result<Recorded, NotRecorded>,
) -> Result<Outcome, DbError> {
    match recorded {
        Ok(Recorded { unblocked, playable_age }) => {
            if let Some(age) = playable_age {
                app.metrics.playable(age);
            }
            if unblocked {
                app.bus.wake(1);
            }
            Ok(Outcome::Committed)
        }
        Err(NotRecorded::Lost) => match repeated(app, subject, offer).await? {
            true => Ok(Outcome::Committed),
            false => Ok(Outcome::Lost),
        },
        Err(NotRecorded::Invalid(message)) => {
            Ok(Outcome::Refused(Failure::new(ADMISSION_REFUSED, message)))
        }
    }
}

/// Checks that an object belongs to this task and that its key is the one for this lease and content.
fn belongs(
    subject: &Subject,
    grid: &Grid,
    lease: LeaseId,
    offered: &Offered,
) -> Result<(), String> {
    let Offered { rendition, chunk, .. } = offered;
    let ours = match subject.kind {
        TaskKind::Chunk => *chunk == subject.ordinal && subject.rungs.contains(rendition),
        TaskKind::Audio => {
            *chunk < grid.chunks() && *rendition == plan::rendition_of_audio(subject.ordinal)
        }
        TaskKind::Probe
        | TaskKind::Subtitles
        | TaskKind::Thumbnails
        | TaskKind::Preview
        | TaskKind::Collect => false,
    };
    if !ours {
        return Err(format!("{rendition} chunk {chunk} is not part of this task"));
    }
    if offered.bytes > OBJECT_BYTES_MAX {
        return Err(format!("{rendition} chunk {chunk} is larger than {OBJECT_BYTES_MAX} bytes"));
    }
    let prefix = layout::job_prefix(subject.video, subject.job);
    let digest = hex::encode(&offered.sha256);
    if offered.key != layout::chunk(&prefix, rendition, *chunk, lease.token, &digest) {
        return Err(format!("{rendition} chunk {chunk}: the key does not belong to this lease"));
    }
    Ok(())
}

/// Why an object cannot be admitted.
enum Doubt {
    /// The object is wrong.
    Refused(String),
    /// The object cannot be read at the moment.
    Store(String),
}

async fn prove(
    app: &AppState,
    subject: &Subject,
    grid: Grid,
    offered: &Offered,
) -> Result<(Vec<Fragment>, tables::ChunkTable), Doubt> {
    let permit = app.admission.clone().acquire_owned().await;
    let permit = permit.map_err(|_| Doubt::Store("the server is stopping".into()))?;
    let bytes = fetch(app, subject, &offered.rendition, &offered.key, offered.bytes).await?;
    let (kind, ticks) = match subject.kind {
        TaskKind::Audio => (TrackKind::Audio, AAC_FRAME_SAMPLES),
        TaskKind::Chunk
        | TaskKind::Probe
        | TaskKind::Subtitles
        | TaskKind::Thumbnails
        | TaskKind::Preview
        | TaskKind::Collect => (TrackKind::Video, grid.rate().frame_ticks()),
    };
    let mut rungs = subject.plan.iter().flat_map(|plan| &plan.rungs);
    let rung = rungs.find(|rung| rung.name == offered.rendition).cloned();
    let (offered, name) =
        (offered.clone(), format!("{} chunk {}", offered.rendition, offered.chunk));
    let proof = tokio::task::spawn_blocking(move || {
        // Held until the work ends, even if the worker's stream has closed.
        let _permit = permit;
        if Sha256::digest(&bytes)[..] != offered.sha256[..] {
            return Err("the stored bytes differ from the announced digest".to_owned());
        }
        if let Some(rung) = rung {
            init_segment::as_planned(&rung, &offered.init)?;
        }
        let fragments = admission::admit(kind, &grid, offered.chunk, &offered.init, &bytes)
            .map_err(|refusal| refusal.to_string())?;
        let samples = tables::of_chunk(&bytes, ticks).map_err(|error| error.to_string())?;
        Ok((fragments, samples))
    });
    match proof.await {
        Ok(Ok(proven)) => Ok(proven),
        Ok(Err(message)) => Err(Doubt::Refused(format!("{name}: {message}"))),
        Err(_) => Err(Doubt::Refused(format!("{name}: verification panicked"))),
    }
}

/// Reads an object, which must have exactly the announced size. Retries errors of the store a few times.
async fn fetch(
    app: &AppState,
    subject: &Subject,
    name: &str,
    key: &str,
    announced: u64,
) -> Result<Bytes, Doubt> {
    let Some(store) = app.stores.get(&subject.store) else {
        return Err(Doubt::Store("the video's store is not configured".to_owned()));
    };
    let mut tried = 1;
    loop {
        let read = match store.size(key).await {
            Ok(size) if size != announced => {
                let text = format!("{name}: {size} bytes are stored, {announced} were announced");
                return Err(Doubt::Refused(text));
            }
            Ok(size) => store.read(key, 0..size).await,
            Err(error) => Err(error),
        };
        match read {
            Ok(bytes) => return Ok(bytes),
            Err(ReadError::Missing) => {
                return Err(Doubt::Refused(format!("{name}: no such object")));
            }
            Err(error) if tried < STORE_TRIES_MAX => {
                tracing::debug!(%error, tried, "retrying a read from the store");
                tokio::time::sleep(STORE_RETRY_BASE * 2_u32.pow(tried)).await;
                tried += 1;
            }
            Err(error) => {
                tracing::warn!(%error, "failed to read from the store");
                return Err(Doubt::Store("the store is not reachable".to_owned()));
            }
        }
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
enum NotRecorded {
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
) -> Result<Result<Recorded, NotRecorded>, DbError> {
    let Some(plan) = &subject.plan else { return Ok(Err(NotRecorded::Lost)) };
    if !videos::touch(tx, subject.video).await? || !outputs::lock_lease(tx, offer.lease).await? {
        return Ok(Err(NotRecorded::Lost));
    }
    for output in proven {
        let Offered { rendition, init, .. } = &output.object;
        if !outputs::fix_init(tx, subject.job, rendition, init).await? {
            let text = format!("{rendition}: the init segment differs from that of earlier chunks");
            return Ok(Err(NotRecorded::Invalid(text)));
        }
        // False if an earlier attempt of this task has committed the chunk. That one stays; ours is garbage
        // and will be deleted.
        outputs::insert(tx, subject.job, output, offer.lease.stored_token()).await?;
    }
    let mut unblocked = false;
    if offer.last {
        let (renditions, chunk, wanted) = match subject.kind {
            TaskKind::Chunk => {
                (subject.rungs.clone(), Some(subject.ordinal), subject.rungs.len() as u64)
            }
            TaskKind::Audio => {
                let rendition = plan::rendition_of_audio(subject.ordinal);
                (vec![rendition], None, u64::from(plan.grid.chunks()))
            }
            TaskKind::Probe
            | TaskKind::Subtitles
            | TaskKind::Thumbnails
            | TaskKind::Preview
            | TaskKind::Collect => return Ok(Err(NotRecorded::Lost)),
        };
        let count = outputs::count(tx, subject.job, &renditions, chunk).await?;
        if count != wanted {
            let text = format!("only {count} of {wanted} outputs are committed");
            return Ok(Err(NotRecorded::Invalid(text)));
        }
        completion::finish_task(tx, offer.lease).await?;
        unblocked = tasks::unblock(tx, subject.job).await?;
    }
    let audio = plan.audio.first().map(plan::PlannedAudio::rendition);
    let pictures = plan.openers();
    let (video, job) = (subject.video, subject.job);
    let playable = outputs::publish(tx, video, job, &pictures, audio.as_deref()).await?;
    let playable_age = if playable { jobs::age_seconds(tx, job).await? } else { None };
    Ok(Ok(Recorded { unblocked, playable_age }))
}
