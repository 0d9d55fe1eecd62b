//! Wraps a connection's socket: checks request heads before hyper reads them, and counts the bytes
//! in both directions for `progress`.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::Ordering::{Relaxed, Release},
    },
    task::{Context, Poll},
};

use runtime::tls::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::http::{
    connection::Connection,
    framing::{FramingError, HeadScanner},
};

pub(crate) struct Socket {
    stream: Stream,
    scanner: HeadScanner,
    connection: Arc<Connection>,
}

impl Socket {
    pub(crate) fn new(stream: Stream, connection: Arc<Connection>) -> Self {
        Self { stream, scanner: HeadScanner::default(), connection }
    }

    fn received(&mut self, bytes: &[u8]) {
        match self.scanner.feed(bytes) {
            Some(FramingError::Ambiguous) => self.connection.ambiguous.store(true, Release),
            Some(FramingError::Chunked) => self.connection.chunked.store(true, Release),
            None => {}
        }
        self.connection.received.fetch_add(bytes.len() as u64, Relaxed);
        self.connection.heads.store(self.scanner.heads(), Relaxed);
        self.connection.within_head.store(self.scanner.is_within_head(), Relaxed);
        self.connection.multiplexed.store(self.scanner.is_http2(), Relaxed);
    }

    fn written(&self, result: &Poll<io::Result<usize>>) {
        self.connection.blocked.store(result.is_pending(), Relaxed);
        if let Poll::Ready(Ok(bytes)) = result {
            self.connection.written.fetch_add(*bytes as u64, Relaxed);
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.connection.abandoned.load(Relaxed) {
            self.stream.reset_on_close();
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
        let result = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if let Poll::Ready(Ok(())) = result {
            self.received(&buffer.filled()[before..]);
        }
        result
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.written(&result);
        result
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.written(&result);
        result
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
