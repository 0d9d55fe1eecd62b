//! Serves everything below `/api/stream`: route, token, index, bytes. With warm caches it makes no
//! calls.

pub(crate) mod access;
pub(crate) mod captions;
pub(crate) mod download;
pub(crate) mod events;
pub(crate) mod exchange;
mod images;
pub(crate) mod index_cache;
mod manifest;
pub(crate) mod object;
mod representation;
pub(crate) mod segment_cache;

use std::{net::IpAddr, sync::Arc};

use api::code::{Code, Problem};
use authz::Verifier;
use http::{HeaderName, HeaderValue, header, request::Parts};
use media::{JobId, VideoId, manifest::visible};
use runtime::Shutdown;
use store::Stores;

use self::{
    access::{Credentials, Viewer},
    captions::TextTracks,
    download::Downloads,
    events::PlaybackEvents,
    exchange::TokenExchange,
    index_cache::{IndexCache, PlayableVideo},
    segment_cache::SegmentCache,
};
use crate::{
    control::Control,
    http::reply::{self, Reply},
    metrics::Metrics,
    route::{MediaFile, Route},
    shared::Shared,
};

/// Tags for purging a CDN; the same as in purge requests.
const SURROGATE_KEY: HeaderName = HeaderName::from_static("surrogate-key");

/// The parts that the handlers of stream routes share.
pub(crate) struct Playback {
    pub(crate) stores: Stores,
    pub(crate) control: Arc<Control>,
    pub(crate) verifier: Arc<Verifier>,
    /// Biscuits that JWTs were exchanged for.
    pub(crate) exchange: Arc<TokenExchange>,
    pub(crate) index_cache: Arc<IndexCache>,
    pub(crate) segment_cache: Arc<SegmentCache>,
    pub(crate) downloads: Downloads,
    /// Streams of how far videos are.
    pub(crate) events: PlaybackEvents,
    /// Text tracks from which segments were cut recently.
    pub(crate) tracks: TextTracks,
    /// Manifests that all data planes share.
    pub(crate) shared: Arc<Shared>,
    pub(crate) metrics: Metrics,
    pub(crate) shutdown: Shutdown,
    /// The base of all URLs in manifests.
    pub(crate) cdn_base: Option<String>,
}

/// Handles a GET or HEAD of a stream route.
pub(crate) async fn serve(
    playback: &Arc<Playback>,
    route: &Route,
    request: &Parts,
    address: IpAddr,
) -> Result<Reply, Problem> {
    let Some(video) = route.stream() else { return Err(access::unknown()) };
    if let Route::PlaybackEvents(_) = route {
        return events::serve(playback, video, request, address).await;
    }
    let Some(playable) = playback.index_cache.current(video).await? else {
        return Err(access::unknown());
    };
    let credentials =
        Credentials::read(&playback.control, &request.headers, request.uri.query(), address);
    let viewer = access::authorize(playback, &(&playable.index).into(), &credentials).await?;
    let manifests = playback.metrics.bandwidth.manifest.clone();
    let mut reply = match route {
        Route::HlsPlaylist(_) => {
            manifest::multivariant(playback, &playable, &viewer, &request.headers)
                .await?
                .map(|body| body.counted(manifests))
        }
        Route::DashManifest(_) => manifest::mpd(playback, &playable, &viewer, request)
            .await?
            .map(|body| body.counted(manifests)),
        Route::Image { file, .. } => {
            images::serve(playback, &playable, &viewer, *file, request).await?
        }
        Route::Download { rung, .. } => {
            download::serve(playback, &playable, &viewer, rung, request).await?
        }
        Route::Media { version, file: MediaFile::Sheet(number), .. } => {
            let old = versioned(playback, video, *version, &playable).await?;
            let playable = old.as_deref().unwrap_or(&playable);
            images::sheet(playback, playable, &viewer, *number, request).await?
        }
        Route::Media { version, file: MediaFile::Sheets, .. } => {
            let old = versioned(playback, video, *version, &playable).await?;
            let playable = old.as_deref().unwrap_or(&playable);
            manifest::sheets(playback, playable, &viewer, &request.headers)
                .await?
                .ok_or_else(missing)?
                .map(|body| body.counted(manifests))
        }
        Route::CaptionFile { caption, .. } => {
            captions::whole(playback, &playable, &viewer, *caption, request).await?
        }
        Route::Text { version, caption, file, .. } => {
            let old = versioned(playback, video, *version, &playable).await?;
            let versions = (&*playable, old.as_deref());
            captions::part(playback, versions, &viewer, (*caption, *file), request).await?
        }
        Route::Media { version, rendition, file, .. } => {
            let old = versioned(playback, video, *version, &playable).await?;
            let playable = old.as_deref().unwrap_or(&playable);
            rendition_file(playback, playable, &viewer, rendition, *file, request).await?
        }
        _ => return Err(access::unknown()),
    };
    finish(&mut reply, video, &viewer);
    Ok(reply)
}

/// The version that an older URL refers to; `None` when it refers to the current one.
async fn versioned(
    playback: &Playback,
    video: VideoId,
    version: JobId,
    present: &PlayableVideo,
) -> Result<Option<Arc<PlayableVideo>>, Problem> {
    if present.index.version == version {
        return Ok(None);
    }
    match playback.index_cache.version(video, version).await? {
        Some(playable) => Ok(Some(playable)),
        None => Err(missing()),
    }
}

async fn rendition_file(
    playback: &Playback,
    playable: &PlayableVideo,
    viewer: &Viewer,
    rendition: &str,
    file: MediaFile,
    request: &Parts,
) -> Result<Reply, Problem> {
    if playable.index.track(rendition).is_none() {
        return Err(missing());
    }
    if !visible(&playable.index, rendition, viewer.max_height) {
        return Err(Problem::new(
            Code::PermissionDenied,
            "the token does not allow this rendition",
        ));
    }
    let headers = &request.headers;
    let reply = match file {
        MediaFile::Segment(name) => {
            let method_and_headers = (&request.method, headers);
            representation::serve(playback, playable, viewer, rendition, name, method_and_headers)
                .await?
        }
        _ => manifest::media_playlist(playback, playable, viewer, rendition, file, headers)
            .await?
            .map(|reply| reply.map(|b| b.counted(playback.metrics.bandwidth.manifest.clone()))),
    };
    reply.ok_or_else(missing)
}

fn finish(reply: &mut Reply, video: VideoId, viewer: &Viewer) {
    reply::set(reply, SURROGATE_KEY, &format!("video-{video}"));
    if viewer.private {
        let authorization = HeaderValue::from_static("Authorization");
        reply.headers_mut().append(header::VARY, authorization);
    }
}

fn missing() -> Problem {
    Problem::new(Code::NotFound, "no such file of this video")
}
