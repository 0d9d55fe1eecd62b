//! Into the store part by part, hashing on the way: memory stays the same however large the source.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use api::code::{Code, Problem};
use bytes::Bytes;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt, PutPayload};
use sha2::{Digest, Sha256};
use tokio::task::JoinSet;

/// One part. S3 wants at least 5 MiB and at most 10 000 parts.
const PART_BYTES: usize = 8 << 20;
/// From this many parts on, parts are larger, so that 10 000 of them hold the largest upload.
const SMALL_PARTS_MAX: u32 = 1000;
const LARGE_PART_BYTES: usize = 16 << 20;
/// Parts on their way to the store at once.
const PARTS_IN_FLIGHT_MAX: usize = 2;

/// What was stored.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) bytes: u64,
    /// Lower-case hex.
    pub(crate) sha256: String,
}

/// An object in the making; nothing of it can be seen before [`Sink::finish`].
pub(crate) struct Sink {
    store: Arc<dyn ObjectStore>,
    key: String,
    upload: Option<Box<dyn MultipartUpload>>,
    flying: JoinSet<object_store::Result<()>>,
    pending: Vec<Bytes>,
    pending_bytes: usize,
    parts: u32,
    bytes: u64,
    hasher: Sha256,
    counter: Arc<AtomicU64>,
}

impl Sink {
    /// Opens nothing yet.
    pub(crate) fn new(store: Arc<dyn ObjectStore>, key: &str, counter: Arc<AtomicU64>) -> Self {
        Self {
            store,
            key: key.to_owned(),
            upload: None,
            flying: JoinSet::new(),
            pending: Vec::new(),
            pending_bytes: 0,
            parts: 0,
            bytes: 0,
            hasher: Sha256::new(),
            counter,
        }
    }

    /// Bytes taken so far.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes bytes; waits while enough parts are on their way.
    pub(crate) async fn write(&mut self, bytes: Bytes) -> Result<(), Problem> {
        self.counter.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.bytes += bytes.len() as u64;
        self.hasher.update(&bytes);
        self.pending_bytes += bytes.len();
        self.pending.push(bytes);
        let part_bytes = if self.parts < SMALL_PARTS_MAX { PART_BYTES } else { LARGE_PART_BYTES };
        if self.pending_bytes >= part_bytes {
            let sent = self.send_part().await;
            return self.checked(sent).await;
        }
        Ok(())
    }

    /// Makes the object visible under its key.
    pub(crate) async fn finish(mut self) -> Result<Stored, Problem> {
        let finished = self.complete().await;
        self.checked(finished).await?;
        let sha256 = hex::encode(self.hasher.finalize());
        Ok(Stored { bytes: self.bytes, sha256 })
    }

    /// Forgets what was written.
    pub(crate) async fn abort(mut self) {
        self.discard().await;
    }

    async fn send_part(&mut self) -> object_store::Result<()> {
        while self.flying.len() >= PARTS_IN_FLIGHT_MAX {
            self.landed().await?;
        }
        let upload = match &mut self.upload {
            Some(upload) => upload,
            none => none.insert(self.store.put_multipart(&self.key.as_str().into()).await?),
        };
        let payload: PutPayload = std::mem::take(&mut self.pending).into_iter().collect();
        self.flying.spawn(upload.put_part(payload));
        self.pending_bytes = 0;
        self.parts += 1;
        Ok(())
    }

    async fn landed(&mut self) -> object_store::Result<()> {
        match self.flying.join_next().await {
            None => Ok(()),
            Some(Ok(result)) => result,
            Some(Err(source)) => Err(object_store::Error::JoinError { source }),
        }
    }

    async fn complete(&mut self) -> object_store::Result<()> {
        if self.pending_bytes > 0 || self.upload.is_none() {
            self.send_part().await?;
        }
        while !self.flying.is_empty() {
            self.landed().await?;
        }
        if let Some(upload) = &mut self.upload {
            upload.complete().await?;
        }
        self.upload = None;
        Ok(())
    }

    async fn checked(&mut self, result: object_store::Result<()>) -> Result<(), Problem> {
        if let Err(error) = result {
            tracing::error!(%error, object.key = self.key, "store upload");
            self.discard().await;
            return Err(Problem::new(Code::Unavailable, "the store cannot be written now"));
        }
        Ok(())
    }

    async fn discard(&mut self) {
        self.flying.abort_all();
        while self.flying.join_next().await.is_some() {}
        if let Some(mut upload) = self.upload.take()
            && let Err(error) = upload.abort().await
        {
            tracing::warn!(%error, object.key = self.key, "abort multipart upload");
        }
    }
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;

    #[tokio::test]
    async fn parts_join_and_digest_matches() {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let mut sink = Sink::new(store.clone(), "videos/x/source", Arc::default());
        let content: Vec<u8> = (0..20_000_000_u32).map(|n| (n % 253) as u8).collect();
        for piece in content.chunks(300_001) {
            sink.write(Bytes::copy_from_slice(piece)).await.unwrap();
        }
        let stored = sink.finish().await.unwrap();
        assert_eq!(stored.bytes, content.len() as u64);
        assert_eq!(stored.sha256, hex::encode(Sha256::digest(&content)));
        let object = store.get(&"videos/x/source".into()).await.unwrap();
        assert_eq!(object.bytes().await.unwrap(), content);
    }

    #[tokio::test]
    async fn aborted_upload_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let local = object_store::local::LocalFileSystem::new_with_prefix(folder.path()).unwrap();
        let mut sink = Sink::new(Arc::new(local), "videos/x/source", Arc::default());
        sink.write(vec![1; PART_BYTES + 1].into()).await.unwrap();
        sink.abort().await;
        let videos = folder.path().join("videos/x");
        assert_eq!(std::fs::read_dir(videos).map_or(0, Iterator::count), 0);
    }
}
