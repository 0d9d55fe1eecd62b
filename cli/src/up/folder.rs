//! The data folder: its layout, its permissions, and the lock that prevents a second `up` on it.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};
use runtime::files;

/// The data folder, locked until dropped.
pub(crate) struct Folder {
    pub(crate) root: PathBuf,
    _lock: Flock<File>,
}

impl Folder {
    /// Creates the folder if it is missing and locks it.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        make_private(path).with_context(|| format!("create the data folder {}", path.display()))?;
        let root = path.canonicalize()?;
        let lock = root.join("lock");
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = file.open(&lock).with_context(|| format!("open {}", lock.display()))?;
        let lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => lock,
            Err((_, Errno::EWOULDBLOCK)) => {
                bail!("the data folder {} is in use by another instance", root.display())
            }
            Err((_, error)) => {
                return Err(error)
                    .with_context(|| format!("lock the data folder {}", root.display()));
            }
        };
        let folder = Self { root, _lock: lock };
        for path in [folder.run(), folder.root.join("logs"), folder.store(), folder.scratch()] {
            make_private(&path).with_context(|| format!("create {}", path.display()))?;
        }
        Ok(folder)
    }

    /// Addresses, tokens and sockets of the current run.
    pub(crate) fn run(&self) -> PathBuf {
        self.root.join("run")
    }

    /// The Postgres cluster.
    pub(crate) fn cluster(&self) -> PathBuf {
        self.root.join("postgres")
    }

    /// The default object store.
    pub(crate) fn store(&self) -> PathBuf {
        self.root.join("store")
    }

    /// The workers' temporary files.
    pub(crate) fn scratch(&self) -> PathBuf {
        self.root.join("scratch")
    }

    /// A child's log.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.root.join("logs").join(format!("{name}.log"))
    }

    /// The admin's token.
    pub(crate) fn admin_token(&self) -> PathBuf {
        self.root.join("admin.token")
    }

    /// Removes the files that the workers of a killed run left in the scratch folder.
    pub(crate) fn clear_scratch(&self) -> io::Result<()> {
        fs::remove_dir_all(self.scratch())?;
        make_private(&self.scratch())
    }
}

/// Creates a folder that only its owner may enter, with its parents; leaves an existing one as it
/// is.
pub(crate) fn make_private(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Writes a file that only its owner may read. The file is replaced atomically: readers never see a
/// part of it.
pub(crate) fn write_private(path: &Path, text: &str) -> Result<()> {
    let written = files::replace(path, text.as_bytes(), 0o600);
    written.with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn temporary(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("streaming-{name}-{}", std::process::id()))
    }

    #[test]
    fn a_second_instance_on_a_folder_is_rejected() {
        let path = temporary("lock");
        let first = Folder::open(&path).unwrap();
        let error = Folder::open(&path).err().unwrap().to_string();
        assert!(error.contains(&first.root.display().to_string()), "{error}");
        drop(first);
        drop(Folder::open(&path).unwrap());
        fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn secrets_are_private_even_when_overwritten() {
        let path = temporary("secret");
        fs::write(&path, "old").unwrap();
        write_private(&path, "new").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        fs::remove_file(&path).unwrap();
    }
}
