//! Describes a store's error in one line. The body of a response may quote the request, so it is
//! never passed on.

use std::{error::Error as _, fmt};

use object_store::client::{HttpError, HttpErrorKind};

/// Why a store failed to serve a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// The store cannot be reached.
    Unreachable(String),
    /// The request timed out.
    Slow,
    /// The bucket does not exist.
    NoBucket,
    /// The object does not exist.
    NotFound,
    /// The credentials are invalid or lack permission: S3's own code, for example
    /// `InvalidAccessKeyId`.
    Denied(String),
    /// The store itself failed: S3's code, or the status.
    Failing(String),
    /// Any other error.
    Other(String),
}

impl StoreErrorKind {
    /// Whether a later retry may succeed.
    pub fn passing(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Slow | Self::Failing(_) | Self::Other(_))
    }
}

impl fmt::Display for StoreErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(why) => write!(f, "not reachable ({why})"),
            Self::Slow => f.write_str("timeout"),
            Self::NoBucket => f.write_str("no such bucket"),
            Self::NotFound => f.write_str("no such object"),
            Self::Denied(code) => write!(f, "access denied ({code})"),
            Self::Failing(code) => write!(f, "store failure ({code})"),
            Self::Other(text) => f.write_str(text),
        }
    }
}

/// S3's error codes for invalid credentials or missing permissions.
const DENIED_CODES: [&str; 6] = [
    "AccessDenied",
    "AllAccessDisabled",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidToken",
    "SignatureDoesNotMatch",
];

/// Classifies an error, without secrets and without the text of the response.
pub fn explain(error: &object_store::Error) -> StoreErrorKind {
    let text = error.to_string();
    let code = between(&text, "<Code>", "</Code>").map(str::to_owned);
    let named = |fallback: &str| code.clone().unwrap_or_else(|| fallback.to_owned());
    // Not all calls classify responses by their status.
    match code.as_deref() {
        Some("NoSuchBucket") => return StoreErrorKind::NoBucket,
        Some("NoSuchKey") => return StoreErrorKind::NotFound,
        Some(code) if DENIED_CODES.contains(&code) => {
            return StoreErrorKind::Denied(code.to_owned());
        }
        _ => {}
    }
    match error {
        object_store::Error::NotFound { .. } => return StoreErrorKind::NotFound,
        object_store::Error::PermissionDenied { .. }
        | object_store::Error::Unauthenticated { .. } => {
            return StoreErrorKind::Denied(named("403"));
        }
        _ => {}
    }
    if let Some(kind) = transport(error) {
        return kind;
    }
    if let Some(code) = code {
        return StoreErrorKind::Failing(code);
    }
    if let Some(status) = between(&text, "status code: ", ":") {
        return StoreErrorKind::Failing(status.trim().to_owned());
    }
    let first = text.lines().next().unwrap_or_default();
    // Drop URLs, because they may be signed.
    let plain = first.split_whitespace().filter(|word| !word.contains("://"));
    StoreErrorKind::Other(plain.collect::<Vec<_>>().join(" "))
}

/// The error below HTTP.
fn transport(error: &object_store::Error) -> Option<StoreErrorKind> {
    let mut cause = error.source();
    let mut found = None;
    while let Some(inner) = cause {
        if let Some(http) = inner.downcast_ref::<HttpError>() {
            found = Some(http.kind());
        }
        if let Some(io) = inner.downcast_ref::<std::io::Error>()
            && found.is_some()
        {
            return Some(match io.kind() {
                std::io::ErrorKind::TimedOut => StoreErrorKind::Slow,
                kind => StoreErrorKind::Unreachable(kind.to_string()),
            });
        }
        cause = inner.source();
    }
    Some(match found? {
        HttpErrorKind::Timeout => StoreErrorKind::Slow,
        HttpErrorKind::Connect => StoreErrorKind::Unreachable("cannot connect".to_owned()),
        _ => StoreErrorKind::Unreachable("connection lost".to_owned()),
    })
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let rest = &text[text.find(before)? + before.len()..];
    let end = rest.find(after)?;
    // S3's codes are short words.
    (end <= 64).then(|| &rest[..end])
}

#[cfg(test)]
mod tests {
    use super::{StoreErrorKind, explain};

    fn generic(text: &str) -> object_store::Error {
        object_store::Error::Generic { store: "S3", source: text.to_owned().into() }
    }

    #[test]
    fn error_texts_do_not_quote_replies() {
        let body = "Server returned non-2xx status code: 503 Service Unavailable: \
                    <Error><Code>SlowDown</Code><Secret>hunter2</Secret></Error>";
        assert_eq!(explain(&generic(body)), StoreErrorKind::Failing("SlowDown".to_owned()));
        let bare = "Error performing GET http://h/?X-Amz-Signature=abc in 1s - Server returned non-2xx \
                    status code: 500 Internal Server Error: hunter2";
        let text = explain(&generic(bare)).to_string();
        assert!(text.contains("500") && !text.contains("hunter2"), "{text}");
        let signed = explain(&generic("oops at http://h/?X-Amz-Signature=abc"));
        assert!(!signed.to_string().contains("abc"));
    }

    #[test]
    fn a_missing_bucket_differs_from_a_missing_object() {
        let missing = |text: &str| object_store::Error::NotFound {
            path: "x".to_owned(),
            source: text.to_owned().into(),
        };
        assert_eq!(explain(&missing("<Code>NoSuchBucket</Code>")), StoreErrorKind::NoBucket);
        assert_eq!(explain(&missing("<Code>NoSuchKey</Code>")), StoreErrorKind::NotFound);
        assert!(!StoreErrorKind::NoBucket.passing() && StoreErrorKind::Slow.passing());
    }
}
