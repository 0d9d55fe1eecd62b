//! Commits of one worker: those of different tasks run concurrently, those of one task in the order
//! in which they were sent.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use api::{
    code::{Code, Problem},
    v1,
};
use media::TaskId;
use runtime::telemetry::context;
use tokio::task::JoinSet;
use tracing::{Instrument, Span};

use crate::{
    db::DbError,
    domain::Failure,
    publish::admission::{self, Offer, Outcome},
    state::AppState,
};

/// Maximum number of commits of one worker that run or wait.
const WAITING_MAX: usize = 256;

/// The reply to a commit.
#[derive(Debug)]
pub struct CommitReply {
    /// The reply to the worker.
    pub reply: v1::CommitReply,
    /// The task, if the worker is done with it.
    pub finished: Option<TaskId>,
}

impl CommitReply {
    /// The reply to a commit that is rejected without being examined.
    pub fn rejected(request: u64, problem: &Problem) -> Self {
        let failure = Failure::new(problem.code.text(), &problem.message);
        Self { reply: reply(request, Some(failure), false), finished: None }
    }
}

fn reply(request: u64, failure: Option<Failure>, lease_lost: bool) -> v1::CommitReply {
    v1::CommitReply { request, refusal: failure.map(Into::into), lease_lost }
}

/// The span of a commit, which covers verification and transaction, as a child of the worker's
/// span.
fn commit_span(offer: &Offer) -> Span {
    let span = tracing::info_span!(
        "admit commit",
        otel.kind = "server",
        task.id = %offer.lease.task,
        outputs = offer.outputs.len(),
        last = offer.last
    );
    context::adopt(&span, &offer.traceparent);
    span
}

/// The result of one commit.
struct FinishedCommit {
    task: TaskId,
    request: u64,
    last: bool,
    outcome: Result<Outcome, DbError>,
}

/// The commits of one stream.
pub struct Commits {
    app: Arc<AppState>,
    running: JoinSet<FinishedCommit>,
    /// Tasks with a running commit, and the commits that wait for it.
    waiting: HashMap<TaskId, VecDeque<(u64, Offer)>>,
}

impl Commits {
    /// Starts without commits.
    pub fn new(app: Arc<AppState>) -> Self {
        Self { app, running: JoinSet::new(), waiting: HashMap::new() }
    }

    /// Starts or queues a commit.
    ///
    /// # Errors
    /// Returns the reply if too many commits run or wait.
    pub fn add(&mut self, request: u64, offer: Offer) -> Result<(), CommitReply> {
        let task = offer.lease.task;
        let total: usize = self.waiting.values().map(VecDeque::len).sum();
        match self.waiting.get_mut(&task) {
            _ if total + self.running.len() >= WAITING_MAX => {
                let problem = Problem::new(Code::RateLimited, "too many commits are waiting");
                return Err(CommitReply::rejected(request, &problem));
            }
            Some(queue) => queue.push_back((request, offer)),
            None => {
                self.waiting.insert(task, VecDeque::new());
                self.start(request, offer);
            }
        }
        Ok(())
    }

    fn start(&mut self, request: u64, offer: Offer) {
        let app = self.app.clone();
        self.running.spawn(async move {
            let span = commit_span(&offer);
            let outcome = admission::commit(&app, &offer).instrument(span).await;
            FinishedCommit { task: offer.lease.task, request, last: offer.last, outcome }
        });
    }

    /// Whether a commit of the task is running.
    pub fn concerns(&self, task: TaskId) -> bool {
        self.waiting.contains_key(&task)
    }

    /// Whether any commit is running.
    pub fn busy(&self) -> bool {
        !self.running.is_empty()
    }

    /// Waits for the next reply; stays pending while no commit is running. Cancel-safe.
    pub async fn next(&mut self) -> CommitReply {
        loop {
            match self.running.join_next().await {
                Some(Ok(ended)) => return self.ended(ended),
                // The commit panicked: the worker gets no reply and its lease expires.
                Some(Err(error)) => tracing::error!(%error, "commit panicked"),
                None => std::future::pending().await,
            }
        }
    }

    fn ended(&mut self, ended: FinishedCommit) -> CommitReply {
        let FinishedCommit { task, request, last, outcome } = ended;
        match self.waiting.get_mut(&task).and_then(VecDeque::pop_front) {
            Some((request, offer)) => self.start(request, offer),
            None => drop(self.waiting.remove(&task)),
        }
        let lost = || Failure::new(Code::LeaseLost.text(), "the lease is lost");
        let (reply, finished) = match outcome {
            Ok(Outcome::Committed) => (reply(request, None, false), last),
            Ok(Outcome::Rejected(failure)) => (reply(request, Some(failure), true), true),
            Ok(Outcome::Undecided(failure)) => (reply(request, Some(failure), false), false),
            Ok(Outcome::Lost) => (reply(request, Some(lost()), true), true),
            Err(error) => {
                let problem = Problem::from(error);
                let failure = Failure::new(problem.code.text(), problem.message);
                (reply(request, Some(failure), false), false)
            }
        };
        CommitReply { reply, finished: finished.then_some(task) }
    }
}
