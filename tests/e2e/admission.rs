//! Control trusts no worker: every false output that a worker commits is rejected. A worker
//! implemented by the test uses the real protocol and commits damaged copies of a real job's
//! outputs.

use std::{collections::BTreeMap, fs, path::PathBuf, time::Duration};

use api::v1::{
    Commit, CommitReply, Hello, Lease, Output, Want, WorkerMessage, control_message, lease,
    worker_message,
};
use futures::channel::mpsc;
use serde_json::json;
use sha2::{Digest, Sha256};
use tonic::Streaming;

use crate::{
    conformance::fmp4,
    harness::{clip::Numbered, process, stack::Stack},
};

const DEADLINE: Duration = Duration::from_secs(120);

/// A worker that the test implements.
struct FakeWorker {
    send: mpsc::UnboundedSender<WorkerMessage>,
    receive: Streaming<api::v1::ControlMessage>,
    requests: u64,
}

impl FakeWorker {
    async fn connect(stack: &Stack) -> Self {
        let token = stack.rpc().mint("worker").await;
        let (send, messages) = mpsc::unbounded();
        let hello = Hello {
            protocol_version: api::WORKER_PROTOCOL,
            name: "fake-worker".to_owned(),
            slots: 1,
            encoders: vec!["libx264".to_owned(), "aac".to_owned()],
            instance: String::new(),
            version: String::new(),
        };
        let mut worker_send = send.clone();
        send_message(&mut worker_send, worker_message::Message::Hello(hello));
        let mut workers = stack.rpc().with_token(&token).workers();
        let receive = workers.work(messages).await.expect("open work stream").into_inner();
        Self { send, receive, requests: 0 }
    }

    async fn next(&mut self) -> control_message::Message {
        let message = tokio::time::timeout(DEADLINE, self.receive.message()).await;
        let message = message.expect("control replies").expect("stream").expect("an open stream");
        message.message.expect("a message")
    }

    /// Claims tasks until one is a chunk; leases of other tasks are kept.
    async fn chunk(&mut self) -> (Lease, api::v1::ChunkWork) {
        loop {
            send_message(
                &mut self.send,
                worker_message::Message::Want(Want { slots: 1, ..Want::default() }),
            );
            loop {
                let control_message::Message::Lease(lease) = self.next().await else { continue };
                if let Some(lease::Work::Chunk(work)) = lease.work.clone() {
                    return (lease, work);
                }
                // Keep the lease instead of releasing it: a released task would be leased to this
                // worker again immediately.
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
            ..Commit::default()
        };
        send_message(&mut self.send, worker_message::Message::Commit(commit));
        loop {
            if let control_message::Message::CommitReply(reply) = self.next().await {
                assert_eq!(reply.request, self.requests, "the reply belongs to the commit");
                return reply;
            }
        }
    }
}

fn send_message(send: &mut mpsc::UnboundedSender<WorkerMessage>, message: worker_message::Message) {
    send.unbounded_send(WorkerMessage { message: Some(message) }).expect("stream is open");
}

/// The outputs of a successful job, by rendition and chunk: init segment and bytes.
type GenuineOutputs = BTreeMap<(String, u32), (Vec<u8>, Vec<u8>)>;

async fn good_objects(stack: &Stack, video: &str, job: &str) -> GenuineOutputs {
    let mut good = GenuineOutputs::new();
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

/// Writes an object as a worker does and describes it correctly.
fn store(lease: &Lease, rendition: &str, init: &[u8], bytes: &[u8]) -> Output {
    announce(lease, rendition, init, bytes, bytes)
}

/// Writes `bytes` as the object, but describes it as if it were `announced`.
fn announce(lease: &Lease, rendition: &str, init: &[u8], bytes: &[u8], announced: &[u8]) -> Output {
    let sha256 = Sha256::digest(announced).to_vec();
    let key = media::layout::chunk(
        &lease.output_prefix,
        rendition,
        0,
        lease.token,
        &hex::encode(&sha256),
    );
    let path = PathBuf::from(&lease.output_root).join(&key);
    fs::create_dir_all(path.parent().expect("folder")).expect("make folder");
    fs::write(path, bytes).expect("write object");
    Output {
        rendition: rendition.to_owned(),
        chunk: 0,
        key,
        bytes: announced.len() as u64,
        sha256: sha256.into(),
        init: init.to_vec().into(),
    }
}

/// All kinds of false outputs, each committed as the whole output of chunk 0's task, with a part of
/// the expected error message.
const FORGERIES: [(&str, &str); 17] = [
    ("truncated", "gop "),
    ("first fragment only", "gop 1"),
    ("one byte more", "after the last fragment"),
    ("empty", "gop 0"),
    ("box type flipped", "gop 0"),
    ("decode time flipped", "gop 0"),
    ("NAL length flipped", "gop 0"),
    ("another chunk", "gop 0"),
    ("broken init", "init"),
    ("init of another size", "init"),
    ("wrong sum", "differ from the announced digest"),
    ("wrong size", "were announced"),
    ("absent", "no such object"),
    ("foreign key", "does not belong to this lease"),
    ("key above the prefix", "does not belong to this lease"),
    ("a rung of no task", "not part of this task"),
    ("a chunk of another task", "not part of this task"),
];

fn forged(forgery: &str, lease: &Lease, good: &GenuineOutputs, rendition: &str) -> Output {
    let (init, bytes) = &good[&(rendition.to_owned(), 0)];
    let flip = |at: usize| {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        damaged
    };
    let first = fmp4::fragments(bytes).expect("fragments")[0].bytes;
    let at = |kind: &[u8]| bytes.windows(4).position(|four| four == kind).expect("box");
    let stored = |bytes: &[u8]| store(lease, rendition, init, bytes);
    let genuine = || stored(bytes);
    match forgery {
        "truncated" => stored(&bytes[..bytes.len() * 2 / 3]),
        "first fragment only" => stored(&bytes[..first]),
        "one byte more" => stored(&[bytes.as_slice(), &[0]].concat()),
        "empty" => stored(&[]),
        "box type flipped" => stored(&flip(5)),
        "decode time flipped" => stored(&flip(at(b"tfdt") + 15)),
        "NAL length flipped" => stored(&flip(at(b"mdat") + 6)),
        "another chunk" => stored(&good[&(rendition.to_owned(), 1)].1),
        "broken init" => store(lease, rendition, &init[..init.len() - 9], bytes),
        "init of another size" => store(lease, rendition, &wider(init), bytes),
        "wrong sum" => announce(lease, rendition, init, &flip(bytes.len() - 100), bytes),
        "wrong size" => Output { bytes: bytes.len() as u64 + 1, ..genuine() },
        "absent" => {
            let output = genuine();
            fs::remove_file(PathBuf::from(&lease.output_root).join(&output.key)).expect("remove");
            output
        }
        "foreign key" => Output { key: format!("videos/{}/index", lease.video_id), ..genuine() },
        "key above the prefix" => Output {
            key: format!("{}../../../../../etc/hostname", lease.output_prefix),
            ..genuine()
        },
        "a rung of no task" => Output { rendition: "4k".to_owned(), ..genuine() },
        "a chunk of another task" => Output { chunk: 1, ..genuine() },
        other => panic!("unknown forgery {other}"),
    }
}

/// Changes the width in the sample entry of an init segment.
fn wider(init: &[u8]) -> Vec<u8> {
    let mut wider = init.to_vec();
    let entry = init.windows(4).position(|four| four == b"avc1").and_then(|brand| {
        // The first match may be a brand or the sample entry itself; the last match is the sample
        // entry.
        init.windows(4).rposition(|four| four == b"avc1").or(Some(brand))
    });
    wider[entry.expect("sample entry") + 4 + 25] ^= 0x10;
    wider
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_rejects_every_forged_output() {
    let stack = Stack::start().await;
    let client = stack.client();
    let clip = Numbered::seconds(8);
    let (video, job) = client.publish(&clip.file(), DEADLINE).await;
    let good = good_objects(&stack, &video, &job).await;
    // From here on the test's worker is the only one.
    process::send(stack.up_pid(), nix::sys::signal::Signal::SIGSTOP);
    let real: Vec<i32> = stack.running("streaming-worker").iter().map(|p| p.pid).collect();
    stack.signal("streaming-worker", nix::sys::signal::Signal::SIGKILL);
    assert!(process::wait_gone(&real, Duration::from_secs(5)).is_empty());

    // A rejected commit may end the attempt, so every false output gets a job of its own.
    for (forgery, reason) in FORGERIES {
        let next = client.transcode(&video, &json!({"profiles": ["360p"]})).await;
        let mut fake_worker = FakeWorker::connect(&stack).await;
        let (lease, work) = fake_worker.chunk().await;
        assert_eq!(work.chunk, 0, "chunk 0 has the highest priority");
        let output = forged(forgery, &lease, &good, &work.rungs[0].name);
        let reply = fake_worker.commit(&lease, vec![output]).await;
        let failure = reply.refusal.unwrap_or_else(|| panic!("{forgery} was committed"));
        assert_eq!(failure.code, "admission_refused", "{forgery}: {failure:?}");
        assert!(failure.message.contains(reason), "{forgery}: {}", failure.message);
        let state = client.job(&next).await;
        assert_ne!(state["tasks"][0]["state"], "done", "{forgery}: {state:#}");
        cancel(&stack, &next).await;
    }
    genuine_output_is_admitted(&stack, &video, &good).await;
    process::send(stack.up_pid(), nix::sys::signal::Signal::SIGCONT);
}

/// The control case: the same bytes undamaged are accepted, a repeated commit gets the same reply,
/// and an old fencing token is rejected.
async fn genuine_output_is_admitted(stack: &Stack, video: &str, good: &GenuineOutputs) {
    let job = stack.client().transcode(video, &json!({"profiles": ["360p"]})).await;
    let mut fake_worker = FakeWorker::connect(stack).await;
    let (lease, work) = fake_worker.chunk().await;
    let rendition = work.rungs[0].name.clone();
    let (init, bytes) = &good[&(rendition.clone(), 0)];
    let output = store(&lease, &rendition, init, bytes);
    let stale = Lease { token: lease.token - 1, ..lease.clone() };
    let reply = fake_worker.commit(&stale, vec![output.clone()]).await;
    assert!(reply.refusal.is_some() && reply.lease_lost, "an old token is rejected: {reply:?}");
    let reply = fake_worker.commit(&lease, vec![output.clone()]).await;
    assert_eq!(reply.refusal, None, "the genuine output is admitted");
    let again = fake_worker.commit(&lease, vec![output]).await;
    assert_eq!(again.refusal, None, "a repeated commit gets the same reply");
    cancel(stack, &job).await;
}

async fn cancel(stack: &Stack, job: &str) {
    let path = format!("/api/jobs/{job}");
    let reply = stack.client().send(hyper::Method::DELETE, &path, &[], "".into()).await;
    reply.expect("cancel").expect(202);
}
