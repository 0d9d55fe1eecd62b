//! Shutdown: running requests finish, idle connections are closed, new ones are not accepted.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::support::{Clip, Plane, Reply};

#[tokio::test]
async fn segment_in_flight_completes_and_idle_connections_close() {
    let plane = Plane::start().await;
    let clip = Clip::new(true);
    clip.store(&plane.folder);
    let path = clip.media("360p/h1.m4s");
    let mut idle = TcpStream::connect(plane.addr).await.unwrap();
    idle.write_all(b"GET /health/playback HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut head = [0; 12];
    idle.read_exact(&mut head).await.unwrap();
    let mut busy = TcpStream::connect(plane.addr).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    busy.write_all(request.as_bytes()).await.unwrap();
    let mut start = vec![0; 1000];
    busy.read_exact(&mut start).await.unwrap();

    plane.shutdown.soft.cancel();
    let mut rest = Vec::new();
    timeout(Duration::from_secs(10), idle.read_to_end(&mut rest)).await.unwrap().unwrap();
    timeout(Duration::from_secs(10), busy.read_to_end(&mut start)).await.unwrap().unwrap();
    let reply = Reply::parse(&start);
    assert!(reply.body == clip.object(1));
    let drained = plane.shutdown.drain(Duration::from_secs(10)).await;
    assert_eq!(drained, runtime::lifecycle::Drained::Clean);
    assert!(TcpStream::connect(plane.addr).await.is_err());
}

#[tokio::test]
async fn silent_connection_does_not_delay_the_drain() {
    let plane = Plane::start().await;
    let _silent = TcpStream::connect(plane.addr).await.unwrap();
    assert_eq!(plane.get("/health/playback").await.status, 200);
    let drained = plane.shutdown.drain(Duration::from_secs(5)).await;
    assert_eq!(drained, runtime::lifecycle::Drained::Clean);
}

/// The permit that it waits for becomes free only when the stop has closed the connections.
#[tokio::test]
async fn a_full_listener_stops_as_fast_as_one_with_free_slots() {
    let plane = Plane::start_with(|config| config.connections_max = 2).await;
    let mut resting = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(plane.addr).await.unwrap();
        stream.write_all(b"GET /health/playback HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).await.unwrap();
        resting.push(stream);
    }
    plane.shutdown.soft.cancel();
    for stream in &mut resting {
        let mut rest = Vec::new();
        timeout(Duration::from_secs(10), stream.read_to_end(&mut rest)).await.unwrap().unwrap();
    }
    let drained = plane.shutdown.drain(Duration::from_secs(10)).await;
    assert_eq!(drained, runtime::lifecycle::Drained::Clean);
}
