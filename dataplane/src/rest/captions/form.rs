//! A text track as a multipart form: `file` and its properties, in any order.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use api::code::{Code, Problem};
use futures::StreamExt;
use media::captions::CAPTIONS_BYTES_MAX;
use multer::{Field, Multipart};

use super::super::upload::form::malformed;
use super::{TrackFields, append, format_of};
use crate::{
    http::request_body::RequestBody,
    rest::upload::form_buffer::{FormBuffer, PieceError},
};

/// Maximum size in bytes of the whole form: the file, the text fields and the boundaries.
const FORM_BYTES_MAX: u64 = CAPTIONS_BYTES_MAX as u64 + (64 << 10);
/// Maximum size in bytes of a text field; its content is validated elsewhere.
const TEXT_BYTES_MAX: usize = 1024;

/// Reads the whole form.
pub(super) async fn read(
    body: &RequestBody,
    boundary: String,
    mut fields: TrackFields,
) -> Result<(TrackFields, &'static str, Vec<u8>), Problem> {
    let (taken, buffer) = (Arc::new(AtomicU64::new(0)), Arc::new(FormBuffer::default()));
    let (counted, holding) = (taken.clone(), buffer.clone());
    let pieces = body.pieces().map(move |piece| {
        let piece = piece.map_err(PieceError::Body)?;
        let before = counted.fetch_add(piece.len() as u64, Ordering::Relaxed);
        if before > FORM_BYTES_MAX {
            return Err(PieceError::BufferFull);
        }
        holding.add(piece.len())?;
        Ok(piece)
    });
    let mut form = Multipart::new(pieces, boundary);
    let mut file: Option<(&'static str, Vec<u8>)> = None;
    let problem = |error: &multer::Error| match taken.load(Ordering::Relaxed) > FORM_BYTES_MAX {
        true => {
            Problem::new(Code::TooLarge, format!("the form is larger than {FORM_BYTES_MAX} bytes"))
        }
        false => malformed(error),
    };
    while let Some(mut field) = form.next_field().await.map_err(|e| problem(&e))? {
        let name = field.name().unwrap_or_default().to_owned();
        match name.as_str() {
            "" => return Err(Problem::new(Code::Malformed, "a part of the form has no name")),
            "file" if file.is_some() => {
                return Err(Problem::field("file", "must appear once"));
            }
            "file" => {
                let format = format_of(field.content_type().map_or("", AsRef::as_ref));
                let mut bytes = Vec::new();
                while let Some(piece) = field.chunk().await.map_err(|e| problem(&e))? {
                    buffer.remove(piece.len());
                    append(&mut bytes, &piece)?;
                }
                file = Some((format.unwrap_or_default(), bytes));
            }
            _ => fields.set(&name, text(&name, field, &buffer, problem).await?)?,
        }
    }
    let (format, bytes) = file.ok_or_else(|| Problem::field("file", "is missing"))?;
    Ok((fields, format, bytes))
}

async fn text(
    name: &str,
    mut field: Field<'_>,
    buffer: &FormBuffer,
    problem: impl Fn(&multer::Error) -> Problem,
) -> Result<String, Problem> {
    let name: String = name.chars().take(64).collect();
    let mut bytes = Vec::new();
    while let Some(piece) = field.chunk().await.map_err(|e| problem(&e))? {
        buffer.remove(piece.len());
        if bytes.len() + piece.len() > TEXT_BYTES_MAX {
            return Err(Problem::field(name, format!("is longer than {TEXT_BYTES_MAX} bytes")));
        }
        bytes.extend_from_slice(&piece);
    }
    String::from_utf8(bytes).map_err(|_| Problem::field(name, "must be UTF-8"))
}
