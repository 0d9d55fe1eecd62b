//! What every handler and loop of one instance works with.

use std::{
    sync::{Arc, atomic::AtomicI64},
    time::Duration,
};

use authz::Verifier;
use media::{VideoId, ladder::Profile};
use opentelemetry::metrics::Histogram;
use runtime::{Clock, CpuPool, Shutdown, Telemetry};
use store::Stores;
use tokio::sync::Semaphore;

use crate::{
    bus::{Bus, Event},
    db::Db,
    grpc::refusals::Refusals,
    index::Indexes,
    jwt::Provider,
    keys::KeyRing,
    metrics::Metrics,
    outages::StoreOutages,
    page::Pages,
    purge::Purger,
    redis::Redis,
    status::Status,
    uploads::UploadPolicy,
    verdict::RetryDelays,
};

/// Policy that handlers need.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// How long a lease holds after the last heartbeat.
    pub lease: Duration,
    /// How often workers send heartbeats.
    pub heartbeat: Duration,
    /// From the end of a lease until nobody writes for it any more, in seconds.
    pub grace_seconds: f64,
    /// How long a worker's presigned URLs hold.
    pub url_lifetime: Duration,
    /// New videos play without a token.
    pub public: bool,
    /// Thumbnails of a film that wants any.
    pub thumbnails: u32,
    /// What tenants may have on its way.
    pub uploads: UploadPolicy,
    /// Pauses between the tries of a probe.
    pub probe_retry: RetryDelays,
}

/// One instance's parts.
pub struct Deps {
    /// Tells instances apart.
    pub instance: uuid::Uuid,
    /// Postgres.
    pub db: Db,
    /// Object stores.
    pub stores: Stores,
    /// Those that work is not handed out for at the moment.
    pub outages: StoreOutages,
    /// Wake-ups and changes.
    pub bus: Arc<Bus>,
    /// Carries them between instances.
    pub redis: Option<Redis>,
    /// Tells the CDN what to forget.
    pub purger: Option<Purger>,
    /// Mints tokens.
    pub keys: KeyRing,
    /// Verifies tokens.
    pub verifier: Verifier,
    /// Whose JWTs are accepted, if anybody's.
    pub jwt: Option<Arc<Provider>>,
    /// Counts and limits tokens that are refused.
    pub refusals: Refusals,
    /// Seals page tokens.
    pub pages: Pages,
    /// Encoded indexes.
    pub indexes: Indexes,
    /// What a transcode may be asked for.
    pub profiles: Vec<Profile>,
    /// See [`Policy`].
    pub policy: Policy,
    /// The wall clock, for tokens; rows take the database's.
    pub clock: Arc<dyn Clock>,
    /// Bounds how many objects are held in memory to be proven.
    pub admission: Arc<Semaphore>,
    /// Parses uploaded text tracks.
    pub text_parsers: CpuPool,
    /// Transcodes that run, by the latest count; the gauge reads it.
    pub running: Arc<AtomicI64>,
    /// Seconds from a job's first lease to its end.
    pub transcode_seconds: Histogram<f64>,
    /// What else is measured.
    pub metrics: Metrics,
    /// What the parts said a moment ago.
    pub status: Status,
    /// Renders metrics.
    pub telemetry: Telemetry,
    /// Ordered stop.
    pub shutdown: Shutdown,
}

impl std::fmt::Debug for Deps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Deps").field("policy", &self.policy).finish_non_exhaustive()
    }
}

impl Deps {
    /// A lease's length as statements take it.
    pub fn lease_seconds(&self) -> f64 {
        self.policy.lease.as_secs_f64()
    }

    /// Like [`Self::video_changed`], for a caller who must not be shown the old state by any data plane once
    /// this has returned.
    pub async fn video_changed_for(&self, video: VideoId) {
        if let Some(redis) = &self.redis {
            redis.forget(&[video]).await;
        }
        self.bus.purges.notify_one();
        self.video_changed(video);
    }

    /// Tells everybody that a video looks different now.
    pub fn video_changed(&self, video: VideoId) {
        self.bus.tell(Event::Video(video));
    }
}
