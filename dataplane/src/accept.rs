//! The connection loop: permits, timeouts, limits, graceful drain. HTTP/1.1 and HTTP/2, with TLS by
//! configuration; without it, HTTP/2 is for proxies that know that we speak it.

mod socket;

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
};
use runtime::tls::{Acceptor, Stream};
use tokio::{net::TcpListener, sync::Semaphore};

use self::socket::Socket;
use crate::{app::App, edge::Connection, trace};

/// How long a request's head may take.
const HEAD_TIME_MAX: Duration = Duration::from_secs(15);
/// Bytes of a request's head, and of hyper's read buffer.
const HEAD_BYTES_MAX: usize = 64 << 10;
const HEADERS_MAX: usize = 100;
/// Requests at once on one HTTP/2 connection.
const STREAMS_MAX: u32 = 100;
/// Streams that a client may reset before we have answered: rapid reset.
const RESETS_MAX: usize = 20;
/// HTTP/2 pings, so that half-open connections end.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIME_MAX: Duration = Duration::from_secs(10);
/// Pause after a failed accept: the descriptors have run out, most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Accepts until the soft stop, then lets every connection finish what it does.
pub(crate) async fn run(app: Arc<App>, listener: TcpListener, acceptor: Acceptor) {
    let builder = Arc::new(builder());
    let permits = Arc::new(Semaphore::new(app.config.connections_max));
    let graceful = GracefulShutdown::new();
    loop {
        let Ok(permit) = permits.clone().acquire_owned().await else { break };
        let accepted = tokio::select! {
            () = app.shutdown.soft.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "accept connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let watcher = graceful.watcher();
        let (app, builder, acceptor) = (app.clone(), builder.clone(), acceptor.clone());
        app.shutdown.tracker.clone().spawn(async move {
            let _permit = permit;
            let _connected = app.metrics.connected();
            // Heads and small bodies leave at once.
            let _best_effort = stream.set_nodelay(true);
            let soft = app.shutdown.soft.clone();
            let stream = tokio::select! {
                () = soft.cancelled() => return,
                stream = acceptor.accept(stream) => stream,
            };
            let stream = match stream {
                Ok(stream) => stream,
                Err(error) => return tracing::debug!(%error, "shake hands"),
            };
            let hard = app.shutdown.hard.clone();
            let connection = watcher.watch(serve(&builder, app, stream, peer));
            tokio::select! {
                () = hard.cancelled() => {}
                result = connection => if let Err(error) = result {
                    tracing::debug!(%error, "serve connection");
                }
            }
        });
    }
    drop(listener);
    tokio::select! {
        () = graceful.shutdown() => {}
        () = app.shutdown.hard.cancelled() => {}
    }
}

fn serve(
    builder: &auto::Builder<TokioExecutor>,
    app: Arc<App>,
    stream: Stream,
    peer: SocketAddr,
) -> impl hyper_util::server::graceful::GracefulConnection<
    Error = Box<dyn std::error::Error + Send + Sync>,
> {
    let connection = Arc::new(Connection::default());
    let socket = Socket::new(stream, connection.clone());
    let service = service_fn(move |request| {
        let reply = trace::answer(app.clone(), peer, connection.clone(), request);
        async move { Ok::<_, Infallible>(reply.await) }
    });
    builder.serve_connection(TokioIo::new(socket), service).into_owned()
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .keep_alive(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_pending_accept_reset_streams(RESETS_MAX)
        .max_header_list_size(HEAD_BYTES_MAX as u32)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIME_MAX);
    builder
}
