//! A TCP proxy with controlled failures: it forwards, holds back all bytes, or cuts connections.

use std::sync::Arc;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::{JoinHandle, JoinSet},
};

/// How the proxy treats bytes, in both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Forwards bytes.
    Pass,
    /// Holds bytes back without closing connections: a half-open link.
    Hold,
    /// Closes connections, and new ones immediately.
    Cut,
}

/// A running proxy; ends when dropped.
pub(crate) struct Proxy {
    /// `host:port` to connect to.
    pub(crate) address: String,
    mode: watch::Sender<Mode>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Forwards connections to `target` (`host:port`).
    pub(crate) async fn to(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind proxy");
        let address = listener.local_addr().expect("proxy address").to_string();
        let (mode, seen) = watch::channel(Mode::Pass);
        let task = tokio::spawn(accept(listener, target.into(), seen));
        Self { address, mode, task }
    }

    /// Changes the mode from now on.
    pub(crate) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, target: Arc<str>, mode: watch::Receiver<Mode>) {
    let mut links = JoinSet::new();
    while let Ok((near, _)) = listener.accept().await {
        if *mode.borrow() != Mode::Cut {
            links.spawn(link(near, target.clone(), mode.clone()));
        }
    }
}

async fn link(near: TcpStream, target: Arc<str>, mode: watch::Receiver<Mode>) {
    let Ok(far) = TcpStream::connect(&*target).await else { return };
    let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
    tokio::select! {
        () = copy(near_read, far_write, mode.clone()) => (),
        () = copy(far_read, near_write, mode.clone()) => (),
        () = cut(mode) => (),
    }
}

async fn cut(mut mode: watch::Receiver<Mode>) {
    // A closed channel means that the proxy was dropped: close the connection as well.
    let _ = mode.wait_for(|mode| *mode == Mode::Cut).await;
}

async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut mode: watch::Receiver<Mode>) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let Ok(count @ 1..) = from.read(&mut buffer).await else { return };
        if mode.wait_for(|mode| *mode != Mode::Hold).await.is_err() {
            return;
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
