//! Transfers that outlive their token, and uploads that a request takes over from one that is still
//! running: on the same data plane, on another one, and from a data plane that hangs or was killed.

use std::time::{Duration, Instant};

use api::v1::{CreateVideoRequest, MintTokenRequest, RevokeTokenRequest};
use bytes::Bytes;
use futures::{StreamExt, stream, stream::BoxStream};
use hyper::Method;
use nix::sys::signal::Signal;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    harness::{
        backing::sql, client::Client, clip::Numbered, eventually, fleet::Fleet, process,
        stack::Stack,
    },
    tus::{self, client::Tus},
};

/// Lifetime in seconds of a token that expires during a transfer.
const TOKEN_SECONDS: u32 = 4;
/// Pieces of a transfer. With the pauses between them it takes longer than the token is valid.
const PIECES: usize = 40;
/// Pacing of a transfer: the rate at which a slow client sends.
const PAUSE: Duration = Duration::from_millis(175);
/// Time from a revocation to the end of the transfers that began with the token.
const REVOKED: Duration = Duration::from_secs(5);
/// Time for a HEAD that takes over from a request on the same data plane.
const SAME_PLANE: Duration = Duration::from_secs(2);
/// Time for a HEAD that takes over from a request on another data plane, even a dead one.
const OTHER_PLANE: Duration = Duration::from_secs(5);
const DEADLINE: Duration = Duration::from_secs(30);

async fn token(stack: &Stack, ttl_seconds: u32) -> String {
    let request = MintTokenRequest {
        role: "editor".to_owned(),
        subject: "uploader".to_owned(),
        ttl_seconds: ttl_seconds.into(),
        tenant: String::new(),
    };
    stack.rpc().auth().mint_token(request).await.expect("mint token").into_inner().token
}

/// A stream of the bytes that takes longer than the token lives.
fn paced(bytes: &Bytes) -> BoxStream<'static, std::io::Result<Bytes>> {
    let size = bytes.len().div_ceil(PIECES);
    let pieces: Vec<Bytes> = (0..PIECES)
        .map(|n| bytes.slice((n * size).min(bytes.len())..((n + 1) * size).min(bytes.len())))
        .collect();
    let piece = |piece| async {
        tokio::time::sleep(PAUSE).await;
        Ok(piece)
    };
    stream::iter(pieces).then(piece).boxed()
}

const OCTETS: (&str, &str) = ("content-type", "application/offset+octet-stream");
const TUS: (&str, &str) = ("tus-resumable", "1.0.0");

/// Creates a video whose source will be sent by `PUT`; returns its id.
async fn reserve(stack: &Stack) -> String {
    let request = CreateVideoRequest { title: "reserved".to_owned(), ..Default::default() };
    let created = stack.rpc().videos().create_video(request).await.expect("create video");
    created.into_inner().video_id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transfers_that_began_with_a_valid_token_finish_unless_it_is_revoked() {
    let stack = Stack::start().await;
    let clip = Bytes::from(tus::padded(6, 600_000));
    outlive_their_token(&stack, &clip).await;
    end_with_their_token(&stack, &clip).await;
}

/// A form, a `PUT` of a source, a PATCH and a text track succeed, although each takes longer than
/// its token lives.
async fn outlive_their_token(stack: &Stack, clip: &Bytes) {
    let there = stack.client().upload_clip(&Numbered::seconds(6).file()).await;
    let reserved = reserve(stack).await;
    let brief = token(stack, TOKEN_SECONDS).await;
    let (client, tus) = (stack.client().with_token(&brief), Tus::at(&stack.http, &brief));
    let created = tus.create(clip.len(), "").await;
    let put = format!("/api/videos/{reserved}/source");
    let track = format!("/api/videos/{there}/captions?language=en");
    let cues =
        Bytes::from(format!("WEBVTT\n\n{}", "00:00.000 --> 00:01.000\nWords\n\n".repeat(20)));
    let (offset, text) = ([OCTETS, TUS, ("upload-offset", "0")], [("content-type", "text/vtt")]);
    let (form, source, patch, captions) = tokio::join!(
        client.upload_stream("video.mp4", &[], paced(clip)),
        client.send_stream(Method::PUT, &put, &[], paced(clip)),
        client.send_stream(Method::PATCH, &created.path, &offset, paced(clip)),
        client.send_stream(Method::POST, &track, &text, paced(&cues)),
    );
    let statuses = [&form, &source, &patch, &captions].map(|reply| reply.status);
    assert_eq!(statuses, [201, 201, 204, 201], "{form:?} {source:?} {patch:?} {captions:?}");
    assert_eq!(client.get("/api/videos").await.status, 401, "the token has expired");
    tus::reaches(stack, &created.video, "uploaded").await;
}

/// Once their token is revoked, the form, the `PUT` and the PATCH end within [`REVOKED`]; a new
/// token of the same subject resumes the tus upload.
async fn end_with_their_token(stack: &Stack, clip: &Bytes) {
    let reserved = reserve(stack).await;
    let doomed = token(stack, 600).await;
    let (client, tus) = (stack.client().with_token(&doomed), Tus::at(&stack.http, &doomed));
    let created = tus.create(clip.len(), "").await;
    let put = format!("/api/videos/{reserved}/source");
    let offset = [OCTETS, TUS, ("upload-offset", "0")];
    let revoked = async {
        tus::durable(stack, &created.path, 1).await;
        let request = RevokeTokenRequest { token: doomed.clone() };
        stack.rpc().auth().revoke_token(request).await.expect("revoke token");
        Instant::now()
    };
    let timed = async |reply| (reply, Instant::now());
    let (form, source, patch, revoked) = tokio::join!(
        async { timed(client.upload_stream("video.mp4", &[], paced(clip)).await).await },
        async { timed(client.send_stream(Method::PUT, &put, &[], paced(clip)).await).await },
        async {
            timed(client.send_stream(Method::PATCH, &created.path, &offset, paced(clip)).await)
                .await
        },
        revoked,
    );
    for (reply, ended) in [form, source, patch] {
        assert_eq!(reply.status, 401, "{}", reply.text());
        assert!(ended - revoked < REVOKED, "the transfer ended after {:?}", ended - revoked);
    }
    let fresh = Tus::at(&stack.http, &token(stack, 600).await);
    let offset = fresh.offset(&created.path).await;
    assert!(offset > 0, "the received bytes are kept");
    fresh.patch(&created.path, offset, &[], clip.slice(offset as usize..)).await.expect(204);
    tus::reaches(stack, &created.video, "uploaded").await;
}

/// Keeps sending a request's body until the server replies or closes the connection; returns the
/// reply.
fn trickle(stream: TcpStream, bytes: Bytes) -> tokio::task::JoinHandle<String> {
    tokio::spawn(async move {
        let (mut reading, mut writing) = stream.into_split();
        let sending = async {
            for piece in bytes.chunks(20_000) {
                if writing.write_all(piece).await.is_err() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            std::future::pending::<()>().await;
        };
        let mut reply = [0; 1024];
        tokio::select! {
            () = sending => String::new(),
            count = reading.read(&mut reply) => {
                String::from_utf8_lossy(&reply[..count.unwrap_or_default()]).into_owned()
            }
        }
    })
}

/// Requests the offset once and sends 10 bytes there, which must be accepted; returns the offset
/// after them.
async fn settles(tus: &Tus, path: &str, clip: &Bytes, within: Duration) -> u64 {
    let started = Instant::now();
    let offset = tus.offset(path).await;
    let waited = started.elapsed();
    assert!(waited < within, "HEAD took {waited:?}");
    tokio::time::sleep(Duration::from_millis(100)).await;
    let from = offset as usize;
    tus.patch(path, offset, &[], clip.slice(from..from + 10)).await.expect(204);
    offset + 10
}

async fn finishes(stack: &Stack, tus: &Tus, path: &str, clip: &Bytes, from: u64) {
    tus.patch(path, from, &[], clip.slice(from as usize..)).await.expect(204);
    let id = path.rsplit('/').next().expect("an id");
    let video = sql(stack, &format!("SELECT video_id FROM uploads WHERE id = '{id}'"))[0].clone();
    tus::reaches(stack, &video, "uploaded").await;
    let stored = std::fs::read(stack.store().join(format!("videos/{video}/source")));
    assert!(stored.expect("read source") == *clip, "the stored bytes are those that were sent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_offset_settles_while_bytes_of_the_old_request_are_in_flight() {
    let stack = Stack::start().await;
    let clip = Bytes::from(tus::padded(6, 40_000_000));
    let tus = Tus::new(&stack);
    let created = tus.create(clip.len(), "").await;
    let (mut offset, mut running) = (0, Vec::new());
    for _ in 0..5 {
        let rest = clip.slice(offset as usize..);
        let stream = tus.begin_patch(&created.path, offset, &rest, 0).await;
        running.push(trickle(stream, rest));
        tus::durable(&stack, &created.path, offset + 1).await;
        let settled = settles(&tus, &created.path, &clip, SAME_PLANE).await;
        assert!(settled > offset + 10, "the received bytes are kept");
        offset = settled;
    }
    for request in running {
        let reply = request.await.expect("request");
        assert!(reply.starts_with("HTTP/1.1 423 "), "{reply}");
    }
    finishes(&stack, &tus, &created.path, &clip, offset).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_is_taken_over_from_another_data_plane_that_runs_hangs_or_was_killed() {
    let mut fleet = Fleet::start(&[], 1).await;
    let clip = Bytes::from(tus::padded(6, 60_000_000));
    let token = fleet.base.token.clone();
    let planes = [0, 1].map(|n| Tus::at(&fleet.dataplanes[n].address, &token));
    let [one, two] = &planes;
    let created = one.create(clip.len(), "").await;
    let path = &created.path;
    let begin = async |plane: &Tus, offset: u64| {
        let rest = clip.slice(offset as usize..);
        let stream = plane.begin_patch(path, offset, &rest, 0).await;
        let running = trickle(stream, rest);
        tus::durable(&fleet.base, path, offset + 1).await;
        // In an array, because what the closure returns must not be a future itself.
        [running]
    };
    // The data plane that holds the lease runs: control makes it release the upload.
    let mut offset = 0;
    for (from, to) in [(one, two), (two, one), (one, two)] {
        let [running] = begin(from, offset).await;
        offset = settles(to, path, &clip, OTHER_PLANE).await;
        let reply = running.await.expect("request");
        assert!(reply.starts_with("HTTP/1.1 423 "), "{reply}");
    }
    // It hangs, with the file open and unread bytes in its socket.
    let _hanging = begin(one, offset).await;
    process::send(fleet.dataplanes[0].pid(), Signal::SIGSTOP);
    offset = settles(two, path, &clip, OTHER_PLANE).await;
    process::send(fleet.dataplanes[0].pid(), Signal::SIGCONT);
    // When it resumes, it writes its remaining bytes into a file that the upload no longer uses,
    // and is then notified that it has lost the lease.
    let client = Client::new(&fleet.dataplanes[0].address, None);
    eventually("the data plane responds again", DEADLINE, async || {
        client.try_get("/health").await.is_ok().then_some(())
    })
    .await;
    // It was killed.
    let _broken = begin(one, offset).await;
    fleet.dataplanes[0].kill();
    offset = settles(two, path, &clip, OTHER_PLANE).await;
    finishes(&fleet.base, two, path, &clip, offset).await;
}
