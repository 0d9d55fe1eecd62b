//! Bit reader for parameter sets.

use super::Mp4Error;

const INVALID: Mp4Error = Mp4Error::Invalid("parameter set");

/// Removes emulation prevention: `00 00 03` becomes `00 00` (H.264, 7.4.1.1; H.265, 7.4.2).
pub(super) fn without_emulation_prevention(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut zeros = 0;
    for byte in bytes {
        if zeros >= 2 && *byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if *byte == 0 { zeros + 1 } else { 0 };
        out.push(*byte);
    }
    out
}

pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    /// Position in bits.
    at: usize,
}

impl<'a> Bits<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// u(n), at most 32 bits.
    pub(super) fn fixed(&mut self, count: u32) -> Result<u32, Mp4Error> {
        let mut value = 0_u32;
        for _ in 0..count {
            let byte = self.bytes.get(self.at / 8).ok_or(INVALID)?;
            let bit = byte >> (7 - self.at % 8) & 1;
            value = value << 1 | u32::from(bit);
            self.at += 1;
        }
        Ok(value)
    }

    pub(super) fn flag(&mut self) -> Result<bool, Mp4Error> {
        Ok(self.fixed(1)? == 1)
    }

    /// ue(v), at most 31 leading zeros.
    pub(super) fn unsigned(&mut self) -> Result<u32, Mp4Error> {
        let mut zeros = 0;
        while !self.flag()? {
            zeros += 1;
            if zeros > 31 {
                return Err(INVALID);
            }
        }
        Ok((1_u32 << zeros) - 1 + self.fixed(zeros)?)
    }

    /// se(v).
    pub(super) fn signed(&mut self) -> Result<i64, Mp4Error> {
        let code = i64::from(self.unsigned()?);
        Ok(if code % 2 == 1 { (code + 1) / 2 } else { -(code / 2) })
    }
}
