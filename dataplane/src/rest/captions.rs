//! `/api/videos/{id}/captions`: adds, lists and removes text tracks.
//!
//! The control plane authorizes the caller before the body is read, and validates the content of
//! the file.

mod form;

use std::time::Duration;

use api::{
    code::{Code, Problem},
    v1::{self, video_service_client::VideoServiceClient},
};
use futures::{StreamExt, pin_mut};
use http::{HeaderMap, StatusCode, header, request::Parts};
use media::{CaptionId, VideoId, captions::CAPTIONS_BYTES_MAX};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{Caller, json as shape};
use crate::{
    http::{
        reply::{self, Reply},
        request_body::RequestBody,
    },
    rest::Rest,
};

/// How long a body may take to arrive.
const BODY_TIME_MAX: Duration = Duration::from_secs(60);
/// The control plane reads and stores the whole file within this time.
const CREATE_TIME_MAX: Duration = Duration::from_secs(20);

/// The properties of the text track in the request.
#[derive(Debug, Default, PartialEq, Eq)]
struct TrackFields {
    language: Option<String>,
    label: Option<String>,
    kind: Option<String>,
    default: Option<bool>,
}

impl TrackFields {
    /// Sets one field; an unknown or repeated field is an error that names it.
    fn set(&mut self, name: &str, value: String) -> Result<(), Problem> {
        let twice = match name {
            "language" => self.language.replace(value).is_some(),
            "label" => self.label.replace(value).is_some(),
            "kind" => self.kind.replace(value).is_some(),
            "default" => {
                let boolean = match value.as_str() {
                    "true" => true,
                    "false" => false,
                    _ => return Err(Problem::field(name, "must be true or false")),
                };
                self.default.replace(boolean).is_some()
            }
            _ => {
                let name: String = name.chars().take(64).collect();
                return Err(Problem::field(name, "is not a field of this request"));
            }
        };
        if twice { Err(Problem::field(name, "must appear once")) } else { Ok(()) }
    }

    fn read(query: Option<&str>) -> Result<Self, Problem> {
        let mut fields = Self::default();
        for (name, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            fields.set(&name, value.into_owned())?;
        }
        Ok(fields)
    }
}

/// Adds a text track.
pub(crate) async fn create(
    rest: &Rest,
    caller: &Caller,
    video: VideoId,
    request: &Parts,
    body: &RequestBody,
) -> Result<Reply, Problem> {
    let video_id = video.to_string();
    let may = v1::CreateCaptionRequest {
        video_id: video_id.clone(),
        validate_only: true,
        ..v1::CreateCaptionRequest::default()
    };
    send(rest, caller, may).await?;
    caller.mark_authorized();
    let fields = TrackFields::read(request.uri.query())?;
    let read = timeout(BODY_TIME_MAX, receive(&request.headers, body, fields)).await;
    let slow = |_| Problem::new(Code::Malformed, "the body arrived too slowly");
    let (fields, format, content) = read.map_err(slow)??;
    let language = fields.language.ok_or_else(|| Problem::field("language", "is missing"))?;
    let message = v1::CreateCaptionRequest {
        video_id,
        language,
        label: fields.label.unwrap_or_default(),
        kind: fields.kind.unwrap_or_default(),
        default: fields.default.unwrap_or(false),
        format: format.to_owned(),
        content: content.into(),
        validate_only: false,
    };
    let created = send(rest, caller, message).await.map_err(of_file)?;
    rest.index_cache.changed(video);
    let mut reply = reply::json(StatusCode::CREATED, &shape::caption(&created));
    let location = format!("/api/videos/{video}/captions/{}", created.caption_id);
    reply::set(&mut reply, header::LOCATION, &location);
    Ok(reply)
}

async fn send(
    rest: &Rest,
    caller: &Caller,
    message: v1::CreateCaptionRequest,
) -> Result<v1::Caption, Problem> {
    rest.control
        .unary_within(CREATE_TIME_MAX, caller, message, async |channel, request| {
            VideoServiceClient::new(channel).create_caption(request).await
        })
        .await
}

/// Renames the field `content` of the gRPC message to `file`.
fn of_file(problem: Problem) -> Problem {
    match &problem.violations[..] {
        [one] if one.field == "content" => Problem {
            retry_after: problem.retry_after,
            ..Problem::at(problem.code, "file", &one.message)
        },
        _ => problem,
    }
}

/// The properties of the track, the format of its file ("" if unknown), and the file.
async fn receive(
    headers: &HeaderMap,
    body: &RequestBody,
    fields: TrackFields,
) -> Result<(TrackFields, &'static str, Vec<u8>), Problem> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = kind.unwrap_or_default();
    match format_of(kind) {
        Some(format) => Ok((fields, format, read_body(body).await?)),
        None if essence(kind) == "multipart/form-data" => {
            form::read(body, super::upload::boundary(headers)?, fields).await
        }
        None => {
            let text = "the body must be text/vtt, application/x-subrip or multipart/form-data";
            Err(Problem::new(Code::UnsupportedMediaType, text))
        }
    }
}

fn essence(kind: &str) -> String {
    kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// The format for a media type.
fn format_of(kind: &str) -> Option<&'static str> {
    match essence(kind).as_str() {
        "text/vtt" => Some("vtt"),
        "application/x-subrip" | "application/srt" | "text/srt" | "text/x-subrip" => Some("srt"),
        _ => None,
    }
}

async fn read_body(body: &RequestBody) -> Result<Vec<u8>, Problem> {
    let pieces = body.pieces();
    pin_mut!(pieces);
    let mut bytes = Vec::new();
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|error| Problem::new(Code::Malformed, error.to_string()))?;
        append(&mut bytes, &piece)?;
    }
    Ok(bytes)
}

fn append(bytes: &mut Vec<u8>, piece: &[u8]) -> Result<(), Problem> {
    if bytes.len() + piece.len() > CAPTIONS_BYTES_MAX {
        let text = format!("is larger than {CAPTIONS_BYTES_MAX} bytes");
        return Err(Problem::at(Code::TooLarge, "file", text));
    }
    bytes.extend_from_slice(piece);
    Ok(())
}

/// Lists the text tracks of a video.
pub(crate) async fn list(
    rest: &Rest,
    caller: &Caller,
    headers: &HeaderMap,
    video: VideoId,
) -> Result<Reply, Problem> {
    let message = v1::ListCaptionsRequest { video_id: video.to_string() };
    let listed = rest
        .control
        .unary(caller, message, async |channel, request| {
            VideoServiceClient::new(channel).list_captions(request).await
        })
        .await?;
    let captions: Vec<Value> = listed.captions.iter().map(shape::caption).collect();
    Ok(reply::json_document(headers, &json!({ "captions": captions })))
}

/// Removes a text track.
pub(crate) async fn delete(
    rest: &Rest,
    caller: &Caller,
    video: VideoId,
    caption: CaptionId,
) -> Result<Reply, Problem> {
    let message =
        v1::DeleteCaptionRequest { video_id: video.to_string(), caption_id: caption.to_string() };
    rest.control
        .unary(caller, message, async |channel, request| {
            VideoServiceClient::new(channel).delete_caption(request).await
        })
        .await?;
    rest.index_cache.changed(video);
    Ok(reply::status(StatusCode::NO_CONTENT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_of_a_text_track_are_parsed_field_by_field() {
        let fields =
            TrackFields::read(Some("language=pt-BR&label=Portugu%C3%AAs&default=true")).unwrap();
        assert_eq!(fields.language.as_deref(), Some("pt-BR"));
        assert_eq!((fields.label.as_deref(), fields.default), (Some("Português"), Some(true)));
        for (query, field) in [
            ("default=yes", "default"),
            ("language=en&language=de", "language"),
            ("tenant=other", "tenant"),
        ] {
            assert_eq!(TrackFields::read(Some(query)).unwrap_err().violations[0].field, field);
        }
    }

    #[test]
    fn media_types_select_the_format() {
        assert_eq!(format_of("Text/VTT; charset=utf-8"), Some("vtt"));
        assert_eq!(format_of("application/x-subrip"), Some("srt"));
        assert_eq!(format_of("application/octet-stream"), None);
    }
}
