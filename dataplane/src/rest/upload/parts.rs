//! Writes a source to a bucket: a multipart upload, and a side object for the bytes that do not
//! fill a part when a request ends. At most two parts are in memory: one being sent and one being
//! filled.
//!
//! Control records the multipart upload's id before the first part is sent, because a bucket's own
//! list of unfinished uploads is not reliable.

use std::sync::Arc;

use api::{
    code::{Code, Problem},
    v1,
};
use bytes::Bytes;
use media::{UploadId, VideoId, layout};
use object_store::{
    ObjectStoreExt, PutPayload,
    aws::AmazonS3,
    multipart::{MultipartStore, PartId},
    path::Path,
};
use store::Store;
use tokio::task::JoinSet;

/// The upload's length and digest state at the end of a part.
#[derive(Clone, Debug)]
pub(crate) struct Mark {
    pub(crate) bytes: u64,
    pub(crate) digest: Vec<u8>,
}

/// A multipart upload in progress.
pub(crate) struct Parts {
    store: Store,
    s3: Arc<AmazonS3>,
    video: VideoId,
    upload: UploadId,
    /// The key of the source in its bucket.
    path: Path,
    multipart_id: String,
    part_bytes: usize,
    /// Parts that are stored or being sent.
    sent: usize,
    filling: Vec<Bytes>,
    filling_bytes: usize,
    flying: JoinSet<object_store::Result<PartId>>,
    mark: Option<Mark>,
    /// The side object that control has recorded.
    tail: Option<u64>,
}

impl Parts {
    /// Resumes at the upload's current offset.
    pub(crate) async fn open(store: &Store, upload: &v1::Upload) -> Result<Self, Problem> {
        let Some(s3) = store.s3.clone() else {
            return Err(Problem::new(Code::Internal, "the video's store does not support parts"));
        };
        let ids = (upload.video_id.parse(), upload.upload_id.parse());
        let (Ok(video), Ok(id)) = ids else {
            return Err(Problem::new(Code::Internal, "the upload's id is invalid"));
        };
        let mut parts = Self {
            path: store.locate(&layout::source(video)),
            store: store.clone(),
            s3,
            video,
            upload: id,
            multipart_id: upload.multipart_id.clone(),
            part_bytes: usize::try_from(upload.part_bytes).unwrap_or(usize::MAX).max(1),
            sent: upload.parts as usize,
            filling: Vec::new(),
            filling_bytes: 0,
            flying: JoinSet::new(),
            mark: None,
            tail: upload.tail,
        };
        let whole = parts.sent as u64 * upload.part_bytes;
        if upload.offset > whole {
            parts.load_tail(upload.offset - whole).await?;
        }
        Ok(parts)
    }

    /// Reads the side object back into memory.
    async fn load_tail(&mut self, bytes: u64) -> Result<(), Problem> {
        let missing =
            || Problem::new(Code::NotFound, "the stored bytes of this upload are missing");
        let key = self.tail_key(self.tail.ok_or_else(missing)?);
        let found = match self.store.objects.get(&Path::from(key.as_str())).await {
            Ok(found) => found.bytes().await,
            Err(error) => Err(error),
        };
        match found {
            Ok(found) if found.len() as u64 == bytes => {
                self.filling_bytes = found.len();
                self.filling.push(found);
                Ok(())
            }
            Ok(_) | Err(object_store::Error::NotFound { .. }) => {
                tracing::error!(object.key = key, "side object of an upload is missing");
                Err(missing())
            }
            Err(error) => Err(failed(&error, &key)),
        }
    }

    fn tail_key(&self, name: u64) -> String {
        layout::upload_tail(self.video, self.upload, name)
    }

    /// Bytes that are missing until the part is full.
    pub(crate) const fn room(&self) -> usize {
        self.part_bytes - self.filling_bytes
    }

    /// Appends bytes, at most [`Self::room`] of them; returns true when the part is full.
    pub(crate) fn push(&mut self, bytes: Bytes) -> bool {
        self.filling_bytes += bytes.len();
        self.filling.push(bytes);
        self.filling_bytes == self.part_bytes
    }

    /// Whether there are bytes that do not fill a part.
    pub(crate) const fn has_rest(&self) -> bool {
        self.filling_bytes > 0
    }

    /// Creates the multipart upload if it does not exist yet and returns its id, which control must
    /// record before the first part is sent.
    pub(crate) async fn begin(&mut self) -> Result<Option<String>, Problem> {
        if !self.multipart_id.is_empty() {
            return Ok(None);
        }
        let begun = self.s3.create_multipart(&self.path).await;
        self.multipart_id = begun.map_err(|error| failed(&error, self.path.as_ref()))?;
        Ok(Some(self.multipart_id.clone()))
    }

    /// Starts sending the full part. The previous part must have been stored.
    pub(crate) fn send(&mut self, mark: Mark) {
        let payload: PutPayload = std::mem::take(&mut self.filling).into_iter().collect();
        self.filling_bytes = 0;
        let (s3, path, id) = (self.s3.clone(), self.path.clone(), self.multipart_id.clone());
        let number = self.sent;
        self.sent += 1;
        self.mark = Some(mark);
        self.flying.spawn(async move { s3.put_part(&path, &id, number, payload).await });
    }

    /// Waits for the part that is being sent and returns its id and the mark at its end.
    pub(crate) async fn sent_part(&mut self) -> Result<Option<(String, Mark)>, Problem> {
        let part = match self.flying.join_next().await {
            None => return Ok(None),
            Some(Ok(part)) => part,
            Some(Err(source)) => Err(object_store::Error::JoinError { source }),
        };
        let part = part.map_err(|error| failed(&error, self.path.as_ref()))?;
        Ok(self.mark.take().map(|mark| (part.content_id, mark)))
    }

    /// Stores the bytes of the unfinished part as a side object and returns its name. The bytes
    /// stay in memory, so the part can continue to fill.
    pub(crate) async fn put_tail(&mut self) -> Result<u64, Problem> {
        let name: u64 = rand::random();
        let key = self.tail_key(name);
        let payload: PutPayload = self.filling.iter().cloned().collect();
        let put = self.store.objects.put(&Path::from(key.as_str()), payload).await;
        put.map_err(|error| failed(&error, &key))?;
        Ok(name)
    }

    /// Control has recorded another side object, or none: deletes the previous one.
    pub(crate) async fn replace_tail(&mut self, now: Option<u64>) {
        let before = std::mem::replace(&mut self.tail, now);
        if let Some(name) = before.filter(|_| before != now) {
            let key = self.tail_key(name);
            if let Err(error) = self.store.objects.delete(&Path::from(key.as_str())).await {
                // The cleanup of the video's objects deletes it later.
                tracing::debug!(%error, object.key = key, "failed to delete a side object");
            }
        }
    }

    /// Stops sending. Control aborts the multipart upload by its id.
    pub(crate) async fn stop(&mut self) {
        self.flying.shutdown().await;
    }
}

fn failed(error: &object_store::Error, key: &str) -> Problem {
    tracing::error!(%error, object.key = key, "failed to store an upload");
    Problem::new(Code::Unavailable, "the store cannot be written now")
}
