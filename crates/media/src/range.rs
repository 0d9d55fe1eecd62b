//! The `Range` header (RFC 9110, section 14): one byte range of a representation of known size.
//!
//! A response never has several parts: a request for more than one range gets the whole
//! representation, which RFC 9110 allows; players never request several ranges.

/// A byte range of a representation; never empty and never past its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteRange {
    /// Offset of the first byte.
    pub start: u64,
    /// Offset of the last byte; at least `start`.
    pub end_inclusive: u64,
}

impl ByteRange {
    /// Number of bytes.
    #[expect(clippy::len_without_is_empty, reason = "a range is never empty")]
    pub const fn len(&self) -> u64 {
        self.end_inclusive - self.start + 1
    }

    /// The value of `Content-Range` for a representation of `size` bytes.
    pub fn content_range(&self, size: u64) -> String {
        format!("bytes {}-{}/{size}", self.start, self.end_inclusive)
    }
}

/// The response that a `Range` header calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeOutcome {
    /// 200 with everything: the header is malformed, has another unit, or requests several parts.
    Whole,
    /// 206 with one range.
    Part(ByteRange),
    /// 416.
    Unsatisfiable,
}

/// Parses the value of a `Range` header for a representation of `size` bytes.
pub fn parse(header: &str, size: u64) -> RangeOutcome {
    let Some((unit, set)) = header.split_once('=') else { return RangeOutcome::Whole };
    // No blank is allowed before the equals sign (RFC 9110, section 14.1).
    if !unit.eq_ignore_ascii_case("bytes") {
        return RangeOutcome::Whole;
    }
    // A list may have empty elements (RFC 9110, section 5.6.1).
    let mut specs = set.split(',').map(|s| s.trim_matches([' ', '\t'])).filter(|s| !s.is_empty());
    let (Some(spec), None) = (specs.next(), specs.next()) else { return RangeOutcome::Whole };
    let Some((first, last)) = spec.split_once('-') else { return RangeOutcome::Whole };
    match (position(first), position(last)) {
        (Ok(None), Ok(Some(suffix))) => from_suffix(suffix, size),
        (Ok(Some(first)), Ok(last)) => from_first(first, last, size),
        _ => RangeOutcome::Whole,
    }
}

fn from_suffix(suffix: u64, size: u64) -> RangeOutcome {
    match (suffix, size) {
        (0, _) => RangeOutcome::Unsatisfiable,
        // Satisfiable, but `Content-Range` cannot express an empty range.
        (_, 0) => RangeOutcome::Whole,
        _ => RangeOutcome::Part(ByteRange {
            start: size.saturating_sub(suffix),
            end_inclusive: size - 1,
        }),
    }
}

fn from_first(first: u64, last: Option<u64>, size: u64) -> RangeOutcome {
    if last.is_some_and(|last| last < first) {
        return RangeOutcome::Whole;
    }
    if first >= size {
        return RangeOutcome::Unsatisfiable;
    }
    let end_inclusive = last.map_or(size - 1, |last| last.min(size - 1));
    RangeOutcome::Part(ByteRange { start: first, end_inclusive })
}

/// Parses a run of digits, which may be empty. A number too large for u64 is past every end.
fn position(text: &str) -> Result<Option<u64>, ()> {
    if text.is_empty() {
        return Ok(None);
    }
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(());
    }
    Ok(Some(text.parse().unwrap_or(u64::MAX)))
}
