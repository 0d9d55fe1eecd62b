//! The gRPC client: one lazily connected channel per control plane, with round robin and failover.
//!
//! A call is retried on the next control plane only if the connection could not be established, so
//! that no operation is executed twice. A read-only request is also retried if the connection
//! breaks.

pub(crate) mod caller;

use std::{
    error::Error,
    future::Future,
    path::PathBuf,
    sync::atomic::{AtomicI64, AtomicUsize, Ordering},
    time::Duration,
};

use api::code::{Code, Problem};
use runtime::{Clock, SystemClock, telemetry::calls::Traced, tls};
use tonic::{
    ConnectError, Request, Response, Status,
    metadata::{Ascii, MetadataValue},
    transport::{Channel, Endpoint},
};

use self::caller::Caller;
use crate::config::Config;

/// Deadline of a call that returns immediately.
pub(crate) const CALL_TIME_MAX: Duration = Duration::from_secs(5);
const CONNECT_TIME_MAX: Duration = Duration::from_secs(1);
/// How long an unreachable control plane is tried only after the others.
const PENALTY_MS: i64 = 2000;
/// Largest message; an index of a day-long video is about 4 MiB.
pub(crate) const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// A control plane's URL is invalid.
#[derive(Debug, thiserror::Error)]
#[error("\"{url}\" must be the URL of a control plane")]
pub struct ControlUrlError {
    url: String,
    #[source]
    source: tonic::transport::Error,
}

/// A channel to one control plane.
pub(crate) type ControlChannel = Traced<Channel>;

/// All configured control planes.
pub(crate) struct Control {
    planes: Vec<Plane>,
    turn: AtomicUsize,
    token_file: Option<PathBuf>,
}

struct Plane {
    link: ControlChannel,
    /// Tried last until this time, in milliseconds since 1970.
    avoided_until: AtomicI64,
}

impl Control {
    /// Creates the channels without connecting.
    pub(crate) fn new(config: &Config) -> Result<Self, ControlUrlError> {
        let mut planes = Vec::new();
        for url in config.control_urls.iter().map(|url| url.trim()).filter(|url| !url.is_empty()) {
            let endpoint = Endpoint::from_shared(url.to_owned())
                .map_err(|source| ControlUrlError { url: url.to_owned(), source })?
                .connect_timeout(CONNECT_TIME_MAX)
                .tcp_nodelay(true)
                .http2_keep_alive_interval(Duration::from_secs(10))
                .keep_alive_timeout(Duration::from_secs(5))
                .keep_alive_while_idle(true);
            let link = Traced(tls::channel_lazy(&endpoint, config.dial.ca_file()));
            planes.push(Plane { link, avoided_until: AtomicI64::new(0) });
        }
        Ok(Self { planes, turn: AtomicUsize::new(0), token_file: config.token_file.clone() })
    }

    /// Calls one control plane, or the next one if the first cannot be reached.
    pub(crate) async fn call<T, F>(
        &self,
        deadline: Duration,
        make: impl Fn(ControlChannel) -> F,
    ) -> Result<T, Status>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        self.attempt(deadline, make, unconnected).await
    }

    /// Calls a method with the caller's credentials.
    ///
    /// # Errors
    /// The problem with which control rejected the call, or that control cannot be reached.
    pub(crate) async fn unary<M: Clone, T, F>(
        &self,
        caller: &Caller,
        message: M,
        method: impl Fn(ControlChannel, Request<M>) -> F,
    ) -> Result<T, Problem>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        self.unary_within(CALL_TIME_MAX, caller, message, method).await
    }

    /// Like [`Self::unary`], with a deadline for a call that may take longer.
    ///
    /// # Errors
    /// The problem with which control rejected the call, or that control cannot be reached.
    pub(crate) async fn unary_within<M: Clone, T, F>(
        &self,
        deadline: Duration,
        caller: &Caller,
        message: M,
        method: impl Fn(ControlChannel, Request<M>) -> F,
    ) -> Result<T, Problem>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let call_method = |link| method(link, caller.request(message.clone()));
        self.call(deadline, call_method).await.map_err(|status| problem_of(&status))
    }

    /// Sends a read-only request, and repeats it on the next control plane if the connection
    /// breaks.
    pub(crate) async fn query<T, F>(
        &self,
        deadline: Duration,
        make: impl Fn(ControlChannel) -> F,
    ) -> Result<T, Status>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let broken = |status: &Status| status.source().is_some() || unconnected(status);
        self.attempt(deadline, make, broken).await
    }

    async fn attempt<T, F>(
        &self,
        deadline: Duration,
        make: impl Fn(ControlChannel) -> F,
        next_when: impl Fn(&Status) -> bool,
    ) -> Result<T, Status>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let mut last = Status::unavailable("no control plane is configured");
        for plane in self.in_turn() {
            let reply = tokio::time::timeout(deadline, make(plane.link.clone())).await;
            match reply {
                Ok(Ok(response)) => {
                    plane.avoided_until.store(0, Ordering::Relaxed);
                    return Ok(response.into_inner());
                }
                Ok(Err(status)) if next_when(&status) => {
                    let until = SystemClock.now_ms() + PENALTY_MS;
                    plane.avoided_until.store(until, Ordering::Relaxed);
                    last = Status::unavailable("the control plane cannot be reached");
                }
                Ok(Err(status)) => return Err(status),
                Err(_) => {
                    return Err(Status::deadline_exceeded(
                        "the control plane did not respond in time",
                    ));
                }
            }
        }
        Err(last)
    }

    /// The control planes in round-robin order, those that were unreachable recently last.
    fn in_turn(&self) -> Vec<&Plane> {
        let now = SystemClock.now_ms();
        let count = self.planes.len().max(1);
        let first = self.turn.fetch_add(1, Ordering::Relaxed) % count;
        let mut planes: Vec<_> =
            self.planes.iter().cycle().skip(first).take(self.planes.len()).collect();
        planes.sort_by_key(|plane| plane.avoided_until.load(Ordering::Relaxed) > now);
        planes
    }

    /// A request with this plane's own biscuit.
    pub(crate) fn own<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(token) = self.token() {
            request.metadata_mut().insert("authorization", token);
        }
        request
    }

    fn token(&self) -> Option<MetadataValue<Ascii>> {
        MetadataValue::try_from(format!("Bearer {}", self.token_text()?.trim())).ok()
    }

    /// This plane's own biscuit, sent in addition to another caller's credentials.
    pub(crate) fn bare_token(&self) -> Option<MetadataValue<Ascii>> {
        self.token_text()?.trim().parse().ok()
    }

    fn token_text(&self) -> Option<String> {
        std::fs::read_to_string(self.token_file.as_ref()?).ok()
    }
}

/// A request with the caller's own credentials.
pub(crate) fn forwarded<T>(message: T, authorization: &http::HeaderValue) -> Request<T> {
    let mut request = Request::new(message);
    // Header values and metadata values have the same encoding.
    if let Ok(value) = MetadataValue::try_from(authorization.as_bytes()) {
        request.metadata_mut().insert("authorization", value);
    }
    request
}

/// Converts a status to the problem that is sent to the caller.
pub(crate) fn problem_of(status: &Status) -> Problem {
    let mut problem = Problem::from_status(status);
    for violation in &mut problem.violations {
        let name = json_name(&violation.field);
        if let Some(rest) = problem.message.strip_prefix(&format!("{}: ", violation.field)) {
            problem.message = format!("{name}: {rest}");
        }
        violation.field = name;
    }
    if problem.code == Code::Internal {
        tracing::error!(%status, "failed to call control");
        problem.message = "internal error; see the server's log".to_owned();
    }
    if problem.code == Code::Unavailable && status.source().is_some() {
        // The transport's message contains addresses.
        problem.message = "the control plane cannot be reached".to_owned();
    }
    problem
}

/// The JSON name of a message field: "page_token" becomes "pageToken".
fn json_name(field: &str) -> String {
    let mut name = String::with_capacity(field.len());
    let mut raised = false;
    for letter in field.chars() {
        match letter {
            '_' => raised = true,
            _ if raised => {
                name.push(letter.to_ascii_uppercase());
                raised = false;
            }
            _ => name.push(letter),
        }
    }
    name
}

fn unconnected(status: &Status) -> bool {
    let mut cause = status.source();
    while let Some(error) = cause {
        if error.is::<ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_named_as_in_json() {
        let converted = |field: &str| {
            let problem = problem_of(&Problem::field(field, "is wrong").into());
            (problem.violations[0].field.clone(), problem.message)
        };
        assert_eq!(converted("page_token"), ("pageToken".into(), "pageToken: is wrong".into()));
        assert_eq!(converted("ttl_seconds").0, "ttlSeconds");
        assert_eq!(
            converted("profiles[1]"),
            ("profiles[1]".into(), "profiles[1]: is wrong".into())
        );
    }
}
