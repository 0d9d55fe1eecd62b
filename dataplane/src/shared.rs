//! Replies that all data planes share in Redis: manifests of finished videos, and metadata of ready
//! videos. `api::cached` defines when an entry is valid.
//!
//! **Invariant:** callers are authorized before they look here, and no entry grants access.

use std::sync::Arc;

use api::cached;
use bytes::Bytes;
use fred::prelude::Value;
use media::VideoId;

use crate::redis::{Redis, Script};

/// Longer replies are not stored.
const REPLY_BYTES_MAX: usize = 1 << 20;

/// The entries in Redis; without Redis, no lookup finds one.
pub(crate) struct Shared {
    redis: Option<Arc<Redis>>,
    look: Script,
    keep: Script,
}

/// The kind of an entry, which determines how long it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Addressed by its content: always valid.
    Manifest,
    /// Valid until the video changes.
    Metadata,
}

/// The location of one entry, present or not.
pub(crate) struct EntrySlot<'a> {
    shared: &'a Shared,
    redis: &'a Redis,
    kind: Kind,
    video: VideoId,
    field: String,
    generation: String,
    epoch: String,
}

/// The result of a lookup.
#[derive(Default)]
pub(crate) struct Lookup<'a> {
    /// The reply, if it was found.
    pub(crate) found: Option<Bytes>,
    /// Where to store the reply if it was not found; `None` when Redis is unavailable.
    pub(crate) slot: Option<EntrySlot<'a>>,
}

impl Shared {
    /// Prepares the scripts.
    pub(crate) const fn new(redis: Option<Arc<Redis>>) -> Self {
        let look = Script::new(include_str!("shared/look.lua"));
        let keep = Script::new(include_str!("shared/keep.lua"));
        Self { redis, look, keep }
    }

    /// Looks up a manifest; `field` identifies its inputs and its writer.
    pub(crate) async fn manifest(&self, video: VideoId, field: String) -> Lookup<'_> {
        self.look_up(Kind::Manifest, video, field).await
    }

    /// Looks up a video's metadata as seen by the tenant.
    pub(crate) async fn metadata(&self, video: VideoId, tenant: &str) -> Lookup<'_> {
        self.look_up(Kind::Metadata, video, tenant.to_owned()).await
    }

    async fn look_up(&self, kind: Kind, video: VideoId, field: String) -> Lookup<'_> {
        let Some(redis) = self.redis.as_deref() else { return Lookup::default() };
        let epochal = i64::from(kind == Kind::Metadata);
        let args = vec![Value::from(field.as_str()), epochal.into()];
        let reply: Option<Vec<Value>> = redis.run(&self.look, keys(kind, video), args).await;
        let Some([generation, epoch, found]) = reply.and_then(|a| <[Value; 3]>::try_from(a).ok())
        else {
            return Lookup::default();
        };
        let text = |value: Value| value.into_string().unwrap_or_default();
        let (generation, epoch) = (text(generation), text(epoch));
        if kind == Kind::Metadata && epoch.is_empty() {
            // Without a control plane, a stored entry would never be invalidated.
            return Lookup::default();
        }
        let found = found.into_bytes();
        let shared = self;
        let slot = EntrySlot { shared, redis, kind, video, field, generation, epoch };
        Lookup { found, slot: Some(slot) }
    }
}

impl EntrySlot<'_> {
    /// Stores a reply that was created after the lookup. A failure is ignored.
    pub(crate) async fn store(self, reply: &[u8]) {
        if reply.len() > REPLY_BYTES_MAX {
            return;
        }
        let seconds = match self.kind {
            Kind::Manifest => cached::MANIFEST_SECONDS,
            Kind::Metadata => cached::METADATA_SECONDS,
        };
        let args = vec![
            self.field.into(),
            self.generation.into(),
            self.epoch.into(),
            seconds.into(),
            Value::Bytes(Bytes::copy_from_slice(reply)),
        ];
        let keys = keys(self.kind, self.video);
        let kept: Option<i64> = self.redis.run(&self.shared.keep, keys, args).await;
        if kept == Some(0) {
            tracing::debug!(video.id = %self.video, "reply not cached: the video has changed");
        }
    }
}

fn keys(kind: Kind, video: VideoId) -> Vec<String> {
    let hash = match kind {
        Kind::Manifest => cached::manifests(video),
        Kind::Metadata => cached::metadata(video),
    };
    vec![hash, cached::generation(video), cached::EPOCH.to_owned()]
}
