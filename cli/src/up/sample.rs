//! A ten-second clip in the data folder, so that the upload command in the ready block works when
//! it is pasted unchanged.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use nix::sys::signal::Signal;
use tokio::time::timeout;

use super::child::{RunAs, command};

const PATIENCE: Duration = Duration::from_secs(30);
const ARGS: &[&str] = &[
    "-v",
    "error",
    "-nostdin",
    "-y",
    "-f",
    "lavfi",
    "-i",
    "testsrc2=size=1280x720:rate=25",
    "-f",
    "lavfi",
    "-i",
    "sine=frequency=440",
    "-t",
    "10",
    "-pix_fmt",
    "yuv420p",
    "-c:v",
    "libx264",
    "-preset",
    "ultrafast",
    "-c:a",
    "aac",
    "-movflags",
    "+faststart",
    "-f",
    "mp4",
];

/// Creates the clip unless it exists. It is optional: without it the ready block contains a
/// placeholder.
pub(crate) async fn make(ffmpeg: &Path, folder: &Path) -> Option<PathBuf> {
    let path = folder.join("sample.mp4");
    if path.exists() {
        return Some(path);
    }
    let draft = folder.join("sample.new");
    let mut command = command(ffmpeg, RunAs::Same, Signal::SIGKILL);
    command.args(ARGS).arg(&draft).stdout(Stdio::null()).stderr(Stdio::null());
    let status = timeout(PATIENCE, command.status()).await.ok()?.ok()?;
    if !status.success() {
        return None;
    }
    fs::rename(&draft, &path).ok()?;
    Some(path)
}
