//! A SHA-256 whose state can be saved after any byte and resumed by another process. The digest of
//! a source therefore covers all its bytes, however many requests and data planes received them.

use sha2::{Sha256VarCore, compress256, digest::core_api::Block};

/// Initial hash value, FIPS 180-4, section 5.3.3.
const START: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];
const BLOCK_BYTES: usize = 64;
const WORDS_BYTES: usize = 32;

/// The hash state after some number of bytes.
#[derive(Clone, Debug)]
pub(crate) struct Digest {
    words: [u32; 8],
    /// The first `bytes % 64` bytes are still to be hashed.
    block: [u8; BLOCK_BYTES],
    bytes: u64,
}

impl Digest {
    /// The initial state.
    pub(crate) const fn new() -> Self {
        Self { words: START, block: [0; BLOCK_BYTES], bytes: 0 }
    }

    /// Resumes from a state that [`Digest::state`] returned after `bytes`; `None` if it is not a
    /// valid state for that length.
    pub(crate) fn resume(state: &[u8], bytes: u64) -> Option<Self> {
        if bytes == 0 {
            return Some(Self::new());
        }
        let (words, rest) = state.split_at_checked(WORDS_BYTES)?;
        if rest.len() as u64 != bytes % BLOCK_BYTES as u64 {
            return None;
        }
        let mut digest = Self { bytes, ..Self::new() };
        for (word, bytes) in digest.words.iter_mut().zip(words.as_chunks().0) {
            *word = u32::from_be_bytes(*bytes);
        }
        digest.block[..rest.len()].copy_from_slice(rest);
        Some(digest)
    }

    /// The state to save for [`Digest::resume`].
    pub(crate) fn state(&self) -> Vec<u8> {
        let mut state = self.words_bytes();
        state.extend_from_slice(&self.block[..self.filled()]);
        state
    }

    fn filled(&self) -> usize {
        (self.bytes % BLOCK_BYTES as u64) as usize
    }

    fn words_bytes(&self) -> Vec<u8> {
        self.words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    /// Hashes `bytes`.
    pub(crate) fn update(&mut self, mut bytes: &[u8]) {
        let filled = self.filled();
        self.bytes += bytes.len() as u64;
        if filled > 0 {
            let missing = bytes.len().min(BLOCK_BYTES - filled);
            let (first, rest) = bytes.split_at(missing);
            self.block[filled..filled + missing].copy_from_slice(first);
            bytes = rest;
            if filled + missing < BLOCK_BYTES {
                return;
            }
            compress256(&mut self.words, &[Block::<Sha256VarCore>::from(self.block)]);
        }
        let (blocks, rest) = bytes.as_chunks::<BLOCK_BYTES>();
        for block in blocks {
            compress256(&mut self.words, &[Block::<Sha256VarCore>::from(*block)]);
        }
        self.block[..rest.len()].copy_from_slice(rest);
    }

    /// The digest of all bytes so far, 32 bytes.
    pub(crate) fn finish(&self) -> Vec<u8> {
        let bits = self.bytes.wrapping_mul(8);
        let mut last = self.clone();
        let filled = last.filled();
        let zeros = (BLOCK_BYTES + 55 - filled) % BLOCK_BYTES;
        let mut padding = vec![0x80];
        padding.resize(1 + zeros, 0);
        padding.extend_from_slice(&bits.to_be_bytes());
        last.update(&padding);
        last.words_bytes()
    }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};

    use super::*;

    #[test]
    fn digest_does_not_depend_on_chunks_and_resumptions() {
        let content: Vec<u8> = (0..1000_u32).map(|n| (n * 7 % 251) as u8).collect();
        for length in [0, 1, 54, 55, 56, 63, 64, 65, 119, 120, 127, 128, 1000] {
            let whole = &content[..length];
            let expected = Sha256::digest(whole).to_vec();
            for step in [1, 3, 63, 64, 65, 200] {
                let mut digest = Digest::new();
                for piece in whole.chunks(step) {
                    digest.update(piece);
                    digest = Digest::resume(&digest.state(), digest.bytes).unwrap();
                }
                assert_eq!(digest.finish(), expected, "{length} in steps of {step}");
            }
        }
    }

    #[test]
    fn inconsistent_states_are_rejected() {
        let state = Digest::new().state();
        assert!(Digest::resume(&state, 64).is_some());
        assert!(Digest::resume(&state, 65).is_none());
        assert!(Digest::resume(&state[1..], 64).is_none());
        assert!(Digest::resume(b"", 1).is_none());
    }
}
