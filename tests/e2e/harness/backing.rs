//! Dependencies of a stack: its private Redis and Postgres, accessed with their own clients, and a
//! receiver of purge requests.

use std::{
    fs,
    path::PathBuf,
    process::Command,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use super::{program, stack::Stack};

/// Runs one command in the stack's Redis; returns the lines of the reply.
pub(crate) fn redis(stack: &Stack, command: &[&str]) -> Vec<String> {
    let config = fs::read_to_string(stack.data().join("run/redis.conf")).expect("redis.conf");
    let value = |key: &str| {
        let line = config.lines().find_map(|line| line.strip_prefix(key));
        line.unwrap_or_else(|| panic!("no {key}in redis.conf")).to_owned()
    };
    let (port, password) = (value("port "), value("requirepass "));
    let mut args = vec!["-h", "127.0.0.1", "-p", &port, "--no-auth-warning", "-a", &password];
    args.extend(command);
    let output = program::output("redis-cli", &args);
    let output = String::from_utf8(output).expect("UTF-8");
    output.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// Runs one query in the stack's Postgres; returns the lines of the result.
pub(crate) fn sql(stack: &Stack, query: &str) -> Vec<String> {
    let servers = stack.running("postgres");
    let folder = servers.iter().find_map(|server| {
        let words: Vec<&str> = server.command.split(' ').collect();
        let at = words.iter().position(|word| *word == "-k")?;
        words.get(at + 1).map(|folder| (*folder).to_owned())
    });
    let folder = folder.unwrap_or_else(|| panic!("no socket folder in {servers:?}"));
    let args = ["-h", &folder, "-U", "streaming", "-d", "streaming", "-At", "-c", query];
    let output = Command::new(psql()).args(args).output().expect("start psql");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "psql: {errors}");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    text.lines().map(str::to_owned).collect()
}

/// Debian installs psql next to the server, outside the path.
fn psql() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let beside = versions.map(|version| version.path().join("bin/psql"));
    beside.filter(|path| path.exists()).max().unwrap_or_else(|| "psql".into())
}

type Received = Arc<Mutex<Vec<Vec<String>>>>;
type OnTags = Box<dyn Fn(&[String]) + Send + Sync>;

/// Accepts `POST {"tags": […]}`, like a CDN's purge service.
pub(crate) struct PurgeReceiver {
    pub(crate) url: String,
    received: Received,
    _server: JoinSet<()>,
}

impl PurgeReceiver {
    /// Listens on a free port; calls `purge` with the tags before it confirms the request.
    pub(crate) async fn start(purge: OnTags) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listen for purges");
        let url = format!("http://{}/purge", listener.local_addr().expect("address"));
        let received = Received::default();
        let seen = received.clone();
        let mut server = JoinSet::new();
        server.spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.expect("accept purge");
                let Some(tags) = read(&mut stream).await else { continue };
                purge(&tags);
                seen.lock().expect("tags").push(tags);
                let reply = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
                let _gone = stream.write_all(reply).await;
            }
        });
        Self { url, received, _server: server }
    }

    /// The number of requests that contained this tag.
    pub(crate) fn count(&self, tag: &str) -> usize {
        let received = self.received.lock().expect("tags");
        received.iter().filter(|tags| tags.iter().any(|t| t == tag)).count()
    }
}

async fn read(stream: &mut TcpStream) -> Option<Vec<String>> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n")
            && let Ok(document) = serde_json::from_str::<serde_json::Value>(body)
        {
            assert!(head.starts_with("POST /purge "), "{head}");
            return serde_json::from_value(document["tags"].clone()).ok();
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}
