//! A multipart form with one file, streamed while it is read, so memory use is constant for files
//! of any size.

use std::{io, path::Path};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::{fs::File, io::AsyncReadExt};
use tokio_util::io::ReaderStream;
use uuid::Uuid;

use crate::rest::Body;

const READ_BYTES: usize = 256 << 10;

/// A form, ready to be sent.
pub(crate) struct Form {
    pub(crate) content_type: String,
    /// Length of the whole body, so that no chunked encoding is needed.
    pub(crate) length: u64,
    pub(crate) body: Body,
}

/// Opens the file and puts the fields before it, so that the server has read them when the file
/// arrives. Calls `sent` with the size of each piece of the file.
pub(crate) async fn form(
    path: &Path,
    fields: &[(&str, &str)],
    sent: impl Fn(u64) + Send + Sync + 'static,
) -> Result<Form> {
    let file = File::open(path).await.with_context(|| format!("open {}", path.display()))?;
    let meta = file.metadata().await?;
    if !meta.is_file() {
        bail!("{} is not a regular file", path.display());
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let boundary = format!("streaming-{}", Uuid::new_v4().simple());
    let head = head(&boundary, fields, &name);
    let tail = format!("\r\n--{boundary}--\r\n");
    let length = head.len() as u64 + meta.len() + tail.len() as u64;
    // If the file grows meanwhile, the body must not exceed the announced length.
    let content = ReaderStream::with_capacity(file.take(meta.len()), READ_BYTES);
    let content = content.inspect_ok(move |piece| sent(piece.len() as u64));
    let whole = single_chunk(head).chain(content).chain(single_chunk(tail));
    let body = BodyExt::boxed(StreamBody::new(whole.map_ok(Frame::data)));
    let content_type = format!("multipart/form-data; boundary={boundary}");
    Ok(Form { content_type, length, body })
}

fn single_chunk(text: String) -> impl futures::Stream<Item = io::Result<Bytes>> {
    stream::once(async move { Ok(Bytes::from(text)) })
}

fn head(boundary: &str, fields: &[(&str, &str)], file: &str) -> String {
    let mut head = String::new();
    for (name, value) in fields {
        head.push_str(&format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
        ));
    }
    head.push_str(&format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"video\"; filename=\"{}\"\r\n\
         Content-Type: application/octet-stream\r\n\r\n",
        quoted(file)
    ));
    head
}

/// Escapes a file name in the way browsers do.
fn quoted(name: &str) -> String {
    name.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A")
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    };

    use super::*;

    #[tokio::test]
    async fn the_announced_length_is_sent() {
        let path = std::env::temp_dir().join(format!("streaming-form-{}", std::process::id()));
        std::fs::write(&path, vec![7; READ_BYTES + 11]).unwrap();
        let sent = Arc::new(AtomicU64::new(0));
        let counter = sent.clone();
        let count = move |bytes| {
            counter.fetch_add(bytes, Ordering::Relaxed);
        };
        let form = form(&path, &[("title", "Über \"uns\"")], count).await.unwrap();
        let body = form.body.collect().await.unwrap().to_bytes();
        assert_eq!(body.len() as u64, form.length);
        assert_eq!(sent.load(Ordering::Relaxed), READ_BYTES as u64 + 11);
        assert!(String::from_utf8_lossy(&body).contains("name=\"title\"\r\n\r\nÜber \"uns\"\r\n"));
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn file_names_are_escaped_in_the_header() {
        assert_eq!(quoted("a\"\r\nb.mp4"), "a%22%0D%0Ab.mp4");
    }
}
