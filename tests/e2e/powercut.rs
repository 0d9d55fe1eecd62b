//! Acknowledged data survives a power cut. The real planes run with a library that records which
//! data they sync, and restart with only that data.

use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::{
    conformance::{Phase, hls},
    harness::{capture::Capture, clip::Numbered, eventually, powercut::PowerCut, stack::Stack},
    tus::{self, client::Tus},
};

const DEADLINE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_bytes_survive_a_power_cut() {
    let mut stack = Stack::new(&[]);
    let power = PowerCut::of(&mut stack);
    stack.up().await;
    power.settle();
    let clip = tus::padded(6, 3_000_000);
    let client = Tus::new(&stack);
    let created = client.create(clip.len(), "").await;
    let first = Bytes::copy_from_slice(&clip[..1_000_000]);
    client.patch(&created.path, 0, &[], first).await.expect(204);
    // In the middle of a request whose bytes are recorded as durable.
    let open = client.begin_patch(&created.path, 1_000_000, &clip[1_000_000..], 700_000).await;
    tus::durable(&stack, &created.path, 1_700_000).await;
    power.cut(&mut stack);
    drop(open);

    stack.up().await;
    let client = Tus::new(&stack);
    let offset = client.offset(&created.path).await;
    assert!(offset >= 1_700_000, "{offset} is less than was acknowledged");
    // Another video, uploaded and encoded.
    let reply = stack.client().upload(&Numbered::seconds(6).file(), &[]).await.expect(201);
    let ready = reply.json()["videoId"].as_str().expect("videoId").to_owned();
    let job = stack.client().transcode(&ready, &json!({"profiles": ["360p"]})).await;
    stack.client().wait_job(&job, "completed", DEADLINE).await;
    let index = stack.store().join(format!("videos/{ready}/index"));
    eventually("the final index is stored", DEADLINE, async || index.exists().then_some(())).await;
    let before = std::fs::read(&index).expect("read index");
    // The rest of the first upload.
    let rest = Bytes::copy_from_slice(&clip[offset as usize..]);
    client.patch(&created.path, offset, &[], rest).await.expect(204);
    power.cut(&mut stack);

    stack.up().await;
    let source = |video: &str| {
        let path = stack.store().join(format!("videos/{video}/source"));
        Sha256::digest(std::fs::read(path).unwrap_or_default())
    };
    assert_eq!(source(&created.video), Sha256::digest(&clip));
    tus::reaches(&stack, &created.video, "uploaded").await;
    let sent = std::fs::read(Numbered::seconds(6).file()).expect("read clip");
    assert_eq!(source(&ready), Sha256::digest(sent));
    assert!(std::fs::read(&index).unwrap_or_default() == before, "the index is complete");
    let path = format!("/api/stream/{ready}/hls/playlist.m3u8");
    let captured = Capture::hls(&stack.anonymous(), &path).await;
    hls::check(&captured, Phase::Final).assert_none("HLS");
}
