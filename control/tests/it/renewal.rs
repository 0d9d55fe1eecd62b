//! Renewal of playback tokens over gRPC, and revocation that reaches renewed tokens.

use api::{
    code::{Code, Problem},
    v1::{self, auth_service_client::AuthServiceClient},
};
use authz::{PLAYBACK_SECONDS_MAX, PlaybackGrant, Role, Verifier};
use media::VideoId;
use runtime::{Clock, SystemClock};
use tonic::Request;
use uuid::Uuid;

use crate::{
    plane::{Caller, DEADLINE, Plane, Shared},
    waiting::eventually,
};

const VIDEO: VideoId = VideoId::new(Uuid::from_u128(1));

/// A token for the test's own address that began and ends so many seconds from now.
fn token(shared: &Shared, began: i64, ends: i64) -> String {
    let address = Some("127.0.0.1".parse().unwrap());
    let grant = PlaybackGrant { video: VIDEO, max_height: Some(720), address };
    let now = SystemClock.now_unix();
    shared.keys.mint_playback(&grant, now + began, now + ends).unwrap()
}

async fn renew(plane: &Plane, token: &str) -> Result<v1::RenewPlaybackTokenResponse, Problem> {
    let request = Request::new(v1::RenewPlaybackTokenRequest { token: token.to_owned() });
    let renewed = AuthServiceClient::new(plane.channel.clone()).renew_playback_token(request).await;
    renewed.map(tonic::Response::into_inner).map_err(|status| Problem::from_status(&status))
}

async fn code(plane: &Plane, token: &str) -> Option<Code> {
    renew(plane, token).await.err().map(|problem| problem.code)
}

async fn revoke(caller: &Caller, token: &str) {
    let revoke = v1::RevokeTokenRequest { token: token.to_owned() };
    caller.auth().revoke_token(caller.ask(revoke)).await.unwrap();
}

#[tokio::test]
async fn a_playback_token_is_renewed_without_any_other_token() {
    let plane = Plane::start().await;
    let ripe = token(&plane.shared, -3000, 600);
    let renewed = renew(&plane, &ripe).await.unwrap();
    assert_eq!(renewed.video_id, VIDEO.to_string());
    let (now, ends) = (SystemClock.now_unix(), renewed.expires_at.unwrap().seconds);
    assert!((now + 3590..=now + 3601).contains(&ends), "the life of the first token: {ends}");
    let verifier = Verifier::new(plane.shared.keys.public());
    let from = Some("127.0.0.1".parse().unwrap());
    let allowed = verifier.playback(&renewed.token, VIDEO, ends - 1, from).unwrap();
    assert_eq!((allowed.max_height, allowed.expires_at), (Some(720), ends));

    let early = renew(&plane, &renewed.token).await.unwrap_err();
    assert_eq!(early.code, Code::Conflict);
    let wait = early.retry_after.unwrap().as_secs();
    assert!((2390..=2401).contains(&wait), "until the last third begins: {wait}");
    for (rejected, expected) in [
        (token(&plane.shared, -3600, -1), Code::PermissionDenied),
        (token(&plane.shared, 60 - PLAYBACK_SECONDS_MAX, 60), Code::PermissionDenied),
        (plane.shared.token(Role::Admin, "default"), Code::PermissionDenied),
        ("nonsense".to_owned(), Code::PermissionDenied),
        ("x".repeat(9000), Code::PermissionDenied),
        (String::new(), Code::InvalidField),
        ("  ".to_owned(), Code::InvalidField),
    ] {
        let problem = renew(&plane, &rejected).await.unwrap_err();
        assert_eq!(problem.code, expected, "{problem}");
        assert!(rejected.trim().is_empty() || !problem.message.contains(&rejected));
    }
    let missing = renew(&plane, "").await.unwrap_err();
    assert_eq!(missing.violations[0].field, "token");
    plane.stop().await;
}

#[tokio::test]
async fn a_minted_token_is_too_young_to_be_renewed_and_a_brief_one_can_be() {
    let plane = Plane::start().await;
    let viewer = plane.caller(Role::Viewer);
    let video_id = crate::calls::create(&plane.caller(Role::Editor), "clip").await.video_id;
    let mint = async |ttl_seconds| {
        let request = v1::MintPlaybackTokenRequest {
            video_id: video_id.clone(),
            ttl_seconds,
            ..Default::default()
        };
        let minted = viewer.auth().mint_playback_token(viewer.ask(request)).await;
        minted.unwrap().into_inner().token
    };
    assert_eq!(code(&plane, &mint(0).await).await, Some(Code::Conflict));
    let brief = mint(6).await;
    eventually("the last third begins", DEADLINE, async || code(&plane, &brief).await.is_none())
        .await;
    plane.stop().await;
}

#[tokio::test]
async fn revoking_the_first_token_reaches_its_renewals_on_every_instance() {
    let shared = Shared::new(crate::postgres::database().await);
    let (one, two) = (Plane::of(shared.clone()).await, Plane::of(shared.clone()).await);
    // Even when the first token has expired long ago.
    let first = token(&shared, -3602, 2);
    let renewed = renew(&one, &first).await.unwrap().token;
    eventually("the first token expires", DEADLINE, async || {
        code(&one, &first).await == Some(Code::PermissionDenied)
    })
    .await;
    assert_eq!(code(&two, &renewed).await, Some(Code::Conflict), "the renewed token is valid");
    revoke(&one.caller(Role::Admin), &first).await;
    eventually("the other instance rejects the renewed token", DEADLINE, async || {
        code(&two, &renewed).await == Some(Code::PermissionDenied)
    })
    .await;
    // An instance that starts later reads the same rows.
    let three = Plane::of(shared).await;
    assert_eq!(code(&three, &renewed).await, Some(Code::PermissionDenied));
    for plane in [one, two, three] {
        plane.stop().await;
    }
}

#[tokio::test]
async fn revoking_a_renewal_reaches_the_token_that_it_renews() {
    let plane = Plane::start().await;
    let first = token(&plane.shared, -3000, 600);
    let renewed = renew(&plane, &first).await.unwrap().token;
    revoke(&plane.caller(Role::Admin), &renewed).await;
    for token in [&first, &renewed] {
        assert_eq!(code(&plane, token).await, Some(Code::PermissionDenied));
    }
    plane.stop().await;
}
