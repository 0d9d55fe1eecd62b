//! Verifies that bytes are exactly one baseline JPEG of the planned size (ITU-T T.81): all markers
//! in a valid order, the frame's size, tables before the scan that uses them, entropy-coded data
//! without stray markers, and EOI as the very last bytes.

use thiserror::Error;

use crate::pictures::Size;

/// Why bytes are not the planned image.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum JpegError {
    /// The bytes end within a segment.
    #[error("read jpeg: truncated {0}")]
    Truncated(&'static str),
    /// A marker is in a place where it is not allowed.
    #[error("read jpeg: marker {0:#04x} misplaced")]
    Marker(u8),
    /// A required marker is missing.
    #[error("read jpeg: no marker")]
    NoMarker,
    /// A required segment is missing.
    #[error("read jpeg: missing {0}")]
    Missing(&'static str),
    /// The size differs from the plan.
    #[error("read jpeg: {0}x{1} pixels")]
    Size(u32, u32),
    /// The samples are not 8 bits in three components.
    #[error("read jpeg: unsupported sample format")]
    Format,
    /// There are bytes after the end of the image.
    #[error("read jpeg: {0} bytes after the end")]
    Trailing(usize),
}

const SOI: u8 = 0xd8;
const EOI: u8 = 0xd9;
const SOF0: u8 = 0xc0;
const DHT: u8 = 0xc4;
const SOS: u8 = 0xda;
const DQT: u8 = 0xdb;
const DRI: u8 = 0xdd;
const COM: u8 = 0xfe;

/// State of the check.
#[derive(Default)]
struct Seen {
    size: Option<Size>,
    quantization: bool,
    huffman: bool,
    /// Number of entropy-coded bytes.
    coded: usize,
}

/// Checks that `bytes` are exactly one image of `size`.
///
/// # Errors
/// The bytes are damaged, or the image differs from the plan.
pub fn check(bytes: &[u8], size: Size) -> Result<(), JpegError> {
    let mut rest = bytes.strip_prefix(&[0xff, SOI]).ok_or(JpegError::Missing("SOI"))?;
    let mut seen = Seen::default();
    loop {
        let (marker, after) = marker(rest)?;
        rest = match marker {
            EOI => break finish(&seen, after, size),
            SOS => {
                let (_, after) = segment(after)?;
                if seen.size.is_none() || !seen.quantization || !seen.huffman {
                    return Err(JpegError::Missing("tables or frame before the scan"));
                }
                if seen.coded > 0 {
                    return Err(JpegError::Marker(SOS));
                }
                let coded = entropy_coded(after)?;
                seen.coded = coded;
                &after[coded..]
            }
            _ => {
                let (body, after) = segment(after)?;
                seen.read_segment(marker, body)?;
                after
            }
        };
    }
}

fn finish(seen: &Seen, after: &[u8], size: Size) -> Result<(), JpegError> {
    if !after.is_empty() {
        return Err(JpegError::Trailing(after.len()));
    }
    if seen.coded == 0 {
        return Err(JpegError::Missing("scan"));
    }
    match seen.size {
        Some(found) if found == size => Ok(()),
        Some(found) => Err(JpegError::Size(found.width, found.height)),
        None => Err(JpegError::Missing("frame")),
    }
}

impl Seen {
    fn read_segment(&mut self, marker: u8, body: &[u8]) -> Result<(), JpegError> {
        match marker {
            SOF0 if self.size.is_none() => self.size = Some(frame(body)?),
            DQT => self.quantization = true,
            DHT => self.huffman = true,
            // Restart interval, application data and comments.
            DRI | 0xe0..=0xef | COM => {}
            other => return Err(JpegError::Marker(other)),
        }
        Ok(())
    }
}

/// Reads the marker at the start of `bytes`; fill bytes may precede it.
fn marker(bytes: &[u8]) -> Result<(u8, &[u8]), JpegError> {
    if bytes.first() != Some(&0xff) {
        return Err(if bytes.is_empty() { JpegError::Missing("EOI") } else { JpegError::NoMarker });
    }
    let fill = bytes.iter().take_while(|byte| **byte == 0xff).count();
    let marker = *bytes.get(fill).ok_or(JpegError::Truncated("marker"))?;
    Ok((marker, &bytes[fill + 1..]))
}

/// Splits a segment's body from the bytes that follow it.
fn segment(bytes: &[u8]) -> Result<(&[u8], &[u8]), JpegError> {
    let truncated = JpegError::Truncated("segment");
    let length = bytes.first_chunk::<2>().map(|length| u16::from_be_bytes(*length));
    let length = usize::from(length.ok_or(truncated)?);
    let (segment, rest) = bytes.split_at_checked(length).ok_or(JpegError::Truncated("segment"))?;
    Ok((segment.get(2..).ok_or(JpegError::Truncated("segment"))?, rest))
}

fn frame(body: &[u8]) -> Result<Size, JpegError> {
    let [precision, h1, h0, w1, w0, components, ..] = *body else {
        return Err(JpegError::Truncated("frame"));
    };
    if precision != 8 || components != 3 || body.len() != 6 + 9 {
        return Err(JpegError::Format);
    }
    let side = |high, low| u32::from(u16::from_be_bytes([high, low]));
    Ok(Size { width: side(w1, w0), height: side(h1, h0) })
}

/// Number of bytes of entropy-coded data: up to the first marker that is neither a stuffed byte nor
/// a restart.
fn entropy_coded(bytes: &[u8]) -> Result<usize, JpegError> {
    let mut at = 0;
    while let Some(found) = bytes[at..].iter().position(|byte| *byte == 0xff) {
        match bytes.get(at + found + 1) {
            Some(0x00 | 0xd0..=0xd7) => at += found + 2,
            Some(_) => return Ok(at + found),
            None => break,
        }
    }
    Err(JpegError::Truncated("scan"))
}
