//! The data plane over real sockets and a real local store. Where control is needed at all, a small one
//! stands in at its socket.

mod connection;
mod drain;
mod fake_control;
mod playback;
mod range;
mod support;
mod upload;
