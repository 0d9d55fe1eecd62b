//! Verifies a rendition's chunk: its key, its size, its digest and every box of the file.

use std::time::Duration;

use bytes::Bytes;
use media::{
    Grid,
    admission::{self, TrackKind},
    index::Fragment,
    layout, tables,
};
use runtime::retry::doubled;
use sha2::{Digest, Sha256};
use store::ReadError;

use super::init_segment::{self, Planned};
use crate::{
    db::{
        lease::LeaseId,
        outputs::{Offered, Subject},
    },
    domain::TaskKind,
    plan,
    state::AppState,
};

/// Maximum size of one rendition's chunk.
const OBJECT_BYTES_MAX: u64 = 256 << 20;
/// Attempts to read an object from the store, each with the store's own retries, before control
/// asks the worker to repeat the offer later.
const STORE_TRIES_MAX: u32 = 3;
const STORE_RETRY_BASE: Duration = Duration::from_millis(200);
const STORE_RETRY_MAX: Duration = Duration::from_secs(1);

/// Checks that an object belongs to this task and that its key is the one for this lease and
/// content.
pub(super) fn belongs(
    subject: &Subject,
    grid: &Grid,
    lease: LeaseId,
    offered: &Offered,
) -> Result<(), String> {
    let Offered { rendition, chunk, .. } = offered;
    let planned = match subject.kind {
        TaskKind::Chunk => *chunk == subject.ordinal && subject.rungs.contains(rendition),
        TaskKind::Audio | TaskKind::Surround => {
            let own = plan::rendition_of_sound(subject.kind, subject.ordinal);
            *chunk < grid.chunks() && own.as_ref() == Some(rendition)
        }
        TaskKind::Probe
        | TaskKind::Subtitles
        | TaskKind::Thumbnails
        | TaskKind::Preview
        | TaskKind::Collect => false,
    };
    if !planned {
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
pub(super) enum VerificationError {
    /// The object is invalid.
    Invalid(String),
    /// The object cannot be read at the moment.
    StoreUnavailable(String),
}

/// Verifies a rendition's chunk, read back from the store.
pub(super) async fn verify(
    app: &AppState,
    subject: &Subject,
    grid: Grid,
    offered: &Offered,
) -> Result<(Vec<Fragment>, tables::ChunkTable), VerificationError> {
    let permit = app.admission.clone().acquire_owned().await;
    let permit =
        permit.map_err(|_| VerificationError::StoreUnavailable("the server is stopping".into()))?;
    let bytes = fetch(app, subject, &offered.rendition, &offered.key, offered.bytes).await?;
    let kind = match subject.kind {
        TaskKind::Audio | TaskKind::Surround => TrackKind::Audio,
        TaskKind::Chunk
        | TaskKind::Probe
        | TaskKind::Subtitles
        | TaskKind::Thumbnails
        | TaskKind::Preview
        | TaskKind::Collect => TrackKind::Video,
    };
    let planned = subject.plan.as_ref().and_then(|plan| Planned::of(plan, &offered.rendition));
    let (offered, name) =
        (offered.clone(), format!("{} chunk {}", offered.rendition, offered.chunk));
    let proof = tokio::task::spawn_blocking(move || {
        // Held until the work ends, even if the worker's stream has closed.
        let _permit = permit;
        if Sha256::digest(&bytes)[..] != offered.sha256[..] {
            return Err("the stored bytes differ from the announced digest".to_owned());
        }
        let info = init_segment::as_planned(planned.as_ref(), &offered.init)?;
        let ticks = match kind {
            TrackKind::Video => grid.rate().frame_ticks(),
            TrackKind::Audio => info.packet_samples,
        };
        let fragments = admission::admit(kind, &grid, offered.chunk, &offered.init, &bytes)
            .map_err(|error| error.to_string())?;
        let samples = tables::of_chunk(&bytes, ticks).map_err(|error| error.to_string())?;
        Ok((fragments, samples))
    });
    match proof.await {
        Ok(Ok(proven)) => Ok(proven),
        Ok(Err(message)) => Err(VerificationError::Invalid(format!("{name}: {message}"))),
        Err(_) => Err(VerificationError::Invalid(format!("{name}: verification panicked"))),
    }
}

/// Reads an object, which must have exactly the announced size. Retries errors of the store a few
/// times.
pub(super) async fn fetch(
    app: &AppState,
    subject: &Subject,
    name: &str,
    key: &str,
    announced: u64,
) -> Result<Bytes, VerificationError> {
    let Some(store) = app.stores.get(&subject.store) else {
        return Err(VerificationError::StoreUnavailable(
            "the video's store is not configured".to_owned(),
        ));
    };
    let mut tried = 1;
    loop {
        let read = match store.size(key).await {
            Ok(size) if size != announced => {
                let text = format!("{name}: {size} bytes are stored, {announced} were announced");
                return Err(VerificationError::Invalid(text));
            }
            Ok(size) => store.read(key, 0..size).await,
            Err(error) => Err(error),
        };
        match read {
            Ok(bytes) => return Ok(bytes),
            Err(ReadError::Missing) => {
                return Err(VerificationError::Invalid(format!("{name}: no such object")));
            }
            Err(error) if tried < STORE_TRIES_MAX => {
                tracing::debug!(%error, tried, "retrying a read from the store");
                tokio::time::sleep(doubled(STORE_RETRY_BASE, tried, STORE_RETRY_MAX)).await;
                tried += 1;
            }
            Err(error) => {
                tracing::warn!(%error, "failed to read from the store");
                return Err(VerificationError::StoreUnavailable(
                    "the store is not reachable".to_owned(),
                ));
            }
        }
    }
}
