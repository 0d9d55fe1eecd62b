//! Rewrites the text of cues: markup that WebVTT allows stays, everything else is escaped or
//! removed. The output contains a `<` only where one of the tags written here begins.

use super::{
    CaptionError,
    parse_budget::{ParseBudget, Scanner},
};

/// Tags without an annotation.
const PLAIN: [&str; 5] = ["b", "i", "u", "ruby", "rt"];
/// Tags with an annotation: a speaker or a language.
const SPOKEN: [&str; 2] = ["v", "lang"];
const DEPTH_MAX: usize = 8;
const TAG_BYTES_MAX: usize = 256;
const ENTITY_BYTES_MAX: usize = 10;
const WORD_CHARS_MAX: usize = 64;

/// Rewrites the text of a cue; the result is empty if the text shows nothing.
///
/// Every byte is visited at most three times: the search for the end of a tag or character
/// reference stops where another one may begin.
pub(super) fn clean(raw: &str, budget: &mut ParseBudget<'_>) -> Result<String, CaptionError> {
    let mut out = Writer::default();
    let mut text = Scanner::new(raw, budget);
    loop {
        out.text(text.before(b"<>&")?);
        let Some(first) = text.peek() else { return Ok(out.finish()) };
        let taken = match first {
            b'<' => tag(&mut text)?.map(|(tag, bytes)| {
                out.tag(&tag);
                bytes
            }),
            b'&' => entity(&mut text)?.map(|(c, bytes)| {
                out.character(c);
                bytes
            }),
            _ => None,
        };
        match taken {
            Some(bytes) => drop(text.take(bytes)),
            None => out.text(text.take(1)),
        }
    }
}

/// The meaning of the text between `<` and `>`.
enum Tag {
    Open(&'static str, String),
    Close(&'static str),
    /// A known or unknown tag that is removed.
    Dropped,
}

#[derive(Default)]
struct Writer {
    out: String,
    open: Vec<&'static str>,
    shows: bool,
}

impl Writer {
    fn text(&mut self, text: &str) {
        for c in text.chars() {
            self.character(c);
        }
    }

    fn character(&mut self, c: char) {
        if c.is_control() && c != '\n' && c != '\t' {
            return;
        }
        self.shows |= !c.is_whitespace();
        push_escaped(&mut self.out, c);
    }

    fn tag(&mut self, tag: &Tag) {
        match tag {
            Tag::Dropped => {}
            Tag::Open("rt", _) if !self.open.contains(&"ruby") => {}
            Tag::Open(..) if self.open.len() >= DEPTH_MAX => {}
            Tag::Open(name, word) => {
                let gap = if word.is_empty() { "" } else { " " };
                self.out.push_str(&format!("<{name}{gap}{word}>"));
                self.open.push(name);
            }
            Tag::Close(name) => {
                if self.open.contains(name) {
                    while self.close().is_some_and(|closed| closed != *name) {}
                }
            }
        }
    }

    fn close(&mut self) -> Option<&'static str> {
        let name = self.open.pop()?;
        self.out.push_str(&format!("</{name}>"));
        Some(name)
    }

    fn finish(mut self) -> String {
        while self.close().is_some() {}
        if !self.shows {
            return String::new();
        }
        // An empty line would end the cue.
        let lines = self.out.lines().map(str::trim_end).filter(|line| !line.is_empty());
        lines.collect::<Vec<_>>().join("\n")
    }
}

fn push_escaped(out: &mut String, c: char) {
    match c {
        '&' => out.push_str("&amp;"),
        '<' => out.push_str("&lt;"),
        '>' => out.push_str("&gt;"),
        c => out.push(c),
    }
}

/// The tag at the start of `text` and its length; `None` if the `<` is literal text.
fn tag(text: &mut Scanner<'_, '_, '_>) -> Result<Option<(Tag, usize)>, CaptionError> {
    let Some((inner, b'>')) = text.ahead(1, TAG_BYTES_MAX, b"<>")? else { return Ok(None) };
    let tag = read_tag(inner, text.budget())?;
    Ok(tag.map(|tag| (tag, inner.len() + 2)))
}

/// Parses a tag's text of at most [`TAG_BYTES_MAX`] bytes; `None` if it is not a tag.
fn read_tag(inner: &str, budget: &mut ParseBudget<'_>) -> Result<Option<Tag>, CaptionError> {
    let Some(first) = inner.bytes().next() else { return Ok(None) };
    let known = |name: &str| {
        let name = name.to_ascii_lowercase();
        PLAIN.iter().chain(&SPOKEN).copied().find(|known| *known == name)
    };
    let tag = match first {
        b'/' => known(inner[1..].trim()).map_or(Tag::Dropped, Tag::Close),
        // A timestamp within the cue.
        b'0'..=b'9' if inner.bytes().all(|b| b.is_ascii_digit() || b == b':' || b == b'.') => {
            Tag::Dropped
        }
        b'a'..=b'z' | b'A'..=b'Z' => {
            let (head, word) = inner.split_once(|c: char| c.is_whitespace()).unwrap_or((inner, ""));
            let name = head.split(['.', '/']).next().unwrap_or_default();
            match known(name) {
                Some(name) if PLAIN.contains(&name) => Tag::Open(name, String::new()),
                Some(name) => {
                    let word = words(word, budget)?;
                    if word.is_empty() { Tag::Dropped } else { Tag::Open(name, word) }
                }
                None => Tag::Dropped,
            }
        }
        _ => return Ok(None),
    };
    Ok(Some(tag))
}

/// The annotation, a speaker's name or a language, as plain text on one line.
fn words(raw: &str, budget: &mut ParseBudget<'_>) -> Result<String, CaptionError> {
    let mut plain = String::new();
    let mut text = Scanner::new(raw, budget);
    loop {
        plain.push_str(text.before(b"&")?);
        if text.peek().is_none() {
            break;
        }
        match entity(&mut text)? {
            Some((c, bytes)) => {
                plain.push(c);
                text.take(bytes);
            }
            None => plain.push_str(text.take(1)),
        }
    }
    let plain = plain.replace(char::is_control, " ");
    let mut out = String::new();
    let words: Vec<&str> = plain.split_whitespace().collect();
    for c in words.join(" ").chars().take(WORD_CHARS_MAX).collect::<String>().trim().chars() {
        push_escaped(&mut out, c);
    }
    Ok(out)
}

/// The character reference at the start of `text` and its length.
fn entity(text: &mut Scanner<'_, '_, '_>) -> Result<Option<(char, usize)>, CaptionError> {
    let Some((name, b';')) = text.ahead(1, ENTITY_BYTES_MAX, b";&<>")? else { return Ok(None) };
    Ok(character(name).map(|c| (c, name.len() + 2)))
}

/// The character that a reference names.
fn character(name: &str) -> Option<char> {
    match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        "nbsp" => Some('\u{a0}'),
        "lrm" => Some('\u{200e}'),
        "rlm" => Some('\u{200f}'),
        _ => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(code)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::parse_budget::tests::assert_linear, ParseBudget, clean};

    #[test]
    fn markup_is_read_in_time_linear_in_its_length() {
        for pattern in [
            "<",
            "<a",
            "</",
            "</b",
            "<b>",
            "<v x",
            "<v x>",
            "<v &",
            "<v &amp",
            "<v &amp;>",
            "<rt>",
            "<é",
            "<1:",
            "<lang en",
            "<ruby><rt>",
            "&",
            "&a",
            "&#",
            "&amp",
            "&amp;",
            "<&",
            "&<",
            ">",
            "x",
            "\n",
            "<b",
        ] {
            assert_linear(pattern, clean);
        }
    }

    #[test]
    fn only_harmless_markup_is_left() {
        for (raw, expected) in [
            ("plain", "plain"),
            ("<b>bold</b> <i.loud>x</i>", "<b>bold</b> <i>x</i>"),
            ("<c.red>red</c>", "red"),
            ("<script>alert(1)</script>", "alert(1)"),
            ("<img src=x onerror=alert(1)>", ""),
            ("<scr<script>ipt>x", "&lt;script&gt;x"),
            ("a < b && c > d", "a &lt; b &amp;&amp; c &gt; d"),
            ("I <3 you", "I &lt;3 you"),
            (
                "AT&T &amp; &lt;b&gt; &#60;i&#62; &bogus;",
                "AT&amp;T &amp; &lt;b&gt; &lt;i&gt; &amp;bogus;",
            ),
            ("<v Bob & <Ann>hi", "&lt;v Bob &amp; hi"),
            ("<v.loud  Ms.\tO&apos;Neil >hi", "<v Ms. O'Neil>hi</v>"),
            ("<v>hi</v>", "hi"),
            ("<b><i>x</b>y</i>", "<b><i>x</i></b>y"),
            ("<00:00:01.000>x<00:00:02.000>y", "xy"),
            ("<ruby>漢<rt>kan</rt></ruby><rt>no</rt>", "<ruby>漢<rt>kan</rt></ruby>no"),
            ("x\n\n<c></c>\ny\u{7}", "x\ny"),
            ("a --> b", "a --&gt; b"),
            ("<b>  \n</b>", ""),
            ("<font color=\"#fff\">x</font>", "x"),
        ] {
            let clean = |raw: &str| clean(raw, &mut ParseBudget::unlimited()).unwrap();
            let cleaned = clean(raw);
            assert_eq!(cleaned, expected, "{raw}");
            assert_eq!(clean(&cleaned), cleaned, "{raw}");
        }
    }
}
