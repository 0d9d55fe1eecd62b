//! SubRip: blocks of a number, a line with two times, and text. The format has no specification;
//! this parser accepts what players agree on: a line with two times begins a cue, a number before it
//! is the cue's, and all other lines are text of the cue, also behind an empty line. Text before the
//! first cue is an error, and so is a cue that is recognizably meant but has no valid times.

use super::{
    CaptionError, Cue, Lines, clock, joined, markup,
    parse_budget::{ParseBudget, Scanner},
    push, span,
};

/// The cues of a file, in file order.
pub(super) fn parse(mut lines: Lines<'_, '_, '_>) -> Result<Vec<Cue>, CaptionError> {
    let mut reader = Reader::default();
    while let Some(line) = lines.next()? {
        let number = lines.number;
        match times(line) {
            Some(times) => reader.begin(times, number, &mut lines)?,
            None => reader.text(line, number)?,
        }
    }
    if let Some(count) = reader.count.take() {
        reader.append_count(&count)?;
    }
    reader.close(&mut lines)?;
    Ok(reader.cues)
}

#[derive(Default)]
struct Reader<'t> {
    cues: Vec<Cue>,
    /// The cue to which text belongs.
    open: Option<OpenCue<'t>>,
    /// The last line, if it is a number: the next cue's if a line with times follows, otherwise text.
    count: Option<Count<'t>>,
    /// Whether the last line belongs to a cue, so that the next one is not the start of a block.
    in_cue: bool,
}

/// A cue whose end has not been reached.
struct OpenCue<'t> {
    /// The number of the line with its times.
    line: usize,
    count: Option<u64>,
    start: u64,
    end: u64,
    text: Vec<&'t str>,
}

/// A line that is a number.
struct Count<'t> {
    text: &'t str,
    /// The line's own number.
    line: usize,
    /// It begins a block and follows the count of the last cue, so it cannot be text.
    due: bool,
}

impl Count<'_> {
    fn value(&self) -> Option<u64> {
        self.text.trim().parse().ok()
    }
}

impl<'t> Reader<'t> {
    /// Reads a line with two times.
    fn begin(
        &mut self,
        times: (u64, u64),
        line: usize,
        lines: &mut Lines<'t, '_, '_>,
    ) -> Result<(), CaptionError> {
        self.close(lines)?;
        let count = self.count.take().and_then(|count| count.value());
        let (start, end) = span((Some(times.0), Some(times.1)), line)?;
        self.open = Some(OpenCue { line, count, start, end, text: Vec::new() });
        self.in_cue = true;
        Ok(())
    }

    /// Reads any other line.
    fn text(&mut self, text: &'t str, line: usize) -> Result<(), CaptionError> {
        let blank = text.trim().is_empty();
        if !self.in_cue && (text.contains("-->") || resembles_times(text)) {
            return span((None, None), line).map(drop);
        }
        match self.count.take() {
            // Some writers leave an empty line between a cue's number and its times.
            Some(count) if count.due && blank => self.count = Some(count),
            Some(count) => self.append_count(&count)?,
            None => {}
        }
        let digits = text.trim().bytes().all(|byte| byte.is_ascii_digit());
        if !blank && digits && self.count.is_none() {
            let due = !self.in_cue && self.is_due(text);
            self.count = Some(Count { text, line, due });
        } else if !blank {
            self.append(text, line)?;
            self.in_cue = true;
        } else {
            self.in_cue = false;
        }
        Ok(())
    }

    /// Whether the number is the one after the last cue's; before the first cue, any number is.
    fn is_due(&self, text: &str) -> bool {
        let Some(cue) = &self.open else { return true };
        let next = cue.count.and_then(|count| count.checked_add(1));
        next.is_some() && next == text.trim().parse().ok()
    }

    /// A number that is followed by neither times nor the end of its block is text.
    fn append_count(&mut self, count: &Count<'t>) -> Result<(), CaptionError> {
        if count.due { Err(stray(count.line)) } else { self.append(count.text, count.line) }
    }

    fn append(&mut self, text: &'t str, line: usize) -> Result<(), CaptionError> {
        self.open.as_mut().ok_or_else(|| stray(line))?.text.push(text);
        Ok(())
    }

    /// Ends the open cue.
    fn close(&mut self, lines: &mut Lines<'t, '_, '_>) -> Result<(), CaptionError> {
        let Some(OpenCue { line, start, end, text, .. }) = self.open.take() else { return Ok(()) };
        let text = without_overrides(&joined(&text, line)?, lines.budget())?;
        let text = markup::clean(&text, lines.budget())?;
        push(&mut self.cues, Cue { start, end, settings: String::new(), text }, line)
    }
}

fn stray(line: usize) -> CaptionError {
    let what = "a cue begins with its number and a line with two times";
    CaptionError::Line { line, what }
}

/// The two times of a line, if they are valid.
fn times(line: &str) -> Option<(u64, u64)> {
    let (start, rest) = line.split_once("-->")?;
    // Coordinates may follow.
    let end = rest.split_whitespace().next()?;
    let time = |text: &str| {
        let (whole, millis) = text.trim().split_once([',', '.'])?;
        clock(whole, millis)
    };
    Some((time(start)?, time(end)?))
}

/// Whether a line begins like a time with hours.
fn resembles_times(line: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let mut parts = line.trim_start().splitn(3, ':');
    let whole = parts.by_ref().take(2).filter(|part| digits(part)).count() == 2;
    whole && parts.next().is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
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
