//! Parts of store objects as reply bodies: a local file is read directly, an object in S3 through
//! the cache.

use std::{io, ops::Range, sync::Arc};

use api::code::{Code, Problem};
use bytes::Bytes;
use futures::TryStreamExt;
use media::VideoId;
use store::{Part, ReadError, Store};
use tokio::task::spawn_blocking;

use super::{Playback, segment_cache::SegmentCache};
use crate::http::reply::body::{Body, read_exactly};

/// Parts up to this size are read completely instead of streamed.
const WHOLE_BYTES_MAX: u64 = 256 << 10;

/// The bytes to read.
#[derive(Clone, Debug)]
pub(crate) struct Wanted<'a> {
    /// Key of the object.
    pub(crate) key: &'a str,
    /// The range that is cached as a unit, for example a segment.
    pub(crate) unit: Range<u64>,
    /// The part of the object to send; inside `unit`.
    pub(crate) range: Range<u64>,
}

/// Opens a part of a video's object; `None` when the object is missing or too short.
pub(crate) async fn open(
    playback: &Playback,
    video: VideoId,
    wanted: &Wanted<'_>,
) -> Result<Option<Body>, Problem> {
    let unreadable = |error: &ReadError| {
        tracing::warn!(video.id = %video, %error, "failed to read an object");
        Problem::new(Code::Unavailable, "the store cannot be read now")
    };
    // Start with the store in which the video's objects were found last, or else with the one that
    // its id selects.
    let (stores, cache) = (&playback.stores, &playback.segment_cache);
    let last = cache.store_of(video).and_then(|url| stores.get(&url));
    let first = last.unwrap_or_else(|| stores.pick(video));
    let read = async |store: &Store| match part(cache, store, wanted).await {
        Ok(body) => {
            cache.cache_store(video, &store.url);
            Ok(Some(body))
        }
        Err(ReadError::Missing) => Ok(None),
        Err(error) => Err(error),
    };
    if let Some(body) = stores.find(first, read).await.map_err(|error| unreadable(&error))? {
        return Ok(Some(body));
    }
    playback.metrics.missing();
    tracing::warn!(
        video.id = %video, object.key = wanted.key, "failed to read an object: it is missing or short"
    );
    Ok(None)
}

async fn part(
    cache: &Arc<SegmentCache>,
    store: &Store,
    wanted: &Wanted<'_>,
) -> Result<Body, ReadError> {
    let Wanted { key, unit, range } = wanted;
    let bytes = range.end - range.start;
    let within = range.start - unit.start..range.end - unit.start;
    if store.root.is_none()
        && let Some(segment) = cache.get_or_read(store, key, unit.clone())
    {
        if bytes <= WHOLE_BYTES_MAX {
            return Ok(Body::full(segment.whole(within).await?));
        }
        segment.first_piece().await?;
        return Ok(Body::stream(segment.read(within), Some(bytes)));
    }
    let start = range.start;
    // A file that lacks the end of the unit is damaged, regardless of the requested part.
    let needed = if store.root.is_some() { unit.clone() } else { range.clone() };
    match store.open(key, needed).await? {
        Part::File(mut file) if bytes <= WHOLE_BYTES_MAX => {
            let read = spawn_blocking(move || read_exactly(&mut file, Some(start), bytes));
            let read: Bytes = read.await.map_err(io::Error::other)??;
            Ok(Body::full(read))
        }
        Part::File(file) => Ok(Body::file(file, start, bytes)),
        Part::Stream(stream) => Ok(Body::stream(stream.map_err(io::Error::other), Some(bytes))),
    }
}
