//! The handles with which a task sends requests to the loop that owns the stream to control, and
//! waits for the replies: commits, and requests for presigned URLs.

use std::time::Duration;

use api::v1;
use runtime::{Secret, telemetry::context};
use tokio::sync::{mpsc, oneshot};

use crate::outcome::TaskError;

/// A task's request, and the channel for control's reply.
#[derive(Debug)]
pub(crate) struct Pending<K, V> {
    /// The message to control.
    pub(crate) message: K,
    reply: oneshot::Sender<V>,
}

/// A commit that waits for control's reply.
pub(crate) type PendingCommit = Pending<v1::Commit, Result<(), TaskError>>;
/// A request for presigned URLs that waits for control's reply.
pub(crate) type PendingAccess = Pending<v1::Access, Result<Granted, AccessError>>;

impl<K, V> Pending<K, V> {
    fn new(message: K) -> (Self, oneshot::Receiver<V>) {
        let (reply, receiver) = oneshot::channel();
        (Self { message, reply }, receiver)
    }

    /// Whether the task has ended, so that the reply is not needed.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    /// Passes control's reply to the task.
    pub(crate) fn complete(self, reply: V) {
        // Fails only if the task has already ended; then the reply is not needed.
        drop(self.reply.send(reply));
    }
}

/// Why control granted no URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessError {
    /// The lease is lost.
    LeaseLost,
    /// Temporarily unavailable; retry later.
    Unavailable(String),
    /// Control has rejected the request permanently.
    Rejected(String),
}

/// A successful reply.
#[derive(Clone, Debug)]
pub(crate) struct Granted {
    /// URLs for the outputs, in the order of the request.
    pub(crate) outputs: Vec<Secret>,
    /// The source's URL, if it was requested.
    pub(crate) source: Option<Secret>,
    /// How long the URLs are valid.
    pub(crate) lifetime: Duration,
}

/// Sends a task's requests for presigned URLs.
#[derive(Clone, Debug)]
pub struct Access {
    task: String,
    token: u64,
    requests: mpsc::Sender<PendingAccess>,
}

impl Access {
    pub(crate) fn new(task: String, token: u64, requests: mpsc::Sender<PendingAccess>) -> Self {
        Self { task, token, requests }
    }

    /// Requests a URL that writes object `key` with this digest.
    ///
    /// # Errors
    /// When the lease is lost, or control rejects the request or cannot grant it now.
    pub async fn output(&self, key: &str, sha256: &[u8; 32]) -> Result<Secret, AccessError> {
        let place = v1::Place { key: key.to_owned(), sha256: sha256.to_vec().into() };
        let granted = self.request(vec![place], String::new()).await?;
        let url = granted.outputs.into_iter().next();
        url.ok_or_else(|| AccessError::Rejected("control sent no URL for the output".to_owned()))
    }

    /// Requests another URL that reads the source `key`; also returns its lifetime.
    ///
    /// # Errors
    /// When the lease is lost, or control rejects the request or cannot grant it now.
    pub async fn source(&self, key: &str) -> Result<(Secret, Duration), AccessError> {
        let granted = self.request(Vec::new(), key.to_owned()).await?;
        let lifetime = granted.lifetime;
        let url = granted.source.map(|url| (url, lifetime));
        url.ok_or_else(|| AccessError::Rejected("control sent no URL for the source".to_owned()))
    }

    async fn request(
        &self,
        outputs: Vec<v1::Place>,
        source_key: String,
    ) -> Result<Granted, AccessError> {
        let (task_id, token) = (self.task.clone(), self.token);
        let message = v1::Access { task_id, token, request: 0, outputs, source_key };
        let (pending, reply) = Pending::new(message);
        self.requests.send(pending).await.map_err(|_| AccessError::LeaseLost)?;
        reply.await.unwrap_or(Err(AccessError::LeaseLost))
    }
}

#[cfg(test)]
impl Access {
    /// For a task whose URLs do not expire.
    pub(crate) fn unused() -> Self {
        Self::new("a task".to_owned(), 1, mpsc::channel(1).0)
    }
}

/// Sends a task's commits.
#[derive(Clone, Debug)]
pub struct Committer {
    task: String,
    token: u64,
    requests: mpsc::Sender<PendingCommit>,
}

impl Committer {
    pub(crate) fn new(task: String, token: u64, requests: mpsc::Sender<PendingCommit>) -> Self {
        Self { task, token, requests }
    }

    /// Reports objects; `last` is set on the task's last commit. Returns once control has accepted
    /// them, even if the stream breaks in the meantime.
    ///
    /// # Errors
    /// When the lease is lost or control rejects the objects.
    pub async fn commit(
        &self,
        outputs: Vec<v1::Output>,
        last: bool,
        source: Option<v1::SourceReport>,
    ) -> Result<(), TaskError> {
        let commit = v1::Commit { outputs, last, source, ..v1::Commit::default() };
        self.send(commit).await
    }

    /// Reports all files of an image, preview or subtitles task. It is the task's only commit.
    ///
    /// # Errors
    /// As [`Self::commit`].
    pub async fn commit_images(&self, pictures: Vec<v1::Picture>) -> Result<(), TaskError> {
        self.send(v1::Commit { pictures, last: true, ..v1::Commit::default() }).await
    }

    #[tracing::instrument(name = "commit", skip_all, fields(last = commit.last))]
    async fn send(&self, commit: v1::Commit) -> Result<(), TaskError> {
        let (task_id, token) = (self.task.clone(), self.token);
        let traceparent = context::current().unwrap_or_default();
        let (pending, reply) = Pending::new(v1::Commit { task_id, token, traceparent, ..commit });
        self.requests.send(pending).await.map_err(|_| TaskError::LeaseLost)?;
        reply.await.unwrap_or(Err(TaskError::LeaseLost))
    }
}
