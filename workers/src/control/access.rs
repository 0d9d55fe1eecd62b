//! Decodes control's replies to requests for presigned URLs.

use std::time::Duration;

use api::{code::Code, v1};
use runtime::Secret;

use super::pending::PendingRequests;
use crate::control_handles::{AccessError, Granted, PendingAccess};

/// Bounds on the lifetime that control may state for a URL, in seconds.
const URL_SECONDS: (f64, f64) = (1.0, 7.0 * 24.0 * 3600.0);

/// Requests for presigned URLs without a reply.
#[derive(Debug, Default)]
pub(super) struct Accesses(PendingRequests<v1::Access, Result<Granted, AccessError>>);

impl Accesses {
    /// Assigns a number to a request and returns its message.
    pub(super) fn add(&mut self, pending: PendingAccess) -> v1::Access {
        self.0.add(pending)
    }

    /// Passes control's reply to the task that sent the request.
    pub(super) fn answered(&mut self, reply: v1::AccessReply) {
        if let Some(pending) = self.0.take(reply.request) {
            pending.complete(granted(reply));
        }
    }

    /// The requests to send again on a new stream.
    pub(super) fn unanswered(&mut self) -> Vec<v1::Access> {
        self.0.unanswered()
    }
}

fn granted(reply: v1::AccessReply) -> Result<Granted, AccessError> {
    let (low, high) = URL_SECONDS;
    let seconds = reply.url_seconds;
    let seconds = if seconds.is_finite() { seconds.clamp(low, high) } else { low };
    match reply.refusal {
        None => Ok(Granted {
            outputs: reply.output_urls.into_iter().map(Secret::new).collect(),
            source: (!reply.source_url.is_empty()).then(|| Secret::new(reply.source_url)),
            lifetime: Duration::from_secs_f64(seconds),
        }),
        Some(v1::Failure { code, message }) => Err(match Code::parse(&code) {
            Some(Code::LeaseLost) => AccessError::LeaseLost,
            Some(Code::Unavailable | Code::Timeout | Code::RateLimited | Code::Internal) => {
                AccessError::Unavailable(message)
            }
            _ => AccessError::Rejected(message),
        }),
    }
}

#[cfg(test)]
mod tests {
    use api::v1;
    use tokio::sync::mpsc;

    use super::Accesses;
    use crate::control_handles::{Access, AccessError};

    #[tokio::test]
    async fn a_request_survives_a_broken_stream_and_is_answered_once() {
        let (sender, mut requests) = mpsc::channel(1);
        let access = Access::new("task".to_owned(), 7, sender);
        let mut pending = Accesses::default();
        let answering = async {
            let first = pending.add(requests.recv().await.unwrap());
            assert_eq!(pending.unanswered(), vec![first.clone()]);
            let reply = v1::AccessReply {
                request: first.request,
                output_urls: vec!["http://store/x".to_owned()],
                url_seconds: 60.0,
                ..Default::default()
            };
            pending.answered(reply.clone());
            pending.answered(reply);
        };
        let (granted, ()) = tokio::join!(access.output("a/7-x", &[1; 32]), answering);
        assert_eq!(granted.unwrap().expose(), "http://store/x");
        assert!(pending.unanswered().is_empty());
    }

    #[tokio::test]
    async fn each_error_code_has_its_own_meaning() {
        for (code, error) in [
            ("lease_lost", AccessError::LeaseLost),
            ("unavailable", AccessError::Unavailable("m".to_owned())),
            ("invalid_field", AccessError::Rejected("m".to_owned())),
        ] {
            let (sender, mut requests) = mpsc::channel(1);
            let access = Access::new("task".to_owned(), 7, sender);
            let mut pending = Accesses::default();
            let answering = async {
                let first = pending.add(requests.recv().await.unwrap());
                let failure = v1::Failure { code: code.to_owned(), message: "m".to_owned() };
                let request = first.request;
                pending.answered(v1::AccessReply {
                    request,
                    refusal: Some(failure),
                    ..Default::default()
                });
            };
            let (granted, ()) = tokio::join!(access.source("videos/x/source"), answering);
            assert_eq!(granted.unwrap_err(), error);
        }
    }
}
