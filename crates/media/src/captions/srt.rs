//! SubRip: blocks of a number, a line with two times, and text. The format has no specification;
//! this parser accepts what players agree on, and a block without times is an error.

use super::{
    CaptionError, Cue, Lines, clock, joined, markup,
    parse_budget::{ParseBudget, Scanner},
    push, span,
};

/// The cues of a file, in file order.
pub(super) fn parse(mut lines: Lines<'_, '_, '_>) -> Result<Vec<Cue>, CaptionError> {
    let mut cues = Vec::new();
    while let Some((line, block)) = lines.block(|line| line.trim().is_empty())? {
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
        let text = without_overrides(&joined(text, line)?, lines.budget())?;
        let text = markup::clean(&text, lines.budget())?;
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

/// Removes override codes of SubStation Alpha, such as `{\an8}`.
fn without_overrides(text: &str, budget: &mut ParseBudget<'_>) -> Result<String, CaptionError> {
    let mut out = String::with_capacity(text.len());
    let mut text = Scanner::new(text, budget);
    loop {
        out.push_str(text.before(b"{")?);
        if text.peek().is_none() {
            return Ok(out);
        }
        if !text.take_if("{\\") {
            out.push_str(text.take(1));
            continue;
        }
        let inner = text.before(b"}")?;
        if text.peek().is_none() {
            // The code is not closed, so no later one can be, either.
            out.push_str("{\\");
            out.push_str(inner);
            return Ok(out);
        }
        text.take(1);
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::parse_budget::{ParseBudget, tests::assert_linear},
        without_overrides,
    };

    #[test]
    fn closed_overrides_are_removed_and_open_ones_kept() {
        for (raw, expected) in [
            ("{\\an8}Hi {\\i1}you{\\i0}", "Hi you"),
            ("{plain} {", "{plain} {"),
            ("a{\\an8 b", "a{\\an8 b"),
            ("{\\a{\\b}c", "c"),
        ] {
            assert_eq!(without_overrides(raw, &mut ParseBudget::unlimited()).unwrap(), expected);
        }
    }

    #[test]
    fn overrides_are_searched_in_time_linear_in_the_texts_length() {
        for pattern in ["{", "{\\", "{\\a", "}", "{}", "{\\}", "x{"] {
            assert_linear(pattern, without_overrides);
        }
    }
}
