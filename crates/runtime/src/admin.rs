//! A separate listener for `/metrics`, for planes whose main port uses another protocol or is
//! public.

use std::{convert::Infallible, future::Future, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpListener, sync::Semaphore};

use crate::{lifecycle::Shutdown, telemetry::Telemetry};

/// The content type of [`Telemetry::render`]'s text.
pub const METRICS_CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Maximum number of scrapers connected at the same time; further ones wait in the listener's
/// backlog.
const CONNECTIONS_MAX: usize = 64;
/// How long a scraper may take to send the head of its request.
const HEAD_TIME_MAX: Duration = Duration::from_secs(10);

/// Serves `GET /metrics` until the soft stop.
pub async fn serve_on(listener: TcpListener, telemetry: Telemetry, shutdown: Shutdown) {
    let render = move || std::future::ready(telemetry.render());
    serve_text(listener, render, shutdown).await;
}

/// Serves the output of `render` on each `GET /metrics`.
pub async fn serve_text<F, R>(listener: TcpListener, render: F, shutdown: Shutdown)
where
    F: Fn() -> R + Clone + Send + Sync + 'static,
    R: Future<Output = String> + Send + 'static,
{
    let permits = std::sync::Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let permit = tokio::select! {
            () = shutdown.soft.cancelled() => return,
            permit = permits.clone().acquire_owned() => permit,
        };
        let Ok(permit) = permit else { return };
        let accepted = tokio::select! {
            () = shutdown.soft.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Most likely out of file descriptors: wait instead of spinning.
                tracing::warn!(%error, "failed to accept a metrics connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (render, soft) = (render.clone(), shutdown.soft.clone());
        shutdown.tracker.spawn(async move {
            let service = service_fn(move |request| {
                let render = render.clone();
                async move { Ok::<_, Infallible>(answer(&request, render).await) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIME_MAX)
                .serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                () = soft.cancelled() => {}
                _ = connection => {}
            }
            drop(permit);
        });
    }
}

async fn answer<R: Future<Output = String>>(
    request: &Request<Incoming>,
    render: impl Fn() -> R,
) -> Response<Full<Bytes>> {
    let is_metrics = request.uri().path() == "/metrics";
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    let (status, text) = match (is_metrics, is_read) {
        (true, true) => (StatusCode::OK, render().await),
        (true, false) => (StatusCode::METHOD_NOT_ALLOWED, String::new()),
        (false, _) => (StatusCode::NOT_FOUND, String::new()),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(METRICS_CONTENT_TYPE));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(header::ALLOW, header::HeaderValue::from_static("GET, HEAD"));
    }
    response
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
    };

    use super::serve_on;
    use crate::{Shutdown, Telemetry};

    async fn get(addr: std::net::SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await.unwrap();
        reply
    }

    #[tokio::test]
    async fn only_metrics_are_served() {
        let telemetry = Telemetry::new("admin-test");
        telemetry.meter().u64_counter("served_total").build().add(3, &[]);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let shutdown = Shutdown::new();
        shutdown.tracker.spawn(serve_on(listener, telemetry, shutdown.clone()));
        let reply = get(addr, "/metrics").await;
        assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
        assert!(reply.contains("served_total 3"), "{reply}");
        assert!(get(addr, "/").await.starts_with("HTTP/1.1 404"));
        shutdown.drain(std::time::Duration::from_secs(5)).await;
    }
}
