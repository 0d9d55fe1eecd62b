//! Incoming sources: an upload form, or a bare body for a video that was reserved before.
//!
//! The work runs in a task of the tracker, not in the request: if the client disconnects, the
//! reservation and the stored bytes are still removed.

mod digest;
mod disk;
pub(crate) mod form;
pub(crate) mod form_buffer;
mod lease;
mod parts;
pub(crate) mod transfers;
pub(crate) mod tus;
mod writer;

use std::{sync::Arc, time::Duration};

use api::{
    code::{Code, Problem},
    v1::{self, VideoState},
};
use futures::{StreamExt, pin_mut};
use http::{HeaderMap, StatusCode, header, request::Parts};
use media::VideoId;
use serde_json::json;
use tracing::Instrument;

pub(crate) use self::tus::serve as serve_tus;
use self::{
    form::Form,
    lease::Lease,
    writer::{Stored, Writer},
};
use super::{Caller, json as shape};
use crate::{
    http::{
        reply::{self, Reply},
        request_body::{RequestBody, RequestBodyError},
    },
    rest::Rest,
};

/// How long the reply waits for the probe.
const PROBE_SECONDS: u32 = 30;
/// The time that control waits for the probe, plus a margin.
const COMPLETE_TIME_MAX: Duration = Duration::from_secs(PROBE_SECONDS as u64 + 10);
/// Bytes that a form may have beyond its file.
const FORM_BYTES_EXTRA: u64 = 1 << 20;

/// `POST /api/videos/upload`.
pub(crate) async fn form(
    rest: &Arc<Rest>,
    caller: &Caller,
    request: &Parts,
    body: &RequestBody,
) -> Result<Reply, Problem> {
    let boundary = boundary(&request.headers)?;
    let limit = rest.upload_bytes_max;
    let announced = announced(&request.headers, limit + FORM_BYTES_EXTRA)?;
    let upload = begin(rest, caller, String::new(), announced.unwrap_or(limit)).await?;
    let (pieces, writer) = (body.clone(), upload.writer().await);
    upload.run(async move { form::read(&pieces, boundary, writer?, limit).await }).await
}

/// `PUT /api/videos/{id}/source`.
pub(crate) async fn source(
    rest: &Arc<Rest>,
    caller: &Caller,
    video: VideoId,
    request: &Parts,
    body: &RequestBody,
) -> Result<Reply, Problem> {
    let limit = rest.upload_bytes_max;
    let announced = announced(&request.headers, limit)?;
    let upload = begin(rest, caller, video.to_string(), announced.unwrap_or(limit)).await?;
    let (body, writer) = (body.clone(), upload.writer().await);
    upload.run(async move { bare(&body, writer?, limit).await }).await
}

/// Receives a body that consists of the source only.
async fn bare(body: &RequestBody, mut writer: Writer, limit: u64) -> Result<Form, Problem> {
    let received = receive(body, &mut writer, limit).await;
    match received {
        Ok(stored) => Ok(Form { stored: Some(stored), ..Form::default() }),
        Err(problem) => {
            writer.discard().await;
            Err(problem)
        }
    }
}

async fn receive(body: &RequestBody, writer: &mut Writer, limit: u64) -> Result<Stored, Problem> {
    let pieces = body.pieces();
    pin_mut!(pieces);
    while let Some(piece) = writer.during(pieces.next()).await? {
        let bytes = piece.map_err(broken)?;
        if writer.bytes() + bytes.len() as u64 > limit {
            return Err(too_large(limit));
        }
        writer.write(bytes).await?;
    }
    finish(writer).await
}

async fn finish(writer: &mut Writer) -> Result<Stored, Problem> {
    if writer.bytes() == 0 {
        return Err(Problem::field("video", "is empty"));
    }
    writer.finish().await
}

/// A reserved video whose source is being received.
struct ReservedUpload {
    rest: Arc<Rest>,
    caller: Caller,
    reserved: v1::Upload,
    /// The holder of the lease: this request.
    holder: String,
}

/// Reserves the upload, which rejects a token that may not upload before any of the body is read.
/// `bytes_max` is an upper bound of the source's size.
async fn begin(
    rest: &Arc<Rest>,
    caller: &Caller,
    video_id: String,
    bytes_max: u64,
) -> Result<ReservedUpload, Problem> {
    let holder = lease::writer();
    let message = v1::BeginUploadRequest {
        video_id,
        bytes_max,
        writer: holder.clone(),
        ..v1::BeginUploadRequest::default()
    };
    let reserved = lease::begin(rest, caller, &message).await?;
    Ok(ReservedUpload { rest: rest.clone(), caller: caller.clone(), reserved, holder })
}

impl ReservedUpload {
    async fn writer(&self) -> Result<Writer, Problem> {
        let (rest, caller) = (self.rest.clone(), self.caller.clone());
        let lease = Lease::begun(rest, caller, &self.reserved, self.holder.clone());
        Writer::open(lease, &self.reserved).await
    }

    /// Receives the source, then has it probed; on failure removes everything.
    async fn run(
        self,
        receive: impl Future<Output = Result<Form, Problem>> + Send + 'static,
    ) -> Result<Reply, Problem> {
        let tracker = self.rest.shutdown.tracker.clone();
        let work = async move {
            let hard = self.rest.shutdown.hard.clone();
            let received = tokio::select! {
                received = receive => received,
                () = hard.cancelled() => Err(Problem::new(Code::Unavailable, "the server is stopping")),
            };
            let finished = match received {
                Ok(form) => self.complete(form).await,
                Err(problem) => Err(problem),
            };
            if let Err(problem) = &finished
                && cancels_reservation(problem.code)
            {
                self.abort().await;
            }
            finished
        };
        ended(tracker.spawn(work.in_current_span()).await)
    }

    async fn complete(&self, form: Form) -> Result<Reply, Problem> {
        let stored = form.stored.ok_or_else(|| Problem::field("video", "is missing"))?;
        let message = v1::CompleteUploadRequest {
            video_id: self.reserved.video_id.clone(),
            title: form.title.unwrap_or_default(),
            description: form.description.unwrap_or_default(),
            visibility: form.visibility.unwrap_or(v1::Visibility::Unspecified).into(),
            bytes: stored.bytes,
            sha256: stored.sha256,
            filename: form.filename.unwrap_or_default(),
            wait_seconds: PROBE_SECONDS,
            upload_id: String::new(),
            writer: self.holder.clone(),
            transcode: form.transcode.unwrap_or_default(),
        };
        let completed = lease::complete(&self.rest, &self.caller, &message, COMPLETE_TIME_MAX);
        let video = completed.await?;
        self.rest.metrics.uploaded();
        Ok(created(&video))
    }

    async fn abort(&self) {
        let video_id = self.reserved.video_id.clone();
        let (upload_id, writer) = (String::new(), self.holder.clone());
        let message = v1::AbortUploadRequest { video_id, upload_id, writer };
        if let Err(problem) = lease::abort(&self.rest, &self.caller, &message).await {
            // Control removes reserved videos by itself after a while.
            tracing::debug!(%problem, video.id = message.video_id, "failed to abort an upload");
        }
    }
}

/// The result of a task on the tracker.
fn ended<T>(task: Result<Result<T, Problem>, tokio::task::JoinError>) -> Result<T, Problem> {
    task.unwrap_or_else(|error| {
        tracing::error!(%error, "failed to receive an upload");
        Err(Problem::new(Code::Internal, "internal error; see the server's log"))
    })
}

/// Whether this error also cancels the reservation: not if control may have accepted the upload.
const fn cancels_reservation(code: Code) -> bool {
    !matches!(
        code,
        Code::NotAVideo | Code::TruncatedSource | Code::TooManyRecordings | Code::Timeout
    )
}

fn created(video: &v1::Video) -> Reply {
    // 201 only once the source is known to be a video: not while it is being probed, or after a
    // probe that failed for reasons other than the source.
    let (code, message) = match video.state() {
        VideoState::Probing => (
            StatusCode::ACCEPTED,
            "the video is stored and will be examined as soon as a worker is free",
        ),
        VideoState::Failed if video.metadata.is_none() => {
            (StatusCode::ACCEPTED, "the video is stored, but could not be examined: probe it again")
        }
        _ => (StatusCode::CREATED, "the video is stored"),
    };
    let mut document = json!({
        "videoId": video.video_id,
        "message": message,
        "metadata": video.metadata.as_ref().map(shape::metadata),
    });
    if !video.job_id.is_empty() {
        document["jobId"] = video.job_id.as_str().into();
    }
    if code == StatusCode::ACCEPTED {
        document["state"] = shape::video_state(video.state()).into();
    }
    let mut reply = reply::json(code, &document);
    reply::set(&mut reply, header::LOCATION, &format!("/api/videos/{}", video.video_id));
    reply
}

pub(crate) fn boundary(headers: &HeaderMap) -> Result<String, Problem> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    match multer::parse_boundary(kind.unwrap_or_default()) {
        // RFC 2046, 5.1.1.
        Ok(boundary) if (1..=70).contains(&boundary.len()) => Ok(boundary),
        Ok(_) | Err(multer::Error::NoBoundary) => Err(Problem::new(
            Code::Malformed,
            "the content type must have a boundary of 1 to 70 characters",
        )),
        Err(_) => {
            let text = "the body must be multipart/form-data";
            Err(Problem::new(Code::UnsupportedMediaType, text))
        }
    }
}

/// The announced length; one above the limit is rejected early.
fn announced(headers: &HeaderMap, limit: u64) -> Result<Option<u64>, Problem> {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    match length.and_then(|text| text.parse::<u64>().ok()) {
        Some(length) if length > limit => Err(too_large(limit)),
        length => Ok(length),
    }
}

fn too_large(limit: u64) -> Problem {
    Problem::at(Code::TooLarge, "video", format!("is larger than {limit} bytes"))
}

fn broken(error: RequestBodyError) -> Problem {
    Problem::new(Code::Malformed, error.to_string())
}
