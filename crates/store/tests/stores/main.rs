//! One suite over every kind of store, and the behaviour when S3 fails. Uses real folders, and a
//! real MinIO or any other S3 server (see `peer`).

#![cfg(test)] // helpers fail by panicking, as tests do

mod conformance;
mod faults;
#[path = "../../../../tests/e2e/harness/minio.rs"]
mod minio;
mod peer;
mod proxy;
mod sealing;
mod signing;

use store::{Settings, Store, Stores};

use crate::minio::Minio;

/// The stores of `list` at `address`.
fn open(minio: &Minio, address: &str, list: &str) -> Vec<Store> {
    let vars = minio.vars_through(address);
    let vars = vars.into_iter().map(|(key, value)| (key.to_owned(), value));
    Stores::parse_with(list, &Settings::from_vars(vars)).unwrap().all().to_vec()
}

/// Bytes that differ from position to position.
fn content(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n % 251) as u8 ^ (n >> 12) as u8).collect()
}
