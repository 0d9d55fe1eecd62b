//! The paths that Postgres receives, short and plain for any data folder.
//!
//! Postgres splits its list of socket folders at commas, and its clients split the list of hosts
//! there; it stores paths in buffers of 1024 bytes; `initdb` rejects line breaks; and the path of a
//! Unix socket has at most 107 bytes. So if the data folder's path is not short and plain, the
//! sockets lie in a private folder elsewhere, and the cluster is reached by a symbolic link in that
//! folder.

use std::{
    env, fs,
    hash::{DefaultHasher, Hash, Hasher},
    io,
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, lchown, symlink},
    },
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use nix::unistd::geteuid;

use crate::up::folder::{Folder, make_private};

/// The kernel's limit for a Unix socket's path, without the final zero byte.
const SOCKET_PATH_BYTES_MAX: usize = 107;
/// Postgres's own limit for every path below its cluster, minus room for the longest name in the
/// cluster.
const CLUSTER_PATH_BYTES_MAX: usize = 512;
/// Folders that every user may write to, tried after the system's temporary folder.
const SHARED: [&str; 3] = ["/tmp", "/var/tmp", "/dev/shm"];
/// Links to the cluster and to its draft.
const LINKS: [&str; 2] = ["cluster", "cluster.new"];

/// The paths that Postgres receives.
#[derive(Clone, Debug)]
pub(super) struct Paths {
    /// The folder of the Unix sockets.
    pub(super) sockets: PathBuf,
    /// The cluster.
    pub(super) cluster: PathBuf,
    /// The cluster while it is being created.
    pub(super) draft: PathBuf,
}

impl Paths {
    /// Chooses the paths for a `cluster` that is created at `draft`. `socket` is the longest name
    /// of a socket. Everything belongs to `owner`, or else to the user that runs `up`.
    pub(super) fn prepare(
        folder: &Folder,
        (cluster, draft): (&Path, &Path),
        socket: &str,
        owner: Option<u32>,
    ) -> Result<Self> {
        let near = folder.run().join("sockets");
        let is_fit = |sockets: &Path| {
            is_plain(sockets) && bytes(sockets) + 1 + socket.len() <= SOCKET_PATH_BYTES_MAX
        };
        let sockets = match is_fit(&near) {
            true => create_private(near, owner)?,
            false => create_outside(&folder.root, is_fit, owner)?,
        };
        let mut given = [cluster.to_owned(), draft.to_owned()];
        for (path, name) in given.iter_mut().zip(LINKS) {
            if !is_plain(path) || bytes(path) > CLUSTER_PATH_BYTES_MAX {
                // A data folder whose path is plain, but too long for sockets, may need no link;
                // one that needs links always has its sockets elsewhere.
                let link = sockets.join(name);
                relink(path, &link).with_context(|| format!("make {}", link.display()))?;
                *path = link;
            }
        }
        let [cluster, draft] = given;
        Ok(Self { sockets, cluster, draft })
    }

    /// Removes the files outside of the data folder; to be called once they are unused.
    pub(super) fn remove_links(root: &Path) {
        for path in candidates(root) {
            if fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir()) {
                // Usually there is nothing to remove. A folder that belongs to another user, or is
                // not empty, stays.
                LINKS.iter().for_each(|name| drop(fs::remove_file(path.join(name))));
                let _ = fs::remove_dir(&path);
            }
        }
    }
}

fn bytes(path: &Path) -> usize {
    path.as_os_str().len()
}

/// Whether every byte is one that no program treats specially.
fn is_plain(path: &Path) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-".contains(byte);
    path.as_os_str().as_bytes().iter().all(plain)
}

/// Private folders outside of the data folder `root`. The names are the same for each start, so
/// that a service that is killed often leaves only one such folder.
fn candidates(root: &Path) -> Vec<PathBuf> {
    let mut hasher = DefaultHasher::new();
    root.hash(&mut hasher);
    let name = format!("streaming-{}-{:016x}", geteuid(), hasher.finish());
    let shared = SHARED.into_iter().map(PathBuf::from);
    std::iter::once(env::temp_dir()).chain(shared).map(|folder| folder.join(&name)).collect()
}

fn create_outside(
    root: &Path,
    is_fit: impl Fn(&Path) -> bool,
    owner: Option<u32>,
) -> Result<PathBuf> {
    let mut failure = None;
    for path in candidates(root).into_iter().filter(|path| is_fit(path)) {
        match create_private(path, owner) {
            Ok(path) => return Ok(path),
            Err(error) => failure = Some(error),
        }
    }
    let text =
        "find a folder for sockets outside of the data folder, whose path is long or not plain";
    Err(failure.unwrap_or_else(|| anyhow::anyhow!("no folder has a short and plain path")))
        .context(text)
}

/// Creates a folder that only `owner`, or else the user that runs `up`, may enter.
fn create_private(path: PathBuf, owner: Option<u32>) -> Result<PathBuf> {
    make_private(&path).with_context(|| format!("make {}", path.display()))?;
    // In a folder that every user may write to, another user may have created this path first.
    let metadata = fs::symlink_metadata(&path)?;
    let is_owned = metadata.uid() == geteuid().as_raw() || Some(metadata.uid()) == owner;
    if !metadata.is_dir() || !is_owned || metadata.mode() & 0o077 != 0 {
        bail!("{} is not a private folder of this service", path.display());
    }
    if let Some(uid) = owner {
        lchown(&path, Some(uid), None)?;
    }
    Ok(path)
}

fn relink(target: &Path, link: &Path) -> io::Result<()> {
    if fs::read_link(link).is_ok_and(|found| found == target) {
        return Ok(());
    }
    match fs::remove_file(link) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => symlink(target, link),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        ffi::OsStr,
        fs,
        os::unix::{ffi::OsStrExt, fs::MetadataExt},
        path::PathBuf,
    };

    use super::{Paths, is_plain};
    use crate::up::folder::Folder;

    const SOCKET: &str = ".s.PGSQL.5432";

    fn temporary(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("streaming-{name}-{}", std::process::id()))
    }

    fn paths(folder: &Folder) -> Paths {
        let cluster = folder.cluster();
        let draft = cluster.with_extension("new");
        Paths::prepare(folder, (&cluster, &draft), SOCKET, None).unwrap()
    }

    #[test]
    fn folders_with_short_plain_paths_contain_cluster_and_sockets() {
        let path = temporary("plain");
        let folder = Folder::open(&path).unwrap();
        let paths = paths(&folder);
        assert_eq!(paths.sockets, folder.run().join("sockets"));
        assert_eq!(paths.cluster, folder.cluster());
        fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn postgres_gets_short_and_plain_paths_for_any_folder() {
        let base = temporary("odd");
        let deep = ["d".repeat(200), "e".repeat(200), "f".repeat(200)].join("/");
        let names: [&[u8]; 8] = [
            b"a,b",
            b"a 'b' \"c\"",
            b"100%d $HOME `x` \\n",
            b"-k=v:w;#",
            b"line\nbreak",
            b"\xff\xfe",
            "Größe 漢字".as_bytes(),
            deep.as_bytes(),
        ];
        for name in names {
            let folder = Folder::open(&base.join(OsStr::from_bytes(name))).unwrap();
            let first = paths(&folder);
            for path in [&first.sockets, &first.cluster, &first.draft] {
                assert!(is_plain(path) && path.as_os_str().len() < 107, "{name:?}: {path:?}");
            }
            assert_eq!(fs::metadata(&first.sockets).unwrap().mode() & 0o777, 0o700);
            // A cluster created through the link is in the data folder.
            fs::create_dir(folder.cluster()).unwrap();
            assert_eq!(first.cluster.canonicalize().unwrap(), folder.cluster());
            assert_eq!(paths(&folder).sockets, first.sockets);
            Paths::remove_links(&folder.root);
            assert!(!first.sockets.exists() && folder.cluster().exists());
        }
        fs::remove_dir_all(&base).unwrap();
    }
}
