//! Writes, lists and deletes objects, by the URL of the store that a row names.

use futures::{StreamExt, TryStreamExt};
use object_store::{ObjectStoreExt, PutPayload, path::Path};
use store::{Store, Stores};
use thiserror::Error;

/// Why an object cannot be written, listed or deleted.
#[derive(Debug, Error)]
pub enum ObjectError {
    /// The store is not configured.
    #[error("store {0} is not configured")]
    Store(String),
    /// The store failed.
    #[error("write {key}")]
    Object {
        /// The key of the object.
        key: String,
        /// The store's error.
        #[source]
        source: object_store::Error,
    },
}

impl ObjectError {
    /// Whether a retry may help, because the store failed temporarily.
    pub fn transient(&self) -> bool {
        match self {
            Self::Object { source, .. } => store::explain(source).passing(),
            Self::Store(_) => false,
        }
    }
}

/// The store with this URL.
///
/// # Errors
/// The store is not configured.
pub fn store<'a>(stores: &'a Stores, url: &str) -> Result<&'a Store, ObjectError> {
    stores.get(url).ok_or_else(|| ObjectError::Store(url.to_owned()))
}

/// Writes a small object.
///
/// # Errors
/// The store failed or is not configured.
pub async fn put(stores: &Stores, url: &str, key: &str, bytes: Vec<u8>) -> Result<(), ObjectError> {
    let written = store(stores, url)?.objects.put(&Path::from(key), PutPayload::from(bytes)).await;
    written.map(drop).map_err(|source| ObjectError::Object { key: key.to_owned(), source })
}

/// Deletes an object; a missing object counts as deleted.
///
/// # Errors
/// The store failed or is not configured.
pub async fn delete(stores: &Stores, url: &str, key: &str) -> Result<(), ObjectError> {
    match store(stores, url)?.objects.delete(&Path::from(key)).await {
        Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
        Err(source) => Err(ObjectError::Object { key: key.to_owned(), source }),
    }
}

/// The keys of all objects below a prefix.
///
/// # Errors
/// The store failed or is not configured.
pub async fn list(stores: &Stores, url: &str, prefix: &str) -> Result<Vec<Path>, ObjectError> {
    let objects = store(stores, url)?.objects.list(Some(&Path::from(prefix)));
    let keys = objects.map_ok(|object| object.location).try_collect().await;
    keys.map_err(|source| ObjectError::Object { key: prefix.to_owned(), source })
}

/// Deletes these objects; missing ones count as deleted.
///
/// # Errors
/// The store failed or is not configured.
pub async fn delete_all(stores: &Stores, url: &str, keys: Vec<Path>) -> Result<(), ObjectError> {
    let count = keys.len();
    let keys = futures::stream::iter(keys.into_iter().map(Ok)).boxed();
    let mut deleted = store(stores, url)?.objects.delete_stream(keys);
    while let Some(result) = deleted.next().await {
        match result {
            Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
            Err(source) => {
                let key = "unreferenced objects".to_owned();
                return Err(ObjectError::Object { key, source });
            }
        }
    }
    if count > 0 {
        tracing::info!(objects = count, "objects deleted");
    }
    Ok(())
}
