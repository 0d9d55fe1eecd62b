//! The body of a reply: empty, bytes, a stream, or a part of a local file.
//!
//! A file is read in large pieces on the blocking pool, one piece ahead of the client.
//! object_store's own stream of a local file reads 8 KiB at a time and is several times slower.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures::{Stream, stream::BoxStream};
use http_body::{Frame, SizeHint};
use tokio::task::{JoinHandle, spawn_blocking};

use crate::http::connection::ActiveRequest;

/// Size of one piece of a file. At most two are in memory per client.
const PIECE_BYTES: u64 = 512 << 10;

/// A reply's body.
pub(crate) struct Body {
    /// Bytes that are sent before the rest.
    preceding: Bytes,
    kind: Kind,
    /// Counts the bytes that are sent.
    counter: Option<Arc<AtomicU64>>,
    /// The request that it belongs to, set when sending starts.
    request: Option<ActiveRequest>,
}

enum Kind {
    Empty,
    Full(Bytes),
    Stream { stream: BoxStream<'static, io::Result<Bytes>>, left: Option<u64> },
    File(FilePart),
}

impl Body {
    /// An empty body.
    pub(crate) const fn empty() -> Self {
        Self::of(Kind::Empty)
    }

    const fn of(kind: Kind) -> Self {
        Self { preceding: Bytes::new(), kind, counter: None, request: None }
    }

    /// A body with these bytes.
    pub(crate) fn full(bytes: Bytes) -> Self {
        let kind = if bytes.is_empty() { Kind::Empty } else { Kind::Full(bytes) };
        Self::of(kind)
    }

    /// A body of bytes as they arrive, with the total `length` if known.
    pub(crate) fn stream(
        stream: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
        length: Option<u64>,
    ) -> Self {
        Self::of(Kind::Stream { stream: Box::pin(stream), left: length })
    }

    /// A body of `length` bytes of a file, from `start`.
    pub(crate) fn file(file: File, start: u64, length: u64) -> Self {
        if length == 0 {
            return Self::empty();
        }
        let part =
            FilePart { state: FileState::Fresh(Some(file), start), unread: length, left: length };
        Self::of(Kind::File(part))
    }

    /// The same body after these bytes.
    pub(crate) fn preceded_by(mut self, bytes: Bytes) -> Self {
        self.preceding = bytes;
        self
    }

    /// Counts the bytes that are sent.
    pub(crate) fn counted(mut self, counter: Arc<AtomicU64>) -> Self {
        self.counter = Some(counter);
        self
    }

    /// Reports to the connection which bytes wait for the client.
    pub(crate) fn of_request(mut self, request: ActiveRequest) -> Self {
        self.request = Some(request);
        self
    }

    /// The bytes, if they are in memory.
    pub(crate) fn bytes(&self) -> Option<&[u8]> {
        match &self.kind {
            Kind::Full(bytes) if self.preceding.is_empty() => Some(bytes),
            _ => None,
        }
    }

    fn poll_kind(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if !self.preceding.is_empty() {
            return Poll::Ready(Some(Ok(std::mem::take(&mut self.preceding))));
        }
        match &mut self.kind {
            Kind::Empty => Poll::Ready(None),
            Kind::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                self.kind = Kind::Empty;
                Poll::Ready(Some(Ok(bytes)))
            }
            Kind::Stream { stream, left } => {
                let item = ready!(stream.as_mut().poll_next(cx));
                if let (Some(Ok(bytes)), Some(left)) = (&item, left) {
                    *left = left.saturating_sub(bytes.len() as u64);
                }
                Poll::Ready(item)
            }
            Kind::File(part) => part.poll(cx),
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let item = ready!(self.poll_kind(cx));
        if let (Some(Ok(bytes)), Some(counter)) = (&item, &self.counter) {
            counter.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        }
        let held = |bytes| match &self.request {
            Some(request) => request.hold(bytes),
            None => bytes,
        };
        Poll::Ready(item.map(|result| result.map(|bytes| Frame::data(held(bytes)))))
    }

    fn is_end_stream(&self) -> bool {
        if !self.preceding.is_empty() {
            return false;
        }
        match &self.kind {
            Kind::Empty => true,
            Kind::File(part) => part.left == 0,
            Kind::Full(_) | Kind::Stream { .. } => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        let left = match &self.kind {
            Kind::Empty => 0,
            Kind::Full(bytes) => bytes.len() as u64,
            Kind::Stream { left: Some(left), .. } => *left,
            Kind::Stream { left: None, .. } => return SizeHint::default(),
            Kind::File(part) => part.left,
        };
        SizeHint::with_exact(self.preceding.len() as u64 + left)
    }
}

/// A part of a file that is being sent.
struct FilePart {
    state: FileState,
    /// Bytes for which no read has started.
    unread: u64,
    /// Bytes that have not been returned yet.
    left: u64,
}

type Piece = JoinHandle<(File, io::Result<Bytes>)>;

enum FileState {
    Fresh(Option<File>, u64),
    Reading(Piece),
    Done,
}

impl FilePart {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if let FileState::Fresh(file, start) = &mut self.state {
            let Some(file) = file.take() else { return Poll::Ready(None) };
            let start = *start;
            self.read_next(file, Some(start));
        }
        let FileState::Reading(piece) = &mut self.state else { return Poll::Ready(None) };
        let (file, result) = match ready!(Pin::new(piece).poll(cx)) {
            Ok(read) => read,
            Err(error) => {
                self.state = FileState::Done;
                return Poll::Ready(Some(Err(io::Error::other(error))));
            }
        };
        match &result {
            Ok(bytes) => {
                self.left -= bytes.len() as u64;
                self.read_next(file, None);
            }
            Err(_) => self.state = FileState::Done,
        }
        Poll::Ready(Some(result))
    }

    fn read_next(&mut self, mut file: File, start: Option<u64>) {
        let bytes = self.unread.min(PIECE_BYTES);
        if bytes == 0 {
            self.state = FileState::Done;
            return;
        }
        self.unread -= bytes;
        self.state = FileState::Reading(spawn_blocking(move || {
            let result = read_exactly(&mut file, start, bytes);
            (file, result)
        }));
    }
}

/// Reads `bytes` from `start`, or from the end of the last read. A short file is an error: a
/// partial segment must never be taken for a complete one.
pub(crate) fn read_exactly(file: &mut File, start: Option<u64>, bytes: u64) -> io::Result<Bytes> {
    if let Some(start) = start {
        file.seek(SeekFrom::Start(start))?;
    }
    let mut buffer = Vec::with_capacity(bytes as usize);
    file.take(bytes).read_to_end(&mut buffer)?;
    if (buffer.len() as u64) < bytes {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(buffer.into())
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn a_part_of_a_file_is_sent_completely_and_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("object");
        let content: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
        std::fs::write(&path, &content).unwrap();
        let counter = Arc::new(AtomicU64::new(0));
        let body = Body::file(File::open(&path).unwrap(), 1001, 2_000_000).counted(counter.clone());
        assert_eq!(http_body::Body::size_hint(&body).exact(), Some(2_000_000));
        let read = body.collect().await.unwrap().to_bytes();
        assert_eq!(read, content[1001..2_001_001]);
        assert_eq!(counter.load(Ordering::Relaxed), 2_000_000);
    }

    #[tokio::test]
    async fn shrunken_file_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("object");
        std::fs::write(&path, [0; 100]).unwrap();
        let body = Body::file(File::open(&path).unwrap(), 50, 100);
        assert!(body.collect().await.is_err());
    }
}
