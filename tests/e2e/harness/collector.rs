//! A trace collector: receives spans over OTLP, by HTTP or gRPC, and keeps them.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, StatusCode, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::{KeyValue, any_value::Value},
};
use prost::Message;
use tokio::{net::TcpListener, task::JoinSet};
use tokio_stream::wrappers::TcpListenerStream;

/// One received span.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    /// The resource's `service.name`.
    pub(crate) service: String,
    pub(crate) name: String,
    pub(crate) trace: String,
    pub(crate) id: String,
    /// Empty for a root span.
    pub(crate) parent: String,
    pub(crate) attributes: Vec<(String, String)>,
}

#[derive(Clone, Debug, Default)]
struct Received {
    spans: Arc<Mutex<Vec<Span>>>,
    /// All received data as text; tests search it for data that must not be sent.
    text: Arc<Mutex<String>>,
}

/// A running collector.
pub(crate) struct Collector {
    /// The value for `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub(crate) endpoint: String,
    received: Received,
    _serving: JoinSet<()>,
}

impl Collector {
    /// Starts a collector for `http/protobuf`.
    pub(crate) async fn http() -> Self {
        let (listener, endpoint) = listen().await;
        let received = Received::default();
        let mut serving = JoinSet::new();
        serving.spawn(serve(listener, received.clone()));
        Self { endpoint, received, _serving: serving }
    }

    /// Starts a collector for `grpc`.
    pub(crate) async fn grpc() -> Self {
        let (listener, endpoint) = listen().await;
        let received = Received::default();
        let service = TraceServiceServer::new(received.clone());
        let server = tonic::transport::Server::builder().add_service(service);
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let served = server.serve_with_incoming(TcpListenerStream::new(listener)).await;
            served.expect("serve spans");
        });
        Self { endpoint, received, _serving: serving }
    }

    /// The spans received so far.
    pub(crate) fn spans(&self) -> Vec<Span> {
        self.received.spans.lock().expect("lock").clone()
    }

    /// All data received so far, as text.
    pub(crate) fn text(&self) -> String {
        self.received.text.lock().expect("lock").clone()
    }
}

async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let endpoint = format!("http://{}", listener.local_addr().expect("address"));
    (listener, endpoint)
}

async fn serve(listener: TcpListener, received: Received) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.expect("accept");
        let received = received.clone();
        let service = service_fn(move |request| take(request, received.clone()));
        let http = hyper::server::conn::http1::Builder::new();
        // Some tests kill planes, so their connections may break.
        connections.spawn(async move {
            let _broken = http.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn take(
    request: Request<Incoming>,
    received: Received,
) -> Result<Response<Full<Bytes>>, Infallible> {
    assert_eq!((request.method().as_str(), request.uri().path()), ("POST", "/v1/traces"));
    assert_eq!(request.headers()["content-type"], "application/x-protobuf");
    let mut reply = Response::new(Full::default());
    match request.into_body().collect().await {
        Ok(body) => {
            received.keep(ExportTraceServiceRequest::decode(body.to_bytes()).expect("OTLP"))
        }
        Err(_) => *reply.status_mut() = StatusCode::BAD_REQUEST,
    }
    Ok(reply)
}

#[tonic::async_trait]
impl TraceService for Received {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        self.keep(request.into_inner());
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Received {
    fn keep(&self, request: ExportTraceServiceRequest) {
        self.text.lock().expect("lock").push_str(&format!("{request:?}"));
        let mut spans = self.spans.lock().expect("lock");
        for of_resource in request.resource_spans {
            let resource = read(&of_resource.resource.unwrap_or_default().attributes);
            let service = find(&resource, "service.name").to_owned();
            for span in of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                spans.push(Span {
                    service: service.clone(),
                    name: span.name,
                    trace: hex::encode(span.trace_id),
                    id: hex::encode(span.span_id),
                    parent: hex::encode(span.parent_span_id),
                    attributes: read(&span.attributes),
                });
            }
        }
    }
}

fn read(attributes: &[KeyValue]) -> Vec<(String, String)> {
    let text = |attribute: &KeyValue| {
        let value = attribute.value.as_ref().and_then(|value| value.value.clone());
        match value {
            Some(Value::StringValue(text)) => text,
            Some(Value::IntValue(number)) => number.to_string(),
            other => format!("{other:?}"),
        }
    };
    attributes.iter().map(|attribute| (attribute.key.clone(), text(attribute))).collect()
}

fn find<'a>(attributes: &'a [(String, String)], key: &str) -> &'a str {
    let found = attributes.iter().find(|(name, _)| name == key);
    found.map_or("", |(_, value)| value.as_str())
}

impl Span {
    /// An attribute's text, or "".
    pub(crate) fn attribute(&self, key: &str) -> &str {
        find(&self.attributes, key)
    }
}
