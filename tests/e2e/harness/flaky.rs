//! A reverse proxy in front of an S3 server on which a share of all calls goes wrong: errors, silence,
//! connections that break before, in or after the request, replies that end in the middle.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

const HEAD_BYTES_MAX: usize = 64 << 10;
/// How long a call that is not answered is left waiting.
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
    /// Calls in a hundred that go wrong.
    percent: AtomicU64,
    calls: AtomicU64,
    spoilt: AtomicU64,
}

/// What becomes of one call.
#[derive(Clone, Copy)]
enum Fate {
    Passes,
    Answered(&'static str),
    Silence,
    Reset,
    /// It is done, and nobody hears of it but so many bytes.
    Cut(usize),
}

impl Flaky {
    /// Passes every call on to `target` (`host:port`), for now.
    pub(crate) async fn to(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind proxy");
        let address = listener.local_addr().expect("proxy address").to_string();
        let (state, target) = (Arc::new(State::default()), Arc::<str>::from(target));
        let (shared, mut task) = (state.clone(), JoinSet::new());
        task.spawn(async move {
            let mut calls = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                let fate = shared.fate();
                let target = target.clone();
                calls.spawn(async move { drop(call(near, &target, fate).await) });
            }
        });
        Self { address, state, _task: task }
    }

    /// From now on, so many of a hundred calls go wrong.
    pub(crate) fn spoil(&self, percent: u64) {
        self.state.percent.store(percent, Ordering::SeqCst);
    }

    /// Calls that went wrong.
    pub(crate) fn spoilt(&self) -> u64 {
        self.state.spoilt.load(Ordering::SeqCst)
    }
}

impl State {
    /// The same for the same call of every run.
    fn fate(&self) -> Fate {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        let mixed = (call + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 16;
        if mixed % 100 >= self.percent.load(Ordering::SeqCst) {
            return Fate::Passes;
        }
        self.spoilt.fetch_add(1, Ordering::SeqCst);
        match (mixed / 100) % 6 {
            0 => Fate::Answered("500 Internal Server Error"),
            1 => Fate::Answered("503 Service Unavailable"),
            2 => Fate::Silence,
            3 => Fate::Reset,
            4 => Fate::Cut(0),
            _ => Fate::Cut(1000),
        }
    }
}

async fn call(mut near: TcpStream, target: &str, fate: Fate) -> std::io::Result<()> {
    if let Fate::Reset = fate {
        return Ok(());
    }
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if near.read_buf(&mut head).await? == 0 || head.len() > HEAD_BYTES_MAX {
            return Ok(());
        }
    }
    let reply_bytes_max = match fate {
        Fate::Answered(status) => {
            let text =
                format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            near.write_all(text.as_bytes()).await?;
            near.shutdown().await?;
            // Whoever is still sending must get to read it.
            let sink = async { while near.read(&mut [0; 16 << 10]).await.is_ok_and(|n| n > 0) {} };
            drop(tokio::time::timeout(SILENCE, sink).await);
            return Ok(());
        }
        Fate::Silence => {
            tokio::time::sleep(SILENCE).await;
            return Ok(());
        }
        Fate::Cut(bytes) => bytes,
        Fate::Passes | Fate::Reset => usize::MAX,
    };
    let mut far = TcpStream::connect(target).await?;
    // One call per connection, or the fate of one would be that of all.
    let line = head.iter().position(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    far.write_all(&head[..line]).await?;
    far.write_all(b"Connection: close\r\n").await?;
    far.write_all(&head[line..]).await?;
    let ((mut near_read, mut near_write), (mut far_read, mut far_write)) =
        (near.split(), far.split());
    let replies = async {
        let (mut left, mut buffer) = (reply_bytes_max, vec![0; 16 << 10]);
        loop {
            // Read in any case: the call is to be done.
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
        asked = tokio::io::copy(&mut near_read, &mut far_write) => asked.map(drop),
    }
}
