//! Builds one instance, starts its loops and serves its gRPC services.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use api::v1::{
    auth_service_server::AuthServiceServer, event_service_server::EventServiceServer,
    job_service_server::JobServiceServer, playback_service_server::PlaybackServiceServer,
    system_service_server::SystemServiceServer, upload_service_server::UploadServiceServer,
    video_service_server::VideoServiceServer, worker_service_server::WorkerServiceServer,
};
use authz::Verifier;
use opentelemetry::metrics::Meter;
use runtime::{
    CpuPool, Shutdown, SystemClock, Telemetry,
    redis::RedisError,
    tls::{Protocols, TlsError},
};
use store::{StoreError, Stores};
use thiserror::Error;
use tokio::{net::TcpListener, sync::Semaphore};
use tonic::transport::{Server, server::Router};
use tower::layer::util::{Identity, Stack};

use crate::{
    background::{keys, loops},
    cdn::{PurgeUrlError, Purger},
    cluster::{events::Bus, redis::Redis},
    config::{Config, DefaultVisibility},
    db::{Db, DbError, causes, migrate, revocations},
    event_feed::EventFeed,
    grpc::{Services, bearer::JwtLayer, call_telemetry::Calls, events},
    identity::{
        jwt::{config as jwt, config::JwtConfigError},
        key_file::{self, KeyFileError},
        keys::KeyRing,
        rejected_tokens::RejectedTokenLimiter,
    },
    index_cache::IndexCache,
    listener,
    metrics::Metrics,
    page::Pages,
    profiles_file::{self, ProfilesError},
    state::{AppState, Policy, StatusCache},
    store_outages::StoreOutages,
    upload_policy::UploadPolicy,
};

/// Maximum size of a message from a client.
const MESSAGE_BYTES_MAX: usize = 4 << 20;
/// Maximum size of a message to a client; the index of a 24-hour video has a few MiB.
const REPLY_BYTES_MAX: usize = 256 << 20;
/// Maximum number of concurrent calls and streams per connection.
const STREAMS_MAX: u32 = 1024;
const HEADER_BYTES_MAX: u32 = 32 << 10;
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a peer may send nothing: a dead peer is detected within this time.
pub const SILENCE_MAX: Duration = KEEPALIVE_INTERVAL.saturating_add(KEEPALIVE_TIMEOUT);
/// Maximum number of objects that are in admission at a time; each is held in memory.
const ADMISSIONS_MAX: usize = 4;
/// Maximum number of uploaded text tracks that are parsed at a time.
const TEXT_PARSERS_MAX: usize = 2;
/// How long a request waits for a free parser.
const TEXT_WAIT_MAX: Duration = Duration::from_secs(8);
/// How long parsing one text track may take; the largest allowed takes a fraction of a second.
const TEXT_PARSE_MAX: Duration = Duration::from_secs(5);
/// How long connections may take to close after the soft stop.
const CLOSE_MAX: Duration = Duration::from_secs(15);
/// How long an instance waits for Postgres at its start.
const START_MAX: Duration = Duration::from_secs(60);
const START_RETRY: Duration = Duration::from_millis(500);

/// Why an instance cannot start or keep running.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The database's URL or schema is invalid, or the database is unavailable.
    #[error("prepare the database")]
    Db(#[from] DbError),
    /// The list of stores is invalid, or a store cannot be opened.
    #[error("open the stores")]
    Stores(#[from] StoreError),
    /// The root key file cannot be read or is invalid.
    #[error("read the root keys")]
    Keys(#[from] KeyFileError),
    /// The profiles file cannot be read or is invalid.
    #[error(transparent)]
    Profiles(#[from] ProfilesError),
    /// The identity provider's configuration is invalid.
    #[error("read the identity provider's configuration")]
    Jwt(#[from] JwtConfigError),
    /// The Redis URL or its CA bundle is invalid.
    #[error("read STREAMING_REDIS_URL")]
    Redis(#[source] RedisError),
    /// The purge URL is invalid.
    #[error("read STREAMING_PURGE_URL")]
    Purge(#[from] PurgeUrlError),
    /// TLS cannot be set up, or plaintext is not allowed on this address.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The listener's address cannot be read.
    #[error("read the listener's address")]
    Address(#[source] std::io::Error),
    /// The file for the bound address cannot be written.
    #[error("write the address file")]
    AddrFile(#[source] std::io::Error),
    /// The descriptors for gRPC reflection are invalid.
    #[error("set up gRPC reflection")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The gRPC server failed.
    #[error("serve gRPC")]
    Transport(#[from] tonic::transport::Error),
}

/// Serves until the soft stop. Returns once the listener is closed and every call has ended; the
/// task tracker waits for the loops.
///
/// # Errors
/// The configuration is invalid, a component that a start needs is unavailable, or the server
/// failed.
pub async fn serve(
    config: Config,
    listener: TcpListener,
    telemetry: Telemetry,
    shutdown: Shutdown,
) -> Result<(), ServeError> {
    let address = listener.local_addr().map_err(ServeError::Address)?;
    let acceptor = config.listen.acceptor(address, Protocols::Grpc)?;
    let app = Arc::new(build(&config, telemetry, shutdown.clone())?);
    tokio::select! {
        ready = app.stores.ready(|error| tracing::warn!(%error, "failed to reach a store, waiting")) => ready?,
        () = shutdown.soft.cancelled() => return Ok(()),
    }
    prepare(&app).await?;
    if let Some(redis) = app.redis.clone() {
        shutdown.tracker.spawn(redis.run(app.bus.clone(), shutdown.soft.clone()));
    }
    if let Some(provider) = app.jwt.clone() {
        shutdown.tracker.spawn(provider.keep(shutdown.soft.clone()));
    }
    shutdown.tracker.spawn(keys::follow(app.clone()));
    loops::spawn(&app);
    shutdown.tracker.spawn(events::read::run(app.clone()));
    if let Some(path) = &config.addr_file {
        runtime::addr::publish(path, address).map_err(ServeError::AddrFile)?;
    }
    tracing::info!(%address, tls = acceptor.is_tls(), "listening");
    shutdown.tracker.spawn(acceptor.clone().keep_fresh(shutdown.clone()));
    let incoming = listener::accept(listener, acceptor, &shutdown);
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_service_status("", tonic_health::ServingStatus::Serving).await;
    health.set_serving::<VideoServiceServer<Services>>().await;
    health.set_serving::<JobServiceServer<Services>>().await;
    health.set_serving::<WorkerServiceServer<Services>>().await;
    health.set_serving::<AuthServiceServer<Services>>().await;
    health.set_serving::<EventServiceServer<Services>>().await;
    health.set_serving::<SystemServiceServer<Services>>().await;
    let soft = shutdown.soft.clone();
    let stop = async move {
        soft.cancelled().await;
        health.set_service_status("", tonic_health::ServingStatus::NotServing).await;
    };
    let served =
        services(&app)?.add_service(health_service).serve_with_incoming_shutdown(incoming, stop);
    let late = async {
        shutdown.soft.cancelled().await;
        tokio::time::sleep(CLOSE_MAX).await;
    };
    tokio::select! {
        served = served => served?,
        () = shutdown.hard.cancelled() => {}
        () = late => tracing::warn!("connections did not close in time"),
    }
    Ok(())
}

/// The services, wrapped in the layers that measure calls and verify bearer tokens.
type Guarded = Router<Stack<JwtLayer, Stack<Calls, Identity>>>;

fn services(app: &Arc<AppState>) -> Result<Guarded, ServeError> {
    let services = Services(app.clone());
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(api::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(api::DETAILS_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let playback = PlaybackServiceServer::new(services.clone())
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(REPLY_BYTES_MAX);
    let workers =
        WorkerServiceServer::new(services.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX);
    Ok(Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .max_concurrent_streams(STREAMS_MAX)
        .http2_max_header_list_size(HEADER_BYTES_MAX)
        .layer(Calls::new(&app.telemetry.meter()))
        .layer(JwtLayer(app.clone()))
        .add_service(VideoServiceServer::new(services.clone()))
        .add_service(UploadServiceServer::new(services.clone()))
        .add_service(JobServiceServer::new(services.clone()))
        .add_service(SystemServiceServer::new(services.clone()))
        .add_service(AuthServiceServer::new(services.clone()))
        .add_service(EventServiceServer::new(services))
        .add_service(workers)
        .add_service(playback)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?))
}

/// Builds the state of an instance. Accesses only files and the stores' folders, no network.
///
/// # Errors
/// A part of the configuration, or a file that it names, is invalid.
pub fn build(
    config: &Config,
    telemetry: Telemetry,
    shutdown: Shutdown,
) -> Result<AppState, ServeError> {
    let profiles = profiles_file::load(config.profiles_file.as_deref())?;
    let keys = key_file::load(&config.root_key_file)?;
    // An empty variable counts as unset.
    let redis_url = config.redis_url.as_ref().filter(|url| !url.expose().is_empty());
    let redis = redis_url.map(|url| Redis::new(url.expose(), config.redis_ca_file.as_deref()));
    let redis = redis.transpose();
    let purge_url = config.purge_url.as_ref().filter(|url| !url.expose().is_empty());
    let running = Arc::new(AtomicI64::new(0));
    let meter = telemetry.meter();
    gauge(&meter, running.clone());
    let events = Arc::new(EventFeed::default());
    event_streams(&meter, events.clone());
    Ok(AppState {
        instance: uuid::Uuid::new_v4(),
        db: Db::new(config.database.database_url.expose(), config.database.database_pool)?,
        stores: Stores::parse(&config.stores)?,
        outages: StoreOutages::default(),
        bus: Arc::new(Bus::default()),
        events,
        redis: redis.map_err(ServeError::Redis)?,
        jwt: jwt::provider(&config.jwt, &meter)?,
        rejected_tokens: RejectedTokenLimiter::new(config.allowance(), &meter),
        purger: purge_url.map(Purger::new).transpose()?,
        verifier: Verifier::new(keys.public()),
        pages: Pages::new(&keys),
        keys: KeyRing::new(config.root_key_file.clone(), keys),
        indexes: IndexCache::default(),
        profiles,
        policy: Policy {
            lease: config.lease,
            heartbeat: config.heartbeat,
            grace_seconds: config.grace_seconds(),
            thumbnails: config.thumbnails,
            url_lifetime: config.url_lifetime,
            public: config.default_visibility == DefaultVisibility::Public,
            uploads: UploadPolicy::new(&config.uploads),
            probe_retry: config.probe_retry,
        },
        clock: Arc::new(SystemClock),
        admission: Arc::new(Semaphore::new(ADMISSIONS_MAX)),
        text_parsers: CpuPool::new(TEXT_PARSERS_MAX, TEXT_WAIT_MAX, TEXT_PARSE_MAX),
        running,
        transcode_seconds: meter
            .f64_histogram("streaming_service_transcoding_duration_seconds")
            .with_description("Time from a job's first lease to its end")
            .build(),
        metrics: Metrics::new(&meter),
        status: StatusCache::default(),
        telemetry,
        shutdown,
    })
}

fn gauge(meter: &Meter, running: Arc<AtomicI64>) {
    meter
        .i64_observable_gauge("streaming_service_active_transcoding_jobs")
        .with_description("Running transcode jobs, over all instances")
        .with_callback(move |observer| observer.observe(running.load(Ordering::Relaxed), &[]))
        .build();
}

fn event_streams(meter: &Meter, events: Arc<EventFeed>) {
    meter
        .u64_observable_gauge("streaming_service_event_streams")
        .with_description("Open streams of a tenant's changes at this instance")
        .with_callback(move |observer| observer.observe(events.open() as u64, &[]))
        .build();
}

/// Migrates the database, loads the revocations, and writes the public keys to every store for data
/// planes that start while no control instance is reachable.
///
/// # Errors
/// The database cannot be migrated or read, or stays unavailable for `START_MAX`.
pub async fn prepare(app: &AppState) -> Result<(), ServeError> {
    let started = tokio::time::Instant::now();
    let mut logged_cause = String::new();
    loop {
        match migrate::run(&app.db).await {
            Ok(()) => break,
            Err(error) if error.transient() && started.elapsed() < START_MAX => {
                let cause = causes(&error);
                if cause != logged_cause {
                    tracing::warn!(%error, cause, "failed to connect to postgres, waiting");
                    logged_cause = cause;
                }
                tokio::select! {
                    () = tokio::time::sleep(START_RETRY) => {}
                    () = app.shutdown.soft.cancelled() => return Err(error.into()),
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    app.verifier.revoke(revocations::list(&*app.db.get().await?, None).await?);
    keys::store_public_keys(app).await;
    Ok(())
}
