//! Admission: proof, from the stored bytes alone, that a chunk is what the grid asks for.

use thiserror::Error;

pub use crate::fmp4::TrackKind;
use crate::{Grid, fmp4::Mp4Error, index::Fragment};

/// Why a chunk must not enter the index.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum Refusal {
    /// The init segment cannot be read.
    #[error("admit init segment: {0}")]
    Init(#[source] Mp4Error),
}

/// Checks a chunk and returns its fragments.
///
/// # Errors
/// A [`Refusal`].
pub fn admit(
    _kind: TrackKind,
    _grid: &Grid,
    _chunk: u32,
    _init: &[u8],
    _bytes: &[u8],
) -> Result<Vec<Fragment>, Refusal> {
    Err(Refusal::Init(Mp4Error::Missing("moov")))
}
