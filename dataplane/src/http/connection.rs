//! State of a client's connection: written by the socket and by the replies, read by the request
//! handlers and by `progress`.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
};

use bytes::Bytes;

/// The state of one connection. The counters are used for estimates only and impose no ordering.
#[derive(Debug, Default)]
pub(crate) struct Connection {
    /// A request was ambiguous: reject it and close the connection.
    pub(crate) ambiguous: AtomicBool,
    /// A request had a chunked body: serve it and close the connection.
    pub(crate) chunked: AtomicBool,
    /// Bytes received.
    pub(crate) received: AtomicU64,
    /// Heads received completely.
    pub(crate) heads: AtomicU64,
    /// Whether a head has been received in part.
    pub(crate) within_head: AtomicBool,
    /// Whether the connection uses HTTP/2.
    pub(crate) multiplexed: AtomicBool,
    /// Bytes that the kernel has accepted for the client.
    pub(crate) written: AtomicU64,
    /// Whether the kernel's send buffer is full.
    pub(crate) blocked: AtomicBool,
    /// Close without waiting for data in the kernel's send buffer.
    pub(crate) abandoned: AtomicBool,
    /// Number of requests without a complete reply.
    answering: AtomicUsize,
    /// Bytes of replies in memory that wait for the client.
    held: AtomicU64,
}

impl Connection {
    /// Registers a request; it counts as answered when the guard is dropped.
    pub(crate) fn begin_request(self: &Arc<Self>) -> ActiveRequest {
        self.answering.fetch_add(1, Relaxed);
        ActiveRequest(self.clone())
    }

    /// Whether every request has a complete reply.
    pub(crate) fn is_idle(&self) -> bool {
        self.answering.load(Relaxed) == 0
    }

    /// Bytes of replies in memory that wait for the client.
    pub(crate) fn held(&self) -> u64 {
        self.held.load(Relaxed)
    }
}

/// Guard of a request without a complete reply.
#[derive(Debug)]
pub(crate) struct ActiveRequest(Arc<Connection>);

impl ActiveRequest {
    /// Counts bytes as held until the sender drops them.
    pub(crate) fn hold(&self, bytes: Bytes) -> Bytes {
        self.0.held.fetch_add(bytes.len() as u64, Relaxed);
        Bytes::from_owner(CountedBytes { bytes, connection: self.0.clone() })
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        self.0.answering.fetch_sub(1, Relaxed);
    }
}

struct CountedBytes {
    bytes: Bytes,
    connection: Arc<Connection>,
}

impl AsRef<[u8]> for CountedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for CountedBytes {
    fn drop(&mut self) {
        self.connection.held.fetch_sub(self.bytes.len() as u64, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_counted_until_their_last_part_is_dropped() {
        let connection = Arc::new(Connection::default());
        let answering = connection.begin_request();
        let bytes = answering.hold(Bytes::from_static(b"0123456789"));
        let part = bytes.slice(5..);
        drop(answering);
        assert!(connection.is_idle());
        drop(bytes);
        assert_eq!((connection.held(), &part[..]), (10, &b"56789"[..]));
        drop(part);
        assert_eq!(connection.held(), 0);
    }
}
