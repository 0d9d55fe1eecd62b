//! Checks every store once, so that a process with invalid settings reports them at its start.

use std::time::Duration;

use futures::future::join_all;
use object_store::{
    list::{PaginatedListOptions, PaginatedListStore},
    path::Path,
};
use tokio::time::Instant;

use crate::{Store, StoreError, StoreErrorKind, Stores, explain};

/// How long the check of one store may take.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(15);
/// How long a process waits at its start for an unreachable store.
pub const START_TIME_MAX: Duration = Duration::from_secs(12);
const START_PAUSE: Duration = Duration::from_millis(500);

impl Stores {
    /// Checks that every store is reachable and accepts the credentials; local folders are already
    /// open.
    ///
    /// # Errors
    /// Returns the error of the first store in the configured order that is not usable.
    /// [`StoreError::passing`] states whether waiting may help.
    pub async fn check(&self) -> Result<(), StoreError> {
        for checked in join_all(self.all().iter().map(Store::check)).await {
            checked?;
        }
        Ok(())
    }

    /// [`Stores::check`] for the start of a process: waits for stores that may still come up, and
    /// passes the first error to `wait` once.
    ///
    /// # Errors
    /// A store has a permanent fault, or still fails after [`START_TIME_MAX`].
    pub async fn ready(&self, wait: impl FnOnce(&StoreError)) -> Result<(), StoreError> {
        let started = Instant::now();
        let mut wait = Some(wait);
        loop {
            match self.check().await {
                Err(error) if error.passing() && started.elapsed() < START_TIME_MAX => {
                    if let Some(wait) = wait.take() {
                        wait(&error);
                    }
                    tokio::time::sleep(START_PAUSE).await;
                }
                checked => return checked,
            }
        }
    }
}

impl Store {
    /// Checks that the store responds, with the cheapest request that needs the bucket and the
    /// credentials.
    ///
    /// # Errors
    /// The store is not usable.
    pub async fn check(&self) -> Result<(), StoreError> {
        let kind = match tokio::time::timeout(ANSWER_TIME_MAX, self.answers()).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(kind)) => kind,
            Err(_) => StoreErrorKind::Slow,
        };
        let (url, endpoint) = (self.url.clone(), self.location());
        Err(StoreError::Unusable { url, endpoint, kind })
    }

    /// Sends one small request.
    async fn answers(&self) -> Result<(), StoreErrorKind> {
        if let Some(root) = &self.root {
            let listed = tokio::fs::read_dir(root).await;
            return listed
                .map(drop)
                .map_err(|error| StoreErrorKind::Other(error.kind().to_string()));
        }
        let Some(s3) = &self.s3 else { return Ok(()) };
        let options = PaginatedListOptions { max_keys: Some(1), ..Default::default() };
        let prefix = self.locate("keys/");
        let listed = s3.list_paginated(Some(prefix.as_ref()), options).await;
        listed.map(drop).map_err(|error| explain(&error))
    }

    /// Location of the store, for messages.
    fn location(&self) -> String {
        if self.endpoint.is_empty() { "Amazon S3".to_owned() } else { self.endpoint.clone() }
    }

    /// The full path of `key` in its bucket, for calls on [`Store::s3`]; [`Store::objects`] takes
    /// keys.
    pub fn locate(&self, key: &str) -> Path {
        let key = Path::from(key);
        self.prefix.parts().chain(key.parts()).collect()
    }
}
