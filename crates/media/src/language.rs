//! Language tags: maps ISO 639-2 codes of media files to BCP 47 tags for manifests.

/// Languages that have a two-letter code, which BCP 47 then requires: the two-letter code, then the
/// terminological and the bibliographic three-letter code, which may be the same, and the name of
/// the language in the language itself, empty if it is not known here.
const LANGUAGES: [(&str, &str, &str, &str); 60] = [
    ("ar", "ara", "ara", "العربية"),
    ("bg", "bul", "bul", "Български"),
    ("bn", "ben", "ben", ""),
    ("bo", "bod", "tib", ""),
    ("bs", "bos", "bos", ""),
    ("ca", "cat", "cat", ""),
    ("cs", "ces", "cze", "Čeština"),
    ("cy", "cym", "wel", ""),
    ("da", "dan", "dan", "Dansk"),
    ("de", "deu", "ger", "Deutsch"),
    ("el", "ell", "gre", "Ελληνικά"),
    ("en", "eng", "eng", "English"),
    ("es", "spa", "spa", "Español"),
    ("et", "est", "est", "Eesti"),
    ("eu", "eus", "baq", ""),
    ("fa", "fas", "per", ""),
    ("fi", "fin", "fin", "Suomi"),
    ("fr", "fra", "fre", "Français"),
    ("ga", "gle", "gle", ""),
    ("gl", "glg", "glg", ""),
    ("gu", "guj", "guj", ""),
    ("he", "heb", "heb", "עברית"),
    ("hi", "hin", "hin", "हिन्दी"),
    ("hr", "hrv", "hrv", "Hrvatski"),
    ("hu", "hun", "hun", "Magyar"),
    ("hy", "hye", "arm", ""),
    ("id", "ind", "ind", ""),
    ("is", "isl", "ice", ""),
    ("it", "ita", "ita", "Italiano"),
    ("ja", "jpn", "jpn", "日本語"),
    ("ka", "kat", "geo", ""),
    ("kk", "kaz", "kaz", ""),
    ("kn", "kan", "kan", ""),
    ("ko", "kor", "kor", "한국어"),
    ("lt", "lit", "lit", "Lietuvių"),
    ("lv", "lav", "lav", "Latviešu"),
    ("mk", "mkd", "mac", ""),
    ("ml", "mal", "mal", ""),
    ("mr", "mar", "mar", ""),
    ("ms", "msa", "may", ""),
    ("nb", "nob", "nob", ""),
    ("nl", "nld", "dut", "Nederlands"),
    ("no", "nor", "nor", "Norsk"),
    ("pa", "pan", "pan", ""),
    ("pl", "pol", "pol", "Polski"),
    ("pt", "por", "por", "Português"),
    ("ro", "ron", "rum", "Română"),
    ("ru", "rus", "rus", "Русский"),
    ("sk", "slk", "slo", ""),
    ("sl", "slv", "slv", ""),
    ("sq", "sqi", "alb", ""),
    ("sr", "srp", "srp", ""),
    ("sv", "swe", "swe", "Svenska"),
    ("ta", "tam", "tam", ""),
    ("te", "tel", "tel", ""),
    ("th", "tha", "tha", ""),
    ("tr", "tur", "tur", "Türkçe"),
    ("uk", "ukr", "ukr", "Українська"),
    ("vi", "vie", "vie", ""),
    ("zh", "zho", "chi", "中文"),
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
    let known = LANGUAGES.iter().find(|(_, t, b, _)| *t == primary || *b == primary);
    let mut tag = known.map_or(primary, |(two, ..)| (*two).to_owned());
    for part in parts {
        tag.push('-');
        tag.push_str(part);
    }
    tag
}

/// The BCP 47 tag for the language tag of a track of an uploaded file: an ISO 639 code, perhaps
/// with subtags after a hyphen or an underscore; "und" for any other text.
pub fn tag_of_track(text: &str) -> String {
    let text = text.trim().replace('_', "-");
    let primary = text.split('-').next().unwrap_or_default();
    if (2..=3).contains(&primary.len()) { tag(&text) } else { "und".to_owned() }
}

/// The name of a tag's language in the language itself, or the tag if the name is not known.
pub fn name(tag: &str) -> &str {
    let primary = tag.split('-').next().unwrap_or_default();
    let known = LANGUAGES.iter().find(|(two, ..)| *two == primary);
    known.map(|(.., name)| *name).filter(|name| !name.is_empty()).unwrap_or(tag)
}

#[cfg(test)]
mod tests {
    use super::{name, tag_of_track};

    #[test]
    fn tags_of_tracks_become_the_shortest_form() {
        for (file, manifest) in [
            ("eng", "en"),
            ("ger", "de"),
            ("deu", "de"),
            ("pt_BR", "pt-BR"),
            ("en", "en"),
            ("kab", "kab"),
            ("", "und"),
            ("und", "und"),
            ("\"><x", "und"),
            ("english please", "und"),
        ] {
            assert_eq!(tag_of_track(file), manifest);
        }
        assert_eq!(name("pt-BR"), "Português");
        assert_eq!(name("kab"), "kab");
    }
}
