//! Validates request fields; errors name the field.

use api::{
    code::Problem,
    v1::{self, Visibility},
};

pub use api::limits::{DESCRIPTION_CHARS_MAX, FILENAME_CHARS_MAX, PAGE_SIZE_MAX, TITLE_CHARS_MAX};

const PAGE_SIZE: u32 = 20;

/// Validates a title and trims it.
///
/// # Errors
/// The title is too long or contains a NUL character; the error names `title`.
pub fn title(text: &str) -> Result<String, Problem> {
    bounded("title", text, TITLE_CHARS_MAX)
}

/// Validates a description and trims it.
///
/// # Errors
/// The description is too long or contains a NUL character; the error names `description`.
pub fn description(text: &str) -> Result<String, Problem> {
    bounded("description", text, DESCRIPTION_CHARS_MAX)
}

fn bounded(field: &str, text: &str, chars_max: usize) -> Result<String, Problem> {
    let text = text.trim();
    if text.chars().count() > chars_max {
        return Err(Problem::field(field, format!("is longer than {chars_max} characters")));
    }
    // Postgres stores every character except this one.
    if text.contains('\0') {
        return Err(Problem::field(field, "must not contain a NUL character"));
    }
    Ok(text.to_owned())
}

/// Shortens and cleans a file name instead of rejecting it, because it is only a hint and users did
/// not choose it for this service.
pub fn filename(text: &str) -> String {
    let clean = text.chars().filter(|c| !c.is_control());
    clean.take(FILENAME_CHARS_MAX).collect::<String>().trim().to_owned()
}

/// Reads a visibility; `None` when unspecified.
///
/// # Errors
/// The number is unknown; the error names `visibility`.
pub fn visibility(value: i32) -> Result<Option<bool>, Problem> {
    match Visibility::try_from(value) {
        Ok(Visibility::Unspecified) => Ok(None),
        Ok(Visibility::Public) => Ok(Some(true)),
        Ok(Visibility::Private) => Ok(Some(false)),
        Err(_) => Err(Problem::field("visibility", "must be PUBLIC or PRIVATE")),
    }
}

/// Validates a part of a title to search for. It is not trimmed: a space is a character like any
/// other.
///
/// # Errors
/// The part is longer than a title or contains a NUL character; the error names `q`.
pub fn title_part(text: &str) -> Result<&str, Problem> {
    if text.chars().count() > TITLE_CHARS_MAX {
        return Err(Problem::field("q", format!("is longer than {TITLE_CHARS_MAX} characters")));
    }
    if text.contains('\0') {
        return Err(Problem::field("q", "must not contain a NUL character"));
    }
    Ok(text)
}

/// Whether control creates a job by itself once the source is probed.
///
/// # Errors
/// The text is neither empty nor "auto"; the error names `transcode`.
pub fn auto_transcode(text: &str) -> Result<bool, Problem> {
    match text {
        "" => Ok(false),
        "auto" => Ok(true),
        _ => Err(Problem::field("transcode", "must be \"auto\"")),
    }
}

/// Reads the rows per page; 0 means the default.
///
/// # Errors
/// The number is too large; the error names `page_size`.
pub fn page_size(value: u32) -> Result<usize, Problem> {
    match value {
        0 => Ok(PAGE_SIZE as usize),
        1..=PAGE_SIZE_MAX => Ok(value as usize),
        _ => Err(Problem::field("page_size", format!("must be at most {PAGE_SIZE_MAX}"))),
    }
}

/// Reads a token's lifetime in seconds; 0 means `default`.
///
/// # Errors
/// The number is above `max`; the error names `ttl_seconds`.
pub fn ttl(value: u64, default: i64, max: i64) -> Result<i64, Problem> {
    match i64::try_from(value) {
        Ok(0) => Ok(default),
        Ok(seconds) if seconds <= max => Ok(seconds),
        _ => Err(Problem::field("ttl_seconds", format!("must be at most {max}"))),
    }
}

/// Reads a SHA-256 in hexadecimal.
///
/// # Errors
/// The text is not 64 hexadecimal digits; the error names `sha256`.
pub fn sha256(text: &str) -> Result<Vec<u8>, Problem> {
    match hex::decode(text) {
        Ok(bytes) if bytes.len() == 32 => Ok(bytes),
        _ => Err(Problem::field("sha256", "must be 64 hexadecimal digits")),
    }
}

/// The fields that an update changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mask {
    /// `title`
    pub title: bool,
    /// `description`
    pub description: bool,
    /// `visibility`
    pub visibility: bool,
}

/// Reads an update mask, which must name at least one of these fields and no others.
///
/// # Errors
/// The mask is empty or names another field; the error names `update_mask`.
pub fn mask(request: &v1::UpdateVideoRequest) -> Result<Mask, Problem> {
    let paths = request.update_mask.as_ref().map(|mask| mask.paths.as_slice()).unwrap_or_default();
    let mut mask = Mask::default();
    for path in paths {
        match path.as_str() {
            "title" => mask.title = true,
            "description" => mask.description = true,
            "visibility" => mask.visibility = true,
            _ => {
                let text = "must name only title, description and visibility";
                return Err(Problem::field("update_mask", text));
            }
        }
    }
    if mask == Mask::default() {
        return Err(Problem::field("update_mask", "must name at least one field"));
    }
    Ok(mask)
}

#[cfg(test)]
mod tests {
    #[test]
    fn errors_about_limits_name_the_field() {
        let fields = [
            super::title(&"x".repeat(201)).unwrap_err(),
            super::description(&"x".repeat(5001)).unwrap_err(),
            super::page_size(101).unwrap_err(),
            super::visibility(7).unwrap_err(),
            super::sha256("abc").unwrap_err(),
            super::ttl(11, 5, 10).unwrap_err(),
        ];
        let fields = fields.map(|problem| problem.violations[0].field.clone());
        let expected = ["title", "description", "page_size", "visibility", "sha256", "ttl_seconds"];
        assert_eq!(fields, expected.map(str::to_owned));
        assert_eq!(super::title(&"ü".repeat(200)).unwrap().chars().count(), 200);
        assert_eq!(super::ttl(0, 5, 10), Ok(5));
    }

    #[test]
    fn file_names_are_cleaned() {
        assert_eq!(super::filename("a\r\nb\0.mp4"), "ab.mp4");
        assert_eq!(super::filename(&"x".repeat(4096)).len(), 255);
    }
}
