//! Movie fragments: reads any form that FFmpeg writes, writes one canonical form.

use super::{
    Mp4Error, SAMPLES_MAX, TrackKind,
    boxes::{self, Reader, Writer},
};
use crate::index::Fragment;

/// `sample_is_non_sync_sample` (ISO/IEC 14496-12, 8.8.3.1).
const NON_SYNC: u32 = 0x0001_0000;
/// Depends on no other sample.
const FLAGS_SYNC: u32 = 0x0200_0000;
/// Depends on other samples; not a sync sample.
const FLAGS_DELTA: u32 = 0x0101_0000;

/// The defaults of `trex`, for samples whose fragment does not override them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Defaults {
    pub(crate) duration: u32,
    pub(crate) size: u32,
    pub(crate) flags: u32,
}

/// One sample of a `moof`, as described by its tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Offset from the first byte of the `moof`.
    pub(crate) offset: i64,
    pub(crate) size: u32,
    pub(crate) duration: u32,
    pub(crate) composition_offset: i64,
    pub(crate) sync: bool,
}

/// A `moof` with one track.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Moof {
    /// From `tfdt`; `None` when the fragment continues the previous one.
    pub(crate) decode_time: Option<u64>,
    pub(crate) entries: Vec<Entry>,
}

/// Reads the body of a `moof`.
pub(crate) fn read(body: &[u8], trex: Defaults) -> Result<Moof, Mp4Error> {
    let traf = boxes::only(body, b"traf", "traf")?;
    let defaults = read_tfhd(boxes::only(traf, b"tfhd", "tfhd")?, trex)?;
    let mut moof = Moof { decode_time: None, entries: Vec::new() };
    let mut next_offset = None;
    for next in boxes::walk(traf) {
        let next = next?;
        match &next.kind {
            b"tfdt" => {
                let mut reader = Reader::new(next.body, "tfdt");
                let (version, _) = reader.version_flags()?;
                let time = if version == 0 { u64::from(reader.u32()?) } else { reader.u64()? };
                moof.decode_time = Some(time);
            }
            b"trun" => {
                next_offset = Some(read_trun(next.body, defaults, next_offset, &mut moof.entries)?);
            }
            _ => {}
        }
    }
    Ok(moof)
}

fn read_tfhd(body: &[u8], trex: Defaults) -> Result<Defaults, Mp4Error> {
    let mut reader = Reader::new(body, "tfhd");
    let (_, flags) = reader.version_flags()?;
    let _track = reader.u32()?;
    if flags & 0x01 != 0 {
        return Err(Mp4Error::Unsupported("base data offset"));
    }
    let mut defaults = trex;
    if flags & 0x02 != 0 {
        reader.u32()?;
    }
    if flags & 0x08 != 0 {
        defaults.duration = reader.u32()?;
    }
    if flags & 0x10 != 0 {
        defaults.size = reader.u32()?;
    }
    if flags & 0x20 != 0 {
        defaults.flags = reader.u32()?;
    }
    Ok(defaults)
}

/// Appends a run's samples and returns the offset of the next run if that run does not state one.
fn read_trun(
    body: &[u8],
    defaults: Defaults,
    continued: Option<i64>,
    entries: &mut Vec<Entry>,
) -> Result<i64, Mp4Error> {
    let mut reader = Reader::new(body, "trun");
    let (version, flags) = reader.version_flags()?;
    let count = reader.u32()? as usize;
    if entries.len().saturating_add(count) > SAMPLES_MAX {
        return Err(Mp4Error::Invalid("sample count"));
    }
    let mut offset = match (flags & 0x01 != 0, continued) {
        (true, _) => i64::from(reader.i32()?),
        (false, Some(offset)) => offset,
        (false, None) => return Err(Mp4Error::Unsupported("run without data offset")),
    };
    let first_flags = if flags & 0x04 != 0 { Some(reader.u32()?) } else { None };
    for index in 0..count {
        let duration = if flags & 0x100 != 0 { reader.u32()? } else { defaults.duration };
        let size = if flags & 0x200 != 0 { reader.u32()? } else { defaults.size };
        let own_flags = if flags & 0x400 != 0 { reader.u32()? } else { defaults.flags };
        let composition_offset = match (flags & 0x800 != 0, version) {
            (false, _) => 0,
            (true, 0) => i64::from(reader.u32()?),
            (true, _) => i64::from(reader.i32()?),
        };
        let sample_flags = if index == 0 { first_flags.unwrap_or(own_flags) } else { own_flags };
        let sync = sample_flags & NON_SYNC == 0;
        entries.push(Entry { offset, size, duration, composition_offset, sync });
        offset += i64::from(size);
    }
    Ok(offset)
}

/// The bytes before the first sample of a canonical video fragment: fixed boxes, and size and
/// composition offset of each sample.
pub(crate) const fn video_head_bytes(samples: u64) -> u64 {
    108 + 8 * samples
}

/// The parts of a canonical fragment, except the bytes of its samples.
#[derive(Debug)]
pub(crate) struct Head<'a> {
    pub(crate) kind: TrackKind,
    /// Counted from 0; the fragment's sequence number is one higher.
    pub(crate) gop: u32,
    pub(crate) decode_time: u64,
    pub(crate) sample_duration: u32,
    /// Size and composition offset of each sample in decode order. In video only the first sample
    /// is a sync sample; in audio every sample is one.
    pub(crate) samples: &'a [(u32, u32)],
}

impl Head<'_> {
    /// Writes the `moof` and the header of the `mdat` that follows it.
    pub(crate) fn write(&self) -> Result<Vec<u8>, Mp4Error> {
        let payload: u64 = self.samples.iter().map(|(size, _)| u64::from(*size)).sum();
        let mdat_size =
            u32::try_from(payload + 8).map_err(|_| Mp4Error::Unsupported("mdat above 4 GiB"))?;
        // The run's offset includes the size of the `moof`, so write once to measure, then with the
        // offset.
        let moof_size = self.moof(0).len();
        let data_offset =
            i32::try_from(moof_size + 8).map_err(|_| Mp4Error::Invalid("sample count"))?;
        let mut head = self.moof(data_offset);
        head.extend_from_slice(&mdat_size.to_be_bytes());
        head.extend_from_slice(b"mdat");
        Ok(head)
    }

    /// The index entry of this fragment, given the size of [`Self::write`]'s output and of the
    /// whole fragment.
    pub(crate) fn fragment(&self, head: usize, whole: usize) -> Result<Fragment, Mp4Error> {
        let first = self.samples.first().map_or(0, |(size, _)| *size as usize);
        let small = |size: usize| u32::try_from(size).map_err(|_| Mp4Error::Invalid("size"));
        let count = small(self.samples.len())?;
        let duration =
            self.sample_duration.checked_mul(count).ok_or(Mp4Error::Invalid("duration"))?;
        Ok(Fragment { bytes: small(whole)?, intra_bytes: small(head + first)?, duration })
    }

    fn moof(&self, data_offset: i32) -> Vec<u8> {
        let mut w = Writer::default();
        w.boxed(b"moof", |w| {
            w.full(b"mfhd", 0, 0, |w| w.u32(self.gop.saturating_add(1)));
            w.boxed(b"traf", |w| {
                // default-base-is-moof, default duration, default flags.
                w.full(b"tfhd", 0, 0x02_0028, |w| {
                    w.u32(1);
                    w.u32(self.sample_duration);
                    w.u32(match self.kind {
                        TrackKind::Video => FLAGS_DELTA,
                        TrackKind::Audio => FLAGS_SYNC,
                    });
                });
                w.full(b"tfdt", 1, 0, |w| w.u64(self.decode_time));
                self.trun(w, data_offset);
            });
        });
        w.finish()
    }

    fn trun(&self, w: &mut Writer, data_offset: i32) {
        let video = self.kind == TrackKind::Video;
        let flags = if video { 0x0a05 } else { 0x0201 };
        w.full(b"trun", 0, flags, |w| {
            w.u32(self.samples.len() as u32);
            w.i32(data_offset);
            if video {
                w.u32(FLAGS_SYNC);
            }
            for (size, composition_offset) in self.samples {
                w.u32(*size);
                if video {
                    w.u32(*composition_offset);
                }
            }
        });
    }
}
