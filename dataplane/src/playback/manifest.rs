//! Serves playlists and MPDs, written from the index on request.

use std::sync::Arc;

use api::code::{Code, Problem};
use http::{HeaderMap, request::Parts};
use media::{
    CaptionId,
    index::Index,
    manifest::{
        self, Links, captions, dash,
        hls::{self, Playlist},
        images,
    },
};
use runtime::{Clock, SystemClock};

use super::{Playback, access::Viewer, index_cache::PlayableVideo};
use crate::{
    http::{
        cache::CachePolicy,
        reply::{self, Document, Reply, Text},
    },
    route::MediaFile,
    shared::Lookup,
};

const HLS_TYPE: &str = "application/vnd.apple.mpegurl";
const DASH_TYPE: &str = "application/dash+xml";
/// How long caches keep a final manifest; after a re-transcode the old version may be
/// requested for this long.
const FINAL: CachePolicy = CachePolicy::Seconds(60);
/// How long caches keep a growing manifest: less than half of the shortest segment.
const GROWING: CachePolicy = CachePolicy::Seconds(1);

/// Serves the multivariant playlist.
pub(crate) async fn multivariant(
    playback: &Playback,
    playable: &PlayableVideo,
    viewer: &Viewer,
    request: &HeaderMap,
) -> Result<Reply, Problem> {
    let index = &playable.index;
    if !index.hls {
        return Err(disabled("HLS"));
    }
    if !manifest::hls_playable(index) {
        return Err(not_ready());
    }
    let text = write(playback, playable, viewer, "multivariant", hls::multivariant).await;
    let text = text.ok_or_else(not_ready)?;
    Ok(respond(viewer, request, HLS_TYPE, index.finished_at_ms.is_some(), text))
}

/// Serves the MPD, to a new session or to one that reloads it.
pub(crate) async fn mpd(
    playback: &Playback,
    playable: &PlayableVideo,
    viewer: &Viewer,
    request: &Parts,
) -> Result<Reply, Problem> {
    let index = &playable.index;
    if !index.dash {
        return Err(disabled("DASH"));
    }
    if !manifest::dash_playable(index) {
        return Err(not_ready());
    }
    let now = SystemClock.now_ms();
    let query = request.uri.query().unwrap_or_default().as_bytes();
    let reload = url::form_urlencoded::parse(query)
        .any(|(name, value)| name == dash::RELOAD && value == "1");
    let lingering = |end| reload && now < end + dash::LINGER_MS;
    let fixed = index.finished_at_ms.is_some_and(|end| !lingering(end));
    let text = if fixed && !reload {
        write(playback, playable, viewer, "mpd", |index, links| dash::mpd(index, now, links)).await
    } else {
        // A dynamic MPD depends on the current time; the static one that ends a session is rare.
        let mpd = if reload { dash::reloaded_mpd } else { dash::mpd };
        mpd(index, now, &links(playback, viewer)).map(|text| Arc::new(Text::new(text)))
    };
    Ok(respond(viewer, &request.headers, DASH_TYPE, fixed, text.ok_or_else(not_ready)?))
}

/// Serves a media playlist of one rendition; `None` when the video has none of that kind (yet).
pub(crate) async fn media_playlist(
    playback: &Playback,
    playable: &PlayableVideo,
    viewer: &Viewer,
    rendition: &str,
    file: MediaFile,
    request: &HeaderMap,
) -> Result<Option<Reply>, Problem> {
    if !playable.index.hls {
        return Err(disabled("HLS"));
    }
    let text = match file {
        MediaFile::Segment(_) | MediaFile::Sheet(_) | MediaFile::Sheets => None,
        MediaFile::IFrames => {
            let name = format!("iframes/{rendition}");
            let writer = |index: &Index, links: &Links<'_>| hls::iframes(index, rendition, links);
            write(playback, playable, viewer, &name, writer).await
        }
        MediaFile::Event | MediaFile::Vod => {
            let (kind, name) = match file {
                MediaFile::Event => (Playlist::Event, "event"),
                _ => (Playlist::Vod, "vod"),
            };
            let name = format!("{name}/{rendition}");
            let writer =
                |index: &Index, links: &Links<'_>| hls::media(index, rendition, kind, links);
            write(playback, playable, viewer, &name, writer).await
        }
    };
    let last = playable.index.finished_at_ms.is_some();
    Ok(text.map(|text| respond(viewer, request, HLS_TYPE, last, text)))
}

/// Serves the playlist of the storyboard's sheets; `None` when the video has none (yet).
pub(crate) async fn sheets(
    playback: &Playback,
    playable: &PlayableVideo,
    viewer: &Viewer,
    request: &HeaderMap,
) -> Result<Option<Reply>, Problem> {
    if !playable.index.hls {
        return Err(disabled("HLS"));
    }
    let text = write(playback, playable, viewer, "images", images::playlist).await;
    Ok(text.map(|text| respond(viewer, request, HLS_TYPE, true, text)))
}

/// Serves the media playlist of a text track; `None` when the video has none of that kind (yet).
pub(crate) async fn text_playlist(
    playback: &Playback,
    playable: &PlayableVideo,
    viewer: &Viewer,
    id: CaptionId,
    playlist: Playlist,
    request: &Parts,
) -> Result<Option<Reply>, Problem> {
    if !playable.index.hls {
        return Err(disabled("HLS"));
    }
    let name = match playlist {
        Playlist::Event => format!("event/text-{id}"),
        Playlist::Vod => format!("vod/text-{id}"),
    };
    let writer = |index: &Index, links: &Links<'_>| captions::playlist(index, id, playlist, links);
    let text = write(playback, playable, viewer, &name, writer).await;
    let last = playable.index.finished_at_ms.is_some();
    let manifests = &playback.metrics.bandwidth.manifest;
    Ok(text.map(|text| {
        let reply = respond(viewer, &request.headers, HLS_TYPE, last, text);
        reply.map(|body| body.counted(manifests.clone()))
    }))
}

/// Writes a manifest. If it depends on the index alone, a manifest that this or another data plane
/// wrote earlier is reused.
async fn write(
    playback: &Playback,
    playable: &PlayableVideo,
    viewer: &Viewer,
    name: &str,
    writer: impl FnOnce(&Index, &Links<'_>) -> Option<String>,
) -> Option<Arc<Text>> {
    let links = links(playback, viewer);
    if viewer.token.is_some() || viewer.max_height.is_some() {
        return writer(&playable.index, &links).map(|text| Arc::new(Text::new(text)));
    }
    if let Some(text) = playable.manifest(name) {
        return Some(text);
    }
    // A growing manifest would be outdated before others could use it.
    let last = playable.index.finished_at_ms.is_some();
    let base = playback.cdn_base.as_deref().unwrap_or_default();
    // All inputs of the manifest, and the version of the writer.
    let field = format!(
        "{}/{name} {} {} {base}",
        playable.index.version,
        playable.digest,
        runtime::program_version()
    );
    let lookup = match last {
        true => playback.shared.manifest(playable.index.video, field).await,
        false => Lookup::default(),
    };
    if let Some(text) = lookup.found.and_then(|found| String::from_utf8(found.into()).ok()) {
        return Some(playable.cache_manifest(name.to_owned(), Text::new(text)));
    }
    let text = writer(&playable.index, &links)?;
    if let Some(slot) = lookup.slot {
        slot.store(text.as_bytes()).await;
    }
    Some(playable.cache_manifest(name.to_owned(), Text::new(text)))
}

fn links<'a>(playback: &'a Playback, viewer: &'a Viewer) -> Links<'a> {
    Links {
        token: viewer.token.as_deref(),
        base: playback.cdn_base.as_deref(),
        max_height: viewer.max_height,
    }
}

fn respond(
    viewer: &Viewer,
    request: &HeaderMap,
    content_type: &'static str,
    last: bool,
    text: Arc<Text>,
) -> Reply {
    let policy = if last { FINAL } else { GROWING };
    // A token in the text belongs to its bearer, even for a video that does not need one.
    let own = viewer.private || viewer.token.is_some();
    let cache = policy.header(own);
    reply::document(request, &Document { content_type, cache, text })
}

fn disabled(what: &str) -> Problem {
    Problem::new(Code::ManifestDisabled, format!("{what} was switched off for this video"))
}

fn not_ready() -> Problem {
    Problem::new(Code::NotReady, "the video cannot be played yet; try again")
}
