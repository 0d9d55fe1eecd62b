//! Text tracks: subtitles and captions of a video, as WebVTT.
//!
//! Input from outside (an embedded track, an uploaded file) is parsed strictly and rewritten:
//! [`Captions::write`] produces exactly one form for the same content, with harmless markup only. Admission
//! relies on this and rejects a file that differs from its own rewriting.

mod charset;
pub mod closed;
mod lines;
mod markup;
mod parse_budget;
mod srt;
mod time;
mod vtt;

use std::{
    collections::{HashMap, HashSet},
    fmt::Write,
};

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use charset::decode;
pub use parse_budget::ParseBudget;

use self::{
    lines::{Lines, joined, too_long},
    time::{clock, span, timestamp},
};
use crate::{CaptionId, Grid, JobId, pictures::Picture};

/// Content type of WebVTT.
pub const VTT_CONTENT_TYPE: &str = "text/vtt";
/// Maximum size in bytes of a text track; the tracks of the longest videos have a tenth of that.
pub const CAPTIONS_BYTES_MAX: usize = 2 << 20;
/// Maximum number of cues of a text track.
pub const CUES_MAX: usize = 50_000;
/// Maximum size in bytes of one cue's text.
pub const CUE_BYTES_MAX: usize = 4096;
/// Maximum size in bytes of one cue's text before it is rewritten, including markup that is removed.
pub const CUE_SOURCE_BYTES_MAX: usize = 64 << 10;
/// Maximum number of characters of a track's label.
pub const LABEL_CHARS_MAX: usize = 64;
/// The prefix of every text rendition's name; no profile's name may begin with it.
pub const RENDITION_PREFIX: &str = "text-";

/// The format of an uploaded file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// WebVTT.
    Vtt,
    /// WebVTT as FFmpeg writes it, which allows empty lines in a cue's text.
    LooseVtt,
    /// SubRip.
    Srt,
}

impl Format {
    /// Detects the format from the start of the text.
    pub fn guess(text: &str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        if text.starts_with("WEBVTT") { Self::Vtt } else { Self::Srt }
    }
}

/// The purpose of a text track.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CaptionKind {
    /// Spoken words, for viewers who do not understand the language.
    #[default]
    Subtitles,
    /// Speech and other sounds, for deaf and hard-of-hearing viewers.
    Captions,
}

impl CaptionKind {
    /// The name in requests and replies.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Subtitles => "subtitles",
            Self::Captions => "captions",
        }
    }

    /// Parses the name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Subtitles, Self::Captions].into_iter().find(|kind| kind.text() == text)
    }
}

/// The public description of a text track.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Described {
    /// Its name in URLs.
    pub id: CaptionId,
    /// BCP 47 tag; "und" if unknown.
    pub language: String,
    /// The name by which viewers choose it, unique within the video.
    pub label: String,
    /// The purpose of the track.
    pub kind: CaptionKind,
    /// Shown unless the viewer chooses otherwise; at most one track of a video.
    pub default: bool,
    /// Contains only text that every viewer needs, for example translations of foreign speech.
    pub forced: bool,
}

/// A text track in an index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextTrack {
    /// The public description.
    pub about: Described,
    /// The whole track, as [`Captions::write`] writes it.
    pub object: Picture,
}

/// The name of a text track's rendition, which is part of media URLs.
pub fn rendition(id: CaptionId) -> String {
    format!("{RENDITION_PREFIX}{id}")
}

/// The id of the text track that a rendition's name refers to.
pub fn of_rendition(name: &str) -> Option<CaptionId> {
    let id = name.strip_prefix(RENDITION_PREFIX)?;
    id.parse().ok().filter(|_| id.len() == 36)
}

/// The name of an embedded track's object among the outputs of its job.
pub fn file_name(number: u32) -> String {
    format!("subtitles/{number}")
}

/// The id of an embedded track, derived from the job that extracted it and its number there.
pub fn id_of_file(job: JobId, number: u32) -> CaptionId {
    let hash = blake3::hash(format!("{job}/{}", file_name(number)).as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.as_bytes()[..16]);
    CaptionId::new(uuid::Builder::from_random_bytes(bytes).into_uuid())
}

/// The duration of a video for its text tracks, in milliseconds.
pub fn length_of(grid: &Grid) -> u64 {
    (grid.duration() * 1000.0).ceil() as u64
}

/// Tracks as they are listed: unique labels and one default. If several are marked as the default, the last
/// upload wins; `tracks` contains the embedded ones first and the others by age.
pub fn listed(mut tracks: Vec<(Described, bool)>) -> Vec<Described> {
    let uploaded = tracks.iter().rposition(|(track, uploaded)| *uploaded && track.default);
    let chosen = uploaded.or_else(|| tracks.iter().position(|(track, _)| track.default));
    let mut labels: HashSet<String> = HashSet::with_capacity(tracks.len());
    // For each label, the number at which the search for a free one begins: all lower ones are in use.
    let mut copies: HashMap<String, u32> = HashMap::new();
    for (place, (track, _)) in tracks.iter_mut().enumerate() {
        track.default = chosen == Some(place);
        let wanted = track.label.clone();
        if labels.contains(&wanted) {
            let copy = copies.entry(wanted.clone()).or_insert(2);
            while labels.contains(&track.label) {
                track.label = format!("{wanted} ({copy})");
                *copy += 1;
            }
        }
        labels.insert(track.label.clone());
    }
    tracks.into_iter().map(|(track, _)| track).collect()
}

/// Why bytes cannot be served as a text track.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum CaptionError {
    /// Larger than [`CAPTIONS_BYTES_MAX`], before or after rewriting.
    #[error("is larger than {CAPTIONS_BYTES_MAX} bytes")]
    Bytes,
    /// Not UTF-8, which [`decode`] makes of other encodings.
    #[error("is not UTF-8")]
    Utf8,
    /// In the only encoding of Unicode that is not read.
    #[error("is in UTF-32, which is not supported; save it as UTF-8")]
    Utf32,
    /// A WebVTT file without its header.
    #[error("does not begin with WEBVTT")]
    Header,
    /// A line that violates the format.
    #[error("line {line}: {what}")]
    Line {
        /// The line's number, from 1.
        line: usize,
        /// The reason.
        what: &'static str,
    },
    /// More than [`CUES_MAX`].
    #[error("has more than {CUES_MAX} cues")]
    Cues,
    /// Without a cue to show.
    #[error("has no visible cue within the length of the video")]
    Empty,
    /// The check of [`ParseBudget::until`] ended the parsing.
    #[error("could not be read in time")]
    Late,
    /// Admission: the bytes differ from the output of [`Captions::write`].
    #[error("is not in its canonical form")]
    Form,
}

/// A text and the time at which it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cue {
    /// In milliseconds on the video's timeline.
    start: u64,
    /// In the same unit; always after `start`.
    end: u64,
    /// Its position on screen in WebVTT syntax; usually empty.
    settings: String,
    /// With harmless markup only and without empty lines.
    text: String,
}

/// The cues of a text track, in the order of their starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Captions {
    cues: Vec<Cue>,
}

/// The position of a track's cues on the video's timeline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// The time in the track, in milliseconds, that is time 0 of the video.
    pub origin: i64,
    /// The duration of the video in milliseconds, if known.
    pub length: Option<u64>,
}

impl Captions {
    /// Parses a file and orders its cues within `window`. Cues outside of the window are dropped.
    ///
    /// # Errors
    /// If the file is too large, is not valid in its format, or has no cue to show.
    pub fn read(bytes: &[u8], format: Format, window: Window) -> Result<Self, CaptionError> {
        Self::read_within(&mut ParseBudget::unlimited(), bytes, format, window)
    }

    /// Like [`Self::read`], within the limits of `budget`.
    ///
    /// # Errors
    /// Those of [`Self::read`], and [`CaptionError::Late`].
    pub fn read_within(
        budget: &mut ParseBudget<'_>,
        bytes: &[u8],
        format: Format,
        window: Window,
    ) -> Result<Self, CaptionError> {
        if bytes.len() > CAPTIONS_BYTES_MAX {
            return Err(CaptionError::Bytes);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| CaptionError::Utf8)?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        // WebVTT replaces NUL, and has three kinds of line breaks.
        let text = text.replace('\0', "\u{fffd}").replace("\r\n", "\n").replace('\r', "\n");
        let lines = Lines::new(&text, budget);
        let cues = match format {
            Format::Vtt => vtt::parse(lines, false)?,
            Format::LooseVtt => vtt::parse(lines, true)?,
            Format::Srt => srt::parse(lines)?,
        };
        Self::of_cues(cues, window)
    }

    /// Orders the cues within `window` and drops those outside of it.
    fn of_cues(mut cues: Vec<Cue>, window: Window) -> Result<Self, CaptionError> {
        cues.retain_mut(|cue| cue.fit(&window));
        cues.sort_by_key(|cue| cue.start);
        if cues.is_empty() {
            return Err(CaptionError::Empty);
        }
        Ok(Self { cues })
    }

    /// Parses exactly the output of [`Self::write`].
    ///
    /// # Errors
    /// If the bytes are not a text track in its canonical form.
    pub fn parse_canonical(bytes: &[u8], length: Option<u64>) -> Result<Self, CaptionError> {
        Self::parse_canonical_within(&mut ParseBudget::unlimited(), bytes, length)
    }

    /// Like [`Self::parse_canonical`], within the limits of `budget`.
    ///
    /// # Errors
    /// Those of [`Self::parse_canonical`], and [`CaptionError::Late`].
    pub fn parse_canonical_within(
        budget: &mut ParseBudget<'_>,
        bytes: &[u8],
        length: Option<u64>,
    ) -> Result<Self, CaptionError> {
        let window = Window { origin: 0, length };
        let captions = Self::read_within(budget, bytes, Format::Vtt, window)?;
        if captions.write()?.as_bytes() != bytes {
            return Err(CaptionError::Form);
        }
        Ok(captions)
    }

    /// Writes the cues as WebVTT; equal cues give equal files.
    ///
    /// # Errors
    /// [`CaptionError::Bytes`] if the result is too large.
    pub fn write(&self) -> Result<String, CaptionError> {
        let mut out = String::from("WEBVTT\n");
        for cue in &self.cues {
            cue.write(&mut out);
            if out.len() > CAPTIONS_BYTES_MAX {
                return Err(CaptionError::Bytes);
            }
        }
        Ok(out)
    }

    /// The HLS segment from `start` to `end` (milliseconds) with every cue that is shown in it, at times of
    /// the video; a cue that crosses a boundary is in both segments.
    pub fn segment(&self, start: u64, end: u64) -> String {
        let mut out = format!("WEBVTT\n{}\n", timestamp_map(start));
        let begun = self.cues.partition_point(|cue| cue.start < end);
        for cue in self.cues[..begun].iter().filter(|cue| cue.end > start) {
            cue.write(&mut out);
        }
        out
    }

    /// Its size in memory, in bytes.
    pub fn weight(&self) -> u64 {
        let cue = |cue: &Cue| size_of::<Cue>() + cue.text.len() + cue.settings.len();
        self.cues.iter().map(cue).sum::<usize>() as u64
    }

    /// The number of cues.
    pub fn len(&self) -> usize {
        self.cues.len()
    }

    /// Whether the list of cues is empty.
    pub fn is_empty(&self) -> bool {
        self.cues.is_empty()
    }
}

impl Cue {
    /// Moves the cue into the window; returns false if nothing of it remains.
    fn fit(&mut self, window: &Window) -> bool {
        let moved = |at: u64| (i128::from(at) - i128::from(window.origin)).max(0) as u64;
        let length = window.length.unwrap_or(u64::MAX);
        self.start = moved(self.start);
        self.end = moved(self.end).min(length);
        self.start < self.end && !self.text.is_empty()
    }

    fn write(&self, out: &mut String) {
        let Self { start, end, settings, text } = self;
        let gap = if settings.is_empty() { "" } else { " " };
        let (start, end) = (timestamp(*start), timestamp(*end));
        // Writing to a string cannot fail.
        let _ = write!(out, "\n{start} --> {end}{gap}{settings}\n{text}\n");
    }
}

/// The tag that maps the times of a segment, which starts at `start` milliseconds, to presentation
/// times: both are the video's timeline. It names 10 s on both sides instead of 0, which hls.js
/// takes for "no map" and then counts from the first segment that it loads.
///
/// MPEG-2 times have 33 bits and start again after 26.5 h. Players add a wrap-around for every such
/// period before the segment, so the two sides name a moment of the segment's own period.
fn timestamp_map(start: u64) -> String {
    const WRAP: u64 = 1 << 33;
    const TICKS_PER_MILLI: u64 = 90;
    let wraps = start * TICKS_PER_MILLI / WRAP;
    let local = 10_000 + (wraps * WRAP / TICKS_PER_MILLI).div_ceil(1000) * 1000;
    let mpegts = local * TICKS_PER_MILLI - wraps * WRAP;
    format!("X-TIMESTAMP-MAP=MPEGTS:{mpegts},LOCAL:{}", timestamp(local))
}

/// Adds a cue, unless there are too many or its text is too long.
fn push(cues: &mut Vec<Cue>, cue: Cue, line: usize) -> Result<(), CaptionError> {
    if cues.len() >= CUES_MAX {
        return Err(CaptionError::Cues);
    }
    if cue.text.len() > CUE_BYTES_MAX {
        return Err(too_long(line));
    }
    cues.push(cue);
    Ok(())
}
