//! `VideoService`.

use api::{
    code::{Code, Problem},
    v1::{self, video_service_server::VideoService},
    wire,
};
use authz::{Principal, Role};
use media::{JobId, VideoId};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::{
    Services,
    authorize::{Rpc, owner},
    captions, db_status, input, lists,
    lookup::video,
};
use crate::{
    background::deletion::delete_video,
    db::{
        CALL_TRIES_MAX, chores,
        probes::{self, ReprobeResult},
        videos::{self, Changes, NewVideo, Video},
    },
    publish::index,
    state::AppState,
};

#[tonic::async_trait]
impl VideoService for Services {
    async fn create_video(
        &self,
        request: Request<v1::CreateVideoRequest>,
    ) -> Result<Response<v1::Video>, Status> {
        let principal = self.0.authorize(Rpc::CreateVideo, &request, None)?;
        let message = request.into_inner();
        let id = VideoId::new(Uuid::now_v7());
        let new = NewVideo {
            id,
            title: input::title(&message.title)?,
            description: input::description(&message.description)?,
            public: input::visibility(message.visibility)?.unwrap_or(self.0.policy.public),
            store: self.0.stores.pick(id).url.clone(),
            auto_transcode: input::auto_transcode(&message.transcode)?,
        };
        let owner = owner(&principal);
        self.0
            .db
            .run(CALL_TRIES_MAX, async |db| videos::create(db, &owner, &new).await)
            .await
            .map_err(db_status)?;
        Ok(Response::new(video(&self.0, &principal.tenant, id).await?.into()))
    }

    async fn get_video(
        &self,
        request: Request<v1::GetVideoRequest>,
    ) -> Result<Response<v1::Video>, Status> {
        let id = wire::id("video_id", &request.get_ref().video_id);
        let principal = self.0.authorize(Rpc::GetVideo, &request, id.clone().ok())?;
        Ok(Response::new(video(&self.0, &principal.tenant, id?).await?.into()))
    }

    async fn list_videos(
        &self,
        request: Request<v1::ListVideosRequest>,
    ) -> Result<Response<v1::ListVideosResponse>, Status> {
        let principal = self.0.authorize(Rpc::ListVideos, &request, None)?;
        let message = request.into_inner();
        Ok(Response::new(lists::videos(&self.0, &principal.tenant, &message).await?))
    }

    async fn update_video(
        &self,
        request: Request<v1::UpdateVideoRequest>,
    ) -> Result<Response<v1::Video>, Status> {
        let id = wire::id("video_id", &request.get_ref().video_id);
        let principal = self.0.authorize(Rpc::UpdateVideo, &request, id.clone().ok())?;
        let (id, message) = (id?, request.into_inner());
        let changes = changes(&message)?;
        let found = self.0.db.transact(CALL_TRIES_MAX, async |tx| {
            let found = videos::update(tx, &principal.tenant, id, &changes).await?;
            if found && changes.in_index() {
                // The index is updated below; the chore covers a crash before that.
                chores::create(tx, chores::Chore::Index(id), chores::INDEX_SECONDS).await?;
                chores::queue_purges(tx, id).await?;
            }
            Ok(found)
        });
        if !found.await.map_err(db_status)? {
            // The video does not exist, or has another revision.
            video(&self.0, &principal.tenant, id).await?;
            return Err(another_revision().into());
        }
        self.0.video_changed_for(id).await;
        let row = video(&self.0, &principal.tenant, id).await?;
        if changes.in_index() {
            index::try_sync_object(&self.0.db, &self.0.stores, id, &row.store).await;
        }
        Ok(Response::new(row.into()))
    }

    async fn delete_video(
        &self,
        request: Request<v1::DeleteVideoRequest>,
    ) -> Result<Response<v1::DeleteVideoResponse>, Status> {
        let id = wire::id("video_id", &request.get_ref().video_id);
        let principal = self.0.authorize(Rpc::DeleteVideo, &request, id.clone().ok())?;
        let (id, message) = (id?, request.get_ref());
        let row = video(&self.0, &principal.tenant, id).await?;
        if message.revision.is_some_and(|seen| i64::try_from(seen) != Ok(row.revision)) {
            return Err(another_revision().into());
        }
        deletable(&principal, &row)?;
        if !delete_video(&self.0, &row).await.map_err(db_status)? {
            return Err(Problem::not_found("video").into());
        }
        tracing::info!(video.id = %id, subject = principal.subject, "video deleted");
        Ok(Response::new(v1::DeleteVideoResponse {}))
    }

    async fn reprobe_video(
        &self,
        request: Request<v1::ReprobeVideoRequest>,
    ) -> Result<Response<v1::Video>, Status> {
        let id = wire::id("video_id", &request.get_ref().video_id);
        let principal = self.0.authorize(Rpc::ReprobeVideo, &request, id.clone().ok())?;
        let id = id?;
        reprobe(&self.0, &principal.tenant, id).await?;
        tracing::info!(video.id = %id, subject = principal.subject, "probe started again");
        Ok(Response::new(video(&self.0, &principal.tenant, id).await?.into()))
    }

    async fn create_caption(
        &self,
        request: Request<v1::CreateCaptionRequest>,
    ) -> Result<Response<v1::Caption>, Status> {
        let id = wire::id("video_id", &request.get_ref().video_id);
        let principal = self.0.authorize(Rpc::CreateCaption, &request, id.clone().ok())?;
        let row = video(&self.0, &principal.tenant, id?).await?;
        Ok(Response::new(captions::create(&self.0, row, request.into_inner()).await?))
    }

    async fn list_captions(
        &self,
        request: Request<v1::ListCaptionsRequest>,
    ) -> Result<Response<v1::ListCaptionsResponse>, Status> {
        let id = wire::id("video_id", &request.get_ref().video_id);
        let principal = self.0.authorize(Rpc::ListCaptions, &request, id.clone().ok())?;
        let row = video(&self.0, &principal.tenant, id?).await?;
        Ok(Response::new(v1::ListCaptionsResponse { captions: v1::Video::from(row).captions }))
    }

    async fn delete_caption(
        &self,
        request: Request<v1::DeleteCaptionRequest>,
    ) -> Result<Response<v1::DeleteCaptionResponse>, Status> {
        let id = wire::id("video_id", &request.get_ref().video_id);
        let principal = self.0.authorize(Rpc::DeleteCaption, &request, id.clone().ok())?;
        let row = video(&self.0, &principal.tenant, id?).await?;
        let caption = wire::id("caption_id", &request.get_ref().caption_id)?;
        captions::delete(&self.0, &row, caption).await?;
        Ok(Response::new(v1::DeleteCaptionResponse {}))
    }
}

fn changes(message: &v1::UpdateVideoRequest) -> Result<Changes, Problem> {
    let mask = input::mask(message)?;
    let public = input::visibility(message.visibility)?;
    if mask.visibility && public.is_none() {
        return Err(Problem::field("visibility", "must be PUBLIC or PRIVATE"));
    }
    Ok(Changes {
        title: mask.title.then(|| input::title(&message.title)).transpose()?,
        description: mask
            .description
            .then(|| input::description(&message.description))
            .transpose()?,
        public: public.filter(|_| mask.visibility),
        // No revision is that large.
        revision: message.revision.map(|seen| i64::try_from(seen).unwrap_or(i64::MAX)),
    })
}

/// The error for a change based on an outdated revision.
fn another_revision() -> Problem {
    Problem::new(Code::PreconditionFailed, "the video was modified; fetch it again")
}

/// Checks that the caller may delete the video: its owner and admins may.
///
/// # Errors
/// [`Code::PermissionDenied`] for any other caller.
pub(super) fn deletable(principal: &Principal, video: &Video) -> Result<(), Problem> {
    if principal.role == Role::Admin || video.owner == principal.subject {
        return Ok(());
    }
    Err(Problem::new(Code::PermissionDenied, "only admins may delete other users' videos"))
}

/// Probes a video's source again immediately.
///
/// # Errors
/// [`Code::Conflict`] if the video's state does not allow it, [`Code::NotFound`] if the video is
/// unknown, [`Code::Unavailable`] if the database is unavailable.
async fn reprobe(app: &AppState, tenant: &str, video: VideoId) -> Result<(), Problem> {
    let job = JobId::new(Uuid::now_v7());
    let again =
        app.db.transact(CALL_TRIES_MAX, async |tx| probes::reprobe(tx, tenant, video, job).await);
    match again.await? {
        ReprobeResult::Queued => {}
        ReprobeResult::NotAllowed(why) => return Err(Problem::new(Code::Conflict, why)),
        ReprobeResult::UnknownVideo => return Err(Problem::not_found("video")),
    }
    app.bus.notify_tasks_ready(1);
    app.video_changed_for(video).await;
    Ok(())
}
