//! The data plane over real sockets with a real local store. Tests that need a control plane use a
//! small fake one.

#![cfg(test)] // helpers fail by panicking, as tests do

mod captions;
mod connection;
mod cors;
mod drain;
mod events;
mod fake_control;
mod fake_events;
mod fake_operations;
mod fake_uploads;
mod fake_user_services;
mod h2;
mod limits;
mod lists;
#[path = "../../../tests/e2e/harness/minio.rs"]
mod minio;
mod pages;
mod pictures;
mod playback;
mod playback_tokens;
#[path = "../../../crates/store/tests/stores/proxy.rs"]
mod proxy;
mod range;
mod redis_server;
mod s3;
mod shared;
mod slow;
mod support;
mod token_errors;
mod tus;
mod upload;
mod video_pages;
mod with_control;
