//! Serves text tracks: the complete file from the store, and HLS segments that are cut from it on
//! request. Text tracks may change while the video stays, so URLs of an older version also resolve
//! to the current tracks.

use std::{sync::Arc, time::Duration};

use api::code::{Code, Problem};
use http::request::Parts;
use http_body_util::{BodyExt, Collected};
use media::{
    CaptionId,
    captions::{
        CAPTIONS_BYTES_MAX, CaptionError, Captions, ParseBudget, TextTrack, VTT_CONTENT_TYPE,
    },
    manifest::captions as cut,
    pictures::Picture,
};
use quick_cache::sync::Cache;
use runtime::{CpuPool, CpuPoolError, Weigh};

use super::{
    Playback,
    access::Viewer,
    index_cache::PlayableVideo,
    manifest,
    object::{self, Wanted},
    representation::{self, Representation},
};
use crate::{
    http::{
        cache::CachePolicy,
        reply::{self, Document, Reply, Text},
    },
    route::TextFile,
};

/// Memory for parsed text tracks.
const CACHE_BYTES_MAX: u64 = 32 << 20;
const CACHE_ITEMS: usize = 512;
/// TextTracks that are parsed at a time.
const PARSERS_MAX: usize = 2;
/// How long a request waits for its turn.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// How long parsing one track may take; the largest takes a fraction of a second.
const PARSE_MAX: Duration = Duration::from_secs(5);

/// Parsed text tracks in memory, by the keys of their objects.
pub(crate) struct TextTracks {
    cache: Cache<String, Arc<Captions>, Weigh<String, Arc<Captions>>>,
    parsers: CpuPool,
}

impl TextTracks {
    /// Creates an empty cache.
    pub(crate) fn new() -> Self {
        let weigh = Weigh(|key: &String, captions: &Arc<Captions>| {
            key.len() as u64 + captions.weight().max(1)
        });
        let cache = Cache::with_weighter(CACHE_ITEMS, CACHE_BYTES_MAX, weigh);
        Self { cache, parsers: CpuPool::new(PARSERS_MAX, WAIT_MAX, PARSE_MAX) }
    }
}

/// Handles a GET or HEAD for a whole track.
pub(crate) async fn whole(
    playback: &Playback,
    playable: &PlayableVideo,
    viewer: &Viewer,
    id: CaptionId,
    request: &Parts,
) -> Result<Reply, Problem> {
    let track = playable.index.caption(id).ok_or_else(track_not_found)?;
    let Picture { key, bytes, .. } = &track.object;
    let etag = track.object.etag();
    let whole = Representation::object(key, etag, VTT_CONTENT_TYPE, *bytes, CachePolicy::Immutable);
    let head = (&request.method, &request.headers);
    representation::answer(playback, playable.index.video, viewer, &whole, head)
        .await?
        .ok_or_else(track_not_found)
}

/// Handles a request for a playlist or a segment of a track; `old` is the version in the URL if
/// that is not the current `playable`.
pub(crate) async fn part(
    playback: &Playback,
    (playable, old): (&PlayableVideo, Option<&PlayableVideo>),
    viewer: &Viewer,
    (id, file): (CaptionId, TextFile),
    request: &Parts,
) -> Result<Reply, Problem> {
    let of_old = || old.and_then(|old| old.index.caption(id));
    let track = playable.index.caption(id).or_else(of_old).ok_or_else(track_not_found)?;
    let playable = old.unwrap_or(playable);
    let number = match file {
        TextFile::Playlist(playlist) => {
            let written =
                manifest::text_playlist(playback, playable, viewer, id, playlist, request).await?;
            return written.ok_or_else(track_not_found);
        }
        TextFile::Segment(number) => number,
    };
    let (start, end) = cut::segment(&playable.index, number).ok_or_else(track_not_found)?;
    let captions = read(playback, playable, track).await?;
    let headers = request.headers.clone();
    let cut = playback.tracks.parsers.run(move |_| {
        // Linear in the track, whose size is bounded.
        Text::new(captions.segment(start, end)).compressed_for(&headers)
    });
    let text = cut.await.map_err(|error| match error {
        CpuPoolError::Busy => busy(),
        CpuPoolError::Panicked => damaged(playable, &track.object.key),
    })?;
    let text = Arc::new(text);
    let cache = CachePolicy::Immutable.header(viewer.private);
    let document = Document { content_type: VTT_CONTENT_TYPE, cache, text };
    let counter = playback.metrics.bandwidth.segment.clone();
    Ok(reply::document(&request.headers, &document).map(|body| body.counted(counter)))
}

/// The cues of a track, from memory or from the store; read and parsed once for all requests that
/// wait for it.
async fn read(
    playback: &Playback,
    playable: &PlayableVideo,
    track: &TextTrack,
) -> Result<Arc<Captions>, Problem> {
    playback
        .tracks
        .cache
        .get_or_insert_async(&track.object.key, parse(playback, playable, track))
        .await
}

async fn parse(
    playback: &Playback,
    playable: &PlayableVideo,
    track: &TextTrack,
) -> Result<Arc<Captions>, Problem> {
    let Picture { key, bytes, .. } = &track.object;
    if *bytes > CAPTIONS_BYTES_MAX as u64 {
        return Err(damaged(playable, key));
    }
    let wanted = Wanted { key, unit: 0..*bytes, range: 0..*bytes };
    let body =
        object::open(playback, playable.index.video, &wanted).await?.ok_or_else(track_not_found)?;
    let body = body.collect().await.map(Collected::to_bytes).map_err(|error| {
        tracing::warn!(video.id = %playable.index.video, %error, "failed to read a text track");
        Problem::new(Code::Unavailable, "the store cannot be read now")
    })?;
    let parsed = playback.tracks.parsers.run(move |deadline| {
        let is_late = || deadline.is_over();
        Captions::parse_canonical_within(&mut ParseBudget::until(&is_late), &body, None)
    });
    match parsed.await {
        Ok(Ok(captions)) => Ok(Arc::new(captions)),
        Err(CpuPoolError::Busy) | Ok(Err(CaptionError::Late)) => Err(busy()),
        Ok(Err(_)) | Err(CpuPoolError::Panicked) => Err(damaged(playable, key)),
    }
}

fn busy() -> Problem {
    Problem::new(Code::Unavailable, "this text track cannot be parsed now")
}

fn damaged(playable: &PlayableVideo, key: &str) -> Problem {
    tracing::error!(video.id = %playable.index.video, object.key = key, "failed to read a text track");
    Problem::new(Code::Internal, "this text track is damaged")
}

fn track_not_found() -> Problem {
    Problem::new(Code::NotFound, "no such text track of this video")
}
