//! Init and media segments: byte ranges of store objects, conditional and partial (RFC 9110).

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
    access::Viewer,
    catalog::Film,
    object::{self, Wanted},
};
use crate::{
    app::App,
    conditions::{self, Verdict},
    reply::{self, Reply, Text, body::Body},
};

/// A representation with what it is addressed and validated by.
struct Segment<'a> {
    etag: String,
    content_type: &'static str,
    bytes: u64,
    source: Source<'a>,
}

enum Source<'a> {
    Memory(&'a [u8]),
    Object { key: &'a str, offset: u64 },
}

/// Answers a GET or HEAD for a segment; `None` when there is none of that name (yet).
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
    match conditions::evaluate(request, &segment.etag) {
        Verdict::Failed => return Ok(Some(reply::precondition_failed())),
        Verdict::NotModified => {
            let reply = reply::status(StatusCode::NOT_MODIFIED);
            return Ok(Some(validated(reply, &segment, viewer)));
        }
        Verdict::Proceed => {}
    }
    let part = match wanted(method, request, &segment) {
        RangeOutcome::Unsatisfiable => return Ok(Some(unsatisfiable(segment.bytes))),
        RangeOutcome::Whole => None,
        RangeOutcome::Part(part) => Some(part),
    };
    let within = part.map_or(0..segment.bytes, |part| part.start..part.end_inclusive + 1);
    let Some(body) = open(app, index.video, &segment, within).await? else {
        return Ok(None);
    };
    let mut reply = validated(http::Response::new(body), &segment, viewer);
    reply::set(&mut reply, header::CONTENT_TYPE, segment.content_type);
    if let Some(part) = part {
        *reply.status_mut() = StatusCode::PARTIAL_CONTENT;
        reply::set(&mut reply, header::CONTENT_RANGE, &part.content_range(segment.bytes));
    }
    Ok(Some(reply))
}

fn describe<'a>(film: &'a Film, rendition: &str, found: Located<'a>) -> Segment<'a> {
    match found {
        Located::Inline(init) => {
            let content_type = film.index.track(rendition).map_or("video/mp4", |(_, kind)| kind);
            let etag = Text::new(Bytes::copy_from_slice(init)).etag();
            Segment { etag, content_type, bytes: init.len() as u64, source: Source::Memory(init) }
        }
        Located::Object { key, offset, bytes, etag, content_type } => {
            Segment { etag, content_type, bytes, source: Source::Object { key, offset } }
        }
    }
}

fn wanted(method: &Method, request: &HeaderMap, segment: &Segment<'_>) -> RangeOutcome {
    // Ranges are defined for GET alone (RFC 9110, 14.2).
    let ranges = request.get_all(header::RANGE);
    let mut ranges = ranges.iter();
    match (ranges.next(), ranges.next()) {
        (Some(range), None)
            if method == Method::GET && conditions::range_counts(request, &segment.etag) =>
        {
            range.to_str().map_or(RangeOutcome::Whole, |text| range::parse(text, segment.bytes))
        }
        _ => RangeOutcome::Whole,
    }
}

/// What goes with 200, 206 and 304 alike.
fn validated(mut reply: Reply, segment: &Segment<'_>, viewer: &Viewer) -> Reply {
    let cache = if viewer.private {
        "private, max-age=31536000, immutable"
    } else {
        "public, max-age=31536000, immutable"
    };
    reply::set(&mut reply, header::ETAG, &segment.etag);
    reply::set(&mut reply, header::CACHE_CONTROL, cache);
    reply::set(&mut reply, header::ACCEPT_RANGES, "bytes");
    reply
}

fn unsatisfiable(bytes: u64) -> Reply {
    let text = format!("the range lies outside the {bytes} bytes of this segment");
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
