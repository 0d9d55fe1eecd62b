//! A chunk in the stored form.

use super::{Mp4Error, fragment::Head};
use crate::index::Fragment;

/// A chunk in the form in which it is stored and served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewritten {
    /// The chunk's number.
    pub chunk: u32,
    /// The init segment; the same for every chunk of a rendition.
    pub init: Vec<u8>,
    /// The fragments, concatenated.
    pub bytes: Vec<u8>,
    /// One per GOP.
    pub fragments: Vec<Fragment>,
}

impl Rewritten {
    pub(super) fn new(chunk: u32, init: Vec<u8>) -> Self {
        Self { chunk, init, bytes: Vec::new(), fragments: Vec::new() }
    }

    pub(super) fn append<'a>(
        &mut self,
        head: &Head<'_>,
        data: impl Iterator<Item = &'a [u8]>,
    ) -> Result<(), Mp4Error> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&head.write()?);
        let payload = self.bytes.len();
        for sample in data {
            self.bytes.extend_from_slice(sample);
        }
        let fragment = head.fragment(payload - start, self.bytes.len() - start)?;
        self.fragments.push(fragment);
        Ok(())
    }
}
