//! Decoder configuration records, in the form that all video codecs share.

use super::boxes::Code;

/// A decoder configuration record (`avcC`, `hvcC`, `av1C`) that has been read and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// The record's body in canonical form.
    pub(super) body: Vec<u8>,
    pub(super) width: u32,
    pub(super) height: u32,
    /// Frames by which decoding runs ahead of presentation.
    pub(super) reorder_frames: u32,
    /// The codec string of RFC 6381.
    pub(super) rfc6381: String,
    /// Brand of the CMAF media profile that the track conforms to, if that profile has a brand.
    pub(super) brand: Option<Code>,
}
