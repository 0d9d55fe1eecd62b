//! Tests the worker as a separate process, with the real FFmpeg in the real sandbox, against a control plane that the
//! tests simulate.

#![expect(clippy::unwrap_used, reason = "a test's helper fails by panicking")]

mod awkward;
mod bucket;
mod clip;
mod codecs;
mod control;
mod encodes;
mod faults;
mod fence;
mod host_faults;
mod hostile;
mod inputs;
mod joined;
mod messages;
#[path = "../../../tests/e2e/harness/minio.rs"]
mod minio;
mod pictures;
mod probes;
#[path = "../../../crates/store/tests/stores/proxy.rs"]
mod proxy;
mod subtitles;
mod worker;
