//! `UploadService`, which data planes call on behalf of their clients.

mod begin;
mod lease_authorization;
mod progress;

use std::time::{self, Duration};

use api::{
    code::{Code, Problem},
    v1::{self, upload_service_server::UploadService},
    wire,
};
use authz::{AuthError, Principal};
use media::{UploadId, VideoId, layout};
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use self::lease_authorization::UploadRef;
use super::{
    Services,
    authorize::{self, Rpc},
    input,
    lookup::video,
    videos::deletable,
};
use crate::{
    background::deletion::delete_video,
    cluster::events::{self, Event},
    db::{
        CALL_TRIES_MAX,
        uploads::{
            Received, completion,
            sessions::{self, UploadSession},
        },
        videos::Video,
    },
    domain::VideoState,
    objects,
    source::{finish, queue_probe, seal},
    state::AppState,
};

/// Longest time that a call waits for a probe, in seconds.
const WAIT_SECONDS_MAX: u32 = 60;
/// How often a waiting call reads the video if it receives no event.
const POLL_EVERY: Duration = Duration::from_millis(500);

#[tonic::async_trait]
impl UploadService for Services {
    async fn begin_upload(
        &self,
        request: Request<v1::BeginUploadRequest>,
    ) -> Result<Response<v1::BeginUploadResponse>, Status> {
        let reserved = match request.get_ref().video_id.as_str() {
            "" => None,
            id => Some(wire::id::<media::ids::Video>("video_id", id)),
        };
        let valid_id = reserved.clone().and_then(Result::ok);
        let principal = self.0.authorize(Rpc::BeginUpload, &request, valid_id)?;
        let reserved = reserved.transpose()?;
        let upload = begin::begin(&self.0, &principal, reserved, request.into_inner()).await?;
        Ok(Response::new(v1::BeginUploadResponse {
            video_id: upload.video.to_string(),
            store: upload.store.clone(),
            key: layout::source(upload.video),
            upload: Some(upload.into()),
        }))
    }

    async fn get_upload(
        &self,
        request: Request<v1::GetUploadRequest>,
    ) -> Result<Response<v1::Upload>, Status> {
        let principal = self.0.authorize(Rpc::GetUpload, &request, None)?;
        let id = wire::id("upload_id", &request.get_ref().upload_id)?;
        let row = if request.get_ref().settle {
            progress::settled(&self.0, &principal, id).await?
        } else {
            upload(&self.0, &principal, id).await?
        };
        Ok(Response::new(row.into()))
    }

    async fn acquire_upload(
        &self,
        request: Request<v1::AcquireUploadRequest>,
    ) -> Result<Response<v1::AcquireUploadResponse>, Status> {
        let principal = self.0.authorize(Rpc::AcquireUpload, &request, None)?;
        let reply = progress::acquire(&self.0, &principal, request.get_ref()).await?;
        Ok(Response::new(reply))
    }

    async fn advance_upload(
        &self,
        request: Request<v1::AdvanceUploadRequest>,
    ) -> Result<Response<v1::Upload>, Status> {
        let message = request.get_ref();
        let of = UploadRef::read(&message.upload_id, "");
        let principal = lease_authorization::authorize(
            &self.0,
            Rpc::AdvanceUpload,
            &request,
            &message.writer,
            of,
        )
        .await?;
        let upload = progress::advance(&self.0, &principal, request.into_inner()).await?;
        Ok(Response::new(upload.into()))
    }

    async fn complete_upload(
        &self,
        request: Request<v1::CompleteUploadRequest>,
    ) -> Result<Response<v1::Video>, Status> {
        let id = wire::id("video_id", &request.get_ref().video_id);
        let resumed = !request.get_ref().upload_id.is_empty();
        let message = request.get_ref();
        let of = UploadRef::read(&message.upload_id, &message.video_id);
        let principal = lease_authorization::authorize(
            &self.0,
            Rpc::CompleteUpload,
            &request,
            &message.writer,
            of,
        )
        .await?;
        let message = request.into_inner();
        let wait = Duration::from_secs(message.wait_seconds.min(WAIT_SECONDS_MAX).into());
        let deadline = Instant::now() + wait;
        if resumed {
            let upload_id = wire::id("upload_id", &message.upload_id)?;
            let upload = upload(&self.0, &principal, upload_id).await?;
            let row = video(&self.0, &principal.tenant, upload.video).await?;
            finish(&self.0, &row, &upload).await?;
            let row = probed(&self.0, &principal, row.id, deadline).await?;
            return Ok(Response::new(row.into()));
        }
        let row = accept_whole_source(&self.0, &principal, id?, &message).await?;
        let row = probed(&self.0, &principal, row.id, deadline).await?;
        Ok(Response::new(reject_invalid_source(row)?.into()))
    }

    async fn abort_upload(
        &self,
        request: Request<v1::AbortUploadRequest>,
    ) -> Result<Response<v1::AbortUploadResponse>, Status> {
        let id = wire::id("video_id", &request.get_ref().video_id);
        let by_upload = !request.get_ref().upload_id.is_empty();
        let message = request.get_ref();
        let of = UploadRef::read(&message.upload_id, &message.video_id);
        let principal = lease_authorization::authorize(
            &self.0,
            Rpc::AbortUpload,
            &request,
            &message.writer,
            of,
        )
        .await?;
        if by_upload {
            let upload_id = wire::id("upload_id", &request.get_ref().upload_id)?;
            terminate(&self.0, &principal, upload_id).await?;
        } else {
            let row = open(video(&self.0, &principal.tenant, id?).await?)?;
            abandon(&self.0, &principal, &row).await?;
        }
        Ok(Response::new(v1::AbortUploadResponse {}))
    }
}

/// Reads an upload of the tenant.
async fn upload(
    app: &AppState,
    principal: &Principal,
    id: UploadId,
) -> Result<UploadSession, Problem> {
    let row = app
        .db
        .run(CALL_TRIES_MAX, async |db| sessions::get(db, &principal.tenant, id).await)
        .await?;
    row.ok_or_else(|| Problem::not_found("upload"))
}

/// Accepts a source that was sent in one request.
async fn accept_whole_source(
    app: &AppState,
    principal: &Principal,
    id: VideoId,
    message: &v1::CompleteUploadRequest,
) -> Result<Video, Problem> {
    let received = received(message)?;
    let row = video(app, &principal.tenant, id).await?;
    let upload = app.db.run(CALL_TRIES_MAX, async |db| sessions::of_video(db, id).await).await?;
    if row.state == VideoState::Uploading || (row.takes_source() && upload.is_some()) {
        seal(app, &row, upload.as_ref(), message.bytes).await?;
        queue_probe(app, &row, &received).await?;
    } else if row.source_sha256.as_deref() != Some(&received.sha256) {
        // The same digest means a retry after a lost reply, which waits for the same probe.
        return Err(has_source());
    }
    Ok(row)
}

/// Aborts the upload of a source, and deletes its video unless that has another source.
async fn abandon(app: &AppState, principal: &Principal, row: &Video) -> Result<(), Problem> {
    deletable(principal, row)?;
    if row.state == VideoState::Uploading {
        delete_video(app, row).await?;
        remove_source(app, row).await;
        return Ok(());
    }
    let given_up = app.db.run(CALL_TRIES_MAX, async |db| completion::give_up(db, row.id).await);
    Ok(given_up.await?)
}

/// Deletes an upload, and its video unless the upload is complete.
async fn terminate(app: &AppState, principal: &Principal, id: UploadId) -> Result<(), Problem> {
    let upload = upload(app, principal, id).await?;
    if upload.complete {
        app.db.run(CALL_TRIES_MAX, async |db| completion::delete(db, upload.id).await).await?;
        return Ok(());
    }
    let row = open(video(app, &principal.tenant, upload.video).await?)?;
    abandon(app, principal, &row).await?;
    tracing::info!(upload.id = %upload.id, "upload terminated");
    Ok(())
}

/// Checks that the video accepts a source.
fn open(row: Video) -> Result<Video, Problem> {
    if row.takes_source() { Ok(row) } else { Err(has_source()) }
}

fn has_source() -> Problem {
    Problem::new(Code::Conflict, "the video already has a source")
}

fn received(message: &v1::CompleteUploadRequest) -> Result<Received, Problem> {
    Ok(Received {
        title: input::title(&message.title)?,
        description: input::description(&message.description)?,
        public: input::visibility(message.visibility)?,
        bytes: i64::try_from(message.bytes).map_err(|_| Problem::field("bytes", "is too large"))?,
        sha256: input::sha256(&message.sha256)?,
        filename: input::filename(&message.filename),
        auto_transcode: input::auto_transcode(&message.transcode)?,
        arrived: time::Instant::now(),
    })
}

/// Waits until the probe has ended or `deadline` has passed. The wait ends when the caller's token
/// is revoked; the upload is complete and stays.
async fn probed(
    app: &AppState,
    principal: &Principal,
    id: VideoId,
    deadline: Instant,
) -> Result<Video, Problem> {
    let mut events = app.bus.subscribe();
    loop {
        if app.verifier.is_revoked(&principal.revocation_ids) {
            return Err(authorize::problem(AuthError::Revoked));
        }
        let row = video(app, &principal.tenant, id).await?;
        if row.state != VideoState::Probing || Instant::now() >= deadline {
            return Ok(row);
        }
        let poll = tokio::time::sleep_until(deadline.min(Instant::now() + POLL_EVERY));
        tokio::pin!(poll);
        loop {
            tokio::select! {
                () = &mut poll => break,
                () = app.shutdown.soft.cancelled() => return Ok(row),
                event = events::next(&mut events) => {
                    if matches!(event, Event::Everything) || event == Event::Video(id) {
                        break;
                    }
                }
            }
        }
    }
}

/// Rejects the source if it caused the failure; the video remains, in state failed. A failure of
/// the service itself does not reject the source.
fn reject_invalid_source(row: Video) -> Result<Video, Problem> {
    let source_failure = row.failure.as_ref().filter(|failure| failure.is_source_error());
    let rejected = row.state == VideoState::Failed && row.source.is_none();
    let Some(failure) = source_failure.filter(|_| rejected) else { return Ok(row) };
    let code = Code::parse(&failure.code).unwrap_or(Code::NotAVideo);
    let problem = Problem::at(code, "video", failure.message.clone());
    Err(Problem { video_id: Some(row.id.to_string()), ..problem })
}

/// Deletes the source immediately. The sweep of the video's objects would delete it later anyway,
/// so an error here is harmless.
async fn remove_source(app: &AppState, row: &Video) {
    let key = layout::source(row.id);
    if let Err(error) = objects::delete(&app.stores, &row.store, &key).await {
        tracing::debug!(video.id = %row.id, %error, "failed to remove a rejected source");
    }
}
