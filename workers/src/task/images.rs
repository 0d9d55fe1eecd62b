//! `thumbnails`: makes poster, thumbnails and storyboard from the excerpt of key frames that
//! control built.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use api::v1;
use media::pictures::{POSTER, Size, sheet_name, thumbnail_name};
use tokio::task::spawn_blocking;

use super::{Task, TaskIo, invalid, report};
use crate::{
    ffmpeg::{
        args::images::{self as args, GREY, GREYS_NAME, ImagesEncode},
        run::{self, Run},
    },
    outcome::{TaskError, TaskFailure},
};

/// Images of each kind in one task.
const IMAGES_MAX: u32 = 4096;
/// Pixels of an image's side: the limit of JPEG.
const SIDE_MAX: u32 = 65_500;
/// Time limit for all images, or for a preview: far more than even a slow machine needs.
const TIME_MAX: Duration = Duration::from_secs(900);
const FILE_BYTES_MAX: u64 = 64 << 20;

pub(super) async fn run(
    task: &Task,
    task_io: &TaskIo<'_>,
    work: v1::PicturesWork,
    scratch: &Path,
) -> Result<(), TaskError> {
    let plan = Plan::of(&work)?;
    plan.encode(task, task_io, scratch).await?;
    let folder = scratch.to_owned();
    let best = spawn_blocking(move || best_candidate(&folder.join(GREYS_NAME)));
    let best = best
        .await
        .map_err(|_| TaskFailure::retryable("internal", "rate candidates: the thread panicked"))?
        .map_err(|error| TaskFailure::io("read candidates", &error))?;
    let best =
        best.ok_or_else(|| TaskFailure::retryable("output_refused", "no frame was decoded"))?;
    let mut stored = Vec::new();
    for (name, file) in plan.files(best) {
        stored.push(task_io.store_file(&name, "jpg", scratch.join(file)).await?);
    }
    task.committer.commit_images(stored).await
}

struct Plan {
    thumbnails: u32,
    sheets: u32,
    frames: u32,
    thumbnail: Size,
    tile: Size,
    grid: (u32, u32),
    poster: Size,
}

impl Plan {
    fn of(work: &v1::PicturesWork) -> Result<Self, TaskFailure> {
        let (columns, rows) = (work.columns, work.rows);
        let per_sheet = columns.checked_mul(rows).filter(|count| *count > 0);
        let per_sheet = per_sheet.ok_or_else(|| invalid("columns"))?;
        let tile = size("tile", work.tile)?;
        let fits = |side: u32, count: u32| side.checked_mul(count).is_some_and(|s| s <= SIDE_MAX);
        if !fits(tile.width, columns) || !fits(tile.height, rows) {
            return Err(invalid("tile"));
        }
        let counts = [work.thumbnails, work.tiles, work.candidates];
        if counts.iter().any(|count| *count == 0 || *count > IMAGES_MAX) {
            return Err(invalid("tiles"));
        }
        Ok(Self {
            thumbnails: work.thumbnails,
            sheets: work.tiles.div_ceil(per_sheet),
            frames: counts.iter().sum(),
            thumbnail: size("thumbnail", work.thumbnail)?,
            tile,
            grid: (columns, rows),
            poster: size("poster", work.poster)?,
        })
    }

    async fn encode(
        &self,
        task: &Task,
        task_io: &TaskIo<'_>,
        scratch: &Path,
    ) -> Result<(), TaskFailure> {
        let encode = ImagesEncode {
            source: task_io.source.input(),
            thumbnail: self.thumbnail,
            tile: self.tile,
            grid: self.grid,
            poster: self.poster,
            threads: task.context.threads,
        };
        write_files(task, task_io, scratch, args::images(&encode), u64::from(self.frames)).await
    }

    /// The name and the file of every image that is stored.
    fn files(&self, best: u32) -> Vec<(String, String)> {
        let mut files = vec![(POSTER.to_owned(), args::candidate_file(best))];
        files.extend((0..self.thumbnails).map(|n| (thumbnail_name(n), args::thumbnail_file(n))));
        files.extend((0..self.sheets).map(|n| (sheet_name(n), args::sheet_file(n))));
        files
    }
}

/// Runs FFmpeg with arguments that write about `frames` frames to files.
pub(super) async fn write_files(
    task: &Task,
    task_io: &TaskIo<'_>,
    scratch: &Path,
    args: Vec<OsString>,
    frames: u64,
) -> Result<(), TaskFailure> {
    let toolbox = &task.context.toolbox;
    let run = Run {
        program: toolbox.ffmpeg.clone(),
        args,
        source: Some(task_io.source.input().clone()),
        scratch: scratch.to_owned(),
        time_max: TIME_MAX,
        stall_max: toolbox.stall,
        file_bytes_max: FILE_BYTES_MAX,
    };
    let mut running = run::start(toolbox, run)?;
    let progress = Arc::clone(&running.progress);
    let wait = async {
        // Standard output is ignored.
        while running.next().await?.is_some() {}
        Ok(())
    };
    tokio::select! {
        finished = wait => finished,
        () = report(&progress, &task.progress, |p| p.frames() as f64 / frames as f64) => Ok(()),
    }
}

/// Checks a size in a lease.
pub(super) fn size(field: &str, size: Option<v1::Size>) -> Result<Size, TaskFailure> {
    match size {
        Some(v1::Size { width, height })
            if (1..=SIDE_MAX).contains(&width) && (1..=SIDE_MAX).contains(&height) =>
        {
            Ok(Size { width, height })
        }
        _ => Err(invalid(field)),
    }
}

/// The best candidate for the poster, rated by its small gray version; the first one if several are
/// equal.
fn best_candidate(greys: &Path) -> io::Result<Option<u32>> {
    let greys = fs::read(PathBuf::from(greys))?;
    let pixels = (GREY.width * GREY.height) as usize;
    let mut best = None;
    for (number, grey) in (0..).zip(greys.chunks_exact(pixels)) {
        let image_score = image_score(grey);
        if best.is_none_or(|(_, found)| image_score > found) {
            best = Some((number, image_score));
        }
    }
    Ok(best.map(|(number, _)| number))
}

/// Rates an image: its contrast, reduced if it is very dark or very bright as a whole. Black, white
/// and blank images rate zero.
fn image_score(grey: &[u8]) -> f64 {
    let count = grey.len() as f64;
    let mean = grey.iter().map(|p| f64::from(*p)).sum::<f64>() / count;
    let variance = grey.iter().map(|p| (f64::from(*p) - mean).powi(2)).sum::<f64>() / count;
    let balance = 1.0 - (mean - MIDDLE).abs() / WHITE;
    variance.sqrt() * balance.max(0.1)
}

const MIDDLE: f64 = 118.0;
const WHITE: f64 = 255.0;

#[cfg(test)]
mod tests {
    use super::image_score;

    #[test]
    fn images_with_content_rate_higher_than_black_and_blank_ones() {
        let black = [0_u8; 64];
        let grey = [128_u8; 64];
        let mut star = [0_u8; 64];
        star[5] = 255;
        let scene: Vec<u8> = (0..64).map(|n| 60 + (n * 7 % 130) as u8).collect();
        assert!(image_score(&scene) > image_score(&star));
        assert!(image_score(&star) > image_score(&black));
        assert!(image_score(&scene) > image_score(&grey));
        let dark: Vec<u8> = scene.iter().map(|p| p / 8).collect();
        assert!(
            image_score(&scene) > image_score(&dark) && image_score(&dark) > image_score(&black)
        );
    }
}
