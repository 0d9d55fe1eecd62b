//! Clients that hold a connection without making progress are disconnected; other clients, and
//! those that are merely slow, are not affected.

use std::{net::SocketAddr, time::Duration};

use dataplane::config::Pace;
use futures::future::join_all;
use media::{JobId, VideoId};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::{Instant, interval, sleep, timeout},
};
use uuid::Uuid;

use crate::{
    fake_control::FakeControl,
    h2::{self, Client, DATA, GOAWAY},
    support::{Clip, Plane, Reply},
};

const READERS: usize = 200;
/// Upper bound for every test, also on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

fn pace() -> Pace {
    Pace {
        rate_min: 8 << 10,
        patience: Duration::from_secs(2),
        head_time_max: Duration::from_secs(1),
        keep_alive: Duration::from_secs(600),
    }
}

/// The same with more time: on a busy machine well-behaved clients are slow, too.
fn patient() -> Pace {
    Pace { patience: Duration::from_secs(5), ..pace() }
}

/// Segments larger than the data that the kernel buffers for a client that does not read.
async fn plane(pace: Pace) -> (Plane, Clip) {
    let plane = Plane::start_with(|config| config.pace = pace).await;
    let ids = (VideoId::new(Uuid::now_v7()), JobId::new(Uuid::now_v7()));
    let clip = Clip::with(ids.0, ids.1, true, 8 << 20);
    clip.store(&plane.folder);
    (plane, clip)
}

async fn ask(address: SocketAddr, path: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 << 10).unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// Reads slowly, a byte at a time; the data buffered by the kernel lasts long, even after the
/// connection has ended.
async fn trickle(mut stream: TcpStream) {
    let mut ticks = interval(Duration::from_millis(250));
    while !matches!(stream.read(&mut [0]).await, Ok(0) | Err(_)) {
        ticks.tick().await;
    }
}

/// Number of clients that were disconnected for this reason.
async fn slow(plane: &Plane, what: &str) -> usize {
    let name = format!("streaming_service_slow_clients_total{{what=\"{what}\"}} ");
    let metrics = plane.get("/metrics").await.text();
    let count = metrics.lines().find_map(|line| line.strip_prefix(&name));
    count.map_or(0, |count| count.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_read_byte_by_byte_are_disconnected_and_a_viewer_is_not() {
    let (plane, clip) = plane(pace()).await;
    let path = clip.media("360p/h1.m4s");
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..READERS {
        readers.spawn(trickle(ask(plane.addr, &path).await));
    }
    let fast_viewer = async {
        while slow(&plane, "reply").await < READERS {
            let reply = plane.get(&clip.media("audio-0/h1.m4s")).await;
            assert_eq!((reply.status, reply.body.len()), (200, 4000));
            sleep(Duration::from_millis(200)).await;
        }
    };
    timeout(DEADLINE, fast_viewer).await.expect("slow readers are disconnected");
    readers.shutdown().await;
}

#[tokio::test]
async fn slow_but_steady_line_and_idle_player_stay_connected() {
    let (plane, clip) = plane(patient()).await;
    // First fast, so that the kernel's buffers grow; then slow, for several times the time limit.
    let mut stream = ask(plane.addr, &clip.media("360p/h1.m4s")).await;
    let mut piece = vec![0; 256 << 10];
    stream.read_exact(&mut piece).await.unwrap();
    let (begun, mut ticks) = (Instant::now(), interval(Duration::from_millis(100)));
    while begun.elapsed() < 2 * patient().patience {
        ticks.tick().await;
        stream.read_exact(&mut piece[..64 << 10]).await.expect("640 KiB/s are enough");
    }
    drop(stream);
    // Between two requests it is idle for longer than the time limit for a head, after which a
    // connection without any request is closed.
    let mut player = TcpStream::connect(plane.addr).await.unwrap();
    for _ in 0..2 {
        let request = "GET /health/playback HTTP/1.1\r\nHost: x\r\n\r\n";
        player.write_all(request.as_bytes()).await.unwrap();
        let mut reply = vec![0; 4096];
        let bytes = player.read(&mut reply).await.unwrap();
        assert!(reply[..bytes].starts_with(b"HTTP/1.1 200"));
        for _ in 0..2 {
            let mut silent = TcpStream::connect(plane.addr).await.unwrap();
            let mut reply = Vec::new();
            let closed = timeout(DEADLINE, silent.read_to_end(&mut reply)).await;
            let _end = closed.expect("the silent connection is closed");
        }
    }
    // Only the four silent connections.
    assert_eq!((slow(&plane, "reply").await, slow(&plane, "head").await), (0, 4));
}

#[tokio::test]
async fn connections_with_endless_heads_are_closed() {
    let (plane, clip) = plane(pace()).await;
    let beginnings: [&[u8]; 5] = [
        b"",
        b"GET /health/playback HTTP/1.1\r\nHost: x\r\nX-",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET",
        &h2::PREFACE[..10],
        h2::PREFACE,
    ];
    let drip = async |beginning: &[u8]| {
        let mut stream = TcpStream::connect(plane.addr).await.unwrap();
        stream.write_all(beginning).await.unwrap();
        let (mut reader, mut writer) = stream.into_split();
        let dripping = async {
            // More bytes after the preface would be invalid.
            let drips = !beginning.is_empty() && !beginning.starts_with(b"PRI");
            while drips && writer.write_all(b"a").await.is_ok() {
                sleep(Duration::from_millis(100)).await;
            }
            std::future::pending::<()>().await;
        };
        let mut replies = Vec::new();
        tokio::select! {
            _ = reader.read_to_end(&mut replies) => {}
            () = dripping => {}
        }
    };
    let all = join_all(beginnings.into_iter().map(drip));
    timeout(DEADLINE, all).await.expect("they are disconnected");
    assert!(slow(&plane, "head").await >= 5);
    assert_eq!(plane.get(&clip.path("hls/playlist.m3u8")).await.status, 200);
}

#[tokio::test]
async fn bodies_sent_byte_by_byte_are_408_and_steady_ones_arrive() {
    let folder = tempfile::tempdir().unwrap();
    let control = FakeControl::start(&folder).await;
    let urls = vec![control.url.clone()];
    let plane = Plane::start_in(folder, |config| {
        (config.control_urls, config.pace) = (urls, pace());
    })
    .await;
    let head = |path: &str, length: usize| {
        format!(
            "PUT {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer good\r\n\
             Content-Length: {length}\r\n\r\n"
        )
    };
    let send = async |path: String, piece: usize, length: usize| {
        let stream = TcpStream::connect(plane.addr).await.unwrap();
        let (mut reader, mut writer) = stream.into_split();
        writer.write_all(head(&path, length).as_bytes()).await.unwrap();
        let sending = async {
            let mut ticks = interval(Duration::from_millis(100));
            for _ in 0..length / piece {
                ticks.tick().await;
                if writer.write_all(&vec![7; piece]).await.is_err() {
                    break;
                }
            }
            std::future::pending::<()>().await;
        };
        let mut reply = vec![0; 16 << 10];
        let reading = async {
            let bytes = reader.read(&mut reply).await.unwrap();
            Reply::parse(&reply[..bytes])
        };
        tokio::select! {
            () = sending => unreachable!("it waits for the reply"),
            reply = timeout(DEADLINE, reading) => reply.expect("a reply"),
        }
    };
    let source = format!("/api/videos/{}/source", FakeControl::ID);
    let slow = send(source.clone(), 1, 10_000).await;
    assert_eq!((slow.status, slow.code().as_str()), (408, "timeout"));
    // 40 KiB/s, for longer than the time limit.
    assert_eq!(send(source, 4 << 10, 120 << 10).await.status, 201);
    assert_eq!(self::slow(&plane, "body").await, 1);
}

#[tokio::test]
async fn streams_without_a_window_are_closed() {
    let (plane, clip) = plane(pace()).await;
    let path = clip.media("360p/h1.m4s");
    for window in [0, 1, 65_535] {
        let mut stalled = Client::connect(plane.addr, window).await;
        for stream in (1..20).step_by(2) {
            stalled.ask(stream, &path).await;
        }
        let ends = async {
            let mut sent = 0;
            while let Some(frame) = stalled.next().await {
                sent += if frame.kind == DATA { frame.payload.len() } else { 0 };
                assert_ne!(frame.kind, GOAWAY, "the streams were valid");
            }
            sent
        };
        let sent = timeout(DEADLINE, ends).await.expect("it is disconnected");
        assert!(sent <= 65_535, "{sent}");
    }
    assert_eq!(slow(&plane, "reply").await, 3);
}

#[tokio::test]
async fn slow_but_steady_stream_stays_open() {
    let (plane, clip) = plane(patient()).await;
    let path = clip.media("360p/h1.m4s");
    let mut moving = Client::connect(plane.addr, 65_535).await;
    moving.ask(1, &path).await;
    let (begun, mut taken) = (Instant::now(), 0);
    while begun.elapsed() < 2 * patient().patience {
        let frame = timeout(DEADLINE, moving.next()).await.unwrap().expect("it goes on");
        if frame.kind == DATA {
            let bytes = frame.payload.len() as u32;
            taken += bytes;
            moving.open(0, bytes).await;
            moving.open(1, bytes).await;
            sleep(Duration::from_millis(100)).await;
        }
    }
    assert!(taken > 100_000, "{taken}");
    assert_eq!(slow(&plane, "reply").await, 0);
}
