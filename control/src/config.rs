//! Configuration of one control instance: command-line flags, each with a `STREAMING_*` environment
//! variable.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::Args;
use media::pictures::plan::THUMBNAILS_MAX;
use runtime::Secret;

use crate::{
    identity::{jwt::config::JwtArgs, rejected_tokens::Allowance},
    plan::retry::RetryDelays,
};

/// Where Postgres is.
#[derive(Args, Clone, Debug)]
pub struct DatabaseArgs {
    /// Postgres, as a URL or as `host=… user=… dbname=…`.
    #[arg(long, env = "STREAMING_DATABASE_URL", hide_env_values = true)]
    pub database_url: Secret,
    /// Maximum number of connections to Postgres.
    #[arg(long, env = "STREAMING_DATABASE_POOL", default_value_t = 16,
          value_parser = clap::value_parser!(u32).range(2..=512))]
    pub database_pool: u32,
}

/// Options of `serve`.
#[derive(Args, Clone, Debug)]
pub struct Config {
    /// Address to listen on; port 0 selects a free one.
    #[arg(long, env = "STREAMING_GRPC_ADDR", default_value = "127.0.0.1:50051")]
    pub grpc_addr: SocketAddr,
    /// File to which the bound address is written.
    #[arg(long, env = "STREAMING_ADDR_FILE")]
    pub addr_file: Option<PathBuf>,
    /// Where Postgres is.
    #[command(flatten)]
    pub database: DatabaseArgs,
    /// Redis URL; without Redis, instances find each other's changes by polling.
    #[arg(long, env = "STREAMING_REDIS_URL", hide_env_values = true)]
    pub redis_url: Option<Secret>,
    /// CA bundle (PEM) for verifying a rediss:// server; unset: the system's CA certificates.
    #[arg(long, env = "STREAMING_REDIS_CA_FILE", value_parser = runtime::tls::any_path())]
    pub redis_ca_file: Option<PathBuf>,
    /// Object stores, comma-separated: `file:///dir` or `s3://bucket`, which reads `AWS_*`.
    #[arg(long, env = "STREAMING_STORES")]
    pub stores: String,
    /// File with the private root keys, created by `streaming-service keys new`.
    #[arg(long, env = "STREAMING_ROOT_KEY_FILE")]
    pub root_key_file: PathBuf,
    /// Serves `/metrics` on its own address.
    #[arg(long, env = "STREAMING_METRICS_ADDR")]
    pub metrics_addr: Option<SocketAddr>,
    /// Visibility of videos that are created without one.
    #[arg(long, env = "STREAMING_DEFAULT_VISIBILITY", default_value = "public")]
    pub default_visibility: DefaultVisibility,
    /// TOML file with the profiles; unset: the five built-in ones.
    #[arg(long, env = "STREAMING_PROFILES_FILE")]
    pub profiles_file: Option<PathBuf>,
    /// How long a lease lasts after the last heartbeat.
    #[arg(long, env = "STREAMING_LEASE", default_value = "15s",
          value_parser = runtime::duration::parse)]
    pub lease: Duration,
    /// Interval at which workers send heartbeats.
    #[arg(long, env = "STREAMING_HEARTBEAT", default_value = "3s",
          value_parser = runtime::duration::parse)]
    pub heartbeat: Duration,
    /// Delays between the attempts of a probe that fails for another reason than its source; the
    /// last one repeats.
    #[arg(long, env = "STREAMING_PROBE_RETRY", default_value = "2s,10s,1m,10m")]
    pub probe_retry: RetryDelays,
    /// Number of thumbnails per video, spread over its duration; a short video has fewer.
    #[arg(long, env = "STREAMING_THUMBNAILS", default_value_t = crate::plan::THUMBNAILS_DEFAULT,
          value_parser = clap::value_parser!(u32).range(1..=i64::from(THUMBNAILS_MAX)))]
    pub thumbnails: u32,
    /// Lifetime of the presigned URLs for workers; they are replaced while a task runs.
    #[arg(long, env = "STREAMING_URL_LIFETIME", default_value = "15m",
          value_parser = url_lifetime)]
    pub url_lifetime: Duration,
    /// The identity provider.
    #[command(flatten)]
    pub jwt: JwtArgs,
    /// Rate limit for rejected tokens per client, for example 20/1m; `off` disables it.
    #[arg(long, env = "STREAMING_RATE_TOKENS")]
    pub rate_tokens: Option<Allowance>,
    /// The data planes' rate limit; if it is `off` and `STREAMING_RATE_TOKENS` is unset, rejected
    /// tokens are not limited either.
    #[arg(long, env = "STREAMING_RATE_GENERAL")]
    pub rate_general: Option<String>,
    /// Settings of uploads.
    #[command(flatten)]
    pub uploads: UploadArgs,
    /// URL of the CDN's purge endpoint, which gets `POST {"tags": ["video-ID", …]}`; may contain
    /// credentials.
    #[arg(long, env = "STREAMING_PURGE_URL", hide_env_values = true)]
    pub purge_url: Option<Secret>,
    /// TLS, or plaintext.
    #[command(flatten)]
    pub listen: runtime::tls::ListenArgs,
}

/// Limits and retention of uploads.
#[derive(Args, Clone, Debug)]
pub struct UploadArgs {
    /// How long after its last byte an unfinished resumable upload is deleted.
    #[arg(long, env = "STREAMING_UPLOAD_EXPIRY", default_value = "24h",
          value_parser = runtime::duration::parse)]
    pub upload_expiry: Duration,
    /// Maximum number of open uploads per tenant.
    #[arg(long, env = "STREAMING_UPLOADS_OPEN_MAX", default_value_t = 1000)]
    pub uploads_open_max: u32,
    /// Maximum total bytes of a tenant's open uploads; its kept rejected sources count, too, and
    /// are deleted to make room.
    #[arg(long, env = "STREAMING_UPLOADS_BYTES_MAX", default_value_t = 1 << 40)]
    pub uploads_bytes_max: u64,
    /// How long rejected sources are kept, so that they can be probed again; 0: deleted
    /// immediately.
    #[arg(long, env = "STREAMING_REJECTED_KEEP", default_value = "24h", value_parser = parse_retention)]
    pub rejected_keep: Duration,
}

/// Parses a duration or `0`.
fn parse_retention(text: &str) -> Result<Duration, String> {
    if text.trim() == "0" {
        return Ok(Duration::ZERO);
    }
    runtime::duration::parse(text).map_err(|error| error.to_string())
}

/// Parses the lifetime of presigned URLs; S3 signs for whole seconds and at most seven days.
fn url_lifetime(text: &str) -> Result<Duration, String> {
    let lifetime = runtime::duration::parse(text).map_err(|error| error.to_string())?;
    let bounds = Duration::from_secs(1)..=Duration::from_secs(7 * 24 * 3600);
    if bounds.contains(&lifetime) { Ok(lifetime) } else { Err("must be 1s to 7 days".to_owned()) }
}

/// See [`Config::default_visibility`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum DefaultVisibility {
    /// Plays without a token.
    Public,
    /// Plays with a playback token.
    Private,
}

/// Default limit of invalid tokens per client.
const TOKENS_MAX: &str = "100/1m";

impl Config {
    /// How many invalid tokens a client may send.
    pub fn allowance(&self) -> Allowance {
        let off = self.rate_general.as_deref().is_some_and(|rate| rate.trim() == "off");
        let default = if off { "off" } else { TOKENS_MAX };
        self.rate_tokens.unwrap_or_else(|| default.parse().unwrap_or(Allowance::OFF))
    }

    /// How long after the end of a lease its former holder may still write, in seconds.
    pub fn grace_seconds(&self) -> f64 {
        self.lease.as_secs_f64() * 2.0
    }
}
