//! What happened, told to whoever waits: within this instance at once, to other instances by Redis.
//!
//! Nothing here is needed for correctness. Every listener also polls, so a lost message costs
//! latency; a repeated one costs a query.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use media::{JobId, VideoId, WorkerId};
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, broadcast};
use uuid::Uuid;

/// Events that a slow listener may fall behind by before it is told that everything may have changed.
const EVENTS_MAX: usize = 1024;
/// Changes that wait to be published; beyond it, others find out by polling.
const OUTBOX_MAX: usize = 4096;
/// Sessions that one wake-up calls at most; each passes it on while there is work.
const CALLS_MAX: usize = 64;

/// Something that listeners may care about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", content = "id", rename_all = "snake_case")]
pub enum Event {
    /// What people or players see of a video.
    Video(VideoId),
    /// A job's state or progress. Stays within the instance: watchers elsewhere poll.
    Job(JobId),
    /// A job ended early: its leases are void.
    Stopped(JobId),
    /// A worker is to take nothing more.
    Drain(WorkerId),
    /// A token was revoked; the raw id.
    Revoked(Vec<u8>),
    /// Another request claims the lease of this writer of an upload.
    Claimed(Uuid),
    /// The root keys changed. Stays within the instance: each reads its own file.
    Keys,
    /// Messages may have been missed.
    Everything,
}

#[derive(Debug, Default)]
struct Outbox {
    wake: bool,
    events: HashSet<Event>,
}

/// What is to be published.
#[derive(Debug, Default)]
pub struct Outgoing {
    /// Tasks have become ready.
    pub wake: bool,
    /// In no order.
    pub events: Vec<Event>,
}

/// The instance's own switchboard.
#[derive(Debug)]
pub struct Bus {
    /// Calls one waiting session per permit.
    pub ready: Notify,
    /// The same call, for express slots.
    pub express: Notify,
    /// Calls the collector.
    pub collect: Notify,
    /// Calls whoever does chores.
    pub chores: Notify,
    /// Calls whoever sends purges.
    pub purges: Notify,
    /// Calls the publisher.
    pub outgoing: Notify,
    events: broadcast::Sender<Event>,
    outbox: Mutex<Outbox>,
}

impl Default for Bus {
    fn default() -> Self {
        Self {
            ready: Notify::new(),
            express: Notify::new(),
            collect: Notify::new(),
            chores: Notify::new(),
            purges: Notify::new(),
            outgoing: Notify::new(),
            events: broadcast::channel(EVENTS_MAX).0,
            outbox: Mutex::default(),
        }
    }
}

impl Bus {
    /// Hears everything from now on.
    pub fn listen(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// About `tasks` tasks have become ready, here and everywhere.
    pub fn wake(&self, tasks: usize) {
        self.call(tasks);
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner).wake = true;
        self.outgoing.notify_one();
    }

    /// Calls sessions of this instance.
    pub fn call(&self, tasks: usize) {
        for _ in 0..tasks.clamp(1, CALLS_MAX) {
            self.ready.notify_one();
            self.express.notify_one();
        }
        self.collect.notify_one();
    }

    /// Tells listeners here and everywhere.
    pub fn tell(&self, event: Event) {
        if !matches!(event, Event::Job(_) | Event::Keys | Event::Everything) {
            let mut outbox = self.outbox.lock().unwrap_or_else(PoisonError::into_inner);
            if outbox.events.len() < OUTBOX_MAX {
                outbox.events.insert(event.clone());
            }
            drop(outbox);
            self.outgoing.notify_one();
        }
        self.hear(event);
    }

    /// Tells listeners here only: what another instance told.
    pub fn hear(&self, event: Event) {
        // An error means that nobody listens.
        drop(self.events.send(event));
    }

    /// Takes what is to be published.
    pub fn take_outgoing(&self) -> Outgoing {
        let mut outbox = self.outbox.lock().unwrap_or_else(PoisonError::into_inner);
        let Outbox { wake, events } = std::mem::take(&mut *outbox);
        Outgoing { wake, events: events.into_iter().collect() }
    }
}

/// The next event; a listener that fell behind hears [`Event::Everything`].
pub async fn next(events: &mut broadcast::Receiver<Event>) -> Event {
    match events.recv().await {
        Ok(event) => event,
        // The bus outlives its listeners, so it cannot be closed; waiting is right either way.
        Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        Err(broadcast::error::RecvError::Lagged(_)) => Event::Everything,
    }
}

#[cfg(test)]
mod tests {
    use super::{Bus, Event, next};

    #[tokio::test]
    async fn events_are_heard_here_and_published_once() {
        let bus = Bus::default();
        let mut listener = bus.listen();
        let video = media::VideoId::new(uuid::Uuid::from_u128(1));
        bus.tell(Event::Video(video));
        bus.tell(Event::Video(video));
        bus.tell(Event::Job(media::JobId::new(uuid::Uuid::from_u128(2))));
        assert_eq!(next(&mut listener).await, Event::Video(video));
        let outgoing = bus.take_outgoing();
        assert_eq!((outgoing.wake, outgoing.events), (false, vec![Event::Video(video)]));
        assert!(bus.take_outgoing().events.is_empty());
    }

    #[tokio::test]
    async fn a_slow_listener_hears_that_everything_may_have_changed() {
        let bus = Bus::default();
        let mut listener = bus.listen();
        for n in 0..2000 {
            bus.hear(Event::Job(media::JobId::new(uuid::Uuid::from_u128(n))));
        }
        assert_eq!(next(&mut listener).await, Event::Everything);
    }
}
