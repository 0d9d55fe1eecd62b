//! Redis: carries wake-ups and changes between control instances, and stores the metadata of videos
//! that data planes cache. Its loss only adds latency, so no error here reaches a caller.

use std::{path::Path, sync::Arc, time::Duration};

use fred::{
    clients::SubscriberClient,
    prelude::{Client, ClientLike, EventInterface, PubsubInterface, Server},
    types::Message,
};
use media::VideoId;
use runtime::redis::{RedisError, builder};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::cluster::{
    epoch::Epoch,
    events::{Bus, Event},
};

const WAKE: &str = "streaming:wake";
const CHANGES: &str = "streaming:changes";
/// Changes within this time are published together.
const COALESCE: Duration = Duration::from_millis(20);
const COMMAND_MAX: Duration = Duration::from_secs(1);

/// A change in the format that other instances read.
#[derive(Debug, Serialize, Deserialize)]
struct Envelope {
    /// The sending instance, which ignores its own messages.
    from: Uuid,
    event: Event,
}

/// Both connections: a connection that subscribes cannot send other commands.
#[derive(Clone)]
pub struct Redis {
    publisher: Client,
    subscriber: SubscriberClient,
    instance: Uuid,
    epoch: Arc<Epoch>,
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redis").field("instance", &self.instance).finish_non_exhaustive()
    }
}

impl Redis {
    /// Parses the URL; see [`builder`]. Connects when run.
    ///
    /// # Errors
    /// The URL or the CA bundle is invalid.
    pub fn new(url: &str, ca_file: Option<&Path>) -> Result<Self, RedisError> {
        let builder = builder(url, ca_file, COMMAND_MAX)?;
        Ok(Self {
            publisher: builder.build().map_err(RedisError::Url)?,
            subscriber: builder.build_subscriber_client().map_err(RedisError::Url)?,
            instance: Uuid::new_v4(),
            epoch: Arc::new(Epoch::new()),
        })
    }

    /// Whether Redis responds now.
    pub async fn ping(&self) -> bool {
        self.publisher.is_connected() && self.publisher.ping::<String>(None).await.is_ok()
    }

    /// Invalidates what data planes cache of these videos; waits for it for a short time only.
    pub async fn invalidate(&self, videos: &[VideoId]) {
        self.epoch.invalidate(&self.publisher, videos).await;
    }

    /// The same for changes found in the rows, unless a notification shows that the instance that
    /// made them has invalidated them: one that lost Redis or crashed has not.
    pub async fn invalidate_unnotified(&self, videos: Vec<VideoId>) {
        self.invalidate(&self.epoch.without_notification(videos)).await;
    }

    /// Sends and receives messages until `stop`.
    pub async fn run(self, bus: Arc<Bus>, stop: CancellationToken) {
        let messages = self.subscriber.message_rx();
        let connected = self.subscriber.reconnect_rx();
        let connections = [self.publisher.connect(), self.subscriber.connect()];
        // Concurrently: a Redis that is slow to accept messages must not delay those that arrive.
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.send(&bus) => {}
            () = self.receive(&bus, messages, connected) => {}
            () = self.epoch.renew(&self.publisher) => {}
        }
        for connection in connections {
            connection.abort();
        }
    }

    async fn send(&self, bus: &Bus) {
        loop {
            bus.outgoing.notified().await;
            self.publish(bus).await;
            tokio::time::sleep(COALESCE).await;
        }
    }

    async fn receive(
        &self,
        bus: &Bus,
        mut messages: broadcast::Receiver<Message>,
        mut connected: broadcast::Receiver<Server>,
    ) {
        loop {
            tokio::select! {
                Ok(_) = connected.recv() => self.subscribe(bus).await,
                message = messages.recv() => match message {
                    Ok(message) => self.deliver(bus, &message),
                    Err(broadcast::error::RecvError::Lagged(_)) => bus.publish_locally(Event::Everything),
                    Err(broadcast::error::RecvError::Closed) => return,
                },
            }
        }
    }

    async fn subscribe(&self, bus: &Bus) {
        tracing::info!("redis connected");
        if let Err(error) = self.subscriber.subscribe(vec![WAKE, CHANGES]).await {
            tracing::warn!(%error, "failed to subscribe to redis");
        }
        // Messages published in between, and invalidations due in between, may be lost.
        self.epoch.mark_missed();
        bus.notify_local_sessions(1);
        bus.publish_locally(Event::Everything);
    }

    async fn publish(&self, bus: &Bus) {
        let outgoing = bus.take_outgoing();
        let video = |event: &Event| match event {
            Event::Video(video) => Some(*video),
            _ => None,
        };
        self.invalidate(&outgoing.events.iter().filter_map(video).collect::<Vec<_>>()).await;
        if !self.publisher.is_connected() {
            return;
        }
        let wake = outgoing.wake.then(|| (WAKE, self.instance.to_string()));
        let changes = outgoing.events.into_iter().filter_map(|event| {
            let envelope = Envelope { from: self.instance, event };
            Some((CHANGES, serde_json::to_string(&envelope).ok()?))
        });
        // All together: the client pipelines them.
        let sent = wake.into_iter().chain(changes).map(|(channel, text)| async move {
            let sent = self.publisher.publish::<i64, _, _>(channel, text).await;
            sent.inspect_err(|error| tracing::debug!(%error, channel, "failed to publish to redis"))
        });
        futures::future::join_all(sent).await;
    }

    fn deliver(&self, bus: &Bus, message: &Message) {
        let Some(text) = message.value.as_string() else { return };
        if *message.channel == *WAKE {
            if text != self.instance.to_string() {
                bus.notify_local_sessions(1);
            }
            return;
        }
        match serde_json::from_str::<Envelope>(&text) {
            Ok(envelope) if envelope.from != self.instance => {
                if let Event::Video(video) = envelope.event {
                    self.epoch.record_notification(video);
                }
                bus.publish_locally(envelope.event);
            }
            Ok(_) => {}
            // A newer version may send events unknown here: reload everything.
            Err(_) => bus.publish_locally(Event::Everything),
        }
    }
}
