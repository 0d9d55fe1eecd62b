//! The cache of indexes. Concurrent requests for a video share one load; the index is kept until
//! the control plane reports a change.
//!
//! While no change events arrive, finished videos stay cached and growing ones are reloaded every
//! second. If the control plane is unreachable, the final index is read from the store (static
//! stability).

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use api::{
    code::{Code, Problem},
    v1::{GetIndexRequest, playback_service_client::PlaybackServiceClient},
};
use media::{JobId, VideoId, index::Index, layout};
use object_store::ObjectStoreExt;
use quick_cache::sync::Cache;
use sha2::{Digest, Sha256};
use store::{Store, Stores};

use crate::{
    control::{self, Control},
    http::reply::Text,
    metrics::Lookups,
};

/// Maximum number of videos whose index is kept.
const VIDEOS_MAX: usize = 4096;
/// How long a result is valid while no change events arrive.
const UNWATCHED: Duration = Duration::from_secs(1);
/// How long a failed load is not repeated.
const FAILED: Duration = Duration::from_millis(100);
/// How long the control plane may take before the store is read instead.
const LOAD_TIME_MAX: Duration = Duration::from_secs(3);

/// A playable video: its index and the manifests written from it.
pub(crate) struct PlayableVideo {
    /// Maps segments to bytes.
    pub(crate) index: Index,
    /// Digest of the encoded index: two videos with the same digest have the same manifests.
    pub(crate) digest: String,
    /// Manifests that depend on the index alone.
    manifests: Mutex<HashMap<String, Arc<Text>>>,
}

/// The cache of indexes.
pub(crate) struct IndexCache {
    slots: Cache<Key, Arc<Slot>>,
    control: Arc<Control>,
    stores: Stores,
    lookups: Lookups,
    watching: AtomicBool,
    /// Incremented when any video may have changed.
    generation: AtomicU64,
}

/// `version` is `None` for the current version.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    video: VideoId,
    version: Option<JobId>,
}

#[derive(Default)]
struct Slot {
    /// Incremented when this video changes.
    changes: AtomicU64,
    loading: tokio::sync::Mutex<()>,
    loaded: Mutex<Option<Loaded>>,
}

type Outcome = Result<Option<Arc<PlayableVideo>>, Problem>;

#[derive(Clone)]
struct Loaded {
    outcome: Outcome,
    changes: u64,
    generation: u64,
    since: Instant,
    /// A fallback result, to be reloaded soon.
    provisional: bool,
}

impl PlayableVideo {
    fn new(index: Index, encoded: &[u8]) -> Arc<Self> {
        let digest = hex::encode(&Sha256::digest(encoded)[..16]);
        Arc::new(Self { index, digest, manifests: Mutex::default() })
    }

    /// A manifest that was written earlier, by name.
    pub(crate) fn manifest(&self, name: &str) -> Option<Arc<Text>> {
        let manifests = self.manifests.lock().unwrap_or_else(PoisonError::into_inner);
        manifests.get(name).cloned()
    }

    /// Stores a manifest; if two are written at the same time, the first one is kept.
    pub(crate) fn cache_manifest(&self, name: String, text: Text) -> Arc<Text> {
        let mut manifests = self.manifests.lock().unwrap_or_else(PoisonError::into_inner);
        manifests.entry(name).or_insert_with(|| Arc::new(text)).clone()
    }
}

impl IndexCache {
    /// Creates an empty cache, without change events until [`Self::set_watching`].
    pub(crate) fn new(control: Arc<Control>, stores: Stores, lookups: Lookups) -> Self {
        Self {
            slots: Cache::new(VIDEOS_MAX),
            control,
            stores,
            lookups,
            watching: AtomicBool::new(false),
            generation: AtomicU64::new(0),
        }
    }

    /// Whether change events arrive.
    pub(crate) fn watching(&self) -> bool {
        self.watching.load(Ordering::Acquire)
    }

    /// Sets whether change events arrive.
    pub(crate) fn set_watching(&self, watching: bool) {
        self.watching.store(watching, Ordering::Release);
    }

    /// Marks the cached state of this video as stale.
    pub(crate) fn changed(&self, video: VideoId) {
        if let Some(slot) = self.slots.get(&Key { video, version: None }) {
            slot.changes.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Marks the cached state of every video as stale.
    pub(crate) fn everything_changed(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// The current version of this video; `None` when nothing can be played.
    pub(crate) async fn current(&self, video: VideoId) -> Outcome {
        self.find(Key { video, version: None }).await
    }

    /// The output of an earlier job: URLs from before a re-transcode keep working.
    pub(crate) async fn version(&self, video: VideoId, version: JobId) -> Outcome {
        self.find(Key { video, version: Some(version) }).await
    }

    async fn find(&self, key: Key) -> Outcome {
        let made: Result<_, std::convert::Infallible> =
            self.slots.get_or_insert_with(&key, || Ok(Arc::default()));
        let Ok(slot) = made;
        if let Some(loaded) = self.fresh(&slot) {
            self.lookups.count(true);
            return loaded;
        }
        self.lookups.count(false);
        // The holder of this lock loads for all waiting requests; if its request is dropped, the
        // next one loads.
        let _loading = slot.loading.lock().await;
        if let Some(loaded) = self.fresh(&slot) {
            return loaded;
        }
        let changes = slot.changes.load(Ordering::Acquire);
        let generation = self.generation.load(Ordering::Acquire);
        let (outcome, provisional) = self.load(key, &slot).await;
        let loaded = Loaded {
            outcome: outcome.clone(),
            changes,
            generation,
            since: Instant::now(),
            provisional,
        };
        *slot.loaded.lock().unwrap_or_else(PoisonError::into_inner) = Some(loaded);
        outcome
    }

    /// The cached result, unless it must be reloaded.
    fn fresh(&self, slot: &Slot) -> Option<Outcome> {
        let loaded = slot.loaded.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        let current = loaded.changes == slot.changes.load(Ordering::Acquire)
            && loaded.generation == self.generation.load(Ordering::Acquire);
        let lasting = match &loaded.outcome {
            Ok(Some(playable)) if playable.index.finished_at_ms.is_some() => !loaded.provisional,
            Ok(Some(_)) => !loaded.provisional && self.watching(),
            Ok(None) | Err(_) => false,
        };
        let young =
            loaded.since.elapsed() < if loaded.outcome.is_err() { FAILED } else { UNWATCHED };
        (current && (lasting || young)).then_some(loaded.outcome)
    }

    /// Loads from the control plane, then from the stores. The flag is true for a fallback result.
    async fn load(&self, key: Key, slot: &Slot) -> (Outcome, bool) {
        if let Some(version) = key.version {
            let object = format!("{}index", layout::job_prefix(key.video, version));
            return (self.stored(key.video, &object).await, false);
        }
        let problem = match self.load_from_control(key.video).await {
            Err(problem) if unreachable(&problem) => problem,
            reply => return (reply, false),
        };
        let before = slot.loaded.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(Loaded { outcome: Ok(Some(playable)), .. }) = before {
            return (Ok(Some(playable)), true);
        }
        match self.stored(key.video, &layout::index(key.video)).await {
            Ok(Some(playable)) => (Ok(Some(playable)), false),
            // The control plane may know the video although its index is not in the store.
            Ok(None) => (Err(problem), true),
            Err(problem) => (Err(problem), true),
        }
    }

    async fn load_from_control(&self, video: VideoId) -> Outcome {
        let control = &self.control;
        let reply = control
            .query(LOAD_TIME_MAX, |channel| {
                let request = control.own(GetIndexRequest {
                    video_id: video.to_string(),
                    index_version: media::index::VERSION.into(),
                });
                let mut client = PlaybackServiceClient::new(channel)
                    .max_decoding_message_size(control::MESSAGE_BYTES_MAX);
                async move { client.get_index(request).await }
            })
            .await;
        match reply {
            Ok(reply) => decode(video, &reply.index).map(Some),
            Err(status) => match control::problem_of(&status).code {
                Code::NotFound | Code::NotReady => Ok(None),
                _ => Err(Problem::new(Code::Unavailable, "the index cannot be read now")),
            },
        }
    }

    /// Reads an index object.
    async fn stored(&self, video: VideoId, key: &str) -> Outcome {
        let read = async |store: &Store| {
            let bytes = match store.objects.get(&key.into()).await {
                Ok(object) => object.bytes().await,
                Err(error) => Err(error),
            };
            match bytes {
                Ok(bytes) => decode(video, &bytes).map(Some),
                Err(object_store::Error::NotFound { .. }) => Ok(None),
                Err(error) => {
                    tracing::warn!(%error, video.id = %video, "failed to read an index object");
                    Err(Problem::new(Code::Unavailable, "the index cannot be read now"))
                }
            }
        };
        self.stores.find(self.stores.pick(video), read).await
    }
}

fn unreachable(problem: &Problem) -> bool {
    !matches!(problem.code, Code::NotFound | Code::NotReady | Code::ManifestDisabled)
}

fn decode(video: VideoId, bytes: &[u8]) -> Result<Arc<PlayableVideo>, Problem> {
    match Index::decode(bytes) {
        Ok(index) if index.video == video => Ok(PlayableVideo::new(index, bytes)),
        Ok(_) => {
            tracing::error!(video.id = %video, "failed to decode an index: it belongs to another video");
            Err(Problem::new(Code::Internal, "the index of this video is damaged"))
        }
        Err(error) => {
            tracing::error!(%error, video.id = %video, "failed to decode an index");
            Err(Problem::new(Code::Internal, "the index of this video is damaged"))
        }
    }
}
