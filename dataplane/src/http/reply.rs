//! Replies: bodies, problem documents, conditional text documents.
//!
//! Policy for 401, 403 and 404: missing credentials where some are required are 401; a resource
//! whose existence the caller may not know is 404; a playback token that does not permit the
//! request is 403.

pub(crate) mod body;

use std::{
    io::Write,
    sync::{Arc, OnceLock},
};

use api::code::{Code, Problem};
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::http::{
    cache::CachePolicy,
    conditions::{self, Precondition},
};
pub(crate) use body::Body;

/// The reply of every handler.
pub(crate) type Reply = Response<Body>;

/// Below this size gzip saves nothing or makes a text longer.
const GZIP_BYTES_MIN: usize = 64;
/// Suffix of the ETag of the gzipped form, whose bytes are different.
const GZIP_MARK: &str = "-gz";

/// A reply with this status and no body.
pub(crate) fn status(status: StatusCode) -> Reply {
    let mut reply = Response::new(Body::empty());
    *reply.status_mut() = status;
    reply
}

/// Sets a header to a value that this plane created; an invalid value is skipped.
pub(crate) fn set(reply: &mut Reply, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        reply.headers_mut().insert(name, value);
    }
}

/// JSON that must not be cached.
pub(crate) fn json(code: StatusCode, value: &serde_json::Value) -> Reply {
    let mut reply = Response::new(Body::full(value.to_string().into()));
    *reply.status_mut() = code;
    set(&mut reply, header::CONTENT_TYPE, "application/json");
    reply.headers_mut().insert(header::CACHE_CONTROL, CachePolicy::NoStore.header(true));
    reply
}

/// An error as `application/problem+json` (RFC 9457).
pub(crate) fn problem(problem: &Problem) -> Reply {
    let code =
        StatusCode::from_u16(problem.code.http()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    problem_with_status(code, problem)
}

/// Like [`problem`], with a status that does not follow from the code.
pub(crate) fn problem_with_status(code: StatusCode, problem: &Problem) -> Reply {
    let errors: Vec<_> = problem
        .violations
        .iter()
        .map(|v| json!({ "field": v.field, "message": v.message }))
        .collect();
    let mut document = json!({
        "type": "about:blank",
        "title": code.canonical_reason().unwrap_or("Error"),
        "status": code.as_u16(),
        "detail": problem.message,
        "code": problem.code.text(),
        "errors": errors,
    });
    if let Some(video) = &problem.video_id {
        document["videoId"] = video.as_str().into();
    }
    let mut reply = json(code, &document);
    set(&mut reply, header::CONTENT_TYPE, "application/problem+json");
    if code == StatusCode::UNAUTHORIZED {
        set(&mut reply, header::WWW_AUTHENTICATE, "Bearer realm=\"streaming-service\"");
    }
    if let Some(after) = problem.retry_after {
        set(&mut reply, header::RETRY_AFTER, &after.as_secs().max(1).to_string());
    } else if matches!(problem.code, Code::Unavailable | Code::NotReady) {
        set(&mut reply, header::RETRY_AFTER, "1");
    }
    reply
}

/// A text with its validator; hashed once, gzipped at most once.
pub(crate) struct Text {
    body: Bytes,
    digest: String,
    gzipped: OnceLock<Bytes>,
}

impl Text {
    /// The strong ETag of the plain form.
    pub(crate) fn etag(&self) -> String {
        format!("\"{}\"", self.digest)
    }

    /// The strong ETags of both forms, plain and gzipped.
    pub(crate) fn etags(&self) -> [String; 2] {
        ["", GZIP_MARK].map(|mark| format!("\"{}{mark}\"", self.digest))
    }

    /// Creates a text and hashes it.
    pub(crate) fn new(body: impl Into<Bytes>) -> Self {
        let body = body.into();
        let digest = hex::encode(&Sha256::digest(&body)[..16]);
        Self { body, digest, gzipped: OnceLock::new() }
    }

    /// Compresses the text now if the client of `request` gets it gzipped; otherwise the first
    /// reply does.
    pub(crate) fn compressed_for(self, request: &HeaderMap) -> Self {
        if self.is_gzipped_for(request) {
            self.gzipped();
        }
        self
    }

    fn is_gzipped_for(&self, request: &HeaderMap) -> bool {
        accepts_gzip(request) && self.body.len() >= GZIP_BYTES_MIN
    }

    fn gzipped(&self) -> Bytes {
        self.gzipped.get_or_init(|| compress(&self.body)).clone()
    }
}

/// A text that clients may revalidate: a manifest or JSON.
pub(crate) struct Document {
    /// Its media type.
    pub(crate) content_type: &'static str,
    /// Its `Cache-Control`.
    pub(crate) cache: HeaderValue,
    /// The text.
    pub(crate) text: Arc<Text>,
}

/// Replies to a GET or HEAD with the document: 200, 304 or 412, gzipped if accepted, always with a
/// strong ETag (the gzipped form has a different one, because its bytes are different).
pub(crate) fn document(request: &HeaderMap, document: &Document) -> Reply {
    let text = &document.text;
    let gzip = text.is_gzipped_for(request);
    let [plain, gzipped] = text.etags();
    let etag = if gzip { gzipped } else { plain };
    let mut reply = match conditions::evaluate(request, &etag) {
        Precondition::Failed => return precondition_failed(),
        Precondition::NotModified => status(StatusCode::NOT_MODIFIED),
        Precondition::Proceed if gzip => {
            let mut reply = Response::new(Body::full(text.gzipped()));
            set(&mut reply, header::CONTENT_ENCODING, "gzip");
            reply
        }
        Precondition::Proceed => Response::new(Body::full(text.body.clone())),
    };
    if reply.status() == StatusCode::OK {
        set(&mut reply, header::CONTENT_TYPE, document.content_type);
    }
    set(&mut reply, header::ETAG, &etag);
    reply.headers_mut().insert(header::CACHE_CONTROL, document.cache.clone());
    set(&mut reply, header::VARY, "Accept-Encoding");
    reply
}

/// Replies to a GET with JSON: revalidated, never shared.
pub(crate) fn json_document(request: &HeaderMap, value: &serde_json::Value) -> Reply {
    let text = Arc::new(Text::new(value.to_string()));
    let cache = CachePolicy::Revalidate.header(true);
    document(request, &Document { content_type: "application/json", cache, text })
}

/// The reply to an `If-Match` that does not match.
pub(crate) fn precondition_failed() -> Reply {
    problem(&another_etag())
}

/// The same error as a problem.
pub(crate) fn another_etag() -> Problem {
    Problem::new(Code::PreconditionFailed, "the resource has another ETag")
}

fn accepts_gzip(headers: &HeaderMap) -> bool {
    accepts(headers, "gzip")
}

/// Whether the client accepts this content coding (RFC 9110, 12.5.3), by name or by `*`.
pub(crate) fn accepts(headers: &HeaderMap, wanted: &str) -> bool {
    let values = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|v| v.to_str().ok());
    let mut star = false;
    for coding in values.flat_map(|value| value.split(',')) {
        let (name, parameters) = coding.split_once(';').unwrap_or((coding, ""));
        let quality = parameters.trim().strip_prefix("q=").map_or(Ok(1.0), str::parse::<f32>);
        let accepted = quality.is_ok_and(|quality| quality > 0.0);
        let name = name.trim().to_ascii_lowercase();
        // Formerly experimental names are equivalent (RFC 9110, 8.4.1).
        match name.strip_prefix("x-").unwrap_or(&name) {
            name if name == wanted => return accepted,
            "*" => star = accepted,
            _ => {}
        }
    }
    star
}

fn compress(body: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::new(5));
    // Writing into memory cannot fail.
    let written = encoder.write_all(body).and_then(|()| encoder.finish());
    written.unwrap_or_default().into()
}

/// Gzips a reply that was not created by [`document`]: JSON of a POST, or a problem.
pub(crate) fn gzip_json(request: &HeaderMap, mut reply: Reply) -> Reply {
    let json = reply.headers().get(header::CONTENT_TYPE).is_some_and(|kind| {
        kind.as_bytes().starts_with(b"application/") && kind.as_bytes().ends_with(b"json")
    });
    if !json || reply.headers().contains_key(header::ETAG) {
        return reply;
    }
    set(&mut reply, header::VARY, "Accept-Encoding");
    if !accepts_gzip(request) {
        return reply;
    }
    let Some(text) = reply.body().bytes().filter(|text| text.len() >= GZIP_BYTES_MIN) else {
        return reply;
    };
    *reply.body_mut() = Body::full(compress(text));
    set(&mut reply, header::CONTENT_ENCODING, "gzip");
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepting(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::ACCEPT_ENCODING, value.parse().unwrap())])
    }

    #[test]
    fn gzip_is_negotiated() {
        for yes in ["gzip", "GZip", "deflate, gzip;q=0.5", "*", "br, *;q=0.1"] {
            assert!(accepts_gzip(&accepting(yes)), "{yes}");
        }
        for no in ["", "identity", "gzip;q=0", "gzip; q=0.0", "*;q=0", "*, gzip;q=0"] {
            assert!(!accepts_gzip(&accepting(no)), "{no}");
        }
        assert!(!accepts_gzip(&HeaderMap::new()));
    }

    #[test]
    fn gzipped_form_has_its_own_etag_and_reads_back() {
        use std::io::Read;
        let text = "#EXTM3U\n".repeat(100);
        let make = |headers: &HeaderMap| {
            let (cache, text) =
                (CachePolicy::Revalidate.header(true), Arc::new(Text::new(text.clone())));
            document(headers, &Document { content_type: "text/plain", cache, text })
        };
        let plain = make(&HeaderMap::new());
        let zipped = make(&accepting("gzip"));
        assert_ne!(plain.headers()[header::ETAG], zipped.headers()[header::ETAG]);
        assert_eq!(zipped.headers()[header::CONTENT_ENCODING], "gzip");
        let mut read = String::new();
        let body = zipped.body().bytes().unwrap();
        flate2::read::GzDecoder::new(body).read_to_string(&mut read).unwrap();
        assert_eq!(read, text);
    }

    #[test]
    fn problems_carry_code_fields_and_challenge() {
        let reply = problem(&Problem::field("title", "is too long"));
        assert_eq!(reply.status(), 422);
        assert_eq!(reply.headers()[header::CONTENT_TYPE], "application/problem+json");
        let text: serde_json::Value =
            serde_json::from_slice(reply.body().bytes().unwrap()).unwrap();
        assert_eq!(text["code"], "invalid_field");
        assert_eq!(text["errors"][0]["field"], "title");
        let reply = problem(&Problem::new(Code::Unauthenticated, "no token"));
        assert!(reply.headers().contains_key(header::WWW_AUTHENTICATE));
    }
}
