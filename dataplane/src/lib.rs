//! The data plane: plays videos from the stores, receives uploads, and serves REST for browsers.
//!
//! With warm caches, a request for media needs only the route, the token, the index in memory and the
//! bytes: no gRPC and no database. Finished videos play while the control plane and all its dependencies
//! are down.
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
mod metrics;
mod playback;
mod redis;
mod rest;
mod route;
mod service;
mod settings;
mod shared;

use std::sync::Arc;

use runtime::{Shutdown, Telemetry, admin, tls::Protocols};
use store::{StoreError, Stores};
use tokio::net::TcpListener;

pub use app::StartError;
pub use config::Config;
pub use control::ControlUrlError;
pub use settings::PolicyError;

/// Waits for a short time until every store responds, so that wrong settings are reported at the start.
///
/// # Errors
/// A store is misconfigured, or is not usable after that time.
pub async fn stores_ready(config: &Config, shutdown: &Shutdown) -> Result<(), StoreError> {
    let stores = Stores::parse(&config.stores)?;
    tokio::select! {
        ready = stores.ready(|error| tracing::warn!(%error, "store is unavailable, waiting")) => ready,
        () = shutdown.soft.cancelled() => Ok(()),
    }
}

/// Serves on `listener` until the soft stop, then until running requests have ended or the hard stop.
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
    if app.redis.is_some() {
        let own = app.clone();
        let connected = async move {
            if let Some(redis) = &own.redis {
                redis.keep_connected(own.shutdown.soft.clone()).await;
            }
        };
        app.shutdown.tracker.spawn(connected);
    }
    metrics_listener(&app).await?;
    change_feed::stored_keys(&app).await;
    app.shutdown.tracker.spawn(change_feed::follow(app.clone()));
    http::accept::run(app, listener, acceptor).await;
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
        async move { health::metrics_text(&app).await }
    };
    let serving = admin::serve_text(listener, render, app.shutdown.clone());
    app.shutdown.tracker.spawn(serving);
    Ok(())
}
