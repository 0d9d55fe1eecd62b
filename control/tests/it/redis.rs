//! Wake-ups and changes between instances, through a real Redis that also goes away.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use control::{
    bus::{self, Bus, Event},
    redis::Redis,
};
use media::VideoId;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::plane::DEADLINE;

/// Runs its arguments until our end of the pipe closes.
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
    let wait = async {
        while redis.ping().await != wanted {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, wait).await.unwrap();
}

#[tokio::test]
async fn instances_hear_each_other_and_outlive_redis() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let url = format!("redis-unix://{}", folder.path().join("redis").display());
    let stop = CancellationToken::new();
    let (here, there) = (Arc::new(Bus::default()), Arc::new(Bus::default()));
    let (mut heard_here, mut heard_there) = (here.listen(), there.listen());
    let redis = [Redis::new(&url).unwrap(), Redis::new(&url).unwrap()];
    let runs = [
        tokio::spawn(redis[0].clone().run(here.clone(), stop.clone())),
        tokio::spawn(redis[1].clone().run(there.clone(), stop.clone())),
    ];
    hears(&mut heard_here, Event::Everything).await;
    hears(&mut heard_there, Event::Everything).await;
    for redis in &redis {
        connected(redis, true).await;
    }
    let video = Event::Video(VideoId::new(Uuid::now_v7()));
    here.tell(video.clone());
    hears(&mut heard_there, video.clone()).await;
    // At home it was heard once, from the bus itself.
    hears(&mut heard_here, video.clone()).await;
    here.tell(Event::Revoked(vec![1, 2]));
    hears(&mut heard_there, Event::Revoked(vec![1, 2])).await;
    assert_eq!(bus::next(&mut heard_here).await, Event::Revoked(vec![1, 2]));
    // A wake-up calls a session of the other instance; the first one stems from connecting.
    there.ready.notified().await;
    here.wake(1);
    tokio::time::timeout(DEADLINE, there.ready.notified()).await.unwrap();

    server.stop();
    connected(&redis[0], false).await;
    here.tell(video.clone());
    let server = Server::start(folder.path());
    // What was said meanwhile is lost, and listeners are told so.
    hears(&mut heard_there, Event::Everything).await;
    connected(&redis[0], true).await;
    let video = Event::Video(VideoId::new(Uuid::now_v7()));
    here.tell(video.clone());
    hears(&mut heard_there, video).await;
    stop.cancel();
    for run in runs {
        tokio::time::timeout(DEADLINE, run).await.unwrap().unwrap();
    }
    server.stop();
}

async fn hears(events: &mut tokio::sync::broadcast::Receiver<Event>, wanted: Event) {
    let wait = async { while bus::next(events).await != wanted {} };
    tokio::time::timeout(DEADLINE, wait).await.unwrap();
}
