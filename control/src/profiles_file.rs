//! Reads the profiles that this instance plans with: from the operator's file, or the built-in
//! ones.

use std::{fs, path::Path};

use media::{
    ladder::{Profile, default_profiles},
    profiles::{self, FILE_BYTES_MAX},
};
use thiserror::Error;

/// Why the profiles file is rejected.
#[derive(Debug, Error)]
pub enum ProfilesError {
    /// The file cannot be read.
    #[error("read the profiles file {path}: {reason}")]
    Read {
        /// The path as configured.
        path: String,
        /// The system's error.
        reason: std::io::Error,
    },
    /// The content is invalid: one line per problem.
    #[error("{}", lines(path, problems))]
    Invalid {
        /// The path as configured.
        path: String,
        /// All problems, each naming table and field.
        problems: Vec<String>,
    },
}

fn lines(path: &str, problems: &[String]) -> String {
    let lines: Vec<String> = problems.iter().map(|problem| format!("{path}: {problem}")).collect();
    lines.join("\n")
}

/// Reads `file`. Without a file, or if its name is empty, returns the built-in profiles.
///
/// # Errors
/// The file cannot be read, or its content is invalid; the error lists all problems.
pub fn load(file: Option<&Path>) -> Result<Vec<Profile>, ProfilesError> {
    let Some(file) = file.filter(|file| !file.as_os_str().is_empty()) else {
        return Ok(default_profiles());
    };
    let path = file.display().to_string();
    let read = |reason| ProfilesError::Read { path: path.clone(), reason };
    let too_large = || std::io::Error::other(format!("is larger than {FILE_BYTES_MAX} bytes"));
    if fs::metadata(file).map_err(read)?.len() > FILE_BYTES_MAX as u64 {
        return Err(read(too_large()));
    }
    let text = fs::read_to_string(file).map_err(read)?;
    profiles::parse(&text).map_err(|problems| ProfilesError::Invalid { path, problems })
}
