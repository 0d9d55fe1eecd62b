//! How planes reach Redis: the same limits, the same patience, TLS by the URL's scheme.
//!
//! **Invariant:** a Redis that is not there is no error here. The client goes on trying, and a command
//! that cannot be sent fails in time.

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
/// A connection that says nothing for so long is made anew.
const UNRESPONSIVE_MAX: Duration = Duration::from_secs(5);
/// Commands that may wait for the connection.
const BUFFER_MAX: usize = 10_000;
const RECONNECT_MS_MIN: u32 = 100;
const RECONNECT_MS_MAX: u32 = 5_000;

/// Why there is no client.
#[derive(Debug, Error)]
pub enum RedisError {
    /// The URL is of something else.
    #[error("{0}")]
    Scheme(&'static str),
    /// The URL is none, or needs what the client has not.
    #[error("{0}")]
    Url(Error),
    /// Who certifies its server cannot be told.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Reads the URL: `redis://`, `rediss://` for TLS, `redis-unix:///path` for a socket. `ca_file` holds who
/// certifies a TLS server, `None` stands for the system's authorities. A command fails after
/// `command_time_max`.
///
/// # Errors
/// [`RedisError`]
pub fn builder(
    url: &str,
    ca_file: Option<&Path>,
    command_time_max: Duration,
) -> Result<Builder, RedisError> {
    let url = addr::redis_url(url).map_err(RedisError::Scheme)?;
    let secure = url.starts_with("rediss");
    // Told of TLS the client would bring its own idea of whom to trust.
    let plain = if secure { url.replacen("rediss", "redis", 1) } else { url };
    let mut config = Config::from_url(&plain).map_err(RedisError::Url)?;
    // One that comes up after us is found, too.
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
    // 0 attempts is "for ever".
    builder.set_policy(ReconnectPolicy::new_exponential(0, RECONNECT_MS_MIN, RECONNECT_MS_MAX, 2));
    Ok(builder)
}
