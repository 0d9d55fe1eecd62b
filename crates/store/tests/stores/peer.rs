//! The S3 server that the suite runs against: a MinIO that the test starts, or a server named by
//! the environment.
//!
//! `STREAMING_TEST_STORE=s3://bucket` names an existing bucket; `AWS_ENDPOINT_URL`, `AWS_REGION`,
//! `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY` give access to it. Each test uses its own key
//! prefix.

use std::env;

use store::{Settings, Store, Stores};
use uuid::Uuid;

use crate::minio::Minio;

const STORE_VARIABLE: &str = "STREAMING_TEST_STORE";
const SECRET_VARIABLE: &str = "AWS_SECRET_ACCESS_KEY";

/// A server with one bucket.
pub(crate) struct Peer {
    /// `None` if the environment names another server.
    pub(crate) minio: Option<Minio>,
    /// The bucket, or a prefix in it.
    store: String,
}

impl Peer {
    /// Starts a MinIO, or uses the server that the environment names.
    pub(crate) fn start() -> Self {
        match env::var(STORE_VARIABLE) {
            Ok(store) => {
                let store = format!("{}/{}", store.trim_end_matches('/'), Uuid::now_v7());
                Self { minio: None, store }
            }
            Err(_) => {
                let minio = Some(Minio::start(&["videos"]));
                Self { minio, store: "s3://videos".to_owned() }
            }
        }
    }

    /// Opens a store for each of `prefixes`; an empty prefix means the bucket itself.
    pub(crate) fn open(&self, prefixes: &[&str]) -> Vec<Store> {
        let url = |prefix: &&str| match *prefix {
            "" => self.store.clone(),
            prefix => format!("{}/{prefix}", self.store),
        };
        let list: Vec<String> = prefixes.iter().map(url).collect();
        let settings = match &self.minio {
            Some(minio) => {
                let vars = minio.vars().into_iter();
                Settings::from_vars(vars.map(|(key, value)| (key.to_owned(), value)))
            }
            None => Settings::from_env(),
        };
        Stores::parse_with(&list.join(","), &settings).unwrap().all().to_vec()
    }

    /// The secret that no URL may contain.
    pub(crate) fn secret(&self) -> String {
        match &self.minio {
            Some(minio) => minio.secret().to_owned(),
            None => env::var(SECRET_VARIABLE).unwrap(),
        }
    }

    /// The number of multipart uploads that are neither completed nor aborted; `None` if it cannot
    /// be determined.
    pub(crate) fn multiparts(&self) -> Option<usize> {
        self.minio.as_ref().map(Minio::multiparts)
    }
}
