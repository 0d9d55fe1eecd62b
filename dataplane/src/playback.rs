//! Serves everything below `/api/stream`: route, token, index, bytes. With warm caches it makes no calls.

pub(crate) mod access;
pub(crate) mod captions;
pub(crate) mod download;
pub(crate) mod exchange;
mod images;
pub(crate) mod index_cache;
mod manifest;
pub(crate) mod object;
mod representation;
pub(crate) mod segment_cache;

use std::net::IpAddr;

use api::code::{Code, Problem};
use http::{HeaderName, HeaderValue, header, request::Parts};
use media::{JobId, VideoId, manifest::visible};

use self::{
    access::{Credentials, Viewer},
    index_cache::Film,
};
use crate::{
    app::App,
    http::reply::{self, Reply},
    route::{MediaFile, Route},
};

/// Tags for purging a CDN; the same as in purge requests.
const SURROGATE_KEY: HeaderName = HeaderName::from_static("surrogate-key");

/// Handles a GET or HEAD of a stream route.
pub(crate) async fn serve(
    app: &App,
    route: &Route,
    request: &Parts,
    address: IpAddr,
) -> Result<Reply, Problem> {
    let Some(video) = route.stream() else { return Err(access::unknown()) };
    let Some(film) = app.catalog.film(app, video).await? else { return Err(access::unknown()) };
    let credentials = Credentials::read(app, &request.headers, request.uri.query(), address);
    let viewer = access::admit(app, &film.index, &credentials).await?;
    let manifests = app.metrics.bandwidth.manifest.clone();
    let mut reply = match route {
        Route::HlsPlaylist(_) => manifest::multivariant(app, &film, &viewer, &request.headers)
            .await?
            .map(|body| body.counted(manifests)),
        Route::DashManifest(_) => manifest::mpd(app, &film, &viewer, &request.headers)
            .await?
            .map(|body| body.counted(manifests)),
        Route::Picture { file, .. } => images::serve(app, &film, &viewer, *file, request).await?,
        Route::Download { rung, .. } => download::serve(app, &film, &viewer, rung, request).await?,
        Route::Media { version, file: MediaFile::Sheet(number), .. } => {
            let old = versioned(app, video, *version, &film).await?;
            let film = old.as_deref().unwrap_or(&film);
            images::sheet(app, film, &viewer, *number, request).await?
        }
        Route::CaptionFile { caption, .. } => {
            captions::whole(app, &film, &viewer, *caption, request).await?
        }
        Route::Text { version, caption, file, .. } => {
            let old = versioned(app, video, *version, &film).await?;
            let films = (&*film, old.as_deref());
            captions::part(app, films, &viewer, (*caption, *file), request).await?
        }
        Route::Media { version, rendition, file, .. } => {
            let old = versioned(app, video, *version, &film).await?;
            let film = old.as_deref().unwrap_or(&film);
            rendition_file(app, film, &viewer, rendition, *file, request).await?
        }
        _ => return Err(access::unknown()),
    };
    finish(&mut reply, video, &viewer);
    Ok(reply)
}

/// The version that an older URL refers to; `None` when it refers to the current one.
async fn versioned(
    app: &App,
    video: VideoId,
    version: JobId,
    present: &Film,
) -> Result<Option<std::sync::Arc<Film>>, Problem> {
    if present.index.version == version {
        return Ok(None);
    }
    match app.catalog.version(app, video, version).await? {
        Some(film) => Ok(Some(film)),
        None => Err(missing()),
    }
}

async fn rendition_file(
    app: &App,
    film: &Film,
    viewer: &Viewer,
    rendition: &str,
    file: MediaFile,
    request: &Parts,
) -> Result<Reply, Problem> {
    if film.index.track(rendition).is_none() {
        return Err(missing());
    }
    if !visible(&film.index, rendition, viewer.max_height) {
        return Err(Problem::new(
            Code::PermissionDenied,
            "the token does not allow this rendition",
        ));
    }
    let headers = &request.headers;
    let reply = match file {
        MediaFile::Segment(name) => {
            let method_and_headers = (&request.method, headers);
            representation::serve(app, film, viewer, rendition, name, method_and_headers).await?
        }
        _ => manifest::media_playlist(app, film, viewer, rendition, file, headers)
            .await?
            .map(|reply| reply.map(|b| b.counted(app.metrics.bandwidth.manifest.clone()))),
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
