//! The profiles file, checked before anything is started: control would refuse it, but in its log.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

/// The absolute path of a profiles file that control will take; none when none is named.
///
/// # Errors
/// When the file cannot be read, or after everything that is wrong in it has been told, a line each.
pub(crate) fn check(file: Option<&Path>) -> Result<Option<PathBuf>> {
    let Some(file) = file.filter(|file| !file.as_os_str().is_empty()) else { return Ok(None) };
    let path = file.display();
    let text =
        fs::read_to_string(file).with_context(|| format!("read the profiles file {path}"))?;
    if let Err(faults) = media::profiles::parse(&text) {
        for fault in &faults {
            eprintln!("streaming-service: {path}: {}", crate::output::one_line(fault));
        }
        bail!("the profiles file {path} cannot be used");
    }
    Ok(Some(std::path::absolute(file)?))
}
