//! Puts the access units of a copied Dolby track on the grid.
//!
//! A copied unit keeps its bytes, so it can only be moved: each unit gets the place nearest to its
//! time, at most 16 ms from it. Places without a unit get silence.

use std::collections::VecDeque;

use super::{
    Mp4Error,
    dolby::{self, DolbyConfig},
    init::{Config, Header},
    packets::{PacketReader, write_chunk},
    rewritten::Rewritten,
};
use crate::{
    Grid,
    grid::{AUDIO_RATE, DOLBY_UNIT_SAMPLES},
};

/// A unit that is this many samples off the end of the one before it continues it; clocks of
/// containers are inexact. One that is further off follows a gap or repeats a part.
const JITTER_SAMPLES: u64 = DOLBY_UNIT_SAMPLES as u64 * 3 / 4;

/// The form that silence must have to replace missing units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopiedFormat {
    /// RFC 6381: "ac-3" or "ec-3".
    pub codec: &'static str,
    /// 6, or 5 without a channel for low frequencies.
    pub channels: u8,
    /// kbit/s
    pub rate: u16,
}

/// Rewrites a Dolby track while FFmpeg copies it.
#[derive(Debug)]
pub struct CopiedRewriter {
    grid: Grid,
    reader: PacketReader,
    /// The decode time that is time 0 of the video; that of the first unit if unknown.
    origin: Option<u64>,
    config: Option<DolbyConfig>,
    silence: Option<Vec<u8>>,
    /// By how many samples the last unit was moved to an earlier place.
    moved: Option<i64>,
    /// All places before this one are decided.
    next: u64,
    /// The decided units that are not yet in a chunk, with their places; silence is left out.
    pending: VecDeque<(u64, Vec<u8>)>,
    next_chunk: u32,
}

impl CopiedRewriter {
    /// A rewriter for a track on a clock that shows `origin`, in samples, when the video begins;
    /// `None`: the video begins with the track.
    pub fn new(grid: Grid, origin: Option<u64>) -> Self {
        Self {
            grid,
            reader: PacketReader::default(),
            origin,
            config: None,
            silence: None,
            moved: None,
            next: 0,
            pending: VecDeque::new(),
            next_chunk: 0,
        }
    }

    /// Accepts the next bytes of FFmpeg's output, split at any position.
    ///
    /// # Errors
    /// The output is damaged, or the track cannot be copied: it is not in surround at 48 kHz, or
    /// its configuration changes.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), Mp4Error> {
        for (time, unit) in self.reader.push(bytes)? {
            self.unit(time, &unit)?;
        }
        Ok(())
    }

    /// The track's format, once its first unit has arrived.
    pub fn format(&self) -> Option<CopiedFormat> {
        let config = self.config?;
        let (codec, channels) = (config.format.codec(), config.channels());
        Some(CopiedFormat { codec, channels, rate: config.rate() })
    }

    /// Accepts the unit that replaces missing ones, at the start of `stream`. Chunks are written
    /// only after that.
    ///
    /// # Errors
    /// The unit is damaged, or does not have the track's format.
    pub fn set_silence(&mut self, stream: &[u8]) -> Result<(), Mp4Error> {
        let unit = dolby::first_unit(stream)?;
        let config = self.config.ok_or(Mp4Error::Missing("Dolby frame"))?;
        if !config.continues(&DolbyConfig::of_unit(unit)?) {
            return Err(Mp4Error::Unsupported("change of the Dolby configuration"));
        }
        self.silence = Some(unit.to_vec());
        Ok(())
    }

    /// The next chunk, in order, once all its places are decided.
    ///
    /// # Errors
    /// The chunk cannot be written.
    pub fn next_chunk(&mut self) -> Result<Option<Rewritten>, Mp4Error> {
        let (Some(config), Some(silence)) = (self.config, &self.silence) else { return Ok(None) };
        let gops = self.grid.chunk_gops(self.next_chunk);
        let mut place = self.grid.sound_frames(gops.start, DOLBY_UNIT_SAMPLES).start;
        let Some(last) = gops.last() else { return Ok(None) };
        if self.grid.sound_frames(last, DOLBY_UNIT_SAMPLES).end > self.next {
            return Ok(None);
        }
        let config = Config::Dolby(config);
        let header = Header { timescale: AUDIO_RATE, config, defaults: Default::default() };
        let pending = &mut self.pending;
        let rewritten = write_chunk(&header, &self.grid, self.next_chunk, || {
            let own = pending.pop_front_if(|(own, _)| *own == place);
            place += 1;
            Some(own.map_or_else(|| silence.clone(), |(_, unit)| unit))
        })?;
        self.next_chunk += 1;
        Ok(Some(rewritten))
    }

    /// Call repeatedly after FFmpeg has ended, until it returns `None`: then every chunk has been
    /// written.
    ///
    /// # Errors
    /// [`Mp4Error::SampleCount`]: the track has no unit.
    pub fn finish(&mut self) -> Result<Option<Rewritten>, Mp4Error> {
        let total = self.grid.sound_frames_total(DOLBY_UNIT_SAMPLES);
        if self.config.is_none() || self.silence.is_none() {
            return Err(Mp4Error::SampleCount { expected: total, found: 0 });
        }
        self.next = total;
        self.next_chunk()
    }

    fn unit(&mut self, time: u64, unit: &[u8]) -> Result<(), Mp4Error> {
        let config = match DolbyConfig::of_unit(unit) {
            Ok(config) => config,
            Err(error @ Mp4Error::Unsupported(_)) => return Err(error),
            // A damaged unit is replaced as if it were missing.
            Err(_) => return Ok(()),
        };
        if !self.config.get_or_insert(config).continues(&config) {
            return Err(Mp4Error::Unsupported("change of the Dolby configuration"));
        }
        let place = self.place(time);
        let free = |place: &u64| *place >= self.next;
        let total = self.grid.sound_frames_total(DOLBY_UNIT_SAMPLES);
        if let Some(place) = place.filter(|place| free(place) && *place < total) {
            self.pending.push_back((place, dolby::core(unit)?));
            self.next = place + 1;
        }
        Ok(())
    }

    /// The place of a unit, unless it is before the video.
    fn place(&mut self, time: u64) -> Option<u64> {
        let unit = i64::from(DOLBY_UNIT_SAMPLES);
        let origin = *self.origin.get_or_insert(time);
        let at = i64::try_from(time).ok()?.checked_sub_unsigned(origin)?;
        if let Some(moved) = self.moved {
            let expected = i64::try_from(self.next).ok()?.checked_mul(unit)?.checked_add(moved)?;
            if at.abs_diff(expected) < JITTER_SAMPLES {
                return Some(self.next);
            }
        }
        let place = at.checked_add(unit / 2)?.div_euclid(unit);
        self.moved = Some(at - place * unit);
        u64::try_from(place).ok()
    }
}
