//! Checks the profiles file before anything is started: control would reject it, too, but only in
//! its log.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

/// The absolute path of a valid profiles file; `None` if no file is named.
///
/// # Errors
/// If the file cannot be read or is invalid; each problem in it has been printed on its own line by
/// then.
pub(crate) fn check(file: Option<&Path>) -> Result<Option<PathBuf>> {
    let Some(file) = file.filter(|file| !file.as_os_str().is_empty()) else { return Ok(None) };
    let path = file.display();
    let text =
        fs::read_to_string(file).with_context(|| format!("read the profiles file {path}"))?;
    if let Err(problems) = media::profiles::parse(&text) {
        for problem in &problems {
            eprintln!("streaming-service: {path}: {}", crate::output::one_line(problem));
        }
        bail!("the profiles file {path} cannot be used");
    }
    Ok(Some(std::path::absolute(file)?))
}
