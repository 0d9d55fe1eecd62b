//! Accepts connections for the gRPC server and does their TLS handshakes.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use runtime::{
    Shutdown,
    tls::{Acceptor, Stream},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::{Connected, TcpConnectInfo};

/// Maximum number of connections that wait for the server to accept them.
const WAITING_MAX: usize = 64;
/// Pause after a failed accept, whose most likely cause is that file descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A connection in the form that the server accepts.
#[derive(Debug)]
pub struct Connection(Stream);

/// Accepts connections until the soft stop. Handshakes run concurrently, so that a slow one does
/// not delay the others; the acceptor limits their number.
pub fn accept(
    listener: TcpListener,
    acceptor: Acceptor,
    shutdown: &Shutdown,
) -> ReceiverStream<io::Result<Connection>> {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    let (soft, tracker) = (shutdown.soft.clone(), shutdown.tracker.clone());
    shutdown.tracker.spawn(async move {
        loop {
            let accepted = tokio::select! {
                () = soft.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    let work = handshake(stream, acceptor.clone(), sender.clone());
                    let soft = soft.clone();
                    tracker.spawn(async move {
                        tokio::select! {
                            () = soft.cancelled() => {}
                            () = work => {}
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "failed to accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    });
    ReceiverStream::new(receiver)
}

async fn handshake(
    stream: TcpStream,
    acceptor: Acceptor,
    sender: mpsc::Sender<io::Result<Connection>>,
) {
    let _best_effort = stream.set_nodelay(true);
    match acceptor.accept(stream).await {
        // Sending fails only when the server has stopped.
        Ok(stream) => drop(sender.send(Ok(Connection(stream))).await),
        Err(error) => tracing::debug!(%error, "failed to complete the TLS handshake"),
    }
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        TcpConnectInfo { local_addr: self.0.local_addr(), remote_addr: self.0.peer_addr() }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(cx)
    }
}
