//! An incomplete source: bytes that a data plane has made durable but that are not an object under
//! their key yet, and may never become one.
//!
//! In a folder it is a file next to the source's final path. In a bucket it is a multipart upload,
//! plus a side object for remaining bytes that are less than a part. Both operations here are
//! idempotent.

use std::{fs, io, path::Path as FilePath};

use futures::TryStreamExt;
use media::{UploadId, VideoId, layout};
use object_store::{ObjectStoreExt, multipart::MultipartStore, multipart::PartId, path::Path};

use crate::Store;

/// The known state of an incomplete source.
#[derive(Clone, Debug)]
pub struct Source<'a> {
    /// The video that the source is for.
    pub video: VideoId,
    /// The upload that writes it.
    pub upload: UploadId,
    /// The multipart upload's id in the bucket.
    pub multipart_id: Option<&'a str>,
    /// The ids of its parts, in order.
    pub parts: &'a [String],
}

impl Store {
    /// Moves the source to its key. Afterwards it is an object of `bytes` bytes, unless there was
    /// nothing to move. A repeated call has no further effect.
    ///
    /// # Errors
    /// The store failed, or its object has a different size.
    pub async fn seal(&self, source: &Source<'_>, bytes: u64) -> object_store::Result<()> {
        if let Some(root) = self.root.clone() {
            let from = root.join(layout::upload_file(source.video, source.upload));
            let to = root.join(layout::source(source.video));
            return blocking(move || rename(&from, &to)).await;
        }
        if let (Some(s3), Some(id)) = (&self.s3, source.multipart_id)
            && !source.parts.is_empty()
        {
            let key = layout::source(source.video);
            let parts = source.parts.iter();
            let parts = parts.map(|part| PartId { content_id: part.clone() }).collect();
            let done = s3.complete_multipart(&self.locate(&key), &id.to_owned(), parts).await;
            if let Err(error) = done {
                // If it was completed before and the response was lost, the object exists.
                match self.objects.head(&Path::from(key)).await {
                    Ok(found) if found.size == bytes => {}
                    _ => return Err(error),
                }
            }
        }
        self.discard_tails(source).await
    }

    /// Deletes all parts of the incomplete source.
    ///
    /// # Errors
    /// The store failed.
    pub async fn discard(&self, source: &Source<'_>) -> object_store::Result<()> {
        if let Some(root) = self.root.clone() {
            let file = root.join(layout::upload_file(source.video, source.upload));
            return blocking(move || remove(&file)).await;
        }
        if let (Some(s3), Some(id)) = (&self.s3, source.multipart_id) {
            let key = self.locate(&layout::source(source.video));
            present(s3.abort_multipart(&key, &id.to_owned()).await)?;
        }
        self.discard_tails(source).await
    }

    /// Deletes the side objects, including those that a writer did not report before it died.
    async fn discard_tails(&self, source: &Source<'_>) -> object_store::Result<()> {
        let tails = format!("{}-", layout::upload_file(source.video, source.upload));
        let folder = tails.rsplit_once('/').map(|(folder, _)| Path::from(folder));
        let mut listed = self.objects.list(folder.as_ref());
        while let Some(found) = listed.try_next().await? {
            if found.location.as_ref().starts_with(&tails) {
                present(self.objects.delete(&found.location).await)?;
            }
        }
        Ok(())
    }
}

/// An object that does not exist counts as removed.
fn present(result: object_store::Result<()>) -> object_store::Result<()> {
    match result {
        Err(object_store::Error::NotFound { .. }) => Ok(()),
        other => other,
    }
}

async fn blocking(
    work: impl FnOnce() -> io::Result<()> + Send + 'static,
) -> object_store::Result<()> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|source| object_store::Error::JoinError { source })?
        .map_err(|error| object_store::Error::Generic { store: "folder", source: error.into() })
}

/// Removes the partial copy of a data plane that was killed while it copied the file.
fn remove_copy(file: &FilePath) -> io::Result<()> {
    let name = layout::upload_copy(file.file_name().unwrap_or_default());
    match fs::remove_file(file.with_file_name(name)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn rename(from: &FilePath, to: &FilePath) -> io::Result<()> {
    remove_copy(from)?;
    match fs::rename(from, to) {
        // Already renamed, or the source was stored in another way.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        renamed => renamed?,
    }
    // The new name must survive a power failure, like the bytes.
    to.parent().map_or(Ok(()), |folder| fs::File::open(folder)?.sync_all())
}

fn remove(file: &FilePath) -> io::Result<()> {
    remove_copy(file)?;
    match fs::remove_file(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        removed => removed?,
    }
    // Remove the folder when it becomes empty; a folder in use stays.
    if let Some(folder) = file.parent() {
        let _in_use = fs::remove_dir(folder);
    }
    Ok(())
}
