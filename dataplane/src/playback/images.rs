//! Serves poster, thumbnails, storyboard and preview. Their URLs stay the same while their content
//! changes with the next transcode, so they are cached briefly and revalidated; URLs of storyboard
//! sheets contain the version.

use std::sync::Arc;

use api::code::{Code, Problem};
use http::request::Parts;
use media::{
    manifest::Links,
    pictures::{JPEG_CONTENT_TYPE, Picture, vtt},
    segment::VIDEO_CONTENT_TYPE,
    urls,
};
use serde_json::json;

use super::{
    Playback,
    access::Viewer,
    index_cache::PlayableVideo,
    representation::{self, Representation},
};
use crate::{
    http::{
        cache::CachePolicy,
        reply::{self, Document, Reply, Text},
    },
    route::ImageFile,
};

/// How long caches keep such a URL; after a re-transcode the old image may be served for this long.
const NAMED: CachePolicy = CachePolicy::Seconds(60);

/// Handles a GET or HEAD for an image, the list of thumbnails or the storyboard.
pub(crate) async fn serve(
    playback: &Playback,
    playable: &PlayableVideo,
    viewer: &Viewer,
    file: ImageFile,
    request: &Parts,
) -> Result<Reply, Problem> {
    let pictures = &playable.index.pictures;
    let (picture, content_type) = match file {
        ImageFile::Poster => (pictures.poster.as_ref(), JPEG_CONTENT_TYPE),
        ImageFile::Thumbnail(number) => {
            let thumbnail = pictures.thumbnails.get(number as usize);
            (thumbnail.map(|thumbnail| &thumbnail.picture), JPEG_CONTENT_TYPE)
        }
        ImageFile::Preview => (pictures.preview.as_ref(), VIDEO_CONTENT_TYPE),
        ImageFile::Thumbnails => return thumbnails(playback, playable, viewer, request),
        ImageFile::Storyboard => return storyboard(playback, playable, viewer, request),
    };
    let picture = picture.ok_or_else(not_made)?;
    object(playback, playable, viewer, picture, content_type, NAMED, request).await
}

/// Handles a request for a sheet of the storyboard of exactly this version.
pub(crate) async fn sheet(
    playback: &Playback,
    playable: &PlayableVideo,
    viewer: &Viewer,
    number: u32,
    request: &Parts,
) -> Result<Reply, Problem> {
    let board = playable.index.pictures.storyboard.as_ref();
    let picture = board.and_then(|board| board.sheets.get(number as usize));
    let picture = picture.ok_or_else(not_made)?;
    object(playback, playable, viewer, picture, JPEG_CONTENT_TYPE, CachePolicy::Immutable, request)
        .await
}

async fn object(
    playback: &Playback,
    playable: &PlayableVideo,
    viewer: &Viewer,
    picture: &Picture,
    content_type: &'static str,
    cache: CachePolicy,
    request: &Parts,
) -> Result<Reply, Problem> {
    let (etag, bytes) = (picture.etag(), picture.bytes);
    let image = Representation::object(&picture.key, etag, content_type, bytes, cache);
    let head = (&request.method, &request.headers);
    representation::answer(playback, playable.index.video, viewer, &image, head)
        .await?
        .ok_or_else(not_made)
}

/// Serves the list of thumbnails as JSON.
fn thumbnails(
    playback: &Playback,
    playable: &PlayableVideo,
    viewer: &Viewer,
    request: &Parts,
) -> Result<Reply, Problem> {
    let index = &playable.index;
    let thumbnails = &index.pictures.thumbnails;
    if thumbnails.is_empty() {
        return Err(not_made());
    }
    let links = links(playback, viewer);
    let prefix = links.base.unwrap_or_default();
    let suffix = links.suffix();
    let listed: Vec<_> = (0..)
        .zip(thumbnails)
        .map(|(number, thumbnail): (u32, _)| {
            let path = urls::thumbnail(index.video, number);
            let url = format!("{prefix}{path}{suffix}");
            json!({ "time": thumbnail.seconds(&index.grid), "url": url })
        })
        .collect();
    Ok(text(viewer, request, "application/json", json!(listed).to_string()))
}

fn storyboard(
    playback: &Playback,
    playable: &PlayableVideo,
    viewer: &Viewer,
    request: &Parts,
) -> Result<Reply, Problem> {
    let written =
        vtt::storyboard(&playable.index, &links(playback, viewer)).ok_or_else(not_made)?;
    Ok(text(viewer, request, vtt::CONTENT_TYPE, written))
}

fn text(viewer: &Viewer, request: &Parts, content_type: &'static str, text: String) -> Reply {
    let text = Arc::new(Text::new(text));
    let cache = NAMED.header(viewer.private);
    reply::document(&request.headers, &Document { content_type, cache, text })
}

fn links<'a>(playback: &'a Playback, viewer: &'a Viewer) -> Links<'a> {
    Links { token: viewer.token.as_deref(), base: playback.cdn_base.as_deref(), max_height: None }
}

fn not_made() -> Problem {
    Problem::new(Code::NotFound, "no such image of this video")
}
