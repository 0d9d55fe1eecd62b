//! The right to write one upload, and what control knows of it. Whoever holds it says a word every two
//! seconds; six seconds of silence, and somebody else may take it.

use std::{sync::Arc, time::Duration};

use api::{
    code::{Code, Problem},
    v1::{self, upload_service_client::UploadServiceClient},
};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::super::Caller;
use crate::{
    app::App,
    control::{CALL_TIME_MAX, refusal},
};

/// Between two words.
const WORD_EVERY: Duration = Duration::from_secs(2);
/// How often control is told the same while it cannot be reached: it is back in a moment, most likely,
/// and an hour's upload is not to be lost. Telling it the same again is harmless.
const TELL_TRIES_MAX: u32 = 10;
const TELL_PAUSE: Duration = Duration::from_secs(1);
/// How long a request waits for another holder: a dead one's lease runs out meanwhile.
const ACQUIRE_TIME_MAX: Duration = Duration::from_secs(8);
const ACQUIRE_PAUSE: Duration = Duration::from_millis(200);

/// What an attempt to take the lease found.
pub(crate) enum Acquired {
    /// It is ours.
    Held(Lease, v1::Upload),
    /// The upload stands elsewhere.
    Elsewhere(v1::Upload),
    /// Somebody else writes.
    Busy,
}

/// The lease.
pub(crate) struct Lease {
    pub(crate) app: Arc<App>,
    pub(crate) caller: Caller,
    upload_id: String,
    writer: String,
    /// The offset that control knows.
    offset: u64,
    heard: Instant,
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

/// A name for whoever is about to hold a lease.
pub(crate) fn writer() -> String {
    Uuid::new_v4().to_string()
}

impl Lease {
    /// A lease that came with the upload's beginning.
    pub(crate) fn begun(
        app: Arc<App>,
        caller: Caller,
        upload: &v1::Upload,
        writer: String,
    ) -> Self {
        let (upload_id, offset) = (upload.upload_id.clone(), upload.offset);
        Self { app, caller, upload_id, writer, offset, heard: Instant::now() }
    }

    /// Takes the lease to write from `offset`; waits a while for one that is held.
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
            let upload = reply.upload.unwrap_or_default();
            if reply.held {
                let lease = Self::begun(app.clone(), caller.clone(), &upload, writer);
                return Ok(Acquired::Held(lease, upload));
            }
            if upload.offset != offset || upload.complete {
                return Ok(Acquired::Elsewhere(upload));
            }
            if begun.elapsed() > ACQUIRE_TIME_MAX {
                return Ok(Acquired::Busy);
            }
            sleep(ACQUIRE_PAUSE).await;
        }
    }

    /// The offset that control knows.
    pub(crate) const fn offset(&self) -> u64 {
        self.offset
    }

    /// Tells control, again and again while it cannot be reached.
    pub(crate) async fn say(&mut self, step: Step) -> Result<v1::Upload, Problem> {
        let message = self.message(step);
        let mut tried = 1;
        loop {
            match self.tell(&message).await {
                Err(problem) if passing(&problem) && tried < TELL_TRIES_MAX => {
                    tried += 1;
                    sleep(TELL_PAUSE).await;
                }
                told => {
                    let upload = told?;
                    self.offset = message.to;
                    return Ok(upload);
                }
            }
        }
    }

    /// Says a word when one is due. That control cannot be reached is no loss yet: whoever would take
    /// the lease needs it, too.
    pub(crate) async fn keep(&mut self) -> Result<(), Problem> {
        if self.heard.elapsed() < WORD_EVERY {
            return Ok(());
        }
        let message = self.message(Step { to: self.offset, ..Step::default() });
        match self.tell(&message).await {
            Err(problem) if !passing(&problem) => Err(problem),
            _ => Ok(()),
        }
    }

    /// Keeps the lease while something takes its time.
    pub(crate) async fn during<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Problem> {
        tokio::pin!(work);
        loop {
            // Side by side: work that is not polled may hold a lock or let its connection time out. A word
            // that is cut short may be said again.
            let kept = async {
                sleep(WORD_EVERY).await;
                self.keep().await
            };
            tokio::select! {
                done = &mut work => return Ok(done),
                kept = kept => kept?,
            }
        }
    }

    /// Gives the lease back where it stands. It runs out anyway, so failing is no error.
    pub(crate) async fn release(mut self) {
        let message = self.message(Step { to: self.offset, release: true, ..Step::default() });
        if let Err(problem) = self.tell(&message).await {
            tracing::debug!(%problem, upload.id = self.upload_id, "release an upload");
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
        let told = self
            .app
            .control
            .call(CALL_TIME_MAX, |channel| {
                let request = self.caller.ask(message.clone());
                async move { UploadServiceClient::new(channel).advance_upload(request).await }
            })
            .await;
        self.heard = Instant::now();
        told.map_err(|status| refusal(&status))
    }
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
    begun.upload.ok_or_else(|| Problem::new(Code::Internal, "control named no upload"))
}

/// An upload as control knows it.
pub(crate) async fn get(
    app: &App,
    caller: &Caller,
    upload_id: String,
) -> Result<v1::Upload, Problem> {
    app.control
        .call(CALL_TIME_MAX, |channel| {
            let request = caller.ask(v1::GetUploadRequest { upload_id: upload_id.clone() });
            async move { UploadServiceClient::new(channel).get_upload(request).await }
        })
        .await
        .map_err(|status| refusal(&status))
}

/// Forgets an upload and whatever was stored of it.
pub(crate) async fn abort(
    app: &App,
    caller: &Caller,
    message: &v1::AbortUploadRequest,
) -> Result<(), Problem> {
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
