//! `/api/jobs/{id}/events`: sends a job's state immediately and after every change, as server-sent
//! events.
//!
//! Each event contains the whole state, so a client that reconnects needs none of the missed
//! events. `Last-Event-ID` is read only to inform a browser that the job has ended and that it may
//! stop reconnecting.

use std::io;

use api::{
    code::Problem,
    v1::{self, JobState, job_service_client::JobServiceClient},
};
use bytes::Bytes;
use futures::stream;
use http::{HeaderMap, HeaderName, StatusCode};
use media::JobId;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;

use super::{Caller, json as shape};
use crate::{
    http::{
        event_stream::{self, KEEP_ALIVE, SILENCE_MAX},
        reply::{self, Reply},
    },
    rest::Rest,
};

/// Prefix of the id of a job's last event.
const LAST: &str = "end-";

/// Streams the states of the job.
pub(crate) async fn watch(
    rest: &Rest,
    caller: &Caller,
    headers: &HeaderMap,
    job: JobId,
) -> Result<Reply, Problem> {
    let jobs = rest
        .control
        .unary(caller, v1::WatchJobRequest { job_id: job.to_string() }, async |channel, request| {
            JobServiceClient::new(channel).watch_job(request).await
        })
        .await?;
    let seen = headers.get(HeaderName::from_static("last-event-id"));
    if seen.is_some_and(|id| id.as_bytes().starts_with(LAST.as_bytes())) {
        return Ok(reply::status(StatusCode::NO_CONTENT));
    }
    let watch = Watch { jobs, stop: rest.shutdown.soft.clone(), number: 0, ended: false };
    Ok(event_stream::reply(stream::unfold(watch, Watch::next)))
}

struct Watch {
    jobs: Streaming<v1::Job>,
    stop: CancellationToken,
    number: u64,
    ended: bool,
}

impl Watch {
    async fn next(mut self) -> Option<(io::Result<Bytes>, Self)> {
        if self.ended {
            return None;
        }
        let message = tokio::select! {
            () = self.stop.cancelled() => return None,
            message = tokio::time::timeout(SILENCE_MAX, self.jobs.message()) => message,
        };
        let text = match message {
            Err(_) => KEEP_ALIVE.to_owned(),
            Ok(Ok(Some(job))) => self.event(&job),
            Ok(Ok(None)) => return None,
            Ok(Err(status)) => {
                tracing::debug!(code = ?status.code(), "failed to watch a job");
                return None;
            }
        };
        Some((Ok(text.into()), self))
    }

    fn event(&mut self, job: &v1::Job) -> String {
        self.number += 1;
        let state = job.state();
        self.ended = matches!(state, JobState::Completed | JobState::Failed | JobState::Cancelled);
        let id = if self.ended {
            format!("{LAST}{}", shape::job_state(state))
        } else {
            self.number.to_string()
        };
        event_stream::event(&id, "job", shape::job(job))
    }
}
