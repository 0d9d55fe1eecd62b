//! Wake-ups and changes between instances over a real Redis, including its outage.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
};

use control::cluster::{
    events::{self, Bus, Event},
    redis::Redis,
};
use media::VideoId;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{plane::DEADLINE, waiting::eventually};

/// A shell script that runs its arguments as a command until standard input closes, then kills it.
const GUARD: &str = r#"
    "$@" </dev/null >/dev/null 2>&1 & pid=$!
    cat >/dev/null
    kill -KILL $pid; wait $pid 2>/dev/null
"#;

struct Server(Child);

impl Server {
    fn start(folder: &Path) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", GUARD, "guard", "redis-server", "--port", "0", "--save", ""]);
        command.arg("--unixsocket").arg(folder.join("redis"));
        Self(command.stdin(Stdio::piped()).spawn().unwrap())
    }

    fn stop(mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

async fn connected(redis: &Redis, wanted: bool) {
    eventually("the connection reaches the state", DEADLINE, async || redis.ping().await == wanted)
        .await;
}

#[tokio::test]
async fn instances_exchange_events_and_continue_without_redis() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let url = format!("redis-unix://{}", folder.path().join("redis").display());
    let stop = CancellationToken::new();
    let (here, there) = (Arc::new(Bus::default()), Arc::new(Bus::default()));
    let (mut events_here, mut events_there) = (here.subscribe(), there.subscribe());
    let redis = [Redis::new(&url, None).unwrap(), Redis::new(&url, None).unwrap()];
    let runs = [
        tokio::spawn(redis[0].clone().run(here.clone(), stop.clone())),
        tokio::spawn(redis[1].clone().run(there.clone(), stop.clone())),
    ];
    receives(&mut events_here, Event::Everything).await;
    receives(&mut events_there, Event::Everything).await;
    for redis in &redis {
        connected(redis, true).await;
    }
    let video = Event::Video(VideoId::new(Uuid::now_v7()));
    here.publish(video.clone());
    receives(&mut events_there, video.clone()).await;
    // The sending instance receives it once, from its own bus.
    receives(&mut events_here, video.clone()).await;
    here.publish(Event::Revoked(vec![1, 2]));
    receives(&mut events_there, Event::Revoked(vec![1, 2])).await;
    assert_eq!(events::next(&mut events_here).await, Event::Revoked(vec![1, 2]));
    // A wake-up reaches a session of the other instance; the first one is sent on connecting.
    there.ready.notified().await;
    here.notify_tasks_ready(1);
    tokio::time::timeout(DEADLINE, there.ready.notified()).await.unwrap();

    server.stop();
    connected(&redis[0], false).await;
    here.publish(video.clone());
    let server = Server::start(folder.path());
    // Messages sent meanwhile are lost; listeners are notified that they may have missed some.
    receives(&mut events_there, Event::Everything).await;
    connected(&redis[0], true).await;
    let video = Event::Video(VideoId::new(Uuid::now_v7()));
    here.publish(video.clone());
    receives(&mut events_there, video).await;
    stop.cancel();
    for run in runs {
        tokio::time::timeout(DEADLINE, run).await.unwrap().unwrap();
    }
    server.stop();
}

async fn receives(events: &mut tokio::sync::broadcast::Receiver<Event>, wanted: Event) {
    let wait = async { while events::next(events).await != wanted {} };
    tokio::time::timeout(DEADLINE, wait).await.unwrap();
}

/// The test's own client, for the metadata that data planes cache.
async fn client(url: &str) -> fred::prelude::Client {
    use fred::prelude::{Builder, ClientLike, Config};
    let url = url.replace("redis-unix://", "redis+unix://");
    let client = Builder::from_config(Config::from_url(&url).unwrap()).build().unwrap();
    client.init().await.unwrap();
    client
}

#[tokio::test]
async fn every_change_invalidates_the_data_planes_caches() {
    use api::cached;
    use fred::interfaces::KeysInterface;

    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let url = format!("redis-unix://{}", folder.path().join("redis").display());
    let stop = CancellationToken::new();
    let bus = Arc::new(Bus::default());
    let redis = Redis::new(&url, None).unwrap();
    let run = tokio::spawn(redis.clone().run(bus.clone(), stop.clone()));
    connected(&redis, true).await;
    let kept = client(&url).await;
    let video = VideoId::new(Uuid::now_v7());
    let names = [cached::manifests(video), cached::metadata(video)];
    let keep = async || {
        for name in &names {
            let () = kept.set(name, "kept", None, None, false).await.unwrap();
        }
    };
    let left = async || kept.exists::<i64, _>(names.to_vec()).await.unwrap();

    // Once `invalidate` has returned, the metadata is gone.
    keep().await;
    redis.invalidate(&[video]).await;
    assert_eq!(left().await, 0);
    let generation: String = kept.get(cached::generation(video)).await.unwrap();
    let ttl: i64 = kept.ttl(cached::generation(video)).await.unwrap();
    assert!((1..=cached::GENERATION_SECONDS).contains(&ttl), "{ttl}");
    // Sending a change event invalidates the metadata, too.
    keep().await;
    bus.publish(Event::Video(video));
    eventually("the metadata is invalidated", DEADLINE, async || left().await == 0).await;
    let next: String = kept.get(cached::generation(video)).await.unwrap();
    assert_ne!(generation, next);
    // The same change, found again in the rows, does not invalidate metadata that was cached since.
    keep().await;
    redis.invalidate_unnotified(vec![video]).await;
    assert_eq!(left().await, 2);
    redis.invalidate_unnotified(vec![VideoId::new(Uuid::now_v7())]).await;

    // Metadata that could not be invalidated must not be used afterwards, so a new epoch starts. A
    // connection does not imply the first epoch: if Redis was slow to start, control writes it in
    // the next round.
    let begun = async || kept.exists::<i64, _>(cached::EPOCH).await.unwrap() == 1;
    eventually("the epoch has begun", DEADLINE, begun).await;
    let epoch: String = kept.get(cached::EPOCH).await.unwrap();
    let ttl: i64 = kept.ttl(cached::EPOCH).await.unwrap();
    assert!((1..=cached::EPOCH_SECONDS).contains(&ttl), "{ttl}");
    server.stop();
    connected(&redis, false).await;
    redis.invalidate(&[video]).await;
    let server = Server::start(folder.path());
    connected(&redis, true).await;
    let kept = client(&url).await;
    let renewed = async || {
        kept.get::<Option<String>, _>(cached::EPOCH).await.unwrap().is_some_and(|e| e != epoch)
    };
    eventually("the epoch is renewed", DEADLINE, renewed).await;
    stop.cancel();
    tokio::time::timeout(DEADLINE, run).await.unwrap().unwrap();
    server.stop();
}
