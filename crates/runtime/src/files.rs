//! Replaces files so that readers see either the old or the new content, also after a power
//! failure.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

/// Distinguishes temporary files of one process.
static NUMBER: AtomicU64 = AtomicU64::new(0);

/// Writes `bytes` to a temporary file beside `path` and renames it into place. The file gets the
/// permissions `mode`, reduced by the umask, also if a file with others exists.
///
/// # Errors
/// The file cannot be written or renamed; an existing file is then unchanged.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(format!(".{}-{number}.tmp", std::process::id()));
    replace_by(&path.with_file_name(name), path, bytes, mode)
}

/// The same through a temporary file of the caller's choice, on the same file system.
///
/// # Errors
/// As of [`replace`].
pub fn replace_by(temporary: &Path, path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let replaced = write(temporary, bytes, mode).and_then(|()| fs::rename(temporary, path));
    if replaced.is_err() {
        // The file may not exist.
        let _ = fs::remove_file(temporary);
        return replaced;
    }
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    // A file of a killed process with the same id may have other permissions.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

    use super::{replace, replace_by};

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let name = format!("runtime-files-{name}-{}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_replaced_file_has_the_new_content_and_permissions() {
        let folder = Folder::new("content");
        let path = folder.0.join("token");
        fs::write(&path, "old").unwrap();
        replace(&path, b"new", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 1);
    }

    #[test]
    fn permissions_of_a_leftover_temporary_file_are_not_used() {
        let folder = Folder::new("leftover");
        let (temporary, path) = (folder.0.join("draft"), folder.0.join("token"));
        fs::write(&temporary, "half").unwrap();
        replace_by(&temporary, &path, b"new", 0o600).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!temporary.exists());
    }

    #[test]
    fn a_failed_replacement_leaves_no_temporary_file() {
        let folder = Folder::new("failed");
        let path = folder.0.join("folder");
        fs::create_dir(&path).unwrap();
        assert!(replace(&path, b"new", 0o600).is_err());
        assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 1);
        assert!(replace(&folder.0.join("missing/file"), b"", 0o600).is_err());
    }
}
