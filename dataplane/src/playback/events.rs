//! `/api/stream/{id}/events`: sends how far a video is, to everyone who may play it, immediately and
//! after every change, as server-sent events.
//!
//! All viewers of a video share what one task reads ([`progress`]). A viewer's rights are checked
//! again before each event, so that a stream ends with its token or when the video becomes private.

mod progress;

use std::{
    collections::HashMap,
    io,
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use api::code::{Code, Problem};
use bytes::Bytes;
use futures::stream;
use http::request::Parts;
use media::VideoId;
use tokio::sync::{Notify, watch};

use self::progress::{Progress, follow};
use super::{Playback, access, access::Credentials};
use crate::http::{
    event_stream::{self, KEEP_ALIVE, SILENCE_MAX},
    reply::Reply,
};

/// Maximum number of open streams.
const VIEWERS_MAX: usize = 10_000;
/// When a client may try again that was rejected because of [`VIEWERS_MAX`].
const RETRY_AFTER: Duration = Duration::from_secs(30);
/// How long a new stream waits for the first state.
const FIRST_TIME_MAX: Duration = Duration::from_secs(8);

/// The last state that was read; `None` before the first one, `Some(Ok(None))` for a video that does
/// not exist.
type Seen = Option<Result<Option<Progress>, Problem>>;

/// A video with at least one stream.
#[derive(Clone)]
struct Watched {
    changed: Arc<Notify>,
    states: Arc<watch::Sender<Seen>>,
}

/// The videos whose streams are open.
#[derive(Default)]
pub(crate) struct PlaybackEvents(Mutex<HashMap<VideoId, Watched>>);

impl PlaybackEvents {
    /// Has the state of a video read again.
    pub(crate) fn changed(&self, video: VideoId) {
        let videos = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(watched) = videos.get(&video) {
            watched.changed.notify_one();
        }
    }

    /// The same for every video.
    pub(crate) fn everything_changed(&self) {
        let videos = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        videos.values().for_each(|watched| watched.changed.notify_one());
    }

    /// The states of a video; the first subscriber begins to follow it.
    fn subscribe(&self, playback: &Arc<Playback>, video: VideoId) -> watch::Receiver<Seen> {
        let mut videos = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(watched) = videos.get(&video) {
            return watched.states.subscribe();
        }
        let (states, receiver) = watch::channel(None);
        let watched = Watched { changed: Arc::default(), states: Arc::new(states) };
        videos.insert(video, watched.clone());
        playback.shutdown.tracker.spawn(follow(playback.clone(), video, watched));
        receiver
    }

    /// Ends the following of a video, unless it has viewers again.
    fn forget(&self, video: VideoId) -> bool {
        let mut videos = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let unused = videos.get(&video).is_none_or(|watched| watched.states.is_closed());
        if unused {
            videos.remove(&video);
        }
        unused
    }
}

/// Counts an open stream; dropping it ends the count.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(open: &Arc<AtomicUsize>) -> Result<Self, Problem> {
        let taken = Self(open.clone());
        if open.fetch_add(1, Ordering::Relaxed) < VIEWERS_MAX {
            return Ok(taken);
        }
        let text = "too many viewers follow videos; request the state later";
        let retry_after = Some(RETRY_AFTER);
        Err(Problem { retry_after, ..Problem::new(Code::Unavailable, text) })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Streams the states of a video.
pub(super) async fn serve(
    playback: &Arc<Playback>,
    video: VideoId,
    request: &Parts,
    address: IpAddr,
) -> Result<Reply, Problem> {
    let credentials =
        Credentials::read(&playback.control, &request.headers, request.uri.query(), address);
    let place = Place::take(&playback.metrics.viewers)?;
    let mut states = playback.events.subscribe(playback, video);
    // After the time, there is still no state.
    drop(tokio::time::timeout(FIRST_TIME_MAX, states.wait_for(Option::is_some)).await);
    let seen = states.borrow_and_update().clone();
    let unknown = || Err(Problem::new(Code::Unavailable, "the state cannot be read now"));
    let progress = seen.unwrap_or_else(unknown)?.ok_or_else(access::unknown)?;
    access::authorize(playback, &progress.protection, &credentials).await?;
    let playback = playback.clone();
    let viewing = Viewing { playback, credentials, states, next: Some(progress), _place: place };
    Ok(event_stream::reply(stream::unfold(viewing, Viewing::event)))
}

/// A viewer's stream.
struct Viewing {
    playback: Arc<Playback>,
    credentials: Credentials,
    states: watch::Receiver<Seen>,
    /// The state to send.
    next: Option<Progress>,
    _place: Place,
}

impl Viewing {
    async fn event(mut self) -> Option<(io::Result<Bytes>, Self)> {
        if let Some(progress) = self.next.take() {
            return Some((Ok(text(&progress).into()), self));
        }
        let changed = tokio::select! {
            () = self.playback.shutdown.soft.cancelled() => return None,
            changed = tokio::time::timeout(SILENCE_MAX, self.states.changed()) => changed,
        };
        let seen = self.states.borrow_and_update().clone();
        let progress = match seen {
            Some(Ok(progress)) => progress?,
            // The state cannot be read now.
            _ => return Some((Ok(KEEP_ALIVE.into()), self)),
        };
        access::authorize(&self.playback, &progress.protection, &self.credentials).await.ok()?;
        let text = match changed {
            Ok(Ok(())) => text(&progress),
            Ok(Err(_)) => return None,
            Err(_) => KEEP_ALIVE.to_owned(),
        };
        Some((Ok(text.into()), self))
    }
}

fn text(progress: &Progress) -> String {
    format!("event: state\ndata: {}\n\n", progress.json())
}
