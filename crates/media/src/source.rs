//! What a probe finds in an uploaded source, in the units that the planner needs.

use serde::{Deserialize, Serialize};

use crate::{FrameRate, Grid, grid::GridError};

/// An uploaded file that holds pictures, sound, or both.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// The container's short name as ffprobe gives it.
    pub format: String,
    /// Length in seconds, from the first to past the last video frame; of sound only, of the first track.
    pub duration: f64,
    /// Size of the file.
    pub bytes: u64,
    /// Of the whole file, in bit/s.
    pub bitrate: u64,
    /// The one video track that is encoded; none when the file is sound only.
    pub video: Option<VideoTrack>,
    /// Every audio track, in file order.
    pub audio: Vec<AudioTrack>,
}

/// The source's video track.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VideoTrack {
    /// FFmpeg's stream index.
    pub index: u32,
    /// FFmpeg's codec name.
    pub codec: String,
    /// Display width in pixels, after rotation and with square pixels.
    pub width: u32,
    /// Display height in pixels.
    pub height: u32,
    /// Nominal frames per second as numerator and denominator; not yet bounded.
    pub frame_rate: (u32, u32),
    /// Seconds per tick as numerator and denominator.
    pub time_base: (u32, u32),
    /// Presentation time of the first frame, in ticks. It becomes time 0 of every rendition.
    pub first_pts: i64,
    /// Presentation time of the last frame, in ticks.
    pub last_pts: i64,
    /// Needs deinterlacing.
    pub interlaced: bool,
    /// FFmpeg's pixel format name.
    pub pixel_format: String,
    /// FFmpeg's name of the transfer characteristics; may be empty.
    pub transfer: String,
}

/// One of the source's audio tracks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AudioTrack {
    /// FFmpeg's stream index.
    pub index: u32,
    /// FFmpeg's codec name.
    pub codec: String,
    /// Channels of the source; the output is stereo, or mono for a mono source.
    pub channels: u32,
    /// Hz of the source.
    pub sample_rate: u32,
    /// Language tag as the file has it; empty when unknown.
    pub language: String,
    /// Title as the file has it; may be empty.
    pub title: String,
}

impl Source {
    /// The grid that every rendition gets.
    ///
    /// # Errors
    /// [`GridError`] when the source's rate or length makes no grid.
    pub fn grid(&self) -> Result<Grid, GridError> {
        let Some(video) = &self.video else { return Grid::of_sound(self.duration) };
        let (num, den) = video.frame_rate;
        let rate = FrameRate::for_source(num, den)?;
        Grid::new(rate, video.frames_at(rate))
    }
}

impl VideoTrack {
    /// Seconds from tick 0 to `pts`.
    pub fn seconds(&self, pts: i64) -> f64 {
        pts as f64 * f64::from(self.time_base.0) / f64::from(self.time_base.1)
    }

    /// Output frames of this track at `rate`: the last frame's place on the grid, plus one.
    pub fn frames_at(&self, rate: FrameRate) -> u64 {
        let ticks = i128::from(self.last_pts) - i128::from(self.first_pts);
        let num = ticks.max(0) * i128::from(self.time_base.0) * i128::from(rate.num());
        let den = i128::from(self.time_base.1).max(1) * i128::from(rate.den());
        u64::try_from((num + den / 2) / den + 1).unwrap_or(u64::MAX)
    }
}
