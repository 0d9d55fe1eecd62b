//! Finds the hardware encoders that work on this machine, by a trial run of each.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use media::{Codec, FrameRate, Grid, HardwareEncoder, ladder::Rung, source::VideoTrack};

use super::{
    Toolbox,
    args::{self, ChunkEncode, Preroll},
    query::query,
};
use crate::{input::Input, outcome::TaskFailure, scratch::Scratch};

/// Maximum duration of a trial; drivers load their firmware in the first one.
const TRIAL_TIME_MAX: Duration = Duration::from_secs(20);
const TRIAL_OUTPUT_BYTES_MAX: usize = 1 << 20;
/// Every encoder supports this size.
const TRIAL_SIZE: (u32, u32) = (640, 360);

/// The device file that FFmpeg is given by its path: the first render node.
pub fn node(devices: &[PathBuf]) -> Option<&Path> {
    devices.iter().map(PathBuf::as_path).find(|path| path.starts_with("/dev/dri"))
}

/// FFmpeg's names of the hardware encoders that can encode a picture in the sandbox of a chunk with
/// `devices`; none without devices.
pub async fn working(toolbox: &Toolbox, devices: &[PathBuf], scratch: &Scratch) -> Vec<String> {
    let mut working = Vec::new();
    if devices.is_empty() {
        return working;
    }
    let toolbox = Toolbox { devices: devices.to_vec(), ..toolbox.clone() };
    for hardware in HardwareEncoder::ALL {
        match trial(&toolbox, hardware, scratch).await {
            Ok(()) => working.push(hardware.text().to_owned()),
            Err(failure) => {
                let (encoder, reason) = (hardware.text(), failure.to_string());
                tracing::info!(encoder, reason, "hardware encoder does not work");
            }
        }
    }
    tracing::info!(encoders = working.join(", "), "hardware encoders tested");
    working
}

async fn trial(
    toolbox: &Toolbox,
    hardware: HardwareEncoder,
    scratch: &Scratch,
) -> Result<(), TaskFailure> {
    let folder = scratch.task().map_err(|error| TaskFailure::io("create a folder", &error))?;
    let (width, height) = TRIAL_SIZE;
    let codec = hardware.codec();
    let rung = Rung {
        name: String::new(),
        width,
        height,
        video_bitrate: 1_000_000,
        codec,
        preset: String::new(),
        crf: Some(Codec::default_crf(codec)),
        hardware: Some(hardware),
    };
    let invalid = |_| TaskFailure::retryable("internal", "the trial has no grid".to_owned());
    let grid = Grid::new(FrameRate::new(25, 1).map_err(invalid)?, 1).map_err(invalid)?;
    let encode = ChunkEncode {
        source: &Input::from(Path::new("")),
        track: &VideoTrack::default(),
        grid: &grid,
        chunk: 0,
        rungs: &[rung],
        preset: "",
        threads: 1,
        preroll: Preroll::Short,
        untimed: false,
        device: node(&toolbox.devices),
    };
    let (program, args) = (&toolbox.ffmpeg, args::trial(&encode));
    let (time, bytes) = (TRIAL_TIME_MAX, TRIAL_OUTPUT_BYTES_MAX);
    query(toolbox, program, args, None, folder.path(), time, bytes).await?;
    Ok(())
}
