//! Writes to standard output. Write errors are returned, so that a closed pipe ends the command
//! quietly instead of with a panic.

use std::{
    io::{self, Write},
    os::unix::ffi::OsStrExt,
    path::Path,
};

use serde_json::Value;

/// Prints one line.
pub(crate) fn line(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

/// Prints an indented JSON value, readable for people and programs.
pub(crate) fn json(value: &Value) -> io::Result<()> {
    line(&format!("{value:#}"))
}

/// Prints a JSON value on one line, for streams of values.
pub(crate) fn json_line(value: &Value) -> io::Result<()> {
    line(&value.to_string())
}

/// Prints aligned columns below their titles.
pub(crate) fn table(titles: &[&str], rows: &[Vec<String>]) -> io::Result<()> {
    let titles = titles.iter().map(|title| (*title).to_owned()).collect::<Vec<_>>();
    let mut widths = vec![0; titles.len()];
    for row in std::iter::once(&titles).chain(rows) {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    for row in std::iter::once(&titles).chain(rows) {
        let mut text = String::new();
        for (width, cell) in widths.iter().zip(row) {
            text.push_str(&format!("{cell:<width$}  "));
        }
        line(text.trim_end())?;
    }
    Ok(())
}

/// Makes untrusted text safe to print: one line, no control characters.
pub(crate) fn one_line(text: &str) -> String {
    let clean = text.replace(|c: char| c.is_control(), " ");
    clean.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// `s`, in single quotes if the shell needs them.
pub(crate) fn shell_word(s: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-=:@%+,".contains(c);
    if !s.is_empty() && s.chars().all(plain) {
        return s.to_owned();
    }
    format!("'{}'", s.replace('\'', r"'\''"))
}

/// A path as a word of a shell. One that is not text, or contains control characters, is written in
/// the quoted form of bash and zsh.
pub(crate) fn shell_path(path: &Path) -> String {
    match path.to_str().filter(|text| !text.chars().any(char::is_control)) {
        Some(text) => shell_word(text),
        None => {
            let escape = |byte: &u8| match byte {
                b'\'' | b'\\' => format!("\\{}", char::from(*byte)),
                b' '..=b'~' => char::from(*byte).to_string(),
                _ => format!("\\{byte:03o}"),
            };
            let text: String = path.as_os_str().as_bytes().iter().map(escape).collect();
            format!("$'{text}'")
        }
    }
}

/// The message of the innermost cause: "connection refused" rather than "transport error".
pub(crate) fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    one_line(&innermost.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_with_spaces_or_quotes_are_quoted() {
        assert_eq!(shell_word("/tmp/a.mp4"), "/tmp/a.mp4");
        assert_eq!(shell_word("/tmp/a b"), "'/tmp/a b'");
        assert_eq!(shell_word("it's"), r"'it'\''s'");
        assert_eq!(shell_word(""), "''");
    }

    #[test]
    fn a_shell_reads_quoted_paths_unchanged() {
        use std::{ffi::OsStr, os::unix::ffi::OsStrExt, path::Path, process::Command};
        for name in [&b"/a b/c"[..], b"/it's", b"/\xff\\'\n $x", "/Größe".as_bytes()] {
            let word = super::shell_path(Path::new(OsStr::from_bytes(name)));
            let echo = format!("printf %s {word}");
            let printed = Command::new("bash").args(["-c", &echo]).output().unwrap().stdout;
            assert_eq!(printed, name, "{word}");
        }
    }

    #[test]
    fn control_characters_and_line_breaks_are_removed() {
        assert_eq!(one_line("a\nb\u{1b}[31m  c"), "a b [31m c");
    }
}
