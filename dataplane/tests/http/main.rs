//! The data plane over real sockets and a real local store. Where control is needed at all, a small one
//! stands in at its socket.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod bearers;
mod captions;
mod connection;
mod drain;
mod fake_control;
mod fake_people;
mod fake_uploads;
mod h2;
mod limits;
mod live;
#[path = "../../../tests/e2e/harness/minio.rs"]
mod minio;
mod pictures;
mod playback;
#[path = "../../../crates/store/tests/stores/proxy.rs"]
mod proxy;
mod range;
mod redis_server;
mod s3;
mod shared;
mod slow;
mod support;
mod tus;
mod upload;
