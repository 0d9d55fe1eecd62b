//! Resumable uploads: tus 1.0.0 against the whole service, with killed processes, interrupted
//! requests, concurrent requests, and the cleanup of aborted uploads. The same sequence runs on a
//! folder and on a bucket.

pub(crate) mod client;
mod command;

use std::{path::Path, time::Duration};

use bytes::Bytes;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::harness::{
    backing::sql,
    clip::Numbered,
    eventually,
    minio::Minio,
    proxy::{Mode, Proxy},
    stack::Stack,
};

use client::Tus;

const DEADLINE: Duration = Duration::from_secs(30);

/// A video followed by `bytes` of padding in a box that players skip.
pub(crate) fn padded(seconds: u32, bytes: usize) -> Vec<u8> {
    let mut clip = std::fs::read(Numbered::seconds(seconds).file()).expect("read clip");
    clip.extend_from_slice(&u32::try_from(bytes + 8).expect("a small box").to_be_bytes());
    clip.extend_from_slice(b"free");
    clip.extend((0..bytes).map(|n| (n * 31 % 251) as u8));
    clip
}

async fn state(stack: &Stack, video: &str) -> String {
    let reply = stack.client().try_get(&format!("/api/videos/{video}")).await;
    let Ok(reply) = reply else { return String::new() };
    if reply.status != 200 {
        return format!("{}", reply.status);
    }
    reply.json()["state"].as_str().unwrap_or_default().to_owned()
}

pub(crate) async fn reaches(stack: &Stack, video: &str, wanted: &str) {
    eventually(&format!("the video is {wanted}"), DEADLINE, async || {
        (state(stack, video).await == wanted).then_some(())
    })
    .await;
}

/// Waits until control has recorded that many bytes of an upload as durable. Unlike HEAD, this does
/// not disturb a request that is still running.
pub(crate) async fn durable(stack: &Stack, path: &str, offset: u64) {
    let id = path.rsplit('/').next().expect("an id");
    let query = format!("SELECT received FROM uploads WHERE id = '{id}'");
    eventually("the bytes are durable", DEADLINE, async || {
        let received = sql(stack, &query).first()?.parse::<u64>().ok()?;
        (received >= offset).then_some(())
    })
    .await;
}

fn source(stack: &Stack, video: &str) -> Vec<u8> {
    std::fs::read(stack.store().join(format!("videos/{video}/source"))).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upload_survives_cuts_kills_and_concurrent_writers_and_plays() {
    let expiry = ("STREAMING_UPLOAD_EXPIRY", "20s");
    let mut stack = Stack::start_with(&[expiry, ("STREAMING_UPLOADS_OPEN_MAX", "3")]).await;
    let tus = Tus::new(&stack);
    let abandoned = tus.create(1000, "").await;
    tus.patch(&abandoned.path, 0, &[], vec![7; 400].into()).await.expect(204);
    rejected_requests(&stack, &tus).await;
    let video = upload_through_a_kill(&mut stack).await;
    let tus = Tus::new(&stack);
    concurrent_writers(&stack, &tus).await;
    rejected_by_the_probe(&stack, &tus).await;
    terminated(&stack, &tus).await;
    let job = stack.client().transcode(&video, &json!({"profiles": ["360p"]})).await;
    stack.client().wait_job(&job, "completed", Duration::from_secs(60)).await;
    stack.anonymous().get(&format!("/api/stream/{video}/hls/playlist.m3u8")).await.expect(200);
    eventually("abandoned uploads expire", DEADLINE, async || {
        (tus.head(&abandoned.path).await.status == 404).then_some(())
    })
    .await;
    eventually("and their objects are deleted", DEADLINE, async || {
        stack.objects().iter().all(|key| !key.contains("/upload-")).then_some(())
    })
    .await;
    assert_eq!(state(&stack, &abandoned.video).await, "404");
}

/// Callers without permission, other tenants' and unknown uploads, and exceeded quotas.
async fn rejected_requests(stack: &Stack, tus: &Tus) {
    let viewer = tus.with_token(&stack.rpc().mint("viewer").await);
    assert_eq!(viewer.try_create(10, "").await.status, 403, "viewers do not upload");
    let other_tenant = tus.with_token(&mint_for(stack, "elsewhere").await);
    let ours = tus.create(10, "").await;
    assert_eq!(other_tenant.head(&ours.path).await.status, 404);
    assert_eq!(other_tenant.patch(&ours.path, 0, &[], vec![1; 10].into()).await.status, 404);
    assert_eq!(other_tenant.delete(&ours.path).await.status, 404);
    let third = tus.create(10, "").await;
    let full = tus.try_create(10, "").await;
    assert_eq!((full.status, full.json()["code"].clone()), (429, json!("quota_exceeded")));
    assert!(other_tenant.try_create(10, "").await.status == 201, "quotas are counted per tenant");
    for created in [ours, third] {
        assert_eq!(tus.delete(&created.path).await.status, 204);
        assert_eq!(tus.head(&created.path).await.status, 404);
    }
    let unknown = "/api/uploads/01936b2e-7c1a-7d33-8b0e-000000000001";
    assert_eq!(tus.head(unknown).await.status, 404);
}

async fn mint_for(stack: &Stack, tenant: &str) -> String {
    let request = api::v1::MintTokenRequest {
        role: "admin".to_owned(),
        subject: "other".to_owned(),
        ttl_seconds: 600,
        tenant: tenant.to_owned(),
    };
    stack.rpc().auth().mint_token(request).await.expect("mint token").into_inner().token
}

/// A video uploaded in several requests: one with a checksum, one that is interrupted, and one
/// during which the data plane is killed.
async fn upload_through_a_kill(stack: &mut Stack) -> String {
    let clip = padded(6, 3_000_000);
    let tus = Tus::new(stack);
    let metadata = "filename Li4vLi4vZXRjL3g=,title w5xiZXI=,relativePath bnVsbA==";
    let created = tus.create(clip.len(), metadata).await;
    let path = created.path.clone();
    let head = tus.head(&path).await.expect(200);
    assert_eq!(head.header("upload-metadata"), metadata);
    assert_eq!(head.header("upload-length"), clip.len().to_string());
    assert!(head.header("upload-expires").ends_with("GMT"), "{:?}", head.headers);
    // Bytes that do not match the checksum are dropped, matching ones are stored.
    let piece = &clip[..500_000];
    let sum = tus.sha256(piece);
    let wrong = tus.patch(&path, 0, &[("upload-checksum", &sum)], vec![1; 500_000].into()).await;
    assert_eq!(wrong.status, 460, "{}", wrong.text());
    let right = Bytes::copy_from_slice(piece);
    let kept = tus.patch(&path, 0, &[("upload-checksum", &sum)], right).await.expect(204);
    assert_eq!(
        (kept.header("upload-offset"), kept.header("video-id")),
        ("500000", &*created.video)
    );
    // Interrupted: the bytes that arrived are kept.
    tus.begin_patch(&path, 500_000, &clip[500_000..], 600_000).await;
    durable(stack, &path, 1_100_000).await;
    // Killed: the offset is never lower than was acknowledged.
    let open = tus.begin_patch(&path, 1_100_000, &clip[1_100_000..], 700_000).await;
    durable(stack, &path, 1_800_000).await;
    stack.replace("streaming-dataplane").await;
    drop(open);
    stack.wait_ready().await;
    let tus = Tus::new(stack);
    assert_eq!(tus.offset(&path).await, 1_800_000);
    let rest = Bytes::copy_from_slice(&clip[1_800_000..]);
    let last = tus.patch(&path, 1_800_000, &[], rest).await.expect(204);
    assert_eq!(last.header("video-id"), created.video);
    assert_eq!(last.header("upload-offset"), clip.len().to_string());
    assert!(matches!(&*state(stack, &created.video).await, "probing" | "uploaded"));
    assert_eq!(
        tus.offset(&path).await,
        clip.len() as u64,
        "the offset is final although the last reply was lost"
    );
    assert!(source(stack, &created.video) == clip, "the stored bytes are those that were sent");
    reaches(stack, &created.video, "uploaded").await;
    let shown = stack.client().get(&format!("/api/videos/{}", created.video)).await.json();
    assert_eq!((&shown["title"], &shown["metadata"]["width"]), (&json!("Über"), &json!(640)));
    created.video
}

/// The later one takes over; what the earlier one sent is kept.
async fn concurrent_writers(stack: &Stack, tus: &Tus) {
    let clip = Bytes::from(padded(6, 2_000_000));
    let created = tus.create(clip.len(), "").await;
    let (first, second) = tokio::join!(
        tus.patch(&created.path, 0, &[], clip.clone()),
        tus.patch(&created.path, 0, &[], clip.clone())
    );
    let mut statuses = [first.status, second.status];
    statuses.sort_unstable();
    assert!(matches!(statuses, [204, 409 | 423] | [409, 423]), "{statuses:?}");
    let offset = tus.offset(&created.path).await;
    if offset < clip.len() as u64 {
        let rest = clip.slice(offset as usize..);
        tus.patch(&created.path, offset, &[], rest).await.expect(204);
    }
    reaches(stack, &created.video, "uploaded").await;
    assert_eq!(Sha256::digest(source(stack, &created.video)), Sha256::digest(&clip));
}

/// A file that is not a video: the video's state shows the reason, and its source is kept until it
/// is deleted.
async fn rejected_by_the_probe(stack: &Stack, tus: &Tus) {
    let created = tus.create(500_000, "").await;
    tus.patch(&created.path, 0, &[], vec![7; 500_000].into()).await.expect(204);
    reaches(stack, &created.video, "failed").await;
    let path = format!("/api/videos/{}", created.video);
    let video = stack.client().get(&path).await.json();
    assert_eq!(video["error"]["code"], "not_a_video", "{video:#}");
    assert_eq!(source(stack, &created.video).len(), 500_000);
    assert_eq!(tus.offset(&created.path).await, 500_000, "the upload is complete");
    let again = stack.client().post(&format!("{path}/transcode"), &json!({})).await;
    assert_eq!((again.status, again.json()["code"].clone()), (409, json!("conflict")));
    stack.client().send(hyper::Method::DELETE, &path, &[], Bytes::new()).await.expect("DELETE");
    assert_eq!(state(stack, &created.video).await, "404");
    eventually("its source is deleted", DEADLINE, async || {
        source(stack, &created.video).is_empty().then_some(())
    })
    .await;
}

async fn terminated(stack: &Stack, tus: &Tus) {
    let created = tus.create(1_000_000, "").await;
    tus.begin_patch(&created.path, 0, &[5; 400_000], 400_000).await;
    durable(stack, &created.path, 400_000).await;
    assert_eq!(tus.delete(&created.path).await.status, 204);
    assert_eq!(tus.head(&created.path).await.status, 404);
    assert_eq!(state(stack, &created.video).await, "404");
    eventually("none of its objects are left", DEADLINE, async || {
        let left = stack.objects().iter().any(|key| key.contains(&created.video));
        (!left).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_to_a_bucket_use_parts_and_leave_no_unfinished_uploads() {
    let minio = Minio::start(&["videos"]);
    let mut env = minio.vars();
    env.push(("STREAMING_STORES", minio.stores()));
    let env: Vec<(&str, &str)> = env.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let mut stack = Stack::start_with(&env).await;
    let clip = padded(6, 21 << 20);
    let uploads = || -> Vec<String> {
        minio.objects("videos").into_iter().filter(|key| key.contains("/upload-")).collect()
    };
    let tus = Tus::new(&stack);
    let created = tus.create(clip.len(), "").await;
    let path = created.path.clone();
    let send = async |tus: &Tus, from: usize, to: usize| {
        let body = Bytes::copy_from_slice(&clip[from..to]);
        tus.patch(&path, from as u64, &[], body).await.expect(204)
    };
    // A full part and a partial one, a partial one alone, a checksum, a killed data plane, the end.
    send(&tus, 0, 10 << 20).await;
    assert_eq!((tus.offset(&path).await, uploads().len()), (10 << 20, 1));
    send(&tus, 10 << 20, 11 << 20).await;
    assert_eq!(uploads().len(), 1, "the former side object is deleted");
    let piece = &clip[11 << 20..13 << 20];
    let sum = tus.sha256(piece);
    let wrong = vec![0; piece.len()];
    let offset = 11 << 20;
    let rejected = tus.patch(&path, offset, &[("upload-checksum", &sum)], wrong.into()).await;
    assert_eq!(rejected.status, 460);
    let right = Bytes::copy_from_slice(piece);
    tus.patch(&path, offset, &[("upload-checksum", &sum)], right).await.expect(204);
    let open = tus.begin_patch(&path, 13 << 20, &clip[13 << 20..], 5 << 20).await;
    durable(&stack, &path, 16 << 20).await;
    stack.replace("streaming-dataplane").await;
    drop(open);
    stack.wait_ready().await;
    let tus = Tus::new(&stack);
    let kept = tus.offset(&path).await as usize;
    assert!((16 << 20..=18 << 20).contains(&kept), "{kept}");
    assert_eq!(send(&tus, kept, clip.len()).await.header("video-id"), created.video);
    reaches(&stack, &created.video, "uploaded").await;
    assert!(uploads().is_empty(), "{:?}", uploads());
    bucket_leftovers(&stack, &minio, &clip).await;
}

/// A form upload through the same code, and an upload that is aborted.
async fn bucket_leftovers(stack: &Stack, minio: &Minio, clip: &[u8]) {
    let file = stack.beside().join("padded.mp4");
    std::fs::write(&file, clip).expect("write clip");
    let reply = stack.client().upload(&file, &[]).await.expect(201);
    let video = reply.json()["videoId"].as_str().expect("videoId").to_owned();
    let key = format!("videos/{video}/source");
    assert!(minio.objects("videos").contains(&key), "{:?}", minio.objects("videos"));
    assert_eq!(minio.multiparts(), 0);
    let tus = Tus::new(stack);
    let created = tus.create(clip.len(), "").await;
    let body = Bytes::copy_from_slice(&clip[..10 << 20]);
    tus.patch(&created.path, 0, &[], body).await.expect(204);
    assert_eq!(minio.multiparts(), 1);
    assert_eq!(tus.delete(&created.path).await.status, 204);
    eventually("parts and side object are deleted", DEADLINE, async || {
        let left = minio.objects("videos").iter().any(|key| key.contains(&created.video));
        (!left && minio.multiparts() == 0).then_some(())
    })
    .await;
}

/// The command line, killed in the middle of an upload, and an independent client that is
/// interrupted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interrupted_clients_resume() {
    let stack = Stack::start().await;
    let file = stack.beside().join("long.mp4");
    std::fs::write(&file, padded(6, 60_000_000)).expect("write clip");
    let proxy = Proxy::to(&stack.http).await;
    let mut first = command::upload(&stack, &proxy, &file).spawn().expect("start upload");
    // Once the upload has begun, the proxy holds all traffic, and the client is killed.
    while command::remembered(&stack).is_none() {
        assert!(first.try_wait().expect("wait for upload").is_none(), "the upload ended early");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    proxy.set(Mode::Hold);
    first.kill().expect("kill upload");
    first.wait().expect("reap upload");
    proxy.set(Mode::Pass);
    let second = command::run(&stack, &proxy, &file).await;
    assert!(second.contains("source 640x360"), "{second}");
    let videos = stack.client().get("/api/videos").await.expect(200).json();
    assert_eq!(
        videos["videos"].as_array().map(Vec::len),
        Some(1),
        "the upload created another video: {videos:#}"
    );
    assert!(
        command::remembered(&stack).is_none(),
        "its state is removed once the upload is complete"
    );
    let video = videos["videos"][0]["videoId"].as_str().expect("videoId").to_owned();
    assert!(source(&stack, &video) == std::fs::read(&file).expect("read clip"));
    assert_eq!(videos["videos"][0]["title"], "long.mp4");
    command::rejects_a_file_that_is_not_a_video(&stack, &proxy, Path::new("/etc/hostname")).await;
    let result = command::tus_js_client(&stack, &file, 4_000_000, 10_000_000).await;
    assert_eq!(result["done"], true, "{result:#}");
    let video = result["video"].as_str().expect("video").to_owned();
    reaches(&stack, &video, "uploaded").await;
    assert!(source(&stack, &video) == std::fs::read(&file).expect("read clip"));
}
