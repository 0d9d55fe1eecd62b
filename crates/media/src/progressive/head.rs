//! The parts of an init segment that are copied into other files unchanged, without parsing the
//! codec's data.

use crate::fmp4::{
    Mp4Error,
    boxes::{self, Code, Reader},
};

/// A track as described by its init segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackHead {
    /// Ticks per second.
    pub timescale: u32,
    /// "vide" or "soun".
    pub handler: Code,
    /// Width and height as in `tkhd`: 16.16 fixed point.
    pub size: (u32, u32),
    /// Ticks from the first decoding to the first presentation; the edit list removes them.
    pub delay: u32,
    /// The body of `stsd`.
    pub stsd: Vec<u8>,
}

impl TrackHead {
    /// Reads an init segment of one track.
    ///
    /// # Errors
    /// The init segment is damaged or has several tracks.
    pub fn read(init: &[u8]) -> Result<Self, Mp4Error> {
        let moov = boxes::find(init, b"moov")?.ok_or(Mp4Error::Missing("moov"))?;
        let trak = boxes::only(moov, b"trak", "trak")?;
        Ok(Self { delay: delay(trak)?, ..Self::without_edits(trak)? })
    }

    /// Reads the body of a `trak`, except for its edit list.
    ///
    /// # Errors
    /// The box is damaged.
    pub(crate) fn without_edits(trak: &[u8]) -> Result<Self, Mp4Error> {
        let mdia = boxes::only(trak, b"mdia", "mdia")?;
        let minf = boxes::only(mdia, b"minf", "minf")?;
        let stbl = boxes::only(minf, b"stbl", "stbl")?;
        let mut mdhd = Reader::new(boxes::only(mdia, b"mdhd", "mdhd")?, "mdhd");
        let (version, _) = mdhd.version_flags()?;
        mdhd.take(if version == 0 { 8 } else { 16 })?;
        let timescale = mdhd.u32()?;
        if timescale == 0 {
            return Err(Mp4Error::Invalid("timescale"));
        }
        let mut hdlr = Reader::new(boxes::only(mdia, b"hdlr", "hdlr")?, "hdlr");
        hdlr.take(8)?;
        let handler = hdlr.take(4)?.try_into().map_err(|_| Mp4Error::Truncated("hdlr"))?;
        Ok(Self {
            timescale,
            handler,
            size: size(boxes::only(trak, b"tkhd", "tkhd")?)?,
            delay: 0,
            stsd: boxes::only(stbl, b"stsd", "stsd")?.to_vec(),
        })
    }

    /// Whether this is a video track.
    pub fn is_video(&self) -> bool {
        self.handler == *b"vide"
    }

    /// The code of the sample entry, for example "avc1".
    pub fn format(&self) -> Option<Code> {
        self.stsd.get(12..16)?.try_into().ok()
    }
}

fn size(tkhd: &[u8]) -> Result<(u32, u32), Mp4Error> {
    let mut reader = Reader::new(tkhd, "tkhd");
    let (version, _) = reader.version_flags()?;
    // Dates, track, duration; then layer, group, volume and the matrix.
    reader.take(if version == 0 { 20 } else { 32 })?;
    reader.take(52)?;
    Ok((reader.u32()?, reader.u32()?))
}

fn delay(trak: &[u8]) -> Result<u32, Mp4Error> {
    let Some(edts) = boxes::find(trak, b"edts")? else { return Ok(0) };
    let Some(elst) = boxes::find(edts, b"elst")? else { return Ok(0) };
    let mut reader = Reader::new(elst, "elst");
    let (version, _) = reader.version_flags()?;
    if reader.u32()? != 1 {
        return Err(Mp4Error::Unsupported("several edits"));
    }
    let time = if version == 0 {
        reader.u32()?;
        u64::from(reader.u32()?)
    } else {
        reader.u64()?;
        reader.u64()?
    };
    u32::try_from(time).map_err(|_| Mp4Error::Unsupported("empty edit"))
}
