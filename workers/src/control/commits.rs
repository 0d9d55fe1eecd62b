//! Commits that control has not answered yet. They survive a broken stream: the worker sends the same request
//! again on the next stream, and control answers a repeated commit as it answered the first.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use api::{code::Code, v1};
use runtime::telemetry::context;
use tokio::sync::{mpsc, oneshot};

use crate::{
    ffmpeg::{Fault, failure::Cause},
    task::Interruption,
};

/// Pause before a commit is retried that control temporarily could not process.
const RETRY_DELAY: Duration = Duration::from_millis(1000);

type Reply = oneshot::Sender<Result<(), Interruption>>;

/// A task's request to commit.
#[derive(Debug)]
pub(super) struct Wish {
    commit: v1::Commit,
    reply: Reply,
}

/// Sends a task's commits to the loop.
#[derive(Clone, Debug)]
pub struct Committer {
    task: String,
    token: u64,
    wishes: mpsc::Sender<Wish>,
}

impl Committer {
    pub(super) fn new(task: String, token: u64, wishes: mpsc::Sender<Wish>) -> Self {
        Self { task, token, wishes }
    }

    /// Reports objects; `last` is set on the task's last commit. Returns once control has accepted them, even if the
    /// stream breaks in the meantime.
    ///
    /// # Errors
    /// When the lease is lost or control rejects the objects.
    pub async fn commit(
        &self,
        outputs: Vec<v1::Output>,
        last: bool,
        source: Option<v1::SourceReport>,
    ) -> Result<(), Interruption> {
        let commit = v1::Commit { outputs, last, source, ..v1::Commit::default() };
        self.send(commit).await
    }

    /// Reports all files of an image, preview or subtitles task. It is the task's only commit.
    ///
    /// # Errors
    /// As [`Self::commit`].
    pub async fn commit_pictures(&self, pictures: Vec<v1::Picture>) -> Result<(), Interruption> {
        self.send(v1::Commit { pictures, last: true, ..v1::Commit::default() }).await
    }

    #[tracing::instrument(name = "commit", skip_all, fields(last = commit.last))]
    async fn send(&self, commit: v1::Commit) -> Result<(), Interruption> {
        let (task_id, token) = (self.task.clone(), self.token);
        let traceparent = context::current().unwrap_or_default();
        let commit = v1::Commit { task_id, token, traceparent, ..commit };
        let (reply, answer) = oneshot::channel();
        let wish = Wish { commit, reply };
        self.wishes.send(wish).await.map_err(|_| Interruption::Lost)?;
        answer.await.unwrap_or(Err(Interruption::Lost))
    }
}

#[derive(Debug)]
struct Pending {
    commit: v1::Commit,
    reply: Reply,
    retry_at: Option<Instant>,
}

/// Unanswered commits by request number.
#[derive(Debug, Default)]
pub(super) struct Commits {
    last_request: u64,
    pending: BTreeMap<u64, Pending>,
}

impl Commits {
    /// Assigns a request number to a commit and returns its message.
    pub(super) fn add(&mut self, wish: Wish) -> v1::Commit {
        self.last_request += 1;
        let Wish { mut commit, reply } = wish;
        commit.request = self.last_request;
        let pending = Pending { commit: commit.clone(), reply, retry_at: None };
        self.pending.insert(self.last_request, pending);
        commit
    }

    /// Processes control's answer.
    pub(super) fn answered(&mut self, answer: v1::CommitReply, now: Instant) {
        let Some(pending) = self.pending.get_mut(&answer.request) else { return };
        if is_passing(&answer) {
            pending.retry_at = Some(now + RETRY_DELAY);
            return;
        }
        let Some(pending) = self.pending.remove(&answer.request) else { return };
        let result = match answer.refusal {
            None => Ok(()),
            Some(_) if answer.lease_lost => Err(Interruption::Lost),
            Some(failure) if Code::parse(&failure.code) == Some(Code::LeaseLost) => {
                Err(Interruption::Lost)
            }
            Some(v1::Failure { code, message }) => {
                Err(Interruption::Failed(Fault { code: code.into(), message, cause: Cause::Host }))
            }
        };
        // Fails only if the task has already ended; then the result is not needed.
        drop(pending.reply.send(result));
    }

    /// The commits to send again on a new stream.
    pub(super) fn unanswered(&mut self) -> Vec<v1::Commit> {
        self.pending.retain(|_, pending| !pending.reply.is_closed());
        for pending in self.pending.values_mut() {
            pending.retry_at = None;
        }
        self.pending.values().map(|pending| pending.commit.clone()).collect()
    }

    /// The commits whose retry is due by `now`.
    pub(super) fn due(&mut self, now: Instant) -> Vec<v1::Commit> {
        self.pending.retain(|_, pending| !pending.reply.is_closed());
        let due = |pending: &&mut Pending| pending.retry_at.is_some_and(|at| at <= now);
        let pending = self.pending.values_mut().filter(due);
        pending
            .map(|pending| {
                pending.retry_at = None;
                pending.commit.clone()
            })
            .collect()
    }
}

/// Whether control is reachable but temporarily cannot process the commit, for example without its database.
fn is_passing(answer: &v1::CommitReply) -> bool {
    let code = answer.refusal.as_ref().and_then(|failure| Code::parse(&failure.code));
    let passing = matches!(
        code,
        Some(Code::Unavailable | Code::Timeout | Code::RateLimited | Code::Internal)
    );
    passing && !answer.lease_lost
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use api::v1;
    use tokio::sync::mpsc;

    use super::{Commits, Committer};
    use crate::task::Interruption;

    fn answer(request: u64, code: Option<&str>, lease_lost: bool) -> v1::CommitReply {
        let failure = |code: &str| v1::Failure { code: code.to_owned(), message: String::new() };
        v1::CommitReply { request, refusal: code.map(failure), lease_lost }
    }

    /// Commits once; `control` answers.
    async fn exchange(
        control: impl AsyncFnOnce(&mut Commits, v1::Commit),
    ) -> Result<(), Interruption> {
        let (sender, mut wishes) = mpsc::channel(4);
        let committer = Committer::new("task".to_owned(), 7, sender);
        let answering = async {
            let wish = wishes.recv().await.unwrap();
            let mut commits = Commits::default();
            let commit = commits.add(wish);
            control(&mut commits, commit).await;
        };
        tokio::join!(committer.commit(Vec::new(), true, None), answering).0
    }

    #[tokio::test]
    async fn unanswered_commits_go_out_again_under_the_same_number() {
        let result = exchange(async |commits, first| {
            assert_eq!(commits.unanswered(), vec![first.clone()]);
            let now = Instant::now();
            commits.answered(answer(first.request, Some("unavailable"), false), now);
            assert!(commits.due(now).is_empty());
            assert_eq!(commits.due(now + Duration::from_secs(2)), vec![first.clone()]);
            commits.answered(answer(first.request, None, false), now);
        });
        assert!(result.await.is_ok());
    }

    #[tokio::test]
    async fn refusals_and_lost_leases_are_told_apart() {
        let lost = exchange(async |commits, commit| {
            commits.answered(answer(commit.request, Some("lease_lost"), false), Instant::now());
        });
        assert!(matches!(lost.await, Err(Interruption::Lost)));
        let refused = exchange(async |commits, commit| {
            let answer = answer(commit.request, Some("admission_refused"), false);
            commits.answered(answer, Instant::now());
        });
        let Err(Interruption::Failed(fault)) = refused.await else { panic!("not refused") };
        assert_eq!(fault.code, "admission_refused");
    }

    #[tokio::test]
    async fn a_closed_stream_of_wishes_means_lost() {
        let (sender, wishes) = mpsc::channel(1);
        drop(wishes);
        let committer = Committer::new("task".to_owned(), 7, sender);
        let result = committer.commit(Vec::new(), true, None).await;
        assert!(matches!(result, Err(Interruption::Lost)));
    }
}
