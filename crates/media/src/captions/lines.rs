//! Reads a file line by line, and in blocks separated by empty lines.

use super::{CUE_SOURCE_BYTES_MAX, CaptionError, parse_budget::ParseBudget};

/// The lines of a file, with their numbers.
pub(super) struct Lines<'t, 'e, 'a> {
    lines: std::str::Split<'t, char>,
    pub(super) number: usize,
    budget: &'e mut ParseBudget<'a>,
}

impl<'t, 'e, 'a> Lines<'t, 'e, 'a> {
    pub(super) fn new(text: &'t str, budget: &'e mut ParseBudget<'a>) -> Self {
        Self { lines: text.split('\n'), number: 0, budget }
    }

    pub(super) fn budget(&mut self) -> &mut ParseBudget<'a> {
        self.budget
    }

    pub(super) fn next(&mut self) -> Result<Option<&'t str>, CaptionError> {
        self.number += 1;
        let line = self.lines.next();
        // Each byte is visited twice: in the search for the line's end and in one search within the
        // line.
        self.budget.spend(line.map_or(0, |line| 2 * (line.len() + 1)))?;
        Ok(line)
    }

    /// The lines up to the next one that ends a block, with the number of the first one; `None` at
    /// the end of the file.
    pub(super) fn block(
        &mut self,
        blank: fn(&str) -> bool,
    ) -> Result<Option<Block<'t>>, CaptionError> {
        let first = loop {
            match self.next()? {
                None => return Ok(None),
                Some(line) if line.trim().is_empty() => {}
                Some(line) => break line,
            }
        };
        let (number, mut block) = (self.number, vec![first]);
        while let Some(line) = self.next()?.filter(|line| !blank(line)) {
            block.push(line);
        }
        Ok(Some((number, block)))
    }
}

/// The number of a block's first line, and its lines.
pub(super) type Block<'t> = (usize, Vec<&'t str>);

/// Joins the text lines of the cue at `line`; an error if they are too long to be parsed.
pub(super) fn joined(text: &[&str], line: usize) -> Result<String, CaptionError> {
    let bytes: usize = text.iter().map(|line| line.len() + 1).sum();
    if bytes > CUE_SOURCE_BYTES_MAX {
        return Err(too_long(line));
    }
    Ok(text.join("\n"))
}

pub(super) fn too_long(line: usize) -> CaptionError {
    CaptionError::Line { line, what: "the text of this cue is too long" }
}
