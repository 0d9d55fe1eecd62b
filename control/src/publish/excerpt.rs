//! Builds the excerpt that image tasks read instead of the source: a short MP4 of finished key
//! frames or GOPs.
//!
//! The worker of such a task needs no access to renditions, and its decoder never reads an uploaded
//! file, only admitted output.

use std::ops::Range;

use api::code::Code;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, future::BoxFuture, stream};
use media::{
    excerpt::{self, Cut},
    fmp4::Mp4Error,
    index::{Index, Track},
    layout,
    pictures::{ClipPlan, PicturePlan},
};
use store::{ReadError, Store};
use thiserror::Error;

use crate::{
    db::outputs::Subject,
    domain::{Failure, TaskKind},
    objects::{self, ObjectError},
    publish::{PublishError, index},
    state::AppState,
};

/// Concurrent reads from the store.
const READS_MAX: usize = 8;
/// Maximum bytes of an excerpt: 30 s at the highest bit rates stay far below.
const EXCERPT_BYTES_MAX: u64 = 256 << 20;
/// Building may take this part of a lease, because no heartbeat renews the lease until the worker
/// has it.
const LEASE_PART_MAX: f64 = 0.5;

/// Why an excerpt cannot be built.
#[derive(Debug, Error)]
enum ExcerptError {
    /// The job's rows cannot be read.
    #[error(transparent)]
    Index(#[from] PublishError),
    /// The excerpt cannot be stored.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// The store failed, or an object is missing.
    #[error("read a rendition")]
    Read(#[from] ReadError),
    /// A stored fragment differs from the admitted one.
    #[error("read a fragment")]
    Mp4(#[from] Mp4Error),
    /// The plan names something that the job does not have.
    #[error("{0} is not in the job's plan")]
    Plan(&'static str),
    /// The excerpt is larger than [`EXCERPT_BYTES_MAX`].
    #[error("the excerpt would have {0} bytes, which is too large")]
    Size(u64),
    /// Building takes longer than [`LEASE_PART_MAX`] allows.
    #[error("the store is too slow")]
    Time,
}

/// Writes the excerpt for a lease of an image task and returns its key.
///
/// # Errors
/// The failure to report when the lease is released.
pub async fn write(app: &AppState, subject: &Subject, token: u64) -> Result<String, Failure> {
    let time_max = app.policy.lease.mul_f64(LEASE_PART_MAX);
    let assembled = tokio::time::timeout(time_max, assemble(app, subject, token)).await;
    assembled.unwrap_or(Err(ExcerptError::Time)).map_err(|problem| {
        tracing::warn!(job.id = %subject.job, error = %problem, "failed to build an excerpt");
        match problem {
            ExcerptError::Read(ReadError::Missing)
            | ExcerptError::Mp4(_)
            | ExcerptError::Plan(_)
            | ExcerptError::Size(_) => {
                Failure::new("scenes_failed", "the excerpt of the renditions could not be built")
            }
            _ => Failure::new(Code::Unavailable.text(), "the renditions cannot be read now"),
        }
    })
}

async fn assemble(app: &AppState, subject: &Subject, token: u64) -> Result<String, ExcerptError> {
    let (video, job) = (subject.video, subject.job);
    let db = app.db.get().await.map_err(PublishError::from)?;
    let built = index::of_job(&*db, video, job).await?;
    drop(db);
    let (_, index) = built.ok_or(ExcerptError::Plan("the job"))?;
    let plan = subject.plan.as_ref().ok_or(ExcerptError::Plan("the plan"))?;
    let store = objects::store(&app.stores, &subject.store)?;
    let unplanned = ExcerptError::Plan("the task");
    let bytes = match subject.kind {
        TaskKind::Thumbnails => {
            stills(store, &index, plan.pictures.as_ref().ok_or(unplanned)?).await?
        }
        TaskKind::Preview => clip(store, &index, plan.preview.as_ref().ok_or(unplanned)?).await?,
        TaskKind::Probe
        | TaskKind::Chunk
        | TaskKind::Audio
        | TaskKind::Surround
        | TaskKind::Subtitles
        | TaskKind::Collect => return Err(unplanned),
    };
    let key = layout::excerpt(&layout::job_prefix(video, job), subject.kind.text(), token);
    objects::put(&app.stores, &subject.store, &key, bytes).await?;
    Ok(key)
}

/// A range of bytes of one object.
struct Part {
    key: String,
    range: Range<u64>,
}

/// The fragment of a GOP; for a still, only up to the end of its key frame.
fn part(index: &Index, track: &Track, gop: u32, still: bool) -> Result<Part, ExcerptError> {
    let number = index.grid.chunk_of(gop);
    let place = (gop - index.grid.chunk_gops(number).start) as usize;
    let chunk = track.chunks.get(number as usize).and_then(Option::as_ref);
    let chunk = chunk.ok_or(ExcerptError::Plan("a chunk"))?;
    let fragment = chunk.fragments.get(place).ok_or(ExcerptError::Plan("a fragment"))?;
    let start = chunk.fragments[..place].iter().map(|f| u64::from(f.bytes)).sum();
    let bytes = if still { fragment.intra_bytes } else { fragment.bytes };
    Ok(Part { key: chunk.key.clone(), range: start..start + u64::from(bytes) })
}

async fn read(store: &Store, parts: Vec<Part>) -> Result<Vec<Bytes>, ExcerptError> {
    let all: u64 = parts.iter().map(|part| part.range.end - part.range.start).sum();
    if all > EXCERPT_BYTES_MAX {
        return Err(ExcerptError::Size(all));
    }
    let reads = parts.into_iter().map(|Part { key, range }| -> BoxFuture<'static, _> {
        let store = store.clone();
        Box::pin(async move { store.read(&key, range).await })
    });
    Ok(stream::iter(reads.collect::<Vec<_>>()).buffered(READS_MAX).try_collect().await?)
}

fn track<'a>(index: &'a Index, rendition: &str) -> Result<&'a Track, ExcerptError> {
    let (track, _) = index.track(rendition).ok_or(ExcerptError::Plan("a rendition"))?;
    Ok(track)
}

async fn stills(store: &Store, index: &Index, plan: &PicturePlan) -> Result<Vec<u8>, ExcerptError> {
    let (strip, poster) = (track(index, &plan.strip)?, track(index, &plan.poster_from)?);
    let wanted: [(&Track, Vec<u32>); 3] = [
        (strip, plan.thumbnails.clone()),
        (strip, plan.tile_gops().collect()),
        (poster, plan.candidates(poster)),
    ];
    let parts = wanted
        .iter()
        .flat_map(|(track, gops)| gops.iter().map(|gop| part(index, track, *gop, true)));
    let moving = plan.moving(poster).map(|gop| part(index, poster, gop, false));
    let parts = parts.chain(moving).collect::<Result<Vec<_>, _>>()?;
    let stills = wanted.iter().map(|(_, gops)| gops.len()).sum();
    let fragments = read(store, parts).await?;
    let (fragments, moving) = fragments.split_at(stills);
    let mut frames = fragments.iter().map(|fragment| excerpt::key_frame(fragment));
    let mut tracks = Vec::with_capacity(wanted.len());
    for (track, gops) in &wanted {
        let own = frames.by_ref().take(gops.len()).collect::<Result<Vec<_>, _>>()?;
        tracks.push((track.init.as_slice(), own));
    }
    Ok(excerpt::stills(&tracks, moving.first().map(AsRef::as_ref))?)
}

async fn clip(store: &Store, index: &Index, plan: &ClipPlan) -> Result<Vec<u8>, ExcerptError> {
    let picture = track(index, &plan.rung)?;
    let sound = plan.audio.as_deref().map(|name| track(index, name)).transpose()?;
    let gops = || plan.cuts.iter().flat_map(Clone::clone);
    let whole = |track| gops().map(move |gop| part(index, track, gop, false));
    let mut parts = whole(picture).collect::<Result<Vec<_>, _>>()?;
    if let Some(sound) = sound {
        parts.extend(whole(sound).collect::<Result<Vec<_>, _>>()?);
    }
    let fragments = read(store, parts).await?;
    let (video, audio) = fragments.split_at(gops().count());
    let (mut video, mut audio) = (video.iter(), audio.iter());
    let mut cuts = Vec::with_capacity(plan.cuts.len());
    for cut in &plan.cuts {
        cuts.push(Cut {
            gop: cut.start,
            video: video.by_ref().take(cut.len()).map(AsRef::as_ref).collect(),
            audio: audio.by_ref().take(cut.len()).map(AsRef::as_ref).collect(),
        });
    }
    let sound = sound.map(|track| track.init.as_slice());
    Ok(excerpt::clip(&index.grid, &picture.init, sound, &cuts)?)
}
