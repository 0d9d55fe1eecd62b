//! End-to-end tests: every plane as its own process, real Postgres, Redis, ffmpeg and Chromium.
//!
//! One binary; each module tests one guarantee of the service. `STREAMING_TEST_BIN_DIR` names the
//! folder of the programs; by default those next to this test are used. `STREAMING_TEST_KEEP=1`
//! keeps the data folder of a failed test.

#![cfg(test)] // helpers fail by panicking, as tests do

mod access;
mod admission;
mod bad_input;
mod caches_and_limits;
mod captions;
mod cdn;
mod cli;
mod codecs;
mod conformance;
mod console;
mod console_screens;
mod corruption;
mod deploy;
mod documentation_examples;
mod events;
mod frames;
mod growing;
mod grpc;
mod harness;
mod hostile;
mod install;
mod jobs;
mod lists;
mod messages;
mod openapi;
mod outage;
mod pages;
mod pictures;
mod playback;
mod player;
mod powercut;
mod probes;
#[path = "../../crates/authz/tests/provider/mod.rs"]
mod provider;
mod restart;
mod roles;
mod rules;
mod s3;
mod service;
mod sign_in;
mod start;
mod surround;
mod sync;
mod takeover;
mod telemetry;
mod tls;
mod topology;
mod troubleshooting;
mod tus;
mod unusual_sources;
mod worker_lost;
