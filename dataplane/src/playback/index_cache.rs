//! The cache of indexes. Concurrent requests for a video share one load; the index is kept until the
//! control plane reports a change.
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

use crate::{app::App, control, http::reply::Text};

/// Most videos whose index is kept.
const FILMS_MAX: usize = 4096;
/// How long a result is valid while no change events arrive.
const UNWATCHED: Duration = Duration::from_secs(1);
/// How long a failed load is not repeated.
const FAILED: Duration = Duration::from_millis(100);
/// How long the control plane may take before the store is read instead.
const LOAD_TIME_MAX: Duration = Duration::from_secs(3);

/// A playable video: its index and the manifests written from it.
pub(crate) struct Film {
    /// Maps segments to bytes.
    pub(crate) index: Index,
    /// Digest of the encoded index: two videos with the same digest have the same manifests.
    pub(crate) digest: String,
    /// Manifests that depend on the index alone.
    manifests: Mutex<HashMap<String, Arc<Text>>>,
}

/// The cache of indexes.
pub(crate) struct Catalog {
    slots: Cache<Key, Arc<Slot>>,
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
    known: Mutex<Option<Known>>,
}

type Outcome = Result<Option<Arc<Film>>, Problem>;

#[derive(Clone)]
struct Known {
    outcome: Outcome,
    changes: u64,
    generation: u64,
    since: Instant,
    /// A fallback result, to be reloaded soon.
    provisional: bool,
}

impl Film {
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
    pub(crate) fn remember(&self, name: String, text: Text) -> Arc<Text> {
        let mut manifests = self.manifests.lock().unwrap_or_else(PoisonError::into_inner);
        manifests.entry(name).or_insert_with(|| Arc::new(text)).clone()
    }
}

impl Catalog {
    /// Creates an empty cache, without change events until [`Self::set_watching`].
    pub(crate) fn new() -> Self {
        Self {
            slots: Cache::new(FILMS_MAX),
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
    pub(crate) async fn film(&self, app: &App, video: VideoId) -> Outcome {
        self.find(app, Key { video, version: None }).await
    }

    /// The output of an earlier job: URLs handed out before a re-transcode keep working.
    pub(crate) async fn version(&self, app: &App, video: VideoId, version: JobId) -> Outcome {
        self.find(app, Key { video, version: Some(version) }).await
    }

    async fn find(&self, app: &App, key: Key) -> Outcome {
        let made: Result<_, std::convert::Infallible> =
            self.slots.get_or_insert_with(&key, || Ok(Arc::default()));
        let Ok(slot) = made;
        if let Some(known) = self.fresh(&slot) {
            app.metrics.lookups.hits.fetch_add(1, Ordering::Relaxed);
            return known;
        }
        app.metrics.lookups.misses.fetch_add(1, Ordering::Relaxed);
        // The holder of this lock loads for all waiting requests; if its request is dropped, the next
        // one loads.
        let _loading = slot.loading.lock().await;
        if let Some(known) = self.fresh(&slot) {
            return known;
        }
        let changes = slot.changes.load(Ordering::Acquire);
        let generation = self.generation.load(Ordering::Acquire);
        let (outcome, provisional) = self.load(app, key, &slot).await;
        let known = Known {
            outcome: outcome.clone(),
            changes,
            generation,
            since: Instant::now(),
            provisional,
        };
        *slot.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(known);
        outcome
    }

    /// The cached result, unless it must be reloaded.
    fn fresh(&self, slot: &Slot) -> Option<Outcome> {
        let known = slot.known.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        let current = known.changes == slot.changes.load(Ordering::Acquire)
            && known.generation == self.generation.load(Ordering::Acquire);
        let lasting = match &known.outcome {
            Ok(Some(film)) if film.index.finished_at_ms.is_some() => !known.provisional,
            Ok(Some(_)) => !known.provisional && self.watching(),
            Ok(None) | Err(_) => false,
        };
        let young = known.since.elapsed() < if known.outcome.is_err() { FAILED } else { UNWATCHED };
        (current && (lasting || young)).then_some(known.outcome)
    }

    /// Loads from the control plane, then from the stores. The flag is true for a fallback result.
    async fn load(&self, app: &App, key: Key, slot: &Slot) -> (Outcome, bool) {
        if let Some(version) = key.version {
            let object = format!("{}index", layout::job_prefix(key.video, version));
            return (stored(app, key.video, &object).await, false);
        }
        let problem = match from_control(app, key.video).await {
            Err(problem) if unreachable(&problem) => problem,
            answer => return (answer, false),
        };
        let before = slot.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(Known { outcome: Ok(Some(film)), .. }) = before {
            return (Ok(Some(film)), true);
        }
        match stored(app, key.video, &layout::index(key.video)).await {
            Ok(Some(film)) => (Ok(Some(film)), false),
            // The control plane may know the video although its index is not in the store.
            Ok(None) => (Err(problem), true),
            Err(problem) => (Err(problem), true),
        }
    }
}

fn unreachable(problem: &Problem) -> bool {
    !matches!(problem.code, Code::NotFound | Code::NotReady | Code::ManifestDisabled)
}

async fn from_control(app: &App, video: VideoId) -> Outcome {
    let answer = app
        .control
        .ask(LOAD_TIME_MAX, |channel| {
            let request = app.control.own(GetIndexRequest { video_id: video.to_string() });
            let mut client = PlaybackServiceClient::new(channel)
                .max_decoding_message_size(control::MESSAGE_BYTES_MAX);
            async move { client.get_index(request).await }
        })
        .await;
    match answer {
        Ok(reply) => decode(video, &reply.index).map(Some),
        Err(status) => {
            let problem = control::refusal(&status);
            match problem.code {
                Code::NotFound | Code::NotReady => Ok(None),
                _ => Err(Problem::new(Code::Unavailable, "the index cannot be read now")),
            }
        }
    }
}

/// Reads an index object: from the store that the id selects, then from the others, because stores may
/// have been added since.
async fn stored(app: &App, video: VideoId, key: &str) -> Outcome {
    let picked = app.stores.pick(video);
    let others = app.stores.all().iter().filter(|store| store.url != picked.url);
    for store in std::iter::once(picked).chain(others) {
        let bytes = match store.objects.get(&key.into()).await {
            Ok(object) => object.bytes().await,
            Err(error) => Err(error),
        };
        match bytes {
            Ok(bytes) => return decode(video, &bytes).map(Some),
            Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => {
                tracing::warn!(%error, video.id = %video, "failed to read an index object");
                return Err(Problem::new(Code::Unavailable, "the index cannot be read now"));
            }
        }
    }
    Ok(None)
}

fn decode(video: VideoId, bytes: &[u8]) -> Result<Arc<Film>, Problem> {
    match Index::decode(bytes) {
        Ok(index) if index.video == video => Ok(Film::new(index, bytes)),
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
