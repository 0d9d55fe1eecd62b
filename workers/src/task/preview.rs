//! `preview`: makes a short clip from the excerpt that control built.

use std::path::Path;

use api::v1;
use media::{FrameRate, pictures::PREVIEW};

use super::{
    Task, TaskIo,
    images::{size, write_files},
    invalid,
};
use crate::{
    ffmpeg::args::images::{self as args, PreviewEncode},
    outcome::TaskError,
};

/// Frames of the longest preview: half a minute at the highest frame rate.
const FRAMES_MAX: u64 = 1800;

pub(super) async fn run(
    task: &Task,
    task_io: &TaskIo<'_>,
    work: v1::PreviewWork,
    scratch: &Path,
) -> Result<(), TaskError> {
    let rate = work.frame_rate.and_then(|rate| FrameRate::new(rate.num, rate.den).ok());
    let rate = rate.ok_or_else(|| invalid("frame_rate"))?;
    if work.frames == 0 || work.frames > FRAMES_MAX {
        return Err(invalid("frames").into());
    }
    let context = &task.context;
    let encode = PreviewEncode {
        source: task_io.source.input(),
        rate,
        frames: work.frames,
        size: size("size", work.size)?,
        sound: work.sound,
        threads: if work.urgent { context.urgent_threads } else { context.threads },
    };
    write_files(task, task_io, scratch, args::preview(&encode), work.frames).await?;
    let stored = task_io.store_file(PREVIEW, "mp4", scratch.join(args::PREVIEW_NAME)).await?;
    task.committer.commit_images(vec![stored]).await
}
