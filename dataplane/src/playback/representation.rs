//! Serves init and media segments: byte ranges of store objects, with conditional and partial
//! requests (RFC 9110).

use std::ops::Range;

use api::code::{Code, Problem};
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, header};
use media::{
    VideoId,
    range::{self, RangeOutcome},
    segment::{self, Located, SegmentName},
};

use super::{
    Playback,
    access::Viewer,
    index_cache::PlayableVideo,
    object::{self, Wanted},
};
use crate::http::{
    cache::CachePolicy,
    conditions::{self, Precondition},
    reply::{self, Reply, Text, body::Body},
};

/// A representation with its location and its validators.
pub(super) struct Representation<'a> {
    etag: String,
    content_type: &'static str,
    bytes: u64,
    location: BodyLocation<'a>,
    cache: CachePolicy,
}

impl<'a> Representation<'a> {
    /// A representation that consists of a whole object.
    pub(super) fn object(
        key: &'a str,
        etag: String,
        content_type: &'static str,
        bytes: u64,
        cache: CachePolicy,
    ) -> Self {
        let location = BodyLocation::Object { head: Bytes::new(), key, offset: 0 };
        Self { etag, content_type, bytes, location, cache }
    }
}

enum BodyLocation<'a> {
    Memory(&'a [u8]),
    /// The bytes of `head`, then those of the object.
    Object {
        head: Bytes,
        key: &'a str,
        offset: u64,
    },
}

/// Handles a GET or HEAD for a segment; `None` when it does not exist (yet).
pub(crate) async fn serve(
    playback: &Playback,
    playable: &PlayableVideo,
    viewer: &Viewer,
    rendition: &str,
    name: SegmentName,
    (method, request): (&Method, &HeaderMap),
) -> Result<Option<Reply>, Problem> {
    let index = &playable.index;
    let Some(found) = segment::locate(index, rendition, name) else { return Ok(None) };
    let segment = describe(playable, rendition, found);
    answer(playback, index.video, viewer, &segment, (method, request)).await
}

/// Handles a GET or HEAD for a representation; `None` when its object is missing.
pub(super) async fn answer(
    playback: &Playback,
    video: VideoId,
    viewer: &Viewer,
    representation: &Representation<'_>,
    (method, request): (&Method, &HeaderMap),
) -> Result<Option<Reply>, Problem> {
    match conditions::evaluate(request, &representation.etag) {
        Precondition::Failed => return Ok(Some(reply::precondition_failed())),
        Precondition::NotModified => {
            let reply = reply::status(StatusCode::NOT_MODIFIED);
            return Ok(Some(validated(reply, representation, viewer)));
        }
        Precondition::Proceed => {}
    }
    let part = match wanted_range(method, request, &representation.etag, representation.bytes) {
        RangeOutcome::Unsatisfiable => return Ok(Some(unsatisfiable(representation.bytes))),
        RangeOutcome::Whole => None,
        RangeOutcome::Part(part) => Some(part),
    };
    let within = part.map_or(0..representation.bytes, |part| part.start..part.end_inclusive + 1);
    let Some(body) = open(playback, video, representation, within).await? else {
        return Ok(None);
    };
    let mut reply = validated(http::Response::new(body), representation, viewer);
    reply::set(&mut reply, header::CONTENT_TYPE, representation.content_type);
    if let Some(part) = part {
        *reply.status_mut() = StatusCode::PARTIAL_CONTENT;
        reply::set(&mut reply, header::CONTENT_RANGE, &part.content_range(representation.bytes));
    }
    Ok(Some(reply))
}

fn describe<'a>(
    playable: &'a PlayableVideo,
    rendition: &str,
    found: Located<'a>,
) -> Representation<'a> {
    let cache = CachePolicy::Immutable;
    match found {
        Located::Inline(init) => {
            let content_type =
                playable.index.track(rendition).map_or("video/mp4", |(_, kind)| kind);
            let etag = Text::new(Bytes::copy_from_slice(init)).etag();
            Representation {
                etag,
                content_type,
                bytes: init.len() as u64,
                location: BodyLocation::Memory(init),
                cache,
            }
        }
        Located::Object { head, key, offset, bytes, etag, content_type } => Representation {
            etag,
            content_type,
            bytes: head.len() as u64 + bytes,
            location: BodyLocation::Object { head: head.into(), key, offset },
            cache,
        },
    }
}

/// The part of a representation that is requested.
pub(super) fn wanted_range(
    method: &Method,
    request: &HeaderMap,
    etag: &str,
    bytes: u64,
) -> RangeOutcome {
    // Ranges are defined for GET only (RFC 9110, 14.2).
    let ranges = request.get_all(header::RANGE);
    let mut ranges = ranges.iter();
    match (ranges.next(), ranges.next()) {
        (Some(range), None) if method == Method::GET && conditions::range_counts(request, etag) => {
            range.to_str().map_or(RangeOutcome::Whole, |text| range::parse(text, bytes))
        }
        _ => RangeOutcome::Whole,
    }
}

/// Adds the headers that 200, 206 and 304 have in common.
fn validated(mut reply: Reply, representation: &Representation<'_>, viewer: &Viewer) -> Reply {
    reply::set(&mut reply, header::ETAG, &representation.etag);
    reply.headers_mut().insert(header::CACHE_CONTROL, representation.cache.header(viewer.private));
    reply::set(&mut reply, header::ACCEPT_RANGES, "bytes");
    reply
}

/// The reply to a range outside the representation.
pub(super) fn unsatisfiable(bytes: u64) -> Reply {
    let text = format!("the range lies outside the {bytes} bytes of this file");
    let mut reply = reply::problem(&Problem::new(Code::RangeNotSatisfiable, text));
    reply::set(&mut reply, header::CONTENT_RANGE, &format!("bytes */{bytes}"));
    reply::set(&mut reply, header::ACCEPT_RANGES, "bytes");
    reply
}

/// Opens the bytes `within` the representation; `None` when the object is missing or too short.
async fn open(
    playback: &Playback,
    video: VideoId,
    representation: &Representation<'_>,
    within: Range<u64>,
) -> Result<Option<Body>, Problem> {
    let counter = playback.metrics.bandwidth.segment.clone();
    let (head, key, offset) = match &representation.location {
        BodyLocation::Memory(init) => {
            let part = &init[within.start as usize..within.end as usize];
            return Ok(Some(Body::full(Bytes::copy_from_slice(part)).counted(counter)));
        }
        BodyLocation::Object { head, key, offset } => (head, *key, *offset),
    };
    let cut = head.len() as u64;
    let unit = offset..offset + representation.bytes - cut;
    let range = offset + within.start.saturating_sub(cut)..offset + within.end.saturating_sub(cut);
    let of_head = head.slice(within.start.min(cut) as usize..within.end.min(cut) as usize);
    if range.is_empty() {
        return Ok(Some(Body::full(of_head).counted(counter)));
    }
    let body = object::open(playback, video, &Wanted { key, unit, range }).await?;
    let preceded = |body: Body| if of_head.is_empty() { body } else { body.preceded_by(of_head) };
    Ok(body.map(|body| preceded(body).counted(counter)))
}
