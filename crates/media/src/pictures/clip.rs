//! Selects the parts of a video that its preview shows.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::{Size, decodable};
use crate::{
    Grid,
    ladder::{Rung, lines},
};

/// Longest preview, in seconds.
pub const PREVIEW_SECONDS_MAX: f64 = 30.0;
/// Number of cuts in the preview of a longer video.
const CUTS: u32 = 5;
/// Maximum height of a preview in pixels.
const PREVIEW_LINES: u32 = 480;

/// The output of a job's task `preview`, fixed when the job is created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClipPlan {
    /// The rung that provides the video.
    pub rung: String,
    /// The audio rendition, if any.
    pub audio: Option<String>,
    /// The GOPs that are shown, in order.
    pub cuts: Vec<Range<u32>>,
    /// Frames in total; the last cut may be shortened.
    pub frames: u64,
    /// Size of the preview.
    pub size: Size,
}

impl ClipPlan {
    /// The whole video if it is short enough, otherwise a few cuts spread over it; `None` without
    /// rungs. `rungs` are sorted lowest first.
    pub fn new(grid: &Grid, rungs: &[Rung], audio: Option<String>) -> Option<Self> {
        let rungs = decodable(rungs);
        let lowest = *rungs.first()?;
        let fits = |rung: &&&Rung| lines(rung.width, rung.height) <= PREVIEW_LINES;
        let rung = rungs.iter().rev().find(fits).map_or(lowest, |rung| *rung);
        let frames_max = (PREVIEW_SECONDS_MAX * grid.rate().fps()).floor() as u64;
        let whole = || std::iter::once(0..grid.gops()).collect();
        let cuts = if grid.frames() <= frames_max { whole() } else { cuts(grid) };
        let shown = |gops: &Range<u32>| grid.gop(gops.end).start - grid.gop(gops.start).start;
        let frames: u64 = cuts.iter().map(shown).sum();
        Some(Self {
            rung: rung.name.clone(),
            audio,
            cuts,
            frames: frames.min(frames_max),
            size: Size::within_short(rung.width, rung.height, PREVIEW_LINES),
        })
    }

    /// Duration in seconds.
    pub fn seconds(&self, grid: &Grid) -> f64 {
        grid.seconds(self.frames)
    }
}

/// Enough GOPs to fill the preview, in equal cuts around the middles of equal parts of the video:
/// the very beginning and end are mostly titles and black.
fn cuts(grid: &Grid) -> Vec<Range<u32>> {
    let gops = grid.gops();
    let gop_seconds = grid.seconds(u64::from(grid.gop_frames()));
    let each = (PREVIEW_SECONDS_MAX / f64::from(CUTS) / gop_seconds).round().max(1.0) as u32;
    let each = each.min(gops / CUTS).max(1);
    let start = |n: u32| {
        let middle = (2 * u64::from(n) + 1) * u64::from(gops) / u64::from(2 * CUTS);
        (middle as u32).saturating_sub(each / 2)
    };
    (0..CUTS.min(gops)).map(|n| start(n)..(start(n) + each).min(gops)).collect()
}
