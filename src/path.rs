//! Paths of files in messages, whose strings are UTF-8, while a path need not be.

use std::{
    ffi::OsString,
    fmt::Write,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

/// Prefix of an encoded path, which is not UTF-8; a path that is UTF-8 begins with a slash.
const ENCODED: &str = "file://";

/// The text from which [`read`] restores the path: the path itself if it is UTF-8, else
/// percent-encoded.
pub fn text(path: &Path) -> String {
    if let Some(text) = path.to_str() {
        return text.to_owned();
    }
    let mut text = ENCODED.to_owned();
    for &byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/._-".contains(&byte) {
            text.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

/// Restores the path that was passed to [`text`].
pub fn read(text: &str) -> PathBuf {
    let Some(encoded) = text.strip_prefix(ENCODED) else { return PathBuf::from(text) };
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.as_bytes();
    while let [first, after @ ..] = rest {
        let value = match (first, after) {
            (b'%', [high, low, ..]) => digit(*high).zip(digit(*low)),
            _ => None,
        };
        match value {
            Some((high, low)) => {
                bytes.push(high << 4 | low);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

fn digit(letter: u8) -> Option<u8> {
    char::from(letter).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn every_path_is_read_back() {
        let names: [&[u8]; 6] =
            [b"/a/b c", b"/a%20b", "/Größe".as_bytes(), b"/\xff\xfe%41 ,", b"/\xff%", b"relative"];
        for name in names {
            let path = Path::new(OsStr::from_bytes(name));
            assert_eq!(read(&text(path)), path, "{name:?}");
        }
        assert_eq!(text(Path::new("/a%20b")), "/a%20b");
        assert_eq!(text(Path::new(OsStr::from_bytes(b"/a\xff"))), "file:///a%FF");
    }
}
