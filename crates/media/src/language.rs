//! Language tags: maps ISO 639-2 codes of media files to BCP 47 tags for manifests.

/// Languages that have a two-letter code, which BCP 47 then requires: the two-letter code, then the
/// terminological and the bibliographic three-letter code, which may be the same.
const CODES: [(&str, &str, &str); 60] = [
    ("ar", "ara", "ara"),
    ("bg", "bul", "bul"),
    ("bn", "ben", "ben"),
    ("bo", "bod", "tib"),
    ("bs", "bos", "bos"),
    ("ca", "cat", "cat"),
    ("cs", "ces", "cze"),
    ("cy", "cym", "wel"),
    ("da", "dan", "dan"),
    ("de", "deu", "ger"),
    ("el", "ell", "gre"),
    ("en", "eng", "eng"),
    ("es", "spa", "spa"),
    ("et", "est", "est"),
    ("eu", "eus", "baq"),
    ("fa", "fas", "per"),
    ("fi", "fin", "fin"),
    ("fr", "fra", "fre"),
    ("ga", "gle", "gle"),
    ("gl", "glg", "glg"),
    ("gu", "guj", "guj"),
    ("he", "heb", "heb"),
    ("hi", "hin", "hin"),
    ("hr", "hrv", "hrv"),
    ("hu", "hun", "hun"),
    ("hy", "hye", "arm"),
    ("id", "ind", "ind"),
    ("is", "isl", "ice"),
    ("it", "ita", "ita"),
    ("ja", "jpn", "jpn"),
    ("ka", "kat", "geo"),
    ("kk", "kaz", "kaz"),
    ("kn", "kan", "kan"),
    ("ko", "kor", "kor"),
    ("lt", "lit", "lit"),
    ("lv", "lav", "lav"),
    ("mk", "mkd", "mac"),
    ("ml", "mal", "mal"),
    ("mr", "mar", "mar"),
    ("ms", "msa", "may"),
    ("nb", "nob", "nob"),
    ("nl", "nld", "dut"),
    ("no", "nor", "nor"),
    ("pa", "pan", "pan"),
    ("pl", "pol", "pol"),
    ("pt", "por", "por"),
    ("ro", "ron", "rum"),
    ("ru", "rus", "rus"),
    ("sk", "slk", "slo"),
    ("sl", "slv", "slv"),
    ("sq", "sqi", "alb"),
    ("sr", "srp", "srp"),
    ("sv", "swe", "swe"),
    ("ta", "tam", "tam"),
    ("te", "tel", "tel"),
    ("th", "tha", "tha"),
    ("tr", "tur", "tur"),
    ("uk", "ukr", "ukr"),
    ("vi", "vie", "vie"),
    ("zh", "zho", "chi"),
];

/// Longest tag that is passed on; RFC 5646, 4.4.1 recommends room for 35 characters.
const TAG_LENGTH_MAX: usize = 35;

/// The BCP 47 tag for a file's language tag; "und" for text that cannot be one.
pub fn tag(text: &str) -> String {
    let mut parts = text.split('-');
    let primary = parts.next().unwrap_or_default().to_ascii_lowercase();
    let letters =
        (2..=8).contains(&primary.len()) && primary.bytes().all(|b| b.is_ascii_alphabetic());
    let plain = |part: &str| {
        (1..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric())
    };
    if !letters || text.len() > TAG_LENGTH_MAX || !parts.clone().all(plain) {
        return "und".to_owned();
    }
    let known = CODES.iter().find(|(_, t, b)| *t == primary || *b == primary);
    let mut tag = known.map_or(primary, |(two, ..)| (*two).to_owned());
    for part in parts {
        tag.push('-');
        tag.push_str(part);
    }
    tag
}
