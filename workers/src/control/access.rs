//! Requests for presigned URLs that control has not answered yet. Like commits they survive a broken
//! stream: the same request is sent again on the next one.

use std::{collections::BTreeMap, time::Duration};

use api::{code::Code, v1};
use runtime::Secret;
use tokio::sync::{mpsc, oneshot};

/// Bounds on the lifetime that control may state for a URL, in seconds.
const URL_SECONDS: (f64, f64) = (1.0, 7.0 * 24.0 * 3600.0);

type Reply = oneshot::Sender<Result<Granted, Denial>>;

/// Why control granted no URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denial {
    /// The lease is lost.
    Lost,
    /// Temporarily unavailable; retry later.
    Later(String),
    /// Control has rejected the request permanently.
    Refused(String),
}

/// A successful reply.
#[derive(Clone, Debug)]
pub(super) struct Granted {
    /// URLs for the outputs, in the order of the request.
    pub outputs: Vec<Secret>,
    /// The source's URL, if it was requested.
    pub source: Option<Secret>,
    /// How long the URLs are valid.
    pub lifetime: Duration,
}

/// A task's request.
#[derive(Debug)]
pub(super) struct Wish {
    access: v1::Access,
    reply: Reply,
}

/// Sends a task's requests.
#[derive(Clone, Debug)]
pub struct Access {
    task: String,
    token: u64,
    wishes: mpsc::Sender<Wish>,
}

impl Access {
    pub(super) fn new(task: String, token: u64, wishes: mpsc::Sender<Wish>) -> Self {
        Self { task, token, wishes }
    }

    /// Requests a URL that writes object `key` with this digest.
    ///
    /// # Errors
    /// When the lease is lost, or control rejects the request or cannot grant it now.
    pub async fn output(&self, key: &str, sha256: &[u8; 32]) -> Result<Secret, Denial> {
        let place = v1::Place { key: key.to_owned(), sha256: sha256.to_vec().into() };
        let granted = self.ask(vec![place], String::new()).await?;
        let url = granted.outputs.into_iter().next();
        url.ok_or_else(|| Denial::Refused("control sent no place for the output".to_owned()))
    }

    /// Requests another URL that reads the source `key`; also returns its lifetime.
    ///
    /// # Errors
    /// When the lease is lost, or control rejects the request or cannot grant it now.
    pub async fn source(&self, key: &str) -> Result<(Secret, Duration), Denial> {
        let granted = self.ask(Vec::new(), key.to_owned()).await?;
        let lifetime = granted.lifetime;
        let url = granted.source.map(|url| (url, lifetime));
        url.ok_or_else(|| Denial::Refused("control sent no source".to_owned()))
    }

    async fn ask(&self, outputs: Vec<v1::Place>, source_key: String) -> Result<Granted, Denial> {
        let (task_id, token) = (self.task.clone(), self.token);
        let access = v1::Access { task_id, token, request: 0, outputs, source_key };
        let (reply, answer) = oneshot::channel();
        self.wishes.send(Wish { access, reply }).await.map_err(|_| Denial::Lost)?;
        answer.await.unwrap_or(Err(Denial::Lost))
    }
}

/// Requests without a reply, by request number.
#[derive(Debug, Default)]
pub(super) struct Accesses {
    last_request: u64,
    pending: BTreeMap<u64, Wish>,
}

impl Accesses {
    /// Numbers a request and returns its message.
    pub(super) fn add(&mut self, mut wish: Wish) -> v1::Access {
        // Drop requests whose task has ended.
        self.pending.retain(|_, wish| !wish.reply.is_closed());
        self.last_request += 1;
        wish.access.request = self.last_request;
        let access = wish.access.clone();
        self.pending.insert(self.last_request, wish);
        access
    }

    /// Passes control's reply to the task that sent the request.
    pub(super) fn answered(&mut self, reply: v1::AccessReply) {
        let Some(wish) = self.pending.remove(&reply.request) else { return };
        let (low, high) = URL_SECONDS;
        let seconds = reply.url_seconds;
        let seconds = if seconds.is_finite() { seconds.clamp(low, high) } else { low };
        let result = match reply.refusal {
            None => Ok(Granted {
                outputs: reply.output_urls.into_iter().map(Secret::new).collect(),
                source: (!reply.source_url.is_empty()).then(|| Secret::new(reply.source_url)),
                lifetime: Duration::from_secs_f64(seconds),
            }),
            Some(v1::Failure { code, message }) => Err(match Code::parse(&code) {
                Some(Code::LeaseLost) => Denial::Lost,
                Some(Code::Unavailable | Code::Timeout | Code::RateLimited | Code::Internal) => {
                    Denial::Later(message)
                }
                _ => Denial::Refused(message),
            }),
        };
        // The task may have ended already; then the result is not needed.
        drop(wish.reply.send(result));
    }

    /// The requests to send again on a new stream.
    pub(super) fn unanswered(&mut self) -> Vec<v1::Access> {
        self.pending.retain(|_, wish| !wish.reply.is_closed());
        self.pending.values().map(|wish| wish.access.clone()).collect()
    }
}

#[cfg(test)]
impl Access {
    /// For a task whose URLs do not run out.
    pub(crate) fn unused() -> Self {
        Self::new("a task".to_owned(), 1, mpsc::channel(1).0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_question_survives_a_broken_stream_and_is_answered_once() {
        let (sender, mut wishes) = mpsc::channel(1);
        let access = Access::new("task".to_owned(), 7, sender);
        let mut pending = Accesses::default();
        let answering = async {
            let first = pending.add(wishes.recv().await.unwrap());
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
        let (asked, ()) = tokio::join!(access.output("a/7-x", &[1; 32]), answering);
        assert_eq!(asked.unwrap().expose(), "http://store/x");
        assert!(pending.unanswered().is_empty());
    }

    #[tokio::test]
    async fn refusals_are_told_apart() {
        for (code, denial) in [
            ("lease_lost", Denial::Lost),
            ("unavailable", Denial::Later("m".to_owned())),
            ("invalid_field", Denial::Refused("m".to_owned())),
        ] {
            let (sender, mut wishes) = mpsc::channel(1);
            let access = Access::new("task".to_owned(), 7, sender);
            let mut pending = Accesses::default();
            let answering = async {
                let first = pending.add(wishes.recv().await.unwrap());
                let refusal = Some(v1::Failure { code: code.to_owned(), message: "m".to_owned() });
                let request = first.request;
                pending.answered(v1::AccessReply { request, refusal, ..Default::default() });
            };
            let (asked, ()) = tokio::join!(access.source("videos/x/source"), answering);
            assert_eq!(asked.unwrap_err(), denial);
        }
    }
}
