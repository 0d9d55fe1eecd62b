//! `/api/events`: sends the changes of the caller's videos, jobs, tasks and workers, as server-sent
//! events.
//!
//! The ids are those of the control plane, so a client may continue at any data plane.

use std::io;

use api::{
    code::Problem,
    v1::{self, event::Event, event_service_client::EventServiceClient},
};
use bytes::Bytes;
use futures::stream;
use http::{HeaderMap, HeaderName};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tonic::Streaming;

use super::{Caller, json as shape};
use crate::{
    http::{
        event_stream::{self, KEEP_ALIVE, SILENCE_MAX},
        reply::Reply,
    },
    rest::Rest,
};

/// Longest `Last-Event-ID` that is passed on; control's ids are shorter.
const ID_BYTES_MAX: usize = 64;
/// Replaces a `Last-Event-ID` that control cannot have sent.
const UNKNOWN: &str = "unknown";

/// Streams the changes after the event that `Last-Event-ID` names, or those from now on.
pub(crate) async fn watch(
    rest: &Rest,
    caller: &Caller,
    headers: &HeaderMap,
) -> Result<Reply, Problem> {
    let message = v1::WatchEventsRequest { last_event_id: last_event_id(headers) };
    let events = rest
        .control
        .unary(caller, message, async |channel, request| {
            EventServiceClient::new(channel).watch_events(request).await
        })
        .await?;
    let watch = Watch { events, stop: rest.shutdown.soft.clone() };
    Ok(event_stream::reply(stream::unfold(watch, Watch::next)))
}

fn last_event_id(headers: &HeaderMap) -> String {
    let Some(id) = headers.get(HeaderName::from_static("last-event-id")) else {
        return String::new();
    };
    let plain = id.to_str().ok().filter(|id| id.len() <= ID_BYTES_MAX);
    plain.unwrap_or(UNKNOWN).trim().to_owned()
}

struct Watch {
    events: Streaming<v1::Event>,
    stop: CancellationToken,
}

impl Watch {
    async fn next(mut self) -> Option<(io::Result<Bytes>, Self)> {
        let message = tokio::select! {
            () = self.stop.cancelled() => return None,
            message = tokio::time::timeout(SILENCE_MAX, self.events.message()) => message,
        };
        let text = match message {
            Err(_) => KEEP_ALIVE.to_owned(),
            Ok(Ok(Some(event))) => text(&event),
            Ok(Ok(None)) => return None,
            Ok(Err(status)) => {
                tracing::debug!(code = ?status.code(), "failed to watch events");
                return None;
            }
        };
        Some((Ok(text.into()), self))
    }
}

fn text(event: &v1::Event) -> String {
    let (name, data) = match &event.event {
        Some(Event::Video(video)) => ("video", shape::video(video)),
        Some(Event::Job(job)) => ("job", without_tasks(job)),
        Some(Event::Task(event)) => ("task", task(event)),
        Some(Event::Deleted(deleted)) => ("deleted", json!({ "videoId": deleted.video_id })),
        Some(Event::Worker(worker)) => ("worker", shape::worker_event(worker)),
        Some(Event::Reset(_)) => ("reset", json!({})),
        // The beginning, or an event of a later release.
        None => return event_stream::beginning(&event.id),
    };
    event_stream::event(&event.id, name, data)
}

fn without_tasks(job: &v1::Job) -> Value {
    let mut value = shape::job(job);
    if let Some(fields) = value.as_object_mut() {
        fields.remove("tasks");
    }
    value
}

fn task(event: &v1::TaskEvent) -> Value {
    let mut value = event.task.as_ref().map(shape::task).unwrap_or_default();
    if let Some(fields) = value.as_object_mut() {
        fields.insert("jobId".to_owned(), event.job_id.clone().into());
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_carry_the_json_of_the_api_on_one_line() {
        let id = "0a1b2c3d-7".to_owned();
        let video = v1::Video { title: "a\nb\r\u{2028}".to_owned(), ..v1::Video::default() };
        let event = v1::Event { id: id.clone(), event: Some(Event::Video(video)) };
        let written = text(&event);
        assert_eq!(written.lines().count(), 4, "{written}");
        assert!(written.starts_with("id: 0a1b2c3d-7\nevent: video\ndata: {"));
        let job = v1::Event { id: id.clone(), event: Some(Event::Job(v1::Job::default())) };
        assert!(!text(&job).contains("\"tasks\""));
        let task = v1::TaskEvent { job_id: "j".to_owned(), task: Some(v1::Task::default()) };
        let task = text(&v1::Event { id: id.clone(), event: Some(Event::Task(task)) });
        assert!(task.contains("\"jobId\":\"j\"") && task.contains("\"ordinal\":0"), "{task}");
        let first = text(&v1::Event { id, event: None });
        assert!(first.starts_with(": ") && first.ends_with("\nid: 0a1b2c3d-7\n\n"));
        assert!(!first.contains("event:") && !first.contains("data:"));
    }

    #[test]
    fn an_id_that_control_cannot_have_sent_is_passed_on_as_unknown() {
        let sent = |id: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert("last-event-id", http::HeaderValue::from_bytes(id).unwrap());
            last_event_id(&headers)
        };
        assert_eq!(last_event_id(&HeaderMap::new()), "");
        assert_eq!((sent(b""), sent(b"0a1b2c3d-7")), (String::new(), "0a1b2c3d-7".to_owned()));
        assert_eq!(sent(b"\xff\xfe"), UNKNOWN);
        assert_eq!(sent("x".repeat(9000).as_bytes()), UNKNOWN);
    }
}
