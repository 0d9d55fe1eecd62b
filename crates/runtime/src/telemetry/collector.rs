//! Sends spans to a collector over HTTP: one bounded request per batch.

use std::{fmt, future::Future, pin::Pin, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use opentelemetry_http::{HttpClient, HttpError};

use crate::tls::Connector;

/// How long connecting may take.
pub(super) const CONNECT_TIME_MAX: Duration = Duration::from_secs(3);
/// How long sending a batch may take.
pub(super) const EXPORT_TIME_MAX: Duration = Duration::from_secs(10);
/// Largest response; its content is not used.
const REPLY_BYTES_MAX: usize = 64 << 10;

/// The HTTP client for the collector.
pub(super) struct HttpCollector(Client<Connector, Full<Bytes>>);

impl HttpCollector {
    /// Creates a client, without connecting yet.
    pub(super) fn new() -> Self {
        Self(Client::builder(TokioExecutor::new()).build(Connector::http(None)))
    }
}

impl fmt::Debug for HttpCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HttpCollector")
    }
}

impl HttpClient for HttpCollector {
    fn send_bytes<'me, 'sent>(
        &'me self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'sent>>
    where
        'me: 'sent,
        Self: 'sent,
    {
        let sending = async move {
            let reply = self.0.request(request.map(Full::new)).await?;
            let (parts, body) = reply.into_parts();
            let body = Limited::new(body, REPLY_BYTES_MAX).collect().await?.to_bytes();
            Ok(Response::from_parts(parts, body))
        };
        Box::pin(async move {
            match tokio::time::timeout(EXPORT_TIME_MAX, sending).await {
                Ok(result) => result,
                Err(late) => Err(late.into()),
            }
        })
    }
}
