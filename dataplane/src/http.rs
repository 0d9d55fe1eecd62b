//! HTTP as such: connections, request bodies, replies, and the rules of HTTP that do not depend on
//! a route.

pub(crate) mod accept;
pub(crate) mod bearer;
pub(crate) mod cache;
pub(crate) mod client_address;
pub(crate) mod conditions;
pub(crate) mod connection;
pub(crate) mod cors;
pub(crate) mod disposition;
pub(crate) mod event_stream;
mod framing;
pub(crate) mod reply;
pub(crate) mod request_body;
pub(crate) mod trace;
