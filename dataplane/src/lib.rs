//! The data plane: plays videos from the stores, receives uploads, and serves REST for browsers.
//!
//! With warm caches, a request for media needs only the route, the token, the index in memory and
//! the bytes: no gRPC and no database. Finished videos play while the control plane and all its
//! dependencies are down.
//!
//! **Invariant:** this plane uses no database and no FFmpeg, and shares only the wire contract with
//! other planes.

mod app;
mod change_feed;
pub mod config;
mod control;
mod health;
mod http;
mod limit;
mod load;
mod metrics;
mod pages;
mod playback;
mod redis;
mod rest;
mod route;
mod service;
mod settings;
mod shared;
mod token_uses;
mod web_files;

use std::sync::Arc;

use runtime::{Shutdown, Telemetry, admin, tls::Protocols};
use store::{StoreError, Stores};
use tokio::net::TcpListener;

use self::http::accept::ConnectionServer;

pub use app::StartError;
pub use config::Config;
pub use control::ControlUrlError;
pub use settings::SettingsError;
pub use web_files::WebFiles;

/// Checks the settings that need more than the parsing of one flag.
///
/// # Errors
/// A setting is invalid; the error lists all invalid settings.
pub fn check(config: &Config) -> Result<(), SettingsError> {
    settings::Settings::read(config).map(drop)
}

/// Waits for a short time until every store responds, so that invalid settings are reported at the
/// start.
///
/// # Errors
/// A store is misconfigured, or is not usable after that time.
pub async fn stores_ready(config: &Config, shutdown: &Shutdown) -> Result<(), StoreError> {
    let stores = Stores::parse(&config.stores)?;
    tokio::select! {
        ready = stores.ready(|error| tracing::warn!(%error, "failed to reach a store, waiting")) => ready,
        () = shutdown.soft.cancelled() => Ok(()),
    }
}

/// Serves on `listener` until the soft stop, then until running requests have ended or the hard
/// stop.
///
/// # Errors
/// The configuration is unusable. Later failures are not returned.
pub async fn serve(
    config: Config,
    listener: TcpListener,
    telemetry: Telemetry,
    shutdown: Shutdown,
) -> Result<(), StartError> {
    let address = listener.local_addr().map_err(StartError::Address)?;
    let acceptor = config.listen.acceptor(address, Protocols::Http)?;
    let app = app::App::new(config, telemetry, shutdown)?;
    app.shutdown.tracker.spawn(acceptor.clone().keep_fresh(app.shutdown.clone()));
    if let Some(redis) = &app.redis {
        let (redis, soft) = (redis.clone(), app.shutdown.soft.clone());
        let connected = async move { redis.keep_connected(soft).await };
        app.shutdown.tracker.spawn(connected);
    }
    metrics_listener(&app).await?;
    change_feed::stored_keys(&app).await;
    app.shutdown.tracker.spawn(change_feed::follow(app.clone()));
    app.shutdown.tracker.spawn(token_uses::report(app.clone()));
    let (load, soft) = (app.rest.load.clone(), app.shutdown.soft.clone());
    app.shutdown.tracker.spawn(async move { load.measure(soft).await });
    let connections_max = app.config.connections_max;
    let (pace, metrics, shutdown) = (app.config.pace, app.metrics.clone(), app.shutdown.clone());
    let respond =
        move |peer, connection, request| service::respond(app.clone(), peer, connection, request);
    let server = ConnectionServer::new(acceptor, pace, metrics, shutdown, respond);
    server.run(listener, connections_max).await;
    Ok(())
}

/// Serves `/metrics` on a separate address, if one is configured.
async fn metrics_listener(app: &Arc<app::App>) -> Result<(), StartError> {
    let Some(addr) = app.config.metrics_addr else { return Ok(()) };
    let bound = TcpListener::bind(addr).await;
    let listener = bound.map_err(|source| StartError::Metrics { addr, source })?;
    let metrics = app.clone();
    let render = move || {
        let app = metrics.clone();
        async move { app.health.metrics_text().await }
    };
    let serving = admin::serve_text(listener, render, app.shutdown.clone());
    app.shutdown.tracker.spawn(serving);
    Ok(())
}
