//! What is known of a client's connection: told by the socket below and the replies above, read by whoever
//! answers on it and by whoever watches that it goes on.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
};

use bytes::Bytes;

/// Of one connection. Counters that are read for an estimate; nothing is ordered by them.
#[derive(Debug, Default)]
pub(crate) struct Connection {
    /// A request could be read in two ways: refuse, close.
    pub(crate) ambiguous: AtomicBool,
    /// A request had a chunked body: serve, close.
    pub(crate) chunked: AtomicBool,
    /// Bytes that came.
    pub(crate) received: AtomicU64,
    /// Heads that came whole.
    pub(crate) heads: AtomicU64,
    /// A head has begun to come and is not whole.
    pub(crate) within_head: AtomicBool,
    /// It speaks HTTP/2.
    pub(crate) multiplexed: AtomicBool,
    /// Bytes that the system has taken for the client.
    pub(crate) written: AtomicU64,
    /// The system takes no more for now.
    pub(crate) blocked: AtomicBool,
    /// Close without waiting for what the system still holds.
    pub(crate) abandoned: AtomicBool,
    /// Requests that are not answered whole.
    answering: AtomicUsize,
    /// Bytes of replies that wait for the client, in memory.
    held: AtomicU64,
}

impl Connection {
    /// A request has come; it is answered when the guard goes.
    pub(crate) fn answer(self: &Arc<Self>) -> Answering {
        self.answering.fetch_add(1, Relaxed);
        Answering(self.clone())
    }

    /// Whether no request is being answered.
    pub(crate) fn is_idle(&self) -> bool {
        self.answering.load(Relaxed) == 0
    }

    /// Bytes of replies that wait for the client, in memory.
    pub(crate) fn held(&self) -> u64 {
        self.held.load(Relaxed)
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub(crate) struct Answering(Arc<Connection>);

impl Answering {
    /// Counts bytes as held until whoever sends them lets them go.
    pub(crate) fn hold(&self, bytes: Bytes) -> Bytes {
        self.0.held.fetch_add(bytes.len() as u64, Relaxed);
        Bytes::from_owner(Held { bytes, connection: self.0.clone() })
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.answering.fetch_sub(1, Relaxed);
    }
}

struct Held {
    bytes: Bytes,
    connection: Arc<Connection>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.connection.held.fetch_sub(self.bytes.len() as u64, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_held_until_the_last_part_of_them_is_gone() {
        let connection = Arc::new(Connection::default());
        let answering = connection.answer();
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
