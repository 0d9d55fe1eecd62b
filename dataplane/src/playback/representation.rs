//! Serves init and media segments: byte ranges of store objects, with conditional and partial requests
//! (RFC 9110).

use std::{borrow::Cow, ops::Range};

use api::code::{Code, Problem};
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, header};
use media::{
    VideoId,
    range::{self, RangeOutcome},
    segment::{self, Located, SegmentName},
};

use super::{
    access::Viewer,
    index_cache::Film,
    object::{self, Wanted},
};
use crate::{
    app::App,
    http::{
        conditions::{self, Verdict},
        reply::{self, Reply, Text, body::Body},
    },
};

/// A representation with its location and its validators.
pub(super) struct Segment<'a> {
    etag: String,
    content_type: &'static str,
    bytes: u64,
    source: Source<'a>,
    lasting: Lasting,
}

impl<'a> Segment<'a> {
    /// A representation that consists of a whole object.
    pub(super) fn object(
        key: &'a str,
        etag: String,
        content_type: &'static str,
        bytes: u64,
        lasting: Lasting,
    ) -> Self {
        Self { etag, content_type, bytes, source: Source::Object { key, offset: 0 }, lasting }
    }
}

/// How long caches may keep a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lasting {
    /// The content of the URL never changes.
    Forever,
    /// Revalidated after this many seconds.
    Seconds(u32),
}

impl Lasting {
    /// The `Cache-Control` value for this viewer.
    pub(super) fn cache_control(self, viewer: &Viewer) -> Cow<'static, str> {
        match (self, viewer.private) {
            (Self::Forever, false) => Cow::Borrowed("public, max-age=31536000, immutable"),
            (Self::Forever, true) => Cow::Borrowed("private, max-age=31536000, immutable"),
            (Self::Seconds(seconds), false) => Cow::Owned(format!("public, max-age={seconds}")),
            (Self::Seconds(seconds), true) => Cow::Owned(format!("private, max-age={seconds}")),
        }
    }
}

enum Source<'a> {
    Memory(&'a [u8]),
    Object { key: &'a str, offset: u64 },
}

/// Handles a GET or HEAD for a segment; `None` when it does not exist (yet).
pub(crate) async fn serve(
    app: &App,
    film: &Film,
    viewer: &Viewer,
    rendition: &str,
    name: SegmentName,
    (method, request): (&Method, &HeaderMap),
) -> Result<Option<Reply>, Problem> {
    let index = &film.index;
    let Some(found) = segment::locate(index, rendition, name) else { return Ok(None) };
    let segment = describe(film, rendition, found);
    answer(app, index.video, viewer, &segment, (method, request)).await
}

/// Handles a GET or HEAD for a representation; `None` when its object is missing.
pub(super) async fn answer(
    app: &App,
    video: VideoId,
    viewer: &Viewer,
    segment: &Segment<'_>,
    (method, request): (&Method, &HeaderMap),
) -> Result<Option<Reply>, Problem> {
    match conditions::evaluate(request, &segment.etag) {
        Verdict::Failed => return Ok(Some(reply::precondition_failed())),
        Verdict::NotModified => {
            let reply = reply::status(StatusCode::NOT_MODIFIED);
            return Ok(Some(validated(reply, segment, viewer)));
        }
        Verdict::Proceed => {}
    }
    let part = match wanted_range(method, request, &segment.etag, segment.bytes) {
        RangeOutcome::Unsatisfiable => return Ok(Some(unsatisfiable(segment.bytes))),
        RangeOutcome::Whole => None,
        RangeOutcome::Part(part) => Some(part),
    };
    let within = part.map_or(0..segment.bytes, |part| part.start..part.end_inclusive + 1);
    let Some(body) = open(app, video, segment, within).await? else {
        return Ok(None);
    };
    let mut reply = validated(http::Response::new(body), segment, viewer);
    reply::set(&mut reply, header::CONTENT_TYPE, segment.content_type);
    if let Some(part) = part {
        *reply.status_mut() = StatusCode::PARTIAL_CONTENT;
        reply::set(&mut reply, header::CONTENT_RANGE, &part.content_range(segment.bytes));
    }
    Ok(Some(reply))
}

fn describe<'a>(film: &'a Film, rendition: &str, found: Located<'a>) -> Segment<'a> {
    let lasting = Lasting::Forever;
    match found {
        Located::Inline(init) => {
            let content_type = film.index.track(rendition).map_or("video/mp4", |(_, kind)| kind);
            let etag = Text::new(Bytes::copy_from_slice(init)).etag();
            Segment {
                etag,
                content_type,
                bytes: init.len() as u64,
                source: Source::Memory(init),
                lasting,
            }
        }
        Located::Object { key, offset, bytes, etag, content_type } => {
            Segment { etag, content_type, bytes, source: Source::Object { key, offset }, lasting }
        }
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
fn validated(mut reply: Reply, segment: &Segment<'_>, viewer: &Viewer) -> Reply {
    reply::set(&mut reply, header::ETAG, &segment.etag);
    reply::set(&mut reply, header::CACHE_CONTROL, &segment.lasting.cache_control(viewer));
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

/// Opens the bytes `within` the segment; `None` when the object is missing or too short.
async fn open(
    app: &App,
    video: VideoId,
    segment: &Segment<'_>,
    within: Range<u64>,
) -> Result<Option<Body>, Problem> {
    let counter = app.metrics.bandwidth.segment.clone();
    let (key, offset) = match segment.source {
        Source::Memory(init) => {
            let part = &init[within.start as usize..within.end as usize];
            return Ok(Some(Body::full(Bytes::copy_from_slice(part)).counted(counter)));
        }
        Source::Object { key, offset } => (key, offset),
    };
    let unit = offset..offset + segment.bytes;
    let range = offset + within.start..offset + within.end;
    let body = object::open(app, video, &Wanted { key, unit, range }).await?;
    Ok(body.map(|body| body.counted(counter)))
}
