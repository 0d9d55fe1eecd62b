//! Stores in local folders.

use std::{fs, io, sync::Arc};

use object_store::{local::LocalFileSystem, path::Path};
use url::Url;

use crate::{Store, StoreError};

/// Opens `file:///dir` and creates the folder if it is missing.
pub(crate) fn open(entry: &str, url: &Url) -> Result<Store, StoreError> {
    let bad = |reason: &str| StoreError::Url { url: entry.to_owned(), reason: reason.to_owned() };
    if url.query().is_some() || url.fragment().is_some() {
        return Err(bad("a folder must not have a query or fragment"));
    }
    let root = url.to_file_path().map_err(|()| bad("it must name a folder of this machine"))?;
    let opened = |source| StoreError::Open { url: entry.to_owned(), source };
    fs::create_dir_all(&root).map_err(opened)?;
    let root = root.canonicalize().map_err(opened)?;
    let objects = LocalFileSystem::new_with_prefix(&root)
        .map_err(|error| opened(io::Error::other(error)))?
        // Deleting a video's last object also removes its empty folders.
        .with_automatic_cleanup(true)
        // A completed put survives a power failure.
        .with_fsync(true);
    let url = url.as_str().trim_end_matches('/').to_owned();
    Ok(Store {
        url,
        objects: Arc::new(objects),
        root: Some(root),
        s3: None,
        prefix: Path::default(),
        endpoint: String::new(),
    })
}
