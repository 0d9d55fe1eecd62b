//! Lengths of files and functions.

use crate::code;

/// Lines of a file.
const FILE_LINES_MAX: usize = 400;
/// Lines of a function without blank lines and comments; clippy enforces the same limit.
const FUNCTION_LINES_MAX: usize = 70;

#[test]
fn every_file_has_a_header_and_stays_short() {
    for (path, text) in code() {
        let path = path.display();
        assert!(text.starts_with("//!"), "{path} does not begin with //!");
        let lines = text.lines().count();
        assert!(lines <= FILE_LINES_MAX, "{path} has {lines} lines");
    }
}

#[test]
fn functions_stay_short() {
    for (path, text) in code() {
        for (name, lines) in functions(&text) {
            assert!(lines <= FUNCTION_LINES_MAX, "{}: {name} has {lines} lines", path.display());
        }
    }
}

/// Functions and their line counts, by indentation: rustfmt closes each function at the column
/// where it began.
fn functions(text: &str) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    let mut open: Vec<(usize, String, usize)> = Vec::new();
    for line in text.lines() {
        let trimmed = line.trim_start();
        let indent = line.len() - trimmed.len();
        if trimmed.is_empty() || trimmed.starts_with("//") {
            continue;
        }
        open.iter_mut().for_each(|(_, _, lines)| *lines += 1);
        if open.last().is_some_and(|(at, _, _)| *at == indent) && trimmed.starts_with('}') {
            let (_, name, lines) = open.pop().expect("an open function");
            found.push((name, lines.saturating_sub(1)));
        }
        let Some((before, after)) = trimmed.split_once("fn ") else { continue };
        let mut words = before.split_whitespace();
        let declared =
            words.all(|word| matches!(word, "const" | "async") || word.starts_with("pub"));
        if declared && !trimmed.ends_with(['}', ';']) {
            let name = after.split(['(', '<']).next().unwrap_or(after);
            open.push((indent, name.to_owned(), 0));
        }
    }
    found
}

#[test]
fn function_lengths_are_counted() {
    let text = "impl X {\n    pub(crate) fn one(&self) {\n        a();\n\n        // why\n        b();\n    }\n}\nfn two(\n    a: u8,\n) -> u8 {\n    a\n}\n";
    assert_eq!(functions(text), [("one".to_owned(), 2), ("two".to_owned(), 3)]);
}
