//! A range proxy on the loopback interface: FFmpeg reads a file over HTTP and has access neither to
//! a presigned URL nor to the store. Each lease has a secret path; the sandbox lets FFmpeg connect
//! to this port alone.
//!
//! FFmpeg requests everything from an offset to the end and closes the connection when it has
//! enough, so little is sent ahead: two blocks are fetched at a time, and the socket's send buffer
//! is small.

use std::{
    collections::HashMap,
    convert::Infallible,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use http_body_util::{BodyExt, Empty, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Frame, Incoming},
    header,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use media::range::{self, RangeOutcome};
use rand::RngCore;
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinSet,
};

use super::{
    peer,
    remote::{BLOCK_BYTES, Remote},
};
use crate::bucket::BucketError;

/// Bytes in flight to FFmpeg, which it may never read.
const SEND_BUFFER_BYTES: u32 = 64 << 10;
const BACKLOG: u32 = 64;
/// Concurrent connections: a few per FFmpeg process.
const CONNECTIONS_MAX: usize = 1024;
const HEAD_TIME_MAX: Duration = Duration::from_secs(10);
/// Blocks that are fetched at a time for one reader.
const BLOCKS_AHEAD: usize = 2;
const SECRET_BYTES: usize = 16;
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

type Sources = Arc<Mutex<HashMap<String, Arc<Remote>>>>;
type Body = UnsyncBoxBody<Bytes, BucketError>;

/// The running proxy; stops when dropped.
#[derive(Debug)]
pub(super) struct Proxy {
    port: u16,
    sources: Sources,
    _accepting: JoinSet<()>,
}

/// Makes a source readable until it is dropped.
#[derive(Debug)]
pub(super) struct Mount {
    path: String,
    sources: Sources,
}

impl Mount {
    /// The secret path.
    pub(super) fn path(&self) -> &str {
        &self.path
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.path);
    }
}

impl Proxy {
    /// Listens on a free port of the loopback interface.
    pub(super) async fn start() -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        // Accepted connections inherit the buffer size.
        socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
        socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let listener = socket.listen(BACKLOG)?;
        let port = listener.local_addr()?.port();
        let sources = Sources::default();
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, Arc::clone(&sources)));
        Ok(Self { port, sources, _accepting: accepting })
    }

    /// The proxy's port.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Serves `remote` under a new secret path.
    pub(super) fn mount(&self, remote: Arc<Remote>) -> Mount {
        let mut secret = [0; SECRET_BYTES];
        rand::rng().fill_bytes(&mut secret);
        let path = format!("/{}", hex::encode(secret));
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        sources.insert(path.clone(), remote);
        Mount { path, sources: Arc::clone(&self.sources) }
    }
}

async fn accept(listener: TcpListener, sources: Sources) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        if connections.len() >= CONNECTIONS_MAX {
            connections.join_next().await;
        }
        match listener.accept().await {
            Ok((stream, peer)) => {
                drop(connections.spawn(serve(stream, peer, Arc::clone(&sources))));
            }
            Err(error) => {
                tracing::warn!(%error, "failed to accept a connection to the source proxy");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, peer: SocketAddr, sources: Sources) {
    match stream.local_addr() {
        Ok(here) if peer::is_ours(peer, here) => {}
        _ => {
            return tracing::warn!(
                "rejected connection to the source proxy from another local user"
            );
        }
    }
    let service = service_fn(move |request: Request<Incoming>| {
        let reply = respond(&sources, &request);
        async move { Ok::<_, Infallible>(reply) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        // FFmpeg closes the connection whenever it has read enough.
        tracing::trace!(%error, "connection to the source proxy closed early");
    }
}

fn respond(sources: &Sources, request: &Request<Incoming>) -> Response<Body> {
    let known = sources.lock().unwrap_or_else(PoisonError::into_inner);
    let remote = known.get(request.uri().path()).cloned();
    drop(known);
    let Some(remote) = remote else { return status(StatusCode::NOT_FOUND) };
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return status(StatusCode::METHOD_NOT_ALLOWED);
    }
    let size = remote.bytes();
    let wanted = request.headers().get(header::RANGE).and_then(|value| value.to_str().ok());
    let (code, start, end) = match wanted.map(|text| range::parse(text, size)) {
        Some(RangeOutcome::Unsatisfiable) => return status(StatusCode::RANGE_NOT_SATISFIABLE),
        Some(RangeOutcome::Part(part)) => {
            (StatusCode::PARTIAL_CONTENT, part.start, part.end_inclusive + 1)
        }
        Some(RangeOutcome::Whole) | None => (StatusCode::OK, 0, size),
    };
    let mut reply = status(code);
    let headers = reply.headers_mut();
    headers.insert(header::ACCEPT_RANGES, header::HeaderValue::from_static("bytes"));
    headers.insert(header::CONTENT_LENGTH, (end - start).into());
    if code == StatusCode::PARTIAL_CONTENT {
        let part = format!("bytes {start}-{}/{size}", end - 1);
        if let Ok(value) = part.try_into() {
            headers.insert(header::CONTENT_RANGE, value);
        }
    }
    if request.method() == Method::GET {
        *reply.body_mut() =
            StreamBody::new(pieces(remote, start, end).map_ok(Frame::data)).boxed_unsync();
    }
    reply
}

fn status(code: StatusCode) -> Response<Body> {
    let empty = Empty::new().map_err(|never: Infallible| match never {}).boxed_unsync();
    let mut reply = Response::new(empty);
    *reply.status_mut() = code;
    reply
}

/// The bytes from `start` to `end`, fetched as FFmpeg reads them.
fn pieces(
    remote: Arc<Remote>,
    start: u64,
    end: u64,
) -> impl Stream<Item = Result<Bytes, BucketError>> + Send {
    let blocks = start / BLOCK_BYTES..end.div_ceil(BLOCK_BYTES);
    let fetch = move |number: u64| {
        // FFmpeg may stop reading at any time, and then nothing polls this stream.
        let block = remote.ahead(number);
        async move {
            let died = |_| BucketError::Down("the fetch of a block panicked".to_owned());
            let block = block.await.map_err(died)??;
            let begins = number * BLOCK_BYTES;
            let from = start.saturating_sub(begins) as usize;
            let to = block.len().min((end - begins).min(BLOCK_BYTES) as usize);
            Ok(block.slice(from.min(to)..to))
        }
    };
    stream::iter(blocks).map(fetch).buffered(BLOCKS_AHEAD)
}

#[cfg(test)]
mod tests {
    use std::{net::SocketAddr, sync::Arc, time::Duration};

    use api::v1;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpSocket, TcpStream},
        sync::Notify,
        task::JoinSet,
        time::timeout,
    };

    use super::{BLOCK_BYTES, Mount, Proxy, Remote};
    use crate::{bucket::Client, control_handles::Access};

    const BLOCKS: u64 = 4;
    const DEADLINE: Duration = Duration::from_secs(10);

    /// A server of one object, whose third block waits for the test.
    struct Bucket {
        url: String,
        requested: Arc<Notify>,
        released: Arc<Notify>,
        _serving: JoinSet<()>,
    }

    impl Bucket {
        async fn start() -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}/object", listener.local_addr().unwrap());
            let (requested, released) = (Arc::<Notify>::default(), Arc::<Notify>::default());
            let (notify, wait) = (requested.clone(), released.clone());
            let mut serving = JoinSet::new();
            serving.spawn(async move {
                let mut connections = JoinSet::new();
                while let Ok((stream, _)) = listener.accept().await {
                    connections.spawn(reply(stream, notify.clone(), wait.clone()));
                }
            });
            Self { url, requested, released, _serving: serving }
        }
    }

    async fn reply(mut stream: TcpStream, requested: Arc<Notify>, released: Arc<Notify>) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let Ok(byte) = stream.read_u8().await else { return };
            head.push(byte);
        }
        let head = String::from_utf8(head).unwrap().to_lowercase();
        let range = head.lines().find_map(|line| line.strip_prefix("range: bytes=")).unwrap();
        let (start, end) = range.split_once('-').unwrap();
        let (start, end): (u64, u64) = (start.parse().unwrap(), end.parse().unwrap());
        if start == 2 * BLOCK_BYTES {
            requested.notify_one();
            released.notified().await;
        }
        let length = end + 1 - start;
        let head = format!(
            "HTTP/1.1 206 Partial Content\r\nContent-Length: {length}\r\nConnection: close\r\n\
             Content-Range: bytes {start}-{end}/{}\r\n\r\n",
            BLOCKS * BLOCK_BYTES
        );
        // The reader may have disconnected.
        let _ = stream.write_all(head.as_bytes()).await;
        let _ = stream.write_all(&vec![7; length as usize]).await;
    }

    /// Requests everything from `start` on, with a small receive buffer.
    async fn request(proxy: &Proxy, mount: &Mount, start: u64) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(16 << 10).unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], proxy.port()));
        let mut stream = socket.connect(address).await.unwrap();
        let path = mount.path();
        let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\nRange: bytes={start}-\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut read = Vec::new();
        while !read.ends_with(b"\r\n\r\n") {
            read.push(stream.read_u8().await.unwrap());
        }
        stream
    }

    #[tokio::test]
    async fn a_reader_that_stops_does_not_block_other_readers() {
        let bucket = Bucket::start().await;
        let lease = v1::Lease {
            source_url: bucket.url.clone(),
            source_key: "object".to_owned(),
            url_seconds: 600.0,
            ..v1::Lease::default()
        };
        let client = Arc::new(Client::new().unwrap());
        let remote = Remote::open(&lease, client, Access::unused(), Arc::default()).await.unwrap();
        let proxy = Proxy::start().await.unwrap();
        let mount = proxy.mount(Arc::new(remote));
        // It reads into the second block while the third is fetched ahead, and stops.
        let mut stopped = request(&proxy, &mount, 0).await;
        stopped.read_exact(&mut vec![0; BLOCK_BYTES as usize + 1]).await.unwrap();
        timeout(DEADLINE, bucket.requested.notified())
            .await
            .expect("the third block is fetched ahead");
        bucket.released.notify_one();
        let mut other = request(&proxy, &mount, 2 * BLOCK_BYTES).await;
        let mut bytes = vec![0; BLOCK_BYTES as usize];
        let read = timeout(DEADLINE, other.read_exact(&mut bytes)).await;
        read.expect("the other reader continues").unwrap();
        assert!(bytes.iter().all(|byte| *byte == 7));
        drop(stopped);
    }
}
