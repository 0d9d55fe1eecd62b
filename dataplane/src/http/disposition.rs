//! `Content-Disposition` of downloads.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Maximum size in bytes of a file name in a header.
const NAME_BYTES_MAX: usize = 200;
/// All but attr-char of RFC 8187.
const NOT_ATTR_CHAR: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

/// The file's name, derived from the video's title (RFC 6266): in ASCII for old clients, and unchanged
/// in UTF-8.
pub(crate) fn disposition(title: &str) -> String {
    let mut name = String::new();
    for c in title.trim().chars().map(|c| if c.is_control() || "/\\".contains(c) { '_' } else { c })
    {
        if name.len() + c.len_utf8() > NAME_BYTES_MAX {
            break;
        }
        name.push(c);
    }
    let name = match name.trim_matches(['.', ' ']) {
        "" => "video",
        name => name,
    };
    let plain = |c: char| if c.is_ascii() && !"\"%;".contains(c) { c } else { '_' };
    let ascii: String = name.chars().map(plain).collect();
    let encoded = utf8_percent_encode(name, NOT_ATTR_CHAR);
    format!("attachment; filename=\"{ascii}.mp4\"; filename*=UTF-8''{encoded}.mp4")
}

#[cfg(test)]
mod tests {
    use super::disposition;

    #[test]
    fn names_are_safe_and_contain_the_title() {
        for (title, expected) in [
            ("a clip", "attachment; filename=\"a clip.mp4\"; filename*=UTF-8''a%20clip.mp4"),
            ("", "attachment; filename=\"video.mp4\"; filename*=UTF-8''video.mp4"),
            ("Größe", "attachment; filename=\"Gr__e.mp4\"; filename*=UTF-8''Gr%C3%B6%C3%9Fe.mp4"),
            (
                "../a\"b\r\nc",
                "attachment; filename=\"_a_b__c.mp4\"; filename*=UTF-8''_a%22b__c.mp4",
            ),
        ] {
            assert_eq!(disposition(title), expected, "{title:?}");
        }
        assert!(disposition(&"ü".repeat(5000)).len() < 1200);
    }
}
