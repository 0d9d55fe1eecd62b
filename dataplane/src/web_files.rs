//! The files that `tools/build-web` makes in `web/dist`, compiled into the program. Without them
//! the program works, too; its pages then show how to build them.
//!
//! **Invariant:** a request's path is only a key of a table in memory, never a path on disk.

use std::{
    collections::HashMap,
    fmt::{self, Debug, Formatter},
    sync::{Arc, LazyLock},
};

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, header};
use rust_embed::RustEmbed;

use crate::http::{
    cache::CachePolicy,
    conditions::{self, Precondition},
    reply::{self, Body, Reply, Text},
};

/// Content codings by preference, with the extension of the compressed file. The coding of the last
/// one is the plain file.
const CODINGS: [(&str, &str); 3] = [("br", ".br"), ("gzip", ".gz"), ("", "")];
/// Folders whose files have a digest in their names.
const HASHED: [&str; 2] = ["console/_app/immutable/", "player/"];

static EMBEDDED: LazyLock<WebFiles> = LazyLock::new(|| {
    let bytes = |path: &str| Embedded::get(path).map(|file| Bytes::from(file.data.into_owned()));
    WebFiles::new(Embedded::iter().filter_map(|path| Some((path.to_string(), bytes(&path)?))))
});

#[derive(RustEmbed)]
#[folder = "../web/dist"]
#[allow_missing = true]
struct Embedded;

/// The built files of the console and the player, by their path below `web/dist`.
#[derive(Clone)]
pub struct WebFiles(Arc<HashMap<String, WebFile>>);

/// A file with its compressed forms.
pub(crate) struct WebFile {
    /// In the order of [`CODINGS`].
    forms: [Option<Form>; CODINGS.len()],
    content_type: &'static str,
    cache: CachePolicy,
}

struct Form {
    bytes: Bytes,
    etag: String,
}

impl WebFiles {
    /// Groups files by their path; `name.br` and `name.gz` are compressed forms of `name`.
    pub fn new(files: impl IntoIterator<Item = (String, Bytes)>) -> Self {
        let files: HashMap<String, Bytes> = files.into_iter().collect();
        let form = |path: String| {
            let bytes = files.get(&path)?.clone();
            Some(Form { etag: Text::new(bytes.clone()).etag(), bytes })
        };
        let compressed = |path: &str| {
            let mut codings = CODINGS.iter().filter(|(coding, _)| !coding.is_empty());
            codings.any(|(_, extension)| {
                path.strip_suffix(extension).is_some_and(|plain| files.contains_key(plain))
            })
        };
        let plain = files.keys().filter(|path| !compressed(path));
        let grouped = plain.map(|path| {
            let forms = CODINGS.map(|(_, extension)| form(format!("{path}{extension}")));
            let hashed = HASHED.iter().any(|folder| path.starts_with(folder));
            let cache = if hashed { CachePolicy::Immutable } else { CachePolicy::Revalidate };
            (path.clone(), WebFile { forms, content_type: content_type(path), cache })
        });
        Self(Arc::new(grouped.collect()))
    }

    /// The file with this path.
    pub(crate) fn get(&self, path: &str) -> Option<&WebFile> {
        self.0.get(path)
    }
}

impl Default for WebFiles {
    /// The files that are compiled in; none if they were not built.
    fn default() -> Self {
        EMBEDDED.clone()
    }
}

impl Debug for WebFiles {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} web files", self.0.len())
    }
}

impl WebFile {
    /// The content of the plain file.
    pub(crate) fn plain(&self) -> &[u8] {
        self.forms.last().and_then(Option::as_ref).map_or(&[], |form| &form.bytes)
    }

    /// Replies to a GET or HEAD with the first form that the client accepts: 200, 304 or 412.
    pub(crate) fn reply(&self, request: &HeaderMap) -> Reply {
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
