//! Rate limits: per principal for a valid bearer token, otherwise per client address. They are
//! counted in Redis, so that all data planes share them; without Redis each process counts for
//! itself.

mod local;

use std::{net::IpAddr, sync::Arc, time::Duration};

use api::code::{Code, Problem};
use authz::Verifier;
use http::{HeaderName, Method, StatusCode, request::Parts};
use runtime::{
    Clock, SystemClock,
    rate::{Decision, Rate},
};
use sha2::{Digest, Sha256};

use self::local::Local;
use crate::{
    control::{Control, caller::Caller},
    http::{
        bearer, client_address,
        reply::{self, Reply},
    },
    playback::exchange::TokenExchange,
    redis::{Redis, Script},
};

const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");
const MICROS: i64 = 1_000_000;

/// Requests that are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// All other API requests.
    General,
    /// The start of an upload.
    Upload,
    /// A part of an upload in progress. It is not limited for an authenticated client, because
    /// otherwise a large video in small parts would be stopped midway.
    UploadPart,
    /// Requests of players: below `/api/stream`, and renewals of playback tokens, which players of
    /// many viewers may send from one address.
    Stream,
}

/// The configured rates; `None` disables a limit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rates {
    /// `STREAMING_RATE_GENERAL`
    pub(crate) general: Option<Rate>,
    /// `STREAMING_RATE_UPLOAD`
    pub(crate) upload: Option<Rate>,
    /// `STREAMING_RATE_STREAM`
    pub(crate) stream: Option<Rate>,
}

/// Decides whether a request exceeds its limit.
pub(crate) struct Limiter {
    rates: Rates,
    local: Local,
    script: Script,
    redis: Option<Arc<Redis>>,
    control: Arc<Control>,
    exchange: Arc<TokenExchange>,
    verifier: Arc<Verifier>,
}

/// The result for a request that is subject to a limit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowance {
    limit: u32,
    decision: Decision,
}

impl Limiter {
    /// Creates a limiter without any counts.
    pub(crate) fn new(
        rates: Rates,
        redis: Option<Arc<Redis>>,
        control: Arc<Control>,
        exchange: Arc<TokenExchange>,
        verifier: Arc<Verifier>,
    ) -> Self {
        let script = Script::new(include_str!("limit/limit.lua"));
        Self { rates, local: Local::new(), script, redis, control, exchange, verifier }
    }

    /// Counts a request from `address`; `None` when the request is not limited.
    pub(crate) async fn check(&self, request: &Parts, address: IpAddr) -> Option<Allowance> {
        let class = class(&request.method, request.uri.path())?;
        if class == Class::UploadPart && self.principal(request).is_some() {
            return None;
        }
        self.count(class, &self.name(request, address)).await
    }

    /// Counts the request again after its reply, if necessary. The holder of an identity provider's
    /// token is known only after the control plane has accepted it: the first request with it was
    /// counted for the address, and is now counted for the holder.
    pub(crate) async fn settle(
        &self,
        request: &Parts,
        address: IpAddr,
        checked: Option<Allowance>,
        answered: StatusCode,
    ) -> Option<Allowance> {
        let class = checked.and_then(|_| class(&request.method, request.uri.path()));
        let (Some(class), Some(jwt)) = (class, bearer::token(&request.headers)) else {
            return checked;
        };
        let rejected = matches!(answered.as_u16(), 401 | 403 | 429 | 500..);
        if rejected
            || class == Class::Stream
            || !authz::is_jwt(jwt)
            || self.principal_of(jwt).is_some()
        {
            return checked;
        }
        let caller = Caller::new(&self.control, &request.headers, address);
        let exchanged = self.exchange.biscuit(jwt, &caller).await;
        match exchanged.ok().and_then(|_| self.principal_of(jwt)) {
            Some(_) if class == Class::UploadPart => None,
            Some(name) => self.count(class, &name).await,
            None => checked,
        }
    }

    /// The state of the three limits for the sender of a request: general, upload, stream; `None` for
    /// a limit that is off. Counts nothing.
    pub(crate) async fn state(&self, request: &Parts, address: IpAddr) -> [Option<Allowance>; 3] {
        let name = self.name(request, address);
        let [general, upload, stream] =
            [Class::General, Class::Upload, Class::Stream].map(|class| self.ask(class, &name, 0));
        tokio::join!(general, upload, stream).into()
    }

    async fn count(&self, class: Class, name: &str) -> Option<Allowance> {
        self.ask(class, name, 1).await
    }

    /// Counts `requests`, 0 or 1, and returns what remains.
    async fn ask(&self, class: Class, name: &str, requests: u32) -> Option<Allowance> {
        let rate = match class {
            Class::General | Class::UploadPart => self.rates.general?,
            Class::Upload => self.rates.upload?,
            Class::Stream => self.rates.stream?,
        };
        let key = format!("streaming:limit:{}:{name}", class.name());
        let decision = match self.ask_redis(&key, rate, requests).await {
            Some(decision) => decision,
            None => self.local.decide(&key, rate, requests),
        };
        Some(Allowance { limit: rate.limit(), decision })
    }

    async fn ask_redis(&self, key: &str, rate: Rate, requests: u32) -> Option<Decision> {
        let redis = self.redis.as_ref()?;
        let args = vec![rate.interval().into(), rate.burst().into(), requests.into()];
        let reply: Vec<i64> = redis.run(&self.script, vec![key.to_owned()], args).await?;
        let [allowed, remaining, reset, retry] = reply[..] else { return None };
        Some(Decision { allowed: allowed == 1, remaining, reset, retry })
    }

    /// The name under which the requests of a sender are counted.
    fn name(&self, request: &Parts, address: IpAddr) -> String {
        let address = || format!("a:{}", client_address::network_key(address));
        self.principal(request).unwrap_or_else(address)
    }

    /// The holder of a valid bearer token, as a digest, because a subject may be long and is
    /// confidential.
    fn principal(&self, request: &Parts) -> Option<String> {
        self.principal_of(bearer::token(&request.headers)?)
    }

    fn principal_of(&self, token: &str) -> Option<String> {
        let (now, now_ms) = (SystemClock.now_unix(), SystemClock.now_ms());
        // The holder of a JWT is known only after it has been exchanged; until then its address
        // counts.
        let exchanged =
            if authz::is_jwt(token) { self.exchange.cached(token, now_ms) } else { None };
        let token = exchanged.as_deref().unwrap_or(token);
        let principal = self.verifier.identify(token, now).ok()?;
        let mut digest = Sha256::new();
        digest.update((principal.tenant.len() as u64).to_be_bytes());
        digest.update(&principal.tenant);
        digest.update(&principal.subject);
        Some(format!("p:{}", hex::encode(&digest.finalize()[..16])))
    }
}

impl Class {
    const fn name(self) -> &'static str {
        match self {
            Self::General | Self::UploadPart => "general",
            Self::Upload => "upload",
            Self::Stream => "stream",
        }
    }
}

impl Allowance {
    /// The number of requests per period.
    pub(crate) const fn limit(&self) -> u32 {
        self.limit
    }

    /// The number of requests that may follow immediately.
    pub(crate) const fn remaining(&self) -> i64 {
        self.decision.remaining
    }

    /// Seconds until the whole limit is available again.
    pub(crate) fn reset_seconds(&self) -> u64 {
        seconds(self.decision.reset)
    }

    /// The problem to return if the request is not allowed.
    pub(crate) fn problem(&self) -> Option<Problem> {
        if self.decision.allowed {
            return None;
        }
        let seconds = seconds(self.decision.retry).max(1);
        let text = format!("too many requests; try again in {seconds} s");
        let retry_after = Some(Duration::from_secs(seconds));
        Some(Problem { retry_after, ..Problem::new(Code::RateLimited, text) })
    }

    /// Adds the client's remaining allowance to the headers.
    pub(crate) fn add_headers(&self, reply: &mut Reply) {
        reply::set(reply, LIMIT, &self.limit.to_string());
        reply::set(reply, REMAINING, &self.remaining().to_string());
        reply::set(reply, RESET, &self.reset_seconds().to_string());
    }
}

/// Converts to whole seconds, rounded up.
fn seconds(micros: i64) -> u64 {
    u64::try_from(micros).unwrap_or(0).div_ceil(MICROS as u64)
}

/// The class of a request; `None` for requests that are never limited: preflights, health, metrics.
fn class(method: &Method, path: &str) -> Option<Class> {
    if method == Method::OPTIONS {
        return None;
    }
    // Depends on the path alone, so that an invalid id counts like a valid one.
    if ["/watch/", "/embed/", "/oembed"].iter().any(|page| path.starts_with(page)) {
        return Some(Class::Stream);
    }
    let path = path.strip_prefix("/api/")?;
    let class = match path.split('/').next().unwrap_or_default() {
        "stream" => Class::Stream,
        "playback-token" if path == "playback-token/renew" => Class::Stream,
        "uploads" if method == Method::POST => Class::Upload,
        "uploads" if path.len() > "uploads/".len() => Class::UploadPart,
        "videos" if method == Method::POST && path == "videos/upload" => Class::Upload,
        "videos" if method == Method::PUT && path.ends_with("/source") => Class::Upload,
        _ => Class::General,
    };
    Some(class)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_classified_by_cost() {
        let id = "01936b2e-7c1a-7d33-8b0e-000000000001";
        for (method, path, expected) in [
            (Method::GET, "/health".to_owned(), None),
            (Method::GET, "/health/playback".to_owned(), None),
            (Method::GET, "/metrics".to_owned(), None),
            (Method::GET, "/".to_owned(), None),
            (Method::GET, "/console/videos".to_owned(), None),
            (Method::GET, "/player/player.js".to_owned(), None),
            (Method::GET, format!("/watch/{id}"), Some(Class::Stream)),
            (Method::GET, "/embed/nope".to_owned(), Some(Class::Stream)),
            (Method::GET, "/oembed".to_owned(), Some(Class::Stream)),
            (Method::OPTIONS, "/api/videos".to_owned(), None),
            (Method::OPTIONS, format!("/api/stream/{id}/hls/playlist.m3u8"), None),
            (Method::GET, "/api/openapi.json".to_owned(), Some(Class::General)),
            (Method::GET, "/api/videos".to_owned(), Some(Class::General)),
            (Method::GET, "/api/nothing".to_owned(), Some(Class::General)),
            (Method::POST, "/api/auth/exchange".to_owned(), Some(Class::General)),
            (Method::POST, format!("/api/videos/{id}/transcode"), Some(Class::General)),
            (Method::POST, "/api/videos/upload".to_owned(), Some(Class::Upload)),
            (Method::GET, "/api/videos/upload".to_owned(), Some(Class::General)),
            (Method::PUT, format!("/api/videos/{id}/source"), Some(Class::Upload)),
            (Method::POST, "/api/uploads".to_owned(), Some(Class::Upload)),
            (Method::POST, "/api/uploads/".to_owned(), Some(Class::Upload)),
            (Method::GET, "/api/uploads".to_owned(), Some(Class::General)),
            (Method::PATCH, format!("/api/uploads/{id}"), Some(Class::UploadPart)),
            (Method::HEAD, format!("/api/uploads/{id}"), Some(Class::UploadPart)),
            (Method::DELETE, format!("/api/uploads/{id}"), Some(Class::UploadPart)),
            (Method::GET, format!("/api/stream/{id}/hls/playlist.m3u8"), Some(Class::Stream)),
            (Method::HEAD, "/api/stream/nope".to_owned(), Some(Class::Stream)),
            (Method::GET, "/api/streams".to_owned(), Some(Class::General)),
            (Method::POST, "/api/playback-token/renew".to_owned(), Some(Class::Stream)),
            (Method::POST, format!("/api/videos/{id}/playback-token"), Some(Class::General)),
        ] {
            assert_eq!(class(&method, &path), expected, "{method} {path}");
        }
    }

    #[test]
    fn waiting_times_round_up_to_whole_seconds() {
        let decision = Decision { allowed: false, remaining: 0, reset: 9_000_001, retry: 1 };
        let allowance = Allowance { limit: 100, decision };
        let problem = allowance.problem().unwrap();
        assert_eq!(problem.retry_after, Some(Duration::from_secs(1)));
        let mut reply = reply::problem(&problem);
        allowance.add_headers(&mut reply);
        assert_eq!(reply.status(), 429);
        let header = |name: &str| reply.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(header("retry-after"), "1");
        assert_eq!(
            (header("ratelimit-limit"), header("ratelimit-reset")),
            ("100".into(), "10".into())
        );
        assert_eq!(header("ratelimit-remaining"), "0");
    }
}
