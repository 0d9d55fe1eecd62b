//! Bounds how much the form parser buffers, and how often it searches the same bytes again.
//!
//! With every piece that arrives, the parser searches everything that it has buffered: for a
//! boundary, or for the end of a part's headers. Sending byte by byte would make that quadratic, so
//! both the buffered bytes and the searches are bounded.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::http::request_body::RequestBodyError;

/// Why no more bytes are passed to the parser.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PieceError {
    /// The body did not arrive completely.
    #[error(transparent)]
    Body(RequestBodyError),
    /// The parser has buffered more than a valid form requires.
    #[error("no boundary, or part headers of unreasonable size")]
    BufferFull,
}

/// Bytes that the parser may buffer: a boundary, a part's headers, and the bytes of one read (hyper
/// reads at most 408 KiB at a time).
const BUFFERED_BYTES_MAX: u64 = 512 << 10;
/// Bytes that may be searched again before the parser returns any: enough for 8 KiB of headers that
/// arrive byte by byte.
const SEARCHED_BYTES_MAX: u64 = 32 << 20;

/// Bytes that the parser has received and not yet returned.
#[derive(Debug, Default)]
pub(crate) struct FormBuffer {
    bytes: AtomicU64,
    /// Bytes searched again since the parser last returned some, each counted per search.
    searched: AtomicU64,
}

impl FormBuffer {
    /// Counts a piece that the parser is about to receive.
    ///
    /// # Errors
    /// [`PieceError::BufferFull`] if the parser has buffered too much, or has searched it too
    /// often.
    pub(crate) fn add(&self, piece: usize) -> Result<(), PieceError> {
        let before = self.bytes.fetch_add(piece as u64, Ordering::Relaxed);
        let searched = self.searched.fetch_add(before, Ordering::Relaxed) + before;
        if before > BUFFERED_BYTES_MAX || searched > SEARCHED_BYTES_MAX {
            return Err(PieceError::BufferFull);
        }
        Ok(())
    }

    /// Counts bytes that the parser returned.
    pub(crate) fn remove(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes as u64, Ordering::Relaxed);
        self.searched.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use bytes::Bytes;
    use futures::{StreamExt, stream};
    use multer::Multipart;

    use super::{FormBuffer, PieceError};

    /// Parses `text`, which arrives one byte per poll; returns the first field's name and the
    /// number of bytes that the parser received.
    async fn first_field(text: String) -> (Result<String, multer::Error>, usize) {
        let (buffer, received) = (Arc::new(FormBuffer::default()), Arc::new(AtomicUsize::new(0)));
        let counted = received.clone();
        let bytes = stream::iter(text.into_bytes()).then(move |byte| {
            let (buffer, counted) = (buffer.clone(), counted.clone());
            async move {
                tokio::task::yield_now().await;
                buffer.add(1)?;
                counted.fetch_add(1, Ordering::Relaxed);
                Ok::<_, PieceError>(Bytes::copy_from_slice(&[byte]))
            }
        });
        let mut form = Multipart::new(bytes, "b");
        let name = form.next_field().await.map(|field| {
            field.and_then(|field| field.name().map(str::to_owned)).unwrap_or_default()
        });
        (name, received.load(Ordering::Relaxed))
    }

    #[tokio::test]
    async fn forms_that_arrive_byte_by_byte_are_searched_a_bounded_number_of_times() {
        let header = "--b\r\nContent-Disposition: form-data; name=\"file\"\r\nX: ";
        let good = format!("{header}{}\r\n\r\n", "x".repeat(4096));
        assert_eq!(first_field(good).await.0.unwrap(), "file");
        let endless = "x".repeat(1 << 20);
        for bad in [endless.clone(), format!("{header}{endless}")] {
            let (name, received) = first_field(bad).await;
            assert!(matches!(name, Err(multer::Error::StreamReadFailed(_))), "{name:?}");
            // n bytes that arrive one by one cost n * n / 2 searched bytes.
            assert!(
                received * received / 2 <= super::SEARCHED_BYTES_MAX as usize + received,
                "{received}"
            );
        }
    }
}
