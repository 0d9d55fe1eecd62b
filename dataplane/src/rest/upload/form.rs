//! Reads the upload form, with its fields in any order, in constant memory.

use std::sync::Arc;

use api::{
    code::{Code, Problem},
    limits::FILENAME_CHARS_MAX,
    v1,
};
use futures::StreamExt;
use multer::{Field, Multipart};

use super::super::videos::{description_of, title_of, transcode_of, visibility_of};
use super::{
    broken, finish,
    form_buffer::{FormBuffer, PieceError},
    too_large,
    writer::{Stored, Writer},
};
use crate::http::request_body::RequestBody;

/// Maximum size of a text field in bytes; the limits of its value are in characters.
const TEXT_BYTES_MAX: usize = 64 << 10;

/// The content of the form.
#[derive(Debug, Default)]
pub(crate) struct Form {
    pub(crate) title: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) visibility: Option<v1::Visibility>,
    pub(crate) transcode: Option<String>,
    pub(crate) filename: Option<String>,
    pub(crate) stored: Option<Stored>,
}

/// Reads the whole form; the file is stored by `writer`.
pub(crate) async fn read(
    body: &RequestBody,
    boundary: String,
    writer: Writer,
    limit: u64,
) -> Result<Form, Problem> {
    let buffer = Arc::new(FormBuffer::default());
    let counted = buffer.clone();
    let pieces = body.pieces().map(move |piece| {
        let piece = piece.map_err(PieceError::Body)?;
        counted.add(piece.len())?;
        Ok::<_, PieceError>(piece)
    });
    let mut reader = Reader { buffer, limit, writer: Some(writer), form: Form::default() };
    let read = reader.read_all(Multipart::new(pieces, boundary)).await;
    if let (Err(_), Some(writer)) = (&read, reader.writer.take()) {
        writer.discard().await;
    }
    read.map(|()| reader.form)
}

struct Reader {
    buffer: Arc<FormBuffer>,
    limit: u64,
    /// Taken while the file is being stored. Discards the stored bytes of an invalid form.
    writer: Option<Writer>,
    form: Form,
}

impl Reader {
    async fn read_all(&mut self, mut multipart: Multipart<'_>) -> Result<(), Problem> {
        while let Some(field) = self.renewing(multipart.next_field()).await? {
            let name = field.name().unwrap_or_default().to_owned();
            match name.as_str() {
                "video" => self.store_file(field).await?,
                "title" => {
                    let title = self.read_text("title", field).await?;
                    set_once("title", &mut self.form.title, title_of(title)?)?;
                }
                "description" => {
                    let description = self.read_text("description", field).await?;
                    let description = description_of(description)?;
                    set_once("description", &mut self.form.description, description)?;
                }
                "visibility" => {
                    let visibility = self.read_text("visibility", field).await?;
                    let visibility = visibility_of(&visibility)?;
                    set_once("visibility", &mut self.form.visibility, visibility)?;
                }
                "transcode" => {
                    let transcode = self.read_text("transcode", field).await?;
                    set_once("transcode", &mut self.form.transcode, transcode_of(transcode)?)?;
                }
                "" => return Err(Problem::new(Code::Malformed, "a part of the form has no name")),
                _ => {
                    let name: String = name.chars().take(64).collect();
                    return Err(Problem::field(name, "is not a field of this form"));
                }
            }
        }
        Ok(())
    }

    async fn store_file(&mut self, mut field: Field<'_>) -> Result<(), Problem> {
        let writer = if self.form.stored.is_none() { self.writer.take() } else { None };
        let Some(mut writer) = writer else {
            return Err(Problem::field("video", "must appear once"));
        };
        let name = field.file_name().unwrap_or_default();
        let name: String =
            name.chars().filter(|c| !c.is_control()).take(FILENAME_CHARS_MAX).collect();
        self.form.filename = Some(name);
        let drained = self.drain(&mut field, &mut writer).await;
        self.writer = Some(writer);
        self.form.stored = Some(drained?);
        Ok(())
    }

    async fn drain(
        &mut self,
        field: &mut Field<'_>,
        writer: &mut Writer,
    ) -> Result<Stored, Problem> {
        while let Some(bytes) = writer.during(field.chunk()).await?.map_err(|e| malformed(&e))? {
            self.buffer.remove(bytes.len());
            if writer.bytes() + bytes.len() as u64 > self.limit {
                return Err(too_large(self.limit));
            }
            writer.write(bytes).await?;
        }
        finish(writer).await
    }

    /// Waits for the parser while renewing the lease.
    async fn renewing<T>(
        &mut self,
        work: impl Future<Output = multer::Result<T>>,
    ) -> Result<T, Problem> {
        let done = match &mut self.writer {
            Some(writer) => writer.during(work).await?,
            None => work.await,
        };
        done.map_err(|error| malformed(&error))
    }

    async fn read_text(&mut self, name: &str, mut field: Field<'_>) -> Result<String, Problem> {
        let mut bytes = Vec::new();
        while let Some(chunk) = self.renewing(field.chunk()).await? {
            self.buffer.remove(chunk.len());
            if bytes.len() + chunk.len() > TEXT_BYTES_MAX {
                return Err(Problem::field(name, format!("is longer than {TEXT_BYTES_MAX} bytes")));
            }
            bytes.extend_from_slice(&chunk);
        }
        String::from_utf8(bytes).map_err(|_| Problem::field(name, "must be UTF-8"))
    }
}

fn set_once<T>(name: &str, place: &mut Option<T>, value: T) -> Result<(), Problem> {
    if place.replace(value).is_some() {
        return Err(Problem::field(name, "must appear once"));
    }
    Ok(())
}

/// The problem to report for a form that could not be parsed.
pub(crate) fn malformed(error: &multer::Error) -> Problem {
    if let multer::Error::StreamReadFailed(source) = error {
        return match source.downcast_ref() {
            Some(PieceError::Body(error)) => broken(*error),
            _ => Problem::new(Code::Malformed, "a boundary of the form is missing"),
        };
    }
    let text = match error {
        multer::Error::IncompleteStream
        | multer::Error::IncompleteFieldData { .. }
        | multer::Error::IncompleteHeaders => "the form ends before its last boundary",
        _ => "the form is malformed",
    };
    Problem::new(Code::Malformed, text)
}
