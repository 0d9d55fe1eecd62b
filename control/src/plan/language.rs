//! Language tags: files usually contain ISO 639-2, manifests need BCP 47.

/// ISO 639-2 (both forms), BCP 47, and the language's name for itself.
const LANGUAGES: [(&str, &str, &str, &str); 30] = [
    ("ara", "ara", "ar", "العربية"),
    ("bul", "bul", "bg", "Български"),
    ("ces", "cze", "cs", "Čeština"),
    ("dan", "dan", "da", "Dansk"),
    ("deu", "ger", "de", "Deutsch"),
    ("ell", "gre", "el", "Ελληνικά"),
    ("eng", "eng", "en", "English"),
    ("est", "est", "et", "Eesti"),
    ("fin", "fin", "fi", "Suomi"),
    ("fra", "fre", "fr", "Français"),
    ("heb", "heb", "he", "עברית"),
    ("hin", "hin", "hi", "हिन्दी"),
    ("hrv", "hrv", "hr", "Hrvatski"),
    ("hun", "hun", "hu", "Magyar"),
    ("ita", "ita", "it", "Italiano"),
    ("jpn", "jpn", "ja", "日本語"),
    ("kor", "kor", "ko", "한국어"),
    ("lav", "lav", "lv", "Latviešu"),
    ("lit", "lit", "lt", "Lietuvių"),
    ("nld", "dut", "nl", "Nederlands"),
    ("nor", "nor", "no", "Norsk"),
    ("pol", "pol", "pl", "Polski"),
    ("por", "por", "pt", "Português"),
    ("ron", "rum", "ro", "Română"),
    ("rus", "rus", "ru", "Русский"),
    ("spa", "spa", "es", "Español"),
    ("swe", "swe", "sv", "Svenska"),
    ("tur", "tur", "tr", "Türkçe"),
    ("ukr", "ukr", "uk", "Українська"),
    ("zho", "chi", "zh", "中文"),
];

const TAG_CHARS_MAX: usize = 35;

/// The tag for manifests; "und" if the text is empty or not a language tag.
pub fn tag(text: &str) -> String {
    let text = text.trim().replace('_', "-");
    let primary = text.split('-').next().unwrap_or_default().to_ascii_lowercase();
    let letters =
        (2..=3).contains(&primary.len()) && primary.chars().all(|c| c.is_ascii_alphabetic());
    let subtag =
        |s: &str| !s.is_empty() && s.len() <= 8 && s.chars().all(|c| c.is_ascii_alphanumeric());
    if !letters || text.len() > TAG_CHARS_MAX || !text.split('-').all(subtag) {
        return "und".to_owned();
    }
    let known = LANGUAGES.iter().find(|(t, b, _, _)| *t == primary || *b == primary);
    let short = known.map_or(primary.as_str(), |(_, _, short, _)| short);
    format!("{short}{}", &text[primary.len()..])
}

/// The language's name for itself, or the tag if the name is unknown.
pub fn name(tag: &str) -> &str {
    let primary = tag.split('-').next().unwrap_or_default();
    LANGUAGES.iter().find(|(_, _, short, _)| *short == primary).map_or(tag, |(_, _, _, name)| name)
}

#[cfg(test)]
mod tests {
    use super::{name, tag};

    #[test]
    fn tags_become_the_shortest_form() {
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
            assert_eq!(tag(file), manifest);
        }
        assert_eq!(name("pt-BR"), "Português");
        assert_eq!(name("kab"), "kab");
    }
}
