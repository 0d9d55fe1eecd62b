//! Sources on their way into the store: a form, or a bare body for a video that was reserved before.
//!
//! The work runs on the tracker, not in the request: when the client goes away, what was reserved and
//! stored is taken back all the same.

mod form;
mod sink;

use std::{sync::Arc, time::Duration};

use api::{
    code::{Code, Problem},
    v1::{self, VideoState, upload_service_client::UploadServiceClient},
};
use futures::{StreamExt, pin_mut};
use http::{HeaderMap, StatusCode, header, request::Parts};
use media::VideoId;
use serde_json::json;

use self::{form::Form, sink::Sink};
use super::{Caller, json as shape};
use crate::{
    app::App,
    control::{CALL_TIME_MAX, refusal},
    intake::{Intake, IntakeError},
    reply::{self, Reply},
};

/// How long the reply waits for the probe.
const PROBE_SECONDS: u32 = 30;
/// Control's own wait and a margin.
const COMPLETE_TIME_MAX: Duration = Duration::from_secs(PROBE_SECONDS as u64 + 10);
/// How often control is told that a source is complete, while it cannot be reached.
const TELL_TRIES_MAX: u32 = 10;
const TELL_PAUSE: Duration = Duration::from_secs(1);
/// What a form may add to its file.
const FORM_BYTES_EXTRA: u64 = 1 << 20;

/// `POST /api/videos/upload`.
pub(crate) async fn form(
    app: &Arc<App>,
    caller: &Caller,
    request: &Parts,
    body: &Intake,
) -> Result<Reply, Problem> {
    let boundary = boundary(&request.headers)?;
    announced(&request.headers, app.config.upload_bytes_max + FORM_BYTES_EXTRA)?;
    let upload = begin(app, caller, String::new()).await?;
    let (pieces, sink) = (body.clone(), upload.sink()?);
    let limit = app.config.upload_bytes_max;
    upload.run(async move { form::read(&pieces, boundary, sink, limit).await }).await
}

/// `PUT /api/videos/{id}/source`.
pub(crate) async fn source(
    app: &Arc<App>,
    caller: &Caller,
    video: VideoId,
    request: &Parts,
    body: &Intake,
) -> Result<Reply, Problem> {
    announced(&request.headers, app.config.upload_bytes_max)?;
    let upload = begin(app, caller, video.to_string()).await?;
    let (pieces, mut sink) = (body.pieces(), upload.sink()?);
    let limit = app.config.upload_bytes_max;
    upload
        .run(async move {
            pin_mut!(pieces);
            while let Some(piece) = pieces.next().await {
                match piece {
                    Ok(bytes) if sink.bytes() + bytes.len() as u64 > limit => {
                        sink.abort().await;
                        return Err(too_large(limit));
                    }
                    Ok(bytes) => sink.write(bytes).await?,
                    Err(error) => {
                        sink.abort().await;
                        return Err(broken(error));
                    }
                }
            }
            Ok(Form { stored: Some(sink.finish().await?), ..Form::default() })
        })
        .await
}

/// A reserved video whose source is on its way.
struct Upload {
    app: Arc<App>,
    caller: Caller,
    reserved: v1::BeginUploadResponse,
}

/// Reserves: here a token that may not upload is refused, before any of the body is read.
async fn begin(app: &Arc<App>, caller: &Caller, video_id: String) -> Result<Upload, Problem> {
    let reserved = app
        .control
        .call(CALL_TIME_MAX, |channel| {
            let request = caller.ask(v1::BeginUploadRequest { video_id: video_id.clone() });
            async move { UploadServiceClient::new(channel).begin_upload(request).await }
        })
        .await
        .map_err(|status| refusal(&status))?;
    Ok(Upload { app: app.clone(), caller: caller.clone(), reserved })
}

impl Upload {
    fn sink(&self) -> Result<Sink, Problem> {
        let Some(store) = self.app.stores.get(&self.reserved.store) else {
            tracing::error!(
                store.url = self.reserved.store,
                "open store: it is not configured here"
            );
            return Err(Problem::new(Code::Internal, "the video's store is not configured here"));
        };
        let counter = self.app.metrics.bandwidth.upload.clone();
        Ok(Sink::new(store.objects.clone(), &self.reserved.key, counter))
    }

    /// Takes the source in, then has it probed, or takes everything back.
    async fn run(
        self,
        take_in: impl Future<Output = Result<Form, Problem>> + Send + 'static,
    ) -> Result<Reply, Problem> {
        let tracker = self.app.shutdown.tracker.clone();
        let task = tracker.spawn(async move {
            let hard = self.app.shutdown.hard.clone();
            let taken = tokio::select! {
                taken = take_in => taken,
                () = hard.cancelled() => Err(Problem::new(Code::Unavailable, "the server stops")),
            };
            let finished = match taken {
                Ok(form) => self.complete(form).await,
                Err(problem) => Err(problem),
            };
            if let Err(problem) = &finished
                && retracts(problem.code)
            {
                self.abort().await;
            }
            finished
        });
        match task.await {
            Ok(finished) => finished,
            Err(error) => {
                tracing::error!(%error, "take in upload");
                Err(Problem::new(Code::Internal, "an internal error; the log says more"))
            }
        }
    }

    async fn complete(&self, form: Form) -> Result<Reply, Problem> {
        let stored = form.stored.ok_or_else(|| Problem::field("video", "is missing"))?;
        if stored.bytes == 0 {
            return Err(Problem::field("video", "is empty"));
        }
        let message = v1::CompleteUploadRequest {
            video_id: self.reserved.video_id.clone(),
            title: form.title.unwrap_or_default(),
            description: form.description.unwrap_or_default(),
            visibility: form.visibility.unwrap_or(v1::Visibility::Unspecified).into(),
            bytes: stored.bytes,
            sha256: stored.sha256,
            filename: form.filename.unwrap_or_default(),
            wait_seconds: PROBE_SECONDS,
        };
        let mut tried = 1;
        let video = loop {
            match self.tell(&message).await {
                // Control is back in a moment, most likely, and an hour's upload is not to be lost.
                // Telling it the same again is harmless.
                Err(problem) if problem.code == Code::Unavailable && tried < TELL_TRIES_MAX => {
                    tried += 1;
                    tokio::time::sleep(TELL_PAUSE).await;
                }
                told => break told?,
            }
        };
        self.app.metrics.uploaded();
        Ok(created(&video))
    }

    async fn tell(&self, message: &v1::CompleteUploadRequest) -> Result<v1::Video, Problem> {
        let told = self
            .app
            .control
            .call(COMPLETE_TIME_MAX, |channel| {
                let request = self.caller.ask(message.clone());
                async move { UploadServiceClient::new(channel).complete_upload(request).await }
            })
            .await;
        told.map_err(|status| refusal(&status))
    }

    async fn abort(&self) {
        let video_id = self.reserved.video_id.clone();
        let aborted = self
            .app
            .control
            .call(CALL_TIME_MAX, |channel| {
                let message = v1::AbortUploadRequest { video_id: video_id.clone() };
                let request = self.caller.ask(message);
                async move { UploadServiceClient::new(channel).abort_upload(request).await }
            })
            .await;
        if let Err(status) = aborted {
            // Control forgets reserved videos by itself after a while.
            tracing::debug!(code = ?status.code(), video.id = video_id, "abort upload");
        }
    }
}

/// Whether what was reserved goes with this refusal: not when control may have taken it over.
const fn retracts(code: Code) -> bool {
    !matches!(code, Code::NotAVideo | Code::TruncatedSource | Code::Timeout)
}

fn created(video: &v1::Video) -> Reply {
    let probing = video.state() == VideoState::Probing;
    let (code, message) = if probing {
        (
            StatusCode::ACCEPTED,
            "the video is stored and will be examined as soon as a worker is free",
        )
    } else {
        (StatusCode::CREATED, "the video is stored")
    };
    let mut document = json!({
        "videoId": video.video_id,
        "message": message,
        "metadata": video.metadata.as_ref().map(shape::metadata),
    });
    if probing {
        document["state"] = "probing".into();
    }
    let mut reply = reply::json(code, &document);
    reply::set(&mut reply, header::LOCATION, &format!("/api/videos/{}", video.video_id));
    reply
}

fn boundary(headers: &HeaderMap) -> Result<String, Problem> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    match multer::parse_boundary(kind.unwrap_or_default()) {
        // RFC 2046, 5.1.1.
        Ok(boundary) if (1..=70).contains(&boundary.len()) => Ok(boundary),
        Ok(_) | Err(multer::Error::NoBoundary) => {
            Err(Problem::new(Code::Malformed, "the content type names no usable boundary"))
        }
        Err(_) => {
            let text = "the body must be multipart/form-data";
            Err(Problem::new(Code::UnsupportedMediaType, text))
        }
    }
}

/// Refuses early what announces that it is too large.
fn announced(headers: &HeaderMap, limit: u64) -> Result<(), Problem> {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    match length.and_then(|text| text.parse::<u64>().ok()) {
        Some(length) if length > limit => Err(too_large(limit)),
        _ => Ok(()),
    }
}

fn too_large(limit: u64) -> Problem {
    Problem::at(Code::TooLarge, "video", format!("is larger than {limit} bytes"))
}

fn broken(error: IntakeError) -> Problem {
    Problem::new(Code::Malformed, error.to_string())
}
