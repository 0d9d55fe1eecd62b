//! The fields of ffprobe's compact lines.

/// The value of a field of ffprobe's compact lines.
pub(super) fn value<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    line.split('|').find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
}

/// The same as an integer.
pub(super) fn field(line: &str, name: &str) -> Option<i64> {
    value(line, name)?.trim().parse().ok()
}
