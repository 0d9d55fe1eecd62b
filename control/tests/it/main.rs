//! Control against a real Postgres: every database function, then whole instances over gRPC.

#![cfg(test)] // helpers fail by panicking, as tests do

mod access;
mod automatic_jobs;
mod calls;
mod captions;
mod claiming;
mod clip;
mod earlier_release;
mod events;
mod failed_jobs;
mod fairness;
mod faults;
mod hardware;
mod instances;
mod job_endings;
mod jwt;
mod lead;
mod lists;
mod migrations;
mod model;
mod pictures;
mod plane;
mod postgres;
mod probes;
mod profiles;
#[path = "../../../crates/authz/tests/provider/mod.rs"]
mod provider;
#[path = "../../../tests/e2e/harness/proxy.rs"]
mod proxy;
mod purges;
mod redis;
mod renewal;
mod revoking;
mod rows;
mod sessions;
mod sign_in;
mod surround;
mod token_records;
mod upload_leases;
mod uploads;
mod waiting;
mod workers;
