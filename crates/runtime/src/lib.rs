//! The common parts of every plane's `main`: ordered shutdown, telemetry, TLS, a clock, secrets,
//! flag values.
//!
//! **Invariant:** this crate does not depend on planes, databases, object stores or videos.

pub mod addr;
pub mod admin;
pub mod client_network;
pub mod clock;
pub mod command_line;
pub mod cpu_pool;
pub mod duration;
pub mod error;
pub mod files;
pub mod flags;
pub mod lifecycle;
pub mod names;
pub mod rate;
#[cfg(feature = "redis")]
pub mod redis;
pub mod retry;
pub mod secret;
pub mod tcp_table;
pub mod telemetry;
pub mod tls;
pub mod weigh;

pub use clock::{Clock, SystemClock};
pub use cpu_pool::{CpuPool, CpuPoolError};
pub use lifecycle::Shutdown;
pub use secret::Secret;
pub use telemetry::Telemetry;
pub use weigh::Weigh;

/// The version of the programs in this build.
pub const fn program_version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}
