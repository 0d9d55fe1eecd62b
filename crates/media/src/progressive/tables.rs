//! The boxes of a progressive file's `moov`.

use super::{MovieTrack, Sample};
use crate::fmp4::boxes::Writer;

/// Rows of the identity matrix (ISO/IEC 14496-12, 6.2.2).
const MATRIX: [u32; 9] = [0x0001_0000, 0, 0, 0, 0x0001_0000, 0, 0, 0, 0x4000_0000];

/// The place of a track in its file.
#[derive(Clone, Copy)]
pub(super) struct Place {
    /// Number of the track, from 1.
    pub(super) number: u32,
    /// In ticks of the movie.
    pub(super) duration: u64,
    /// Offset of the payload.
    pub(super) base: u64,
    /// Whether positions take 64 bits.
    pub(super) wide: bool,
}

/// The box version: 1 if the duration needs 64 bits.
fn version(duration: u64) -> u8 {
    u8::from(duration > u64::from(u32::MAX))
}

/// Writes a duration with the size that the version requires.
fn ticks(w: &mut Writer, duration: u64) {
    match version(duration) {
        0 => w.u32(duration as u32),
        _ => w.u64(duration),
    }
}

/// Creation and modification time: unspecified.
fn dates(w: &mut Writer, duration: u64) {
    w.zeros(if version(duration) == 0 { 8 } else { 16 });
}

pub(super) fn mvhd(w: &mut Writer, timescale: u32, duration: u64, next_track: u32) {
    w.full(b"mvhd", version(duration), 0, |w| {
        dates(w, duration);
        w.u32(timescale);
        ticks(w, duration);
        w.u32(0x0001_0000); // rate
        w.u16(0x0100); // volume
        w.zeros(10);
        MATRIX.into_iter().for_each(|value| w.u32(value));
        w.zeros(24);
        w.u32(next_track);
    });
}

pub(super) fn trak(w: &mut Writer, track: &MovieTrack, positions: &[u64], place: Place) {
    w.boxed(b"trak", |w| {
        tkhd(w, track, place);
        if track.head.delay > 0 {
            edit_list(w, track.head.delay, place.duration);
        }
        w.boxed(b"mdia", |w| {
            let duration = track.duration();
            w.full(b"mdhd", version(duration), 0, |w| {
                dates(w, duration);
                w.u32(track.head.timescale);
                ticks(w, duration);
                w.u16(0x55c4); // "und"
                w.zeros(2);
            });
            w.full(b"hdlr", 0, 0, |w| {
                w.zeros(4);
                w.bytes(&track.head.handler);
                w.zeros(12);
                w.bytes(if track.head.is_video() { b"video\0" } else { b"audio\0" });
            });
            w.boxed(b"minf", |w| {
                match track.head.is_video() {
                    true => w.full(b"vmhd", 0, 1, |w| w.zeros(8)),
                    false => w.full(b"smhd", 0, 0, |w| w.zeros(4)),
                }
                w.boxed(b"dinf", |w| {
                    w.full(b"dref", 0, 0, |w| {
                        w.u32(1);
                        w.full(b"url ", 0, 1, |_| {}); // in this file
                    });
                });
                w.boxed(b"stbl", |w| stbl(w, track, positions, place));
            });
        });
    });
}

fn tkhd(w: &mut Writer, track: &MovieTrack, place: Place) {
    // Flags: enabled, in movie, in preview.
    w.full(b"tkhd", version(place.duration), 7, |w| {
        dates(w, place.duration);
        w.u32(place.number);
        w.zeros(4);
        ticks(w, place.duration);
        w.zeros(12); // layer, alternate group
        w.u16(if track.head.is_video() { 0 } else { 0x0100 });
        w.zeros(2);
        MATRIX.into_iter().for_each(|value| w.u32(value));
        w.u32(track.head.size.0);
        w.u32(track.head.size.1);
    });
}

/// Maps presentation to the media from the first presented sample to the end.
fn edit_list(w: &mut Writer, media_time: u32, duration: u64) {
    w.boxed(b"edts", |w| {
        w.full(b"elst", version(duration), 0, |w| {
            w.u32(1);
            ticks(w, duration);
            match version(duration) {
                0 => w.u32(media_time),
                _ => w.u64(u64::from(media_time)),
            }
            w.u32(0x0001_0000); // rate
        });
    });
}

fn stbl(w: &mut Writer, track: &MovieTrack, positions: &[u64], place: Place) {
    let samples = &track.samples;
    w.full(b"stsd", 0, 0, |w| w.bytes(track.head.stsd.get(4..).unwrap_or_default()));
    counted(w, b"stts", samples, |sample| sample.duration);
    if samples.iter().any(|sample| sample.composition > 0) {
        counted(w, b"ctts", samples, |sample| sample.composition);
    }
    if samples.iter().any(|sample| !sample.sync) {
        let sync: Vec<u32> =
            (1..).zip(samples).filter(|(_, s)| s.sync).map(|(number, _)| number).collect();
        w.full(b"stss", 0, 0, |w| {
            w.u32(sync.len() as u32);
            sync.into_iter().for_each(|number| w.u32(number));
        });
    }
    w.full(b"stsz", 0, 0, |w| {
        w.u32(0);
        w.u32(samples.len() as u32);
        samples.iter().for_each(|sample| w.u32(sample.size));
    });
    runs(w, &track.runs);
    let kind = if place.wide { b"co64" } else { b"stco" };
    w.full(kind, 0, 0, |w| {
        w.u32(positions.len() as u32);
        for position in positions.iter().map(|position| place.base + position) {
            match place.wide {
                true => w.u64(position),
                false => w.u32(position as u32),
            }
        }
    });
}

/// Writes a run-length encoded table of values.
fn counted(w: &mut Writer, kind: &[u8; 4], samples: &[Sample], value: impl Fn(&Sample) -> u32) {
    let mut rows: Vec<(u32, u32)> = Vec::new();
    for value in samples.iter().map(value) {
        match rows.last_mut() {
            Some((count, same)) if *same == value => *count += 1,
            _ => rows.push((1, value)),
        }
    }
    w.full(kind, 0, 0, |w| {
        w.u32(rows.len() as u32);
        for (count, value) in rows {
            w.u32(count);
            w.u32(value);
        }
    });
}

/// Writes the samples per run; one row wherever the number changes.
fn runs(w: &mut Writer, runs: &[u32]) {
    let mut rows: Vec<(u32, u32)> = Vec::new();
    for (first, count) in (1..).zip(runs.iter().copied()) {
        if rows.last().is_none_or(|(_, last)| *last != count) {
            rows.push((first, count));
        }
    }
    w.full(b"stsc", 0, 0, |w| {
        w.u32(rows.len() as u32);
        for (first, count) in rows {
            w.u32(first);
            w.u32(count);
            w.u32(1); // the only sample entry
        }
    });
}
