//! Enforces progress on a connection: heads must arrive in time, idle connections end, and a client
//! must read the bytes that it requested. Request bodies are watched where they are read
//! (`request_body.rs`).
//!
//! The checks do not depend on when hyper polls the socket: a client that reads a byte now and then
//! makes progress by every measure except time.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use tokio::time::{Instant, sleep};

use super::send_queue::SendQueues;
use crate::{config::Pace, http::connection::Connection};

/// Checks per shortest configured time limit.
const LOOKS: u32 = 8;
const LOOK_MIN: Duration = Duration::from_millis(10);
const LOOK_MAX: Duration = Duration::from_secs(5);
/// HTTP/2's preface and the header of the SETTINGS frame that must follow it.
const OPENING_BYTES: u64 = 24 + 9;
/// Maximum number of bytes of one reply held in memory. If more are held, several replies wait for
/// the client, and each of them must be read at the minimum rate.
const REPLY_BYTES: u64 = 512 << 10;

/// Why a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CloseReason {
    /// The head of a request did not arrive completely in time.
    Head,
    /// No request arrived for a while; this is not an error.
    Idle,
    /// The client does not read its reply.
    Reply,
}

impl CloseReason {
    /// The name in metrics and logs.
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Idle => "idle",
            Self::Reply => "reply",
        }
    }
}

/// Returns when the connection must be closed, and marks it as abandoned unless it is merely idle.
pub(super) async fn watch(
    connection: Arc<Connection>,
    pace: Pace,
    queues: Arc<SendQueues>,
    ends: (SocketAddr, SocketAddr),
) -> CloseReason {
    let mut watch = Watch { reading: None, taking: None, connection: connection.clone(), pace };
    let reason = watch.run(&queues, ends).await;
    if reason != CloseReason::Idle {
        connection.abandoned.store(true, Relaxed);
    }
    reason
}

struct Watch {
    connection: Arc<Connection>,
    pace: Pace,
    /// The awaited event, the number of heads received before it, and the start of the wait.
    reading: Option<(CloseReason, u64, Instant)>,
    /// Set while bytes wait for the client.
    taking: Option<Taking>,
}

#[derive(Clone, Copy)]
struct Taking {
    since: Instant,
    written: u64,
    /// The part of `written` that the client's system had acknowledged; set once it has been
    /// queried.
    taken: Option<u64>,
}

impl Watch {
    async fn run(&mut self, queues: &SendQueues, ends: (SocketAddr, SocketAddr)) -> CloseReason {
        let Pace { patience, head_time_max, keep_alive, .. } = self.pace;
        let shortest = patience.min(head_time_max).min(keep_alive);
        let interval = (shortest / LOOKS).clamp(LOOK_MIN, LOOK_MAX);
        let late = interval + patience / 4;
        loop {
            let begun = Instant::now();
            sleep(interval).await;
            if begun.elapsed() > late {
                // This task was not scheduled in time, so the measurement is void.
                self.taking = None;
                continue;
            }
            if let Some(reason) = self.read(Instant::now()) {
                return reason;
            }
            if self.is_slow(Instant::now()) {
                let unsent = queues.unsent(ends).await;
                if self.stalls(Instant::now(), unsent) {
                    return CloseReason::Reply;
                }
            }
        }
    }

    /// The next part of the exchange that the client must send.
    fn awaited(&self) -> Option<CloseReason> {
        let connection = &self.connection;
        let received = connection.received.load(Relaxed);
        if connection.multiplexed.load(Relaxed) {
            return (received < OPENING_BYTES).then_some(CloseReason::Head);
        }
        if received == 0 || connection.within_head.load(Relaxed) {
            return Some(CloseReason::Head);
        }
        connection.is_idle().then_some(CloseReason::Idle)
    }

    fn read(&mut self, now: Instant) -> Option<CloseReason> {
        let Some(awaited) = self.awaited() else {
            self.reading = None;
            return None;
        };
        let heads = self.connection.heads.load(Relaxed);
        match self.reading {
            Some((what, after, since)) if (what, after) == (awaited, heads) => {
                let most = match awaited {
                    CloseReason::Idle => self.pace.keep_alive,
                    _ => self.pace.head_time_max,
                };
                (now - since >= most).then_some(awaited)
            }
            _ => {
                self.reading = Some((awaited, heads, now));
                None
            }
        }
    }

    /// Whether half of the allowed time has passed with too few bytes written. The kernel may be
    /// the cause: it accepts megabytes in one burst and then nothing for a while.
    fn is_slow(&mut self, now: Instant) -> bool {
        let connection = &self.connection;
        if connection.held() == 0 && !connection.blocked.load(Relaxed) {
            self.taking = None;
            return false;
        }
        let written = connection.written.load(Relaxed);
        let taking = *self.taking.get_or_insert(Taking { since: now, written, taken: None });
        let elapsed = now - taking.since;
        if elapsed < self.pace.patience / 2 {
            return false;
        }
        if written - taking.written >= self.needed_bytes(elapsed) {
            self.taking = None;
            return false;
        }
        true
    }

    /// Whether the client itself has read too little since the last check of the kernel's queue.
    fn stalls(&mut self, now: Instant, unsent: u64) -> bool {
        let written = self.connection.written.load(Relaxed);
        let taken = written.saturating_sub(unsent);
        let before = self.taking.replace(Taking { since: now, written, taken: Some(taken) });
        let Some(Taking { since, taken: Some(before), .. }) = before else { return false };
        taken.saturating_sub(before) < self.needed_bytes(now - since)
    }

    /// Bytes that a client must read in `elapsed`.
    fn needed_bytes(&self, elapsed: Duration) -> u64 {
        let replies = self.connection.held().div_ceil(REPLY_BYTES).max(1);
        let bytes = self.pace.rate_min as f64 * elapsed.as_secs_f64() * replies as f64;
        // At any rate, at least one byte is required.
        (bytes as u64).max(1)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn watch() -> Watch {
        let pace = Pace {
            rate_min: 1000,
            patience: 10 * SECOND,
            head_time_max: 5 * SECOND,
            keep_alive: 60 * SECOND,
        };
        Watch { connection: Arc::default(), pace, reading: None, taking: None }
    }

    #[test]
    fn heads_must_end_in_time_and_idle_connections_may_wait() {
        let mut watch = watch();
        let start = Instant::now();
        assert_eq!(watch.read(start), None);
        assert_eq!(watch.read(start + 4 * SECOND), None);
        assert_eq!(watch.read(start + 5 * SECOND), Some(CloseReason::Head), "no byte was received");
        let connection = watch.connection.clone();
        connection.received.store(100, Relaxed);
        connection.heads.store(1, Relaxed);
        let answering = connection.begin_request();
        assert_eq!(watch.read(start + 100 * SECOND), None, "the server sends next");
        drop(answering);
        assert_eq!(watch.read(start + 101 * SECOND), None);
        assert_eq!(watch.read(start + 160 * SECOND), None, "a player between two segments");
        assert_eq!(watch.read(start + 161 * SECOND), Some(CloseReason::Idle));
        connection.within_head.store(true, Relaxed);
        assert_eq!(watch.read(start + 162 * SECOND), None);
        connection.heads.store(2, Relaxed);
        assert_eq!(watch.read(start + 167 * SECOND), None, "that is another head");
        assert_eq!(watch.read(start + 172 * SECOND), Some(CloseReason::Head));
    }

    #[test]
    fn buffered_bytes_count_once_the_client_has_received_them() {
        let mut watch = watch();
        let connection = watch.connection.clone();
        let held = connection.begin_request().hold(Bytes::from_static(b"reply"));
        connection.written.store(1_000_000, Relaxed);
        let start = Instant::now();
        assert!(!watch.is_slow(start));
        assert!(!watch.is_slow(start + 4 * SECOND), "half the patience has not passed");
        assert!(watch.is_slow(start + 5 * SECOND));
        assert!(!watch.stalls(start + 5 * SECOND, 800_000), "that was the first look");
        // 10 kB in 5 s are enough, although the kernel accepted nothing in that time.
        assert!(watch.is_slow(start + 10 * SECOND));
        assert!(!watch.stalls(start + 10 * SECOND, 790_000));
        assert!(watch.is_slow(start + 15 * SECOND));
        assert!(watch.stalls(start + 15 * SECOND, 786_000), "4 kB in 5 s are not");
        drop(held);
        assert!(!watch.is_slow(start + 20 * SECOND), "no reply is pending");
    }

    #[test]
    fn every_waiting_reply_must_be_read() {
        let watch = watch();
        assert_eq!(watch.needed_bytes(5 * SECOND), 5000);
        let piece = Bytes::from(vec![0; REPLY_BYTES as usize]);
        let answering = watch.connection.begin_request();
        let held: Vec<Bytes> = (0..100).map(|_| answering.hold(piece.clone())).collect();
        assert_eq!(watch.needed_bytes(5 * SECOND), 500_000);
        drop(held);
    }
}
