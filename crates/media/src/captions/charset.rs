//! The character encoding of an uploaded file, which is detected because players' users have files of
//! all ages: UTF-8, UTF-16, or one of the legacy encodings of the Encoding Standard (WHATWG), such as
//! windows-1252, which contains Latin-1.
//!
//! UTF-8 and UTF-16 are recognized with certainty; between the others, chardetng weighs the frequency
//! of letters and prefers the usual encoding of the track's language when the text is short.

use std::borrow::Cow;

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE};

use super::{CAPTIONS_BYTES_MAX, CaptionError, parse_budget::ParseBudget};

/// Bytes examined between two checks of the budget.
const PIECE_BYTES: usize = 16 << 10;
/// The times of every cue are parted by this, in SubRip and in WebVTT.
const ARROW: &str = "-->";
/// A file in UTF-8 with damaged places has at least this many letters outside of ASCII for each.
const LETTERS_PER_DAMAGE: usize = 10;
/// Byte order marks of UTF-32, which the Encoding Standard does not know.
const UTF_32_MARKS: [&[u8]; 2] = [&[0xff, 0xfe, 0, 0], &[0, 0, 0xfe, 0xff]];

/// The text of a file, without a byte order mark. `language` is the BCP 47 tag of the text.
///
/// The time is linear in the length of the file, and the text is at most three times as long.
///
/// # Errors
/// The file is larger than [`CAPTIONS_BYTES_MAX`] or in UTF-32, or the budget's time is over.
pub fn decode<'b>(
    budget: &mut ParseBudget<'_>,
    bytes: &'b [u8],
    language: &str,
) -> Result<Cow<'b, str>, CaptionError> {
    if bytes.len() > CAPTIONS_BYTES_MAX {
        return Err(CaptionError::Bytes);
    }
    if UTF_32_MARKS.iter().any(|mark| bytes.starts_with(mark)) {
        return Err(CaptionError::Utf32);
    }
    let (encoding, mark) = match Encoding::for_bom(bytes) {
        Some(found) => found,
        None => (detect(budget, bytes, language)?, 0),
    };
    let (text, _) = encoding.decode_without_bom_handling(&bytes[mark..]);
    budget.spend(bytes.len())?;
    Ok(text)
}

fn detect(
    budget: &mut ParseBudget<'_>,
    bytes: &[u8],
    language: &str,
) -> Result<&'static Encoding, CaptionError> {
    budget.spend(bytes.len())?;
    if bytes.contains(&0) {
        for (encoding, unit) in
            [(UTF_16LE, u16::to_le_bytes as fn(u16) -> [u8; 2]), (UTF_16BE, u16::to_be_bytes)]
        {
            if has_arrow(bytes, unit) {
                return Ok(encoding);
            }
        }
    }
    budget.spend(bytes.len())?;
    if is_utf8(bytes) {
        return Ok(UTF_8);
    }
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Allow);
    for piece in bytes.chunks(PIECE_BYTES) {
        budget.spend(piece.len())?;
        detector.feed(piece, false);
    }
    detector.feed(&[], true);
    let country = country(language);
    Ok(detector.guess(country.as_deref().map(str::as_bytes), Utf8Detection::Deny))
}

/// Whether a line of the file has [`ARROW`] in UTF-16 of this byte order.
fn has_arrow(bytes: &[u8], unit: fn(u16) -> [u8; 2]) -> bool {
    let arrow: Vec<[u8; 2]> = ARROW.encode_utf16().map(unit).collect();
    let (units, _) = bytes.as_chunks::<2>();
    units.windows(arrow.len()).any(|window| window == arrow)
}

/// Whether the file is in UTF-8, even if a few of its characters are damaged, as by a cut.
fn is_utf8(bytes: &[u8]) -> bool {
    let (mut letters, mut damages) = (0, 0);
    for chunk in bytes.utf8_chunks() {
        // The first byte of each character outside of ASCII.
        letters += chunk.valid().bytes().filter(|byte| *byte >= 0xc0).count();
        damages += usize::from(!chunk.invalid().is_empty());
    }
    damages == 0 || letters >= damages * LETTERS_PER_DAMAGE
}

/// The top-level domain of a country whose usual encoding is that of the language: of the tag's
/// region, else of the language, where their codes differ.
fn country(language: &str) -> Option<String> {
    let tag = language.to_ascii_lowercase();
    let mut subtags = tag.split('-');
    let primary = subtags.next().unwrap_or_default();
    let region = subtags.find(|subtag| subtag.len() == 2);
    let country = region.unwrap_or(match primary {
        "ar" => "eg",
        "be" => "by",
        "cs" => "cz",
        "el" => "gr",
        "et" => "ee",
        "fa" => "ir",
        "he" => "il",
        "ja" => "jp",
        "ko" => "kr",
        "sl" => "si",
        "sr" => "rs",
        "uk" => "ua",
        "vi" => "vn",
        "zh" => "cn",
        // The codes of these languages are those of countries with another language, or of none.
        "ca" | "eu" | "ga" | "en" | "da" | "sv" => return None,
        same => same,
    });
    let plain = country.len() == 2 && country.bytes().all(|byte| byte.is_ascii_lowercase());
    plain.then(|| country.to_owned())
}

#[cfg(test)]
mod tests {
    use super::{super::ParseBudget, CaptionError, country, decode};

    fn decoded(bytes: &[u8], language: &str) -> Result<String, CaptionError> {
        decode(&mut ParseBudget::unlimited(), bytes, language).map(|text| text.into_owned())
    }

    fn utf16(text: &str, unit: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(unit).collect()
    }

    #[test]
    fn utf16_is_recognized_with_and_without_its_mark() {
        let text = "1\r\n00:00:01,000 --> 00:00:02,000\r\n日本 ё 😀 à\r\n";
        for unit in [u16::to_le_bytes as fn(u16) -> [u8; 2], u16::to_be_bytes] {
            assert_eq!(decoded(&utf16(text, unit), "und").unwrap(), text);
            assert_eq!(decoded(&utf16(&format!("\u{feff}{text}"), unit), "und").unwrap(), text);
        }
        let odd = [&utf16(text, u16::to_le_bytes)[..], b"x"].concat();
        assert_eq!(decoded(&odd, "und").unwrap(), format!("{text}\u{fffd}"));
        assert_eq!(decoded(b"\xff\xfe\0\0x\0\0\0", "und"), Err(CaptionError::Utf32));
    }

    #[test]
    fn legacy_encodings_are_recognized_by_their_letters() {
        let head = "1\n00:00:01,000 --> 00:00:02,000\n";
        for (label, language, text) in [
            ("windows-1252", "fr", "Ça va ? « Voilà », dit-elle à l’été."),
            ("windows-1252", "de", "Schöne Grüße"),
            ("windows-1252", "und", "déjà"),
            ("windows-1250", "pl", "Zażółć gęślą jaźń"),
            ("iso-8859-2", "cs", "Příliš žluťoučký kůň úpěl ďábelské ódy"),
            ("windows-1251", "ru", "Съешь ещё этих мягких французских булок"),
            ("koi8-r", "ru", "Съешь же ещё этих мягких французских булок"),
            ("windows-1253", "el", "Ξεσκεπάζω την ψυχοφθόρα βδελυγμία"),
            ("windows-1254", "tr", "Pijamalı hasta yağız şoföre çabucak güvendi"),
            ("windows-1255", "he", "דג סקרן שט בים מאוכזב ולפתע מצא חברה"),
            ("shift_jis", "ja", "いろはにほへと ちりぬるを"),
            ("euc-kr", "ko", "키스의 고유조건은 입술끼리 만나야 하고"),
            ("gbk", "zh-CN", "我能吞下玻璃而不伤身体"),
            ("big5", "zh-TW", "我能吞下玻璃而不傷身體"),
        ] {
            let encoding = encoding_rs::Encoding::for_label(label.as_bytes()).unwrap();
            let file = format!("{head}{text}\n");
            let (bytes, _, lossy) = encoding.encode(&file);
            assert!(!lossy, "{label} has every letter of {text}");
            assert_eq!(decoded(&bytes, language).unwrap(), file, "{label}");
        }
    }

    #[test]
    fn utf8_stays_utf8_where_a_character_is_damaged() {
        let text = "Съешь же ещё этих мягких французских булок".repeat(3);
        let mut bytes = text.clone().into_bytes();
        assert_eq!(decoded(&bytes, "ru").unwrap(), text);
        let last = bytes.pop();
        assert!(last.is_some());
        let cut = decoded(&bytes, "ru").unwrap();
        assert!(cut.ends_with('\u{fffd}') && text.starts_with(cut.trim_end_matches('\u{fffd}')));
        assert_eq!(decoded(b"\xef\xbb\xbfd\xc3\xa9", "fr").unwrap(), "dé");
    }

    #[test]
    fn detection_is_linear_and_ends_at_its_deadline() {
        for pattern in [&b"\xe9"[..], b"\0", b"\0-", b"-\0-\0", b"\x1b$B", b"\x80\xff", b"a"] {
            let costs: Vec<u64> = (12..18)
                .map(|doubled| {
                    let mut budget = ParseBudget::unlimited();
                    let bytes = pattern.repeat((1 << doubled) / pattern.len());
                    let _refused_or_not = decode(&mut budget, &bytes, "und");
                    budget.visited()
                })
                .collect();
            for (doubled, cost) in (12..).zip(&costs) {
                assert!(*cost <= 4 << doubled, "{pattern:?}: {costs:?}");
            }
        }
        let mut budget = ParseBudget::until(&|| true);
        assert_eq!(decode(&mut budget, &[0xe9; 1 << 20], "und"), Err(CaptionError::Late));
    }

    #[test]
    fn tags_name_the_country_of_their_region_or_language() {
        for (tag, expected) in
            [("ru", "ru"), ("pt-BR", "br"), ("zh-Hant-TW", "tw"), ("cs", "cz"), ("ja", "jp")]
        {
            assert_eq!(country(tag).as_deref(), Some(expected), "{tag}");
        }
        for tag in ["en", "und", "", "ü", "haw"] {
            assert_eq!(country(tag), None, "{tag}");
        }
    }
}
