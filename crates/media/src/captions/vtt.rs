//! Strict WebVTT (W3C): every block is a cue, a comment, a style or a region. Styles, regions and
//! cue names are removed.

use super::{CaptionError, Cue, Lines, clock, joined, markup, push, span};

/// The cue settings that are kept; `region` is not among them.
const SETTINGS: [&str; 5] = ["vertical", "line", "position", "size", "align"];
const SETTING_BYTES_MAX: usize = 32;

/// The cues of a file, in file order. In a `loose` file, a block that is not valid WebVTT belongs
/// to the text of the cue before it.
pub(super) fn parse(mut lines: Lines<'_, '_, '_>, loose: bool) -> Result<Vec<Cue>, CaptionError> {
    let rest = lines.next()?.and_then(|line| line.strip_prefix("WEBVTT"));
    if !rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t'])) {
        return Err(CaptionError::Header);
    }
    // The header extends to the first empty line.
    while let Some(line) = lines.next()? {
        if line.is_empty() {
            break;
        }
        if line.contains("-->") {
            let what = "the first cue must follow an empty line";
            return Err(CaptionError::Line { line: lines.number, what });
        }
    }
    let mut cues = Vec::new();
    while let Some((line, block)) = lines.block(str::is_empty)? {
        match read(line, &block, &mut lines) {
            Ok(None) => {}
            Ok(Some(cue)) => push(&mut cues, cue, line)?,
            Err(error) if !loose || error == CaptionError::Late => return Err(error),
            Err(error) => {
                let mut cue = cues.pop().ok_or(error)?;
                let more = markup::clean(&joined(&block, line)?, lines.budget())?;
                if !cue.text.is_empty() && !more.is_empty() {
                    cue.text.push('\n');
                }
                cue.text.push_str(&more);
                push(&mut cues, cue, line)?;
            }
        }
    }
    Ok(cues)
}

/// The cue of a block; `None` if it is another valid kind of block.
fn read(
    line: usize,
    block: &[&str],
    lines: &mut Lines<'_, '_, '_>,
) -> Result<Option<Cue>, CaptionError> {
    let Some((line, timing, text)) = cue(line, block)? else { return Ok(None) };
    let (start, end, settings) = timings(timing, line)?;
    let text = markup::clean(&joined(text, line)?, lines.budget())?;
    Ok(Some(Cue { start, end, settings, text }))
}

type Found<'a> = (usize, &'a str, &'a [&'a str]);

/// If the block is a cue, the number and text of its line with the times, and the lines after it.
fn cue<'a>(line: usize, block: &'a [&'a str]) -> Result<Option<Found<'a>>, CaptionError> {
    let timing = |line: &str| line.contains("-->");
    match block {
        [first, text @ ..] if timing(first) => Ok(Some((line, first, text))),
        [_, second, text @ ..] if timing(second) => Ok(Some((line + 1, second, text))),
        [first, ..] => {
            let word = first.split([' ', '\t']).next().unwrap_or_default();
            if ["NOTE", "STYLE", "REGION"].contains(&word) {
                return Ok(None);
            }
            Err(CaptionError::Line { line, what: "this is neither a cue nor a comment" })
        }
        [] => Ok(None),
    }
}

fn timings(text: &str, line: usize) -> Result<(u64, u64, String), CaptionError> {
    let (start, rest) = text.split_once("-->").unwrap_or((text, ""));
    let rest = rest.trim_start();
    let (end, settings) = rest.split_once(|c: char| c.is_whitespace()).unwrap_or((rest, ""));
    let time = |text: &str| {
        let (whole, millis) = text.trim().split_once('.')?;
        clock(whole, millis).filter(|_| millis.len() == 3)
    };
    let (start, end) = span((time(start), time(end)), line)?;
    Ok((start, end, supported_settings(settings)))
}

/// The known settings with plain values, each at most once.
fn supported_settings(settings: &str) -> String {
    let mut kept: Vec<(&str, &str)> = Vec::new();
    for (name, value) in settings.split_whitespace().filter_map(|part| part.split_once(':')) {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"%.,-".contains(&b);
        let good = (1..=SETTING_BYTES_MAX).contains(&value.len()) && value.bytes().all(plain);
        let known = SETTINGS.contains(&name) && kept.iter().all(|(other, _)| *other != name);
        if good && known {
            kept.push((name, value));
        }
    }
    let written: Vec<String> = kept.iter().map(|(name, value)| format!("{name}:{value}")).collect();
    written.join(" ")
}
