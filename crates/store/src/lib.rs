//! The configured object stores: read from `STREAMING_STORES`, selected per video.
//!
//! All objects of a video are in one store. Rendezvous hashing of the video's id selects it once,
//! and it is recorded with the video, so adding a store moves no existing video, and the new store
//! receives its share of new ones.

mod check;
mod error_kind;
mod find;
mod local;
mod read;
mod s3;
mod sign;
pub mod source;

use std::{io, path::PathBuf, sync::Arc};

use media::VideoId;
use object_store::{ObjectStore, aws::AmazonS3, path::Path};
use url::Url;

pub use self::{
    check::START_TIME_MAX,
    error_kind::{StoreErrorKind, explain},
    read::{Part, ReadError},
    s3::Settings,
    sign::{CHECKSUM_HEADER, checksum},
};

/// Maximum number of stores in one configuration.
const STORES_MAX: usize = 1024;

/// Why the stores cannot be opened. No variant contains a key or a signed URL.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No store is configured.
    #[error("no store is configured; set for example file:///var/lib/streaming or s3://bucket")]
    Empty,
    /// More than [`Stores`] may hold.
    #[error("more than {STORES_MAX} stores are configured")]
    TooMany,
    /// An entry is not the URL of a store.
    #[error("\"{url}\" is not a store: {reason}")]
    Url {
        /// The entry as configured.
        url: String,
        /// Why the entry is invalid.
        reason: String,
    },
    /// An entry has a kind of store that this build does not support.
    #[error("\"{url}\": {scheme} stores are not supported; use file:///dir or s3://bucket")]
    Unsupported {
        /// The entry as configured.
        url: String,
        /// Its scheme.
        scheme: String,
    },
    /// A store is listed twice, which would double its share.
    #[error("\"{0}\" is listed twice")]
    Duplicate(String),
    /// The folder cannot be created or opened.
    #[error("open store {url}")]
    Open {
        /// The store.
        url: String,
        /// The error of the operating system.
        #[source]
        source: io::Error,
    },
    /// No credentials are configured for a bucket.
    #[error("{url}: no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")]
    NoCredentials {
        /// The store.
        url: String,
    },
    /// The `AWS_*` variables contradict each other.
    #[error("{url}: {reason}")]
    Settings {
        /// The store.
        url: String,
        /// The contradiction.
        reason: String,
    },
    /// The check of the store failed.
    #[error("{url}: {kind} at {endpoint}{}", advice(kind))]
    Unusable {
        /// The store.
        url: String,
        /// Its configured location.
        endpoint: String,
        /// The error of the store.
        kind: StoreErrorKind,
    },
}

impl StoreError {
    /// Whether waiting may help.
    pub fn passing(&self) -> bool {
        matches!(self, Self::Unusable { kind, .. } if kind.passing())
    }
}

/// Advice to the operator.
fn advice(kind: &StoreErrorKind) -> &'static str {
    match kind {
        StoreErrorKind::NoBucket => "; create it, or correct STREAMING_STORES",
        StoreErrorKind::Denied(_) => "; check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        StoreErrorKind::Unreachable(_) | StoreErrorKind::Slow => {
            "; check AWS_ENDPOINT_URL and AWS_REGION"
        }
        StoreErrorKind::NotFound | StoreErrorKind::Failing(_) | StoreErrorKind::Other(_) => "",
    }
}

/// One store.
#[derive(Clone, Debug)]
pub struct Store {
    /// The store's name as recorded with videos, without a trailing slash.
    pub url: String,
    /// Reads and writes objects by key.
    pub objects: Arc<dyn ObjectStore>,
    /// The folder of a local store; an object's file is `root/key`.
    pub root: Option<PathBuf>,
    /// The bucket of an S3 store, for multipart uploads by id and for signing. It takes full paths:
    /// see [`Store::locate`].
    pub s3: Option<Arc<AmazonS3>>,
    /// Prefix of every key in the bucket; empty for the whole bucket.
    prefix: Path,
    /// Scheme, host and port, if configured.
    endpoint: String,
}

/// All configured stores; at least one.
#[derive(Clone, Debug)]
pub struct Stores(Arc<[Store]>);

impl Stores {
    /// Opens a comma-separated list such as `file:///dir,s3://bucket`. Missing folders are created.
    /// S3 is configured from the `AWS_*` variables of this process and not contacted yet, see
    /// [`Stores::check`].
    ///
    /// # Errors
    /// An entry is invalid, listed twice or cannot be opened, the list is empty or too long, or the
    /// `AWS_*` variables are incomplete. The error names the entry.
    pub fn parse(list: &str) -> Result<Self, StoreError> {
        Self::parse_with(list, &Settings::from_env())
    }

    /// [`Stores::parse`] with explicit settings instead of the environment's.
    ///
    /// # Errors
    /// An entry is invalid, listed twice or cannot be opened, the list is empty or too long, or the
    /// settings are incomplete. The error names the entry.
    pub fn parse_with(list: &str, settings: &Settings) -> Result<Self, StoreError> {
        let mut stores: Vec<Store> = Vec::new();
        for entry in list.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            let store = open(entry, settings)?;
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

    /// The store for a new video. It does not depend on the order of the list.
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

    /// The store with the URL that is recorded on a video. If only one folder is configured, it
    /// serves the videos of every folder under any earlier name, so that the data folder of a
    /// single machine can be moved.
    pub fn get(&self, url: &str) -> Option<&Store> {
        match self.all() {
            [only] if only.root.is_some() && url.starts_with("file:") => Some(only),
            all => all.iter().find(|store| store.url == url),
        }
    }

    /// All stores, in the configured order.
    pub fn all(&self) -> &[Store] {
        &self.0
    }
}

/// Rendezvous hashing: the store with the highest score wins, so a new store takes its share and
/// all other videos keep their store.
fn score(url: &str, video: VideoId) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(video.uuid().as_bytes());
    hasher.update(url.as_bytes());
    *hasher.finalize().as_bytes()
}

fn open(entry: &str, settings: &Settings) -> Result<Store, StoreError> {
    let url = Url::parse(entry)
        .map_err(|error| StoreError::Url { url: entry.to_owned(), reason: error.to_string() })?;
    match url.scheme() {
        "file" => local::open(entry, &url),
        "s3" => s3::open(entry, &url, settings),
        scheme => {
            let (url, scheme) = (entry.to_owned(), scheme.to_owned());
            Err(StoreError::Unsupported { url, scheme })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, error::Error};

    use media::{VideoId, layout};
    use object_store::{ObjectStoreExt, path::Path};

    use super::{Settings, StoreError, Stores};

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
    fn a_new_store_receives_videos_and_loses_none() {
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
    fn object_path_is_root_and_key() {
        let folder = tempfile::tempdir().unwrap();
        let stores = Stores::parse(&list(folder.path(), 1)).unwrap();
        let store = &stores.all()[0];
        let key = layout::source(videos()[1]);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(store.objects.put(&Path::from(key.clone()), "video".into())).unwrap();
        let file = store.root.as_ref().unwrap().join(&key);
        assert_eq!(std::fs::read(file).unwrap(), b"video");
    }

    #[test]
    fn errors_name_the_entry() {
        let gcs = Stores::parse("gs://bucket").unwrap_err();
        assert!(matches!(gcs, StoreError::Unsupported { .. }));
        assert!(
            gcs.to_string().contains("gs://bucket") && gcs.to_string().contains("not supported")
        );
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

    fn settings(vars: &[(&str, &str)]) -> Settings {
        let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        Settings::from_vars(vars.iter().map(own))
    }

    const KEYS: [(&str, &str); 3] = [
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:9/"),
        ("AWS_ACCESS_KEY_ID", "key"),
        ("AWS_SECRET_ACCESS_KEY", "hunter2"),
    ];

    #[test]
    fn buckets_are_parsed_with_and_without_a_prefix() {
        let list = " s3://videos/ ,s3://videos/a/,s3://other";
        let stores = Stores::parse_with(list, &settings(&KEYS)).unwrap();
        let urls: Vec<_> = stores.all().iter().map(|store| store.url.as_str()).collect();
        assert_eq!(urls, ["s3://videos", "s3://videos/a", "s3://other"]);
        assert_eq!(stores.all()[1].locate("videos/x").as_ref(), "a/videos/x");
        assert_eq!(stores.all()[2].locate("videos/x").as_ref(), "videos/x");
        assert!(stores.all().iter().all(|store| store.s3.is_some() && store.root.is_none()));
        assert!(!format!("{stores:?}").contains("hunter2"), "Debug shows no key");
    }

    #[test]
    fn errors_of_buckets_show_no_secret() {
        let set = settings(&KEYS);
        for bad in ["s3://", "s3://b?x=y", "s3://key:hunter2@b", "s3://b:9000", "s3://b//x//y"] {
            let error = Stores::parse_with(bad, &set).unwrap_err();
            assert!(matches!(error, StoreError::Url { .. }), "{bad}: {error}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
        let none = Stores::parse_with("s3://b", &settings(&KEYS[..1])).unwrap_err();
        assert!(none.to_string().contains("s3://b: no credentials"), "{none}");
        assert!(none.to_string().contains("AWS_ACCESS_KEY_ID"));
        let half = Stores::parse_with("s3://b", &settings(&KEYS[..2])).unwrap_err();
        assert!(matches!(half, StoreError::NoCredentials { .. }), "{half}");
        let twice = Stores::parse_with("s3://b,s3://b/", &set).unwrap_err();
        assert!(matches!(twice, StoreError::Duplicate(_)));
    }

    #[test]
    fn an_unreachable_endpoint_is_one_line_that_names_it() {
        let stores = Stores::parse_with("s3://videos", &settings(&KEYS)).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let error = runtime.block_on(stores.check()).unwrap_err();
        let text = error.to_string();
        assert!(error.passing() && text.contains("http://127.0.0.1:9"), "{text}");
        assert!(text.contains("s3://videos: not reachable") && !text.contains('\n'), "{text}");
    }
}
