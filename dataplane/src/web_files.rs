//! The files that `tools/build-web` makes in `web/dist`, compiled into the program. Without them
//! the program works, too; its pages then show how to build them.

use std::{
    collections::HashMap,
    fmt::{self, Debug, Formatter},
    sync::{Arc, LazyLock},
};

use bytes::Bytes;
use rust_embed::RustEmbed;

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
pub struct WebFiles(Arc<HashMap<String, Bytes>>);

impl WebFiles {
    /// Files by their path; `name.br` and `name.gz` are compressed forms of `name`.
    pub fn new(files: impl IntoIterator<Item = (String, Bytes)>) -> Self {
        Self(Arc::new(files.into_iter().collect()))
    }

    /// Their paths.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &String> {
        self.0.keys()
    }

    /// The bytes of the file with exactly this path.
    pub(crate) fn get(&self, path: &str) -> Option<&Bytes> {
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
