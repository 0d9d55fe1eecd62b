//! Upload leases: what they allow once the token has expired or been revoked, and how another
//! request claims them.

use std::time::{Duration, Instant};

use api::{code::Code, v1};
use authz::Role;
use uuid::Uuid;

use crate::{
    plane::{Caller, DEADLINE, Plane},
    uploads::{acquire, advance, begin, get, problem, step, store_bytes},
    waiting::eventually,
};

/// How long after a claim a lease ends that its holder does not release, with a margin for slow
/// machines.
const CLAIM: Duration = Duration::from_secs(5);

fn writer() -> String {
    Uuid::new_v4().to_string()
}

/// Advances an upload as a data plane does.
async fn advance_through(
    caller: &Caller,
    plane: &str,
    step: v1::AdvanceUploadRequest,
) -> Result<v1::Upload, Code> {
    let moved = caller.uploads().advance_upload(caller.through_plane(plane, step)).await;
    moved.map(|reply| reply.into_inner()).map_err(|status| problem(status).code)
}

async fn take_over(
    caller: &Caller,
    id: &str,
    offset: u64,
    writer: &str,
) -> v1::AcquireUploadResponse {
    let request = caller.ask(v1::AcquireUploadRequest {
        upload_id: id.to_owned(),
        offset,
        writer: writer.to_owned(),
        take_over: true,
    });
    caller.uploads().acquire_upload(request).await.unwrap().into_inner()
}

async fn settle(caller: &Caller, id: &str) -> v1::Upload {
    let request = caller.ask(v1::GetUploadRequest { upload_id: id.to_owned(), settle: true });
    caller.uploads().get_upload(request).await.unwrap().into_inner()
}

/// Waits until the caller's token has expired.
async fn expired(caller: &Caller) {
    eventually("the token expires", DEADLINE, async || {
        let list = caller.ask(v1::ListVideosRequest::default());
        caller.videos().list_videos(list).await.is_err()
    })
    .await;
}

async fn revoke(plane: &Plane, token: &str) {
    let admin = plane.caller(Role::Admin);
    let request = admin.ask(v1::RevokeTokenRequest { token: token.to_owned() });
    admin.auth().revoke_token(request).await.unwrap();
}

#[tokio::test]
async fn a_transfer_that_began_with_a_valid_token_finishes_after_the_token_expired() {
    let plane = Plane::start().await;
    let token = plane.shared.brief_token(Role::Editor, 3);
    let caller = Caller { token, channel: plane.channel.clone() };
    let proof = plane.shared.token(Role::Dataplane, "default");
    let upload = begin(&caller, 6).await.unwrap();
    let (id, holder) = (upload.upload_id.as_str(), writer());
    assert!(acquire(&caller, id, 0, &holder).await.held);
    expired(&caller).await;
    assert_eq!(
        advance(&caller, step(id, &holder, 0, 3)).await.unwrap_err().code,
        Code::Unauthenticated,
        "the lease grants nothing without a data plane's own token"
    );
    let editor = plane.shared.token(Role::Editor, "default");
    assert_eq!(
        advance_through(&caller, &editor, step(id, &holder, 0, 3)).await.unwrap_err(),
        Code::Unauthenticated,
        "an editor is not a data plane"
    );
    assert_eq!(
        advance_through(&caller, &proof, step(id, &writer(), 0, 3)).await.unwrap_err(),
        Code::LeaseLost,
        "another writer has no lease"
    );
    store_bytes(&plane, &upload, b"source");
    assert_eq!(advance_through(&caller, &proof, step(id, &holder, 0, 6)).await.unwrap().offset, 6);
    let complete = v1::CompleteUploadRequest {
        upload_id: id.to_owned(),
        writer: holder,
        ..v1::CompleteUploadRequest::default()
    };
    // Sent twice, as after a lost reply: by the second time the lease has ended.
    for _ in 0..2 {
        let request = caller.through_plane(&proof, complete.clone());
        let video = caller.uploads().complete_upload(request).await.unwrap().into_inner();
        assert_eq!(video.state(), v1::VideoState::Probing);
    }
    plane.stop().await;
}

#[tokio::test]
async fn revoking_the_token_ends_its_transfer_and_another_token_continues_it() {
    let plane = Plane::start().await;
    let caller = plane.caller(Role::Editor);
    let proof = plane.shared.token(Role::Dataplane, "default");
    let upload = begin(&caller, 6).await.unwrap();
    let (id, holder) = (upload.upload_id.as_str(), writer());
    assert!(acquire(&caller, id, 0, &holder).await.held);
    assert_eq!(advance_through(&caller, &proof, step(id, &holder, 0, 3)).await.unwrap().offset, 3);
    revoke(&plane, &caller.token).await;
    let ended = advance_through(&caller, &proof, step(id, &holder, 3, 4)).await;
    assert_eq!(ended.unwrap_err(), Code::Unauthenticated);
    // A new token of the same subject.
    let fresh = Caller {
        token: plane.shared.brief_token(Role::Editor, 900),
        channel: plane.channel.clone(),
    };
    assert_ne!(fresh.token, caller.token);
    let next = writer();
    eventually("the lease is taken over", CLAIM, async || {
        take_over(&fresh, id, 3, &next).await.held
    })
    .await;
    assert_eq!(advance_through(&fresh, &proof, step(id, &next, 3, 4)).await.unwrap().offset, 4);
    plane.stop().await;
}

#[tokio::test]
async fn revoking_the_token_ends_the_wait_for_the_probe_and_the_video_stays() {
    let plane = Plane::start().await;
    let caller = plane.caller(Role::Editor);
    let (video, mut complete) = crate::clip::send_source(&plane, &caller).await;
    // No worker probes it, so that the call waits for the longest time that a request may specify.
    complete.wait_seconds = 60;
    let request = caller.ask(complete);
    let mut uploads = caller.uploads();
    let waiting = uploads.complete_upload(request);
    let reader = plane.caller(Role::Admin);
    let state = async || {
        let request = reader.ask(v1::GetVideoRequest { video_id: video.clone() });
        reader.videos().get_video(request).await.unwrap().into_inner().state()
    };
    let revoking = async {
        let probing = async || state().await == v1::VideoState::Probing;
        eventually("the upload waits for the probe", DEADLINE, probing).await;
        revoke(&plane, &caller.token).await;
    };
    let (ended, ()) = tokio::join!(tokio::time::timeout(DEADLINE, waiting), revoking);
    let ended = ended.expect("the wait ends with the token").unwrap_err();
    assert_eq!(problem(ended).code, Code::Unauthenticated);
    assert_eq!(state().await, v1::VideoState::Probing);
    plane.stop().await;
}

#[tokio::test]
async fn a_token_that_expired_can_still_be_revoked() {
    let plane = Plane::start().await;
    let other = Plane::of(plane.shared.clone()).await;
    let token = plane.shared.brief_token(Role::Editor, 2);
    let caller = Caller { token: token.clone(), channel: other.channel.clone() };
    let proof = plane.shared.token(Role::Dataplane, "default");
    let upload = begin(&caller, 6).await.unwrap();
    let (id, holder) = (upload.upload_id.as_str(), writer());
    assert!(acquire(&caller, id, 0, &holder).await.held);
    expired(&caller).await;
    assert!(advance_through(&caller, &proof, step(id, &holder, 0, 1)).await.is_ok());
    // Revoked at another instance, without Redis.
    revoke(&plane, &token).await;
    let keep = step(id, &holder, 1, 1);
    eventually("the token is rejected", CLAIM, async || {
        advance_through(&caller, &proof, keep.clone()).await.is_err()
    })
    .await;
    plane.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn a_request_that_takes_over_waits_for_the_holders_last_write() {
    let plane = Plane::start().await;
    let caller = plane.caller(Role::Editor);
    let watcher = plane.caller(Role::Dataplane);
    let request = watcher.ask(v1::WatchChangesRequest {});
    let mut changes = watcher.playback().watch_changes(request).await.unwrap().into_inner();
    let upload = begin(&caller, 10).await.unwrap();
    let (id, one, two) = (upload.upload_id.as_str(), writer(), writer());
    assert!(acquire(&caller, id, 0, &one).await.held);
    let claimed = take_over(&caller, id, 0, &two).await;
    assert!(!claimed.held && claimed.upload.unwrap().held);
    let notified =
        async { while changes.message().await.unwrap().unwrap().claimed_writer != one {} };
    tokio::time::timeout(DEADLINE, notified).await.unwrap();
    // A data plane that missed the notification receives the claim in the reply to its next call,
    // and may finish its write.
    let moved = advance(&caller, step(id, &one, 0, 4)).await.unwrap();
    assert!(moved.claimed);
    assert!(settle(&caller, id).await.held);
    let mut last = step(id, &one, 4, 6);
    last.release = true;
    assert!(!advance(&caller, last).await.unwrap().held);
    let settled = settle(&caller, id).await;
    assert_eq!((settled.held, settled.offset), (false, 6));
    assert!(!take_over(&caller, id, 4, &two).await.held, "its offset is 6");
    let taken = take_over(&caller, id, 6, &two).await;
    assert!(taken.held && !taken.upload.unwrap().claimed);
    plane.stop().await;
}

#[tokio::test]
async fn a_holder_that_hangs_loses_its_lease_soon_after_a_claim_and_stops_writing() {
    let plane = Plane::start().await;
    let caller = plane.caller(Role::Editor);
    let upload = begin(&caller, 10).await.unwrap();
    let (id, holder) = (upload.upload_id.as_str(), writer());
    assert!(acquire(&caller, id, 0, &holder).await.held);
    let started = Instant::now();
    eventually("the upload is settled", CLAIM, async || {
        let held = settle(&caller, id).await.held;
        if held {
            // Renewals do not extend a claimed lease.
            advance(&caller, step(id, &holder, 0, 0)).await.unwrap();
        }
        !held
    })
    .await;
    assert!(started.elapsed() > Duration::from_secs(2), "it has time for its last write");
    let late = advance(&caller, step(id, &holder, 0, 4)).await.unwrap_err();
    assert_eq!(late.code, Code::LeaseLost);
    assert_eq!(get(&caller, id).await.unwrap().offset, 0);
    plane.stop().await;
}
