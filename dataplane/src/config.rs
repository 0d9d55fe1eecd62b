//! Command-line flags and environment variables.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, builder::FalseyValueParser};
use runtime::{Secret, addr, duration, tls};

use crate::web_files::WebFiles;

/// Flags of `streaming-dataplane serve`.
#[derive(Args, Clone, Debug)]
pub struct Config {
    /// Address to serve HTTP on; port 0 selects a free one.
    #[arg(long, env = "STREAMING_HTTP_ADDR", default_value = "127.0.0.1:8080")]
    pub http_addr: String,
    /// URLs of control planes, comma-separated, for example http://127.0.0.1:50051.
    #[arg(
        long,
        env = "STREAMING_CONTROL_URLS",
        value_delimiter = ',',
        value_parser = addr::server_url,
        default_value = "http://127.0.0.1:50051"
    )]
    pub control_urls: Vec<String>,
    /// File with this data plane's token; read again at every use.
    #[arg(long, env = "STREAMING_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
    /// Object stores, comma-separated: file:///dir or s3://bucket, which reads AWS_*.
    #[arg(long, env = "STREAMING_STORES")]
    pub stores: String,
    /// File to which the bound address (host:port) is written.
    #[arg(long, env = "STREAMING_ADDR_FILE")]
    pub addr_file: Option<PathBuf>,
    /// Address to serve /metrics on, instead of the HTTP address.
    #[arg(long, env = "STREAMING_METRICS_ADDR")]
    pub metrics_addr: Option<SocketAddr>,
    /// Appends control's metrics to /metrics.
    #[arg(long, env = "STREAMING_METRICS_INCLUDE_CONTROL", value_parser = FalseyValueParser::new())]
    pub metrics_include_control: bool,
    /// Web origins that may use the API with credentials, comma-separated; "*" allows every origin
    /// without credentials. Pages of all origins may play videos.
    #[arg(long, env = "STREAMING_CORS_ORIGINS", value_delimiter = ',')]
    pub cors_origins: Vec<String>,
    /// The only web origins that may play videos, with credentials, comma-separated. Unset, or "*":
    /// every origin, without credentials.
    #[arg(long, env = "STREAMING_PLAYBACK_ORIGINS", value_delimiter = ',')]
    pub playback_origins: Vec<String>,
    /// Base URL of the links in manifests, for example `https://cdn.example.com`.
    #[arg(long, env = "STREAMING_CDN_BASE_URL")]
    pub cdn_base_url: Option<String>,
    /// Whether the web console and the pages of videos are served: on or off.
    #[arg(long, env = "STREAMING_CONSOLE", default_value = Self::CONSOLE)]
    pub console: String,
    /// Web origins whose pages may embed players, comma-separated; unset: every origin.
    #[arg(long, env = "STREAMING_EMBED_ORIGINS", value_delimiter = ',')]
    pub embed_origins: Vec<String>,
    /// Base of absolute URLs in pages, for example `https://video.example.com`; unset: the address
    /// that the client used.
    #[arg(long, env = "STREAMING_PUBLIC_URL")]
    pub public_url: Option<String>,
    /// The files of the web console and the player, instead of those that are compiled in.
    #[arg(skip)]
    pub web_files: Option<WebFiles>,
    /// Maximum size of an upload in bytes.
    #[arg(long, env = "STREAMING_UPLOAD_BYTES_MAX", default_value_t = 100 << 30)]
    pub upload_bytes_max: u64,
    /// Maximum number of concurrent connections; more wait in the listener's backlog.
    #[arg(long, env = "STREAMING_CONNECTIONS_MAX", default_value_t = 10_000)]
    pub connections_max: usize,
    /// Memory in bytes for caching segments from S3; local files use the system's cache.
    #[arg(long, env = "STREAMING_SEGMENT_CACHE_BYTES", default_value_t = 256 << 20)]
    pub segment_cache_bytes: u64,
    /// How fast clients have to be.
    #[command(flatten)]
    pub pace: Pace,
    /// How long a shutdown waits for running requests.
    #[arg(long, env = "STREAMING_DRAIN", default_value = "30s", value_parser = duration::parse)]
    pub drain: Duration,
    /// TLS, or plaintext.
    #[command(flatten)]
    pub listen: tls::ListenArgs,
    /// TLS for connections to control.
    #[command(flatten)]
    pub dial: tls::DialArgs,
    /// Redis URL, for limits and caches that all data planes share; without Redis each data plane
    /// has its own.
    #[arg(long, env = "STREAMING_REDIS_URL", hide_env_values = true)]
    pub redis_url: Option<Secret>,
    /// CA bundle (PEM) for verifying a rediss:// server; unset: the system's CA certificates.
    #[arg(long, env = "STREAMING_REDIS_CA_FILE", value_parser = tls::any_path())]
    pub redis_ca_file: Option<PathBuf>,
    /// Maximum requests per period for each principal, or else for each client address; or "off".
    #[arg(long, env = "STREAMING_RATE_GENERAL", default_value = Self::RATE_GENERAL)]
    pub rate_general: String,
    /// The same for beginning uploads.
    #[arg(long, env = "STREAMING_RATE_UPLOAD", default_value = Self::RATE_UPLOAD)]
    pub rate_upload: String,
    /// The same for everything below /api/stream, and pages with a player.
    #[arg(long, env = "STREAMING_RATE_STREAM", default_value = Self::RATE_STREAM)]
    pub rate_stream: String,
    /// Proxies whose X-Forwarded-For is trusted: addresses and networks, comma-separated.
    #[arg(long, env = "STREAMING_TRUSTED_PROXIES", value_delimiter = ',')]
    pub trusted_proxies: Vec<String>,
}

/// Minimum speed of clients; slower ones are disconnected.
#[derive(Args, Clone, Copy, Debug)]
pub struct Pace {
    /// Minimum bytes per second at which a client must read a reply and send a body; 0: no minimum.
    #[arg(long = "client-rate-min", env = "STREAMING_CLIENT_RATE_MIN", default_value_t = 1024)]
    pub rate_min: u64,
    /// Period over which that rate is measured, counting only the time spent waiting for the
    /// client; also the longest pause within a transfer.
    #[arg(
        long = "client-patience",
        env = "STREAMING_CLIENT_PATIENCE",
        default_value = "30s",
        value_parser = duration::parse
    )]
    pub patience: Duration,
    /// Time limit for a request's head, and for the first head of a new connection.
    #[arg(
        long = "head-time-max",
        env = "STREAMING_HEAD_TIME_MAX",
        default_value = "15s",
        value_parser = duration::parse
    )]
    pub head_time_max: Duration,
    /// How long an HTTP/1.1 connection may stay idle between two requests.
    #[arg(
        long = "keep-alive",
        env = "STREAMING_KEEP_ALIVE",
        default_value = "75s",
        value_parser = duration::parse
    )]
    pub keep_alive: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            rate_min: 1024,
            patience: Duration::from_secs(30),
            head_time_max: Duration::from_secs(15),
            keep_alive: Duration::from_secs(75),
        }
    }
}

impl Config {
    pub(crate) const CONSOLE: &str = "on";
    pub(crate) const RATE_GENERAL: &str = "100/15m";
    pub(crate) const RATE_UPLOAD: &str = "10/15m";
    pub(crate) const RATE_STREAM: &str = "1000/1m";

    /// The base of absolute URLs without its trailing slash; `None` when empty or unset.
    pub(crate) fn public_base(&self) -> Option<&str> {
        let base = self.public_url.as_deref()?.trim().trim_end_matches('/');
        (!base.is_empty()).then_some(base)
    }

    /// The CDN's base without its trailing slash; `None` when empty or unset.
    pub(crate) fn cdn_base(&self) -> Option<&str> {
        let base = self.cdn_base_url.as_deref()?.trim_end_matches('/');
        (!base.is_empty()).then_some(base)
    }
}
