//! Preconditions of RFC 9110, section 13, for resources that have a strong ETag and no date.

use http::{HeaderMap, HeaderName, header};

/// The outcome of a request's preconditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Precondition {
    /// Handle the request as if it had no preconditions.
    Proceed,
    /// 304: the client's copy is current.
    NotModified,
    /// 412: the client requires a different version.
    Failed,
}

/// Evaluates `If-Match`, then `If-None-Match`, of a GET or HEAD.
pub(crate) fn evaluate(headers: &HeaderMap, etag: &str) -> Precondition {
    if headers.contains_key(header::IF_MATCH) && !matches(headers, etag) {
        return Precondition::Failed;
    }
    if any(headers, &header::IF_NONE_MATCH, etag, false) {
        return Precondition::NotModified;
    }
    Precondition::Proceed
}

/// Whether `If-Match` contains this ETag.
pub(crate) fn matches(headers: &HeaderMap, etag: &str) -> bool {
    any(headers, &header::IF_MATCH, etag, true)
}

/// Whether a `Range` header applies: without `If-Range`, or if that contains the current ETag. A
/// date never matches, because no dates are sent.
pub(crate) fn range_counts(headers: &HeaderMap, etag: &str) -> bool {
    headers.get(header::IF_RANGE).is_none_or(|value| value.as_bytes() == etag.as_bytes())
}

fn any(headers: &HeaderMap, name: &HeaderName, etag: &str, strong: bool) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).any(|tag| match tag {
        "*" => true,
        _ if strong => tag == etag,
        _ => tag.strip_prefix("W/").unwrap_or(tag) == etag,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    #[test]
    fn if_none_match_compares_weakly_and_if_match_strongly() {
        let outcome = |name: HeaderName, value| evaluate(&headers(name, value), "\"a\"");
        assert_eq!(outcome(header::IF_NONE_MATCH, "\"a\""), Precondition::NotModified);
        assert_eq!(outcome(header::IF_NONE_MATCH, "W/\"a\""), Precondition::NotModified);
        assert_eq!(outcome(header::IF_NONE_MATCH, "\"b\", \"a\""), Precondition::NotModified);
        assert_eq!(outcome(header::IF_NONE_MATCH, "*"), Precondition::NotModified);
        assert_eq!(outcome(header::IF_NONE_MATCH, "\"b\""), Precondition::Proceed);
        assert_eq!(outcome(header::IF_MATCH, "\"a\""), Precondition::Proceed);
        assert_eq!(outcome(header::IF_MATCH, "*"), Precondition::Proceed);
        assert_eq!(outcome(header::IF_MATCH, "W/\"a\""), Precondition::Failed);
        assert_eq!(outcome(header::IF_MATCH, "\"b\""), Precondition::Failed);
    }

    #[test]
    fn if_match_is_evaluated_before_if_none_match() {
        let mut both = headers(header::IF_MATCH, "\"b\"");
        both.insert(header::IF_NONE_MATCH, "\"a\"".parse().unwrap());
        assert_eq!(evaluate(&both, "\"a\""), Precondition::Failed);
    }

    #[test]
    fn stale_or_weak_or_dated_if_range_is_ignored() {
        let counts = |value| range_counts(&headers(header::IF_RANGE, value), "\"a\"");
        assert!(range_counts(&HeaderMap::new(), "\"a\""));
        assert!(counts("\"a\""));
        assert!(!counts("W/\"a\""));
        assert!(!counts("\"b\""));
        assert!(!counts("Wed, 21 Oct 2015 07:28:00 GMT"));
    }
}
