//! Client of the REST API: sends one request, reads one reply, formats an error reply as one line
//! of text.

use std::{io, time::Duration};

use anyhow::{Context, Result, anyhow};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited, combinators::BoxBody};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use runtime::tls::Connector;
use serde_json::Value;
use tokio::time::timeout;

use crate::{
    failure::Failure,
    output::{innermost, one_line},
    server::Server,
};

/// Replies are small JSON documents; a longer body does not come from this service.
const REPLY_BYTES_MAX: usize = 4 << 20;
const HEALTH_PATIENCE: Duration = Duration::from_secs(2);

/// A request body.
pub(crate) type Body = BoxBody<Bytes, io::Error>;

/// A reply as received.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Reply {
    /// A header's value; empty if it is absent or not text.
    pub(crate) fn text(&self, name: &str) -> String {
        let value = self.headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    }

    /// The server's error reply as one line.
    pub(crate) fn error(&self) -> anyhow::Error {
        reply_error(self.status, &self.body).into()
    }

    /// Parses the body as JSON.
    ///
    /// # Errors
    /// Fails if the status is not a success or the body is not JSON.
    pub(crate) fn json(&self) -> Result<Value> {
        if !self.status.is_success() {
            return Err(self.error());
        }
        serde_json::from_slice(&self.body).context("read the reply")
    }
}

/// A data plane's address and the bearer token to send.
pub(crate) struct Rest {
    client: Client<Connector, Body>,
    url: String,
    bearer: String,
}

impl Rest {
    /// Connects at the first request, not here.
    pub(crate) fn new(server: Server, bearer: String) -> Self {
        let connector = Connector::http(server.ca_file.as_deref());
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Self { client, url: server.url, bearer }
    }

    /// The URL of a path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// Posts a body of known length and returns the JSON reply.
    ///
    /// # Errors
    /// Fails if the server cannot be reached or returns an error; the error shows the problem
    /// document's detail.
    pub(crate) async fn post(
        &self,
        path: &str,
        content_type: &str,
        length: u64,
        body: Body,
    ) -> Result<(StatusCode, Value)> {
        let headers = [
            (header::CONTENT_TYPE, content_type.to_owned()),
            (header::CONTENT_LENGTH, length.to_string()),
        ];
        let reply = self.send(Method::POST, path, &headers, body).await?;
        Ok((reply.status, reply.json()?))
    }

    /// Fetches a JSON document.
    ///
    /// # Errors
    /// Fails if the server cannot be reached or returns an error.
    pub(crate) async fn get(&self, path: &str) -> Result<Value> {
        let body = BodyExt::boxed(Empty::new().map_err(|never| match never {}));
        self.send(Method::GET, path, &[], body).await?.json()
    }

    /// Sends a request and returns the reply; its status may be an error.
    ///
    /// # Errors
    /// Fails if the server cannot be reached.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(HeaderName, String)],
        body: Body,
    ) -> Result<Reply> {
        let mut request = Request::builder()
            .method(method)
            .uri(self.url(path))
            .header(header::AUTHORIZATION, format!("Bearer {}", self.bearer));
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let sent = self.client.request(request.body(body).context("make the request")?).await;
        let reply = sent.map_err(|error| Failure::unreachable(&self.url, &innermost(&error)))?;
        let (status, headers) = (reply.status(), reply.headers().clone());
        let whole = Limited::new(reply.into_body(), REPLY_BYTES_MAX).collect().await;
        let body = whole.map_err(|error| anyhow!("read the answer: {error}"))?.to_bytes();
        Ok(Reply { status, headers, body })
    }
}

/// Whether a health route returns 200.
pub(crate) async fn is_healthy(server: &Server, path: &str) -> bool {
    let connector = Connector::http(server.ca_file.as_deref());
    let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build(connector);
    let Ok(uri) = format!("{}{path}", server.url).parse() else { return false };
    let reply = timeout(HEALTH_PATIENCE, client.get(uri)).await;
    reply.is_ok_and(|reply| reply.is_ok_and(|reply| reply.status() == StatusCode::OK))
}

/// Formats a problem document, or another error reply, as one line.
fn reply_error(status: StatusCode, bytes: &[u8]) -> Failure {
    let Ok(problem) = serde_json::from_slice::<Value>(bytes) else {
        return Failure::rejected("no code", format!("request rejected: {status}"));
    };
    let text = |name: &str| problem[name].as_str().map(one_line).filter(|text| !text.is_empty());
    let mut line = text("detail").or_else(|| text("title")).unwrap_or_else(|| status.to_string());
    for error in problem["errors"].as_array().into_iter().flatten() {
        let (field, message) = (error["field"].as_str(), error["message"].as_str());
        if let (Some(field), Some(message)) = (field, message)
            && !line.contains(message)
        {
            line.push_str(&format!("; {}: {}", one_line(field), one_line(message)));
        }
    }
    let code = text("code").unwrap_or_else(|| "no code".to_owned());
    Failure::rejected(&code, line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_show_detail_fields_and_code() {
        let body =
            br#"{"title": "T", "status": 422, "detail": "cannot read it", "code": "not_a_video",
            "errors": [{"field": "video", "message": "contains no video"}]}"#;
        assert_eq!(
            reply_error(StatusCode::UNPROCESSABLE_ENTITY, body).to_string(),
            "cannot read it; video: contains no video (not_a_video)"
        );
    }

    #[test]
    fn replies_without_a_problem_are_reported_in_one_line() {
        let line = |bytes| reply_error(StatusCode::BAD_GATEWAY, bytes).to_string();
        assert_eq!(line(b"<html>"), "request rejected: 502 Bad Gateway (no code)");
        assert_eq!(line(b"[]"), "502 Bad Gateway (no code)");
    }
}
