//! Receives the bytes of one request. The work runs in a task of the tracker, not in the request:
//! if the client disconnects, the received bytes are still made durable.

use std::{sync::Arc, time::Duration};

use api::{
    code::{Code, Problem},
    v1,
};
use bytes::Bytes;
use futures::{StreamExt, pin_mut};
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tracing::{Instrument, Span};

use super::super::{
    broken, ended,
    lease::{self, Lease},
    transfers::Stop,
    writer::Writer,
};
use super::{checksum::Checksum, too_long};
use crate::{
    http::request_body::{RequestBody, RequestBodyError},
    rest::Rest,
};

/// Time between two checks; each makes received bytes durable if that is cheap, so that a kill
/// loses few bytes.
const TICK: Duration = Duration::from_secs(1);
/// After this many checks without a byte, everything is made durable even if it is not cheap: the
/// client may have disconnected without the connection having been closed.
const SILENT_TICKS: u32 = 3;
/// Control moves the source to its final key, which takes time in a bucket.
const COMPLETE_TIME_MAX: Duration = Duration::from_secs(60);

/// Receives the body; returns the state of the upload afterwards.
pub(super) async fn receive(
    rest: &Arc<Rest>,
    lease: Lease,
    upload: v1::Upload,
    checksum: Option<Checksum>,
    body: &RequestBody,
) -> Result<v1::Upload, Problem> {
    let body = body.clone();
    let receiver = rest.clone();
    let span = Span::current();
    let task = rest.shutdown.tracker.spawn(async move {
        let hard = receiver.shutdown.hard.clone();
        tokio::select! {
            received = run(receiver, lease, upload, checksum, body).instrument(span) => received,
            () = hard.cancelled() => Err(stopping()),
        }
    });
    ended(task.await)
}

async fn run(
    rest: Arc<Rest>,
    lease: Lease,
    upload: v1::Upload,
    checksum: Option<Checksum>,
    body: RequestBody,
) -> Result<v1::Upload, Problem> {
    let (caller, holder) = (lease.caller().clone(), lease.writer().to_owned());
    let stop = lease.stop().clone();
    let mut writer = Writer::open(lease, &upload).await?;
    if checksum.is_some() {
        writer.hold_back();
    }
    let (length, offset) = (upload.length.unwrap_or(0), upload.offset);
    let mut receiver =
        Receiver { rest, upload, length, offset, writer: Some(writer), checksum, silent: 0, stop };
    let end = receiver.receive(&body).await;
    receiver.settle(end).await?;
    let Receiver { rest, mut upload, .. } = receiver;
    if upload.offset == length {
        let message = v1::CompleteUploadRequest {
            upload_id: upload.upload_id.clone(),
            writer: holder,
            ..v1::CompleteUploadRequest::default()
        };
        lease::complete(&rest, &caller, &message, COMPLETE_TIME_MAX).await?;
        upload.complete = true;
        rest.metrics.uploaded();
    }
    Ok(upload)
}

/// How a body ended.
enum End {
    Whole,
    /// The connection was lost or too slow.
    Cut(RequestBodyError),
    /// The body is longer than the upload.
    Excess,
    /// The server is stopping; the client resumes on another one.
    Stopping,
    /// Another request takes over the upload.
    TakenOver,
}

struct Receiver {
    rest: Arc<Rest>,
    /// The state in control.
    upload: v1::Upload,
    length: u64,
    /// Bytes received, counted from the source's beginning.
    offset: u64,
    /// `None` after [`Receiver::settle`].
    writer: Option<Writer>,
    checksum: Option<Checksum>,
    silent: u32,
    stop: Stop,
}

impl Receiver {
    async fn receive(&mut self, body: &RequestBody) -> Result<End, Problem> {
        let pieces = body.pieces();
        pin_mut!(pieces);
        let mut ticks = interval_at(Instant::now() + TICK, TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (soft, stop) = (self.rest.shutdown.soft.clone(), self.stop.clone());
        loop {
            tokio::select! {
                () = stop.stopped() => return Ok(End::TakenOver),
                piece = pieces.next() => match piece {
                    None => return Ok(End::Whole),
                    Some(Err(error)) => return Ok(End::Cut(error)),
                    Some(Ok(bytes)) if self.offset + bytes.len() as u64 > self.length => {
                        return Ok(End::Excess);
                    }
                    Some(Ok(bytes)) => self.take(bytes).await?,
                },
                _ = ticks.tick() => self.tick().await?,
                () = soft.cancelled() => return Ok(End::Stopping),
            }
        }
    }

    async fn take(&mut self, bytes: Bytes) -> Result<(), Problem> {
        self.silent = 0;
        if let Some(checksum) = &mut self.checksum {
            checksum.update(&bytes);
        }
        self.offset += bytes.len() as u64;
        match &mut self.writer {
            Some(writer) => writer.write(bytes).await,
            None => Ok(()),
        }
    }

    async fn tick(&mut self) -> Result<(), Problem> {
        self.silent += 1;
        let Some(writer) = &mut self.writer else { return Ok(()) };
        // Once all bytes are there, they are saved at the end of the body, when it is known not to
        // be longer.
        let whole = self.offset == self.length;
        if self.checksum.is_some() || whole {
            return writer.keep().await;
        }
        let due = writer.saves_cheaply() || self.silent >= SILENT_TICKS;
        if due && writer.is_ahead() {
            self.upload = writer.save(false, false).await?;
        } else {
            writer.keep().await?;
        }
        Ok(())
    }

    /// Saves the received bytes if they may be kept, and releases the lease unless the upload is
    /// whole.
    async fn settle(&mut self, end: Result<End, Problem>) -> Result<(), Problem> {
        let checksum = self.checksum.take();
        let verified = |checksum: Option<Checksum>| checksum.map_or(Ok(()), Checksum::verify);
        let (kept, problem) = match end {
            Ok(End::Whole) => match verified(checksum) {
                Ok(()) => (true, None),
                Err(problem) => (false, Some(problem)),
            },
            // The checksum of a body that was cut off cannot be verified.
            Ok(End::Cut(error)) => (checksum.is_none(), Some(broken(error))),
            Ok(End::Stopping) => (checksum.is_none(), Some(stopping())),
            Ok(End::TakenOver) => (checksum.is_none(), Some(lease::taken_over())),
            Ok(End::Excess) => (false, Some(too_long(self.length - self.upload.offset))),
            Err(problem) => (false, Some(problem)),
        };
        let whole = self.offset == self.length;
        if let Some(mut writer) = self.writer.take() {
            if kept {
                match writer.save(whole, !whole).await {
                    Ok(upload) => self.upload = upload,
                    Err(problem) => {
                        writer.release().await;
                        return Err(problem);
                    }
                }
            } else {
                writer.release().await;
            }
        }
        // A whole upload is complete, no matter how its request ended.
        problem.filter(|_| !(kept && whole)).map_or(Ok(()), Err)
    }
}

fn stopping() -> Problem {
    Problem::new(Code::Unavailable, "the server is stopping; resume the upload with another one")
}
