//! Builds the lease message for a claimed task, and ends a worker's attempts when its connection is
//! lost.

use api::{code::Code, v1};
use media::{
    WorkerId, layout,
    pictures::{PicturePlan, Size},
};

use super::presigned_urls;
use crate::{
    db::{
        DbError, WORK_TRIES_MAX,
        claim::{self, Claimed},
        lease::{self, FailedAttempt},
        outputs::{self, Subject},
        workers,
    },
    domain::{Failure, TaskKind},
    plan::{self, Plan, PlannedAudio, PlannedSurround, retry::Cause},
    publish::{admission, excerpt},
    state::AppState,
};

/// Why a lease could not be prepared.
#[derive(Debug)]
pub enum PrepareError {
    /// This instance does not know the video's store, or has no credentials for it now.
    Store {
        /// The store's URL.
        url: String,
        /// The failure to report.
        failure: Failure,
    },
    /// The database or the store did not respond.
    Temporary(Failure),
    /// No instance can prepare the lease: the attempt counts.
    Task(Failure),
}

impl PrepareError {
    /// The failure to report.
    pub fn failure(&self) -> Failure {
        match self {
            Self::Store { failure, .. } | Self::Temporary(failure) | Self::Task(failure) => {
                failure.clone()
            }
        }
    }
}

impl From<Failure> for PrepareError {
    fn from(failure: Failure) -> Self {
        if failure.code == Code::Unavailable.text() {
            Self::Temporary(failure)
        } else {
            Self::Task(failure)
        }
    }
}

/// Builds the lease with all data that the worker needs, so that the worker makes no further calls.
///
/// # Errors
/// This instance, or every instance, is unable to prepare the task.
pub async fn lease(app: &AppState, claimed: &Claimed) -> Result<v1::Lease, PrepareError> {
    let unavailable = |error: DbError| {
        tracing::warn!(%error, "failed to read a claimed task");
        PrepareError::Temporary(Failure::new(Code::Unavailable.text(), "the task cannot be read"))
    };
    let db = app.db.get().await.map_err(unavailable)?;
    let subject = outputs::subject(&*db, claimed.task).await.map_err(unavailable)?;
    let subject = subject.ok_or_else(|| Failure::new("gone", "the task no longer exists"))?;
    let store_error = |code: Code, message: &str| PrepareError::Store {
        url: subject.store.clone(),
        failure: Failure::new(code.text(), message),
    };
    let store = app.stores.get(&subject.store).ok_or_else(|| {
        store_error(Code::NotConfigured, "the video's store is not configured in this instance")
    })?;
    let first_chunk = match plan::rendition_of_sound(claimed.kind, claimed.ordinal) {
        Some(rendition) => {
            let count = outputs::count(&*db, claimed.job, &[rendition], None).await;
            u32::try_from(count.map_err(unavailable)?).unwrap_or(u32::MAX)
        }
        None => 0,
    };
    // No task is ready for the worker's other slots, so this task may use all cores.
    let kinds = TaskKind::with_property(TaskKind::is_encoding);
    let last = claim::ready(&*db, &kinds, 1).await.map_err(unavailable)? == 0;
    let urgent = last || claimed.priority >= plan::PRIORITY_LEAD;
    drop(db);
    let source = if claimed.kind.reads_excerpt() {
        excerpt::write(app, &subject, claimed.token).await?
    } else {
        layout::source(claimed.video)
    };
    let source = presigned_urls::source(app, store, source).await;
    let source = source.map_err(|problem| store_error(problem.code, &problem.message))?;
    let root = store.root.as_deref().map(api::path::text);
    Ok(v1::Lease {
        task_id: claimed.task.to_string(),
        job_id: claimed.job.to_string(),
        video_id: claimed.video.to_string(),
        token: claimed.token,
        attempt: claimed.attempt,
        source_path: source.path,
        source_url: source.url,
        source_key: source.key,
        url_seconds: source.seconds,
        output_root: root.unwrap_or_default(),
        output_prefix: layout::job_prefix(claimed.video, claimed.job),
        traceparent: subject.traceparent.clone().unwrap_or_default(),
        work: Some(work(claimed, subject, first_chunk, urgent)?),
    })
}

fn work(
    claimed: &Claimed,
    subject: Subject,
    first_chunk: u32,
    urgent: bool,
) -> Result<v1::lease::Work, Failure> {
    let Subject { filename, plan, .. } = subject;
    if claimed.kind.examines_source() {
        return Ok(v1::lease::Work::Probe(v1::ProbeWork { filename }));
    }
    let not_in_plan =
        || Failure::new(Code::Internal.text(), "the job's plan does not contain the task");
    let Plan { grid, video, rungs, audio, preset, pictures, preview, text, surround, .. } =
        plan.ok_or_else(not_in_plan)?;
    match claimed.kind {
        TaskKind::Chunk => Ok(v1::lease::Work::Chunk(v1::ChunkWork {
            grid: Some(grid.into()),
            chunk: claimed.ordinal,
            rungs: rungs
                .into_iter()
                .filter(|rung| claimed.rungs.contains(&rung.name))
                .map(Into::into)
                .collect(),
            // Workers that support a preset per rung ignore this one.
            preset: preset.split(", ").next().unwrap_or_default().to_owned(),
            track: Some(video.ok_or_else(not_in_plan)?.into()),
            urgent,
        })),
        TaskKind::Audio => {
            let planned = audio.into_iter().find(|a| a.number == claimed.ordinal);
            let planned = planned.ok_or_else(not_in_plan)?;
            Ok(v1::lease::Work::Audio(v1::AudioWork {
                grid: Some(grid.into()),
                number: planned.number,
                track: Some(planned.track.into()),
                video: video.map(Into::into),
                bitrate: planned.bitrate,
                first_chunk,
            }))
        }
        TaskKind::Surround => {
            let work = surround_work(&surround, audio, claimed.ordinal).ok_or_else(not_in_plan)?;
            let (grid, video) = (Some(grid.into()), video.map(Into::into));
            Ok(v1::lease::Work::Surround(v1::SurroundWork { grid, video, first_chunk, ..work }))
        }
        TaskKind::Subtitles => {
            let planned = text.into_iter().find(|text| text.number == claimed.ordinal);
            let planned = planned.ok_or_else(not_in_plan)?;
            Ok(v1::lease::Work::Subtitles(v1::SubtitlesWork {
                grid: Some(grid.into()),
                number: planned.number,
                track: Some(planned.track.into()),
                video: video.map(Into::into),
            }))
        }
        TaskKind::Thumbnails => {
            Ok(v1::lease::Work::Pictures(pictures_work(pictures.ok_or_else(not_in_plan)?)))
        }
        TaskKind::Preview => {
            let preview = preview.ok_or_else(not_in_plan)?;
            let rate = grid.rate();
            Ok(v1::lease::Work::Preview(v1::PreviewWork {
                frame_rate: Some(v1::Ratio { num: rate.num(), den: rate.den() }),
                frames: preview.frames,
                size: Some(size(preview.size)),
                sound: preview.audio.is_some(),
                urgent,
            }))
        }
        TaskKind::Probe | TaskKind::Collect => Err(not_in_plan()),
    }
}

/// The planned surround rendition and its track; the caller adds the rest.
fn surround_work(
    surround: &[PlannedSurround],
    audio: Vec<PlannedAudio>,
    number: u32,
) -> Option<v1::SurroundWork> {
    let planned = surround.iter().find(|planned| planned.number == number)?;
    let of = audio.into_iter().find(|audio| audio.number == planned.audio)?;
    Some(v1::SurroundWork {
        number,
        track: Some(of.track.into()),
        codec: planned.codec.text().to_owned(),
        bitrate: planned.bitrate,
        ..v1::SurroundWork::default()
    })
}

fn pictures_work(plan: PicturePlan) -> v1::PicturesWork {
    v1::PicturesWork {
        thumbnails: plan.thumbnails.len() as u32,
        thumbnail: Some(size(plan.thumbnail)),
        tiles: plan.tiles,
        tile: Some(size(plan.tile)),
        columns: plan.columns,
        rows: plan.rows,
        candidates: plan.candidates,
        poster: Some(size(plan.poster)),
    }
}

fn size(size: Size) -> v1::Size {
    v1::Size { width: size.width, height: size.height }
}

/// Handles the end of a worker's session. If the connection was `lost`, the worker's attempts end
/// immediately and count as failed, so that a task that crashes its worker is not retried without
/// limit.
///
/// # Errors
/// [`DbError`] while the database stays unavailable; the leases then expire.
pub async fn release_worker(app: &AppState, worker: WorkerId, lost: bool) -> Result<(), DbError> {
    if lost {
        let leases =
            app.db.run(WORK_TRIES_MAX, async |db| lease::of_worker(db, worker).await).await?;
        for lease in leases {
            let failed_attempt = FailedAttempt {
                failure: Failure::new("worker_lost", "the worker's connection ended"),
                retryable: true,
                backoff_seconds: 0.0,
                expired_only: false,
                cause: Cause::Unknown,
                probe_retry: app.policy.probe_retry,
            };
            admission::end_attempt(app, lease, &failed_attempt).await?;
        }
    }
    app.db.run(WORK_TRIES_MAX, async |db| workers::disconnect(db, worker).await).await
}
