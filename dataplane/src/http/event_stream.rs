//! Server-sent events (HTML Living Standard, section 9.2).

use std::{fmt, io, time::Duration};

use bytes::Bytes;
use futures::Stream;
use http::{HeaderName, Response, header};

use super::{
    cache::CachePolicy,
    reply::{self, Body, Reply},
};

/// Longest interval without data, so that proxies do not close the connection as idle.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(15);
/// A comment, which clients ignore; sent after [`SILENCE_MAX`] without an event.
pub(crate) const KEEP_ALIVE: &str = ": still here\n\n";

/// A reply that sends events until the stream ends.
pub(crate) fn reply(events: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> Reply {
    let mut reply = Response::new(Body::stream(events, None));
    reply::set(&mut reply, header::CONTENT_TYPE, "text/event-stream");
    reply.headers_mut().insert(header::CACHE_CONTROL, CachePolicy::NoStore.header(true));
    // nginx would collect events until its buffer is full.
    reply::set(&mut reply, HeaderName::from_static("x-accel-buffering"), "no");
    reply
}

/// An event. `id` and `data` must not contain line breaks.
pub(crate) fn event(id: &str, name: &str, data: impl fmt::Display) -> String {
    format!("id: {id}\nevent: {name}\ndata: {data}\n\n")
}

/// The id from which the stream begins, without an event.
pub(crate) fn beginning(id: &str) -> String {
    format!(": the stream begins here\nid: {id}\n\n")
}
