//! `PlaybackService`: the calls of data planes.

use api::{
    code::{Code, Problem},
    v1::{self, playback_service_server::PlaybackService},
    wire,
};
use bytes::Bytes;
use media::index::{Index, VERSION};
use tonic::{Request, Response, Status};

use super::{
    Services, Stream, authorize::Rpc, convert, db_status, revocable_stream::revocable, watch,
};
use crate::{
    background::status,
    db::{CALL_TRIES_MAX, jobs, revocations, videos},
    domain::VideoState,
    publish::{PublishError, index},
};

#[tonic::async_trait]
impl PlaybackService for Services {
    async fn get_index(
        &self,
        request: Request<v1::GetIndexRequest>,
    ) -> Result<Response<v1::GetIndexResponse>, Status> {
        self.0.authorize(Rpc::GetIndex, &request, None)?;
        let id = wire::id("video_id", &request.get_ref().video_id)?;
        let mut tried = 1;
        let index = loop {
            match index::encoded(&self.0.db, &self.0.indexes, id).await {
                Err(PublishError::Db(e)) if e.transient() && tried < CALL_TRIES_MAX => tried += 1,
                other => break other.map_err(Problem::from)?,
            }
        };
        let index = index.ok_or_else(|| {
            Problem::new(Code::NotFound, "the video does not exist or cannot be played yet")
        })?;
        let index = readable(index, request.get_ref().index_version);
        Ok(Response::new(v1::GetIndexResponse { index }))
    }

    async fn get_progress(
        &self,
        request: Request<v1::GetProgressRequest>,
    ) -> Result<Response<v1::GetProgressResponse>, Status> {
        self.0.authorize(Rpc::GetProgress, &request, None)?;
        let id = wire::id("video_id", &request.get_ref().video_id)?;
        let found = self.0.db.run(CALL_TRIES_MAX, async |db| {
            let Some(video) = videos::find(db, id).await? else { return Ok(None) };
            let job = match (video.state, video.job_id) {
                (VideoState::Processing, Some(job)) => jobs::get(db, &video.tenant, job).await?,
                _ => None,
            };
            Ok(Some((video, job)))
        });
        let found = found.await.map_err(db_status)?;
        let (video, job) = found.ok_or_else(|| Problem::not_found("video"))?;
        Ok(Response::new(v1::GetProgressResponse {
            tenant: video.tenant,
            public: video.public,
            state: v1::VideoState::from(video.state).into(),
            duration_seconds: video.source.map(|source| source.duration),
            eta_seconds: job.and_then(|job| convert::job(job, Vec::new()).eta_seconds),
        }))
    }

    async fn describe_video(
        &self,
        request: Request<v1::DescribeVideoRequest>,
    ) -> Result<Response<v1::DescribeVideoResponse>, Status> {
        self.0.authorize(Rpc::DescribeVideo, &request, None)?;
        let id = wire::id("video_id", &request.get_ref().video_id)?;
        let found = self.0.db.run(CALL_TRIES_MAX, async |db| videos::find(db, id).await).await;
        let video = found.map_err(db_status)?.ok_or_else(|| Problem::not_found("video"))?;
        let tenant = video.tenant.clone();
        Ok(Response::new(v1::DescribeVideoResponse { video: Some(video.into()), tenant }))
    }

    type WatchChangesStream = Stream<v1::Change>;

    async fn watch_changes(
        &self,
        request: Request<v1::WatchChangesRequest>,
    ) -> Result<Response<Self::WatchChangesStream>, Status> {
        let principal = self.0.authorize(Rpc::WatchChanges, &request, None)?;
        let changes = watch::changes(self.0.clone());
        Ok(Response::new(revocable(self.0.clone(), principal, changes)))
    }

    async fn get_keys(
        &self,
        request: Request<v1::GetKeysRequest>,
    ) -> Result<Response<v1::GetKeysResponse>, Status> {
        self.0.authorize(Rpc::GetKeys, &request, None)?;
        let revoked = self
            .0
            .db
            .run(CALL_TRIES_MAX, async |db| revocations::list(db, None).await)
            .await
            .map_err(db_status)?;
        let keys = self.0.keys.public().0.into_iter();
        let keys = keys.map(|(id, key)| v1::PublicKey { id, key: key.to_vec().into() }).collect();
        let revoked = revoked.into_iter().map(Into::into).collect();
        Ok(Response::new(v1::GetKeysResponse { keys, revoked }))
    }

    async fn get_status(
        &self,
        request: Request<v1::GetStatusRequest>,
    ) -> Result<Response<v1::GetStatusResponse>, Status> {
        self.0.authorize(Rpc::GetStatus, &request, None)?;
        let dependencies = status::get(&self.0).await;
        Ok(Response::new(v1::GetStatusResponse { dependencies }))
    }

    async fn get_metrics(
        &self,
        request: Request<v1::GetMetricsRequest>,
    ) -> Result<Response<v1::GetMetricsResponse>, Status> {
        self.0.authorize(Rpc::GetMetrics, &request, None)?;
        Ok(Response::new(v1::GetMetricsResponse { text: self.0.telemetry.render() }))
    }
}

/// The encoded index for a data plane that reads index versions up to `version`: the previous
/// release reads the index without the details of its audio.
fn readable(index: Bytes, version: u32) -> Bytes {
    if version >= u32::from(VERSION) {
        return index;
    }
    match Index::decode(&index) {
        Ok(whole) if !whole.audio_details.is_empty() => {
            Bytes::from(Index { audio_details: Vec::new(), ..whole }.encode())
        }
        _ => index,
    }
}
