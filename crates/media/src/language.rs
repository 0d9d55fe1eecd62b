//! Language tags: maps ISO 639 codes of media files to BCP 47 tags for manifests.

use isolang::Language;

/// The bibliographic codes of ISO 639-2 that differ from the terminological ones, which `isolang`
/// knows, and their terminological codes. The last two are withdrawn.
const BIBLIOGRAPHIC: [(&str, &str); 22] = [
    ("alb", "sqi"),
    ("arm", "hye"),
    ("baq", "eus"),
    ("bur", "mya"),
    ("chi", "zho"),
    ("cze", "ces"),
    ("dut", "nld"),
    ("fre", "fra"),
    ("geo", "kat"),
    ("ger", "deu"),
    ("gre", "ell"),
    ("ice", "isl"),
    ("mac", "mkd"),
    ("mao", "mri"),
    ("may", "msa"),
    ("per", "fas"),
    ("rum", "ron"),
    ("slo", "slk"),
    ("tib", "bod"),
    ("wel", "cym"),
    ("scc", "srp"),
    ("scr", "hrv"),
];
/// Withdrawn codes and the ones that IANA's language subtag registry prefers to them.
const WITHDRAWN: [(&str, &str); 6] =
    [("in", "id"), ("iw", "he"), ("ji", "yi"), ("jw", "jv"), ("mo", "ro"), ("mol", "ro")];

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
    let mut tag = shortest(&primary).to_owned();
    for part in parts {
        tag.push('-');
        tag.push_str(part);
    }
    tag
}

/// The code of a language that BCP 47 requires: the two-letter one if there is one (RFC 5646,
/// 2.2.1), else the terminological one.
fn shortest(code: &str) -> &str {
    if let Some((_, preferred)) = WITHDRAWN.iter().find(|(withdrawn, _)| *withdrawn == code) {
        return preferred;
    }
    let bibliographic = BIBLIOGRAPHIC.iter().find(|(code_b, _)| *code_b == code);
    let code = bibliographic.map_or(code, |(_, terminological)| terminological);
    Language::from_639_3(code).and_then(|language| language.to_639_1()).unwrap_or(code)
}

/// The BCP 47 tag for the language tag of a track of an uploaded file: an ISO 639 code, perhaps
/// with subtags after a hyphen or an underscore; "und" for any other text.
pub fn tag_of_track(text: &str) -> String {
    let text = text.trim().replace('_', "-");
    let primary = text.split('-').next().unwrap_or_default();
    if (2..=3).contains(&primary.len()) { tag(&text) } else { "und".to_owned() }
}

/// The name of a tag's language in the language itself, with a capital letter, or the tag if the
/// name is not known.
pub fn name(tag: &str) -> String {
    let primary = tag.split('-').next().unwrap_or_default();
    let language = Language::from_639_1(primary).or_else(|| Language::from_639_3(primary));
    let Some(name) = language.and_then(|language| language.to_autonym()) else {
        return tag.to_owned();
    };
    let mut letters = name.chars();
    match letters.next() {
        Some(first) if has_titlecase(first) => first.to_uppercase().chain(letters).collect(),
        _ => name.to_owned(),
    }
}

/// Whether names are written with a capital first letter in the script of this letter: Georgian
/// capitals serve only for texts that consist of capitals.
fn has_titlecase(letter: char) -> bool {
    !('\u{10a0}'..='\u{10ff}').contains(&letter)
}

#[cfg(test)]
mod tests {
    use super::{BIBLIOGRAPHIC, name, tag, tag_of_track};

    /// Every terminological code of ISO 639-2 that has a two-letter code, with that code.
    const ISO_639_2: &str = "aar:aa abk:ab afr:af aka:ak amh:am ara:ar arg:an asm:as ava:av ave:ae aym:ay aze:az \
         bak:ba bam:bm bel:be ben:bn bis:bi bod:bo bos:bs bre:br bul:bg cat:ca ces:cs cha:ch \
         che:ce chu:cu chv:cv cor:kw cos:co cre:cr cym:cy dan:da deu:de div:dv dzo:dz ell:el \
         eng:en epo:eo est:et eus:eu ewe:ee fao:fo fas:fa fij:fj fin:fi fra:fr fry:fy ful:ff \
         gla:gd gle:ga glg:gl glv:gv grn:gn guj:gu hat:ht hau:ha heb:he her:hz hin:hi hmo:ho \
         hrv:hr hun:hu hye:hy ibo:ig ido:io iii:ii iku:iu ile:ie ina:ia ind:id ipk:ik isl:is \
         ita:it jav:jv jpn:ja kal:kl kan:kn kas:ks kat:ka kau:kr kaz:kk khm:km kik:ki kin:rw \
         kir:ky kom:kv kon:kg kor:ko kua:kj kur:ku lao:lo lat:la lav:lv lim:li lin:ln lit:lt \
         ltz:lb lub:lu lug:lg mah:mh mal:ml mar:mr mkd:mk mlg:mg mlt:mt mon:mn mri:mi msa:ms \
         mya:my nau:na nav:nv nbl:nr nde:nd ndo:ng nep:ne nld:nl nno:nn nob:nb nor:no nya:ny \
         oci:oc oji:oj ori:or orm:om oss:os pan:pa pli:pi pol:pl por:pt pus:ps que:qu roh:rm \
         ron:ro run:rn rus:ru sag:sg san:sa sin:si slk:sk slv:sl sme:se smo:sm sna:sn snd:sd \
         som:so sot:st spa:es sqi:sq srd:sc srp:sr ssw:ss sun:su swa:sw swe:sv tah:ty tam:ta \
         tat:tt tel:te tgk:tg tgl:tl tha:th tir:ti ton:to tsn:tn tso:ts tuk:tk tur:tr twi:tw \
         uig:ug ukr:uk urd:ur uzb:uz ven:ve vie:vi vol:vo wln:wa wol:wo xho:xh yid:yi yor:yo \
         zha:za zho:zh zul:zu";

    #[test]
    fn every_code_of_iso_639_2_becomes_the_shortest_one() {
        let pairs = || ISO_639_2.split_whitespace().filter_map(|pair| pair.split_once(':'));
        assert_eq!(pairs().count(), 183);
        for (three, two) in pairs() {
            assert_eq!((tag(three).as_str(), tag_of_track(three).as_str()), (two, two));
            assert_eq!(tag(two), two);
            assert_eq!(tag(&format!("{}-Latn", three.to_uppercase())), format!("{two}-Latn"));
        }
        for (code, terminological) in BIBLIOGRAPHIC {
            let (_, two) = pairs().find(|(three, _)| *three == terminological).unwrap();
            assert_eq!(tag_of_track(code), two, "{code}");
        }
        // Languages without a two-letter code, collections, special codes and a private one.
        for code in ["kab", "chr", "fil", "ber", "nah", "mul", "zxx", "mis", "qaa"] {
            assert_eq!(tag_of_track(code), code);
        }
    }

    #[test]
    fn tags_of_tracks_become_the_shortest_form() {
        for (file, manifest) in [
            ("eng", "en"),
            ("ger", "de"),
            ("deu", "de"),
            ("pt_BR", "pt-BR"),
            ("chi-Hant", "zh-Hant"),
            ("hr ", "hr"),
            ("iw", "he"),
            ("mol", "ro"),
            ("en", "en"),
            ("kab", "kab"),
            ("", "und"),
            ("und", "und"),
            ("\"><x", "und"),
            ("english please", "und"),
        ] {
            assert_eq!(tag_of_track(file), manifest);
        }
    }

    #[test]
    fn languages_are_named_in_themselves() {
        for (tag, expected) in [
            ("pt-BR", "Português"),
            ("de", "Deutsch"),
            ("ru", "Русский"),
            ("ja", "日本語"),
            ("eu", "Euskara"),
            ("ka", "ქართული"),
            ("kab", "Taqbaylit"),
            ("qaa", "qaa"),
        ] {
            assert_eq!(name(tag), expected);
        }
    }
}
