//! The configured object stores: read from `STREAMING_STORES`, picked per video.
//!
//! A video's objects lie in one store, chosen once by rendezvous hashing of its id and recorded with
//! the video: adding a store moves nothing that exists and takes its share of what comes.

use std::{fs, io, path::PathBuf, sync::Arc};

use media::VideoId;
use object_store::{ObjectStore, local::LocalFileSystem};
use url::Url;

/// Stores in one configuration.
const STORES_MAX: usize = 1024;

/// Why the stores cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Nothing is configured.
    #[error("no store is configured; give for example file:///var/lib/streaming")]
    Empty,
    /// More than [`Stores`] holds.
    #[error("more than {STORES_MAX} stores are configured")]
    TooMany,
    /// An entry is no store's URL.
    #[error("\"{url}\" is no store: {reason}")]
    Url {
        /// The entry as configured.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An entry names a kind of store that this build does not serve.
    #[error("\"{url}\": {scheme} stores are not supported yet; use file:///dir")]
    Unsupported {
        /// The entry as configured.
        url: String,
        /// Its scheme.
        scheme: String,
    },
    /// One store is listed twice, which would count its share twice.
    #[error("\"{0}\" is listed twice")]
    Duplicate(String),
    /// The folder cannot be made or opened.
    #[error("open store {url}")]
    Open {
        /// The store.
        url: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

/// One store.
#[derive(Clone, Debug)]
pub struct Store {
    /// Its name, as recorded on videos; no trailing slash.
    pub url: String,
    /// Reads and writes objects by key.
    pub objects: Arc<dyn ObjectStore>,
    /// The folder behind a local store; an object's file is `root/key`.
    pub root: Option<PathBuf>,
}

/// Every configured store, at least one.
#[derive(Clone, Debug)]
pub struct Stores(Arc<[Store]>);

impl Stores {
    /// Opens a comma-separated list such as `file:///dir,file:///dir2`. Missing folders are made.
    ///
    /// # Errors
    /// [`StoreError`], naming the entry at fault.
    pub fn parse(list: &str) -> Result<Self, StoreError> {
        let mut stores: Vec<Store> = Vec::new();
        for entry in list.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            let store = open(entry)?;
            if stores.iter().any(|other| other.url == store.url) {
                return Err(StoreError::Duplicate(store.url));
            }
            stores.push(store);
            if stores.len() > STORES_MAX {
                return Err(StoreError::TooMany);
            }
        }
        if stores.is_empty() { Err(StoreError::Empty) } else { Ok(Self(stores.into())) }
    }

    /// The store for a new video. The same for every order of the list.
    pub fn pick(&self, video: VideoId) -> &Store {
        let mut best = &self.0[0];
        let mut best_score = score(&best.url, video);
        for store in &self.0[1..] {
            let score = score(&store.url, video);
            if score > best_score {
                (best, best_score) = (store, score);
            }
        }
        best
    }

    /// The store of that URL, as recorded on a video. A single configured store holds every video,
    /// whatever it was called: so the data folder of one machine can be moved.
    pub fn get(&self, url: &str) -> Option<&Store> {
        match self.all() {
            [only] => Some(only),
            all => all.iter().find(|store| store.url == url),
        }
    }

    /// Every store, in the configured order.
    pub fn all(&self) -> &[Store] {
        &self.0
    }
}

/// Rendezvous hashing: the store with the highest score wins, so a new store only takes, never shuffles.
fn score(url: &str, video: VideoId) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(video.uuid().as_bytes());
    hasher.update(url.as_bytes());
    *hasher.finalize().as_bytes()
}

fn open(entry: &str) -> Result<Store, StoreError> {
    let bad = |reason: String| StoreError::Url { url: entry.to_owned(), reason };
    let url = Url::parse(entry).map_err(|error| bad(error.to_string()))?;
    match url.scheme() {
        "file" => {}
        scheme => {
            let (url, scheme) = (entry.to_owned(), scheme.to_owned());
            return Err(StoreError::Unsupported { url, scheme });
        }
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(bad("a folder has no query or fragment".to_owned()));
    }
    let root = url.to_file_path().map_err(|()| bad("it names no folder of this machine".into()))?;
    let opened = |source| StoreError::Open { url: entry.to_owned(), source };
    fs::create_dir_all(&root).map_err(opened)?;
    let root = root.canonicalize().map_err(opened)?;
    let objects = LocalFileSystem::new_with_prefix(&root)
        .map_err(|error| opened(io::Error::other(error)))?
        // Deleting a video's last object takes its empty folders along.
        .with_automatic_cleanup(true);
    let url = url.as_str().trim_end_matches('/').to_owned();
    Ok(Store { url, objects: Arc::new(objects), root: Some(root) })
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, error::Error};

    use media::{VideoId, layout};
    use object_store::{ObjectStoreExt, path::Path};

    use super::{StoreError, Stores};

    fn list(folder: &std::path::Path, count: usize) -> String {
        let urls: Vec<_> = (0..count).map(|n| format!("file://{}/{n}", folder.display())).collect();
        urls.join(",")
    }

    fn videos() -> Vec<VideoId> {
        (0..3000u128).map(|n| VideoId::new(uuid(n))).collect()
    }

    fn uuid(n: u128) -> uuid::Uuid {
        uuid::Uuid::from_u128(n << 64 | 0x7000_8000_0000_0000)
    }

    #[test]
    fn videos_spread_evenly() {
        let folder = tempfile::tempdir().unwrap();
        let stores = Stores::parse(&list(folder.path(), 3)).unwrap();
        let mut shares = HashMap::new();
        for video in videos() {
            *shares.entry(stores.pick(video).url.clone()).or_insert(0) += 1;
        }
        assert_eq!(shares.len(), 3);
        assert!(shares.values().all(|share| (900..1100).contains(share)), "{shares:?}");
    }

    #[test]
    fn new_store_only_takes() {
        let folder = tempfile::tempdir().unwrap();
        let before = Stores::parse(&list(folder.path(), 3)).unwrap();
        let after = Stores::parse(&list(folder.path(), 4)).unwrap();
        let newest = &after.all()[3].url;
        let mut moved = 0;
        for video in videos() {
            let (old, new) = (&before.pick(video).url, &after.pick(video).url);
            if old != new {
                assert_eq!(new, newest);
                moved += 1;
            }
        }
        assert!((650..850).contains(&moved), "{moved}");
    }

    #[test]
    fn order_and_trailing_slash_do_not_matter() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (format!("file://{}/a", folder.path().display()), folder.path().join("b"));
        let one = Stores::parse(&format!("{a},file://{}", b.display())).unwrap();
        let two = Stores::parse(&format!(" file://{}/ , {a}/ ,", b.display())).unwrap();
        for video in videos() {
            assert_eq!(one.pick(video).url, two.pick(video).url);
        }
        assert!(two.get(&a).is_some() && two.get("file:///elsewhere").is_none());
    }

    #[test]
    fn object_lies_at_root_and_key() {
        let folder = tempfile::tempdir().unwrap();
        let stores = Stores::parse(&list(folder.path(), 1)).unwrap();
        let store = &stores.all()[0];
        let key = layout::source(videos()[1]);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(store.objects.put(&Path::from(key.clone()), "film".into())).unwrap();
        let file = store.root.as_ref().unwrap().join(&key);
        assert_eq!(std::fs::read(file).unwrap(), b"film");
    }

    #[test]
    fn refusals_name_the_entry() {
        let s3 = Stores::parse("s3://bucket").unwrap_err();
        assert!(matches!(s3, StoreError::Unsupported { .. }));
        assert!(s3.to_string().contains("s3://bucket") && s3.to_string().contains("not supported"));
        for bad in ["/var/lib", "file://elsewhere/dir", "nonsense", "file:///x?y=z"] {
            let error = Stores::parse(bad).unwrap_err();
            assert!(matches!(error, StoreError::Url { .. }), "{error}");
            assert!(error.to_string().contains(bad), "{error}");
        }
        assert!(matches!(Stores::parse(" , "), Err(StoreError::Empty)));
        let open = Stores::parse("file:///proc/self/nowhere").unwrap_err();
        assert!(open.to_string().contains("/proc/self/nowhere") && open.source().is_some());
        let folder = tempfile::tempdir().unwrap();
        let twice = format!("{0},{0}/", list(folder.path(), 1));
        assert!(matches!(Stores::parse(&twice), Err(StoreError::Duplicate(_))));
    }
}
