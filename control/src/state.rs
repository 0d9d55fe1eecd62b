//! The state that all handlers and loops of one instance share.

use std::{
    sync::{Arc, atomic::AtomicI64},
    time::Duration,
};

use api::v1;
use authz::Verifier;
use media::{VideoId, ladder::Profile};
use opentelemetry::metrics::Histogram;
use runtime::{Clock, CpuPool, Shutdown, Telemetry};
use store::Stores;
use tokio::{
    sync::{Mutex, Semaphore},
    time::Instant,
};

use crate::{
    cdn::Purger,
    cluster::{
        events::{Bus, Event},
        redis::Redis,
    },
    db::Db,
    event_feed::EventFeed,
    identity::{jwt::Provider, keys::KeyRing, rejected_tokens::RejectedTokenLimiter},
    index_cache::IndexCache,
    metrics::Metrics,
    page::Pages,
    plan::retry::RetryDelays,
    store_outages::StoreOutages,
    upload_policy::UploadPolicy,
};

/// Settings that handlers need.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// How long a lease lasts after the last heartbeat.
    pub lease: Duration,
    /// How often workers send heartbeats.
    pub heartbeat: Duration,
    /// How long after the end of a lease its former holder may still write, in seconds.
    pub grace_seconds: f64,
    /// How long a worker's presigned URLs are valid.
    pub url_lifetime: Duration,
    /// Whether new videos play without a token by default.
    pub public: bool,
    /// How many thumbnails a video gets, if its job makes any.
    pub thumbnails: u32,
    /// Limits of tenants' open uploads.
    pub uploads: UploadPolicy,
    /// Pauses between the attempts of a probe.
    pub probe_retry: RetryDelays,
}

/// The latest results of the health checks, and when they were made.
pub type StatusCache = Mutex<Option<(Instant, Vec<v1::Dependency>)>>;

/// The shared state of one instance.
pub struct AppState {
    /// Identifies the instance.
    pub instance: uuid::Uuid,
    /// The connection pool of Postgres.
    pub db: Db,
    /// The object stores.
    pub stores: Stores,
    /// Stores for which this instance leases no tasks at the moment.
    pub outages: StoreOutages,
    /// Wake-ups and change notifications within the instance.
    pub bus: Arc<Bus>,
    /// Events for the watchers of this instance.
    pub events: Arc<EventFeed>,
    /// Forwards them to and from other instances.
    pub redis: Option<Redis>,
    /// Sends purges to the CDN.
    pub purger: Option<Purger>,
    /// Mints tokens.
    pub keys: KeyRing,
    /// Verifies tokens.
    pub verifier: Verifier,
    /// The identity provider whose JWTs are accepted, if one is configured.
    pub jwt: Option<Arc<Provider>>,
    /// Counts and limits invalid tokens per client.
    pub rejected_tokens: RejectedTokenLimiter,
    /// Creates and verifies page tokens.
    pub pages: Pages,
    /// Caches encoded indexes.
    pub indexes: IndexCache,
    /// The profiles that a transcode may use.
    pub profiles: Vec<Profile>,
    /// See [`Policy`].
    pub policy: Policy,
    /// The wall clock, for tokens; rows use the database's clock.
    pub clock: Arc<dyn Clock>,
    /// Limits how many objects are held in memory for admission.
    pub admission: Arc<Semaphore>,
    /// Parses uploaded text tracks.
    pub text_parsers: CpuPool,
    /// The number of running transcodes at the latest count; a gauge reads it.
    pub running: Arc<AtomicI64>,
    /// Seconds from a job's first lease to its end.
    pub transcode_seconds: Histogram<f64>,
    /// All other metrics.
    pub metrics: Metrics,
    /// The latest results of the dependencies' health checks, cached for a moment.
    pub status: StatusCache,
    /// Renders metrics.
    pub telemetry: Telemetry,
    /// Coordinates the shutdown.
    pub shutdown: Shutdown,
}

impl std::fmt::Debug for AppState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AppState").field("policy", &self.policy).finish_non_exhaustive()
    }
}

impl AppState {
    /// The duration of a lease, in the unit of the SQL statements.
    pub fn lease_seconds(&self) -> f64 {
        self.policy.lease.as_secs_f64()
    }

    /// Like [`Self::video_changed`], but first invalidates the metadata that data planes cache in
    /// Redis: once this has returned, no data plane may show the caller the old state.
    pub async fn video_changed_for(&self, video: VideoId) {
        if let Some(redis) = &self.redis {
            redis.invalidate(&[video]).await;
        }
        self.bus.purges.notify_one();
        self.video_changed(video);
    }

    /// Notifies listeners of all instances that a video changed.
    pub fn video_changed(&self, video: VideoId) {
        self.bus.publish(Event::Video(video));
    }
}
