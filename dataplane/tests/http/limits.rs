//! Rate limits over sockets: in one process, and in a Redis that two processes share.

use std::time::Duration;

use authz::{Grant, Role, RootKeys};
use runtime::{Clock, Secret, SystemClock};

use crate::{
    redis_server::RedisServer,
    support::{Clip, Plane, Reply, eventually},
    token_errors,
};

/// A period so long that no test regains a request before its end.
const FEW: &str = "2/7d";

fn limit_state(reply: &Reply) -> (u16, String, String) {
    let header = |name: &str| reply.header(name).to_owned();
    (reply.status, header("ratelimit-limit"), header("ratelimit-remaining"))
}

fn expected(status: u16, limit: &str, remaining: &str) -> (u16, String, String) {
    (status, limit.to_owned(), remaining.to_owned())
}

#[tokio::test]
async fn a_request_above_the_limit_is_rejected_with_a_problem() {
    let plane = Plane::start_with(|config| config.rate_general = "2/1h".to_owned()).await;
    for remaining in ["1", "0"] {
        let reply = plane.get("/api/videos").await;
        assert_eq!(limit_state(&reply), expected(401, "2", remaining));
        let reset: u64 = reply.header("ratelimit-reset").parse().unwrap();
        assert!((1..=3600).contains(&reset), "{reset}");
    }
    let reply = plane.send("GET", "/api/videos", &["Origin: https://a.example"]).await;
    assert_eq!(limit_state(&reply), expected(429, "2", "0"));
    assert_eq!(reply.code(), "rate_limited");
    let retry: u64 = reply.header("retry-after").parse().unwrap();
    assert!((1790..=1800).contains(&retry), "half an hour earns one: {retry}");
    assert_eq!(reply.header("vary"), "Origin, Accept-Encoding");
    assert!(reply.header("access-control-allow-origin").is_empty());
    // All general requests share one limit, also those for resources that do not exist.
    assert_eq!(plane.get("/api/openapi.json").await.status, 429);
    assert_eq!(plane.get("/api/nothing").await.status, 429);
}

#[tokio::test]
async fn health_metrics_and_preflights_are_free() {
    let plane = Plane::start_with(|config| {
        config.rate_general = FEW.to_owned();
        config.rate_stream = FEW.to_owned();
    })
    .await;
    let clip = Clip::new(true).path("hls/playlist.m3u8");
    for _ in 0..5 {
        for path in ["/health/playback", "/metrics", "/"] {
            let reply = plane.get(path).await;
            assert_eq!((reply.status, reply.header("ratelimit-limit")), (200, ""), "{path}");
        }
        let preflight = ["Origin: https://a.example", "Access-Control-Request-Method: GET"];
        for path in ["/api/videos", clip.as_str()] {
            let reply = plane.send("OPTIONS", path, &preflight).await;
            assert_eq!((reply.status, reply.header("ratelimit-limit")), (204, ""));
        }
    }
    assert_eq!(limit_state(&plane.get("/api/videos").await), expected(401, "2", "1"));
}

#[tokio::test]
async fn kinds_are_counted_separately_and_off_disables_a_limit() {
    let plane = Plane::start_with(|config| {
        config.rate_upload = "1/7d".to_owned();
        config.rate_stream = FEW.to_owned();
    })
    .await;
    let clip = Clip::new(true);
    clip.store(&plane.folder);
    let post = async || plane.send("POST", "/api/videos/upload", &["Content-Length: 0"]).await;
    assert_eq!(limit_state(&post().await), expected(401, "1", "0"));
    assert_eq!(limit_state(&post().await), expected(429, "1", "0"));
    let segment = clip.media("360p/h0.m4s");
    assert_eq!(limit_state(&plane.get(&segment).await), expected(200, "2", "1"));
    let part = plane.send("GET", &segment, &["Range: bytes=0-9"]).await;
    assert_eq!(limit_state(&part), expected(206, "2", "0"));
    assert_eq!(limit_state(&plane.get(&segment).await), expected(429, "2", "0"));
    for _ in 0..5 {
        let reply = plane.get("/api/videos").await;
        assert_eq!((reply.status, reply.header("ratelimit-limit")), (401, ""));
    }
}

#[tokio::test]
async fn only_trusted_proxies_set_the_client_address() {
    let plane = Plane::start_with(|config| config.rate_general = FEW.to_owned()).await;
    for expected in [401, 401, 429] {
        let line = format!("X-Forwarded-For: 203.0.113.{expected}");
        assert_eq!(plane.send("GET", "/api/videos", &[&line]).await.status, expected);
    }
    let plane = Plane::start_with(|config| {
        config.rate_general = FEW.to_owned();
        config.trusted_proxies = vec!["127.0.0.0/8".to_owned(), "10.0.0.0/8".to_owned()];
    })
    .await;
    let ask = async |list: &str| {
        let line = format!("X-Forwarded-For: {list}");
        plane.send("GET", "/api/videos", &[&line]).await.status
    };
    // The entries to the left of the client's address can be forged by the client.
    for expected in [401, 401, 429] {
        assert_eq!(ask(&format!("1.1.1.{expected}, 203.0.113.7, 10.0.0.1")).await, expected);
    }
    assert_eq!(ask("203.0.113.8").await, 401);
    // All addresses of one IPv6 network count as one client.
    for (address, expected) in [
        ("2001:db8:1:2::1", 401),
        ("2001:db8:1:2:ffff::2", 401),
        ("2001:db8:1:2:0:1:2:3", 429),
        ("2001:db8:1:3::1", 401),
    ] {
        assert_eq!(ask(address).await, expected, "{address}");
    }
}

fn grant(subject: &str) -> Grant {
    Grant { subject: subject.to_owned(), tenant: "default".to_owned(), role: Role::Editor }
}

#[tokio::test]
async fn authenticated_callers_are_counted_by_name_and_others_by_address() {
    let keys = RootKeys::generate();
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("keys")).unwrap();
    let public = serde_json::to_vec(&keys.public()).unwrap();
    std::fs::write(folder.path().join("keys/public.json"), public).unwrap();
    let plane = Plane::start_in(folder, |config| config.rate_general = FEW.to_owned()).await;
    let bearer = |subject: &str| {
        let token = keys.mint(&grant(subject), SystemClock.now_unix() + 600).unwrap();
        format!("Authorization: Bearer {token}")
    };
    let ask = async |line: &str| limit_state(&plane.send("GET", "/api/videos", &[line]).await);
    // Two tokens of one subject share a limit; the control plane is unreachable, so the status is
    // 503.
    assert_eq!(ask(&bearer("ann")).await, expected(503, "2", "1"));
    assert_eq!(ask(&bearer("ann")).await, expected(503, "2", "0"));
    assert_eq!(ask(&bearer("ann")).await, expected(429, "2", "0"));
    assert_eq!(ask(&bearer("bob")).await, expected(503, "2", "1"));
    // Invalid tokens are counted by the client's address.
    assert_eq!(ask("Authorization: Bearer guess-1").await, expected(503, "2", "1"));
    assert_eq!(ask("Authorization: Bearer guess-2").await, expected(503, "2", "0"));
    assert_eq!(ask("Authorization: Bearer guess-3").await, expected(429, "2", "0"));
    assert_eq!(ask(&bearer("bob")).await, expected(503, "2", "0"));
    // Parts of an upload are not limited for authenticated clients.
    for _ in 0..4 {
        let path = "/api/uploads/01936b2e-7c1a-7d33-8b0e-000000000001";
        let reply = plane.send("PATCH", path, &[&bearer("ann"), "Content-Length: 0"]).await;
        assert_eq!(reply.header("ratelimit-limit"), "", "{reply:?}");
        assert_ne!(reply.status, 429);
    }
}

#[tokio::test]
async fn callers_with_jwts_are_counted_by_name_behind_one_address() {
    let (plane, _control) =
        token_errors::start(|config| config.rate_general = "4/7d".to_owned()).await;
    let ask = async |jwt: &str| {
        let line = format!("Authorization: Bearer {jwt}");
        limit_state(&plane.send("GET", "/api/jobs", &[&line]).await)
    };
    for jwt in ["a.first.ann", "a.jwt.bob"] {
        for remaining in ["3", "2", "1", "0"] {
            assert_eq!(ask(jwt).await, expected(200, "4", remaining), "{jwt}");
        }
        assert_eq!(ask(jwt).await, expected(429, "4", "0"), "{jwt}");
    }
    // The holder of a new JWT is unknown until it has been exchanged; then it counts for the same
    // holder.
    assert_eq!(ask("a.second.ann").await, expected(200, "4", "0"));
    assert_eq!(ask("a.second.ann").await, expected(429, "4", "0"));
    // Each new JWT counts as one request of the address, and so does each invalid one.
    assert_eq!(plane.get("/api/jobs").await.header("ratelimit-remaining"), "0");
}

#[tokio::test]
async fn two_data_planes_share_a_limit_and_continue_without_redis() {
    let folder = tempfile::tempdir().unwrap();
    let redis = RedisServer::start(folder.path());
    eventually("redis responds", async || redis.answers()).await;
    let start = |url: Option<Secret>| {
        Plane::start_with(move |config| {
            config.rate_stream = "5/1h".to_owned();
            config.rate_general = FEW.to_owned();
            config.redis_url = url;
        })
    };
    let planes = [start(redis.url()).await, start(redis.url()).await];
    let keys = || redis.ask(&["KEYS", "streaming:limit:*"]);
    // A plane is connected to Redis once a request of its own is counted there.
    for (n, plane) in planes.iter().enumerate() {
        let counted = async || {
            drop(redis.ask(&["FLUSHALL"]));
            let path = format!("/api/nothing/{n}");
            plane.get(&path).await.header("ratelimit-remaining") == "1" && !keys().is_empty()
        };
        eventually("the data plane counts in redis", counted).await;
    }
    let path = Clip::new(true).path("hls/playlist.m3u8");
    let expected =
        [(false, "4"), (false, "3"), (false, "2"), (false, "1"), (false, "0"), (true, "0")]
            .map(|(rejected, remaining)| (rejected, remaining.to_owned()));
    // On a busy machine a response of Redis may be late, and then the request is counted locally.
    let counted_together = async || {
        drop(redis.ask(&["FLUSHALL"]));
        let mut seen = Vec::new();
        for n in 0..6 {
            let reply = planes[n % 2].get(&path).await;
            seen.push((reply.status == 429, reply.header("ratelimit-remaining").to_owned()));
        }
        seen == expected && keys() == ["streaming:limit:stream:a:127.0.0.1"]
    };
    eventually("two data planes count as one", counted_together).await;
    let ttl: i64 = redis.ask(&["TTL", "streaming:limit:stream:a:127.0.0.1"])[0].parse().unwrap();
    assert!((3590..=3600).contains(&ttl), "{ttl}");

    // Without Redis each process counts for itself, immediately and by the same rule.
    redis.stop();
    let alone = async || planes[0].get(&path).await.status != 429;
    eventually("requests are counted without redis", alone).await;
    let rejected = async || planes[0].get(&path).await.status == 429;
    eventually("the limit applies without redis", rejected).await;
    // With a new Redis they share the limit again.
    let redis = RedisServer::start(folder.path());
    let shared = async || {
        planes[1].get(&path).await;
        redis.answers() && !redis.ask(&["KEYS", "streaming:limit:*"]).is_empty()
    };
    eventually("the limit is shared again", shared).await;
    redis.stop();
}

#[tokio::test]
async fn a_frozen_redis_delays_requests_only_briefly() {
    let folder = tempfile::tempdir().unwrap();
    // Accepts connections and never responds.
    let silent = tokio::net::UnixListener::bind(folder.path().join("redis")).unwrap();
    let url = format!("redis-unix://{}/redis", folder.path().display());
    let plane = Plane::start_with(|config| {
        config.redis_url = Some(Secret::new(url));
        config.rate_general = FEW.to_owned();
    })
    .await;
    let begun = std::time::Instant::now();
    for expected in [401, 401, 429] {
        assert_eq!(plane.get("/api/videos").await.status, expected);
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    drop(silent);
}
