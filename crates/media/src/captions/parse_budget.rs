//! The cost of parsing a text, counted in visited bytes, and its limit.
//!
//! Parsers read a text only through a [`Scanner`], which counts, so that a search that visits the
//! same bytes again and again is always noticed.

use super::CaptionError;

/// Bytes visited between two checks of the time limit.
const LOOK_BYTES: u64 = 64 << 10;

/// The cost of parsing a text so far, and whether parsing may continue.
pub struct ParseBudget<'a> {
    visited: u64,
    next_look: u64,
    is_late: &'a dyn Fn() -> bool,
}

impl std::fmt::Debug for ParseBudget<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ParseBudget").field("visited", &self.visited).finish_non_exhaustive()
    }
}

impl<'a> ParseBudget<'a> {
    /// Parsing ends with [`CaptionError::Late`] soon after `is_late` returns true.
    pub fn until(is_late: &'a dyn Fn() -> bool) -> Self {
        Self { visited: 0, next_look: LOOK_BYTES, is_late }
    }

    /// Creates an effort without a deadline or limit.
    pub fn unlimited() -> Self {
        Self::until(&|| false)
    }

    /// The number of visited bytes; a byte that is visited twice counts twice.
    pub const fn visited(&self) -> u64 {
        self.visited
    }

    pub(super) fn spend(&mut self, bytes: usize) -> Result<(), CaptionError> {
        self.visited += bytes as u64;
        if self.visited < self.next_look {
            return Ok(());
        }
        self.next_look = self.visited + LOOK_BYTES;
        if (self.is_late)() { Err(CaptionError::Late) } else { Ok(()) }
    }
}

/// A text that is read from its front. All text that it returns has been counted.
pub(super) struct Scanner<'t, 'e, 'a> {
    rest: &'t str,
    budget: &'e mut ParseBudget<'a>,
}

impl<'t, 'e, 'a> Scanner<'t, 'e, 'a> {
    pub(super) fn new(text: &'t str, budget: &'e mut ParseBudget<'a>) -> Self {
        Self { rest: text, budget }
    }

    /// The next byte; `None` at the end.
    pub(super) fn peek(&self) -> Option<u8> {
        self.rest.bytes().next()
    }

    /// Takes the text before the first of `stops`, which are ASCII; all of it if none occurs.
    pub(super) fn before(&mut self, stops: &[u8]) -> Result<&'t str, CaptionError> {
        let end = self.find(0, self.rest.len(), stops)?.unwrap_or(self.rest.len());
        Ok(self.take(end))
    }

    /// The text between the next `skip` bytes and the first of `stops`, and that stop, if it is
    /// among the `most` bytes after the skipped ones. Takes nothing.
    pub(super) fn ahead(
        &mut self,
        skip: usize,
        most: usize,
        stops: &[u8],
    ) -> Result<Option<(&'t str, u8)>, CaptionError> {
        let Some(end) = self.find(skip, most, stops)? else { return Ok(None) };
        let between = self.rest.get(skip..end);
        Ok(between.zip(self.rest.as_bytes().get(end).copied()))
    }

    /// Takes this many bytes, which must end at a character boundary.
    pub(super) fn take(&mut self, bytes: usize) -> &'t str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.rest = rest;
        taken
    }

    /// Takes `prefix` if the text begins with it.
    pub(super) fn take_if(&mut self, prefix: &str) -> bool {
        let rest = self.rest.strip_prefix(prefix);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// The counter, for parsing a part of the returned text.
    pub(super) fn budget(&mut self) -> &mut ParseBudget<'a> {
        self.budget
    }

    fn find(
        &mut self,
        skip: usize,
        most: usize,
        stops: &[u8],
    ) -> Result<Option<usize>, CaptionError> {
        let bytes = self.rest.as_bytes().get(skip..).unwrap_or_default();
        let looked = &bytes[..most.min(bytes.len())];
        let found = looked.iter().position(|byte| stops.contains(byte));
        self.budget.spend(found.map_or(looked.len(), |at| at + 1))?;
        Ok(found.map(|at| skip + at))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::{CaptionError, ParseBudget};

    /// Checks that doubling the text at most doubles the cost, and that each byte is visited only a
    /// few times.
    #[track_caller]
    pub(in super::super) fn assert_linear<T>(
        pattern: &str,
        read: impl Fn(&str, &mut ParseBudget<'_>) -> Result<T, CaptionError>,
    ) {
        let mut before: Option<u64> = None;
        for doubled in 12..18 {
            let text = pattern.repeat((1 << doubled) / pattern.len());
            let mut budget = ParseBudget::unlimited();
            let _refused_or_not = read(&text, &mut budget);
            let visited = budget.visited();
            assert!(visited <= 5 * text.len() as u64, "{pattern:?}: {visited} of {}", text.len());
            if let Some(before) = before.replace(visited) {
                assert!(visited <= 2 * before + 1024, "{pattern:?}: {before}, then {visited}");
            }
        }
    }

    #[test]
    fn parsing_ends_soon_after_its_deadline() {
        let mut budget = ParseBudget::until(&|| true);
        let mut spent = 0;
        while budget.spend(1).is_ok() {
            spent += 1;
        }
        assert_eq!(spent + 1, super::LOOK_BYTES);
    }
}
