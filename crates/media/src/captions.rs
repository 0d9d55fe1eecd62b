//! Text tracks: what a viewer reads along with the film, as WebVTT.
//!
//! Whatever comes from outside (an embedded track, an uploaded file) is parsed strictly and written anew:
//! [`Captions::write`] has one form for one content, with harmless markup only. Admission relies on it:
//! bytes that are not their own rewriting are refused.

mod effort;
mod lines;
mod markup;
mod srt;
mod vtt;

use std::{
    collections::{HashMap, HashSet},
    fmt::Write,
};

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use effort::Effort;

use self::lines::{Lines, joined, too_long};
use crate::{CaptionId, Grid, JobId, pictures::Picture};

/// Content type of WebVTT.
pub const VTT_CONTENT_TYPE: &str = "text/vtt";
/// Most bytes of a text track: the longest films have a tenth of it.
pub const CAPTIONS_BYTES_MAX: usize = 2 << 20;
/// Most cues of a text track.
pub const CUES_MAX: usize = 50_000;
/// Most bytes of one cue's text.
pub const CUE_BYTES_MAX: usize = 4096;
/// Most bytes of one cue's text as it came, with the markup that is left out.
pub const CUE_SOURCE_BYTES_MAX: usize = 64 << 10;
/// Most characters of a track's label.
pub const LABEL_CHARS_MAX: usize = 64;
/// What every text rendition's name begins with; no profile's may.
pub const RENDITION_PREFIX: &str = "text-";

/// How an uploaded file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// WebVTT.
    Vtt,
    /// WebVTT as FFmpeg writes it, which lets empty lines into a text.
    LooseVtt,
    /// SubRip.
    Srt,
}

impl Format {
    /// By how the file begins.
    pub fn guess(bytes: &[u8]) -> Self {
        let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
        if bytes.starts_with(b"WEBVTT") { Self::Vtt } else { Self::Srt }
    }
}

/// What a text track is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CaptionKind {
    /// What is said, for who does not understand the language.
    #[default]
    Subtitles,
    /// What is heard, for who does not hear it.
    Captions,
}

impl CaptionKind {
    /// As requests and replies write it.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Subtitles => "subtitles",
            Self::Captions => "captions",
        }
    }

    /// Reads the text back.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Subtitles, Self::Captions].into_iter().find(|kind| kind.text() == text)
    }
}

/// What people see of a text track.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Described {
    /// Its name in URLs.
    pub id: CaptionId,
    /// BCP 47; "und" when unknown.
    pub language: String,
    /// What people choose it by, unique in the video.
    pub label: String,
    /// What it is for.
    pub kind: CaptionKind,
    /// Shown unless the viewer chooses; one of a video at most.
    pub default: bool,
    /// Holds only what must be read, for example foreign speech.
    pub forced: bool,
}

/// A text track in an index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextTrack {
    /// What people see of it.
    pub about: Described,
    /// The whole of it, as [`Captions::write`] writes it.
    pub object: Picture,
}

/// The rendition of a text track: its part of media URLs.
pub fn rendition(id: CaptionId) -> String {
    format!("{RENDITION_PREFIX}{id}")
}

/// The track that a rendition's name means.
pub fn of_rendition(name: &str) -> Option<CaptionId> {
    let id = name.strip_prefix(RENDITION_PREFIX)?;
    id.parse().ok().filter(|_| id.len() == 36)
}

/// The object of an embedded track among what its job made.
pub fn file_name(number: u32) -> String {
    format!("subtitles/{number}")
}

/// The id of an embedded track: of the job that took it out and its number there.
pub fn id_of_file(job: JobId, number: u32) -> CaptionId {
    let hash = blake3::hash(format!("{job}/{}", file_name(number)).as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.as_bytes()[..16]);
    CaptionId::new(uuid::Builder::from_random_bytes(bytes).into_uuid())
}

/// How long a film is for its text, in milliseconds.
pub fn length_of(grid: &Grid) -> u64 {
    (grid.duration() * 1000.0).ceil() as u64
}

/// Tracks as they are listed: labels unique, one default. Of several that want to be it the last upload
/// is; `tracks` has the embedded ones first and the rest by age.
pub fn listed(mut tracks: Vec<(Described, bool)>) -> Vec<Described> {
    let uploaded = tracks.iter().rposition(|(track, uploaded)| *uploaded && track.default);
    let chosen = uploaded.or_else(|| tracks.iter().position(|(track, _)| track.default));
    let mut labels: HashSet<String> = HashSet::with_capacity(tracks.len());
    // Where the search for a free number begins: below it none is.
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

/// Why bytes are no text track that can be served.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum CaptionError {
    /// Larger than [`CAPTIONS_BYTES_MAX`], as it came or rewritten.
    #[error("is larger than {CAPTIONS_BYTES_MAX} bytes")]
    Bytes,
    /// Another encoding, or no text at all.
    #[error("is not UTF-8")]
    Utf8,
    /// Not WebVTT.
    #[error("does not begin with WEBVTT")]
    Header,
    /// A line that breaks the format's rules.
    #[error("line {line}: {what}")]
    Line {
        /// From 1.
        line: usize,
        /// What is wrong with it.
        what: &'static str,
    },
    /// More than [`CUES_MAX`].
    #[error("has more than {CUES_MAX} cues")]
    Cues,
    /// Nothing to show.
    #[error("has no cue that shows anything while the film runs")]
    Empty,
    /// [`Effort::until`] said so.
    #[error("could not be read in time")]
    Late,
    /// Admission: the bytes are not what [`Captions::write`] makes of them.
    #[error("is not in its canonical form")]
    Form,
}

/// One text and its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cue {
    /// Milliseconds of film time.
    start: u64,
    /// After `start`.
    end: u64,
    /// Where it stands, as WebVTT writes it; mostly empty.
    settings: String,
    /// Harmless markup only; no empty line.
    text: String,
}

/// The cues of a text track, in the order of their starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Captions {
    cues: Vec<Cue>,
}

/// Where on the film's time line a track's cues lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// The film's time 0 in the track's own milliseconds.
    pub origin: i64,
    /// The film's length in milliseconds, where it is known.
    pub length: Option<u64>,
}

impl Captions {
    /// Reads a file and brings its cues into order, within `window`. What cannot be seen in it goes.
    ///
    /// # Errors
    /// [`CaptionError`]; also for a file that shows nothing.
    pub fn read(bytes: &[u8], format: Format, window: Window) -> Result<Self, CaptionError> {
        Self::read_within(&mut Effort::unlimited(), bytes, format, window)
    }

    /// As [`Self::read`], as long as `effort` lets it.
    ///
    /// # Errors
    /// As [`Self::read`], and [`CaptionError::Late`].
    pub fn read_within(
        effort: &mut Effort<'_>,
        bytes: &[u8],
        format: Format,
        window: Window,
    ) -> Result<Self, CaptionError> {
        if bytes.len() > CAPTIONS_BYTES_MAX {
            return Err(CaptionError::Bytes);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| CaptionError::Utf8)?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        // WebVTT replaces NUL; line breaks have three spellings.
        let text = text.replace('\0', "\u{fffd}").replace("\r\n", "\n").replace('\r', "\n");
        let lines = Lines::new(&text, effort);
        let mut cues = match format {
            Format::Vtt => vtt::parse(lines, false)?,
            Format::LooseVtt => vtt::parse(lines, true)?,
            Format::Srt => srt::parse(lines)?,
        };
        cues.retain_mut(|cue| cue.fit(&window));
        cues.sort_by_key(|cue| cue.start);
        if cues.is_empty() {
            return Err(CaptionError::Empty);
        }
        Ok(Self { cues })
    }

    /// Reads what [`Self::write`] has written, and nothing else.
    ///
    /// # Errors
    /// [`CaptionError`]
    pub fn admit(bytes: &[u8], length: Option<u64>) -> Result<Self, CaptionError> {
        Self::admit_within(&mut Effort::unlimited(), bytes, length)
    }

    /// As [`Self::admit`], as long as `effort` lets it.
    ///
    /// # Errors
    /// As [`Self::admit`], and [`CaptionError::Late`].
    pub fn admit_within(
        effort: &mut Effort<'_>,
        bytes: &[u8],
        length: Option<u64>,
    ) -> Result<Self, CaptionError> {
        let window = Window { origin: 0, length };
        let captions = Self::read_within(effort, bytes, Format::Vtt, window)?;
        if captions.write()?.as_bytes() != bytes {
            return Err(CaptionError::Form);
        }
        Ok(captions)
    }

    /// The one WebVTT file of these cues.
    ///
    /// # Errors
    /// [`CaptionError::Bytes`] when it is too large.
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

    /// The HLS segment from `start` to `end` (milliseconds): every cue that shows in it, so that one over
    /// a border is in both segments, with the film's own times.
    pub fn segment(&self, start: u64, end: u64) -> String {
        // Film time is presentation time: 10 s in both. Not 0 in both, which hls.js takes for "none" and
        // then counts from the segment that it loads first.
        let mut out = String::from("WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:900000,LOCAL:00:00:10.000\n");
        let begun = self.cues.partition_point(|cue| cue.start < end);
        for cue in self.cues[..begun].iter().filter(|cue| cue.end > start) {
            cue.write(&mut out);
        }
        out
    }

    /// What it takes in memory, in bytes.
    pub fn weight(&self) -> u64 {
        let cue = |cue: &Cue| size_of::<Cue>() + cue.text.len() + cue.settings.len();
        self.cues.iter().map(cue).sum::<usize>() as u64
    }

    /// How many cues there are.
    pub fn len(&self) -> usize {
        self.cues.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.cues.is_empty()
    }
}

impl Cue {
    /// Moves it into the window; false when nothing of it is left.
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

/// `hh:mm:ss.ttt`, with more digits for the hours when they are needed.
fn timestamp(millis: u64) -> String {
    let (seconds, millis) = (millis / 1000, millis % 1000);
    format!("{:02}:{:02}:{:02}.{millis:03}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// One more cue, unless there are too many or its text is too long.
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

/// The start and the end of a cue.
fn span(times: (Option<u64>, Option<u64>), line: usize) -> Result<(u64, u64), CaptionError> {
    match times {
        (Some(start), Some(end)) if start <= end => Ok((start, end)),
        (Some(_), Some(_)) => {
            Err(CaptionError::Line { line, what: "the cue ends before it begins" })
        }
        _ => Err(CaptionError::Line { line, what: "this is no time of a cue" }),
    }
}

/// Milliseconds of `[h…:]mm:ss` and thousandths; at most four digits of hours.
fn clock(whole: &str, millis: &str) -> Option<u64> {
    let digits = |text: &str, most: usize| {
        let good = (1..=most).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        if good { text.parse::<u64>().ok() } else { None }
    };
    let mut parts = whole.rsplit(':');
    let seconds = digits(parts.next()?, 2).filter(|s| *s < 60)?;
    let minutes = digits(parts.next()?, 2).filter(|m| *m < 60)?;
    let hours = parts.next().map_or(Some(0), |hours| digits(hours, 4))?;
    if parts.next().is_some() {
        return None;
    }
    let millis = digits(millis, 3)? * 10_u64.pow(3 - millis.len() as u32);
    Some(((hours * 60 + minutes) * 60 + seconds) * 1000 + millis)
}
