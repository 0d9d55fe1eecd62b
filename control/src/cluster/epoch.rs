//! Invalidates the metadata of videos that data planes cache in Redis; see `api::cached`.
//!
//! If a change could not be invalidated because Redis was unavailable, a new epoch starts as soon
//! as Redis is back.

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

/// How long a call waits for the invalidation; after that, a new epoch takes its place.
const INVALIDATE_MAX: Duration = Duration::from_millis(300);
/// A row change found within this time of its notification is the same change.
const NOTIFIED_FOR: Duration = Duration::from_secs(3);
/// Maximum number of changes remembered for this.
const NOTIFIED_MAX: usize = 10_000;
/// How often the epoch is renewed: several times within its lifetime.
const RENEW_EVERY: Duration = Duration::from_secs(3);

/// Tracks which changes have been invalidated, and whether one was missed.
#[derive(Debug)]
pub(crate) struct Epoch {
    missed: AtomicBool,
    renew: Notify,
    notified: Mutex<HashMap<VideoId, Instant>>,
}

impl Epoch {
    /// Changes may have been missed before this point, so this starts a new epoch.
    pub(crate) fn new() -> Self {
        Self { missed: AtomicBool::new(true), renew: Notify::new(), notified: Mutex::default() }
    }

    /// Records that a change may have been missed: data planes must not use the metadata they
    /// cached until now.
    pub(crate) fn mark_missed(&self) {
        self.missed.store(true, Ordering::Release);
        self.renew.notify_one();
    }

    /// Records the notification of a change, whose sender has already invalidated this video.
    pub(crate) fn record_notification(&self, video: VideoId) {
        let mut notified = self.notified.lock().unwrap_or_else(PoisonError::into_inner);
        if notified.len() >= NOTIFIED_MAX {
            notified.retain(|_, since| since.elapsed() < NOTIFIED_FOR);
        }
        if notified.len() < NOTIFIED_MAX {
            notified.insert(video, Instant::now());
        }
    }

    /// Those of these changed videos for which no notification has arrived.
    pub(crate) fn without_notification(&self, videos: Vec<VideoId>) -> Vec<VideoId> {
        let notified = self.notified.lock().unwrap_or_else(PoisonError::into_inner);
        let known =
            |video: &VideoId| notified.get(video).is_some_and(|s| s.elapsed() < NOTIFIED_FOR);
        videos.into_iter().filter(|video| !known(video)).collect()
    }

    /// Invalidates the cached metadata of these videos, directly or with a new epoch.
    pub(crate) async fn invalidate(&self, client: &Client, videos: &[VideoId]) {
        if videos.is_empty() {
            return;
        }
        videos.iter().for_each(|video| self.record_notification(*video));
        let invalidated = client.is_connected()
            && matches!(
                tokio::time::timeout(INVALIDATE_MAX, invalidate(client, videos)).await,
                Ok(Ok(()))
            );
        if !invalidated {
            self.mark_missed();
        }
    }

    /// Renews the epoch forever.
    pub(crate) async fn renew(&self, client: &Client) {
        loop {
            let missed = self.missed.swap(false, Ordering::AcqRel);
            if let Err(error) = renew(client, missed).await {
                tracing::debug!(%error, "failed to renew the epoch in redis");
                if missed {
                    self.missed.store(true, Ordering::Release);
                }
            }
            tokio::select! {
                () = self.renew.notified(), if client.is_connected() => {}
                () = tokio::time::sleep(RENEW_EVERY) => {}
            }
        }
    }
}

async fn invalidate(client: &Client, videos: &[VideoId]) -> Result<(), Error> {
    let pipeline = client.pipeline();
    for &video in videos {
        let (generation, value) = (cached::generation(video), Uuid::new_v4().to_string());
        let expire = Some(Expiration::EX(cached::GENERATION_SECONDS));
        // The generation comes first: entries being built at this moment must not be cached after
        // the others are deleted.
        let () = pipeline.set(generation, value, expire, None, false).await?;
        let () = pipeline.del(vec![cached::manifests(video), cached::metadata(video)]).await?;
    }
    pipeline.last().await
}

async fn renew(client: &Client, new: bool) -> Result<(), Error> {
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
