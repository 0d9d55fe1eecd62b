//! stub
use super::Mp4Error;
use crate::{Grid, index::Fragment};
/// A chunk as it is stored and served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewritten {
    /// Its number.
    pub chunk: u32,
    /// The init segment; the same for every chunk of a rendition.
    pub init: Vec<u8>,
    /// The fragments back to back.
    pub bytes: Vec<u8>,
    /// One per GOP.
    pub fragments: Vec<Fragment>,
}
/// video
///
/// # Errors
/// An [`Mp4Error`].
pub fn video_chunk(
    _ffmpeg_output: &[u8],
    _grid: &Grid,
    _chunk: u32,
) -> Result<Rewritten, Mp4Error> {
    Err(Mp4Error::Missing("moov"))
}
/// audio
#[derive(Debug)]
pub struct AudioRewriter {
    _grid: Grid,
}
impl AudioRewriter {
    /// New.
    pub fn new(grid: Grid) -> Self {
        Self { _grid: grid }
    }
    /// Push.
    /// # Errors
    /// An [`Mp4Error`].
    pub fn push(&mut self, _bytes: &[u8]) -> Result<(), Mp4Error> {
        Ok(())
    }
    /// Next.
    /// # Errors
    /// An [`Mp4Error`].
    pub fn next_chunk(&mut self) -> Result<Option<Rewritten>, Mp4Error> {
        Ok(None)
    }
    /// Finish.
    /// # Errors
    /// An [`Mp4Error`].
    pub fn finish(&mut self) -> Result<Option<Rewritten>, Mp4Error> {
        Ok(None)
    }
}
