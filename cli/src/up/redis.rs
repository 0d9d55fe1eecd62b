//! The private Redis: on a free loopback port, with its own password. It stores only wake-ups,
//! limits and caches, so it stores nothing on disk.

use std::{net::TcpListener, path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::sleep,
};
use uuid::Uuid;

use super::{
    child::{RunAs, Spec},
    folder::{self, Folder},
};

const POLL_INTERVAL: Duration = Duration::from_millis(25);
const STOP: &[(Signal, Duration)] = &[(Signal::SIGTERM, Duration::from_secs(5))];
const PONG: &[u8] = b"+OK\r\n+PONG\r\n";

/// The private Redis.
pub(crate) struct Redis {
    program: PathBuf,
    config: PathBuf,
    log: PathBuf,
    port: u16,
    password: String,
}

impl Redis {
    /// Chooses a port and writes the configuration file, which keeps the password out of process
    /// listings.
    pub(crate) fn prepare(program: PathBuf, folder: &Folder) -> Result<Self> {
        // The port is free now; if another process binds it before Redis does, the start fails with
        // that error.
        let port = TcpListener::bind(("127.0.0.1", 0)).and_then(|socket| socket.local_addr());
        let port = port.context("find a free port for redis")?.port();
        let password = Uuid::new_v4().simple().to_string();
        let config = folder.run().join("redis.conf");
        let lines = [
            "bind 127.0.0.1".to_owned(),
            format!("port {port}"),
            format!("requirepass {password}"),
            "save \"\"".to_owned(),
            "appendonly no".to_owned(),
            "daemonize no".to_owned(),
            "maxmemory 256mb".to_owned(),
            "maxmemory-policy volatile-lru".to_owned(),
        ];
        folder::write_private(&config, &(lines.join("\n") + "\n"))?;
        Ok(Self { program, config, log: folder.log("redis"), port, password })
    }

    /// The URL for the planes.
    pub(crate) fn url(&self) -> String {
        format!("redis://:{}@127.0.0.1:{}", self.password, self.port)
    }

    /// The child to supervise.
    pub(crate) fn spec(&self) -> Spec {
        Spec {
            name: "redis".to_owned(),
            program: self.program.clone(),
            // On standard input: Redis reports the path of its configuration file to clients, and
            // not every client accepts every path.
            args: vec!["-".into()],
            input: Some(self.config.clone()),
            clear_env: true,
            env: Vec::new(),
            unset: &[],
            run_as: RunAs::Same,
            death_signal: Signal::SIGKILL,
            stop: STOP,
            immediate_stop: Signal::SIGKILL,
            log: self.log.clone(),
            pinned: None,
            prepare: None,
        }
    }

    /// Returns once Redis responds.
    pub(crate) async fn ready(&self) {
        while !self.responds().await.unwrap_or(false) {
            sleep(POLL_INTERVAL).await;
        }
    }

    async fn responds(&self) -> std::io::Result<bool> {
        let mut socket = TcpStream::connect(("127.0.0.1", self.port)).await?;
        let request = format!("AUTH {}\r\nPING\r\n", self.password);
        socket.write_all(request.as_bytes()).await?;
        let mut reply = [0; PONG.len()];
        socket.read_exact(&mut reply).await?;
        Ok(reply == PONG)
    }
}
