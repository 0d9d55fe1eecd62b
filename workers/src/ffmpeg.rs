//! Runs FFmpeg in the sandbox; the only modules that contain its arguments and parse its output and
//! error texts.
//!
//! **Invariant:** nothing outside `ffmpeg*` names `ffmpeg_sidecar` or builds an FFmpeg argument.

pub mod args;
pub mod bundled;
pub mod caption_packets;
pub mod failure;
pub mod hardware;
pub mod probe;
pub mod progress;
pub mod query;
pub mod run;
pub mod text_blocks;

use std::{
    env,
    path::{Path, PathBuf},
    time::Duration,
};

pub use progress::Progress;

use crate::sandbox::Sandbox;

/// The programs, their sandbox, and the limits that apply to every run.
#[derive(Clone, Debug)]
pub struct Toolbox {
    /// Starts the programs.
    pub sandbox: Sandbox,
    /// Absolute path.
    pub ffmpeg: PathBuf,
    /// Absolute path.
    pub ffprobe: PathBuf,
    /// Address space of one run.
    pub memory_bytes: u64,
    /// How long a run may go without progress.
    pub stall: Duration,
    /// Devices that runs may open; empty except for runs with a hardware encoder.
    pub devices: Vec<PathBuf>,
}

/// Finds `program` as a shell would: by its path, or in the folders of `PATH`.
pub fn find_program(program: &Path) -> Option<PathBuf> {
    if program.components().count() > 1 {
        return program.canonicalize().ok().filter(|path| path.is_file());
    }
    let folders = env::var_os("PATH")?;
    let found = env::split_paths(&folders).map(|folder| folder.join(program));
    found.filter(|path| path.is_file()).find_map(|path| std::path::absolute(path).ok())
}
