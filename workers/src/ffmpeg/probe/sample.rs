//! Whether this host can probe at all: the worker carries a small video and probes it as it probes every source.
//!
//! A probe's failure says something of its source only while the sample's probe succeeds.
//!
//! `sample.mp4` was made by: `ffmpeg -f lavfi -i testsrc2=s=64x36:r=25:d=0.4 -f lavfi -i sine=440:r=48000:d=0.4
//! -c:v libx264 -preset veryslow -crf 40 -pix_fmt yuv420p -profile:v baseline -bf 0 -c:a aac -b:a 16k -ac 1
//! -fflags +bitexact -flags:v +bitexact -flags:a +bitexact -movflags +faststart sample.mp4`

use std::path::Path;

use super::probe;
use crate::{
    ffmpeg::{Fault, Toolbox},
    source::Source as Opened,
};

/// H.264 and AAC of 0.4 seconds.
const SAMPLE: &[u8] = include_bytes!("sample.mp4");
/// Its size in pixels and its number of sounds.
const SAMPLE_SHOWS: (u32, u32, usize) = (64, 36, 1);
const SAMPLE_FILE: &str = "sample.mp4";

/// Probes the sample in `scratch`, a folder of its own.
///
/// # Errors
/// Why the host cannot probe it.
pub async fn check(toolbox: &Toolbox, scratch: &Path) -> Result<(), Fault> {
    let path = scratch.join(SAMPLE_FILE);
    tokio::fs::write(&path, SAMPLE).await.map_err(|error| Fault::io("write sample", &error))?;
    let probed = probe(toolbox, &Opened::local(&path)?, scratch).await;
    // The folder goes with its task anyway.
    drop(tokio::fs::remove_file(&path).await);
    let found = probed?;
    let shows = found.video.map(|video| (video.width, video.height, found.audio.len()));
    if shows == Some(SAMPLE_SHOWS) {
        return Ok(());
    }
    Err(Fault::retryable("probe_failed", "the probe reports something else than the sample"))
}
