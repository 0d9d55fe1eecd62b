//! Notifications of changes: delivered within this instance immediately, and to other instances
//! over Redis.
//!
//! Correctness does not depend on them. Every listener also polls, so a lost message only adds
//! latency and a repeated one an extra query.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use media::{JobId, VideoId, WorkerId};
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, broadcast};
use uuid::Uuid;

/// How many events a slow listener may fall behind before it receives [`Event::Everything`]
/// instead.
const EVENTS_MAX: usize = 1024;
/// Maximum number of changes that wait to be published; other instances find further ones by
/// polling.
const OUTBOX_MAX: usize = 4096;
/// Maximum number of sessions that one wake-up notifies; each wakes another while there is work.
const WAKEUPS_MAX: usize = 64;

/// A change that listeners are notified of.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", content = "id", rename_all = "snake_case")]
pub enum Event {
    /// The visible state of a video changed.
    Video(VideoId),
    /// A job's state or progress changed. Not sent to other instances, whose watchers poll.
    Job(JobId),
    /// A job ended early; its leases are void.
    Stopped(JobId),
    /// A worker must not receive further tasks.
    Drain(WorkerId),
    /// A token was revoked; contains its raw id.
    Revoked(Vec<u8>),
    /// Another request claims the upload lease that this writer holds.
    Claimed(Uuid),
    /// The root keys changed. Not sent to other instances, each of which reads its own key file.
    Keys,
    /// Messages may have been missed.
    Everything,
}

#[derive(Debug, Default)]
struct Outbox {
    wake: bool,
    events: HashSet<Event>,
}

/// Messages to publish to other instances.
#[derive(Debug, Default)]
pub struct Outgoing {
    /// Whether tasks have become ready.
    pub wake: bool,
    /// Changes, in no particular order.
    pub events: Vec<Event>,
}

/// Distributes notifications within the instance and collects those for other instances.
#[derive(Debug)]
pub struct Bus {
    /// Notifies one waiting session per permit.
    pub ready: Notify,
    /// The same for sessions with free express slots.
    pub express: Notify,
    /// Notifies the loop that finalizes jobs.
    pub collect: Notify,
    /// Notifies the loop that runs chores.
    pub chores: Notify,
    /// Notifies the loop that sends purges.
    pub purges: Notify,
    /// Notifies the task that publishes to Redis.
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
    /// Subscribes to all later events.
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// Notifies sessions of all instances because about `tasks` tasks have become ready.
    pub fn notify_tasks_ready(&self, tasks: usize) {
        self.notify_local_sessions(tasks);
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner).wake = true;
        self.outgoing.notify_one();
    }

    /// Notifies sessions of this instance only.
    pub fn notify_local_sessions(&self, tasks: usize) {
        for _ in 0..tasks.clamp(1, WAKEUPS_MAX) {
            self.ready.notify_one();
            self.express.notify_one();
        }
        self.collect.notify_one();
    }

    /// Sends an event to the listeners of all instances.
    pub fn publish(&self, event: Event) {
        if !matches!(event, Event::Job(_) | Event::Keys | Event::Everything) {
            let mut outbox = self.outbox.lock().unwrap_or_else(PoisonError::into_inner);
            if outbox.events.len() < OUTBOX_MAX {
                outbox.events.insert(event.clone());
            }
            drop(outbox);
            self.outgoing.notify_one();
        }
        self.publish_locally(event);
    }

    /// Sends an event to the listeners of this instance only, for example one received from another
    /// instance.
    pub fn publish_locally(&self, event: Event) {
        // An error means that nothing is subscribed.
        drop(self.events.send(event));
    }

    /// Takes the messages to publish.
    pub fn take_outgoing(&self) -> Outgoing {
        let mut outbox = self.outbox.lock().unwrap_or_else(PoisonError::into_inner);
        let Outbox { wake, events } = std::mem::take(&mut *outbox);
        Outgoing { wake, events: events.into_iter().collect() }
    }
}

/// Waits for the next event; a listener that fell behind receives [`Event::Everything`].
pub async fn next(events: &mut broadcast::Receiver<Event>) -> Event {
    match events.recv().await {
        Ok(event) => event,
        // The bus outlives its listeners, so this does not happen; waiting would be correct even
        // then.
        Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        Err(broadcast::error::RecvError::Lagged(_)) => Event::Everything,
    }
}

#[cfg(test)]
mod tests {
    use super::{Bus, Event, next};

    #[tokio::test]
    async fn events_reach_local_subscribers_and_are_published_once() {
        let bus = Bus::default();
        let mut listener = bus.subscribe();
        let video = media::VideoId::new(uuid::Uuid::from_u128(1));
        bus.publish(Event::Video(video));
        bus.publish(Event::Video(video));
        bus.publish(Event::Job(media::JobId::new(uuid::Uuid::from_u128(2))));
        assert_eq!(next(&mut listener).await, Event::Video(video));
        let outgoing = bus.take_outgoing();
        assert_eq!((outgoing.wake, outgoing.events), (false, vec![Event::Video(video)]));
        assert!(bus.take_outgoing().events.is_empty());
    }

    #[tokio::test]
    async fn a_slow_subscriber_is_notified_that_anything_may_have_changed() {
        let bus = Bus::default();
        let mut listener = bus.subscribe();
        for n in 0..2000 {
            bus.publish_locally(Event::Job(media::JobId::new(uuid::Uuid::from_u128(n))));
        }
        assert_eq!(next(&mut listener).await, Event::Everything);
    }
}
