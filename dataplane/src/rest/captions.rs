//! `/api/videos/{id}/captions`: adds, lists and removes text tracks.
//!
//! The control plane authorizes the caller before the body is read, and validates the content of the file.

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
    app::App,
    control::{CALL_TIME_MAX, refusal},
    http::{
        reply::{self, Reply},
        request_body::Intake,
    },
};

/// How long a body may take to arrive.
const BODY_TIME_MAX: Duration = Duration::from_secs(60);
/// The control plane reads and stores the whole file within this time.
const CREATE_TIME_MAX: Duration = Duration::from_secs(20);

/// The properties of the text track in the request.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    language: Option<String>,
    label: Option<String>,
    kind: Option<String>,
    default: Option<bool>,
}

impl Told {
    /// Sets one field; an unknown or repeated field is an error that names it.
    fn set(&mut self, name: &str, value: String) -> Result<(), Problem> {
        let twice = match name {
            "language" => self.language.replace(value).is_some(),
            "label" => self.label.replace(value).is_some(),
            "kind" => self.kind.replace(value).is_some(),
            "default" => {
                let truth = match value.as_str() {
                    "true" => true,
                    "false" => false,
                    _ => return Err(Problem::field(name, "must be true or false")),
                };
                self.default.replace(truth).is_some()
            }
            _ => {
                let name: String = name.chars().take(64).collect();
                return Err(Problem::field(name, "is not a field of this request"));
            }
        };
        if twice { Err(Problem::field(name, "must appear once")) } else { Ok(()) }
    }

    fn read(query: Option<&str>) -> Result<Self, Problem> {
        let mut told = Self::default();
        for (name, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            told.set(&name, value.into_owned())?;
        }
        Ok(told)
    }
}

/// Adds a text track.
pub(crate) async fn create(
    app: &App,
    caller: &Caller,
    video: VideoId,
    request: &Parts,
    body: &Intake,
) -> Result<Reply, Problem> {
    let video_id = video.to_string();
    let may = v1::CreateCaptionRequest {
        video_id: video_id.clone(),
        validate_only: true,
        ..v1::CreateCaptionRequest::default()
    };
    send(app, caller, may).await?;
    caller.admit();
    let told = Told::read(request.uri.query())?;
    let read = timeout(BODY_TIME_MAX, take_in(&request.headers, body, told)).await;
    let slow = |_| Problem::new(Code::Malformed, "the body arrived too slowly");
    let (told, format, content) = read.map_err(slow)??;
    let language = told.language.ok_or_else(|| Problem::field("language", "is missing"))?;
    let message = v1::CreateCaptionRequest {
        video_id,
        language,
        label: told.label.unwrap_or_default(),
        kind: told.kind.unwrap_or_default(),
        default: told.default.unwrap_or(false),
        format: format.to_owned(),
        content: content.into(),
        validate_only: false,
    };
    let made = send(app, caller, message).await.map_err(of_file)?;
    app.catalog.changed(video);
    let mut reply = reply::json(StatusCode::CREATED, &shape::caption(&made));
    let location = format!("/api/videos/{video}/captions/{}", made.caption_id);
    reply::set(&mut reply, header::LOCATION, &location);
    Ok(reply)
}

async fn send(
    app: &App,
    caller: &Caller,
    message: v1::CreateCaptionRequest,
) -> Result<v1::Caption, Problem> {
    let sent = app.control.call(CREATE_TIME_MAX, |channel| {
        let request = caller.ask(message.clone());
        async move { VideoServiceClient::new(channel).create_caption(request).await }
    });
    sent.await.map_err(|status| refusal(&status))
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
async fn take_in(
    headers: &HeaderMap,
    body: &Intake,
    told: Told,
) -> Result<(Told, &'static str, Vec<u8>), Problem> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = kind.unwrap_or_default();
    match format_of(kind) {
        Some(format) => Ok((told, format, whole(body).await?)),
        None if essence(kind) == "multipart/form-data" => {
            form::read(body, super::upload::boundary(headers)?, told).await
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

async fn whole(body: &Intake) -> Result<Vec<u8>, Problem> {
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
    app: &App,
    caller: &Caller,
    headers: &HeaderMap,
    video: VideoId,
) -> Result<Reply, Problem> {
    let listed = app
        .control
        .call(CALL_TIME_MAX, |channel| {
            let request = caller.ask(v1::ListCaptionsRequest { video_id: video.to_string() });
            async move { VideoServiceClient::new(channel).list_captions(request).await }
        })
        .await
        .map_err(|status| refusal(&status))?;
    let captions: Vec<Value> = listed.captions.iter().map(shape::caption).collect();
    Ok(reply::json_document(headers, &json!({ "captions": captions })))
}

/// Removes a text track.
pub(crate) async fn delete(
    app: &App,
    caller: &Caller,
    video: VideoId,
    caption: CaptionId,
) -> Result<Reply, Problem> {
    let message =
        v1::DeleteCaptionRequest { video_id: video.to_string(), caption_id: caption.to_string() };
    app.control
        .call(CALL_TIME_MAX, |channel| {
            let request = caller.ask(message.clone());
            async move { VideoServiceClient::new(channel).delete_caption(request).await }
        })
        .await
        .map_err(|status| refusal(&status))?;
    app.catalog.changed(video);
    Ok(reply::status(StatusCode::NO_CONTENT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_of_a_text_track_are_parsed_field_by_field() {
        let told = Told::read(Some("language=pt-BR&label=Portugu%C3%AAs&default=true")).unwrap();
        assert_eq!(told.language.as_deref(), Some("pt-BR"));
        assert_eq!((told.label.as_deref(), told.default), (Some("Português"), Some(true)));
        for (query, field) in [
            ("default=yes", "default"),
            ("language=en&language=de", "language"),
            ("tenant=other", "tenant"),
        ] {
            assert_eq!(Told::read(Some(query)).unwrap_err().violations[0].field, field);
        }
    }

    #[test]
    fn media_types_select_the_format() {
        assert_eq!(format_of("Text/VTT; charset=utf-8"), Some("vtt"));
        assert_eq!(format_of("application/x-subrip"), Some("srt"));
        assert_eq!(format_of("application/octet-stream"), None);
    }
}
