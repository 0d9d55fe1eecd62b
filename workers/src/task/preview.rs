//! `preview`: a short clip, from the parts of the film that control has put together.

use std::{path::Path, sync::Arc, time::Duration};

use api::v1;
use media::{FrameRate, pictures::PREVIEW};

use super::{Interruption, Place, Task, invalid, pictures::size, report};
use crate::ffmpeg::{
    Fault,
    pictures::{self as args, PreviewEncode},
    run::{self, Run},
};

/// Frames of the longest preview: half a minute at the highest rate.
const FRAMES_MAX: u64 = 1800;
/// Far above what even a slow machine needs for them.
const TIME_MAX: Duration = Duration::from_secs(900);
const FILE_BYTES_MAX: u64 = 64 << 20;

pub(super) async fn run(
    task: &Task,
    place: &Place<'_>,
    work: v1::PreviewWork,
    scratch: &Path,
) -> Result<(), Interruption> {
    let rate = work.frame_rate.and_then(|rate| FrameRate::new(rate.num, rate.den).ok());
    let rate = rate.ok_or_else(|| invalid("frame_rate"))?;
    if work.frames == 0 || work.frames > FRAMES_MAX {
        return Err(invalid("frames").into());
    }
    let workshop = &task.workshop;
    let encode = PreviewEncode {
        source: place.source.input(),
        rate,
        frames: work.frames,
        size: size("size", work.size)?,
        sound: work.sound,
        threads: if work.urgent { workshop.urgent_threads } else { workshop.threads },
    };
    let toolbox = &workshop.toolbox;
    let run = Run {
        program: toolbox.ffmpeg.clone(),
        args: args::preview(&encode),
        source: Some(place.source.input().clone()),
        scratch: scratch.to_owned(),
        time_max: TIME_MAX,
        stall_max: toolbox.stall,
        file_bytes_max: FILE_BYTES_MAX,
    };
    let mut running = run::start(toolbox, run)?;
    let progress = Arc::clone(&running.progress);
    let frames = work.frames as f64;
    let wait = async {
        while running.next().await?.is_some() {}
        Ok::<(), Fault>(())
    };
    tokio::select! {
        finished = wait => finished?,
        () = report(&progress, &task.gauge, |p| p.frames() as f64 / frames) => {}
    }
    let made = place.store_file(PREVIEW, "mp4", scratch.join(args::PREVIEW_NAME)).await?;
    task.committer.commit_pictures(vec![made]).await
}
