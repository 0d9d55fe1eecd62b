//! A plain HTTP/1.1 client of the REST API, and the few calls that most tests make.

use std::{path::Path, time::Duration};

use anyhow::Context;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{HeaderMap, Method, Request, body::Frame, header};
use hyper_util::{client::legacy, client::legacy::connect::HttpConnector, rt::TokioExecutor};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

use super::eventually;

/// Separates the parts of a multipart body.
const BOUNDARY: &str = "e2e-boundary-7f3a";
/// Bytes that are read from a file and sent in one piece.
const PIECE_BYTES: usize = 256 * 1024;
/// Timeout of one request.
const REQUEST_DEADLINE: Duration = Duration::from_secs(90);

type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// A client of one data plane.
#[derive(Clone)]
pub(crate) struct Client {
    http: legacy::Client<HttpConnector, Body>,
    address: String,
    token: Option<String>,
}

/// A complete reply.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("not JSON ({e}): {} {}", self.status, self.text()))
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header's text, or "".
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Panics with the body unless the status is `status`.
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }
}

impl Client {
    /// A client of `address` (`host:port`).
    pub(crate) fn new(address: &str, token: Option<&str>) -> Self {
        let http = legacy::Client::builder(TokioExecutor::new()).build_http();
        Self { http, address: address.to_owned(), token: token.map(str::to_owned) }
    }

    /// The same client with another token.
    pub(crate) fn with_token(&self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self.clone() }
    }

    /// The token that it sends.
    pub(crate) fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// A URL of this server.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// GET; returns connection errors instead of panicking. `path` may be a whole URL of this
    /// server.
    pub(crate) async fn try_get(&self, path: &str) -> anyhow::Result<Reply> {
        self.send(Method::GET, path, &[], Bytes::new()).await
    }

    /// GET.
    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.try_get(path).await.expect("GET")
    }

    /// GET with headers.
    pub(crate) async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Reply {
        self.send(Method::GET, path, headers, Bytes::new()).await.expect("GET")
    }

    /// POST of a JSON document.
    pub(crate) async fn post(&self, path: &str, document: &Value) -> Reply {
        let headers = [("content-type", "application/json")];
        self.send(Method::POST, path, &headers, document.to_string().into()).await.expect("POST")
    }

    /// Any request with a small body.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> anyhow::Result<Reply> {
        let body = Full::new(body).map_err(|never| match never {}).boxed_unsync();
        self.send_body(method, path, headers, body).await
    }

    /// Any request whose body `content` yields.
    pub(crate) async fn send_stream(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        content: BoxStream<'static, std::io::Result<Bytes>>,
    ) -> Reply {
        let body = StreamBody::new(content.map_ok(Frame::data)).boxed_unsync();
        self.send_body(method, path, headers, body).await.expect("send")
    }

    async fn send_body(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Body,
    ) -> anyhow::Result<Reply> {
        let uri = if path.starts_with("http") { path.to_owned() } else { self.url(path) };
        let mut request = Request::builder().method(method).uri(&uri);
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body).context("build request")?;
        let exchange = async {
            let response = self.http.request(request).await.context("send request")?;
            let (parts, body) = response.into_parts();
            let body = body.collect().await.context("read body")?.to_bytes();
            anyhow::Ok(Reply { status: parts.status.as_u16(), headers: parts.headers, body })
        };
        tokio::time::timeout(REQUEST_DEADLINE, exchange).await.context("request deadline")?
    }

    /// Uploads a file with form fields; returns the server's reply.
    pub(crate) async fn upload(&self, file: &Path, fields: &[(&str, &str)]) -> Reply {
        let name = file.file_name().and_then(|name| name.to_str()).unwrap_or("video.mp4");
        self.upload_stream(name, fields, pieces(file.to_owned())).await
    }

    /// Uploads the bytes that `content` yields.
    pub(crate) async fn upload_stream(
        &self,
        name: &str,
        fields: &[(&str, &str)],
        content: BoxStream<'static, std::io::Result<Bytes>>,
    ) -> Reply {
        let mut head = String::new();
        for (key, value) in fields {
            head += &format!(
                "--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"{key}\"\r\n\r\n{value}\r\n"
            );
        }
        head += &format!(
            "--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"video\"; filename=\"{name}\"\r\n\
             content-type: application/octet-stream\r\n\r\n"
        );
        let tail = format!("\r\n--{BOUNDARY}--\r\n");
        let one = |text: String| futures::stream::once(async { Ok(Bytes::from(text)) });
        let whole = one(head).chain(content).chain(one(tail)).map_ok(Frame::data);
        let kind = format!("multipart/form-data; boundary={BOUNDARY}");
        let body = StreamBody::new(whole).boxed_unsync();
        let headers = [("content-type", kind.as_str())];
        self.send_body(Method::POST, "/api/videos/upload", &headers, body).await.expect("upload")
    }

    /// Uploads a valid file and returns the video's id.
    pub(crate) async fn upload_clip(&self, file: &Path) -> String {
        let reply = self.upload(file, &[("title", "e2e")]).await.expect(201);
        reply.json()["videoId"].as_str().expect("videoId").to_owned()
    }

    /// Starts a transcode and returns the job's id.
    pub(crate) async fn transcode(&self, video: &str, request: &Value) -> String {
        let reply = self.post(&format!("/api/videos/{video}/transcode"), request).await.expect(202);
        reply.json()["jobId"].as_str().expect("jobId").to_owned()
    }

    /// A job as `GET /api/jobs/:id` shows it.
    pub(crate) async fn job(&self, job: &str) -> Value {
        self.get(&format!("/api/jobs/{job}")).await.expect(200).json()
    }

    /// Waits until the job ends and returns it; its state must be `state`.
    pub(crate) async fn wait_job(&self, job: &str, state: &str, deadline: Duration) -> Value {
        eventually("the job ends", deadline, async || {
            // Control may be restarting during the test.
            let reply = self.try_get(&format!("/api/jobs/{job}")).await.ok()?;
            let found = (reply.status == 200).then(|| reply.json())?;
            let now = found["state"].as_str().unwrap_or_default().to_owned();
            let ended = matches!(now.as_str(), "completed" | "failed" | "cancelled");
            assert!(!ended || now == state, "the job ended as {now}: {found:#}");
            ended.then_some(found)
        })
        .await
    }

    /// Uploads, transcodes with the whole ladder and waits; returns the ids of the video and the
    /// job.
    pub(crate) async fn publish(&self, file: &Path, deadline: Duration) -> (String, String) {
        let video = self.upload_clip(file).await;
        let job = self.transcode(&video, &json!({})).await;
        self.wait_job(&job, "completed", deadline).await;
        (video, job)
    }
}

/// A file in pieces.
fn pieces(path: std::path::PathBuf) -> BoxStream<'static, std::io::Result<Bytes>> {
    let open = async move { tokio::fs::File::open(path).await };
    let read = |mut file: tokio::fs::File| async move {
        let mut piece = vec![0; PIECE_BYTES];
        let count = file.read(&mut piece).await?;
        piece.truncate(count);
        Ok((count > 0).then(|| (Bytes::from(piece), file)))
    };
    futures::stream::once(open)
        .map_ok(move |file| futures::stream::try_unfold(file, read))
        .try_flatten()
        .boxed()
}
