//! Rejected tokens: counted by a fixed set of reasons, and rate limited per client, so that
//! guessing tokens is slow and visible. A valid token is never rejected because of other requests
//! from the same address.

use std::{net::IpAddr, str::FromStr, time::Duration};

use api::code::{Code, Problem};
use authz::{AuthError, jwt::JwtError};
use opentelemetry::{
    KeyValue,
    metrics::{Counter, Meter},
};
use quick_cache::sync::Cache;
use runtime::{
    client_network::client_network,
    rate::{Rate, RateError},
};

use crate::identity::jwt::JwtVerifyError;

/// Maximum number of clients whose rejected tokens are counted.
const CLIENTS_MAX: usize = 10_000;
/// `Retry-After` while the identity provider is unavailable.
const PROVIDER_RETRY: Duration = Duration::from_secs(5);

/// How many rejected tokens a client may send in a given time; `off` disables the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance(Option<Rate>);

impl Allowance {
    /// No limit.
    pub const OFF: Self = Self(None);
}

impl FromStr for Allowance {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        Rate::parse(text).map(Self)
    }
}

/// Counts rejected tokens and limits them per client.
pub struct RejectedTokenLimiter {
    rejected: Counter<u64>,
    allowance: Allowance,
    /// Each client's theoretical arrival time, in microseconds since 1970.
    arrivals: Cache<IpAddr, i64>,
}

impl std::fmt::Debug for RejectedTokenLimiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RejectedTokenLimiter")
            .field("allowance", &self.allowance)
            .finish_non_exhaustive()
    }
}

impl RejectedTokenLimiter {
    /// Starts with full allowances.
    pub fn new(allowance: Allowance, meter: &Meter) -> Self {
        let rejected = meter
            .u64_counter("streaming_service_tokens_refused_total")
            .with_description("Rejected tokens, by reason")
            .build();
        Self { rejected, allowance, arrivals: Cache::new(CLIENTS_MAX) }
    }

    /// Counts a rejected token and returns the error for the caller: the reason, or that its rate
    /// limit is exceeded.
    pub fn reject(&self, rejected: TokenProblem, client: Option<IpAddr>, now_ms: i64) -> Problem {
        self.rejected.add(1, &[KeyValue::new("reason", rejected.reason)]);
        if rejected.problem.code != Code::Unauthenticated {
            return rejected.problem;
        }
        match client.and_then(|client| self.retry_after(client, now_ms)) {
            Some(wait) => {
                let mut problem = Problem::new(Code::RateLimited, "too many tokens were rejected");
                problem.retry_after = Some(wait);
                problem
            }
            None => rejected.problem,
        }
    }

    /// Takes one from the client's allowance. If none is left, returns how long the client must
    /// wait.
    fn retry_after(&self, client: IpAddr, now_ms: i64) -> Option<Duration> {
        let (rate, client) = (self.allowance.0?, client_network(client));
        let (decision, arrival) = rate.decide(self.arrivals.get(&client), now_ms * 1000);
        if !decision.allowed {
            return Some(Duration::from_micros(decision.retry.unsigned_abs()));
        }
        self.arrivals.insert(client, arrival);
        None
    }
}

/// Why a token was rejected, with the reason for the counter.
#[derive(Debug)]
pub struct TokenProblem {
    /// One of a fixed set.
    pub reason: &'static str,
    /// The error for the caller; never contains any part of the token.
    pub problem: Problem,
}

impl TokenProblem {
    /// The JWT was revoked.
    pub fn revoked() -> Self {
        AuthError::Revoked.into()
    }
}

impl From<AuthError> for TokenProblem {
    fn from(error: AuthError) -> Self {
        let code = match error {
            AuthError::Forbidden(_) => Code::PermissionDenied,
            AuthError::Busy => Code::Unavailable,
            _ => Code::Unauthenticated,
        };
        Self { reason: error.reason(), problem: Problem::new(code, error.to_string()) }
    }
}

impl From<JwtVerifyError> for TokenProblem {
    fn from(error: JwtVerifyError) -> Self {
        let (reason, code) = match error {
            JwtVerifyError::Unavailable => ("provider_unavailable", Code::Unavailable),
            JwtVerifyError::Token(JwtError::Role) => (JwtError::Role.reason(), Code::UnknownRole),
            JwtVerifyError::Token(JwtError::Tenant) => {
                (JwtError::Tenant.reason(), Code::UnknownTenant)
            }
            JwtVerifyError::Token(error) => (error.reason(), Code::Unauthenticated),
        };
        let mut problem = Problem::new(code, error.to_string());
        if error == JwtVerifyError::Unavailable {
            problem.retry_after = Some(PROVIDER_RETRY);
        }
        Self { reason, problem }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter(allowance: &str) -> RejectedTokenLimiter {
        let meter = runtime::Telemetry::new("test").meter();
        RejectedTokenLimiter::new(allowance.parse().unwrap(), &meter)
    }

    #[test]
    fn only_the_client_that_sends_invalid_tokens_is_limited() {
        let rejected_tokens = limiter("3/1m");
        let attempt = |client: &str, now_ms| {
            let rejected = TokenProblem::from(AuthError::BadSignature);
            rejected_tokens.reject(rejected, Some(client.parse().unwrap()), now_ms).code
        };
        let codes: Vec<_> = (0..5).map(|n| attempt("192.0.2.1", 1_000 + n)).collect();
        let (bad, slow) = (Code::Unauthenticated, Code::RateLimited);
        assert_eq!(codes, [bad, bad, bad, slow, slow]);
        assert_eq!(attempt("192.0.2.2", 1_010), bad);
        assert_eq!(attempt("192.0.2.1", 21_010), bad, "a third of the minute restores one attempt");
        assert_eq!(attempt("192.0.2.1", 21_011), slow);
        for host in 1..4 {
            assert_eq!(attempt(&format!("2001:db8::{host}"), 0), bad);
        }
        assert_eq!(attempt("2001:db8::9:9:9:9", 0), slow, "one network is one client");
    }

    #[test]
    fn errors_other_than_wrong_tokens_are_not_limited() {
        let limited = limiter("1/1h");
        let client = Some(IpAddr::from([192, 0, 2, 1]));
        for _ in 0..3 {
            let forbidden = TokenProblem::from(AuthError::Forbidden("x".to_owned()));
            assert_eq!(limited.reject(forbidden, client, 0).code, Code::PermissionDenied);
            let role = TokenProblem::from(JwtVerifyError::Token(JwtError::Role));
            assert_eq!(limited.reject(role, client, 0).code, Code::UnknownRole);
            let away = TokenProblem::from(JwtVerifyError::Unavailable);
            assert_eq!(limited.reject(away, client, 0).code, Code::Unavailable);
        }
        let off = limiter("off");
        for _ in 0..1000 {
            let rejected = TokenProblem::from(AuthError::Malformed);
            assert_eq!(off.reject(rejected, client, 0).code, Code::Unauthenticated);
        }
    }

    #[test]
    fn allowances_are_parsed_or_rejected() {
        assert_eq!("off".parse(), Ok(Allowance::OFF));
        assert!("100/15m".parse::<Allowance>().is_ok());
        for bad in ["", "100", "0/1m", "1/0s", "x/1m", "1/x", "-1/1m"] {
            assert!(bad.parse::<Allowance>().is_err(), "{bad}");
        }
    }
}
