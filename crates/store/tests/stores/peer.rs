//! The S3 server that the suite runs against: a MinIO of the test's own, or any that the environment names.
//!
//! `STREAMING_TEST_STORE=s3://bucket` names a bucket that exists; `AWS_ENDPOINT_URL`, `AWS_REGION`,
//! `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY` lead there. Each test keeps below a prefix of its own.

use std::env;

use store::{Settings, Store, Stores};
use uuid::Uuid;

use crate::minio::Minio;

const STORE_VARIABLE: &str = "STREAMING_TEST_STORE";
const SECRET_VARIABLE: &str = "AWS_SECRET_ACCESS_KEY";

/// A server with one bucket.
pub(crate) struct Peer {
    /// Unless another server is named.
    pub(crate) minio: Option<Minio>,
    /// The bucket, or a place in it.
    store: String,
}

impl Peer {
    /// Starts a MinIO, or takes the server that is named.
    pub(crate) fn start() -> Self {
        match env::var(STORE_VARIABLE) {
            Ok(store) => {
                let store = format!("{}/{}", store.trim_end_matches('/'), Uuid::now_v7());
                Self { minio: None, store }
            }
            Err(_) => {
                let minio = Some(Minio::start(&["films"]));
                Self { minio, store: "s3://films".to_owned() }
            }
        }
    }

    /// The bucket, and places below it for all `prefixes` but empty ones.
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

    /// What no URL may hold.
    pub(crate) fn secret(&self) -> String {
        match &self.minio {
            Some(minio) => minio.secret().to_owned(),
            None => env::var(SECRET_VARIABLE).unwrap(),
        }
    }

    /// Multipart uploads that were begun and neither completed nor aborted; none where that cannot be told.
    pub(crate) fn multiparts(&self) -> Option<usize> {
        self.minio.as_ref().map(Minio::multiparts)
    }
}
