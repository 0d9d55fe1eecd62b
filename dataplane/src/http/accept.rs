//! The connection loop: permits, timeouts, limits and graceful drain. Serves HTTP/1.1 and HTTP/2,
//! with TLS if configured; without TLS, HTTP/2 is meant for proxies with prior knowledge.

mod progress;
mod send_queue;
mod socket;

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use http::Request;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{
        conn::auto,
        graceful::{GracefulConnection, GracefulShutdown, Watcher},
    },
};
use runtime::{
    Shutdown,
    tls::{Acceptor, Stream},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};

use self::{progress::CloseReason, send_queue::SendQueues, socket::Socket};
use crate::{
    config::Pace,
    http::{connection::Connection, reply::Reply},
    metrics::Metrics,
};

/// Maximum size in bytes of a request's head, and size of hyper's read buffer.
const HEAD_BYTES_MAX: usize = 64 << 10;
const HEADERS_MAX: usize = 100;
/// Concurrent requests on one HTTP/2 connection.
const STREAMS_MAX: u32 = 100;
/// Limit on streams that a client resets before the response: protects against rapid reset.
const RESETS_MAX: usize = 20;
/// Interval of HTTP/2 pings, which detect half-open connections.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIME_MAX: Duration = Duration::from_secs(10);
/// Pause after a failed accept, most likely because file descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves the connections of a listener; `respond` handles each request.
pub(crate) struct ConnectionServer<R> {
    builder: auto::Builder<TokioExecutor>,
    acceptor: Acceptor,
    pace: Pace,
    queues: Arc<SendQueues>,
    metrics: Metrics,
    shutdown: Shutdown,
    respond: R,
}

impl<R, F> ConnectionServer<R>
where
    R: Fn(SocketAddr, Arc<Connection>, Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Reply> + Send + 'static,
{
    /// A server without connections.
    pub(crate) fn new(
        acceptor: Acceptor,
        pace: Pace,
        metrics: Metrics,
        shutdown: Shutdown,
        respond: R,
    ) -> Self {
        let (builder, queues) = (builder(), Arc::default());
        Self { builder, acceptor, pace, queues, metrics, shutdown, respond }
    }

    /// Accepts connections until the soft stop, then lets every connection finish its current
    /// requests.
    pub(crate) async fn run(self, listener: TcpListener, connections_max: usize) {
        let permits = Arc::new(Semaphore::new(connections_max));
        let graceful = GracefulShutdown::new();
        let server = Arc::new(self);
        let soft = server.shutdown.soft.clone();
        loop {
            // Both branches wait for the stop: if all permits are in use, only the stop frees them.
            let permit = tokio::select! {
                () = soft.cancelled() => break,
                permit = permits.clone().acquire_owned() => permit,
            };
            let Ok(permit) = permit else { break };
            let accepted = tokio::select! {
                () = soft.cancelled() => break,
                accepted = listener.accept() => accepted,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "failed to accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let (serving, watcher) = (server.clone(), graceful.watcher());
            server.shutdown.tracker.spawn(async move {
                let _permit = permit;
                serving.serve(stream, peer, watcher).await;
            });
        }
        drop(listener);
        tokio::select! {
            () = graceful.shutdown() => {}
            () = server.shutdown.hard.cancelled() => {}
        }
    }

    /// Serves one connection until it ends.
    async fn serve(&self, stream: TcpStream, peer: SocketAddr, watcher: Watcher) {
        let _connected = self.metrics.connected();
        // Send heads and small bodies without delay.
        let _best_effort = stream.set_nodelay(true);
        let Ok(local) = stream.local_addr() else { return };
        let stream = tokio::select! {
            () = self.shutdown.soft.cancelled() => return,
            stream = self.acceptor.accept(stream) => stream,
        };
        let stream = match stream {
            Ok(stream) => stream,
            Err(error) => return tracing::debug!(%error, "failed to complete the TLS handshake"),
        };
        let connection = Arc::new(Connection::default());
        let queues = self.queues.clone();
        let watching = progress::watch(connection.clone(), self.pace, queues, (local, peer));
        let serving = watcher.watch(self.requests(stream, peer, connection));
        tokio::select! {
            () = self.shutdown.hard.cancelled() => {}
            reason = watching => self.closed(reason),
            result = serving => if let Err(error) = result {
                tracing::debug!(%error, "failed to serve a connection");
            }
        }
    }

    /// Counts a connection that was closed for being slow.
    fn closed(&self, reason: CloseReason) {
        if reason == CloseReason::Idle {
            return;
        }
        self.metrics.slow(reason.text());
        tracing::debug!(what = reason.text(), "slow client disconnected");
    }

    /// Serves the requests of one connection.
    fn requests(
        &self,
        stream: Stream,
        peer: SocketAddr,
        connection: Arc<Connection>,
    ) -> impl GracefulConnection<Error = Box<dyn std::error::Error + Send + Sync>> + use<R, F> {
        let socket = Socket::new(stream, connection.clone());
        let respond = self.respond.clone();
        let service = service_fn(move |request| {
            let active = connection.begin_request();
            let reply = respond(peer, connection.clone(), request);
            async move { Ok::<_, Infallible>(reply.await.map(|body| body.of_request(active))) }
        });
        self.builder.serve_connection(TokioIo::new(socket), service).into_owned()
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        // `progress` distinguishes a slow head from an idle connection.
        .header_read_timeout(None)
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
