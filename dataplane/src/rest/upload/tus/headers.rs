//! The protocol's request headers, parsed strictly: an ambiguous number is rejected.

use api::code::{Code, Problem};
use http::{HeaderMap, HeaderName, header};

/// The protocol version of a message.
pub(super) const RESUMABLE: HeaderName = HeaderName::from_static("tus-resumable");
/// The supported versions.
pub(super) const VERSION: HeaderName = HeaderName::from_static("tus-version");
/// Bytes that are stored durably.
pub(super) const OFFSET: HeaderName = HeaderName::from_static("upload-offset");
/// Total bytes.
pub(super) const LENGTH: HeaderName = HeaderName::from_static("upload-length");
/// The client's metadata of the file.
pub(super) const METADATA: HeaderName = HeaderName::from_static("upload-metadata");
/// The client's own name of an upload (draft-ietf-httpapi-idempotency-key-header); not part of tus.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// When an unfinished upload is deleted.
pub(super) const EXPIRES: HeaderName = HeaderName::from_static("upload-expires");
/// The video that the upload becomes; not part of tus.
pub(super) const VIDEO: HeaderName = HeaderName::from_static("video-id");

/// Maximum size of a client's own name of an upload.
const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;

const OCTETS: &str = "application/offset+octet-stream";

/// A length that the client announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    /// This many bytes.
    Bytes(u64),
    /// More than any store can hold.
    Endless,
}

/// A header's text, if it occurs exactly once.
pub(super) fn text(headers: &HeaderMap, name: HeaderName) -> Result<Option<&str>, Problem> {
    let mut values = headers.get_all(&name).iter();
    let (first, more) = (values.next(), values.next());
    let malformed = |text| Problem::at(Code::Malformed, display(&name), text);
    if more.is_some() {
        return Err(malformed("must appear once"));
    }
    let text = first.map(|value| value.to_str()).transpose();
    text.map_err(|_| malformed("must be ASCII"))
}

/// The client's own name of the upload, with or without quotes; empty if there is none.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<String, Problem> {
    let Some(text) = text(headers, IDEMPOTENCY_KEY)? else { return Ok(String::new()) };
    let quoted = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    let key = quoted.unwrap_or(text);
    if (1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&key.len()) && !key.contains(['"', '\\']) {
        return Ok(key.to_owned());
    }
    let text = format!("must have 1 to {IDEMPOTENCY_KEY_BYTES_MAX} characters without quotes");
    Err(Problem::at(Code::Malformed, display(&IDEMPOTENCY_KEY), text))
}

/// The header's name in the capitalization of the protocol's text.
fn display(name: &HeaderName) -> String {
    let parts = name.as_str().split('-').map(|part| {
        let mut letters = part.chars();
        let first = letters.next().map(|letter| letter.to_ascii_uppercase());
        first.into_iter().chain(letters).collect::<String>()
    });
    parts.collect::<Vec<_>>().join("-")
}

fn number(headers: &HeaderMap, name: HeaderName) -> Result<Length, Problem> {
    let malformed = |text| Problem::at(Code::Malformed, display(&name), text);
    let text = text(headers, name.clone())?.ok_or_else(|| malformed("is missing"))?;
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(malformed("must be a whole number of bytes"));
    }
    let bytes = text.parse().ok().filter(|bytes| i64::try_from(*bytes).is_ok());
    Ok(bytes.map_or(Length::Endless, Length::Bytes))
}

/// Reads `Upload-Length` of a creation request.
pub(super) fn upload_length(headers: &HeaderMap) -> Result<Length, Problem> {
    let not_offered = |name: &str, what: &str| {
        Problem::at(Code::Malformed, name, format!("{what} is not supported"))
    };
    if headers.contains_key("upload-defer-length") {
        return Err(not_offered("Upload-Defer-Length", "a deferred length"));
    }
    if headers.contains_key("upload-concat") {
        return Err(not_offered("Upload-Concat", "concatenation"));
    }
    match number(headers, LENGTH)? {
        Length::Bytes(0) => Err(Problem::field("Upload-Length", "must be at least 1")),
        length => Ok(length),
    }
}

/// Reads `Upload-Offset` of a PATCH; a value beyond every length becomes one that matches no
/// upload.
pub(super) fn offset(headers: &HeaderMap) -> Result<u64, Problem> {
    match number(headers, OFFSET)? {
        Length::Bytes(bytes) => Ok(bytes),
        Length::Endless => Ok(i64::MAX.unsigned_abs()),
    }
}

/// Checks that the content type is that of bytes at an offset.
pub(super) fn octets(headers: &HeaderMap) -> Result<(), Problem> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case(OCTETS)) {
        return Ok(());
    }
    Err(Problem::new(Code::UnsupportedMediaType, format!("the body must be {OCTETS}")))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn with(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_bytes(value.as_bytes()).unwrap())])
    }

    #[test]
    fn lengths_are_whole_numbers_and_nothing_else() {
        let read = |text| upload_length(&with(LENGTH, text)).map_err(|problem| problem.code);
        assert_eq!(read("1"), Ok(Length::Bytes(1)));
        assert_eq!(read("007"), Ok(Length::Bytes(7)));
        assert_eq!(read("9223372036854775807"), Ok(Length::Bytes(i64::MAX.unsigned_abs())));
        for endless in ["9223372036854775808", "99999999999999999999999999"] {
            assert_eq!(read(endless), Ok(Length::Endless), "{endless}");
        }
        for bad in ["", "-1", "+1", "1e9", "1.0", "0x10", " 1", "1,2", "ten", "\u{fc}"] {
            assert_eq!(read(bad), Err(Code::Malformed), "{bad}");
        }
        assert_eq!(read("0"), Err(Code::InvalidField));
        let absent = upload_length(&HeaderMap::new()).unwrap_err();
        assert_eq!(absent.violations[0].field, "Upload-Length");
        let mut deferred = with(LENGTH, "1");
        deferred.insert("upload-defer-length", HeaderValue::from_static("1"));
        assert_eq!(upload_length(&deferred).unwrap_err().code, Code::Malformed);
        let mut twice = with(LENGTH, "1");
        twice.append(LENGTH, HeaderValue::from_static("2"));
        assert_eq!(upload_length(&twice).unwrap_err().code, Code::Malformed);
    }

    #[test]
    fn a_client_names_an_upload_with_or_without_quotes() {
        let read = |text: &str| idempotency_key(&with(IDEMPOTENCY_KEY, text));
        assert_eq!(read("\"a b-1\"").unwrap(), "a b-1");
        assert_eq!(read("a").unwrap(), "a");
        assert_eq!(read(&"x".repeat(IDEMPOTENCY_KEY_BYTES_MAX)).unwrap().len(), 255);
        assert_eq!(idempotency_key(&HeaderMap::new()).unwrap(), "");
        let long = "x".repeat(IDEMPOTENCY_KEY_BYTES_MAX + 1);
        for bad in ["", "\"\"", "\"", "a\"b", "a\\b", "\u{fc}", long.as_str()] {
            let problem = read(bad).unwrap_err();
            assert_eq!(problem.code, Code::Malformed, "{bad}");
            assert_eq!(problem.violations[0].field, "Idempotency-Key", "{bad}");
        }
    }

    #[test]
    fn bodies_are_bytes_at_an_offset() {
        assert!(octets(&with(header::CONTENT_TYPE, OCTETS)).is_ok());
        for bad in ["application/octet-stream", "", "video/mp4"] {
            let rejected = octets(&with(header::CONTENT_TYPE, bad)).unwrap_err();
            assert_eq!(rejected.code, Code::UnsupportedMediaType, "{bad}");
        }
        assert!(octets(&HeaderMap::new()).is_err());
    }
}
