//! The lease for writing one upload, and the upload's state in control. The holder renews the lease
//! every second; it is free after 6 s without a renewal, or 3 s after another request claimed it.

use std::{sync::Arc, time::Duration};

use api::{
    code::{Code, Problem},
    v1::{self, upload_service_client::UploadServiceClient},
};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::super::Caller;
use super::transfers::{Entry, Stop};
use crate::rest::Rest;

/// Time between two renewals.
const RENEW_EVERY: Duration = Duration::from_secs(1);
/// How long a holder may write after a renewal: less than the time that a claim leaves it.
const TRUST: Duration = Duration::from_millis(2500);
/// How often a message to control is attempted while control cannot be reached: it is usually back
/// within moments, and an upload of an hour must not be lost. Repeating a message is harmless.
const REPORT_TRIES_MAX: u32 = 10;
const REPORT_PAUSE: Duration = Duration::from_secs(1);
/// How long a request waits for another holder; the lease of a dead one expires within that time.
const SETTLE_TIME_MAX: Duration = Duration::from_secs(8);
const SETTLE_PAUSE: Duration = Duration::from_millis(100);

/// The result of an attempt to take the lease.
pub(crate) enum Acquired {
    /// This request holds the lease.
    Held(Box<Lease>, v1::Upload),
    /// The upload has another offset.
    Elsewhere(v1::Upload),
    /// Another writer did not release the lease.
    Busy,
}

/// A lease held by this request.
pub(crate) struct Lease {
    pub(crate) rest: Arc<Rest>,
    caller: Caller,
    upload_id: String,
    writer: String,
    /// The offset known to control.
    offset: u64,
    /// When control was last called.
    called: Instant,
    /// When the call began that last renewed the lease.
    renewed: Instant,
    /// Signals that another request takes over the upload.
    stop: Stop,
    entry: Option<Entry>,
}

/// A report of progress.
#[derive(Default)]
pub(crate) struct Step {
    /// Bytes that are durable, counted from the source's beginning.
    pub(crate) to: u64,
    pub(crate) digest: Vec<u8>,
    pub(crate) multipart_id: String,
    pub(crate) parts: Vec<String>,
    pub(crate) tail: Option<u64>,
    pub(crate) release: bool,
}

/// A unique name for a request that is about to hold a lease.
pub(crate) fn writer() -> String {
    Uuid::new_v4().to_string()
}

/// The error for a request whose upload another request took over.
pub(crate) fn taken_over() -> Problem {
    locked("another request took over this upload")
}

/// The error for a request that could not take over an upload.
pub(crate) fn busy() -> Problem {
    locked("another request is writing this upload")
}

fn locked(text: &str) -> Problem {
    let mut problem = Problem::new(Code::Locked, text);
    problem.retry_after = Some(Duration::from_secs(1));
    problem
}

impl Lease {
    /// The lease that control granted when the upload began.
    pub(crate) fn begun(
        rest: Arc<Rest>,
        caller: Caller,
        upload: &v1::Upload,
        writer: String,
    ) -> Self {
        let (upload_id, offset, now) = (upload.upload_id.clone(), upload.offset, Instant::now());
        let (stop, entry) = (Stop::default(), None);
        Self { rest, caller, upload_id, writer, offset, called: now, renewed: now, stop, entry }
    }

    /// Makes the lease that of a resumable upload: other requests can find it and take it over.
    pub(crate) fn resumable(mut self) -> Self {
        self.entry =
            Some(self.rest.transfers.register(&self.upload_id, &self.writer, self.stop.clone()));
        self
    }

    /// Takes the lease for writing from `offset`; a request that still holds it is stopped.
    pub(crate) async fn acquire(
        rest: &Arc<Rest>,
        caller: &Caller,
        upload_id: &str,
        offset: u64,
    ) -> Result<Acquired, Problem> {
        let writer = writer();
        let message = v1::AcquireUploadRequest {
            upload_id: upload_id.to_owned(),
            offset,
            writer: writer.clone(),
            take_over: true,
        };
        let begun = Instant::now();
        loop {
            let reply = rest
                .control
                .unary(caller, message.clone(), async |channel, request| {
                    UploadServiceClient::new(channel).acquire_upload(request).await
                })
                .await?;
            caller.mark_authorized();
            let upload = reply.upload.unwrap_or_default();
            if reply.held {
                let lease = Self::begun(rest.clone(), caller.clone(), &upload, writer);
                return Ok(Acquired::Held(Box::new(lease.resumable()), upload));
            }
            let settled = is_settled(&upload);
            if settled && (upload.offset != offset || is_whole(&upload)) {
                return Ok(Acquired::Elsewhere(upload));
            }
            if begun.elapsed() > SETTLE_TIME_MAX {
                return Ok(Acquired::Busy);
            }
            // Settled at the client's offset: the lease was released between the two checks in
            // control.
            if !settled {
                rest.transfers.settle(upload_id).await;
            }
            sleep(SETTLE_PAUSE).await;
        }
    }

    /// The offset known to control.
    pub(crate) const fn offset(&self) -> u64 {
        self.offset
    }

    /// The name of the holder.
    pub(crate) fn writer(&self) -> &str {
        &self.writer
    }

    /// The caller on whose behalf control is called.
    pub(crate) const fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Signals that another request takes over the upload.
    pub(crate) const fn stop(&self) -> &Stop {
        &self.stop
    }

    /// Reports a step to control, with retries while control cannot be reached.
    pub(crate) async fn report(&mut self, step: Step) -> Result<v1::Upload, Problem> {
        let message = self.message(step);
        let stop = self.stop.clone();
        let mut tried = 1;
        loop {
            let sent = tokio::select! {
                sent = self.send(&message) => sent,
                () = stop.save_deadline() => return Err(taken_over()),
            };
            match sent {
                Err(problem) if is_transient(&problem) && tried < REPORT_TRIES_MAX => {
                    tried += 1;
                    tokio::select! {
                        () = sleep(REPORT_PAUSE) => {}
                        () = stop.save_deadline() => return Err(taken_over()),
                    }
                }
                sent => {
                    let upload = sent?;
                    self.offset = message.to;
                    return Ok(upload);
                }
            }
        }
    }

    /// Renews the lease if due. The lease is not lost just because control cannot be reached:
    /// another request would need control, too, to take it.
    pub(crate) async fn keep(&mut self) -> Result<(), Problem> {
        if self.called.elapsed() < RENEW_EVERY {
            return Ok(());
        }
        let message = self.message(Step { to: self.offset, ..Step::default() });
        match self.send(&message).await {
            Err(problem) if !is_transient(&problem) => Err(problem),
            _ => Ok(()),
        }
    }

    /// Returns when a write may begin: only soon after a renewal, so that no other writer can hold
    /// the lease yet.
    pub(crate) async fn ensure_fresh(&mut self) -> Result<(), Problem> {
        if self.renewed.elapsed() < TRUST {
            return Ok(());
        }
        self.report(Step { to: self.offset, ..Step::default() }).await.map(drop)
    }

    /// Renews the lease while `work` runs; after a stop, `work` may run only a short time longer.
    pub(crate) async fn during<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Problem> {
        let stop = self.stop.clone();
        let deadline = stop.save_deadline();
        tokio::pin!(work, deadline);
        loop {
            // Both run concurrently: work that is not polled may hold a lock or let its connection
            // time out. A renewal that is cut short can be repeated.
            let kept = async {
                sleep(RENEW_EVERY).await;
                self.keep().await
            };
            tokio::select! {
                done = &mut work => return Ok(done),
                () = &mut deadline => return Err(taken_over()),
                kept = kept => kept?,
            }
        }
    }

    /// Releases the lease at the current offset. Errors are ignored because the lease expires
    /// anyway.
    pub(crate) async fn release(mut self) {
        let message = self.message(Step { to: self.offset, release: true, ..Step::default() });
        if let Err(problem) = self.send(&message).await {
            tracing::debug!(%problem, upload.id = self.upload_id, "failed to release an upload");
        }
    }

    fn message(&self, step: Step) -> v1::AdvanceUploadRequest {
        v1::AdvanceUploadRequest {
            upload_id: self.upload_id.clone(),
            writer: self.writer.clone(),
            from: self.offset,
            to: step.to,
            digest: step.digest.into(),
            multipart_id: step.multipart_id,
            parts: step.parts,
            tail: step.tail,
            release: step.release,
        }
    }

    async fn send(&mut self, message: &v1::AdvanceUploadRequest) -> Result<v1::Upload, Problem> {
        let begun = Instant::now();
        let caller = self.caller.renewed(&self.rest.control);
        let sent = self
            .rest
            .control
            .unary(&caller, message.clone(), async |channel, request| {
                UploadServiceClient::new(channel).advance_upload(request).await
            })
            .await;
        self.called = Instant::now();
        match sent {
            Ok(upload) => {
                self.renewed = begun;
                if upload.claimed {
                    self.stop.stop();
                }
                Ok(upload)
            }
            Err(problem) if problem.code == Code::LeaseLost => Err(taken_over()),
            Err(problem) => Err(problem),
        }
    }
}

/// Whether an upload's offset stays the same until another request writes.
fn is_settled(upload: &v1::Upload) -> bool {
    !upload.held || is_whole(upload)
}

fn is_whole(upload: &v1::Upload) -> bool {
    upload.complete || upload.length == Some(upload.offset)
}

/// Reserves an upload.
pub(crate) async fn begin(
    rest: &Rest,
    caller: &Caller,
    message: &v1::BeginUploadRequest,
) -> Result<v1::Upload, Problem> {
    let begun = rest
        .control
        .unary(caller, message.clone(), async |channel, request| {
            UploadServiceClient::new(channel).begin_upload(request).await
        })
        .await?;
    caller.mark_authorized();
    begun
        .upload
        .ok_or_else(|| Problem::new(Code::Internal, "the control plane's reply contains no upload"))
}

/// The state of an upload in control with a settled offset; a request that still writes it is
/// stopped.
pub(crate) async fn settled(
    rest: &Rest,
    caller: &Caller,
    upload_id: String,
) -> Result<v1::Upload, Problem> {
    let message = v1::GetUploadRequest { upload_id, settle: true };
    let begun = Instant::now();
    loop {
        let upload = rest
            .control
            .unary(caller, message.clone(), async |channel, request| {
                UploadServiceClient::new(channel).get_upload(request).await
            })
            .await?;
        if is_settled(&upload) {
            return Ok(upload);
        }
        if begun.elapsed() > SETTLE_TIME_MAX {
            return Err(busy());
        }
        rest.transfers.settle(&message.upload_id).await;
        sleep(SETTLE_PAUSE).await;
    }
}

/// Deletes an upload and its stored bytes.
pub(crate) async fn abort(
    rest: &Rest,
    caller: &Caller,
    message: &v1::AbortUploadRequest,
) -> Result<(), Problem> {
    let caller = caller.renewed(&rest.control);
    rest.control
        .unary(&caller, message.clone(), async |channel, request| {
            UploadServiceClient::new(channel).abort_upload(request).await
        })
        .await
        .map(drop)
}

/// Reports to control that an upload is complete, with retries while control cannot be reached.
pub(crate) async fn complete(
    rest: &Rest,
    caller: &Caller,
    message: &v1::CompleteUploadRequest,
    patience: Duration,
) -> Result<v1::Video, Problem> {
    let caller = caller.renewed(&rest.control);
    let mut tried = 1;
    loop {
        let sent = rest
            .control
            .unary_within(patience, &caller, message.clone(), async |channel, request| {
                UploadServiceClient::new(channel).complete_upload(request).await
            })
            .await;
        match sent {
            Err(problem) if problem.code == Code::Unavailable && tried < REPORT_TRIES_MAX => {
                tried += 1;
                sleep(REPORT_PAUSE).await;
            }
            sent => return sent,
        }
    }
}

fn is_transient(problem: &Problem) -> bool {
    matches!(problem.code, Code::Unavailable | Code::Timeout)
}
