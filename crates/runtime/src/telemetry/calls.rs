//! The client side of gRPC in traces: a client span for each call that is made within another span;
//! the server's span becomes its child.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use http::{HeaderValue, Request, Response};
use tower_service::Service;
use tracing::{Instrument, Span, field::Empty};

use super::context::{self, TRACEPARENT};

/// A channel that records its calls as spans. Calls outside of a span, and all calls while traces
/// are off, pass through unchanged.
#[derive(Clone, Debug)]
pub struct Traced<S>(pub S);

impl<S, B, R> Service<Request<B>> for Traced<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    S::Error: 'static,
    R: 'static,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<R>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        if Span::current().is_disabled() {
            return Box::pin(self.0.call(request));
        }
        // gRPC paths consist of service and method: names of this project.
        let method = request.uri().path().trim_start_matches('/');
        let span = tracing::info_span!(
            "call",
            otel.name = method,
            otel.kind = "client",
            otel.status_code = Empty,
            rpc.system = "grpc",
            rpc.grpc.status_code = Empty
        );
        if let Some(value) = span.in_scope(context::current)
            && let Ok(value) = HeaderValue::try_from(value)
        {
            request.headers_mut().insert(TRACEPARENT, value);
        }
        let calling = span.in_scope(|| self.0.call(request));
        let (calling, call_span) = (calling.instrument(span.clone()), span);
        Box::pin(async move {
            let response = calling.await;
            match response.as_ref().map(error_code) {
                Ok(None) => {}
                Ok(Some(code)) => {
                    call_span.record("rpc.grpc.status_code", code);
                    call_span.record("otel.status_code", "ERROR");
                }
                Err(_) => drop(call_span.record("otel.status_code", "ERROR")),
            }
            response
        })
    }
}

/// The status code of a call that was rejected immediately. Other codes arrive in the trailers,
/// after the span has ended.
fn error_code<R>(response: &Response<R>) -> Option<i64> {
    let code = response.headers().get("grpc-status")?.to_str().ok()?.parse().ok()?;
    (code != 0).then_some(code)
}

#[cfg(test)]
mod tests {
    use http::Response;

    use super::error_code;

    #[test]
    fn only_errors_have_a_code() {
        let response =
            |code: &str| Response::builder().header("grpc-status", code).body(()).unwrap();
        assert_eq!(error_code(&response("5")), Some(5));
        assert_eq!(error_code(&response("0")), None);
        assert_eq!(error_code(&Response::new(())), None);
    }
}
