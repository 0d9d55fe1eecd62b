//! Configures Redis clients for all planes: common limits and timeouts, and TLS by the URL's
//! scheme.
//!
//! **Invariant:** an unreachable Redis is not an error here. The client keeps reconnecting, and a
//! command that cannot be sent fails within its timeout.

use std::{path::Path, time::Duration};

use fred::{
    prelude::{Builder, Config, Error, ReconnectPolicy},
    types::config::TlsConnector,
};
use thiserror::Error;

use crate::{
    addr,
    tls::{self, TlsError},
};

const CONNECT_TIME_MAX: Duration = Duration::from_secs(2);
/// A connection without a response for this long is replaced.
const UNRESPONSIVE_MAX: Duration = Duration::from_secs(5);
/// Commands that may wait for the connection.
const BUFFER_MAX: usize = 10_000;
const RECONNECT_MS_MIN: u32 = 100;
const RECONNECT_MS_MAX: u32 = 5_000;

/// Why a client cannot be created.
#[derive(Debug, Error)]
pub enum RedisError {
    /// The URL has a scheme that is not Redis's.
    #[error("{0}")]
    Scheme(&'static str),
    /// The URL is invalid, or needs a feature that the client lacks.
    #[error("{0}")]
    Url(Error),
    /// The certificate authorities for the server cannot be loaded.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Parses the URL: `redis://`, `rediss://` for TLS, `redis-unix:///path` for a socket. `ca_file` is
/// the CA bundle for verifying a TLS server; `None` means the system's authorities. A command fails
/// after `command_time_max`.
///
/// # Errors
/// The URL is invalid, or the CA bundle is unusable.
pub fn builder(
    url: &str,
    ca_file: Option<&Path>,
    command_time_max: Duration,
) -> Result<Builder, RedisError> {
    let url = addr::redis_url(url).map_err(RedisError::Scheme)?;
    let secure = url.starts_with("rediss");
    // With the TLS scheme the client would configure its own trust anchors.
    let plain = if secure { url.replacen("rediss", "redis", 1) } else { url };
    let mut config = Config::from_url(&plain).map_err(RedisError::Url)?;
    // Also connect to a server that starts after this process.
    config.fail_fast = false;
    if secure {
        config.tls = Some(TlsConnector::from(tls::client_config(ca_file)?).into());
    }
    let mut builder = Builder::from_config(config);
    builder.with_connection_config(|connection| {
        connection.connection_timeout = CONNECT_TIME_MAX;
        connection.internal_command_timeout = CONNECT_TIME_MAX;
        connection.max_command_attempts = 1;
        connection.max_command_buffer_len = BUFFER_MAX;
        connection.unresponsive.max_timeout = Some(UNRESPONSIVE_MAX);
    });
    builder.with_performance_config(|c| c.default_command_timeout = command_time_max);
    // 0 attempts means unlimited.
    builder.set_policy(ReconnectPolicy::new_exponential(0, RECONNECT_MS_MIN, RECONNECT_MS_MAX, 2));
    Ok(builder)
}
