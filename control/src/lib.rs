//! The gRPC control plane: videos, jobs, leased tasks, tokens, workers.
//!
//! **Invariant:** this is the only crate that uses Postgres. An instance has no authoritative
//! state, so any number of instances can run side by side, and each may stop at any time.

pub mod background;
pub mod cdn;
pub mod cluster;
pub mod config;
pub mod db;
pub mod domain;
pub mod event_feed;
pub mod grpc;
pub mod identity;
pub mod index_cache;
pub mod listener;
pub mod metrics;
pub mod objects;
pub mod page;
pub mod plan;
pub mod profiles_file;
pub mod publish;
pub mod server;
pub mod source;
pub mod state;
pub mod store_outages;
pub mod transcode;
pub mod upload_policy;

pub use server::{ServeError, serve};
