//! A TCP proxy in front of an S3 server that cuts responses off, rejects requests, or is slow. It
//! has no dependencies on this crate, so that other test programs can include this file.

#![allow(dead_code, reason = "each test program that includes it uses a part")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// A mode of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ProxyMode {
    /// Responses are cut off after this many bytes, headers included.
    Cut(usize),
    /// Every request gets 503.
    Busy,
    /// Every piece of a response is delayed by this long.
    Slow(Duration),
}

/// A running proxy; stops when dropped.
pub(crate) struct Proxy {
    /// `host:port` to connect to.
    pub(crate) address: String,
    /// Number of connections that were disturbed.
    pub(crate) spoilt: Arc<AtomicUsize>,
    /// Bytes of responses that passed through.
    pub(crate) replied: Arc<AtomicUsize>,
    healed: Arc<AtomicBool>,
    _task: JoinSet<()>,
}

impl Proxy {
    /// Applies `mode` to the first `times` connections to `target`; later ones pass.
    pub(crate) async fn start(target: &str, mode: ProxyMode, times: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (target, spoilt) = (target.to_owned(), Arc::new(AtomicUsize::new(0)));
        let (count, replied) = (spoilt.clone(), Arc::<AtomicUsize>::default());
        let bytes = replied.clone();
        let healed = Arc::<AtomicBool>::default();
        let well = healed.clone();
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut links = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                let spoil = count.load(Ordering::SeqCst) < times && !well.load(Ordering::SeqCst);
                count.fetch_add(usize::from(spoil), Ordering::SeqCst);
                links.spawn(link(near, target.clone(), spoil.then_some(mode), bytes.clone()));
            }
        });
        Self { address, spoilt, replied, healed, _task: task }
    }

    /// Lets all further connections pass.
    pub(crate) fn stop_failing(&self) {
        self.healed.store(true, Ordering::SeqCst);
    }
}

async fn link(
    mut near: TcpStream,
    target: String,
    mode: Option<ProxyMode>,
    replied: Arc<AtomicUsize>,
) {
    if let Some(ProxyMode::Busy) = mode {
        let mut head = vec![0; 64 << 10];
        let _ = near.read(&mut head).await;
        let body = "<Error><Code>SlowDown</Code></Error>";
        let reply = format!(
            "HTTP/1.1 503 Service Unavailable\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        let _ = near.write_all(reply.as_bytes()).await;
        return;
    }
    let Ok(far) = TcpStream::connect(target).await else { return };
    let (mut near_read, mut near_write) = near.split();
    let (mut far_read, mut far_write) = far.into_split();
    let asks = tokio::io::copy(&mut near_read, &mut far_write);
    let replies = async {
        let mut left = match mode {
            Some(ProxyMode::Cut(bytes)) => bytes,
            _ => usize::MAX,
        };
        let mut buffer = vec![0; 16 << 10];
        while left > 0 {
            let Ok(count @ 1..) = far_read.read(&mut buffer).await else { return };
            if let Some(ProxyMode::Slow(pause)) = mode {
                tokio::time::sleep(pause).await;
            }
            let count = count.min(left);
            left -= count;
            replied.fetch_add(count, Ordering::SeqCst);
            if near_write.write_all(&buffer[..count]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        _ = asks => (),
        () = replies => (),
    }
}
