//! Reads how far a video is: from the cache of indexes, and for an unfinished video from control,
//! once for all its viewers.

use std::{sync::Arc, time::Duration};

use api::{
    code::{Code, Problem},
    v1::{
        GetProgressRequest, GetProgressResponse, VideoState,
        playback_service_client::PlaybackServiceClient,
    },
};
use media::{VideoId, index::Index, manifest};
use serde_json::{Value, json};

use super::Watched;
use crate::{
    control::{self, CALL_TIME_MAX},
    playback::{Playback, access::Protection},
};

/// Changes within this time become one event.
const COALESCE: Duration = Duration::from_millis(250);
/// How often an unfinished video is read again for its estimate.
const UNFINISHED_EVERY: Duration = Duration::from_secs(3);
/// How often a finished video is read again, which only a lost notification makes necessary.
const FINISHED_EVERY: Duration = Duration::from_secs(30);
/// How often a video is read while no change events arrive.
const UNWATCHED_EVERY: Duration = Duration::from_secs(1);

/// How far a video is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Progress {
    /// Decides who may see it.
    pub(crate) protection: Protection,
    state: State,
    /// Length of the video in seconds; `None` until probed.
    duration: Option<f64>,
    /// How many seconds are listed.
    edge: f64,
    /// Seconds until everything is encoded.
    eta: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing can be played yet.
    Waiting,
    Growing,
    Ready,
    /// The job has failed; the listed part can still be played.
    Failed,
}

impl Progress {
    pub(super) fn json(&self) -> Value {
        let state = match self.state {
            State::Waiting => "waiting",
            State::Growing => "growing",
            State::Ready => "ready",
            State::Failed => "failed",
        };
        json!({
            "state": state,
            "duration": self.duration,
            "edge": self.edge,
            "etaSeconds": self.eta,
        })
    }

    fn new(video: VideoId, index: Option<&Index>, known: Option<GetProgressResponse>) -> Self {
        let failed = known.as_ref().is_some_and(|known| known.state() == VideoState::Failed);
        let state = match index {
            Some(index) if index.finished_at_ms.is_some() => State::Ready,
            _ if failed => State::Failed,
            Some(_) => State::Growing,
            None => State::Waiting,
        };
        let probed = known.as_ref().and_then(|known| known.duration_seconds);
        Self {
            state,
            duration: index.map(|index| index.grid.duration()).or(probed),
            edge: index.map_or(0.0, manifest::edge),
            eta: known.as_ref().and_then(|known| known.eta_seconds),
            protection: match (index, known) {
                (Some(index), _) => index.into(),
                (None, Some(known)) => {
                    Protection { video, tenant: known.tenant, public: known.public }
                }
                (None, None) => Protection { video, tenant: String::new(), public: false },
            },
        }
    }
}

/// Reads the state of a video after every change, while it has viewers.
pub(super) async fn follow(playback: Arc<Playback>, video: VideoId, watched: Watched) {
    let Watched { changed, states } = watched;
    loop {
        let seen = read(&playback, video).await;
        let every = match &seen {
            _ if !playback.index_cache.watching() => UNWATCHED_EVERY,
            Ok(Some(progress)) if progress.state == State::Ready => FINISHED_EVERY,
            _ => UNFINISHED_EVERY,
        };
        states.send_if_modified(|before| {
            let same = match (&*before, &seen) {
                (Some(Ok(before)), Ok(now)) => before == now,
                // An outage does not replace the last state.
                (Some(Ok(_)), Err(_)) => true,
                _ => false,
            };
            if !same {
                *before = Some(seen);
            }
            !same
        });
        tokio::select! {
            () = playback.shutdown.soft.cancelled() => return,
            () = states.closed() => {
                if playback.events.forget(video) {
                    return;
                }
            }
            () = changed.notified() => tokio::time::sleep(COALESCE).await,
            () = tokio::time::sleep(every) => {}
        }
    }
}

/// The state of a video; `None` if it does not exist.
async fn read(playback: &Playback, video: VideoId) -> Result<Option<Progress>, Problem> {
    let playable = playback.index_cache.current(video).await?;
    let index = playable.as_ref().map(|playable| &playable.index);
    if index.is_some_and(|index| index.finished_at_ms.is_some()) {
        return Ok(Some(Progress::new(video, index, None)));
    }
    match (index, from_control(playback, video).await) {
        (_, Ok(known)) => Ok(known.map(|known| Progress::new(video, index, Some(known)))),
        (Some(_), Err(_)) => Ok(Some(Progress::new(video, index, None))),
        (None, Err(problem)) => Err(problem),
    }
}

async fn from_control(
    playback: &Playback,
    video: VideoId,
) -> Result<Option<GetProgressResponse>, Problem> {
    let control = &playback.control;
    let reply = control
        .query(CALL_TIME_MAX, |channel| {
            let request = control.own(GetProgressRequest { video_id: video.to_string() });
            async move { PlaybackServiceClient::new(channel).get_progress(request).await }
        })
        .await;
    match reply {
        Ok(reply) => Ok(Some(reply)),
        Err(status) => match control::problem_of(&status).code {
            Code::NotFound => Ok(None),
            _ => Err(Problem::new(Code::Unavailable, "the state cannot be read now")),
        },
    }
}
