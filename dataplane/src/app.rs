//! What every request may use, made once at the start.

use std::sync::Arc;

use authz::{PublicKeys, Verifier};
use runtime::{Shutdown, Telemetry};
use store::{StoreError, Stores};

use crate::{
    config::Config,
    control::{Control, ControlUrlError},
    cors::Cors,
    health::Health,
    metrics::Metrics,
    playback::catalog::Catalog,
};

/// The process's state. **Invariant:** it holds no database handle and knows no FFmpeg.
pub(crate) struct App {
    pub(crate) config: Config,
    pub(crate) stores: Stores,
    pub(crate) control: Control,
    pub(crate) verifier: Verifier,
    pub(crate) catalog: Catalog,
    pub(crate) health: Health,
    pub(crate) cors: Cors,
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
    /// A control URL is none.
    #[error("read control URLs")]
    Control(#[from] ControlUrlError),
}

impl App {
    pub(crate) fn new(
        config: Config,
        telemetry: Telemetry,
        shutdown: Shutdown,
    ) -> Result<Arc<Self>, StartError> {
        Ok(Arc::new(Self {
            stores: Stores::parse(&config.stores)?,
            control: Control::new(&config.control_urls, config.token_file.clone())?,
            verifier: Verifier::new(PublicKeys(Vec::new())),
            catalog: Catalog::new(),
            health: Health::default(),
            cors: Cors::new(&config.cors_origins),
            metrics: Metrics::new(&telemetry.meter()),
            telemetry,
            shutdown,
            config,
        }))
    }
}
