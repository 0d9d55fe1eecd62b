//! Checks whether this host can probe at all: the worker contains a small video and probes it like
//! any source.
//!
//! The failure of a probe is attributed to its source only while probing the sample succeeds.
//!
//! `sample.mp4` was made by: `ffmpeg -f lavfi -i testsrc2=s=64x36:r=25:d=0.4 -f lavfi -i
//! sine=440:r=48000:d=0.4 -c:v libx264 -preset veryslow -crf 40 -pix_fmt yuv420p -profile:v
//! baseline -bf 0 -c:a aac -b:a 16k -ac 1 -fflags +bitexact -flags:v +bitexact -flags:a +bitexact
//! -movflags +faststart sample.mp4`

use std::path::Path;

use super::probe;
use crate::{ffmpeg::Toolbox, outcome::TaskFailure, source::OpenedSource};

/// 0.4 s of H.264 and AAC.
const SAMPLE: &[u8] = include_bytes!("sample.mp4");
/// The sample's size in pixels and its number of audio tracks.
const SAMPLE_SHOWS: (u32, u32, usize) = (64, 36, 1);
const SAMPLE_FILE: &str = "sample.mp4";

/// Probes the sample in `scratch`, a folder that no other code uses.
///
/// # Errors
/// When the host cannot probe the sample.
pub async fn check(toolbox: &Toolbox, scratch: &Path) -> Result<(), TaskFailure> {
    let path = scratch.join(SAMPLE_FILE);
    tokio::fs::write(&path, SAMPLE)
        .await
        .map_err(|error| TaskFailure::io("write sample", &error))?;
    let probed = probe(toolbox, &OpenedSource::local(&path)?, scratch).await;
    // The folder is removed with its task in any case.
    drop(tokio::fs::remove_file(&path).await);
    let found = probed?;
    let shows = found.video.map(|video| (video.width, video.height, found.audio.len()));
    if shows == Some(SAMPLE_SHOWS) {
        return Ok(());
    }
    Err(TaskFailure::retryable("probe_failed", "the probe's result does not match the sample"))
}
