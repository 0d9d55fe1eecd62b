//! What data planes keep in Redis about videos, forgotten here; see `api::cached`.
//!
//! A change that could not be forgotten, because Redis was away, makes a new epoch as soon as it is back.

use std::{
    collections::HashMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use api::cached;
use fred::{
    prelude::{Client, ClientLike, Error, Expiration, KeysInterface, SetOptions},
    types::ExpireOptions,
};
use media::VideoId;
use tokio::sync::Notify;
use uuid::Uuid;

/// How long a call waits for Redis to forget; what follows takes care of the rest.
const FORGET_MAX: Duration = Duration::from_millis(300);
/// A change that is found in the rows so long after it was heard of is the same one.
const HEARD: Duration = Duration::from_secs(3);
/// Changes that are remembered as heard of.
const HEARD_MAX: usize = 10_000;
/// How often the epoch is kept up: several times within its life.
const KEEP_EVERY: Duration = Duration::from_secs(3);

/// Whether everything that should be forgotten has been.
#[derive(Debug)]
pub(crate) struct Epoch {
    missed: AtomicBool,
    renew: Notify,
    heard: Mutex<HashMap<VideoId, Instant>>,
}

impl Epoch {
    /// Nobody knows what happened before.
    pub(crate) fn new() -> Self {
        Self { missed: AtomicBool::new(true), renew: Notify::new(), heard: Mutex::default() }
    }

    /// Something may have been missed: what data planes keep is not to be believed.
    pub(crate) fn miss(&self) {
        self.missed.store(true, Ordering::Release);
        self.renew.notify_one();
    }

    /// Whoever changed this video has forgotten it, too.
    pub(crate) fn hear(&self, video: VideoId) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        if heard.len() >= HEARD_MAX {
            heard.retain(|_, since| since.elapsed() < HEARD);
        }
        if heard.len() < HEARD_MAX {
            heard.insert(video, Instant::now());
        }
    }

    /// Those of these changed videos of whose change nobody has told us.
    pub(crate) fn unheard(&self, videos: Vec<VideoId>) -> Vec<VideoId> {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let known = |video: &VideoId| heard.get(video).is_some_and(|s| s.elapsed() < HEARD);
        videos.into_iter().filter(|video| !known(video)).collect()
    }

    /// Forgets what is kept of these videos, now or by a new epoch.
    pub(crate) async fn forget(&self, client: &Client, videos: &[VideoId]) {
        if videos.is_empty() {
            return;
        }
        videos.iter().for_each(|video| self.hear(*video));
        let forgotten = client.is_connected()
            && matches!(tokio::time::timeout(FORGET_MAX, forget(client, videos)).await, Ok(Ok(())));
        if !forgotten {
            self.miss();
        }
    }

    /// Keeps the epoch up for ever.
    pub(crate) async fn keep(&self, client: &Client) {
        loop {
            let missed = self.missed.swap(false, Ordering::AcqRel);
            if let Err(error) = keep(client, missed).await {
                tracing::debug!(%error, "keep the epoch in redis");
                if missed {
                    self.missed.store(true, Ordering::Release);
                }
            }
            tokio::select! {
                () = self.renew.notified(), if client.is_connected() => {}
                () = tokio::time::sleep(KEEP_EVERY) => {}
            }
        }
    }
}

async fn forget(client: &Client, videos: &[VideoId]) -> Result<(), Error> {
    let pipeline = client.pipeline();
    for &video in videos {
        let (generation, value) = (cached::generation(video), Uuid::new_v4().to_string());
        let expire = Some(Expiration::EX(cached::GENERATION_SECONDS));
        // First: what is in the making must not be kept after the rest is gone.
        let () = pipeline.set(generation, value, expire, None, false).await?;
        let () = pipeline.del(vec![cached::manifests(video), cached::metadata(video)]).await?;
    }
    pipeline.last().await
}

async fn keep(client: &Client, new: bool) -> Result<(), Error> {
    let value = Uuid::new_v4().to_string();
    let expire = Some(Expiration::EX(cached::EPOCH_SECONDS));
    if new {
        return client.set(cached::EPOCH, value, expire, None, false).await;
    }
    let pipeline = client.pipeline();
    let () = pipeline.set(cached::EPOCH, value, expire, Some(SetOptions::NX), false).await?;
    let options: Option<ExpireOptions> = None;
    let () = pipeline.expire(cached::EPOCH, cached::EPOCH_SECONDS, options).await?;
    pipeline.last().await
}
