//! The gRPC control plane: videos, jobs, leased tasks, tokens, workers.
//!
//! **Invariant:** this is the only crate that uses Postgres. An instance holds no authoritative state, so
//! any number of instances can run side by side, and each may stop at any time.

pub mod admit;
pub mod bus;
pub mod captions;
pub mod collect;
pub mod config;
pub mod db;
pub mod deps;
pub mod domain;
mod epoch;
pub mod gather;
pub mod grpc;
pub mod incoming;
pub mod index;
pub mod jwt;
pub mod keys;
pub mod language;
pub mod loops;
pub mod metrics;
pub mod outages;
pub mod page;
pub mod plan;
pub mod probes;
pub mod profiles;
pub mod purge;
pub mod redis;
pub mod scenes;
pub mod server;
pub mod status;
pub mod sweep;
pub mod uploads;
pub mod verdict;

pub use server::{ServeError, serve};
