//! Makes cues of a screen that changes.

use super::super::CUES_MAX;

/// Text that is added within this time, in milliseconds, belongs to the cue that is shown: captions
/// arrive two characters per picture, and a cue for each of them could not be read.
const JOIN_MS_MAX: i64 = 1000;

/// A text and the time at which it was shown, in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) start: i64,
    pub(super) end: i64,
    pub(super) text: String,
    /// Its position, in percent of the picture's height; at the bottom if absent.
    pub(super) line: Option<u32>,
}

/// The cues so far, and the text on the screen.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    past: Vec<Shown>,
    /// `end` is the time of its last change.
    current: Option<Shown>,
}

impl Timeline {
    /// Whether something is on the screen.
    pub(super) fn shows(&self) -> bool {
        self.current.is_some()
    }

    /// The screen shows `text` from `at` on. `adds`: it differs from the text before by more text only.
    pub(super) fn show(&mut self, at: i64, text: String, line: Option<u32>, adds: bool) {
        if let Some(current) = &mut self.current {
            if current.text == text {
                return;
            }
            if adds && at.saturating_sub(current.end) < JOIN_MS_MAX {
                (current.text, current.line, current.end) = (text, line, at);
                return;
            }
        }
        self.end(at);
        if !text.is_empty() {
            self.current = Some(Shown { start: at, end: at, text, line });
        }
    }

    /// The screen is empty from `at` on.
    pub(super) fn end(&mut self, at: i64) {
        let Some(current) = self.current.take() else { return };
        // One more than is allowed shows that there are too many.
        if at > current.start && self.past.len() <= CUES_MAX {
            self.past.push(Shown { end: at, ..current });
        }
    }

    /// The cues, in the order of their starts.
    pub(super) fn take(self) -> Vec<Shown> {
        self.past
    }
}

#[cfg(test)]
mod tests {
    use super::Timeline;

    #[test]
    fn text_that_grows_is_one_cue_and_a_pause_begins_another() {
        let mut timeline = Timeline::default();
        timeline.show(0, "a".to_owned(), None, true);
        timeline.show(900, "ab".to_owned(), None, true);
        timeline.show(1800, "abc".to_owned(), None, true);
        timeline.show(4000, "abcd".to_owned(), None, true);
        timeline.show(4100, "new".to_owned(), Some(5), false);
        timeline.show(5000, String::new(), None, false);
        timeline.end(6000);
        let cues: Vec<(i64, i64, String)> =
            timeline.take().into_iter().map(|cue| (cue.start, cue.end, cue.text)).collect();
        let expected = [(0, 4000, "abc"), (4000, 4100, "abcd"), (4100, 5000, "new")]
            .map(|(a, b, text)| (a, b, text.to_owned()));
        assert_eq!(cues, expected);
    }
}
