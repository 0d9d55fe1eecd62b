//! A reverse proxy in front of an S3 server that makes a share of all requests fail: error replies,
//! no reply, connections that break before, during or after the request, and truncated replies.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

const HEAD_BYTES_MAX: usize = 64 << 10;
/// How long a request without a reply is held open. A client that waits longer sees the connection
/// end.
const SILENCE: Duration = Duration::from_secs(1);

/// A running proxy; ends when dropped.
pub(crate) struct Flaky {
    /// `host:port` to connect to.
    pub(crate) address: String,
    state: Arc<State>,
    _task: JoinSet<()>,
}

#[derive(Default)]
struct State {
    /// Percentage of requests that fail.
    percent: AtomicU64,
    calls: AtomicU64,
    failed: AtomicU64,
    /// The first and the latest request for each object while the server was unreachable.
    unreachable: Mutex<HashMap<String, (Instant, Instant)>>,
}

/// The outcome of one request.
#[derive(Clone, Copy)]
enum Outcome {
    Passes,
    Answered(&'static str),
    Silence,
    Reset,
    /// The server handles the request, but the client receives only this many bytes of the reply.
    Cut(usize),
}

impl Flaky {
    /// Forwards every request to `target` (`host:port`) until [`Self::fail`] is called.
    pub(crate) async fn to(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind proxy");
        let address = listener.local_addr().expect("proxy address").to_string();
        let (state, target) = (Arc::new(State::default()), Arc::<str>::from(target));
        let (shared, mut task) = (state.clone(), JoinSet::new());
        task.spawn(async move {
            let mut calls = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                let outcome = shared.outcome();
                let target = target.clone();
                let shared = shared.clone();
                calls.spawn(async move { drop(call(near, &target, outcome, &shared).await) });
            }
        });
        Self { address, state, _task: task }
    }

    /// From now on, this percentage of requests fails.
    pub(crate) fn fail(&self, percent: u64) {
        self.state.percent.store(percent, Ordering::SeqCst);
    }

    /// The longest time for which one object whose path contains `part` was requested repeatedly
    /// while the server was unreachable.
    pub(crate) fn unreachable_for(&self, part: &str) -> Duration {
        let requests = self.state.unreachable.lock().expect("requests");
        let objects = requests.iter().filter(|(object, _)| object.contains(part));
        objects.map(|(_, (first, latest))| *latest - *first).max().unwrap_or_default()
    }

    /// The number of failed requests so far.
    pub(crate) fn failed(&self) -> u64 {
        self.state.failed.load(Ordering::SeqCst)
    }
}

impl State {
    /// Notes a request, given its first line, that the server could not receive.
    fn note_unreachable(&self, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        let object = line.split(['?', '\r']).next().unwrap_or_default().to_owned();
        let now = Instant::now();
        let mut requests = self.unreachable.lock().expect("requests");
        requests.entry(object).and_modify(|(_, latest)| *latest = now).or_insert((now, now));
    }

    /// Deterministic: the nth request has the same outcome in every run.
    fn outcome(&self) -> Outcome {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        let mixed = (call + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 16;
        if mixed % 100 >= self.percent.load(Ordering::SeqCst) {
            return Outcome::Passes;
        }
        self.failed.fetch_add(1, Ordering::SeqCst);
        match (mixed / 100) % 6 {
            0 => Outcome::Answered("500 Internal Server Error"),
            1 => Outcome::Answered("503 Service Unavailable"),
            2 => Outcome::Silence,
            3 => Outcome::Reset,
            4 => Outcome::Cut(0),
            _ => Outcome::Cut(1000),
        }
    }
}

/// Reads and discards bytes until the client closes the connection, for at most `SILENCE`.
async fn read_until_closed(near: &mut TcpStream) {
    let sink = async { while near.read(&mut [0; 16 << 10]).await.is_ok_and(|n| n > 0) {} };
    drop(tokio::time::timeout(SILENCE, sink).await);
}

async fn call(
    mut near: TcpStream,
    target: &str,
    outcome: Outcome,
    state: &State,
) -> std::io::Result<()> {
    if let Outcome::Reset = outcome {
        return Ok(());
    }
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if near.read_buf(&mut head).await? == 0 || head.len() > HEAD_BYTES_MAX {
            return Ok(());
        }
    }
    let reply_bytes_max = match outcome {
        Outcome::Answered(status) => {
            let text =
                format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            near.write_all(text.as_bytes()).await?;
            near.shutdown().await?;
            // A client that is still sending must be able to read the reply.
            read_until_closed(&mut near).await;
            return Ok(());
        }
        Outcome::Silence => {
            read_until_closed(&mut near).await;
            return Ok(());
        }
        Outcome::Cut(bytes) => bytes,
        Outcome::Passes | Outcome::Reset => usize::MAX,
    };
    // One request per connection; otherwise one outcome would apply to all requests of a
    // connection.
    let line = head.iter().position(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let connected = TcpStream::connect(target).await;
    let mut far = connected.inspect_err(|_| state.note_unreachable(&head[..line]))?;
    far.write_all(&head[..line]).await?;
    far.write_all(b"Connection: close\r\n").await?;
    far.write_all(&head[line..]).await?;
    let ((mut near_read, mut near_write), (mut far_read, mut far_write)) =
        (near.split(), far.split());
    let replies = async {
        let (mut left, mut buffer) = (reply_bytes_max, vec![0; 16 << 10]);
        loop {
            // Read even if the reply is discarded, so that the server completes the request.
            let count = far_read.read(&mut buffer).await?;
            if count == 0 || left == 0 {
                return Ok(());
            }
            let count = count.min(left);
            left -= count;
            near_write.write_all(&buffer[..count]).await?;
        }
    };
    tokio::select! {
        replied = replies => replied,
        sent = tokio::io::copy(&mut near_read, &mut far_write) => sent.map(drop),
    }
}
