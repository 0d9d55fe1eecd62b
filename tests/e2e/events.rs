//! Streams of events over two data planes and two control planes: a client that is cut off continues
//! elsewhere, without loss or repetition, while a video is encoded.

use std::{collections::HashMap, time::Duration};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout_at},
};

use crate::harness::{
    clip::Numbered,
    fleet::Fleet,
    script::{Behaviour, Ffmpeg},
};

/// How long the encode may take, with the cut in its middle.
const ENCODE_DEADLINE: Duration = Duration::from_secs(180);
/// How long the client is cut off.
const CUT: Duration = Duration::from_secs(10);
/// Pause before a client connects again.
const AGAIN: Duration = Duration::from_millis(300);

/// A client of an event stream, which continues at the next data plane when it is cut off.
struct Client {
    addresses: Vec<String>,
    path: String,
    token: Option<String>,
    connections: usize,
    open: Option<TcpStream>,
    text: String,
    /// The id of the last event.
    last: String,
}

impl Client {
    fn new(fleet: &Fleet, path: &str, token: Option<&str>) -> Self {
        Self {
            addresses: fleet.dataplanes.iter().map(|plane| plane.address.clone()).collect(),
            path: path.to_owned(),
            token: token.map(str::to_owned),
            connections: 0,
            open: None,
            text: String::new(),
            last: String::new(),
        }
    }

    /// Drops the connection.
    fn cut(&mut self) {
        self.open = None;
        self.text.clear();
    }

    async fn connect(&mut self) -> std::io::Result<TcpStream> {
        let address = &self.addresses[self.connections % self.addresses.len()];
        self.connections += 1;
        let mut socket = TcpStream::connect(address).await?;
        let mut head = format!("GET {} HTTP/1.0\r\nHost: {address}\r\n", self.path);
        if let Some(token) = &self.token {
            head += &format!("Authorization: Bearer {token}\r\n");
        }
        if !self.last.is_empty() {
            head += &format!("Last-Event-ID: {}\r\n", self.last);
        }
        socket.write_all(format!("{head}\r\n").as_bytes()).await?;
        let mut reply = Vec::new();
        while !reply.ends_with(b"\r\n\r\n") {
            reply.push(socket.read_u8().await?);
        }
        if reply.starts_with(b"HTTP/1.1 200") || reply.starts_with(b"HTTP/1.0 200") {
            return Ok(socket);
        }
        Err(std::io::Error::other(String::from_utf8_lossy(&reply).into_owned()))
    }

    /// The next event with its data.
    async fn next(&mut self, deadline: Instant) -> (String, Value) {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let block = block.to_owned();
                self.text = rest.to_owned();
                let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
                if let Some(id) = field("id: ") {
                    self.last = id.to_owned();
                }
                if let (Some(name), Some(data)) = (field("event: "), field("data: ")) {
                    return (name.to_owned(), serde_json::from_str(data).expect("JSON"));
                }
                continue;
            }
            let Some(socket) = &mut self.open else {
                let connected = timeout_at(deadline, self.connect()).await.expect("no connection");
                match connected {
                    Ok(socket) => self.open = Some(socket),
                    Err(_) => tokio::time::sleep(AGAIN).await,
                }
                continue;
            };
            let mut part = [0; 8192];
            let read = timeout_at(deadline, socket.read(&mut part)).await.expect("no event");
            match read.unwrap_or_default() {
                0 => self.cut(),
                count => self.text.push_str(std::str::from_utf8(&part[..count]).expect("UTF-8")),
            }
        }
    }

    /// Opens the stream and waits for the id with which it begins.
    async fn begin(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        self.open =
            Some(timeout_at(deadline, self.connect()).await.expect("no reply").expect("200"));
    }
}

fn number(id: &str) -> u64 {
    id.rsplit_once('-').and_then(|(_, number)| number.parse().ok()).expect("an id")
}

/// The events that a client has received.
#[derive(Default)]
struct Received {
    video: String,
    job: String,
    number: u64,
    /// How often each task was reported as done.
    ended: HashMap<String, usize>,
    /// Whether the job is completed.
    completed: bool,
}

impl Received {
    /// Checks an event.
    fn take(&mut self, id: &str, name: &str, data: &Value) {
        assert!(number(id) > self.number, "{id} after {}", self.number);
        self.number = number(id);
        match name {
            "task" => {
                assert_eq!(data["jobId"], self.job.as_str());
                if data["state"] == "done" {
                    *self.ended.entry(data["taskId"].to_string()).or_default() += 1;
                }
            }
            "job" => {
                assert!(data.get("tasks").is_none());
                self.completed |= data["state"] == "completed";
            }
            "video" => assert_eq!(data["videoId"], self.video.as_str()),
            "worker" => assert!(data["id"].is_string()),
            _ => panic!("{name} {data}"),
        }
    }
}

/// Follows the states of a video to its end; returns each state once.
async fn follow_states(mut states: Client, deadline: Instant) -> (Vec<String>, f64) {
    let (mut order, mut edge) = (Vec::new(), 0.0);
    while order.last().is_none_or(|state| state != "ready") {
        let (_, state) = states.next(deadline).await;
        let reached = state["edge"].as_f64().expect("edge");
        assert!(reached >= edge, "{state} after {edge}");
        edge = reached;
        order.push(state["state"].as_str().expect("state").to_owned());
        order.dedup();
    }
    (order, edge)
}

async fn mint(fleet: &Fleet, role: &str, tenant: &str) -> String {
    let request = api::v1::MintTokenRequest {
        role: role.to_owned(),
        subject: "watching".to_owned(),
        tenant: tenant.to_owned(),
        ..Default::default()
    };
    fleet.base.rpc().auth().mint_token(request).await.expect("mint").into_inner().token
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_continue_at_another_data_plane_and_after_a_restart_of_control() {
    let scripts = tempfile::tempdir().expect("folder");
    let script = Ffmpeg::new(scripts.path(), Behaviour::Slow(4));
    let env = [("STREAMING_FFMPEG", script.path()), ("STREAMING_WORKER_SLOTS", "1")];
    let mut fleet = Fleet::start(&env, 1).await;
    let viewer = mint(&fleet, "viewer", "").await;
    let other = mint(&fleet, "admin", "other").await;
    let mut events = Client::new(&fleet, "/api/events", Some(&viewer));
    let mut others = Client::new(&fleet, "/api/events", Some(&other));
    events.begin().await;
    others.begin().await;
    let client = fleet.base.client();
    let video = client.upload_clip(&Numbered::seconds(64).file()).await;
    let job = client.transcode(&video, &json!({ "profiles": ["360p"] })).await;
    let known = client.job(&job).await["tasks"].as_array().expect("tasks").len();
    let deadline = Instant::now() + ENCODE_DEADLINE;
    let states = Client::new(&fleet, &format!("/api/stream/{video}/events"), None);
    let states = follow_states(states, deadline);

    let mut received = Received { video, job, ..Received::default() };
    let mut cut = false;
    let follow = async {
        loop {
            let (name, data) = events.next(deadline).await;
            received.take(&events.last, &name, &data);
            // The event of the job may precede that of its last task.
            if received.completed && received.ended.len() == known {
                return;
            }
            // Once the first tasks have ended, the client is cut off and a control plane restarted.
            if !cut && received.ended.len() >= 2 {
                cut = true;
                events.cut();
                fleet.controls[0].kill();
                fleet.controls[0].start_again();
                tokio::time::sleep(CUT).await;
            }
        }
    };
    let ((), (order, edge)) = tokio::join!(follow, states);
    assert!(cut && events.connections >= 2);
    assert!(received.ended.values().all(|count| *count == 1), "{:?}", received.ended);
    assert!(order.ends_with(&["growing".to_owned(), "ready".to_owned()]), "{order:?}");
    assert!((edge - 64.0).abs() < 0.1, "{edge}");
    // The other tenant got the beginning of its stream and nothing else.
    let read = others.next(Instant::now() + ENCODE_DEADLINE);
    let nothing = tokio::time::timeout(Duration::from_secs(1), read).await;
    assert!(nothing.is_err(), "{nothing:?}");
}
