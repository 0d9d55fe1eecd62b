//! The profiles that this instance plans with: the operator's file, or the built-in ones.

use std::{fs, path::Path};

use media::{
    ladder::{Profile, default_profiles},
    profiles::{self, FILE_BYTES_MAX},
};
use thiserror::Error;

/// Why the profiles file is not taken.
#[derive(Debug, Error)]
pub enum ProfilesError {
    /// It cannot be read.
    #[error("read the profiles file {path}: {reason}")]
    Read {
        /// As configured.
        path: String,
        /// What the system says.
        reason: std::io::Error,
    },
    /// Something in it is wrong: one line each.
    #[error("{}", lines(path, faults))]
    Faults {
        /// As configured.
        path: String,
        /// Everything that is wrong, naming table and field.
        faults: Vec<String>,
    },
}

fn lines(path: &str, faults: &[String]) -> String {
    let lines: Vec<String> = faults.iter().map(|fault| format!("{path}: {fault}")).collect();
    lines.join("\n")
}

/// Reads `file`; without one, or with an empty name, the built-in profiles.
///
/// # Errors
/// [`ProfilesError`] with everything that is wrong.
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
    profiles::parse(&text).map_err(|faults| ProfilesError::Faults { path, faults })
}
