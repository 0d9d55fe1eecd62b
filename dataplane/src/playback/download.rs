//! Serves a finished rendition as one file: laid out once from the sample tables, cached while it is
//! requested, and served from ranges of the stored fragments. Nothing is stored twice.

use std::{ops::Range, sync::Arc, time::Duration};

use api::code::{Code, Problem};
use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{HeaderValue, Method, StatusCode, header, request::Parts};
use media::{
    JobId, VideoId,
    download::{self, Download, Rendition, Slice},
    index::{AudioRendition, Index, TableObject, VideoRendition},
    manifest::visible,
    range::RangeOutcome,
    segment::{AUDIO_CONTENT_TYPE, VIDEO_CONTENT_TYPE},
    tables::{self, ChunkTable, TABLE_BYTES_MAX},
};
use object_store::{ObjectStore, ObjectStoreExt, path::Path};
use quick_cache::sync::Cache;
use runtime::{CpuPool, CpuPoolError, Weigh};
use store::Store;
use tokio_util::task::AbortOnDropHandle;

use super::{Playback, access::Viewer, index_cache::PlayableVideo, representation};
use crate::http::{
    cache::CachePolicy,
    conditions::{self, Precondition},
    disposition::disposition,
    reply::{self, Body, Reply},
};

/// Memory for layouts; an hour of video takes about 2 MiB.
const CACHE_BYTES_MAX: u64 = 128 << 20;
const CACHE_ITEMS: usize = 256;
/// Downloads that are laid out at a time.
const LAYOUTS_MAX: usize = 2;
/// How long a request waits for its turn.
const WAIT_MAX: Duration = Duration::from_secs(20);
/// How long laying out one may take; a day of video takes about a second.
const LAYOUT_MAX: Duration = Duration::from_secs(10);
/// Size of one read from the store; at most two are in memory per client.
const READ_BYTES_MAX: u64 = 1 << 20;
/// Number of reads ahead of the client.
const READS_AHEAD: usize = 2;
/// How long caches keep the URL; after a re-transcode the old version may be served for this long.
const NAMED: CachePolicy = CachePolicy::Seconds(60);

type Key = (VideoId, JobId, String);

fn weight(_key: &Key, download: &Arc<Download>) -> u64 {
    download.weight().max(1)
}

/// The cache of layouts.
pub(crate) struct Downloads {
    cache: Cache<Key, Arc<Download>, Weigh<Key, Arc<Download>>>,
    layouts: CpuPool,
}

impl Downloads {
    /// Creates an empty cache.
    pub(crate) fn new() -> Self {
        let cache = Cache::with_weighter(CACHE_ITEMS, CACHE_BYTES_MAX, Weigh(weight));
        Self { cache, layouts: CpuPool::new(LAYOUTS_MAX, WAIT_MAX, LAYOUT_MAX) }
    }
}

/// Handles a GET or HEAD for a rendition as a file.
pub(crate) async fn serve(
    playback: &Playback,
    playable: &PlayableVideo,
    viewer: &Viewer,
    rung: &str,
    request: &Parts,
) -> Result<Reply, Problem> {
    let index = &playable.index;
    let offer = Offer::find(index, rung).ok_or_else(not_offered)?;
    if !visible(index, rung, viewer.max_height) {
        let text = "the token does not allow this rendition";
        return Err(Problem::new(Code::PermissionDenied, text));
    }
    let etag = offer.etag(index);
    let cache = NAMED.header(viewer.private);
    match conditions::evaluate(&request.headers, &etag) {
        Precondition::Failed => return Ok(reply::precondition_failed()),
        Precondition::NotModified => {
            return Ok(validated(reply::status(StatusCode::NOT_MODIFIED), &etag, cache));
        }
        Precondition::Proceed => {}
    }
    let layout = layout(playback, index, rung, &offer).await?;
    let size = layout.bytes();
    let part = match representation::wanted_range(&request.method, &request.headers, &etag, size) {
        RangeOutcome::Unsatisfiable => return Ok(representation::unsatisfiable(size)),
        RangeOutcome::Whole => None,
        RangeOutcome::Part(part) => Some(part),
    };
    let within = part.map_or(0..size, |part| part.start..part.end_inclusive + 1);
    let body = match request.method {
        Method::HEAD => Body::stream(stream::empty(), Some(within.end - within.start)),
        _ => body(playback, index.video, &layout, within).await?,
    };
    let mut reply = validated(http::Response::new(body), &etag, cache);
    reply::set(&mut reply, header::CONTENT_TYPE, offer.content_type);
    reply::set(&mut reply, header::CONTENT_DISPOSITION, &disposition(&index.title));
    if let Some(part) = part {
        *reply.status_mut() = StatusCode::PARTIAL_CONTENT;
        reply::set(&mut reply, header::CONTENT_RANGE, &part.content_range(size));
    }
    Ok(reply)
}

fn validated(mut reply: Reply, etag: &str, cache: HeaderValue) -> Reply {
    reply::set(&mut reply, header::ETAG, etag);
    reply.headers_mut().insert(header::CACHE_CONTROL, cache);
    reply::set(&mut reply, header::ACCEPT_RANGES, "bytes");
    reply
}

fn not_offered() -> Problem {
    Problem::new(Code::NotFound, "no such download of this video, or the video is not final yet")
}

/// The inputs of a layout: a video rendition and the default audio, or, in a video without a video
/// track, an audio rendition.
struct Offer<'a> {
    name: &'a str,
    table: &'a TableObject,
    audio: Option<(&'a str, &'a TableObject)>,
    content_type: &'static str,
}

impl<'a> Offer<'a> {
    /// `None` when the video is not finished or has no such rendition.
    fn find(index: &'a Index, rung: &str) -> Option<Self> {
        index.finished_at_ms?;
        if index.video_renditions.is_empty() {
            let AudioRendition { name, track, .. } =
                index.audio_renditions.iter().find(|r| r.name == rung)?;
            let (table, content_type) = (track.table.as_ref()?, AUDIO_CONTENT_TYPE);
            return Some(Self { name, table, audio: None, content_type });
        }
        let VideoRendition { name, track, .. } =
            index.video_renditions.iter().find(|r| r.name == rung)?;
        let audio = match index.audio_renditions.first() {
            Some(audio) => Some((audio.name.as_str(), audio.track.table.as_ref()?)),
            None => None,
        };
        let (table, content_type) = (track.table.as_ref()?, VIDEO_CONTENT_TYPE);
        Some(Self { name, table, audio, content_type })
    }

    fn etag(&self, index: &Index) -> String {
        let audio = self.audio.map(|(_, table)| table.key.as_str());
        download::etag(index, &self.table.key, audio)
    }
}

/// The layout from the cache; concurrent requests share one computation.
async fn layout(
    playback: &Playback,
    index: &Index,
    rung: &str,
    offer: &Offer<'_>,
) -> Result<Arc<Download>, Problem> {
    let key = (index.video, index.version, rung.to_owned());
    let make = async {
        let main = read_tables(playback, index.video, offer.table).await?;
        let audio = match offer.audio {
            Some((_, table)) => Some(read_tables(playback, index.video, table).await?),
            None => None,
        };
        let (index, id) = (index.clone(), index.video);
        let names = (offer.name.to_owned(), offer.audio.map(|(name, _)| name.to_owned()));
        let built = playback.downloads.layouts.run(move |deadline| {
            let main = tables::decode(&main).ok_or(LayoutError::Damaged)?;
            let audio = audio.map(|audio| tables::decode(&audio).ok_or(LayoutError::Damaged));
            let audio = audio.transpose()?;
            // Each step is linear in a table, whose size is bounded.
            if deadline.is_over() {
                return Err(LayoutError::Late);
            }
            let laid_out = lay_out(&index, &names, &main, audio.as_deref());
            laid_out.ok_or(LayoutError::Damaged)
        });
        match built.await {
            Ok(Ok(built)) => Ok(Arc::new(built)),
            Ok(Err(LayoutError::Damaged)) | Err(CpuPoolError::Panicked) => {
                tracing::error!(video.id = %id, rung, "failed to lay out a download");
                Err(damaged())
            }
            Ok(Err(LayoutError::Late)) | Err(CpuPoolError::Busy) => Err(Problem::new(
                Code::Unavailable,
                "this download cannot be prepared now; try again",
            )),
        }
    };
    playback.downloads.cache.get_or_insert_async(&key, make).await
}

/// Why a download is not laid out.
enum LayoutError {
    /// The sample tables cannot be read, or do not fit the index.
    Damaged,
    /// The deadline has passed.
    Late,
}

fn damaged() -> Problem {
    Problem::new(Code::Internal, "the sample tables of this video are damaged")
}

fn lay_out(
    index: &Index,
    (name, audio): &(String, Option<String>),
    tables: &[ChunkTable],
    audio_tables: Option<&[ChunkTable]>,
) -> Option<Download> {
    let (track, _) = index.track(name)?;
    let main = Rendition { track, tables };
    let sound = match (audio, audio_tables) {
        (Some(name), Some(tables)) => Some(Rendition { track: index.track(name)?.0, tables }),
        _ => None,
    };
    match Download::new(index, main, sound) {
        Ok(download) => Some(download),
        Err(error) => {
            tracing::error!(video.id = %index.video, %error, "failed to lay out a download");
            None
        }
    }
}

async fn read_tables(
    playback: &Playback,
    video: VideoId,
    table: &TableObject,
) -> Result<Bytes, Problem> {
    if table.bytes > TABLE_BYTES_MAX {
        return Err(damaged());
    }
    let objects = holder(playback, video, &table.key).await?;
    let bytes = objects.get_range(&Path::from(table.key.as_str()), 0..table.bytes).await;
    bytes.map_err(|error| unreadable(video, &error))
}

/// The store that contains an object of the video.
async fn holder(
    playback: &Playback,
    video: VideoId,
    key: &str,
) -> Result<Arc<dyn ObjectStore>, Problem> {
    let present = async |store: &Store| match store.objects.head(&key.into()).await {
        Ok(_) => Ok(Some(store.objects.clone())),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    };
    let found = playback.stores.find(playback.stores.pick(video), present).await;
    if let Some(objects) = found.map_err(|error| unreadable(video, &error))? {
        return Ok(objects);
    }
    playback.metrics.missing();
    tracing::warn!(video.id = %video, object.key = key, "failed to read a download: an object is missing");
    Err(not_offered())
}

/// One read of the body.
enum Read {
    Here(Bytes),
    Object(Path, Range<u64>),
}

/// The bytes `within` the file, read in pieces; the first piece is read before the reply starts.
async fn body(
    playback: &Playback,
    video: VideoId,
    layout: &Arc<Download>,
    within: Range<u64>,
) -> Result<Body, Problem> {
    let length = within.end - within.start;
    let objects = match first_key(layout, &within) {
        Some(key) => Some(holder(playback, video, &key).await?),
        None => None,
    };
    let tracker = playback.shutdown.tracker.clone();
    let mut reads = stream::iter(reads(layout.clone(), within))
        .map(move |read| {
            let objects = objects.clone();
            let read = async move {
                match (read, objects) {
                    (Read::Here(bytes), _) => Ok(bytes),
                    (Read::Object(path, range), Some(objects)) => {
                        objects.get_range(&path, range).await.map_err(std::io::Error::other)
                    }
                    (Read::Object(..), None) => Err(std::io::Error::other("no store")),
                }
            };
            // Nothing polls a body while its client does not read; a read may hold the store's credentials.
            AbortOnDropHandle::new(tracker.spawn(read))
        })
        .map(|read| async { read.await.unwrap_or_else(|error| Err(std::io::Error::other(error))) })
        .buffered(READS_AHEAD)
        .boxed();
    let first = match reads.next().await {
        Some(Ok(bytes)) => bytes,
        Some(Err(error)) => return Err(unreadable(video, &error)),
        None => Bytes::new(),
    };
    let all = stream::iter([Ok(first)]).chain(reads);
    Ok(Body::stream(all, Some(length)).counted(playback.metrics.bandwidth.segment.clone()))
}

/// The key of the first object in a range.
fn first_key(layout: &Download, within: &Range<u64>) -> Option<String> {
    layout.slices(within.clone()).find_map(|slice| match slice {
        Slice::Object { key, .. } => Some(key.to_owned()),
        Slice::Header(_) => None,
    })
}

/// All reads of a range, created on demand because a video has many.
fn reads(layout: Arc<Download>, within: Range<u64>) -> impl Iterator<Item = Read> + Send {
    let mut at = within.start;
    std::iter::from_fn(move || {
        if at >= within.end {
            return None;
        }
        let end = within.end.min(at + READ_BYTES_MAX);
        let read = match layout.slices(at..end).next()? {
            Slice::Header(bytes) => {
                at += bytes.len() as u64;
                Read::Here(Bytes::copy_from_slice(bytes))
            }
            Slice::Object { key, range } => {
                at += range.end - range.start;
                Read::Object(Path::from(key), range)
            }
        };
        Some(read)
    })
}

fn unreadable(video: VideoId, error: &dyn std::fmt::Display) -> Problem {
    tracing::warn!(video.id = %video, %error, "failed to read a download");
    Problem::new(Code::Unavailable, "the store cannot be read now")
}
