//! SubRip: blocks of a number, a line with two times, and text. There is no specification; what players
//! agree on is read, and a block without times is an error.

use super::{CaptionError, Cue, Lines, clock, markup, push, span};

/// The cues of a file, as they stand in it.
pub(super) fn parse(mut lines: Lines<'_>) -> Result<Vec<Cue>, CaptionError> {
    let mut cues = Vec::new();
    while let Some((line, block)) = lines.block(|line| line.trim().is_empty()) {
        let number = |text: &str| text.trim().bytes().all(|b| b.is_ascii_digit());
        let (line, timing, text) = match &block[..] {
            [first, text @ ..] if first.contains("-->") => (line, first, text),
            [first, second, text @ ..] if number(first) && second.contains("-->") => {
                (line + 1, second, text)
            }
            _ => {
                let what = "a cue begins with its number and a line with two times";
                return Err(CaptionError::Line { line, what });
            }
        };
        let (start, end) = timings(timing, line)?;
        let text = markup::clean(&without_overrides(&text.join("\n")));
        push(&mut cues, Cue { start, end, settings: String::new(), text }, line)?;
    }
    Ok(cues)
}

fn timings(text: &str, line: usize) -> Result<(u64, u64), CaptionError> {
    let (start, rest) = text.split_once("-->").unwrap_or((text, ""));
    // Coordinates may follow.
    let end = rest.split_whitespace().next().unwrap_or_default();
    let time = |text: &str| {
        let (whole, millis) = text.trim().split_once([',', '.'])?;
        clock(whole, millis)
    };
    span((time(start), time(end)), line)
}

/// Without what SubStation Alpha left behind: `{\an8}` and its like.
fn without_overrides(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("{\\") {
        let Some(end) = rest[at..].find('}') else { break };
        out.push_str(&rest[..at]);
        rest = &rest[at + end + 1..];
    }
    out.push_str(rest);
    out
}
