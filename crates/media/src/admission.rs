//! Admission: proves from the stored bytes alone that a chunk matches the grid.
//!
//! Fragments have one canonical form. Each fragment is therefore parsed leniently, checked against
//! the grid, written again and compared with the stored bytes: any extra, altered or missing byte
//! is detected as a difference.

use thiserror::Error;

pub use crate::fmp4::TrackKind;
use crate::{
    Grid,
    fmp4::{
        Mp4Error,
        boxes::{self, BoxView},
        fragment::{self, Head},
        init::{self, Config, Header},
    },
    grid::AUDIO_RATE,
    index::Fragment,
};

/// Why a chunk is rejected and must not enter the index.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum AdmissionError {
    /// The video has fewer chunks.
    #[error("chunk {chunk} does not exist: the video has {chunks}")]
    Chunk {
        /// Number of the chunk, as claimed.
        chunk: u32,
        /// Chunks of the grid.
        chunks: u32,
    },
    /// The init segment cannot be read.
    #[error("init segment: {0}")]
    Init(#[source] Mp4Error),
    /// The init segment differs from the one that this crate writes for its codec parameters.
    #[error("init segment: not in canonical form")]
    InitForm,
    /// The track is video where audio is expected, or the other way round.
    #[error("init segment: wrong kind of track")]
    Kind,
    /// The init segment's timescale differs from the grid's.
    #[error("init segment: timescale {found}, expected {expected}")]
    Timescale {
        /// Timescale of the grid.
        expected: u32,
        /// Timescale in the init segment.
        found: u32,
    },
    /// A fragment cannot be read.
    #[error("gop {gop}: {cause}")]
    Fragment {
        /// Number of the GOP in the video.
        gop: u32,
        /// Why it cannot be read.
        #[source]
        cause: Mp4Error,
    },
    /// A fragment's boxes differ from the ones that this crate writes for its samples.
    #[error("gop {gop}: not in canonical form")]
    FragmentForm {
        /// Number of the GOP in the video.
        gop: u32,
    },
    /// A fragment does not start at the time that the grid gives it.
    #[error("gop {gop}: starts at tick {found}, expected {expected}")]
    DecodeTime {
        /// Number of the GOP in the video.
        gop: u32,
        /// Decode time by the grid.
        expected: u64,
        /// Decode time in `tfdt`.
        found: u64,
    },
    /// The number of samples differs from the grid's.
    #[error("gop {gop}: {found} samples, expected {expected}")]
    SampleCount {
        /// Number of the GOP in the video.
        gop: u32,
        /// Samples by the grid.
        expected: u64,
        /// Samples in the fragment.
        found: u64,
    },
    /// The first sample is not a sync sample, or another one is.
    #[error("gop {gop}: key frame misplaced at sample {sample}")]
    KeyFrame {
        /// Number of the GOP in the video.
        gop: u32,
        /// Number of the sample in the GOP, in decode order.
        sample: usize,
    },
    /// Two samples have the same presentation time, or one has a time that is not on the grid.
    #[error("gop {gop}: sample {sample} is off the grid")]
    Composition {
        /// Number of the GOP in the video.
        gop: u32,
        /// Number of the sample in the GOP, in decode order.
        sample: usize,
    },
    /// A sample contains no coded picture, or no audio packet.
    #[error("gop {gop}: sample {sample}: {cause}")]
    Payload {
        /// Number of the GOP in the video.
        gop: u32,
        /// Number of the sample in the GOP, in decode order.
        sample: usize,
        /// Why the sample is invalid.
        #[source]
        cause: Mp4Error,
    },
    /// Bytes follow the last fragment.
    #[error("{0} bytes after the last fragment")]
    Trailing(usize),
}

/// Checks the stored bytes of chunk `chunk` and returns its fragments.
///
/// # Errors
/// The chunk does not exist, or its bytes do not match the grid.
pub fn admit(
    kind: TrackKind,
    grid: &Grid,
    chunk: u32,
    init: &[u8],
    bytes: &[u8],
) -> Result<Vec<Fragment>, AdmissionError> {
    let gops = grid.chunk_gops(chunk);
    if gops.is_empty() {
        return Err(AdmissionError::Chunk { chunk, chunks: grid.chunks() });
    }
    let header = admit_init(kind, grid, init)?;
    let mut fragments = Vec::with_capacity(gops.len());
    let mut rest = bytes;
    for gop in gops {
        let check = FragmentCheck { kind, grid, gop, header: &header };
        let fragment = check.admit(rest)?;
        rest = rest.get(fragment.bytes as usize..).unwrap_or_default();
        fragments.push(fragment);
    }
    if !rest.is_empty() {
        return Err(AdmissionError::Trailing(rest.len()));
    }
    Ok(fragments)
}

fn admit_init(kind: TrackKind, grid: &Grid, init: &[u8]) -> Result<Header, AdmissionError> {
    let header = init::read(init).map_err(AdmissionError::Init)?;
    if header.kind() != kind {
        return Err(AdmissionError::Kind);
    }
    let expected = match kind {
        TrackKind::Video => grid.rate().timescale(),
        TrackKind::Audio => AUDIO_RATE,
    };
    if header.timescale != expected {
        return Err(AdmissionError::Timescale { expected, found: header.timescale });
    }
    if header.write(grid.rate().frame_ticks()) != init {
        return Err(AdmissionError::InitForm);
    }
    Ok(header)
}

/// Checks the fragment of one GOP.
struct FragmentCheck<'a> {
    kind: TrackKind,
    grid: &'a Grid,
    gop: u32,
    header: &'a Header,
}

impl FragmentCheck<'_> {
    /// Checks the fragment at the start of `bytes`.
    fn admit(&self, bytes: &[u8]) -> Result<Fragment, AdmissionError> {
        let gop = self.gop;
        let invalid = |cause| AdmissionError::Fragment { gop, cause };
        let moof = boxes::box_at(bytes, 0).map_err(invalid)?;
        let mdat = boxes::box_at(bytes, moof.end).map_err(invalid)?;
        let entries = self.entries(&moof)?;
        let (decode_time, sample_duration) = self.start();
        let head = Head { kind: self.kind, gop, decode_time, sample_duration, samples: &entries };
        let written = head.write().map_err(invalid)?;
        let payload: u64 = entries.iter().map(|(size, _)| u64::from(*size)).sum();
        if !bytes.starts_with(&written) || mdat.end as u64 != written.len() as u64 + payload {
            return Err(AdmissionError::FragmentForm { gop });
        }
        self.payload(mdat.body, &entries)?;
        head.fragment(written.len(), mdat.end).map_err(invalid)
    }

    /// The GOP's first tick, and the duration of each of its samples in ticks.
    fn start(&self) -> (u64, u32) {
        match self.kind {
            TrackKind::Video => {
                let ticks = self.grid.rate().frame_ticks();
                (self.grid.gop(self.gop).start * u64::from(ticks), ticks)
            }
            TrackKind::Audio => {
                let samples = self.header.packet_samples();
                let start = self.grid.sound_frames(self.gop, samples).start;
                (start * u64::from(samples), samples)
            }
        }
    }

    /// Size and composition offset of each sample, checked against the grid.
    fn entries(&self, moof: &BoxView<'_>) -> Result<Vec<(u32, u32)>, AdmissionError> {
        let gop = self.gop;
        let read = fragment::read(moof.body, self.header.defaults)
            .map_err(|cause| AdmissionError::Fragment { gop, cause })?;
        let (expected, ticks) = self.start();
        let found = read.decode_time.unwrap_or(0);
        if found != expected {
            return Err(AdmissionError::DecodeTime { gop, expected, found });
        }
        let frames = match self.kind {
            TrackKind::Video => self.grid.gop(gop),
            TrackKind::Audio => self.grid.sound_frames(gop, self.header.packet_samples()),
        };
        let (expected, found) = (frames.end - frames.start, read.entries.len() as u64);
        if found != expected {
            return Err(AdmissionError::SampleCount { gop, expected, found });
        }
        let delay = i64::from(self.header.presentation_delay(ticks));
        let mut seen = vec![false; read.entries.len()];
        let mut entries = Vec::with_capacity(read.entries.len());
        for (sample, entry) in read.entries.iter().enumerate() {
            if entry.sync != (sample == 0 || self.kind == TrackKind::Audio) {
                return Err(AdmissionError::KeyFrame { gop, sample });
            }
            // Decode times are `sample` frames past the start, so presentation is on the grid when
            // every frame of the GOP is presented once, the key frame first.
            let undelayed = entry.composition_offset - delay;
            let place = sample as i64 + undelayed.div_euclid(i64::from(ticks));
            let slot = usize::try_from(place).ok().and_then(|place| seen.get_mut(place));
            let on_grid = undelayed % i64::from(ticks) == 0 && (sample > 0 || place == 0);
            match (slot, u32::try_from(entry.composition_offset)) {
                (Some(seen), Ok(offset)) if on_grid && !*seen => {
                    *seen = true;
                    entries.push((entry.size, offset));
                }
                _ => return Err(AdmissionError::Composition { gop, sample }),
            }
        }
        Ok(entries)
    }

    /// Checks the content of each sample.
    fn payload(&self, mdat: &[u8], entries: &[(u32, u32)]) -> Result<(), AdmissionError> {
        let gop = self.gop;
        let mut rest = mdat;
        for (sample, (size, _)) in entries.iter().enumerate() {
            let broken = |cause| AdmissionError::Payload { gop, sample, cause };
            let split = rest.split_at_checked(*size as usize);
            let (data, after) = split.ok_or(broken(Mp4Error::Truncated("sample")))?;
            rest = after;
            match &self.header.config {
                Config::Video(video) if video.is_key(data).map_err(broken)? != (sample == 0) => {
                    return Err(AdmissionError::KeyFrame { gop, sample });
                }
                Config::Audio(_) if data.is_empty() => {
                    return Err(broken(Mp4Error::Invalid("sample size")));
                }
                Config::Dolby(dolby) => dolby.admit(data).map_err(broken)?,
                _ => {}
            }
        }
        Ok(())
    }
}
