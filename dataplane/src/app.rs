//! State that every request may use, created once at the start.

use std::sync::Arc;

use authz::{PublicKeys, Verifier};
use runtime::{Shutdown, Telemetry, redis::RedisError, tls::TlsError};
use store::{StoreError, Stores};

use crate::{
    config::Config,
    control::{Control, ControlUrlError},
    health::Health,
    http::{client_address::TrustedProxies, cors::Cors},
    limit::Limiter,
    metrics::Metrics,
    playback::{
        captions::Tracks, download::Downloads, exchange::Exchange, index_cache::Catalog,
        segment_cache::Segments,
    },
    redis::Redis,
    rest::upload::transfers::Transfers,
    settings::{Policy, PolicyError},
    shared::Shared,
};

/// The process's state. **Invariant:** it holds no database handle and knows no FFmpeg.
pub(crate) struct App {
    pub(crate) config: Config,
    pub(crate) stores: Stores,
    pub(crate) control: Control,
    pub(crate) verifier: Verifier,
    /// Biscuits that JWTs were exchanged for.
    pub(crate) exchange: Exchange,
    pub(crate) catalog: Catalog,
    pub(crate) segments: Arc<Segments>,
    pub(crate) downloads: Downloads,
    /// Text tracks from which segments were cut recently.
    pub(crate) tracks: Tracks,
    /// Requests that write resumable uploads.
    pub(crate) transfers: Transfers,
    pub(crate) health: Health,
    pub(crate) cors: Cors,
    pub(crate) proxies: TrustedProxies,
    pub(crate) limiter: Limiter,
    /// Shared with other data planes; may be unreachable at any time.
    pub(crate) redis: Option<Redis>,
    /// The data kept in Redis.
    pub(crate) shared: Shared,
    pub(crate) metrics: Metrics,
    pub(crate) telemetry: Telemetry,
    pub(crate) shutdown: Shutdown,
}

/// Why a data plane cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The stores cannot be opened.
    #[error("open stores")]
    Stores(#[from] StoreError),
    /// A variable has an invalid value.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The Redis URL is invalid.
    #[error("read STREAMING_REDIS_URL")]
    Redis(#[source] RedisError),
    /// A control URL is invalid.
    #[error("read control URLs")]
    Control(#[from] ControlUrlError),
    /// TLS cannot be set up, or plaintext is not allowed.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Cannot listen on the metrics' own address.
    #[error("listen for metrics on {addr}")]
    Metrics {
        /// The address.
        addr: std::net::SocketAddr,
        #[source]
        /// The cause.
        source: std::io::Error,
    },
    /// The listener's address cannot be read.
    #[error("read the listener's address")]
    Address(#[source] std::io::Error),
}

impl App {
    pub(crate) fn new(
        config: Config,
        telemetry: Telemetry,
        shutdown: Shutdown,
    ) -> Result<Arc<Self>, StartError> {
        let policy = Policy::read(&config)?;
        let redis_url = config.redis_url.as_ref().filter(|url| !url.expose().is_empty());
        let redis = redis_url.map(|url| Redis::new(url.expose(), config.redis_ca_file.as_deref()));
        let redis = redis.transpose();
        Ok(Arc::new(Self {
            stores: Stores::parse(&config.stores)?,
            control: Control::new(&config)?,
            verifier: Verifier::new(PublicKeys(Vec::new())),
            exchange: Exchange::new(),
            catalog: Catalog::new(),
            segments: Arc::new(Segments::new(config.segment_cache_bytes)),
            downloads: Downloads::new(),
            tracks: Tracks::new(),
            transfers: Transfers::default(),
            health: Health::default(),
            cors: policy.cors,
            proxies: policy.proxies,
            limiter: Limiter::new(policy.rates),
            redis: redis.map_err(StartError::Redis)?,
            shared: Shared::new(),
            metrics: Metrics::new(&telemetry.meter()),
            telemetry,
            shutdown,
            config,
        }))
    }
}
