//! Streams of server-sent events: of a tenant's changes, and of how far a video is.

use std::time::Duration;

use api::v1::{self, event::Event};
use media::{JobId, VideoId, index::Index};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use uuid::Uuid;

use crate::{
    fake_control::FakeControl,
    support::{Clip, Plane, Reply, eventually},
    token_errors::start,
};

const PATIENCE: Duration = Duration::from_secs(20);

/// An open stream.
struct Stream {
    socket: TcpStream,
    reply: Reply,
    text: String,
}

impl Stream {
    /// Sends the request and reads the head of the reply.
    async fn open(plane: &Plane, path: &str, headers: &[&str]) -> Self {
        let mut socket = TcpStream::connect(plane.addr).await.unwrap();
        let lines: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
        let head = format!("GET {path} HTTP/1.0\r\nHost: {}\r\n{lines}\r\n", plane.addr);
        socket.write_all(head.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"\r\n\r\n") {
            let byte = timeout(PATIENCE, socket.read_u8()).await.expect("no reply").unwrap();
            bytes.push(byte);
        }
        Self { socket, reply: Reply::parse(&bytes), text: String::new() }
    }

    /// The next event or comment; `None` at the end of the stream.
    async fn next(&mut self) -> Option<String> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let event = event.to_owned();
                self.text = rest.to_owned();
                return Some(event);
            }
            let mut part = [0; 4096];
            let read = timeout(PATIENCE, self.socket.read(&mut part)).await.expect("no event");
            match read.unwrap_or_default() {
                0 => return None,
                count => self.text.push_str(std::str::from_utf8(&part[..count]).unwrap()),
            }
        }
    }

    /// The next state of a video.
    async fn state(&mut self) -> Value {
        let event = self.next().await.expect("the stream has ended");
        let data = event.strip_prefix("event: state\ndata: ").unwrap_or_else(|| panic!("{event}"));
        serde_json::from_str(data).unwrap()
    }
}

fn growing(clip: &Clip) -> Index {
    let mut index = clip.index.clone();
    index.finished_at_ms = None;
    index.video_renditions[0].track.chunks.truncate(1);
    index
}

fn progress(public: bool, state: v1::VideoState) -> v1::GetProgressResponse {
    let (tenant, state) = ("default".to_owned(), state.into());
    let (duration_seconds, eta_seconds) = (Some(12.02), Some(9));
    v1::GetProgressResponse { tenant, public, state, duration_seconds, eta_seconds }
}

fn set(control: &FakeControl, progress: Option<v1::GetProgressResponse>) {
    *control.progress.current.lock().unwrap() = progress;
}

#[tokio::test]
async fn viewers_follow_a_video_from_before_its_first_chunk_to_its_deletion() {
    let (plane, control) = start(|_| {}).await;
    let clip = Clip::new(true);
    set(&control, Some(progress(true, v1::VideoState::Processing)));
    let path = clip.path("events");
    let mut stream = Stream::open(&plane, &path, &["Origin: https://player.example"]).await;
    assert_eq!(stream.reply.status, 200);
    for (name, value) in [
        ("content-type", "text/event-stream"),
        ("cache-control", "no-store"),
        ("x-accel-buffering", "no"),
        ("access-control-allow-origin", "*"),
    ] {
        assert_eq!(stream.reply.header(name), value, "{name}");
    }
    let expected = json!({ "state": "waiting", "duration": 12.02, "edge": 0.0, "etaSeconds": 9 });
    assert_eq!(stream.state().await, expected);
    // Chunk 0 has two GOPs of two seconds.
    control.publish(Some(growing(&clip)));
    let expected = json!({ "state": "growing", "duration": 12.0, "edge": 4.0, "etaSeconds": 9 });
    assert_eq!(stream.state().await, expected);
    control.publish(Some(clip.index.clone()));
    let ready = json!({ "state": "ready", "duration": 12.0, "edge": 12.0, "etaSeconds": null });
    assert_eq!(stream.state().await, ready);
    let mut late = Stream::open(&plane, &path, &[]).await;
    assert_eq!(late.state().await, ready);
    set(&control, None);
    control.publish(None);
    assert_eq!((stream.next().await, late.next().await), (None, None));
    assert_eq!(plane.get(&path).await.status, 404);
}

#[tokio::test]
async fn a_failed_job_is_reported_with_what_still_plays() {
    let (plane, control) = start(|_| {}).await;
    let clip = Clip::new(true);
    set(&control, Some(progress(true, v1::VideoState::Processing)));
    control.publish(Some(growing(&clip)));
    let mut stream = Stream::open(&plane, &clip.path("events"), &[]).await;
    assert_eq!(stream.state().await["state"], "growing");
    let failed =
        v1::GetProgressResponse { eta_seconds: None, ..progress(true, v1::VideoState::Failed) };
    set(&control, Some(failed));
    control.publish(Some(growing(&clip)));
    let expected = json!({ "state": "failed", "duration": 12.0, "edge": 4.0, "etaSeconds": null });
    assert_eq!(stream.state().await, expected);
}

#[tokio::test]
async fn many_viewers_of_a_video_cause_one_request_to_control() {
    let (plane, control) = start(|_| {}).await;
    let clip = Clip::new(true);
    set(&control, Some(progress(true, v1::VideoState::Processing)));
    let path = clip.path("events");
    let streams = (0..50).map(|_| Stream::open(&plane, &path, &[]));
    let mut streams = futures::future::join_all(streams).await;
    for stream in &mut streams {
        assert_eq!(stream.state().await["state"], "waiting");
    }
    assert_eq!((control.index_calls(clip.index.video), control.progress.calls()), (1, 1));
    let gauge = "streaming_service_playback_event_streams";
    assert!(plane.get("/metrics").await.text().contains(&format!("\n{gauge} 50\n")));
    control.publish(Some(growing(&clip)));
    for stream in &mut streams {
        assert_eq!(stream.state().await["edge"], 4.0);
    }
    assert_eq!(control.index_calls(clip.index.video), 2);
    drop(streams);
    let closed = async || plane.get("/metrics").await.text().contains(&format!("\n{gauge} 0\n"));
    eventually("the streams are closed", closed).await;
    // Without viewers, control is not asked any more.
    let calls = control.progress.calls();
    control.publish(Some(growing(&clip)));
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(control.progress.calls(), calls);
}

#[tokio::test]
async fn only_who_may_play_a_private_video_follows_it() {
    let (plane, control) = start(|_| {}).await;
    let clip = Clip::new(false);
    set(&control, Some(progress(false, v1::VideoState::Processing)));
    let path = clip.path("events");
    let unknown = format!("/api/stream/{}/events", VideoId::new(Uuid::now_v7()));
    let keys = &control.user_services.keys;
    let grant = |video| authz::PlaybackGrant { video, max_height: None, address: None };
    let now = runtime::Clock::now_unix(&runtime::SystemClock);
    let minted = |video| keys.mint_playback(&grant(video), now, now + 600).unwrap();
    let (token, other) = (minted(clip.index.video), minted(VideoId::new(Uuid::now_v7())));
    assert_eq!(plane.get(&path).await.status, 404);
    assert_eq!(plane.get(&format!("{path}?token={other}")).await.status, 403);
    let bearer = format!("Authorization: Bearer {}", control.user_services.token("ana"));
    let mut streams = [
        Stream::open(&plane, &format!("{path}?token={token}"), &[]).await,
        Stream::open(&plane, &path, &[&bearer]).await,
    ];
    for stream in &mut streams {
        assert_eq!(stream.state().await["state"], "waiting");
    }
    // Public for a while: a viewer without a token is cut off when it becomes private again.
    set(&control, Some(progress(true, v1::VideoState::Processing)));
    control.publish(Some(Index { public: true, ..growing(&clip) }));
    for stream in &mut streams {
        assert_eq!(stream.state().await["edge"], 4.0);
    }
    let mut anonymous = Stream::open(&plane, &path, &[]).await;
    assert_eq!(anonymous.state().await["state"], "growing");
    control.publish(Some(Index { public: false, ..growing(&clip) }));
    assert_eq!(anonymous.next().await, None);
    for stream in &mut streams {
        assert_eq!(stream.state().await["state"], "growing");
    }
    set(&control, None);
    assert_eq!(plane.get(&unknown).await.status, 404);
}

#[tokio::test]
async fn a_finished_video_is_reported_while_control_is_unreachable() {
    let plane = Plane::start().await;
    let clip = Clip::of(VideoId::new(Uuid::now_v7()), JobId::new(Uuid::now_v7()), true);
    clip.store(&plane.folder);
    let mut stream = Stream::open(&plane, &clip.path("events"), &[]).await;
    assert_eq!(stream.state().await["state"], "ready");
    plane.shutdown.soft.cancel();
    assert_eq!(stream.next().await, None);
}

#[tokio::test]
async fn changes_of_a_tenant_are_sent_with_their_ids_until_the_plane_stops() {
    let (plane, control) = start(|_| {}).await;
    let bearer = format!("Authorization: Bearer {}", control.user_services.token("ana"));
    let path = "/api/events";
    assert_eq!(plane.get(path).await.status, 401);
    let unknown = plane.send("GET", "/api/events?since=3", &[&bearer]).await;
    assert_eq!((unknown.status, unknown.code().as_str()), (400, "malformed"));
    assert_eq!(unknown.json()["errors"][0]["field"], "since");
    let last = "Last-Event-ID: 0a1b2c3d-7";
    let mut stream = Stream::open(&plane, path, &[&bearer, last]).await;
    assert_eq!(stream.reply.header("content-type"), "text/event-stream");
    assert_eq!(stream.reply.header("cache-control"), "no-store");
    assert_eq!(stream.reply.header("x-accel-buffering"), "no");
    assert_eq!(*control.tenant_events.continued.lock().unwrap(), ["0a1b2c3d-7"]);
    let send = |number: u32, event: Option<Event>| {
        let id = format!("0a1b2c3d-{number}");
        control.tenant_events.sender.send(v1::Event { id, event }).unwrap();
    };
    send(8, None);
    let first = stream.next().await.unwrap();
    assert!(first.starts_with(": ") && first.ends_with("\nid: 0a1b2c3d-8"), "{first}");
    let task = v1::Task { attempt: 2, worker: "w".to_owned(), ..v1::Task::default() };
    send(9, Some(Event::Task(v1::TaskEvent { job_id: "j".to_owned(), task: Some(task) })));
    let worker = v1::Worker {
        worker_id: "w1".to_owned(),
        state: v1::WorkerState::Gone.into(),
        ..v1::Worker::default()
    };
    send(10, Some(Event::Worker(worker)));
    send(11, Some(Event::Reset(v1::ResetEvent {})));
    for (id, name, field) in
        [(9, "task", "\"attempt\":2"), (10, "worker", "\"state\":\"gone\""), (11, "reset", "{}")]
    {
        let event = stream.next().await.unwrap();
        assert!(event.starts_with(&format!("id: 0a1b2c3d-{id}\nevent: {name}\ndata: ")), "{event}");
        assert!(event.contains(field), "{event}");
    }
    plane.shutdown.soft.cancel();
    assert_eq!(stream.next().await, None);
}
