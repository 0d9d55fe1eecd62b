//! A source in the making: bytes that a data plane has made durable, and that are not yet, or never will
//! be, an object under their key.
//!
//! In a folder it is a file beside the source's place; in a bucket it is a multipart upload, and a side
//! object for what is left below a part. Both steps here may be repeated at any time.

use std::{fs, io, path::Path as FilePath};

use futures::TryStreamExt;
use media::{UploadId, VideoId, layout};
use object_store::{ObjectStoreExt, multipart::MultipartStore, multipart::PartId, path::Path};

use crate::Store;

/// What is known of it.
#[derive(Clone, Debug)]
pub struct Source<'a> {
    /// Whose source it is to be.
    pub video: VideoId,
    /// By which upload.
    pub upload: UploadId,
    /// The bucket's name of the multipart upload.
    pub multipart_id: Option<&'a str>,
    /// Its parts, in order.
    pub parts: &'a [String],
}

impl Store {
    /// Puts the source under its key: afterwards it is an object of `bytes`, or there was nothing to
    /// put. Done before, it changes nothing.
    ///
    /// # Errors
    /// What the store says.
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
                // Done before, and the reply was lost: then the object is there.
                match self.objects.head(&Path::from(key)).await {
                    Ok(found) if found.size == bytes => {}
                    _ => return Err(error),
                }
            }
        }
        self.discard_tails(source).await
    }

    /// Takes back whatever there is of it.
    ///
    /// # Errors
    /// What the store says.
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

    /// The side objects: also those of a writer that died before it could tell of one.
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

/// What is gone already is as good as removed.
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

fn rename(from: &FilePath, to: &FilePath) -> io::Result<()> {
    match fs::rename(from, to) {
        // Done before, or the source was put there in another way.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        renamed => renamed?,
    }
    // The new name must survive a power cut as the bytes do.
    to.parent().map_or(Ok(()), |folder| fs::File::open(folder)?.sync_all())
}

fn remove(file: &FilePath) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        removed => removed?,
    }
    // Empty folders go with their last file; a folder that is in use stays.
    if let Some(folder) = file.parent() {
        let _in_use = fs::remove_dir(folder);
    }
    Ok(())
}
