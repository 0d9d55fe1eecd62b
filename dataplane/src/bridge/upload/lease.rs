//! The right to write one upload, and what control knows of it. The holder renews it every second; after six
//! seconds without a renewal, or three after another request claimed it, another writer may take it.

use std::{sync::Arc, time::Duration};

use api::{
    code::{Code, Problem},
    v1::{self, upload_service_client::UploadServiceClient},
};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::{
    super::Caller,
    running::{Entry, Stop},
};
use crate::{
    app::App,
    control::{CALL_TIME_MAX, refusal},
};

/// Between two renewals.
const RENEW_EVERY: Duration = Duration::from_secs(1);
/// After a renewal a holder writes for so long and no longer: less than what a claim leaves it.
const TRUST: Duration = Duration::from_millis(2500);
/// How often control is told the same while it cannot be reached: it is back in a moment, most likely,
/// and an hour's upload is not to be lost. Telling it the same again is harmless.
const TELL_TRIES_MAX: u32 = 10;
const TELL_PAUSE: Duration = Duration::from_secs(1);
/// How long a request waits for another holder: a dead one's lease runs out meanwhile.
const SETTLE_TIME_MAX: Duration = Duration::from_secs(8);
const SETTLE_PAUSE: Duration = Duration::from_millis(100);

/// What an attempt to take the lease found.
pub(crate) enum Acquired {
    /// It is ours.
    Held(Lease, v1::Upload),
    /// The upload stands elsewhere.
    Elsewhere(v1::Upload),
    /// Another writer did not release it.
    Busy,
}

/// The lease.
pub(crate) struct Lease {
    pub(crate) app: Arc<App>,
    caller: Caller,
    upload_id: String,
    writer: String,
    /// The offset that control knows.
    offset: u64,
    /// When control was called last.
    called: Instant,
    /// When the call began that renewed it last.
    renewed: Instant,
    /// Another request takes the upload over.
    stop: Stop,
    entry: Option<Entry>,
}

/// What there is to say about progress.
#[derive(Default)]
pub(crate) struct Step {
    /// Bytes that are durable.
    pub(crate) to: u64,
    pub(crate) digest: Vec<u8>,
    pub(crate) multipart_id: String,
    pub(crate) parts: Vec<String>,
    pub(crate) tail: Option<u64>,
    pub(crate) release: bool,
}

/// A name for a request that is about to hold a lease.
pub(crate) fn writer() -> String {
    Uuid::new_v4().to_string()
}

/// The answer to a request whose upload another request took over.
pub(crate) fn taken_over() -> Problem {
    locked("another request took this upload over")
}

/// The answer to a request that could not take an upload over.
pub(crate) fn busy() -> Problem {
    locked("another request writes this upload")
}

fn locked(text: &str) -> Problem {
    let mut problem = Problem::new(Code::Locked, text);
    problem.retry_after = Some(Duration::from_secs(1));
    problem
}

impl Lease {
    /// A lease that came with the upload's beginning.
    pub(crate) fn begun(
        app: Arc<App>,
        caller: Caller,
        upload: &v1::Upload,
        writer: String,
    ) -> Self {
        let (upload_id, offset, now) = (upload.upload_id.clone(), upload.offset, Instant::now());
        let (stop, entry) = (Stop::default(), None);
        Self { app, caller, upload_id, writer, offset, called: now, renewed: now, stop, entry }
    }

    /// The lease of a resumable upload: other requests find it and take it over.
    pub(crate) fn resumable(mut self) -> Self {
        self.entry =
            Some(self.app.transfers.enter(&self.upload_id, &self.writer, self.stop.clone()));
        self
    }

    /// Takes the lease to write from `offset`, over from a request that is still running.
    pub(crate) async fn acquire(
        app: &Arc<App>,
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
            let reply = app
                .control
                .call(CALL_TIME_MAX, |channel| {
                    let request = caller.ask(message.clone());
                    async move { UploadServiceClient::new(channel).acquire_upload(request).await }
                })
                .await
                .map_err(|status| refusal(&status))?;
            caller.admit();
            let upload = reply.upload.unwrap_or_default();
            if reply.held {
                let lease = Self::begun(app.clone(), caller.clone(), &upload, writer);
                return Ok(Acquired::Held(lease.resumable(), upload));
            }
            let settled = is_settled(&upload);
            if settled && (upload.offset != offset || is_whole(&upload)) {
                return Ok(Acquired::Elsewhere(upload));
            }
            if begun.elapsed() > SETTLE_TIME_MAX {
                return Ok(Acquired::Busy);
            }
            // Settled where the client wants to go on: it was released between control's two looks.
            if !settled {
                app.transfers.settle(upload_id).await;
            }
            sleep(SETTLE_PAUSE).await;
        }
    }

    /// The offset that control knows.
    pub(crate) const fn offset(&self) -> u64 {
        self.offset
    }

    /// Who holds it.
    pub(crate) fn writer(&self) -> &str {
        &self.writer
    }

    /// In whose name control is called.
    pub(crate) const fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Tells when the upload is taken over.
    pub(crate) const fn stop(&self) -> &Stop {
        &self.stop
    }

    /// Tells control, again and again while it cannot be reached.
    pub(crate) async fn say(&mut self, step: Step) -> Result<v1::Upload, Problem> {
        let message = self.message(step);
        let stop = self.stop.clone();
        let mut tried = 1;
        loop {
            let told = tokio::select! {
                told = self.tell(&message) => told,
                () = stop.overdue() => return Err(taken_over()),
            };
            match told {
                Err(problem) if passing(&problem) && tried < TELL_TRIES_MAX => {
                    tried += 1;
                    tokio::select! {
                        () = sleep(TELL_PAUSE) => {}
                        () = stop.overdue() => return Err(taken_over()),
                    }
                }
                told => {
                    let upload = told?;
                    self.offset = message.to;
                    return Ok(upload);
                }
            }
        }
    }

    /// Renews it when that is due. That control cannot be reached is no loss yet: whoever would take
    /// the lease needs it, too.
    pub(crate) async fn keep(&mut self) -> Result<(), Problem> {
        if self.called.elapsed() < RENEW_EVERY {
            return Ok(());
        }
        let message = self.message(Step { to: self.offset, ..Step::default() });
        match self.tell(&message).await {
            Err(problem) if !passing(&problem) => Err(problem),
            _ => Ok(()),
        }
    }

    /// Returns while a write may begin: only soon after a renewal, so that no other writer holds the lease yet.
    pub(crate) async fn assure(&mut self) -> Result<(), Problem> {
        if self.renewed.elapsed() < TRUST {
            return Ok(());
        }
        self.say(Step { to: self.offset, ..Step::default() }).await.map(drop)
    }

    /// Keeps the lease while something takes its time; a request that is stopped does not wait for long.
    pub(crate) async fn during<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Problem> {
        let stop = self.stop.clone();
        let overdue = stop.overdue();
        tokio::pin!(work, overdue);
        loop {
            // Side by side: work that is not polled may hold a lock or let its connection time out. A renewal
            // that is cut short may be repeated.
            let kept = async {
                sleep(RENEW_EVERY).await;
                self.keep().await
            };
            tokio::select! {
                done = &mut work => return Ok(done),
                () = &mut overdue => return Err(taken_over()),
                kept = kept => kept?,
            }
        }
    }

    /// Gives the lease back where it stands. It runs out anyway, so failing is no error.
    pub(crate) async fn release(mut self) {
        let message = self.message(Step { to: self.offset, release: true, ..Step::default() });
        if let Err(problem) = self.tell(&message).await {
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

    async fn tell(&mut self, message: &v1::AdvanceUploadRequest) -> Result<v1::Upload, Problem> {
        let begun = Instant::now();
        let caller = self.caller.renewed(&self.app);
        let told = self
            .app
            .control
            .call(CALL_TIME_MAX, |channel| {
                let request = caller.ask(message.clone());
                async move { UploadServiceClient::new(channel).advance_upload(request).await }
            })
            .await;
        self.called = Instant::now();
        match told.map_err(|status| refusal(&status)) {
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

/// Whether an upload's offset stays where it is until another request writes.
fn is_settled(upload: &v1::Upload) -> bool {
    !upload.held || is_whole(upload)
}

fn is_whole(upload: &v1::Upload) -> bool {
    upload.complete || upload.length == Some(upload.offset)
}

/// Reserves a place for a source.
pub(crate) async fn begin(
    app: &App,
    caller: &Caller,
    message: &v1::BeginUploadRequest,
) -> Result<v1::Upload, Problem> {
    let begun = app
        .control
        .call(CALL_TIME_MAX, |channel| {
            let request = caller.ask(message.clone());
            async move { UploadServiceClient::new(channel).begin_upload(request).await }
        })
        .await
        .map_err(|status| refusal(&status))?;
    caller.admit();
    begun.upload.ok_or_else(|| Problem::new(Code::Internal, "control named no upload"))
}

/// An upload as control knows it, taken over from a request that is still running: its offset is settled.
pub(crate) async fn settled(
    app: &App,
    caller: &Caller,
    upload_id: String,
) -> Result<v1::Upload, Problem> {
    let message = v1::GetUploadRequest { upload_id, settle: true };
    let begun = Instant::now();
    loop {
        let upload = app
            .control
            .call(CALL_TIME_MAX, |channel| {
                let request = caller.ask(message.clone());
                async move { UploadServiceClient::new(channel).get_upload(request).await }
            })
            .await
            .map_err(|status| refusal(&status))?;
        if is_settled(&upload) {
            return Ok(upload);
        }
        if begun.elapsed() > SETTLE_TIME_MAX {
            return Err(busy());
        }
        app.transfers.settle(&message.upload_id).await;
        sleep(SETTLE_PAUSE).await;
    }
}

/// Forgets an upload and whatever was stored of it.
pub(crate) async fn abort(
    app: &App,
    caller: &Caller,
    message: &v1::AbortUploadRequest,
) -> Result<(), Problem> {
    let caller = caller.renewed(app);
    app.control
        .call(CALL_TIME_MAX, |channel| {
            let request = caller.ask(message.clone());
            async move { UploadServiceClient::new(channel).abort_upload(request).await }
        })
        .await
        .map(drop)
        .map_err(|status| refusal(&status))
}

/// Tells control that an upload is complete, again and again while it cannot be reached.
pub(crate) async fn complete(
    app: &App,
    caller: &Caller,
    message: &v1::CompleteUploadRequest,
    patience: Duration,
) -> Result<v1::Video, Problem> {
    let caller = caller.renewed(app);
    let mut tried = 1;
    loop {
        let told = app
            .control
            .call(patience, |channel| {
                let request = caller.ask(message.clone());
                async move { UploadServiceClient::new(channel).complete_upload(request).await }
            })
            .await;
        match told.map_err(|status| refusal(&status)) {
            Err(problem) if problem.code == Code::Unavailable && tried < TELL_TRIES_MAX => {
                tried += 1;
                sleep(TELL_PAUSE).await;
            }
            told => return told,
        }
    }
}

fn passing(problem: &Problem) -> bool {
    matches!(problem.code, Code::Unavailable | Code::Timeout)
}
