//! `/api/videos`: list, get, change, delete.

use api::{
    code::{Code, Problem},
    limits::{DESCRIPTION_CHARS_MAX, TITLE_CHARS_MAX},
    v1::{self, video_service_client::VideoServiceClient},
};
use authz::{Operation, Request};
use http::{HeaderMap, StatusCode, header};
use media::VideoId;
use prost::Message;
use runtime::{Clock, SystemClock};
use serde_json::json;

use super::{
    Caller,
    fields::{self, Fields, Page},
    json as shape,
};
use crate::{
    http::{
        conditions,
        reply::{self, Reply, Text},
    },
    rest::Rest,
    shared::Lookup,
};

/// Lists videos.
pub(crate) async fn list(
    rest: &Rest,
    caller: &Caller,
    headers: &HeaderMap,
    query: Option<&str>,
) -> Result<Reply, Problem> {
    let page = Page::read(query)?;
    let message = v1::ListVideosRequest {
        page_size: page.size,
        page_token: page.token,
        q: fields::parameter(query, "q").unwrap_or_default(),
        states: fields::states(query, shape::video_state)?,
        sort: sort(query)?,
    };
    let listed = rest
        .control
        .unary(caller, message, async |channel, request| {
            VideoServiceClient::new(channel).list_videos(request).await
        })
        .await?;
    let videos: Vec<_> = listed.videos.iter().map(shape::video).collect();
    let next = shape::non_empty(&listed.next_page_token);
    Ok(reply::json_document(headers, &json!({ "videos": videos, "nextPageToken": next })))
}

/// The order of a list; control knows the names of the orders, and an empty one means the default
/// there.
fn sort(query: Option<&str>) -> Result<String, Problem> {
    match fields::parameter(query, "sort") {
        Some(sort) if sort.is_empty() => Err(Problem::at(Code::Malformed, "sort", "is empty")),
        sort => Ok(sort.unwrap_or_default()),
    }
}

/// Gets one video.
pub(crate) async fn get(
    rest: &Rest,
    caller: &Caller,
    headers: &HeaderMap,
    video: VideoId,
) -> Result<Reply, Problem> {
    let lookup = match reader(rest, caller, video) {
        Some(tenant) => rest.shared.metadata(video, &tenant).await,
        None => Lookup::default(),
    };
    if let Some(known) = lookup.found.and_then(|found| v1::Video::decode(found).ok()) {
        return Ok(reply::json_document(headers, &shape::video(&known)));
    }
    let found = fetch(rest, caller, video).await?;
    // A video that is not ready still changes by itself, and clients poll it to see the changes.
    if let Some(slot) = lookup.slot.filter(|_| found.state() == v1::VideoState::Ready) {
        slot.store(&found.encode_to_vec()).await;
    }
    Ok(reply::json_document(headers, &shape::video(&found)))
}

/// Fetches a video from the control plane.
async fn fetch(rest: &Rest, caller: &Caller, video: VideoId) -> Result<v1::Video, Problem> {
    rest.control
        .unary(
            caller,
            v1::GetVideoRequest { video_id: video.to_string() },
            async |channel, request| VideoServiceClient::new(channel).get_video(request).await,
        )
        .await
}

/// The tenant whose videos the caller may read, if this plane can decide that without the control
/// plane.
fn reader(rest: &Rest, caller: &Caller, video: VideoId) -> Option<String> {
    // Revocations are received only together with changes.
    if !rest.index_cache.watching() {
        return None;
    }
    // No address is passed, because only the control plane knows which address counts; tokens that
    // are bound to an address are checked there.
    let request = Request {
        now: SystemClock.now_unix(),
        operation: Operation::Read,
        video: Some(video),
        address: None,
    };
    rest.verifier.authenticate(caller.token()?, &request).ok().map(|principal| principal.tenant)
}

/// Updates the fields that are present in the body.
pub(crate) async fn update(
    rest: &Rest,
    caller: &Caller,
    headers: &HeaderMap,
    video: VideoId,
    mut fields: Fields,
) -> Result<Reply, Problem> {
    let mut message =
        v1::UpdateVideoRequest { video_id: video.to_string(), ..v1::UpdateVideoRequest::default() };
    let mut paths = Vec::new();
    if let Some(title) = fields.text("title")? {
        message.title = title_of(title)?;
        paths.push("title".to_owned());
    }
    if let Some(description) = fields.text("description")? {
        message.description = description_of(description)?;
        paths.push("description".to_owned());
    }
    if let Some(text) = fields.text("visibility")? {
        message.visibility = visibility_of(&text)?.into();
        paths.push("visibility".to_owned());
    }
    fields.finish()?;
    if paths.is_empty() {
        let text = "the body must have a title, description or visibility";
        return Err(Problem::new(Code::InvalidField, text));
    }
    message.revision = check_if_match(rest, caller, headers, video).await?;
    message.update_mask = Some(prost_types::FieldMask { paths });
    let changed = rest
        .control
        .unary(caller, message, async |channel, request| {
            VideoServiceClient::new(channel).update_video(request).await
        })
        .await?;
    // The new visibility takes effect here immediately; the control plane notifies other data
    // planes.
    rest.index_cache.changed(video);
    Ok(reply::json(StatusCode::OK, &shape::video(&changed)))
}

/// Evaluates `If-Match` of a change (RFC 9110, 13.1.1): it is applied only to the version that the
/// client has seen. Its revision is sent with the change, so that only one of two concurrent
/// changes succeeds.
async fn check_if_match(
    rest: &Rest,
    caller: &Caller,
    headers: &HeaderMap,
    video: VideoId,
) -> Result<Option<u64>, Problem> {
    if !headers.contains_key(header::IF_MATCH) {
        return Ok(None);
    }
    let present = fetch(rest, caller, video).await?;
    let text = Text::new(shape::video(&present).to_string());
    let seen = text.etags().iter().any(|etag| conditions::matches(headers, etag));
    if seen { Ok(Some(present.revision)) } else { Err(reply::another_etag()) }
}

/// Deletes a video.
pub(crate) async fn delete(
    rest: &Rest,
    caller: &Caller,
    headers: &HeaderMap,
    video: VideoId,
) -> Result<Reply, Problem> {
    let message = v1::DeleteVideoRequest {
        video_id: video.to_string(),
        revision: check_if_match(rest, caller, headers, video).await?,
    };
    rest.control
        .unary(caller, message, async |channel, request| {
            VideoServiceClient::new(channel).delete_video(request).await
        })
        .await?;
    rest.index_cache.changed(video);
    Ok(reply::status(StatusCode::NO_CONTENT))
}

/// Has its source probed again.
pub(crate) async fn probe(rest: &Rest, caller: &Caller, video: VideoId) -> Result<Reply, Problem> {
    let probed = rest
        .control
        .unary(
            caller,
            v1::ReprobeVideoRequest { video_id: video.to_string() },
            async |channel, request| VideoServiceClient::new(channel).reprobe_video(request).await,
        )
        .await?;
    rest.index_cache.changed(video);
    let document =
        json!({ "videoId": probed.video_id, "state": shape::video_state(probed.state()) });
    let mut reply = reply::json(StatusCode::ACCEPTED, &document);
    reply::set(&mut reply, header::LOCATION, &format!("/api/videos/{video}"));
    Ok(reply)
}

/// Checks a title's length.
pub(crate) fn title_of(text: String) -> Result<String, Problem> {
    check_length("title", text, TITLE_CHARS_MAX)
}

/// Checks a description's length.
pub(crate) fn description_of(text: String) -> Result<String, Problem> {
    check_length("description", text, DESCRIPTION_CHARS_MAX)
}

/// Parses "public" or "private".
pub(crate) fn visibility_of(text: &str) -> Result<v1::Visibility, Problem> {
    match text {
        "public" => Ok(v1::Visibility::Public),
        "private" => Ok(v1::Visibility::Private),
        _ => Err(Problem::field("visibility", "must be \"public\" or \"private\"")),
    }
}

/// Checks that the request for a job of an upload is "auto".
pub(crate) fn transcode_of(text: String) -> Result<String, Problem> {
    match text.as_str() {
        "auto" => Ok(text),
        _ => Err(Problem::field("transcode", "must be \"auto\"")),
    }
}

fn check_length(field: &str, text: String, chars_max: usize) -> Result<String, Problem> {
    if text.chars().count() > chars_max {
        return Err(Problem::field(field, format!("is longer than {chars_max} characters")));
    }
    Ok(text)
}
