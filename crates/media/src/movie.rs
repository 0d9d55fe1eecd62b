//! Verifies that bytes are a complete progressive MP4 that plays while it loads: `moov` before
//! `mdat`, the planned tracks, every sample inside the payload, and the planned duration.

use thiserror::Error;

use crate::{
    fmp4::{
        Mp4Error,
        boxes::{self, Reader},
    },
    pictures::Size,
    progressive::TrackHead,
};

/// Allowed difference between a track's duration and the plan, in seconds: two audio packets and a
/// frame.
const SLACK_SECONDS: f64 = 0.15;
/// Maximum number of samples of one track.
const SAMPLES_MAX: usize = 1 << 16;

/// The expected properties of a preview.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wanted {
    /// Size of the picture.
    pub size: Size,
    /// Number of video frames.
    pub frames: u64,
    /// Length in seconds.
    pub seconds: f64,
    /// Whether there must be an audio track; otherwise there must not be one.
    pub sound: bool,
}

/// Why bytes are not the planned clip.
#[derive(Debug, Error, PartialEq)]
pub enum MovieError {
    /// The bytes cannot be parsed.
    #[error(transparent)]
    Mp4(#[from] Mp4Error),
    /// Boxes are missing or in a different order.
    #[error("check clip: boxes {0:?}")]
    Boxes(Vec<String>),
    /// The tracks differ from the plan.
    #[error("check clip: {video} video and {audio} audio tracks")]
    Tracks {
        /// Video tracks found.
        video: usize,
        /// Audio tracks found.
        audio: usize,
    },
    /// The codec differs from the plan.
    #[error("check clip: codec {0:?}")]
    Codec(String),
    /// The size differs from the plan.
    #[error("check clip: {0}x{1} pixels")]
    Size(u32, u32),
    /// The number of frames differs from the plan.
    #[error("check clip: {0} frames")]
    Frames(usize),
    /// The duration differs from the plan.
    #[error("check clip: {0} s long")]
    Seconds(f64),
    /// A sample is outside the payload.
    #[error("check clip: sample {0} is outside the payload")]
    Outside(usize),
}

/// Checks that `bytes` are exactly the wanted clip, in H.264 and AAC.
///
/// # Errors
/// The bytes are damaged, or the clip differs from the plan.
pub fn check(bytes: &[u8], wanted: &Wanted) -> Result<(), MovieError> {
    let all = boxes::walk(bytes).collect::<Result<Vec<_>, _>>()?;
    let named: Vec<&[u8; 4]> =
        all.iter().map(|b| &b.kind).filter(|kind| *kind != b"free").collect();
    let [moov, mdat] = match named[..] {
        [b"ftyp", b"moov", b"mdat"] => [b"moov", b"mdat"],
        _ => {
            let text = |kind: &&[u8; 4]| String::from_utf8_lossy(*kind).into_owned();
            return Err(MovieError::Boxes(named.iter().map(text).collect()));
        }
    };
    let moov = boxes::only(bytes, moov, "moov")?;
    let payload = all.iter().find(|b| b.kind == *mdat);
    let payload = payload.map_or(0..0, |b| (b.end - b.body.len()) as u64..b.end as u64);
    let (mut video, mut audio) = (0, 0);
    for next in boxes::walk(moov) {
        let next = next?;
        if next.kind != *b"trak" {
            continue;
        }
        let track = Table::read(next.body)?;
        track.inside(&payload)?;
        match track.head.is_video() {
            true => {
                video += 1;
                check_video(&track, wanted)?;
            }
            false => {
                audio += 1;
                check_format(&track, b"mp4a")?;
            }
        }
        // Before another track's tables are read: a few bytes can announce many samples.
        if video > 1 || audio > usize::from(wanted.sound) {
            return Err(MovieError::Tracks { video, audio });
        }
        let seconds = track.seconds();
        if (seconds - wanted.seconds).abs() > SLACK_SECONDS {
            return Err(MovieError::Seconds(seconds));
        }
    }
    if video != 1 || audio != usize::from(wanted.sound) {
        return Err(MovieError::Tracks { video, audio });
    }
    Ok(())
}

fn check_video(track: &Table, wanted: &Wanted) -> Result<(), MovieError> {
    check_format(track, b"avc1")?;
    let (width, height) = (track.head.size.0 >> 16, track.head.size.1 >> 16);
    if (width, height) != (wanted.size.width, wanted.size.height) {
        return Err(MovieError::Size(width, height));
    }
    if track.sizes.len() as u64 != wanted.frames {
        return Err(MovieError::Frames(track.sizes.len()));
    }
    Ok(())
}

fn check_format(track: &Table, format: &[u8; 4]) -> Result<(), MovieError> {
    match track.head.format() {
        Some(found) if found == *format => Ok(()),
        found => {
            let text = String::from_utf8_lossy(&found.unwrap_or_default()).into_owned();
            Err(MovieError::Codec(text))
        }
    }
}

/// The sample tables of a track.
struct Table {
    head: TrackHead,
    sizes: Vec<u32>,
    /// Duration in ticks.
    duration: u64,
    /// Number of a run, and the samples of each run from that one on.
    runs: Vec<(u32, u32)>,
    /// Offsets of the runs.
    offsets: Vec<u64>,
}

impl Table {
    fn read(trak: &[u8]) -> Result<Self, Mp4Error> {
        // An audio track may have several edit lists, so the head is read without them.
        let head = TrackHead::without_edits(trak)?;
        let mdia = boxes::only(trak, b"mdia", "mdia")?;
        let minf = boxes::only(mdia, b"minf", "minf")?;
        let stbl = boxes::only(minf, b"stbl", "stbl")?;
        let duration = pairs(boxes::only(stbl, b"stts", "stts")?, "stts", 2)?;
        let duration = duration.chunks_exact(2).map(|r| u64::from(r[0]) * u64::from(r[1])).sum();
        let runs = pairs(boxes::only(stbl, b"stsc", "stsc")?, "stsc", 3)?;
        let runs = runs.chunks_exact(3).map(|row| (row[0], row[1])).collect();
        let offsets = match boxes::find(stbl, b"co64")? {
            Some(body) => {
                let halves = pairs(body, "co64", 2)?;
                let whole = |h: &[u32]| u64::from(h[0]) << 32 | u64::from(h[1]);
                halves.chunks_exact(2).map(whole).collect()
            }
            None => {
                let offsets = pairs(boxes::only(stbl, b"stco", "stco")?, "stco", 1)?;
                offsets.into_iter().map(u64::from).collect()
            }
        };
        let sizes = sizes(boxes::only(stbl, b"stsz", "stsz")?)?;
        Ok(Self { head, sizes, duration, runs, offsets })
    }

    fn seconds(&self) -> f64 {
        self.duration as f64 / f64::from(self.head.timescale)
    }

    /// Checks that every sample is within the payload.
    fn inside(&self, payload: &std::ops::Range<u64>) -> Result<(), MovieError> {
        let mut sample = 0;
        let mut rows = self.runs.iter().peekable();
        let mut count = 0;
        for (run, offset) in (1..).zip(&self.offsets) {
            while let Some((_, samples)) = rows.next_if(|(first, _)| *first <= run) {
                count = *samples as usize;
            }
            let own = self.sizes.get(sample..sample + count);
            let own = own.ok_or(MovieError::Outside(sample))?;
            let bytes: u64 = own.iter().map(|size| u64::from(*size)).sum();
            let end = offset.saturating_add(bytes);
            if *offset < payload.start || end > payload.end || own.contains(&0) {
                return Err(MovieError::Outside(sample));
            }
            sample += count;
        }
        if sample != self.sizes.len() || sample == 0 {
            return Err(MovieError::Outside(sample));
        }
        Ok(())
    }
}

/// The words of a table with rows of `width` words.
fn pairs(body: &[u8], what: &'static str, width: usize) -> Result<Vec<u32>, Mp4Error> {
    let mut reader = Reader::new(body, what);
    reader.version_flags()?;
    let count = reader.u32()? as usize;
    if count > SAMPLES_MAX {
        return Err(Mp4Error::Invalid(what));
    }
    (0..count * width).map(|_| reader.u32()).collect()
}

fn sizes(body: &[u8]) -> Result<Vec<u32>, Mp4Error> {
    let mut reader = Reader::new(body, "stsz");
    reader.version_flags()?;
    let (same, count) = (reader.u32()?, reader.u32()? as usize);
    if count > SAMPLES_MAX {
        return Err(Mp4Error::Invalid("stsz"));
    }
    if same > 0 {
        return Ok(vec![same; count]);
    }
    (0..count).map(|_| reader.u32()).collect()
}
