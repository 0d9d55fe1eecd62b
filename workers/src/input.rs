//! How FFmpeg opens a source: a file, or a path of the worker's proxy.
//!
//! A leaf: it imports no other module of the worker.

use std::{
    ffi::OsString,
    ops::Range,
    path::{Path, PathBuf},
};

/// How FFmpeg opens a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A file.
    File(PathBuf),
    /// A secret path of the proxy on this port of the loopback.
    Loopback {
        /// The only port that FFmpeg may connect to.
        port: u16,
        /// Begins with a slash.
        path: String,
    },
    /// A byte range of either, which FFmpeg reads as a separate file.
    Part {
        /// The complete input.
        of: Box<Input>,
        /// The byte range.
        bytes: Range<u64>,
    },
}

impl Input {
    /// The value of FFmpeg's `-i`.
    pub fn url(&self) -> OsString {
        match self {
            Self::File(path) => {
                let mut url = OsString::from("file:");
                url.push(path);
                url
            }
            Self::Loopback { port, path } => format!("http://127.0.0.1:{port}{path}").into(),
            Self::Part { of, bytes } => {
                let Range { start, end } = bytes;
                let mut url = OsString::from(format!("subfile,,start,{start},end,{end},,:"));
                url.push(of.url());
                url
            }
        }
    }

    /// The path, if the input is a file.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Loopback { .. } => None,
            Self::Part { of, .. } => of.file(),
        }
    }

    /// The proxy's port, if the input is read through the proxy.
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::File(_) => None,
            Self::Loopback { port, .. } => Some(*port),
            Self::Part { of, .. } => of.port(),
        }
    }

    /// The given byte range of the input; without a range, the whole input.
    pub fn part(&self, bytes: Option<Range<u64>>) -> Self {
        match bytes {
            Some(bytes) => Self::Part { of: Box::new(self.clone()), bytes },
            None => self.clone(),
        }
    }
}

impl From<&Path> for Input {
    fn from(path: &Path) -> Self {
        Self::File(path.to_owned())
    }
}
