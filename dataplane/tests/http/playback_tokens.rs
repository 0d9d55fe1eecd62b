//! Playback tokens in URLs: their renewal, and manifests that differ by nothing else.

use authz::{PlaybackGrant, RootKeys};
use runtime::{Clock, SystemClock};

use crate::{
    fake_control::FakeControl,
    support::{Clip, Plane},
    token_errors::start,
};

const PATH: &str = "/api/playback-token/renew";
const JSON: &str = "Content-Type: application/json";

#[tokio::test]
async fn renewal_needs_only_the_token_and_returns_the_urls_that_contain_the_new_one() {
    let (plane, _control) = start(|_| {}).await;
    let hls = format!("/api/stream/{}/hls/playlist.m3u8?token=renewed", FakeControl::ID);
    let dash = format!("/api/stream/{}/dash/manifest.mpd?token=renewed", FakeControl::ID);
    // A bearer token, valid or not, changes nothing; the control plane does not even receive it.
    for bearer in ["X: y", "Authorization: Bearer garbage"] {
        let headers = [JSON, bearer, "Origin: https://player.example"];
        let reply = plane.send_body("POST", PATH, &headers, br#"{"token": "ripe"}"#).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert_eq!(reply.json()["token"], "renewed");
        assert_eq!(
            (&reply.json()["hls"], &reply.json()["dash"]),
            (&hls.clone().into(), &dash.clone().into())
        );
        assert!(reply.json().as_object().unwrap().contains_key("expiresAt"));
        assert_eq!(reply.header("cache-control"), "no-store");
        assert_eq!(reply.header("set-cookie"), "");
        assert_eq!(reply.header("access-control-allow-origin"), "*");
        assert!(reply.header("vary").starts_with("Origin"));
    }
}

#[tokio::test]
async fn a_token_that_cannot_be_renewed_is_answered_with_the_reason() {
    let (plane, _control) = start(|_| {}).await;
    let renew = async |body: &str| plane.send_body("POST", PATH, &[JSON], body.as_bytes()).await;
    let early = renew(r#"{"token": "early"}"#).await;
    assert_eq!((early.status, early.code().as_str()), (409, "conflict"));
    assert_eq!(early.header("retry-after"), "7");
    let expired = renew(r#"{"token": "expired"}"#).await;
    assert_eq!((expired.status, expired.code().as_str()), (403, "permission_denied"));
    for (body, field) in [
        ("", "token"),
        ("{}", "token"),
        (r#"{"token": ""}"#, "token"),
        (r#"{"token": 7}"#, "token"),
        (r#"{"token": "ripe", "ttlSeconds": 9}"#, "ttlSeconds"),
    ] {
        let reply = renew(body).await;
        assert_eq!((reply.status, reply.code().as_str()), (422, "invalid_field"), "{body}");
        assert_eq!(reply.json()["errors"][0]["field"], field, "{body}");
    }
    assert_eq!(renew("{").await.status, 400);
    assert_eq!(plane.send_body("POST", PATH, &["X: y"], b"x").await.status, 415);
    let method = plane.get(PATH).await;
    assert_eq!((method.status, method.header("allow")), (405, "POST"));
}

/// Every URL of the manifests of a private video, as a viewer with this token gets them.
async fn manifests(plane: &Plane, clip: &Clip, token: &str) -> Vec<String> {
    let mut texts = Vec::new();
    for path in [clip.path("hls/playlist.m3u8"), clip.path("dash/manifest.mpd")] {
        texts.push(plane.get(&format!("{path}?token={token}")).await.text());
    }
    let playlists: Vec<String> = texts[0]
        .split(['"', '\n'])
        .filter_map(|part| part.strip_prefix("../"))
        .map(|part| clip.path(part))
        .collect();
    assert!(playlists.len() >= 3, "{playlists:?}");
    for path in playlists {
        let reply = plane.get(&path).await;
        assert_eq!(reply.status, 200, "{path}");
        texts.push(reply.text());
    }
    texts
}

#[tokio::test]
async fn urls_are_the_same_for_every_token_except_for_the_token_itself() {
    let keys = RootKeys::generate();
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("keys")).unwrap();
    let public = serde_json::to_vec(&keys.public()).unwrap();
    std::fs::write(folder.path().join("keys/public.json"), public).unwrap();
    let plane = Plane::start_in(folder, |_| {}).await;
    let clip = Clip::new(false);
    clip.store(&plane.folder);
    let now = SystemClock.now_unix();
    let mint = |max_height| {
        let grant = PlaybackGrant { video: clip.index.video, max_height, address: None };
        keys.mint_playback(&grant, now - 60, now + 20).unwrap()
    };
    let (first, other) = (mint(None), mint(Some(360)));
    let verifier = authz::Verifier::new(keys.public());
    let renewed = verifier.renew(&keys, &first, now * 1000, None).unwrap().token;
    assert!(first != other && first != renewed);
    let expected = manifests(&plane, &clip, &first).await;
    for token in [&other, &renewed] {
        let listed = manifests(&plane, &clip, token).await;
        let replaced: Vec<_> = listed.iter().map(|text| text.replace(token, &first)).collect();
        assert_eq!(replaced, expected);
        assert!(listed.iter().all(|text| text.contains(&format!("?token={token}"))));
    }
}
