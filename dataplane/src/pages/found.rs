//! Finds the video of a page and decides whether the viewer may see it, also before anything of it
//! can be played.

use std::{net::IpAddr, sync::Arc};

use api::{
    code::{Code, Problem},
    v1::{self, playback_service_client::PlaybackServiceClient},
};
use media::VideoId;
use prost::Message;

use crate::{
    control,
    playback::{
        Playback,
        access::{self, Credentials, Protection, Viewer},
        index_cache::PlayableVideo,
    },
};

/// A video that the viewer may see.
pub(super) struct Found {
    /// `None` while nothing can be played.
    pub(super) playable: Option<Arc<PlayableVideo>>,
    /// Its metadata; `None` if control did not answer, which playback does not need.
    pub(super) details: Option<v1::Video>,
    /// Whether it plays without a token.
    pub(super) public: bool,
    /// The rights of the viewer.
    pub(super) viewer: Viewer,
}

/// Finds a video for the viewer with this playback token.
///
/// # Errors
/// 404 for an unknown video, and for a private one without a valid token; 503 if that cannot be
/// decided now.
pub(super) async fn find(
    playback: &Playback,
    video: VideoId,
    token: Option<String>,
    address: IpAddr,
) -> Result<Found, Problem> {
    let credentials = Credentials { token, bearer: None, address, caller: None };
    let hidden = |problem: Problem| match problem.code {
        Code::PermissionDenied | Code::Unauthenticated => access::unknown(),
        _ => problem,
    };
    if let Some(playable) = playback.index_cache.current(video).await? {
        let index = &playable.index;
        let viewer =
            access::authorize(playback, &index.into(), &credentials).await.map_err(hidden)?;
        let details = details(playback, video, &index.tenant).await;
        let public = index.public;
        return Ok(Found { playable: Some(playable), details, public, viewer });
    }
    let description = describe(playback, video).await?;
    let details = description.video.ok_or_else(access::unknown)?;
    let public = details.visibility() == v1::Visibility::Public;
    let protection = Protection { video, tenant: description.tenant.clone(), public };
    let viewer = access::authorize(playback, &protection, &credentials).await.map_err(hidden)?;
    Ok(Found { playable: None, details: Some(details), public, viewer })
}

/// The metadata of a video that can be played, from the replies that data planes share.
async fn details(playback: &Playback, video: VideoId, tenant: &str) -> Option<v1::Video> {
    let lookup = playback.shared.metadata(video, tenant).await;
    if let Some(known) = lookup.found.and_then(|found| v1::Video::decode(found).ok()) {
        return Some(known);
    }
    match describe(playback, video).await {
        Ok(description) => {
            let details = description.video.filter(|_| description.tenant == tenant)?;
            // A video that is not ready still changes by itself.
            if let Some(slot) = lookup.slot.filter(|_| details.state() == v1::VideoState::Ready) {
                slot.store(&details.encode_to_vec()).await;
            }
            Some(details)
        }
        Err(problem) => {
            tracing::debug!(error = %problem.message, video.id = %video, "failed to describe a video");
            None
        }
    }
}

async fn describe(
    playback: &Playback,
    video: VideoId,
) -> Result<v1::DescribeVideoResponse, Problem> {
    let control = &playback.control;
    let reply = control
        .query(control::CALL_TIME_MAX, |channel| {
            let request = control.own(v1::DescribeVideoRequest { video_id: video.to_string() });
            let mut client = PlaybackServiceClient::new(channel);
            async move { client.describe_video(request).await }
        })
        .await;
    reply.map_err(|status| match control::problem_of(&status).code {
        Code::NotFound => access::unknown(),
        _ => Problem::new(Code::Unavailable, "the video cannot be shown now"),
    })
}
