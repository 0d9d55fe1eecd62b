//! What a probe finds in an uploaded source, in the units that the planner needs.

mod parts;

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

pub use self::parts::{AudioPart, Span, VideoPart, sample_of};
use crate::{FrameRate, Grid, grid::GridError};

/// An uploaded file that holds pictures, sound, or both.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// The container's short name as ffprobe gives it.
    pub format: String,
    /// Length in seconds: of the pictures and of the sound that outlasts them; of sound only, of the first track.
    pub duration: f64,
    /// Size of the file.
    pub bytes: u64,
    /// Of the whole file, in bit/s.
    pub bitrate: u64,
    /// The one video track that is encoded; none when the file is sound only.
    pub video: Option<VideoTrack>,
    /// Every audio track, in file order.
    pub audio: Vec<AudioTrack>,
    /// Every text or subtitle track, in file order; none of what was probed before they were looked at.
    #[serde(default)]
    pub text: Vec<TextTrack>,
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
    /// Presentation time of the first frame, in ticks.
    pub first_pts: i64,
    /// Presentation time of the last frame, in ticks.
    pub last_pts: i64,
    /// Needs deinterlacing.
    pub interlaced: bool,
    /// FFmpeg's pixel format name.
    pub pixel_format: String,
    /// FFmpeg's name of the transfer characteristics; may be empty.
    pub transfer: String,
    /// Ticks that the film begins before its first picture, which stands still until then: its sound does.
    #[serde(default)]
    pub hold_before: u64,
    /// Ticks that the film goes on after its last picture, which stands still: its sound does, or the
    /// file says that the picture is shown for so long.
    #[serde(default)]
    pub hold_after: u64,
    /// The recordings that the source was joined from, in order; none of a source in one piece. Their times are
    /// in the same ticks, each by a clock of its own; the times above are for the length of the whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<VideoPart>,
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
    /// The recordings that the source was joined from, in order; none of a source in one piece.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<AudioPart>,
}

/// One of the source's text or subtitle tracks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextTrack {
    /// FFmpeg's stream index.
    pub index: u32,
    /// FFmpeg's codec name.
    pub codec: String,
    /// Language tag as the file has it; empty when unknown.
    pub language: String,
    /// Title as the file has it; may be empty.
    pub title: String,
    /// Shown unless the viewer chooses.
    pub default: bool,
    /// Holds only what must be read.
    pub forced: bool,
    /// For who does not hear.
    pub hearing_impaired: bool,
}

impl TextTrack {
    /// Holds text; the others hold pictures of it.
    pub fn is_text(&self) -> bool {
        let codecs = ["subrip", "srt", "ass", "ssa", "webvtt", "mov_text", "text"];
        codecs.contains(&self.codec.as_str())
    }
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

    /// The tick that becomes time 0 of every rendition.
    pub fn start_pts(&self) -> i64 {
        self.first_pts.saturating_sub_unsigned(self.hold_before)
    }

    /// Output frames of this track at `rate`: up to the end of the last frame, which lasts as long as others
    /// do, and of what it is held for.
    pub fn frames_at(&self, rate: FrameRate) -> u64 {
        if !self.parts.is_empty() {
            let frames = self.parts.iter().map(|part| self.of_part(part).frames_at(rate));
            return frames.fold(0, u64::saturating_add);
        }
        let (num, den) = self.frame_rate;
        let ticks =
            i128::from(self.last_pts) + i128::from(self.hold_after) - i128::from(self.start_pts());
        // Ticks and one frame, over a common denominator.
        let second = i128::from(self.time_base.1).max(1) * i128::from(num).max(1);
        let length = ticks.max(0) * i128::from(self.time_base.0) * i128::from(num)
            + i128::from(den) * i128::from(self.time_base.1);
        let (num, den) = (i128::from(rate.num()), i128::from(rate.den()));
        let frames = (length * num + second * den / 2) / (second * den);
        u64::try_from(frames.max(1)).unwrap_or(u64::MAX)
    }

    /// The frames of the grid that the first and the last picture become.
    pub fn pictures_at(&self, rate: FrameRate) -> RangeInclusive<u64> {
        self.frame_at(rate, self.first_pts.into())..=self.frame_at(rate, self.last_pts.into())
    }

    fn frame_at(&self, rate: FrameRate, pts: i128) -> u64 {
        let ticks = pts - i128::from(self.start_pts());
        let num = ticks.max(0) * i128::from(self.time_base.0) * i128::from(rate.num());
        let den = i128::from(self.time_base.1).max(1) * i128::from(rate.den());
        u64::try_from((num + den / 2) / den).unwrap_or(u64::MAX)
    }
}
