//! A tus client that can stop in the middle of a request.

use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use sha2::{Digest, Sha256};
use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::harness::{
    client::{Client, Reply},
    stack::Stack,
};

/// An upload that has been created.
pub(crate) struct Created {
    pub(crate) path: String,
    pub(crate) video: String,
}

/// A client with a token.
pub(crate) struct Tus {
    client: Client,
    address: String,
    token: String,
}

impl Tus {
    pub(crate) fn new(stack: &Stack) -> Self {
        Self::at(&stack.http, &stack.token)
    }

    /// A client of one data plane among several.
    pub(crate) fn at(address: &str, token: &str) -> Self {
        let (address, token) = (address.to_owned(), token.to_owned());
        Self { client: Client::new(&address, Some(&token)), address, token }
    }

    pub(crate) fn with_token(&self, token: &str) -> Self {
        let (client, address) = (self.client.with_token(token), self.address.clone());
        Self { client, address, token: token.to_owned() }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Reply {
        let headers = [&[("tus-resumable", "1.0.0")], headers].concat();
        self.client.send(method, path, &headers, body).await.expect("send")
    }

    pub(crate) async fn try_create(&self, length: usize, metadata: &str) -> Reply {
        let length = length.to_string();
        let mut headers = vec![("upload-length", length.as_str())];
        if !metadata.is_empty() {
            headers.push(("upload-metadata", metadata));
        }
        self.send(Method::POST, "/api/uploads", &headers, Bytes::new()).await
    }

    pub(crate) async fn create(&self, length: usize, metadata: &str) -> Created {
        let reply = self.try_create(length, metadata).await.expect(201);
        let (path, video) = (reply.header("location"), reply.header("video-id"));
        assert!(path.starts_with("/api/uploads/") && !video.is_empty(), "{:?}", reply.headers);
        Created { path: path.to_owned(), video: video.to_owned() }
    }

    pub(crate) async fn patch(
        &self,
        path: &str,
        offset: u64,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Reply {
        let offset = offset.to_string();
        let own =
            [("content-type", "application/offset+octet-stream"), ("upload-offset", &*offset)];
        self.send(Method::PATCH, path, &[&own, headers].concat(), body).await
    }

    pub(crate) async fn head(&self, path: &str) -> Reply {
        self.send(Method::HEAD, path, &[], Bytes::new()).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Reply {
        self.send(Method::DELETE, path, &[], Bytes::new()).await
    }

    pub(crate) async fn offset(&self, path: &str) -> u64 {
        let reply = self.head(path).await.expect(200);
        assert_eq!(reply.header("cache-control"), "no-store");
        reply.header("upload-offset").parse().expect("an offset")
    }

    /// Sends the head of a request for all of `body`, but only `sent` bytes of it. Dropping the
    /// result closes the connection.
    pub(crate) async fn begin_patch(
        &self,
        path: &str,
        offset: u64,
        body: &[u8],
        sent: usize,
    ) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).await.expect("connect");
        let head = format!(
            "PATCH {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\
             Tus-Resumable: 1.0.0\r\nContent-Type: application/offset+octet-stream\r\n\
             Upload-Offset: {offset}\r\nContent-Length: {}\r\n\r\n",
            self.address,
            self.token,
            body.len()
        );
        stream.write_all(head.as_bytes()).await.expect("send head");
        let write = stream.write_all(&body[..sent]);
        tokio::time::timeout(Duration::from_secs(20), write).await.expect("sent").expect("send");
        stream
    }

    /// The value of `Upload-Checksum`.
    pub(crate) fn sha256(&self, bytes: &[u8]) -> String {
        format!("sha256 {}", base64(&Sha256::digest(bytes)))
    }
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let mut bits = 0;
        for n in 0..3 {
            bits = bits << 8 | u32::from(three.get(n).copied().unwrap_or(0));
        }
        for n in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * n) & 63) as usize];
            text.push(if n <= three.len() { char::from(letter) } else { '=' });
        }
    }
    text
}
