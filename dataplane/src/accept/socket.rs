//! A connection that watches the heads of its requests, and gives up on peers that neither speak nor
//! listen.

use std::{
    io,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
    time::Duration,
};

use runtime::tls::Stream;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};

use crate::{
    edge::Connection,
    framing::{Finding, HeadScanner},
};

/// How long a client may take for its first bytes: before them hyper does not know the protocol, and has
/// no timeout of its own.
const OPENING_TIME_MAX: Duration = Duration::from_secs(10);
/// The length of HTTP/2's preface, by which the protocol is known.
const OPENING_BYTES: u64 = 24;
/// How long a client may take nothing of what we send.
const WRITE_STALL_MAX: Duration = Duration::from_secs(30);

pub(crate) struct Socket {
    stream: Stream,
    scanner: HeadScanner,
    connection: Arc<Connection>,
    received: u64,
    opening: Option<Pin<Box<Sleep>>>,
    stall: Option<Pin<Box<Sleep>>>,
}

impl Socket {
    pub(crate) fn new(stream: Stream, connection: Arc<Connection>) -> Self {
        Self {
            stream,
            scanner: HeadScanner::default(),
            connection,
            received: 0,
            opening: Some(Box::pin(sleep(OPENING_TIME_MAX))),
            stall: None,
        }
    }

    fn received(&mut self, bytes: &[u8]) {
        self.received += bytes.len() as u64;
        if self.received >= OPENING_BYTES {
            self.opening = None;
        }
        match self.scanner.feed(bytes) {
            Some(Finding::Ambiguous) => self.connection.ambiguous.store(true, Ordering::Release),
            Some(Finding::Chunked) => self.connection.chunked.store(true, Ordering::Release),
            None => {}
        }
    }

    /// Passes a write's result on, or ends the wait for a client that takes nothing.
    fn written<T>(
        &mut self,
        cx: &mut Context<'_>,
        result: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if result.is_ready() {
            // The timer is kept: making one for each full buffer costs more than moving it.
            if let Some(stall) = &mut self.stall {
                stall.as_mut().reset(Instant::now() + WRITE_STALL_MAX);
            }
            return result;
        }
        let stall = self.stall.get_or_insert_with(|| Box::pin(sleep(WRITE_STALL_MAX)));
        match stall.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        match Pin::new(&mut self.stream).poll_read(cx, buffer) {
            Poll::Ready(Ok(())) => {
                self.received(&buffer.filled()[before..]);
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                let timer = self.opening.as_mut();
                if timer.is_some_and(|timer| timer.as_mut().poll(cx).is_ready()) {
                    return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                }
                Poll::Pending
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.written(cx, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.written(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
