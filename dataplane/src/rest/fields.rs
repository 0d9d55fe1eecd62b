//! Parses JSON bodies and query strings field by field. An unknown field is an error that names it,
//! so that no caller can set fields outside of the API.

use std::time::Duration;

use api::code::{Code, Problem};
use futures::{StreamExt, pin_mut};
use http::{HeaderMap, header};
use serde_json::{Map, Value};
use tokio::time::timeout;

use crate::http::request_body::RequestBody;

/// Largest JSON body.
const JSON_BYTES_MAX: usize = 64 << 10;
/// How long a JSON body may take to arrive.
const JSON_TIME_MAX: Duration = Duration::from_secs(15);
/// Characters of an unknown parameter's name that its error repeats.
const NAME_CHARS_MAX: usize = 64;
/// Maximum number of items of a list in a body.
const ITEMS_MAX: usize = 64;

/// The fields of a JSON object that are not consumed yet.
#[derive(Debug)]
pub(crate) struct Fields(Map<String, Value>);

impl Fields {
    /// Reads a JSON object; a missing body counts as an empty object.
    pub(crate) async fn read(headers: &HeaderMap, body: &RequestBody) -> Result<Self, Problem> {
        if body.is_at_end().await {
            return Ok(Self(Map::new()));
        }
        let kind = headers.get(header::CONTENT_TYPE).map(|value| value.as_bytes());
        let kind = kind.unwrap_or_default().to_ascii_lowercase();
        let json = kind == b"application/json" || kind.starts_with(b"application/json;");
        if !json {
            let text = "the body must be application/json";
            return Err(Problem::new(Code::UnsupportedMediaType, text));
        }
        match timeout(JSON_TIME_MAX, read_body(body)).await {
            Ok(bytes) => Self::parse(&bytes?),
            Err(_) => Err(Problem::new(Code::Malformed, "the body arrived too slowly")),
        }
    }

    fn parse(bytes: &[u8]) -> Result<Self, Problem> {
        match serde_json::from_slice(bytes) {
            Ok(Value::Object(fields)) => Ok(Self(fields)),
            Ok(_) => Err(Problem::new(Code::Malformed, "the body must be a JSON object")),
            Err(error) => {
                Err(Problem::new(Code::Malformed, format!("the body is invalid JSON: {error}")))
            }
        }
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name).filter(|value| !value.is_null())
    }

    /// Takes a string.
    pub(crate) fn text(&mut self, name: &str) -> Result<Option<String>, Problem> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(Problem::field(name, "must be a string")),
        }
    }

    /// Takes a Boolean.
    pub(crate) fn boolean(&mut self, name: &str) -> Result<Option<bool>, Problem> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Bool(boolean)) => Ok(Some(boolean)),
            Some(_) => Err(Problem::field(name, "must be true or false")),
        }
    }

    /// Takes an unsigned integer.
    pub(crate) fn number(&mut self, name: &str) -> Result<Option<u64>, Problem> {
        match self.take(name) {
            None => Ok(None),
            Some(value) => match value.as_u64() {
                Some(number) => Ok(Some(number)),
                None => Err(Problem::field(name, "must be a whole number of at least 0")),
            },
        }
    }

    /// Takes a positive integer. 0 is rejected because it means "not given" in the gRPC message, so
    /// a limit of 0 would remove the limit.
    pub(crate) fn positive_integer(&mut self, name: &str) -> Result<Option<u64>, Problem> {
        match self.number(name)? {
            Some(0) => Err(Problem::field(name, "must be a whole number of at least 1")),
            number => Ok(number),
        }
    }

    /// Takes a list of strings.
    pub(crate) fn texts(&mut self, name: &str) -> Result<Vec<String>, Problem> {
        let items = match self.take(name) {
            None => return Ok(Vec::new()),
            Some(Value::Array(items)) if items.len() <= ITEMS_MAX => items,
            Some(Value::Array(_)) => {
                return Err(Problem::field(name, format!("must have at most {ITEMS_MAX} items")));
            }
            Some(_) => return Err(Problem::field(name, "must be a list")),
        };
        let mut texts = Vec::new();
        for (number, item) in items.into_iter().enumerate() {
            match item {
                Value::String(text) => texts.push(text),
                _ => return Err(Problem::field(format!("{name}[{number}]"), "must be a string")),
            }
        }
        Ok(texts)
    }

    /// Returns an error if any field has not been consumed.
    pub(crate) fn finish(self) -> Result<(), Problem> {
        match self.0.into_iter().next() {
            None => Ok(()),
            Some((name, _)) => Err(Problem::field(name, "is not a field of this request")),
        }
    }
}

async fn read_body(body: &RequestBody) -> Result<Vec<u8>, Problem> {
    let pieces = body.pieces();
    pin_mut!(pieces);
    let mut bytes = Vec::new();
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|error| Problem::new(Code::Malformed, error.to_string()))?;
        if bytes.len() + piece.len() > JSON_BYTES_MAX {
            let text = format!("the body is larger than {JSON_BYTES_MAX} bytes");
            return Err(Problem::new(Code::TooLarge, text));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

/// The paging of a list, from its query string.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Page {
    /// 0 selects the default.
    pub(crate) size: u32,
    pub(crate) token: String,
}

impl Page {
    /// Parses `pageSize` and `pageToken`.
    pub(crate) fn read(query: Option<&str>) -> Result<Self, Problem> {
        let mut page = Self::default();
        for (name, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            match name.as_ref() {
                "pageSize" => {
                    let size = value.parse().ok().filter(|size| (1..=100).contains(size));
                    let wrong = || Problem::field("pageSize", "must be a number from 1 to 100");
                    page.size = size.ok_or_else(wrong)?;
                }
                "pageToken" => page.token = value.into_owned(),
                _ => {}
            }
        }
        Ok(page)
    }
}

/// Rejects a query string with another parameter than the known ones, or with one of them twice.
pub(crate) fn check_parameters(query: Option<&str>, known: &[&str]) -> Result<(), Problem> {
    let mut seen = Vec::with_capacity(known.len());
    for (name, _) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        let text = if !known.contains(&name.as_ref()) {
            "is not a parameter of this request"
        } else if seen.contains(&name) {
            "must appear once"
        } else {
            seen.push(name);
            continue;
        };
        let name: String = name.chars().take(NAME_CHARS_MAX).collect();
        return Err(Problem::at(Code::Malformed, name, text));
    }
    Ok(())
}

/// The value of a query parameter; `None` without it.
pub(crate) fn parameter(query: Option<&str>, name: &str) -> Option<String> {
    let mut pairs = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

/// The numbers of the states in the parameter `state`, which are separated by commas; none without
/// it. `text` is the name of a state.
pub(crate) fn states<S: TryFrom<i32>>(
    query: Option<&str>,
    text: impl Fn(S) -> &'static str,
) -> Result<Vec<i32>, Problem> {
    let Some(list) = parameter(query, "state") else { return Ok(Vec::new()) };
    // 0 is the state that is not specified.
    let known: Vec<(&str, i32)> = (1..)
        .map_while(|number| S::try_from(number).ok().map(|state| (text(state), number)))
        .collect();
    let number = |name: &str| known.iter().find(|(text, _)| *text == name).map(|(_, n)| *n);
    // Each state counts once, so that the message stays small.
    let mut numbers: Vec<i32> =
        list.split(',').map(number).collect::<Option<_>>().ok_or_else(|| {
            let names: Vec<&str> = known.iter().map(|(text, _)| *text).collect();
            let text = format!("must be one or more of {}, separated by commas", names.join(", "));
            Problem::at(Code::Malformed, "state", text)
        })?;
    numbers.sort_unstable();
    numbers.dedup();
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_fields_are_rejected_by_name() {
        let mut fields = Fields::parse(br#"{"title": "a", "tenant": "b", "owner": null}"#).unwrap();
        assert_eq!(fields.text("title").unwrap(), Some("a".to_owned()));
        let problem = fields.finish().unwrap_err();
        assert!(["owner", "tenant"].contains(&problem.violations[0].field.as_str()));
    }

    #[test]
    fn wrong_kinds_name_the_field() {
        let body = br#"{"a": 1, "b": "x", "c": -1, "d": ["x", 2], "e": {}, "f": null}"#;
        let mut fields = Fields::parse(body).unwrap();
        let field = |problem: Problem| problem.violations[0].field.clone();
        let mut zero = Fields::parse(br#"{"a": 0, "b": 0, "c": 1}"#).unwrap();
        assert_eq!(field(zero.positive_integer("a").unwrap_err()), "a");
        assert_eq!((zero.number("b"), zero.positive_integer("c")), (Ok(Some(0)), Ok(Some(1))));
        assert_eq!(field(fields.text("a").unwrap_err()), "a");
        assert_eq!(field(fields.boolean("b").unwrap_err()), "b");
        assert_eq!(field(fields.number("c").unwrap_err()), "c");
        assert_eq!(field(fields.texts("d").unwrap_err()), "d[1]");
        assert_eq!(field(fields.texts("e").unwrap_err()), "e");
        assert_eq!(fields.text("f").unwrap(), None);
        fields.finish().unwrap();
    }

    #[test]
    fn bodies_must_be_objects() {
        for bad in [&b"[]"[..], b"1", b"{", b"\xff", b"", b"{} {}"] {
            assert_eq!(Fields::parse(bad).unwrap_err().code, Code::Malformed);
        }
    }

    #[test]
    fn page_sizes_are_checked() {
        assert_eq!(Page::read(None).unwrap(), Page::default());
        let page = Page::read(Some("pageSize=5&pageToken=a%2Bb&x=y")).unwrap();
        assert_eq!((page.size, page.token.as_str()), (5, "a+b"));
        for bad in ["pageSize=0", "pageSize=101", "pageSize=", "pageSize=-1", "pageSize=x"] {
            assert_eq!(Page::read(Some(bad)).unwrap_err().violations[0].field, "pageSize");
        }
    }

    #[test]
    fn unknown_and_repeated_parameters_are_rejected_by_name() {
        let known = ["q", "pageSize"];
        assert_eq!(check_parameters(None, &known), Ok(()));
        assert_eq!(check_parameters(Some("pageSize=5&q=&"), &known), Ok(()));
        let long = format!("{}=1", "x".repeat(1000));
        for (query, field) in [
            ("q=a&x=1", "x"),
            ("Q=a", "Q"),
            ("q=a&q=b", "q"),
            ("=1", ""),
            ("%71=a&page%53ize=1&q=", "q"),
            (long.as_str(), &long[..NAME_CHARS_MAX]),
        ] {
            let problem = check_parameters(Some(query), &known).unwrap_err();
            assert_eq!(
                (problem.code, problem.violations[0].field.as_str()),
                (Code::Malformed, field)
            );
        }
    }

    #[test]
    fn states_are_read_by_name() {
        use super::super::json::{job_state, video_state};
        let of_videos = |query: &str| states(Some(query), video_state);
        let of_jobs = |query: &str| states(Some(query), job_state);
        assert_eq!(states(None, job_state), Ok(Vec::new()));
        assert_eq!(of_videos("state=ready,uploading,ready"), Ok(vec![1, 5]));
        assert_eq!(of_videos("state=failed"), Ok(vec![6]));
        assert_eq!(of_jobs("state=queued%2Ccancelled"), Ok(vec![1, 5]));
        for bad in ["state=", "state=ready,", "state=Ready", "state=unknown", "state=queued"] {
            let problem = of_videos(bad).unwrap_err();
            assert_eq!(
                (problem.code, problem.violations[0].field.as_str()),
                (Code::Malformed, "state")
            );
        }
    }
}
