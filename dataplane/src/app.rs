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
    load::Load,
    metrics::Metrics,
    pages::Pages,
    playback::{
        Playback, captions::TextTracks, download::Downloads, events::PlaybackEvents,
        exchange::TokenExchange, index_cache::IndexCache, segment_cache::SegmentCache,
    },
    redis::Redis,
    rest::{Rest, upload::transfers::Transfers},
    settings::{Settings, SettingsError},
    shared::Shared,
};

/// The process's parts. **Invariant:** it holds no database handle and does not link FFmpeg.
pub(crate) struct App {
    pub(crate) config: Config,
    pub(crate) playback: Arc<Playback>,
    pub(crate) rest: Arc<Rest>,
    pub(crate) pages: Pages,
    pub(crate) health: Arc<Health>,
    pub(crate) cors: Cors,
    pub(crate) proxies: TrustedProxies,
    pub(crate) limiter: Arc<Limiter>,
    /// Shared with other data planes; may be unreachable at any time.
    pub(crate) redis: Option<Arc<Redis>>,
    pub(crate) metrics: Metrics,
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
    Settings(#[from] SettingsError),
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
        let settings = Settings::read(&config)?;
        let redis = redis(&config)?;
        let shared = Arc::new(Shared::new(redis.clone()));
        let metrics = Metrics::new(&telemetry.meter());
        let stores = Stores::parse(&config.stores)?;
        let control = Arc::new(Control::new(&config)?);
        let verifier = Arc::new(Verifier::new(PublicKeys(Vec::new())));
        let exchange = Arc::new(TokenExchange::new(control.clone(), verifier.clone()));
        let indexes = metrics.indexes.clone();
        let index_cache = Arc::new(IndexCache::new(control.clone(), stores.clone(), indexes));
        let cdn_base = config.cdn_base().map(str::to_owned);
        let web_files = config.web_files.clone().unwrap_or_default();
        let limiter = Arc::new(Limiter::new(
            settings.rates,
            redis.clone(),
            control.clone(),
            exchange.clone(),
            verifier.clone(),
        ));
        let segments = metrics.segments.clone();
        let segment_cache =
            SegmentCache::new(config.segment_cache_bytes, segments, shutdown.clone());
        let health = health(&config, telemetry, &control, &stores, &index_cache);
        Ok(Arc::new(Self {
            limiter: limiter.clone(),
            health: health.clone(),
            rest: Arc::new(Rest {
                control: control.clone(),
                stores: stores.clone(),
                verifier: verifier.clone(),
                exchange: exchange.clone(),
                index_cache: index_cache.clone(),
                shared: shared.clone(),
                limiter,
                transfers: Transfers::default(),
                metrics: metrics.clone(),
                load: Arc::new(Load::new(metrics.clone())),
                health,
                shutdown: shutdown.clone(),
                upload_bytes_max: config.upload_bytes_max,
                cdn_base: cdn_base.clone(),
            }),
            pages: Pages::new(settings.pages, web_files, control.clone()),
            playback: Arc::new(Playback {
                stores,
                control,
                verifier,
                exchange,
                index_cache,
                segment_cache: Arc::new(segment_cache),
                downloads: Downloads::new(),
                events: PlaybackEvents::default(),
                tracks: TextTracks::new(),
                shared,
                metrics: metrics.clone(),
                shutdown: shutdown.clone(),
                cdn_base,
            }),
            cors: settings.cors,
            proxies: settings.proxies,
            redis,
            metrics,
            shutdown,
            config,
        }))
    }
}

/// The client of Redis, if one is configured.
fn redis(config: &Config) -> Result<Option<Arc<Redis>>, StartError> {
    let url = config.redis_url.as_ref().filter(|url| !url.expose().is_empty());
    let redis = url.map(|url| Redis::new(url.expose(), config.redis_ca_file.as_deref()));
    Ok(redis.transpose().map_err(StartError::Redis)?.map(Arc::new))
}

fn health(
    config: &Config,
    telemetry: Telemetry,
    control: &Arc<Control>,
    stores: &Stores,
    index_cache: &Arc<IndexCache>,
) -> Arc<Health> {
    let (control, stores, index_cache) = (control.clone(), stores.clone(), index_cache.clone());
    let with_control = config.metrics_include_control;
    Arc::new(Health::new(control, stores, index_cache, telemetry, with_control))
}
