//! The data folder: what lies where, who may read it, and the lock that keeps a second `up` out.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, lchown},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
    unistd::geteuid,
};

/// The kernel's limit for a unix socket's path, without the final zero byte.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// The data folder, ours alone until dropped.
pub(crate) struct Folder {
    pub(crate) root: PathBuf,
    _lock: Flock<File>,
}

impl Folder {
    /// Makes the folder if it is missing and locks it.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        make_private(path).with_context(|| format!("make the data folder {}", path.display()))?;
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
            make_private(&path).with_context(|| format!("make {}", path.display()))?;
        }
        Ok(folder)
    }

    /// Addresses, tokens and sockets of the present run.
    pub(crate) fn run(&self) -> PathBuf {
        self.root.join("run")
    }

    /// Postgres' cluster.
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

    /// Removes what workers of a killed run left behind.
    pub(crate) fn clear_scratch(&self) -> io::Result<()> {
        fs::remove_dir_all(self.scratch())?;
        make_private(&self.scratch())
    }

    /// A folder for unix sockets whose paths fit the kernel's limit: in the run folder, or, when that
    /// lies too deep, in a private folder below the system's temporary one.
    pub(crate) fn sockets(&self, longest: &str, owner: Option<u32>) -> Result<PathBuf> {
        let near = self.run().join("sockets");
        let fits = near.as_os_str().len() + 1 + longest.len() <= SOCKET_PATH_BYTES_MAX;
        let path = if fits { near } else { self.far_sockets() };
        make_private(&path).with_context(|| format!("make {}", path.display()))?;
        // Somebody else may have made it first in a folder that all may write to.
        let made = fs::symlink_metadata(&path)?;
        let ours = made.uid() == geteuid().as_raw() || Some(made.uid()) == owner;
        if !made.is_dir() || !ours || made.mode() & 0o077 != 0 {
            bail!("{} is not a private folder of ours", path.display());
        }
        if let Some(uid) = owner {
            lchown(&path, Some(uid), None)?;
        }
        Ok(path)
    }

    /// Removes what lies outside of the data folder, once nothing uses it.
    pub(crate) fn tidy(&self) {
        // Mostly there is none.
        let _ = fs::remove_dir(self.far_sockets());
    }

    /// The same for each start, so that kills leave one folder and not many.
    fn far_sockets(&self) -> PathBuf {
        let mut hasher = DefaultHasher::new();
        self.root.hash(&mut hasher);
        let name = format!("streaming-{}-{:016x}", geteuid(), hasher.finish());
        std::env::temp_dir().join(name)
    }
}

/// Makes a folder that only we may enter, with its parents; an existing one is left as it is.
pub(crate) fn make_private(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Writes a file that only we may read. Readers never see half of it.
pub(crate) fn write_private(path: &Path, text: &str) -> Result<()> {
    let draft = path.with_extension("new");
    let write = || {
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        file.set_permissions(Permissions::from_mode(0o600))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&draft, path)
    };
    write().with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn temporary(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("streaming-{name}-{}", std::process::id()))
    }

    #[test]
    fn a_second_instance_is_refused_by_folder() {
        let path = temporary("lock");
        let first = Folder::open(&path).unwrap();
        let refusal = Folder::open(&path).err().unwrap().to_string();
        assert!(refusal.contains(&first.root.display().to_string()), "{refusal}");
        drop(first);
        drop(Folder::open(&path).unwrap());
        fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn deep_folders_get_their_sockets_elsewhere() {
        let path = temporary("deep");
        let deep = path.join("d".repeat(100));
        let folder = Folder::open(&deep).unwrap();
        let sockets = folder.sockets(".s.PGSQL.5432", None).unwrap();
        assert!(!sockets.starts_with(&folder.root));
        assert_eq!(fs::metadata(&sockets).unwrap().mode() & 0o777, 0o700);
        assert_eq!(folder.sockets(".s.PGSQL.5432", None).unwrap(), sockets);
        fs::remove_dir(&sockets).unwrap();
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
