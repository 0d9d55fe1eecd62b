//! Writes bytes to the store under a lease: in order, hashed on the fly, and durable before control
//! is informed. Memory use does not depend on the source's size.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use api::{
    code::{Code, Problem},
    v1,
};
use bytes::Bytes;
use media::layout;

use super::{
    digest::Digest,
    disk::Disk,
    lease::{Lease, Step},
    parts::{Mark, Parts},
};

/// A stored source.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) bytes: u64,
    /// Lower-case hex.
    pub(crate) sha256: String,
}

enum Sink {
    Disk(Disk),
    Parts(Box<Parts>),
}

/// A source being uploaded. No object exists under the source's key until control seals the upload.
pub(crate) struct Writer {
    lease: Lease,
    sink: Sink,
    digest: Digest,
    /// Bytes received, counted from the source's beginning.
    bytes: u64,
    /// Whether nothing is acknowledged before the end, because the bytes have a checksum that is
    /// verified there.
    held_back: bool,
    /// Stored parts that control does not know of yet.
    unreported: Vec<String>,
    counter: Arc<AtomicU64>,
}

impl Writer {
    /// Continues at the upload's offset.
    pub(crate) async fn open(mut lease: Lease, upload: &v1::Upload) -> Result<Self, Problem> {
        match Self::open_sink(&mut lease, upload).await {
            Ok((sink, digest)) => {
                let counter = lease.rest.metrics.bandwidth.upload.clone();
                let (held_back, unreported) = (false, Vec::new());
                let bytes = upload.offset;
                Ok(Self { lease, sink, digest, bytes, held_back, unreported, counter })
            }
            Err(problem) => {
                lease.release().await;
                Err(problem)
            }
        }
    }

    async fn open_sink(lease: &mut Lease, upload: &v1::Upload) -> Result<(Sink, Digest), Problem> {
        let internal = |text| Problem::new(Code::Internal, text);
        let rest = lease.rest.clone();
        let Some(store) = rest.stores.get(&upload.store) else {
            tracing::error!(
                store.url = upload.store,
                "failed to open a store that is not configured on this data plane"
            );
            return Err(internal("the video's store is not configured on this data plane"));
        };
        let digest = Digest::resume(&upload.digest, upload.offset)
            .ok_or_else(|| internal("the upload's digest cannot be resumed"))?;
        let sink = match &store.root {
            Some(root) => {
                let ids = (upload.video_id.parse(), upload.upload_id.parse());
                let (Ok(video), Ok(id)) = ids else {
                    return Err(internal("the upload's id is invalid"));
                };
                let key = layout::upload_file(video, id);
                let opening = Disk::open(root.clone(), &key, upload.offset);
                Sink::Disk(lease.during(opening).await??)
            }
            None => Sink::Parts(Box::new(lease.during(Parts::open(store, upload)).await??)),
        };
        Ok((sink, digest))
    }

    /// Acknowledges nothing before [`Writer::save`].
    pub(crate) const fn hold_back(&mut self) {
        self.held_back = true;
    }

    /// Bytes received so far, counted from the source's beginning.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether saving now is cheap: true for a file in a folder; in a bucket it would need a side
    /// object.
    pub(crate) const fn saves_cheaply(&self) -> bool {
        matches!(self.sink, Sink::Disk(_)) && !self.held_back
    }

    /// Accepts bytes; waits while too many of them are still being written or sent.
    pub(crate) async fn write(&mut self, mut bytes: Bytes) -> Result<(), Problem> {
        self.counter.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        while !bytes.is_empty() {
            let room = match &self.sink {
                Sink::Disk(_) => bytes.len(),
                Sink::Parts(parts) => parts.room(),
            };
            let piece = bytes.split_to(room.min(bytes.len()));
            self.digest.update(&piece);
            self.bytes += piece.len() as u64;
            match &mut self.sink {
                Sink::Disk(disk) => {
                    if disk.push(piece) {
                        self.lease.ensure_fresh().await?;
                        self.lease.during(disk.write_out()).await??;
                    }
                }
                Sink::Parts(parts) => {
                    if parts.push(piece) {
                        self.send_part().await?;
                    }
                }
            }
        }
        self.lease.keep().await
    }

    /// Waits for other work while renewing the lease.
    pub(crate) async fn during<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Problem> {
        self.lease.during(work).await
    }

    /// Whether there are received bytes that control does not know to be durable.
    pub(crate) const fn is_ahead(&self) -> bool {
        self.bytes > self.lease.offset()
    }

    /// Renews the lease if due.
    pub(crate) async fn keep(&mut self) -> Result<(), Problem> {
        self.lease.keep().await
    }

    /// Sends the part that is full, once the one before it is stored.
    async fn send_part(&mut self) -> Result<(), Problem> {
        self.finish_part().await?;
        let Sink::Parts(parts) = &mut self.sink else { return Ok(()) };
        if let Some(multipart_id) = self.lease.during(parts.begin()).await?? {
            let to = self.lease.offset();
            self.lease.report(Step { to, multipart_id, ..Step::default() }).await?;
        }
        self.lease.ensure_fresh().await?;
        parts.send(Mark { bytes: self.bytes, digest: self.digest.state() });
        Ok(())
    }

    /// Waits for the part that is being sent and reports it to control.
    async fn finish_part(&mut self) -> Result<(), Problem> {
        let Sink::Parts(parts) = &mut self.sink else { return Ok(()) };
        let Some((part, mark)) = self.lease.during(parts.sent_part()).await?? else {
            return Ok(());
        };
        self.unreported.push(part);
        if self.held_back {
            return Ok(());
        }
        let (to, digest) = (mark.bytes, mark.digest);
        let reported = std::mem::take(&mut self.unreported);
        self.lease.report(Step { to, digest, parts: reported, ..Step::default() }).await?;
        parts.replace_tail(None).await;
        Ok(())
    }

    /// Makes all received bytes durable and reports them to control; returns the state of the
    /// upload afterwards. `last` if no more bytes will follow.
    pub(crate) async fn save(&mut self, last: bool, release: bool) -> Result<v1::Upload, Problem> {
        let mut tail = None;
        match &mut self.sink {
            Sink::Disk(disk) => {
                self.lease.ensure_fresh().await?;
                self.lease.during(disk.sync()).await??;
                if release {
                    disk.unlock().await;
                }
            }
            Sink::Parts(parts) => {
                let rest = parts.has_rest();
                if rest && last {
                    self.send_part().await?;
                }
                self.finish_parts(last).await?;
                if let Sink::Parts(parts) = &mut self.sink
                    && rest
                    && !last
                {
                    tail = Some(self.lease.during(parts.put_tail()).await??);
                }
            }
        }
        let digest = if last { self.digest.finish() } else { self.digest.state() };
        let parts = std::mem::take(&mut self.unreported);
        let step = Step { to: self.bytes, digest, parts, tail, release, ..Step::default() };
        let upload = self.lease.report(step).await?;
        if let Sink::Parts(parts) = &mut self.sink {
            parts.replace_tail(tail).await;
        }
        Ok(upload)
    }

    /// Waits for the part that is being sent. The last part is reported together with the end, so
    /// that an upload that has all its bytes has its digest, too.
    async fn finish_parts(&mut self, last: bool) -> Result<(), Problem> {
        let held_back = self.held_back;
        self.held_back |= last;
        let finished = self.finish_part().await;
        self.held_back = held_back;
        finished
    }

    /// Makes all bytes durable; no more will follow.
    pub(crate) async fn finish(&mut self) -> Result<Stored, Problem> {
        self.save(true, false).await?;
        Ok(Stored { bytes: self.bytes, sha256: hex::encode(self.digest.finish()) })
    }

    /// Drops unsaved bytes and releases the lease.
    pub(crate) async fn release(self) {
        match self.sink {
            Sink::Disk(mut disk) => disk.unlock().await,
            Sink::Parts(mut parts) => parts.stop().await,
        }
        self.lease.release().await;
    }

    /// Deletes the data of an upload that will not be resumed; control deletes the rest.
    pub(crate) async fn discard(self) {
        match self.sink {
            Sink::Disk(disk) => disk.remove().await,
            Sink::Parts(mut parts) => parts.stop().await,
        }
    }
}
