//! The children's log files: the children append to them, `up` limits their size.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// A larger log is moved to `NAME.log.1`; one such copy is kept.
const LOG_BYTES_MAX: u64 = 32 << 20;
/// How many bytes at the end of a log are searched for its last line.
const TAIL_BYTES_MAX: u64 = 64 << 10;

/// Opens a log for a child.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// Truncates a log that has grown too large and keeps one copy. The children hold the file open for
/// appending, so the file is copied and truncated, not renamed; a line written in between is lost.
pub(crate) fn bound(path: &Path) {
    let large = fs::metadata(path).is_ok_and(|file| file.len() > LOG_BYTES_MAX);
    if !large {
        return;
    }
    // If this fails, the log stays too long and the next check tries again.
    if fs::copy(path, rotated_path(path)).is_ok()
        && let Ok(file) = OpenOptions::new().write(true).open(path)
    {
        let _ = file.set_len(0);
    }
}

fn rotated_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    PathBuf::from(name)
}

/// The last line that is not blank, to be quoted when a child does not start.
pub(crate) fn last_line(path: &Path) -> Option<String> {
    use std::io::{Read, Seek, SeekFrom};
    let mut file = File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES_MAX))).ok()?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let line = text.lines().rev().find(|line| !line.trim().is_empty())?;
    Some(crate::output::one_line(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_log_is_truncated_and_one_copy_kept() {
        let name = format!("streaming-log-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        open(&path).unwrap().set_len(LOG_BYTES_MAX + 1).unwrap();
        bound(&path);
        assert_eq!(fs::metadata(&path).unwrap().len(), 0);
        assert_eq!(fs::metadata(rotated_path(&path)).unwrap().len(), LOG_BYTES_MAX + 1);
        fs::write(&path, "first\nlast \u{7}one\n\n").unwrap();
        assert_eq!(last_line(&path).as_deref(), Some("last one"));
        fs::remove_file(rotated_path(&path)).unwrap();
        fs::remove_file(&path).unwrap();
    }
}
