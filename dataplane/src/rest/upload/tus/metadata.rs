//! `Upload-Metadata`: comma-separated keys with base64 values. Known keys set the video's fields;
//! others are ignored.

use api::{
    code::{Code, Problem},
    limits::FILENAME_CHARS_MAX,
    v1::Visibility,
};
use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

use super::super::super::videos::{description_of, title_of, transcode_of, visibility_of};

/// Some clients pad, others do not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
/// Bytes of the whole header.
const METADATA_BYTES_MAX: usize = 32 << 10;

/// The client's description of the file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct UploadMetadata {
    pub(super) title: String,
    pub(super) description: String,
    pub(super) visibility: Visibility,
    /// For display only, never used as a path.
    pub(super) filename: String,
    /// "auto" or empty.
    pub(super) transcode: String,
}

impl UploadMetadata {
    /// Reads the header.
    ///
    /// # Errors
    /// When the header is too long or a value is invalid; the error names the key.
    pub(super) fn read(header: &str) -> Result<Self, Problem> {
        if header.len() > METADATA_BYTES_MAX {
            let text = format!("is longer than {METADATA_BYTES_MAX} bytes");
            return Err(Problem::at(Code::Malformed, "Upload-Metadata", text));
        }
        let mut known = [const { None::<String> }; 5];
        for pair in header.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once(' ').unwrap_or((pair, ""));
            let place = match key {
                "title" => &mut known[0],
                "description" => &mut known[1],
                "visibility" => &mut known[2],
                "filename" => &mut known[3],
                "transcode" => &mut known[4],
                _ => continue,
            };
            if place.replace(decoded(key, value.trim())?).is_some() {
                return Err(Problem::field(key, "must appear once in Upload-Metadata"));
            }
        }
        let [title, description, visibility, filename, transcode] = known;
        let visibility = visibility.filter(|text| !text.is_empty());
        let filename = filename.unwrap_or_default();
        let clean = filename.chars().filter(|letter| !letter.is_control());
        Ok(Self {
            title: title_of(title.unwrap_or_default())?,
            description: description_of(description.unwrap_or_default())?,
            visibility: visibility
                .map_or(Ok(Visibility::Unspecified), |text| visibility_of(&text))?,
            filename: clean.take(FILENAME_CHARS_MAX).collect(),
            transcode: transcode.map(transcode_of).transpose()?.unwrap_or_default(),
        })
    }
}

fn decoded(key: &str, value: &str) -> Result<String, Problem> {
    let bytes = BASE64.decode(value);
    let bytes = bytes.map_err(|_| Problem::field(key, "must be base64 in Upload-Metadata"))?;
    String::from_utf8(bytes).map_err(|_| Problem::field(key, "must be UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(key: &str, value: &str) -> String {
        format!("{key} {}", base64::engine::general_purpose::STANDARD.encode(value))
    }

    fn fault(header: &str) -> String {
        UploadMetadata::read(header).unwrap_err().violations[0].field.clone()
    }

    #[test]
    fn known_keys_are_read_and_others_ignored() {
        let header = [
            pair("title", "Über uns"),
            pair("filename", "../../etc/x"),
            "is_confidential".to_owned(),
            pair("visibility", "private"),
            pair("transcode", "auto"),
            "filetype !!!not-base64".to_owned(),
        ];
        let about = UploadMetadata::read(&header.join(", ")).unwrap();
        assert_eq!(about.title, "Über uns");
        assert_eq!(about.filename, "../../etc/x");
        assert_eq!(about.visibility, Visibility::Private);
        assert_eq!((about.description.as_str(), about.transcode.as_str()), ("", "auto"));
        let nothing = UploadMetadata::read("").unwrap();
        assert_eq!((nothing.visibility, nothing.title.as_str()), (Visibility::Unspecified, ""));
        assert_eq!(nothing.transcode, "");
        assert_eq!(UploadMetadata::read("title YQ").unwrap().title, "a");
        assert_eq!(UploadMetadata::read("title YQ==").unwrap().title, "a");
        assert_eq!(UploadMetadata::read("title").unwrap().title, "");
    }

    #[test]
    fn invalid_values_name_their_key() {
        assert_eq!(fault("title @@@"), "title");
        assert_eq!(fault("description /w=="), "description");
        assert_eq!(fault(&pair("visibility", "secret")), "visibility");
        assert_eq!(fault(&pair("title", &"x".repeat(201))), "title");
        assert_eq!(fault("title YQ==,title YQ=="), "title");
        for bad in ["", "Auto", "true"] {
            assert_eq!(fault(&pair("transcode", bad)), "transcode");
        }
        assert_eq!(fault(&"x".repeat(METADATA_BYTES_MAX + 1)), "Upload-Metadata");
    }

    #[test]
    fn file_names_are_hints_without_control_characters() {
        let long = "x".repeat(4096);
        for (name, kept) in [
            ("a\"\r\nSet-Cookie: b", "a\"Set-Cookie: b"),
            ("a\0b", "ab"),
            ("C:\\x", "C:\\x"),
            (long.as_str(), &long[..FILENAME_CHARS_MAX]),
        ] {
            assert_eq!(UploadMetadata::read(&pair("filename", name)).unwrap().filename, kept);
        }
    }
}
