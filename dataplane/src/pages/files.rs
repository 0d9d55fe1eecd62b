//! Serves the built files: the form that the client accepts, with its validator.
//!
//! **Invariant:** a request's path is only a key of a table in memory, never a path on disk.

use std::collections::HashMap;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, header};

use crate::{
    http::{
        cache::CachePolicy,
        conditions::{self, Precondition},
        reply::{self, Body, Reply, Text},
    },
    web_files::WebFiles,
};

/// Content codings by preference, with the extension of the compressed file. The coding of the last
/// one is the plain file.
const CODINGS: [(&str, &str); 3] = [("br", ".br"), ("gzip", ".gz"), ("", "")];
/// Folders whose files have a digest in their names.
const HASHED: [&str; 2] = ["console/_app/immutable/", "player/"];

/// The files, by their path below `web/dist`, with their compressed forms.
pub(super) struct ServedFiles(HashMap<String, WebFile>);

/// A file with its compressed forms.
pub(super) struct WebFile {
    /// In the order of [`CODINGS`].
    forms: [Option<Form>; CODINGS.len()],
    content_type: &'static str,
    cache: CachePolicy,
}

struct Form {
    bytes: Bytes,
    etag: String,
}

impl ServedFiles {
    /// Groups the files by their path.
    pub(super) fn new(files: &WebFiles) -> Self {
        let form = |path: String| {
            let bytes = files.get(&path)?.clone();
            Some(Form { etag: Text::new(bytes.clone()).etag(), bytes })
        };
        let compressed = |path: &str| {
            let mut codings = CODINGS.iter().filter(|(coding, _)| !coding.is_empty());
            codings.any(|(_, extension)| {
                path.strip_suffix(extension).is_some_and(|plain| files.get(plain).is_some())
            })
        };
        let grouped = files.paths().filter(|path| !compressed(path)).map(|path| {
            let forms = CODINGS.map(|(_, extension)| form(format!("{path}{extension}")));
            let hashed = HASHED.iter().any(|folder| path.starts_with(folder));
            let cache = if hashed { CachePolicy::Immutable } else { CachePolicy::Revalidate };
            (path.clone(), WebFile { forms, content_type: content_type(path), cache })
        });
        Self(grouped.collect())
    }

    /// The file with this path.
    pub(super) fn get(&self, path: &str) -> Option<&WebFile> {
        self.0.get(path)
    }
}

impl WebFile {
    /// Replies to a GET or HEAD with the first form that the client accepts: 200, 304 or 412.
    pub(super) fn reply(&self, request: &HeaderMap) -> Reply {
        let accepted = |coding: &str| coding.is_empty() || reply::accepts(request, coding);
        let mut forms = CODINGS.iter().zip(&self.forms);
        let chosen = forms.find_map(|((coding, _), form)| {
            form.as_ref().filter(|_| accepted(coding)).map(|form| (*coding, form))
        });
        // A plain form exists and is always accepted.
        let Some((coding, form)) = chosen else { return reply::status(StatusCode::NOT_FOUND) };
        let mut reply = match conditions::evaluate(request, &form.etag) {
            Precondition::Failed => return reply::precondition_failed(),
            Precondition::NotModified => reply::status(StatusCode::NOT_MODIFIED),
            Precondition::Proceed => {
                let mut reply = Response::new(Body::full(form.bytes.clone()));
                reply::set(&mut reply, header::CONTENT_TYPE, self.content_type);
                if !coding.is_empty() {
                    reply::set(&mut reply, header::CONTENT_ENCODING, coding);
                }
                reply
            }
        };
        reply::set(&mut reply, header::ETAG, &form.etag);
        reply.headers_mut().insert(header::CACHE_CONTROL, self.cache.header(false));
        reply::set(&mut reply, header::VARY, "Accept-Encoding");
        reply
    }
}

/// The media type of a file, by the extensions that the build writes.
fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" => "image/jpeg",
        "webp" => "image/webp",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}
