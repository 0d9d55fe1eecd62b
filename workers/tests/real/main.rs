//! Tests the worker as a separate process, with the real FFmpeg in the real sandbox, against a
//! control plane that the tests simulate.

#![cfg(test)] // helpers fail by panicking, as tests do

mod bucket;
mod clip;
mod closed_captions;
mod codecs;
mod colors;
mod containers;
mod control;
mod encodes;
mod faults;
mod hardware;
mod host_failures;
mod hostile;
mod images;
mod inputs;
mod joined;
mod messages;
#[path = "../../../tests/e2e/harness/minio.rs"]
mod minio;
mod probes;
#[path = "../../../crates/store/tests/stores/proxy.rs"]
mod proxy;
mod rates;
mod sandbox;
mod sound;
mod subtitles;
mod surround;
mod timelines;
mod unusual_sources;
mod worker;
