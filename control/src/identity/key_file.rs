//! Reads the root key file.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use authz::RootKeys;
use thiserror::Error;

/// Errors while reading the root key file.
#[derive(Debug, Error)]
pub enum KeyFileError {
    /// The file cannot be read.
    #[error("access key file {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        #[source]
        source: io::Error,
    },
    /// The file does not contain root keys. Contains no part of its content.
    #[error("key file {0} does not contain root keys")]
    Content(PathBuf),
}

/// Reads the root keys.
///
/// # Errors
/// The file cannot be read, or does not contain root keys.
pub fn load(path: &Path) -> Result<RootKeys, KeyFileError> {
    let text =
        fs::read(path).map_err(|source| KeyFileError::File { path: path.to_owned(), source })?;
    RootKeys::parse(&text).map_err(|_| KeyFileError::Content(path.to_owned()))
}
