//! stub
use super::Mp4Error;
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
    /// A key frame.
    pub sync: bool,
}
/// Every sample of a one-track fragmented MP4, in decode order.
///
/// # Errors
/// An [`Mp4Error`] when the file is damaged or has several tracks.
pub fn samples(_ffmpeg_output: &[u8]) -> Result<Vec<SampleView<'_>>, Mp4Error> {
    Err(Mp4Error::Missing("moov"))
}
