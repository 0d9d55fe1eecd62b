//! tus 1.0.0 at `/api/uploads`: uploads that survive lost connections, killed servers and changes
//! of server. Extensions: creation, creation-with-upload, termination, checksum, expiration.
//!
//! The state of an upload is a row in control and bytes in the store, so any data plane can handle
//! any request. An offset is reported only once all bytes below it are durable.

mod checksum;
mod headers;
mod metadata;
mod receive;

use std::sync::Arc;

use api::{
    code::{Code, Problem},
    v1, wire,
};
use http::{HeaderName, HeaderValue, Method, StatusCode, header, request::Parts};
use jiff::fmt::rfc2822::DateTimePrinter;
use media::UploadId;

use self::{
    checksum::Checksum,
    headers::{Length, OFFSET, RESUMABLE, VERSION, octets, offset, upload_length},
    metadata::UploadMetadata,
};
use super::super::Caller;
use super::{
    announced,
    lease::{self, Acquired, Lease},
};
use crate::{
    http::{
        cache::CachePolicy,
        reply::{self, Reply},
        request_body::RequestBody,
    },
    rest::Rest,
    route::Route,
};

/// The only supported version of the protocol.
const PROTOCOL: &str = "1.0.0";
const EXTENSIONS: &str = "creation,creation-with-upload,termination,checksum,expiration";

/// Handles a route of the protocol; `upload` is `None` for the collection.
pub(crate) async fn serve(
    rest: &Arc<Rest>,
    caller: &Caller,
    upload: Option<UploadId>,
    request: &Parts,
    body: &RequestBody,
) -> Result<Reply, Problem> {
    if request.headers.get(RESUMABLE).is_none_or(|version| version != PROTOCOL) {
        let text = format!("Tus-Resumable must be {PROTOCOL}");
        return Err(Problem::new(Code::PreconditionFailed, text));
    }
    match (upload, &request.method) {
        (None, _) => create(rest, caller, request, body).await,
        (Some(id), &Method::PATCH) => patch(rest, caller, id, request, body).await,
        (Some(id), &Method::DELETE) => {
            let upload_id = id.to_string();
            let message = v1::AbortUploadRequest { upload_id, ..Default::default() };
            lease::abort(rest, caller, &message).await?;
            Ok(reply::status(StatusCode::NO_CONTENT))
        }
        (Some(id), _) => {
            let upload = lease::settled(rest, caller, id.to_string()).await?;
            let mut reply = upload_state(StatusCode::OK, &upload);
            reply::set(&mut reply, headers::LENGTH, &upload.length.unwrap_or(0).to_string());
            if !upload.metadata.is_empty() {
                reply::set(&mut reply, headers::METADATA, &upload.metadata);
            }
            Ok(reply)
        }
    }
}

/// The method that a client could not send itself (`X-HTTP-Method-Override`).
pub(crate) fn overridden(route: Option<&Route>, request: &Parts) -> Option<Method> {
    let tus = matches!(route, Some(Route::Uploads | Route::ResumableUpload(_)));
    if !tus || request.method != Method::POST {
        return None;
    }
    let name = request.headers.get("x-http-method-override")?.to_str().ok()?;
    let methods = [Method::POST, Method::PATCH, Method::DELETE, Method::HEAD, Method::OPTIONS];
    methods.into_iter().find(|method| method.as_str().eq_ignore_ascii_case(name.trim()))
}

/// Sets the headers of every reply of these routes, including errors and discovery.
pub(crate) fn add_headers(rest: &Rest, method: &Method, reply: &mut Reply) {
    let status = reply.status();
    let headers = reply.headers_mut();
    headers.insert(RESUMABLE, HeaderValue::from_static(PROTOCOL));
    headers.insert(header::CACHE_CONTROL, CachePolicy::NoStore.header(true));
    let discovery = method == Method::OPTIONS;
    if discovery || status == StatusCode::PRECONDITION_FAILED {
        headers.insert(VERSION, HeaderValue::from_static(PROTOCOL));
    }
    if discovery {
        let set = |reply: &mut Reply, name, value: &str| {
            reply::set(reply, HeaderName::from_static(name), value);
        };
        set(reply, "tus-extension", EXTENSIONS);
        set(reply, "tus-max-size", &rest.upload_bytes_max.to_string());
        set(reply, "tus-checksum-algorithm", checksum::ALGORITHMS);
    }
}

/// `POST /api/uploads`
async fn create(
    rest: &Arc<Rest>,
    caller: &Caller,
    request: &Parts,
    body: &RequestBody,
) -> Result<Reply, Problem> {
    let headers = &request.headers;
    let bytes = match upload_length(headers)? {
        Length::Bytes(bytes) if bytes <= rest.upload_bytes_max => bytes,
        _ => {
            let text = format!("must be at most {} bytes", rest.upload_bytes_max);
            return Err(Problem::at(Code::TooLarge, "Upload-Length", text));
        }
    };
    let idempotency_key = headers::idempotency_key(headers)?;
    let metadata = headers::text(headers, headers::METADATA)?.unwrap_or_default();
    let about = UploadMetadata::read(metadata)?;
    let with_upload = !body.is_at_end().await;
    if with_upload && !idempotency_key.is_empty() {
        let text = "is not supported together with a body";
        return Err(Problem::at(Code::Malformed, "Idempotency-Key", text));
    }
    let checksum = if with_upload {
        octets(headers)?;
        announced_within(headers, bytes)?;
        Checksum::read(headers)?
    } else {
        None
    };
    let holder = if with_upload { lease::writer() } else { String::new() };
    let message = v1::BeginUploadRequest {
        length: Some(bytes),
        bytes_max: bytes,
        resumable: true,
        writer: holder.clone(),
        title: about.title,
        description: about.description,
        visibility: about.visibility.into(),
        filename: about.filename,
        transcode: about.transcode,
        metadata: metadata.to_owned(),
        idempotency_key,
        ..v1::BeginUploadRequest::default()
    };
    let mut upload = lease::begin(rest, caller, &message).await?;
    if with_upload {
        let (video_id, upload_id) = (String::new(), upload.upload_id.clone());
        let writer = holder.clone();
        let lease = Lease::begun(rest.clone(), caller.clone(), &upload, holder).resumable();
        match receive::receive(rest, lease, upload, checksum, body).await {
            Ok(received) => upload = received,
            Err(problem) => {
                // The client does not know the upload's URL, so it could never resume it.
                let message = v1::AbortUploadRequest { video_id, upload_id, writer };
                if let Err(problem) = lease::abort(rest, caller, &message).await {
                    tracing::debug!(%problem, "failed to abort an upload");
                }
                return Err(problem);
            }
        }
    }
    let mut reply = upload_state(StatusCode::CREATED, &upload);
    reply::set(&mut reply, header::LOCATION, &format!("/api/uploads/{}", upload.upload_id));
    Ok(reply)
}

/// `PATCH /api/uploads/{id}`
async fn patch(
    rest: &Arc<Rest>,
    caller: &Caller,
    id: UploadId,
    request: &Parts,
    body: &RequestBody,
) -> Result<Reply, Problem> {
    octets(&request.headers)?;
    let offset = offset(&request.headers)?;
    let checksum = Checksum::read(&request.headers)?;
    let (lease, upload) = match Lease::acquire(rest, caller, &id.to_string(), offset).await? {
        Acquired::Held(lease, upload) => (*lease, upload),
        // All bytes arrived but the reply was lost, and the client asks whether the upload is
        // complete.
        Acquired::Elsewhere(upload) if upload.offset == offset && body.is_at_end().await => {
            return Ok(upload_state(StatusCode::NO_CONTENT, &upload));
        }
        Acquired::Elsewhere(upload) => return Ok(offset_conflict(&upload)),
        Acquired::Busy => return Err(lease::busy()),
    };
    let left = upload.length.unwrap_or(0) - upload.offset;
    if let Err(problem) = announced_within(&request.headers, left) {
        lease.release().await;
        return Err(problem);
    }
    let upload = receive::receive(rest, lease, upload, checksum, body).await?;
    Ok(upload_state(StatusCode::NO_CONTENT, &upload))
}

/// Rejects a body before reading it if its announced length exceeds the remaining bytes.
fn announced_within(headers: &http::HeaderMap, left: u64) -> Result<(), Problem> {
    match announced(headers, u64::MAX)? {
        Some(length) if length > left => Err(too_long(left)),
        _ => Ok(()),
    }
}

fn too_long(left: u64) -> Problem {
    Problem::new(Code::TooLarge, format!("only {left} bytes are left of the announced length"))
}

/// 409 with the upload's offset.
fn offset_conflict(upload: &v1::Upload) -> Reply {
    let mut reply = reply::problem(&offset_problem(upload));
    reply::set(&mut reply, OFFSET, &upload.offset.to_string());
    reply
}

fn offset_problem(upload: &v1::Upload) -> Problem {
    let text = format!("must be {}, the upload's current offset", upload.offset);
    Problem::at(Code::Conflict, "Upload-Offset", text)
}

/// A reply with the upload's state.
fn upload_state(status: StatusCode, upload: &v1::Upload) -> Reply {
    let mut reply = reply::status(status);
    reply::set(&mut reply, OFFSET, &upload.offset.to_string());
    reply::set(&mut reply, headers::VIDEO, &upload.video_id);
    let expires = upload.expires_at.as_ref().and_then(wire::time).filter(|_| !upload.complete);
    if let Some(time) = expires
        && let Ok(text) = DateTimePrinter::new().timestamp_to_rfc9110_string(&time)
    {
        reply::set(&mut reply, headers::EXPIRES, &text);
    }
    reply
}
