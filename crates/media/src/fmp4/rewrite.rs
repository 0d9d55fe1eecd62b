//! Rewrites FFmpeg's output into the stored form: one fragment per GOP, exactly on the grid.
//!
//! Only the order of samples and their presentation times are taken from FFmpeg, and both are
//! checked. Decode times, fragment boundaries and sequence numbers come from the grid.

use std::collections::VecDeque;

pub use super::rewritten::Rewritten;
use super::{
    Mp4Error, TrackKind,
    fragment::Head,
    init::{self, Config},
    packets::{PacketReader, write_chunk},
    sample::{SampleView, samples},
};
use crate::{Grid, grid::AAC_FRAME_SAMPLES};

/// Packets that FFmpeg's AAC encoder emits before the first sample of the source.
const PRIMING_PACKETS: u64 = 1;

/// Rewrites one chunk of one rendition: a file whose first presented frame is the chunk's first
/// frame.
///
/// # Errors
/// The file is damaged, or its frames differ from the grid's.
pub fn video_chunk(ffmpeg_output: &[u8], grid: &Grid, chunk: u32) -> Result<Rewritten, Mp4Error> {
    let mut header = init::read(ffmpeg_output)?;
    if header.kind() != TrackKind::Video {
        return Err(Mp4Error::Unsupported("codec"));
    }
    if header.timescale != grid.rate().timescale() {
        return Err(Mp4Error::Invalid("timescale"));
    }
    let samples = samples(ffmpeg_output)?;
    let frames = grid.chunk_frames(chunk);
    let (expected, found) = (frames.end - frames.start, samples.len() as u64);
    if expected != found || expected == 0 {
        return Err(Mp4Error::SampleCount { expected, found });
    }
    if let (Config::Video(video), Some(first)) = (&mut header.config, samples.first()) {
        video.adopt(first.data)?;
    }
    let places = places(&samples, grid.rate().frame_ticks())?;
    let frame_ticks = grid.rate().frame_ticks();
    let delay = header.presentation_delay(frame_ticks);
    let mut rewritten = Rewritten::new(chunk, header.write(frame_ticks));
    for gop in grid.chunk_gops(chunk) {
        let own = grid.gop(gop);
        let range = (own.start - frames.start) as usize..(own.end - frames.start) as usize;
        let (data, places) = (&samples[range.clone()], &places[range.clone()]);
        let entries = gop_entries(data, places, range.start, frame_ticks, delay)?;
        let head = Head {
            kind: TrackKind::Video,
            gop,
            decode_time: own.start * u64::from(frame_ticks),
            sample_duration: frame_ticks,
            samples: &entries,
        };
        rewritten.append(&head, data.iter().map(|s| s.data))?;
    }
    Ok(rewritten)
}

/// The position of each sample in presentation order, from its presentation time alone.
fn places(samples: &[SampleView<'_>], frame_ticks: u32) -> Result<Vec<i64>, Mp4Error> {
    let mut times = Vec::with_capacity(samples.len());
    for sample in samples {
        let time = i64::try_from(sample.decode_time).ok();
        let time = time.and_then(|time| time.checked_add(sample.composition_offset));
        times.push(time.ok_or(Mp4Error::Invalid("decode time"))?);
    }
    let origin = times.iter().copied().min().unwrap_or(0);
    let ticks = i64::from(frame_ticks);
    for (sample, time) in (0..).zip(&mut times) {
        let since = time.checked_sub(origin).ok_or(Mp4Error::Invalid("decode time"))?;
        if since % ticks != 0 {
            return Err(Mp4Error::OffGrid { sample });
        }
        *time = since / ticks;
    }
    Ok(times)
}

/// Sizes and composition offsets of one GOP; `first` is the number of its first sample in the
/// chunk.
fn gop_entries(
    samples: &[SampleView<'_>],
    places: &[i64],
    first: usize,
    frame_ticks: u32,
    delay: u32,
) -> Result<Vec<(u32, u32)>, Mp4Error> {
    let mut seen = vec![false; samples.len()];
    let mut entries = Vec::with_capacity(samples.len());
    for (index, (sample, place)) in samples.iter().zip(places).enumerate() {
        let number = (first + index) as u64;
        if sample.sync != (index == 0) {
            return Err(Mp4Error::KeyFrame { sample: number });
        }
        let place = place - first as i64;
        let slot = usize::try_from(place).ok().and_then(|place| seen.get_mut(place));
        match slot {
            // A GOP is closed and starts with its first picture, so the key frame must have place
            // 0.
            Some(seen) if !*seen && (index > 0 || place == 0) => *seen = true,
            _ => return Err(Mp4Error::OffGrid { sample: number }),
        }
        let offset = (place - index as i64) * i64::from(frame_ticks) + i64::from(delay);
        let offset = u32::try_from(offset).map_err(|_| Mp4Error::OffGrid { sample: number })?;
        let size = u32::try_from(sample.data.len());
        entries.push((size.map_err(|_| Mp4Error::Invalid("sample size"))?, offset));
    }
    Ok(entries)
}

/// Rewrites an audio track while FFmpeg writes it. Drops the encoder's priming packet, so that
/// sample n plays at n / 48000 s without an edit list, and everything past the end of the grid.
#[derive(Debug)]
pub struct AudioRewriter {
    grid: Grid,
    reader: PacketReader,
    /// Decode time of the first packet.
    origin: Option<u64>,
    /// Packets received, including the priming packet.
    received: u64,
    /// Packets of the source that are not yet in a chunk.
    pending: VecDeque<Vec<u8>>,
    next_chunk: u32,
}

impl AudioRewriter {
    /// A rewriter for the whole track of a video.
    pub fn new(grid: Grid) -> Self {
        Self {
            grid,
            reader: PacketReader::default(),
            origin: None,
            received: 0,
            pending: VecDeque::new(),
            next_chunk: 0,
        }
    }

    /// Accepts the next bytes of FFmpeg's output, split at any position.
    ///
    /// # Errors
    /// The output is damaged, is not AAC-LC at 48 kHz, or drifts from its clock.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), Mp4Error> {
        for (time, data) in self.reader.push(bytes)? {
            self.packet(time, data)?;
        }
        Ok(())
    }

    /// The next chunk, in order, once all its packets have arrived.
    ///
    /// # Errors
    /// The chunk cannot be written.
    pub fn next_chunk(&mut self) -> Result<Option<Rewritten>, Mp4Error> {
        let gops = self.grid.chunk_gops(self.next_chunk);
        let packets: u64 = gops.clone().map(|gop| self.gop_packets(gop)).sum();
        let Some(header) = self.reader.header() else { return Ok(None) };
        if header.packet_samples() != AAC_FRAME_SAMPLES {
            return Err(Mp4Error::Unsupported("codec"));
        }
        if gops.is_empty() || (self.pending.len() as u64) < packets {
            return Ok(None);
        }
        let pending = &mut self.pending;
        let rewritten = write_chunk(header, &self.grid, self.next_chunk, || pending.pop_front())?;
        self.next_chunk += 1;
        Ok(Some(rewritten))
    }

    /// Call repeatedly after FFmpeg has ended, until it returns `None`: then every chunk has been
    /// written.
    ///
    /// # Errors
    /// [`Mp4Error::SampleCount`]: packets are missing.
    pub fn finish(&mut self) -> Result<Option<Rewritten>, Mp4Error> {
        if let Some(rewritten) = self.next_chunk()? {
            return Ok(Some(rewritten));
        }
        if self.next_chunk == self.grid.chunks() {
            return Ok(None);
        }
        let expected = self.grid.audio_frames_total();
        let found = self.received.saturating_sub(PRIMING_PACKETS);
        Err(Mp4Error::SampleCount { expected, found })
    }

    fn gop_packets(&self, gop: u32) -> u64 {
        let frames = self.grid.audio_frames(gop);
        frames.end - frames.start
    }

    fn packet(&mut self, time: u64, data: Vec<u8>) -> Result<(), Mp4Error> {
        let number = self.received;
        self.received += 1;
        if number >= PRIMING_PACKETS + self.grid.audio_frames_total() {
            return Ok(());
        }
        // A packet's number determines its position. FFmpeg's clock may deviate by rounding; a
        // larger deviation means that samples were lost and audio would drift from the video.
        let origin = *self.origin.get_or_insert(time);
        let expected = origin.saturating_add(number * u64::from(AAC_FRAME_SAMPLES));
        if time.abs_diff(expected) >= u64::from(AAC_FRAME_SAMPLES) {
            return Err(Mp4Error::OffGrid { sample: number });
        }
        if data.is_empty() {
            return Err(Mp4Error::Invalid("sample size"));
        }
        if number >= PRIMING_PACKETS {
            self.pending.push_back(data);
        }
        Ok(())
    }
}
