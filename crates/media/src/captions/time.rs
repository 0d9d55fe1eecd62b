//! The times of cues: parsed, checked and written.

use super::CaptionError;

/// `hh:mm:ss.ttt`, with more digits for the hours if necessary.
pub(super) fn timestamp(millis: u64) -> String {
    let (seconds, millis) = (millis / 1000, millis % 1000);
    format!("{:02}:{:02}:{:02}.{millis:03}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// The start and end of a cue.
pub(super) fn span(
    times: (Option<u64>, Option<u64>),
    line: usize,
) -> Result<(u64, u64), CaptionError> {
    match times {
        (Some(start), Some(end)) if start <= end => Ok((start, end)),
        (Some(_), Some(_)) => {
            Err(CaptionError::Line { line, what: "the cue ends before it begins" })
        }
        _ => Err(CaptionError::Line { line, what: "this is not a valid cue time" }),
    }
}

/// Milliseconds of `[h…:]mm:ss` and a fraction of up to three digits; at most four digits for the hours.
pub(super) fn clock(whole: &str, millis: &str) -> Option<u64> {
    let digits = |text: &str, most: usize| {
        let good = (1..=most).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        if good { text.parse::<u64>().ok() } else { None }
    };
    let mut parts = whole.rsplit(':');
    let seconds = digits(parts.next()?, 2).filter(|s| *s < 60)?;
    let minutes = digits(parts.next()?, 2).filter(|m| *m < 60)?;
    let hours = parts.next().map_or(Some(0), |hours| digits(hours, 4))?;
    if parts.next().is_some() {
        return None;
    }
    let millis = digits(millis, 3)? * 10_u64.pow(3 - millis.len() as u32);
    Some(((hours * 60 + minutes) * 60 + seconds) * 1000 + millis)
}
