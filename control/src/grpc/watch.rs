//! Server streams that follow events: of one job, or all changes.

use std::{sync::Arc, time::Duration};

use api::{
    code::{Code, Problem},
    v1,
};
use futures::StreamExt;
use media::JobId;
use tokio::{
    sync::{broadcast, mpsc},
    time::Instant,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::{Stream, lookup};
use crate::{
    cluster::events::{self, Event},
    state::AppState,
};

/// Maximum number of messages queued for a slow reader; beyond it, the sender waits.
const QUEUE_MAX: usize = 16;
/// Changes within this time become one message.
const COALESCE: Duration = Duration::from_millis(200);
/// Progress recorded by other instances is found by polling.
const POLL_EVERY: Duration = Duration::from_secs(1);
/// A reader that receives no message for this long counts as disconnected.
const SEND_MAX: Duration = Duration::from_secs(30);

/// Follows a job, beginning with `first`, until it ends.
pub fn job(
    app: Arc<AppState>,
    tenant: String,
    id: JobId,
    first: v1::Job,
    events: broadcast::Receiver<Event>,
) -> Stream<v1::Job> {
    let (sender, receiver) = mpsc::channel(QUEUE_MAX);
    let tracker = app.shutdown.tracker.clone();
    tracker.spawn(async move {
        if let Err(problem) = follow(&app, &tenant, id, first, events, &sender).await {
            // The reader may have disconnected; the error is then dropped.
            drop(sender.send_timeout(Err(problem.into()), SEND_MAX).await);
        }
    });
    ReceiverStream::new(receiver).boxed()
}

type Sender<T> = mpsc::Sender<Result<T, Status>>;

async fn follow(
    app: &AppState,
    tenant: &str,
    id: JobId,
    first: v1::Job,
    mut events: broadcast::Receiver<Event>,
    sender: &Sender<v1::Job>,
) -> Result<(), Problem> {
    let mut shown_last = first;
    if !send(sender, shown_last.clone()).await {
        return Ok(());
    }
    while !ended(&shown_last) {
        tokio::select! {
            () = sender.closed() => return Ok(()),
            () = app.shutdown.soft.cancelled() => return Err(stopping()),
            () = changed(&mut events, |e| *e == Event::Job(id) || *e == Event::Stopped(id)) => {
                tokio::time::sleep(COALESCE).await;
            }
            () = tokio::time::sleep(POLL_EVERY) => {}
        }
        let now = match lookup::job(app, tenant, id).await {
            Ok(now) => now,
            // A restart of the database must not end the stream; the next poll shows the job's
            // state.
            Err(problem) if problem.code == Code::Unavailable => continue,
            Err(problem) => return Err(problem),
        };
        if differs(&now, &shown_last) {
            shown_last = now.clone();
            if !send(sender, now).await {
                return Ok(());
            }
        }
    }
    Ok(())
}

fn ended(job: &v1::Job) -> bool {
    let ended = [v1::JobState::Completed, v1::JobState::Failed, v1::JobState::Cancelled];
    ended.contains(&job.state())
}

/// Whether the job has changed; a changed estimate alone does not count.
fn differs(now: &v1::Job, before: &v1::Job) -> bool {
    let same = v1::Job { eta_seconds: before.eta_seconds, ..now.clone() };
    same != *before
}

async fn send<T>(sender: &Sender<T>, message: T) -> bool {
    sender.send_timeout(Ok(message), SEND_MAX).await.is_ok()
}

fn stopping() -> Problem {
    Problem::new(Code::Unavailable, "the server is stopping")
}

async fn changed(events: &mut broadcast::Receiver<Event>, concerns: impl Fn(&Event) -> bool) {
    loop {
        let event = events::next(events).await;
        if event == Event::Everything || concerns(&event) {
            return;
        }
    }
}

/// Follows all changes. The first message is empty and shows the reader that it is subscribed.
pub fn changes(app: Arc<AppState>) -> Stream<v1::Change> {
    let (sender, receiver) = mpsc::channel(QUEUE_MAX);
    let mut events = app.bus.subscribe();
    let tracker = app.shutdown.tracker.clone();
    tracker.spawn(async move {
        let mut change = Some(v1::Change::default());
        loop {
            if let Some(change) = change.take()
                && !send(&sender, change).await
            {
                return;
            }
            tokio::select! {
                () = sender.closed() => return,
                () = app.shutdown.soft.cancelled() => {
                    let deadline = Instant::now() + SEND_MAX;
                    let last = sender.send_timeout(Err(stopping().into()), SEND_MAX);
                    drop(tokio::time::timeout_at(deadline, last).await);
                    return;
                }
                event = events::next(&mut events) => change = change_message(event),
            }
        }
    });
    ReceiverStream::new(receiver).boxed()
}

fn change_message(event: Event) -> Option<v1::Change> {
    match event {
        Event::Video(id) => Some(v1::Change { video_id: id.to_string(), ..Default::default() }),
        Event::Revoked(id) => Some(v1::Change { revoked: vec![id.into()], ..Default::default() }),
        Event::Keys => Some(v1::Change { keys: true, ..Default::default() }),
        Event::Claimed(writer) => {
            Some(v1::Change { claimed_writer: writer.to_string(), ..Default::default() })
        }
        Event::Everything => Some(v1::Change::default()),
        Event::Job(_) | Event::Stopped(_) | Event::Drain(_) => None,
    }
}
