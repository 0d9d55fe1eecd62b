//! `UploadService`: what data planes call for whoever uploads.

use std::time::Duration;

use api::{
    code::{Code, Problem},
    v1::{self, upload_service_server::UploadService},
    wire,
};
use media::{JobId, VideoId, layout};
use object_store::{ObjectStoreExt, path::Path};
use tokio::time::Instant;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::{
    Services,
    gate::{Rpc, owner},
    input, refuse,
    videos::{bury, video},
};
use crate::{
    bus::{self, Event},
    db::{
        CALL_TRIES_MAX, jobs, retrying, tasks,
        uploads::{self, Received},
        videos::{self, NewVideo, Video},
    },
    deps::Deps,
    domain::VideoState,
    plan,
};

/// Longest wait for a probe.
const WAIT_SECONDS_MAX: u32 = 60;
/// How often a waiting call looks for itself.
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
        let about = reserved.clone().and_then(Result::ok);
        let principal = self.0.enter(Rpc::BeginUpload, &request, about)?;
        let id = match reserved.transpose()? {
            Some(id) => {
                uploading(video(&self.0, &principal.tenant, id).await?)?;
                id
            }
            None => {
                let id = VideoId::new(Uuid::now_v7());
                let new = NewVideo {
                    id,
                    title: String::new(),
                    description: String::new(),
                    public: self.0.policy.public,
                    store: self.0.stores.pick(id).url.clone(),
                };
                let owner = owner(&principal);
                retrying(CALL_TRIES_MAX, || async {
                    videos::create(&*self.0.db.get().await?, &owner, &new).await
                })
                .await
                .map_err(refuse)?;
                id
            }
        };
        let row = video(&self.0, &principal.tenant, id).await?;
        Ok(Response::new(v1::BeginUploadResponse {
            video_id: id.to_string(),
            store: row.store,
            key: layout::source(id),
        }))
    }

    async fn complete_upload(
        &self,
        request: Request<v1::CompleteUploadRequest>,
    ) -> Result<Response<v1::Video>, Status> {
        let id = wire::id("video_id", &request.get_ref().video_id);
        let principal = self.0.enter(Rpc::CompleteUpload, &request, id.clone().ok())?;
        let (id, message) = (id?, request.into_inner());
        let wait = Duration::from_secs(message.wait_seconds.min(WAIT_SECONDS_MAX).into());
        let received = received(&message)?;
        let deadline = Instant::now() + wait;
        let row = video(&self.0, &principal.tenant, id).await?;
        if row.state == VideoState::Uploading {
            stored(&self.0, &row, message.bytes).await?;
            queue_probe(&self.0, &row, &received).await?;
        } else if row.source_sha256.as_deref() != Some(&received.sha256) {
            // The same again is a retry after a lost reply: wait for the same probe.
            return Err(Problem::new(Code::Conflict, "the video has a source already").into());
        }
        let row = probed(&self.0, &principal.tenant, id, deadline).await?;
        judge(&self.0, row).await.map(|row| Response::new(row.into())).map_err(Into::into)
    }

    async fn abort_upload(
        &self,
        request: Request<v1::AbortUploadRequest>,
    ) -> Result<Response<v1::AbortUploadResponse>, Status> {
        let id = wire::id("video_id", &request.get_ref().video_id);
        let principal = self.0.enter(Rpc::AbortUpload, &request, id.clone().ok())?;
        let row = uploading(video(&self.0, &principal.tenant, id?).await?)?;
        bury(&self.0, &row).await?;
        remove_source(&self.0, &row).await;
        Ok(Response::new(v1::AbortUploadResponse {}))
    }
}

fn uploading(row: Video) -> Result<Video, Problem> {
    match row.state {
        VideoState::Uploading => Ok(row),
        _ => Err(Problem::new(Code::Conflict, "the video has a source already")),
    }
}

fn received(message: &v1::CompleteUploadRequest) -> Result<Received, Problem> {
    Ok(Received {
        title: input::title(&message.title)?,
        description: input::description(&message.description)?,
        public: input::visibility(message.visibility)?,
        bytes: i64::try_from(message.bytes).map_err(|_| Problem::field("bytes", "is too large"))?,
        sha256: input::sha256(&message.sha256)?,
        filename: input::filename(&message.filename),
    })
}

/// The source must lie in the store, whole.
async fn stored(deps: &Deps, row: &Video, bytes: u64) -> Result<(), Problem> {
    let unavailable = || Problem::new(Code::Unavailable, "the object store is not reachable");
    let store = deps.stores.get(&row.store).ok_or_else(unavailable)?;
    match store.objects.head(&Path::from(layout::source(row.id))).await {
        Ok(found) if found.size == bytes => Ok(()),
        Ok(found) => {
            Err(Problem::field("bytes", format!("{} bytes are stored, not {bytes}", found.size)))
        }
        Err(object_store::Error::NotFound { .. }) => {
            Err(Problem::new(Code::Conflict, "the source has not been stored"))
        }
        Err(error) => {
            tracing::warn!(%error, "look for a source");
            Err(unavailable())
        }
    }
}

async fn queue_probe(deps: &Deps, row: &Video, received: &Received) -> Result<(), Problem> {
    let job = JobId::new(Uuid::now_v7());
    let queued = retrying(CALL_TRIES_MAX, || async {
        let mut connection = deps.db.get().await?;
        let tx = connection.transaction().await?;
        let queued = uploads::received(&tx, row.id, received).await?;
        if queued {
            jobs::create_probe(&tx, &row.tenant, row.id, job).await?;
            tasks::create(&tx, &row.tenant, row.id, job, &[plan::probe()]).await?;
        }
        tx.commit().await?;
        Ok(queued)
    })
    .await?;
    // Not queued: somebody else completed the same upload in this moment; wait with them.
    if queued {
        deps.bus.wake(1);
        deps.video_changed(row.id);
    }
    Ok(())
}

/// Waits until the probe has ended or `deadline` passed.
async fn probed(
    deps: &Deps,
    tenant: &str,
    id: VideoId,
    deadline: Instant,
) -> Result<Video, Problem> {
    let mut events = deps.bus.listen();
    loop {
        let row = video(deps, tenant, id).await?;
        if row.state != VideoState::Probing || Instant::now() >= deadline {
            return Ok(row);
        }
        let poll = tokio::time::sleep_until(deadline.min(Instant::now() + POLL_EVERY));
        tokio::pin!(poll);
        loop {
            tokio::select! {
                () = &mut poll => break,
                () = deps.shutdown.soft.cancelled() => return Ok(row),
                event = bus::next(&mut events) => {
                    if matches!(event, Event::Everything) || event == Event::Video(id) {
                        break;
                    }
                }
            }
        }
    }
}

/// Why a probe may fail through no fault of the source.
const OUR_FAULTS: [&str; 9] = [
    "lease_expired",
    "worker_lost",
    "disk_full",
    "internal",
    "invalid_lease",
    "sandbox_failed",
    "source_missing",
    "unavailable",
    "unsupported_task",
];

/// What failed because of the source is refused and forgotten; what failed because of us is kept.
async fn judge(deps: &Deps, row: Video) -> Result<Video, Problem> {
    if row.state != VideoState::Failed || row.source.is_some() {
        return Ok(row);
    }
    let Some(failure) = row.failure.clone() else { return Ok(row) };
    if OUR_FAULTS.contains(&failure.code.as_str()) {
        return Ok(row);
    }
    bury(deps, &row).await?;
    remove_source(deps, &row).await;
    let code = match Code::parse(&failure.code) {
        Some(code @ (Code::TruncatedSource | Code::TooLarge)) => code,
        _ => Code::NotAVideo,
    };
    Err(Problem::at(code, "video", failure.message))
}

/// At once, where the sweep would take a while; it comes anyway, so failing here is no error.
async fn remove_source(deps: &Deps, row: &Video) {
    let key = layout::source(row.id);
    if let Err(error) = crate::index::delete(&deps.stores, &row.store, &key).await {
        tracing::debug!(video.id = %row.id, %error, "remove a refused source");
    }
}
