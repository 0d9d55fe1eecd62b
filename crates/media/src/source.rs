//! The result of probing an uploaded source, in the units that the planner needs.

mod pacing;
mod parts;

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

pub use self::{
    pacing::pacing_ticks,
    parts::{AudioPart, Span, VideoPart, sample_of},
};
use crate::{FrameRate, Grid, grid::GridError, purpose::AudioPurpose};

/// The codec of WebVTT tracks that mkvmerge writes, by Matroska's codec id (Matroska, subtitles:
/// WebVTT). FFmpeg before 7 does not decode it.
pub const MATROSKA_WEBVTT: &str = "s_text/webvtt";

/// An uploaded file with video, audio, or both.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// The container's short name, as reported by ffprobe.
    pub format: String,
    /// Duration in seconds: of the video and of audio that outlasts it; without video, of the first
    /// audio track.
    pub duration: f64,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// Bitrate of the whole file, in bit/s.
    pub bitrate: u64,
    /// The video track that is encoded; `None` for an audio-only file.
    pub video: Option<VideoTrack>,
    /// Every audio track, in file order.
    pub audio: Vec<AudioTrack>,
    /// Every text or subtitle track, in file order; empty for sources that were probed before this
    /// field existed.
    #[serde(default)]
    pub text: Vec<TextTrack>,
    /// Tracks that the probe left out and the reasons, as sentences for users; every job repeats
    /// them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// The source's video track.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VideoTrack {
    /// FFmpeg's stream index.
    pub index: u32,
    /// FFmpeg's codec name.
    pub codec: String,
    /// Display width in pixels, after rotation and with square pixels.
    pub width: u32,
    /// Display height in pixels.
    pub height: u32,
    /// Frame rate as numerator and denominator, not yet bounded: the nominal one, or the lowest of
    /// some rates that shows every picture.
    pub frame_rate: (u32, u32),
    /// Seconds per tick as numerator and denominator.
    pub time_base: (u32, u32),
    /// Presentation time of the first frame, in ticks.
    pub first_pts: i64,
    /// Presentation time of the last frame, in ticks.
    pub last_pts: i64,
    /// Whether it needs deinterlacing.
    pub interlaced: bool,
    /// FFmpeg's pixel format name.
    pub pixel_format: String,
    /// FFmpeg's name of the transfer characteristics; may be empty.
    pub transfer: String,
    /// FFmpeg's name of the matrix coefficients; may be empty. Unknown for sources that were probed
    /// before this field existed, as the primaries are.
    #[serde(default)]
    pub matrix: String,
    /// FFmpeg's name of the color primaries; may be empty.
    #[serde(default)]
    pub primaries: String,
    /// Ticks by which the audio begins before the first frame; the first frame is shown during that
    /// time.
    #[serde(default)]
    pub hold_before: u64,
    /// Ticks by which the last frame is shown longer: because the audio continues after it, or
    /// because the file gives it that duration.
    #[serde(default)]
    pub hold_after: u64,
    /// Whether a picture whose frame already shows the picture before it gets the next frame.
    #[serde(default)]
    pub paced: bool,
    /// How many of the examined pictures have no frame of their own.
    #[serde(default)]
    pub hidden: u64,
    /// Of how many pictures the probe examined the times; 0 if it examined none.
    #[serde(default)]
    pub examined: u64,
    /// The recordings that the source was joined from, in order; empty if it is a single one. Their
    /// times are in the same ticks, each on its own clock; the times above apply to the whole
    /// length.
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
    /// Sample rate of the source in Hz.
    pub sample_rate: u32,
    /// Language tag as in the file; empty if unknown.
    pub language: String,
    /// Title as in the file; may be empty.
    pub title: String,
    /// The track's purpose; unknown for sources that were probed before this field existed.
    #[serde(default)]
    pub purpose: AudioPurpose,
    /// The recordings that the source was joined from, in order; empty if it is a single one.
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
    /// Language tag as in the file; empty if unknown.
    pub language: String,
    /// Title as in the file; may be empty.
    pub title: String,
    /// Shown unless the viewer chooses otherwise.
    pub default: bool,
    /// Contains only text that every viewer needs.
    pub forced: bool,
    /// Made for deaf and hard-of-hearing viewers.
    pub hearing_impaired: bool,
    /// Belongs to a commentary on the video.
    #[serde(default)]
    pub commentary: bool,
    /// The channel, if it is one of closed captions within the track: see
    /// [`crate::captions::closed::Channel`].
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub channel: String,
}

impl TextTrack {
    /// Whether it contains text; other subtitle tracks contain images of text.
    pub fn is_text(&self) -> bool {
        let codecs = ["subrip", "srt", "ass", "ssa", "webvtt", MATROSKA_WEBVTT, "mov_text", "text"];
        codecs.contains(&self.codec.as_str()) || !self.channel.is_empty()
    }
}

impl Source {
    /// The grid of every rendition.
    ///
    /// # Errors
    /// If no grid fits the source's frame rate or duration.
    pub fn grid(&self) -> Result<Grid, GridError> {
        let grid = match &self.video {
            Some(video) => {
                let (num, den) = video.frame_rate;
                let rate = FrameRate::for_source(num, den)?;
                Grid::new(rate, video.frames_at(rate))?
            }
            None => Grid::of_sound(self.duration)?,
        };
        Ok(grid.with_joined_remainder())
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

    /// The number of output frames at `rate`: up to the end of the last frame, which lasts as long
    /// as the others plus the time for which it is held.
    pub fn frames_at(&self, rate: FrameRate) -> u64 {
        if !self.parts.is_empty() {
            let frames = self.parts.iter().map(|part| self.of_part(part).frames_at(rate));
            return frames.fold(0, u64::saturating_add);
        }
        let (num, den) = self.frame_rate;
        let ticks =
            i128::from(self.last_pts) + i128::from(self.hold_after) - i128::from(self.start_pts());
        // The ticks and one frame, over a common denominator.
        let second = i128::from(self.time_base.1).max(1) * i128::from(num).max(1);
        let length = ticks.max(0) * i128::from(self.time_base.0) * i128::from(num)
            + i128::from(den) * i128::from(self.time_base.1);
        let (num, den) = (i128::from(rate.num()), i128::from(rate.den()));
        let frames = (length * num + second * den / 2) / (second * den);
        u64::try_from(frames.max(1)).unwrap_or(u64::MAX)
    }

    /// The frames of the grid at which the first and the last frame of the track are shown.
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
