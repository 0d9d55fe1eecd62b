//! The samples of a fragmented MP4 file, in decode order.

use super::{
    Mp4Error, SAMPLES_MAX, boxes,
    fragment::{self, Defaults, Entry},
    init,
};

/// One sample of an MP4 file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampleView<'a> {
    /// Its bytes as stored.
    pub data: &'a [u8],
    /// In ticks of the track.
    pub decode_time: u64,
    /// Presentation time minus decode time, in ticks.
    pub composition_offset: i64,
    /// In ticks.
    pub duration: u32,
    /// Whether it is a key frame.
    pub sync: bool,
}

/// Every sample of a fragmented MP4 file with one track, in decode order.
///
/// # Errors
/// The file is damaged or has several tracks.
pub fn samples(ffmpeg_output: &[u8]) -> Result<Vec<SampleView<'_>>, Mp4Error> {
    let defaults = init::read(ffmpeg_output)?.defaults;
    let mut all = Vec::new();
    let mut time = 0;
    for next in boxes::walk(ffmpeg_output) {
        let next = next?;
        if next.kind == *b"moof" {
            // Offsets are relative to the `moof` and must not point before it.
            let from_moof = &ffmpeg_output[next.start..];
            time = append(next.body, from_moof, defaults, time, &mut all)?;
        }
    }
    Ok(all)
}

/// Appends one fragment's samples and returns the decode time just past the last one.
pub(super) fn append<'a>(
    moof: &[u8],
    from_moof: &'a [u8],
    defaults: Defaults,
    continued: u64,
    all: &mut Vec<SampleView<'a>>,
) -> Result<u64, Mp4Error> {
    let moof = fragment::read(moof, defaults)?;
    if all.len() + moof.entries.len() > SAMPLES_MAX {
        return Err(Mp4Error::Invalid("sample count"));
    }
    let mut decode_time = moof.decode_time.unwrap_or(continued);
    for entry in moof.entries {
        let data = data(from_moof, &entry).ok_or(Mp4Error::Truncated("sample"))?;
        let Entry { composition_offset, duration, sync, .. } = entry;
        all.push(SampleView { data, decode_time, composition_offset, duration, sync });
        decode_time =
            decode_time.checked_add(u64::from(duration)).ok_or(Mp4Error::Invalid("decode time"))?;
    }
    Ok(decode_time)
}

fn data<'a>(from_moof: &'a [u8], entry: &Entry) -> Option<&'a [u8]> {
    let start = usize::try_from(entry.offset).ok()?;
    from_moof.get(start..start.checked_add(entry.size as usize)?)
}
