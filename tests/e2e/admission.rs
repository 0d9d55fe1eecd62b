//! Control believes no worker: one that lies about its objects is refused, object by object (issue
//! line 7). A worker of our own speaks the real protocol and commits what a real job made, damaged.

use std::{collections::BTreeMap, fs, path::PathBuf, time::Duration};

use api::v1::{
    Commit, CommitReply, Hello, Lease, Output, Want, WorkerMessage, control_message, lease,
    worker_message,
};
use futures::channel::mpsc;
use serde_json::json;
use sha2::{Digest, Sha256};
use tonic::Streaming;

use crate::harness::{clip::Numbered, process, stack::Stack};

const DEADLINE: Duration = Duration::from_secs(120);

/// A worker that the test plays.
struct Impostor {
    send: mpsc::UnboundedSender<WorkerMessage>,
    receive: Streaming<api::v1::ControlMessage>,
    requests: u64,
}

impl Impostor {
    async fn connect(stack: &Stack) -> Self {
        let token = stack.rpc().mint("worker").await;
        let (send, messages) = mpsc::unbounded();
        let hello = Hello {
            protocol_version: api::WORKER_PROTOCOL,
            name: "impostor".to_owned(),
            slots: 1,
            encoders: vec!["libx264".to_owned(), "aac".to_owned()],
        };
        let mut impostor_send = send.clone();
        say(&mut impostor_send, worker_message::Message::Hello(hello));
        let mut workers = stack.rpc().with_token(&token).workers();
        let receive = workers.work(messages).await.expect("open work stream").into_inner();
        Self { send, receive, requests: 0 }
    }

    async fn next(&mut self) -> control_message::Message {
        let message = tokio::time::timeout(DEADLINE, self.receive.message()).await;
        let message = message.expect("control answers").expect("stream").expect("an open stream");
        message.message.expect("a message")
    }

    /// Takes leases until one is a chunk; others are given back.
    async fn chunk(&mut self) -> (Lease, api::v1::ChunkWork) {
        loop {
            say(&mut self.send, worker_message::Message::Want(Want { slots: 1 }));
            loop {
                let control_message::Message::Lease(lease) = self.next().await else { continue };
                if let Some(lease::Work::Chunk(work)) = lease.work.clone() {
                    return (lease, work);
                }
                // Held, not released: a released lease would come straight back.
                break;
            }
        }
    }

    async fn commit(&mut self, lease: &Lease, outputs: Vec<Output>) -> CommitReply {
        self.requests += 1;
        let commit = Commit {
            task_id: lease.task_id.clone(),
            token: lease.token,
            request: self.requests,
            outputs,
            last: true,
            source: None,
        };
        say(&mut self.send, worker_message::Message::Commit(commit));
        loop {
            if let control_message::Message::CommitReply(reply) = self.next().await {
                assert_eq!(reply.request, self.requests, "the answer is to our commit");
                return reply;
            }
        }
    }
}

fn say(send: &mut mpsc::UnboundedSender<WorkerMessage>, message: worker_message::Message) {
    send.unbounded_send(WorkerMessage { message: Some(message) }).expect("stream is open");
}

/// What a good job made of a chunk, by rendition: init and bytes.
type Good = BTreeMap<(String, u32), (Vec<u8>, Vec<u8>)>;

async fn good_objects(stack: &Stack, video: &str, job: &str) -> Good {
    let mut good = Good::new();
    let prefix = format!("videos/{video}/{job}/");
    for key in stack.objects() {
        let Some(rest) = key.strip_prefix(&prefix) else { continue };
        let parts: Vec<&str> = rest.split('/').collect();
        let [rendition, chunk, _] = parts[..] else { continue };
        let Ok(chunk) = chunk.parse::<u32>() else { continue };
        let init =
            stack.client().get(&format!("/api/stream/{video}/{job}/{rendition}/init.mp4")).await;
        let bytes = fs::read(stack.store().join(&key)).expect("read object");
        good.insert((rendition.to_owned(), chunk), (init.expect(200).body.to_vec(), bytes));
    }
    good
}

/// Writes an object as a worker does and describes it truthfully.
fn store(
    lease: &Lease,
    name: &str,
    rendition: &str,
    chunk: u32,
    init: &[u8],
    bytes: &[u8],
) -> Output {
    let key = format!("{}{rendition}/{chunk}/{}-{name}.m4s", lease.output_prefix, lease.token);
    let path = PathBuf::from(&lease.output_root).join(&key);
    fs::create_dir_all(path.parent().expect("folder")).expect("make folder");
    fs::write(path, bytes).expect("write object");
    Output {
        rendition: rendition.to_owned(),
        chunk,
        key,
        bytes: bytes.len() as u64,
        sha256: Sha256::digest(bytes).to_vec().into(),
        init: init.to_vec().into(),
    }
}

/// Every way to lie, each as the whole output of chunk 0's task.
fn lies(lease: &Lease, good: &Good, rendition: &str) -> Vec<(&'static str, Output)> {
    let (init, bytes) = &good[&(rendition.to_owned(), 0)];
    let (_, other) = &good[&(rendition.to_owned(), 1)];
    let flip = |at: usize| {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        damaged
    };
    let mdat = bytes.windows(4).position(|four| four == b"mdat").expect("an mdat");
    let tfdt = bytes.windows(4).position(|four| four == b"tfdt").expect("a tfdt");
    let told = |name, bytes: &[u8]| (name, store(lease, name, rendition, 0, init, bytes));
    let mut lies = vec![
        told("truncated", &bytes[..bytes.len() * 2 / 3]),
        told("first-fragment-only", &bytes[..bytes.len() / 2]),
        told("one-byte-more", &[bytes.as_slice(), &[0]].concat()),
        told("empty", &[]),
        told("box-type-flipped", &flip(5)),
        told("decode-time-flipped", &flip(tfdt + 15)),
        told("nal-length-flipped", &flip(mdat + 6)),
        told("another-chunk", other),
    ];
    let mut wrong_sum = store(lease, "wrong-sum", rendition, 0, init, &flip(bytes.len() - 100));
    wrong_sum.sha256 = Sha256::digest(bytes).to_vec().into();
    lies.push(("wrong-sum", wrong_sum));
    let mut wrong_size = store(lease, "wrong-size", rendition, 0, init, bytes);
    wrong_size.bytes += 1;
    lies.push(("wrong-size", wrong_size));
    let mut absent = store(lease, "absent", rendition, 0, init, bytes);
    absent.key += ".gone";
    lies.push(("absent", absent));
    let mut foreign = store(lease, "foreign", rendition, 0, init, bytes);
    foreign.key = format!("videos/{}/index", lease.video_id);
    lies.push(("foreign-key", foreign));
    let mut above = store(lease, "above", rendition, 0, init, bytes);
    above.key = format!("{}../../../../../etc/hostname", lease.output_prefix);
    lies.push(("key-above-the-prefix", above));
    let broken_init = init[..init.len() - 9].to_vec();
    lies.push(("broken-init", store(lease, "broken-init", rendition, 0, &broken_init, bytes)));
    lies
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_refuses_every_lie_of_a_worker() {
    let stack = Stack::start().await;
    let client = stack.client();
    let film = Numbered::seconds(8);
    let (video, job) = client.publish(&film.file(), DEADLINE).await;
    let good = good_objects(&stack, &video, &job).await;
    // From here on the only worker is ours.
    process::send(stack.up_pid(), nix::sys::signal::Signal::SIGSTOP);
    let real: Vec<i32> = stack.running("streaming-worker").iter().map(|p| p.pid).collect();
    stack.signal("streaming-worker", nix::sys::signal::Signal::SIGKILL);
    assert!(process::wait_gone(&real, Duration::from_secs(5)).is_empty());

    // A refused commit may end the attempt, so every lie has a job of its own.
    let mut told = 0;
    loop {
        let next = client.transcode(&video, &json!({"profiles": ["360p"]})).await;
        let mut impostor = Impostor::connect(&stack).await;
        let (lease, work) = impostor.chunk().await;
        let rendition = work.rungs[0].name.clone();
        assert_eq!(work.chunk, 0, "chunk 0 is the most urgent");
        let mut lies = lies(&lease, &good, &rendition);
        let count = lies.len();
        let (name, output) = lies.swap_remove(told);
        let reply = impostor.commit(&lease, vec![output]).await;
        assert!(reply.refusal.is_some(), "{name} was committed");
        let state = client.job(&next).await;
        assert_ne!(state["tasks"][0]["state"], "done", "{name}: {state:#}");
        let cancelled =
            client.send(hyper::Method::DELETE, &format!("/api/jobs/{next}"), &[], "".into()).await;
        assert_eq!(cancelled.expect("cancel").status, 202);
        told += 1;
        if told == count {
            break;
        }
    }
    truth_is_taken(&stack, &video, &good).await;
    process::send(stack.up_pid(), nix::sys::signal::Signal::SIGCONT);
}

/// The counter-check: the same bytes undamaged are accepted, twice alike, and not from an old token.
async fn truth_is_taken(stack: &Stack, video: &str, good: &Good) {
    let job = stack.client().transcode(video, &json!({"profiles": ["360p"]})).await;
    let mut impostor = Impostor::connect(stack).await;
    let (lease, work) = impostor.chunk().await;
    let rendition = work.rungs[0].name.clone();
    let (init, bytes) = &good[&(rendition.clone(), 0)];
    let output = store(&lease, "truth", &rendition, 0, init, bytes);
    let stale = Lease { token: lease.token - 1, ..lease.clone() };
    let reply = impostor.commit(&stale, vec![output.clone()]).await;
    assert!(reply.refusal.is_some() && reply.lease_lost, "an old token is refused: {reply:?}");
    let reply = impostor.commit(&lease, vec![output.clone()]).await;
    assert_eq!(reply.refusal, None, "the truth is taken");
    let again = impostor.commit(&lease, vec![output]).await;
    assert_eq!(again.refusal, None, "a repeated commit answers the same");
    let gone = stack
        .client()
        .send(hyper::Method::DELETE, &format!("/api/jobs/{job}"), &[], "".into())
        .await;
    assert_eq!(gone.expect("cancel").status, 202);
}
