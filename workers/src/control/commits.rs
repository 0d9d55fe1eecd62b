//! Commits without a reply from control, and the meaning of its replies.

use std::time::{Duration, Instant};

use api::{code::Code, v1};

use super::pending::PendingRequests;
use crate::{
    control_handles::PendingCommit,
    outcome::{Cause, TaskError, TaskFailure},
};

/// Pause before a commit is retried that control temporarily could not process.
const RETRY_DELAY: Duration = Duration::from_millis(1000);

/// Commits without a reply.
#[derive(Debug, Default)]
pub(super) struct Commits(PendingRequests<v1::Commit, Result<(), TaskError>>);

impl Commits {
    /// Assigns a number to a commit and returns its message.
    pub(super) fn add(&mut self, pending: PendingCommit) -> v1::Commit {
        self.0.add(pending)
    }

    /// Processes control's reply.
    pub(super) fn answered(&mut self, reply: v1::CommitReply, now: Instant) {
        if is_temporary(&reply) {
            self.0.retry(reply.request, now + RETRY_DELAY);
            return;
        }
        let Some(pending) = self.0.take(reply.request) else { return };
        pending.complete(match reply.refusal {
            None => Ok(()),
            Some(_) if reply.lease_lost => Err(TaskError::LeaseLost),
            Some(failure) if Code::parse(&failure.code) == Some(Code::LeaseLost) => {
                Err(TaskError::LeaseLost)
            }
            Some(v1::Failure { code, message }) => {
                let cause = Cause::Host;
                Err(TaskError::Failed(TaskFailure { code: code.into(), message, cause }))
            }
        });
    }

    /// The commits to send again on a new stream.
    pub(super) fn unanswered(&mut self) -> Vec<v1::Commit> {
        self.0.unanswered()
    }

    /// The commits whose retry is due by `now`.
    pub(super) fn due(&mut self, now: Instant) -> Vec<v1::Commit> {
        self.0.due(now)
    }
}

/// Whether control is reachable but temporarily cannot process the commit, for example without its
/// database.
fn is_temporary(reply: &v1::CommitReply) -> bool {
    let code = reply.refusal.as_ref().and_then(|failure| Code::parse(&failure.code));
    let temporary = matches!(
        code,
        Some(Code::Unavailable | Code::Timeout | Code::RateLimited | Code::Internal)
    );
    temporary && !reply.lease_lost
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use api::v1;
    use tokio::sync::mpsc;

    use super::Commits;
    use crate::{control_handles::Committer, outcome::TaskError};

    fn reply(request: u64, code: Option<&str>, lease_lost: bool) -> v1::CommitReply {
        let failure = |code: &str| v1::Failure { code: code.to_owned(), message: String::new() };
        v1::CommitReply { request, refusal: code.map(failure), lease_lost }
    }

    /// Commits once; `control` replies.
    async fn exchange(
        control: impl AsyncFnOnce(&mut Commits, v1::Commit),
    ) -> Result<(), TaskError> {
        let (sender, mut requests) = mpsc::channel(4);
        let committer = Committer::new("task".to_owned(), 7, sender);
        let answering = async {
            let pending = requests.recv().await.unwrap();
            let mut commits = Commits::default();
            let commit = commits.add(pending);
            control(&mut commits, commit).await;
        };
        tokio::join!(committer.commit(Vec::new(), true, None), answering).0
    }

    #[tokio::test]
    async fn unanswered_commits_are_sent_again_with_the_same_number() {
        let result = exchange(async |commits, first| {
            assert_eq!(commits.unanswered(), vec![first.clone()]);
            let now = Instant::now();
            commits.answered(reply(first.request, Some("unavailable"), false), now);
            assert!(commits.due(now).is_empty());
            assert_eq!(commits.due(now + Duration::from_secs(2)), vec![first.clone()]);
            commits.answered(reply(first.request, None, false), now);
        });
        assert!(result.await.is_ok());
    }

    #[tokio::test]
    async fn rejections_and_lost_leases_are_distinguished() {
        let lost = exchange(async |commits, commit| {
            commits.answered(reply(commit.request, Some("lease_lost"), false), Instant::now());
        });
        assert!(matches!(lost.await, Err(TaskError::LeaseLost)));
        let rejected = exchange(async |commits, commit| {
            let reply = reply(commit.request, Some("admission_refused"), false);
            commits.answered(reply, Instant::now());
        });
        let Err(TaskError::Failed(failure)) = rejected.await else { panic!("not rejected") };
        assert_eq!(failure.code, "admission_refused");
    }

    #[tokio::test]
    async fn a_closed_channel_means_that_the_lease_is_lost() {
        let (sender, requests) = mpsc::channel(1);
        drop(requests);
        let committer = Committer::new("task".to_owned(), 7, sender);
        let result = committer.commit(Vec::new(), true, None).await;
        assert!(matches!(result, Err(TaskError::LeaseLost)));
    }
}
