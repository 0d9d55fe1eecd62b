//! Progressive MP4 for downloads: one `moov` with sample tables before one `mdat`.
//!
//! This module writes headers only. The payload consists of runs of samples that lie in other
//! objects; the header states the position of each run in the file, so that any byte of the file
//! can be found without writing the file. The same runs always give the same bytes, because ranges
//! of a download may be fetched years apart.

mod head;
mod tables;

pub use head::TrackHead;

use crate::fmp4::{Mp4Error, boxes::Writer};

/// Maximum number of samples of one file: a week of video at 60 frames per second and its audio are
/// below it.
const SAMPLES_MAX: u64 = 1 << 27;
/// From this payload size on, positions take 64 bits; below it, payload and header together fit in
/// 32 bits.
const WIDE_BYTES_MIN: u64 = (1 << 32) - (1 << 30);

/// One sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Size in bytes.
    pub size: u32,
    /// In ticks of the track.
    pub duration: u32,
    /// From decoding to presentation, in ticks of the track.
    pub composition: u32,
    /// Whether it is a key frame.
    pub sync: bool,
}

/// One track of a file.
#[derive(Clone, Debug)]
pub struct MovieTrack {
    /// The decoder's configuration.
    pub head: TrackHead,
    /// The samples in decode order.
    pub samples: Vec<Sample>,
    /// Number of contiguous samples in each run; the sum is the number of samples.
    pub runs: Vec<u32>,
}

impl MovieTrack {
    /// Duration in ticks.
    fn duration(&self) -> u64 {
        self.samples.iter().map(|sample| u64::from(sample.duration)).sum()
    }

    /// Size of each run in bytes.
    fn run_bytes(&self) -> Vec<u64> {
        let mut samples = self.samples.iter();
        let mut bytes = Vec::with_capacity(self.runs.len());
        for count in &self.runs {
            bytes.push(samples.by_ref().take(*count as usize).map(|s| u64::from(s.size)).sum());
        }
        bytes
    }
}

/// Writes the part of the file before the payload: `ftyp`, `moov` and the header of `mdat`. For
/// each run of the payload, `order` names the track to which it belongs.
///
/// # Errors
/// The runs do not add up, or there are too many samples.
pub fn header(tracks: &[MovieTrack], order: &[usize]) -> Result<Vec<u8>, Mp4Error> {
    let samples: u64 = tracks.iter().map(|track| track.samples.len() as u64).sum();
    if samples > SAMPLES_MAX || tracks.is_empty() {
        return Err(Mp4Error::Invalid("sample count"));
    }
    for track in tracks {
        let in_runs: u64 = track.runs.iter().map(|count| u64::from(*count)).sum();
        if in_runs != track.samples.len() as u64 {
            return Err(Mp4Error::Invalid("runs"));
        }
    }
    let (positions, payload) = positions(tracks, order)?;
    let wide = payload >= WIDE_BYTES_MIN;
    // Positions count from the start of the file, and their encoding has a fixed size, so write
    // once to measure.
    let head = write(tracks, &positions, 0, payload, wide);
    Ok(write(tracks, &positions, head.len() as u64, payload, wide))
}

/// Where the runs of each track begin in the payload, and the size of the payload.
fn positions(tracks: &[MovieTrack], order: &[usize]) -> Result<(Vec<Vec<u64>>, u64), Mp4Error> {
    let bytes: Vec<Vec<u64>> = tracks.iter().map(MovieTrack::run_bytes).collect();
    let mut positions: Vec<Vec<u64>> = vec![Vec::new(); tracks.len()];
    let mut at = 0_u64;
    for track in order {
        let own = positions.get_mut(*track).ok_or(Mp4Error::Invalid("runs"))?;
        let length = bytes[*track].get(own.len()).ok_or(Mp4Error::Invalid("runs"))?;
        own.push(at);
        at = at.checked_add(*length).ok_or(Mp4Error::Invalid("runs"))?;
    }
    if positions.iter().zip(&bytes).any(|(positions, bytes)| positions.len() != bytes.len()) {
        return Err(Mp4Error::Invalid("runs"));
    }
    Ok((positions, at))
}

fn write(
    tracks: &[MovieTrack],
    positions: &[Vec<u64>],
    base: u64,
    payload: u64,
    wide: bool,
) -> Vec<u8> {
    let timescale = tracks.first().map_or(1, |track| track.head.timescale);
    let in_movie = |track: &MovieTrack| {
        let ticks = u128::from(track.duration()) * u128::from(timescale);
        (ticks / u128::from(track.head.timescale.max(1))) as u64
    };
    let longest = tracks.iter().map(in_movie).max().unwrap_or(0);
    let mut w = Writer::default();
    w.boxed(b"ftyp", |w| {
        w.bytes(b"isom");
        w.u32(0x200);
        w.bytes(b"isomiso6mp41");
    });
    w.boxed(b"moov", |w| {
        tables::mvhd(w, timescale, longest, tracks.len() as u32 + 1);
        for (number, (track, positions)) in (1..).zip(tracks.iter().zip(positions)) {
            let at = tables::Place { number, duration: in_movie(track), base, wide };
            tables::trak(w, track, positions, at);
        }
    });
    if wide {
        w.u32(1);
        w.bytes(b"mdat");
        w.u64(payload + 16);
    } else {
        w.u32(payload as u32 + 8);
        w.bytes(b"mdat");
    }
    w.finish()
}
