//! The worker's side of the stream to control: requests tasks, renews their leases and reports results.
//!
//! One loop owns all state; tasks run concurrently and send requests to it through channels. When the stream breaks,
//! the loop opens another while tasks continue: leases and unanswered commits belong to the loop, not to the stream.

mod access;
mod backoff;
mod commits;
mod connection;
mod events;
mod health;
mod heartbeat;
mod leases;
mod pause;
mod pending;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use api::v1::{
    self, control_message::Message as FromControl, worker_message::Message as ToControl,
};
use opentelemetry::{KeyValue, metrics::Counter};
use runtime::Shutdown;
use tokio::{
    sync::mpsc,
    task::{Id, JoinError, JoinSet},
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use self::{
    access::Accesses,
    backoff::JitteredBackoff,
    commits::Commits,
    connection::Connection,
    events::{Connecting, connected, drain_deadline, next},
    health::Health,
    leases::Leases,
    pause::Pause,
};
use crate::{
    config::Config,
    control_handles::{Access, Committer, PendingAccess, PendingCommit},
    outcome::{Cause, DISK_FULL, TaskFailure, TaskOutcome},
    task::{self, Task, TaskProgress, WorkerContext},
};

/// Maximum number of requests from tasks that wait for the loop, per channel.
const REQUESTS_MAX: usize = 64;
/// Maximum number of failures and releases that wait for a stream. Further ones are dropped; their leases expire.
const OUTBOX_MAX: usize = 64;
/// How often leases, retries and free space are checked.
const TICK: Duration = Duration::from_millis(250);
/// How long the worker waits for its last messages to reach control.
const CLOSE_TIME_MAX: Duration = Duration::from_secs(2);
/// Bounds on the durations that control may request, in seconds.
const LEASE_SECONDS: (f64, f64) = (0.5, 3600.0);

/// Leases tasks from control and runs them until the worker is stopped or drained.
pub struct ControlClient {
    config: Arc<Config>,
    context: Arc<WorkerContext>,
    hello: v1::Hello,
    shutdown: Shutdown,
    connection: Option<Connection>,
    connecting: Option<Connecting>,
    backoff: JitteredBackoff,
    attempts: usize,
    lease: Duration,
    heartbeat: Duration,
    heartbeat_due: Instant,
    leases: Leases,
    commits: Commits,
    health: Health,
    commit_requests: (mpsc::Sender<PendingCommit>, mpsc::Receiver<PendingCommit>),
    accesses: Accesses,
    access_requests: (mpsc::Sender<PendingAccess>, mpsc::Receiver<PendingAccess>),
    tasks: JoinSet<TaskOutcome>,
    names: HashMap<Id, (String, u64)>,
    outbox: Vec<ToControl>,
    /// Control's view of the worker's free slots: the last `Want`, less the leases received since. `None` when `Want`
    /// must be sent again.
    wanted: Option<v1::Want>,
    /// Leases received on this stream.
    leases_received: u64,
    pause: Pause,
    draining: bool,
    ended: Counter<u64>,
}

impl ControlClient {
    /// Creates a client that runs tasks with `context` and reports `encoders` to control.
    pub fn new(
        config: Arc<Config>,
        context: Arc<WorkerContext>,
        encoders: Vec<String>,
        shutdown: Shutdown,
    ) -> Self {
        let hello = v1::Hello {
            protocol_version: api::WORKER_PROTOCOL,
            name: config.name(),
            slots: config.slots() as u32,
            encoders,
            instance: format!("{:032x}", rand::random::<u128>()),
            version: runtime::program_version().to_owned(),
        };
        let ended = runtime::telemetry::meter()
            .u64_counter("streaming_worker_tasks_total")
            .with_description("Tasks that have ended, by outcome")
            .build();
        ended.add(0, &[KeyValue::new("outcome", "done")]);
        let health = Health::new(config.sample_retry);
        Self {
            config,
            context,
            hello,
            shutdown,
            connection: None,
            connecting: None,
            backoff: JitteredBackoff::default(),
            attempts: 0,
            lease: Duration::from_secs(15),
            heartbeat: Duration::from_secs(3),
            heartbeat_due: Instant::now(),
            leases: Leases::default(),
            commits: Commits::default(),
            health,
            commit_requests: mpsc::channel(REQUESTS_MAX),
            accesses: Accesses::default(),
            access_requests: mpsc::channel(REQUESTS_MAX),
            tasks: JoinSet::new(),
            names: HashMap::new(),
            outbox: Vec::new(),
            wanted: None,
            leases_received: 0,
            pause: Pause::default(),
            draining: false,
            ended,
        }
    }

    /// Runs until the worker has drained, after a soft stop or at control's request, or until a hard stop is complete.
    pub async fn run(mut self) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let drain = drain_deadline(self.shutdown.clone(), self.config.drain);
        tokio::pin!(drain);
        let mut stopping = false;
        self.connect();
        loop {
            tokio::select! {
                message = next(&mut self.connection) => match message {
                    Ok(message) => self.received(message),
                    Err(error) => self.disconnected(&error),
                },
                connected = connected(&mut self.connecting) => match connected {
                    Ok((connection, welcome)) => self.connected(connection, &welcome),
                    Err(error) => self.disconnected(&error),
                },
                Some(pending) = self.commit_requests.1.recv() => {
                    let commit = self.commits.add(pending);
                    self.send(ToControl::Commit(commit));
                }
                Some(pending) = self.access_requests.1.recv() => {
                    let access = self.accesses.add(pending);
                    self.send(ToControl::Access(access));
                }
                Some(ended) = self.tasks.join_next_with_id() => self.task_ended(ended),
                Some(message) = self.health.checked() => self.send(message),
                _ = ticks.tick() => self.tick(Instant::now()),
                () = self.shutdown.soft.cancelled(), if !self.draining => {
                    tracing::info!(tasks = self.leases.len(), "draining");
                    self.draining = true;
                }
                () = &mut drain, if !stopping => {
                    stopping = true;
                    self.draining = true;
                    self.leases.stop_all();
                }
            }
            if self.draining && self.leases.is_empty() && self.tasks.is_empty() {
                break;
            }
            self.send_free_slots();
        }
        if let Some(connection) = self.connection.take() {
            connection.close(CLOSE_TIME_MAX).await;
        }
    }

    /// Starts connecting, after a delay if an earlier attempt failed.
    fn connect(&mut self) {
        let urls = &self.config.control_urls;
        let url = urls[self.attempts % urls.len()].clone();
        let delay = match self.attempts {
            0 => Duration::ZERO,
            _ => self.backoff.next(&mut rand::rng()),
        };
        self.attempts += 1;
        let (hello, config) = (self.hello.clone(), Arc::clone(&self.config));
        self.connecting = Some(Box::pin(async move {
            tokio::time::sleep(delay).await;
            Connection::open(url, &config, hello).await
        }));
    }

    fn connected(&mut self, connection: Connection, welcome: &v1::Welcome) {
        tracing::info!(worker.id = welcome.worker_id, "connected to control");
        let seconds = |value: f64| {
            let (low, high) = LEASE_SECONDS;
            Duration::from_secs_f64(if value.is_finite() { value.clamp(low, high) } else { high })
        };
        self.lease = seconds(welcome.lease_seconds);
        self.heartbeat = seconds(welcome.heartbeat_seconds).min(self.lease / 3);
        self.connecting = None;
        self.backoff.reset();
        self.connection = Some(connection);
        (self.wanted, self.leases_received) = (None, 0);
        // Before the request for tasks: control considers a worker healthy until it receives a report to the contrary.
        self.send(self.health.message());
        // Then the leases that outlived the broken stream.
        self.send_heartbeat(Instant::now());
        for commit in self.commits.unanswered() {
            self.send(ToControl::Commit(commit));
        }
        for access in self.accesses.unanswered() {
            self.send(ToControl::Access(access));
        }
        for message in std::mem::take(&mut self.outbox) {
            self.send(message);
        }
    }

    fn disconnected(&mut self, error: &dyn std::error::Error) {
        let cause = error.source().map(ToString::to_string).unwrap_or_default();
        tracing::warn!(%error, cause, "connection to control lost");
        self.connection = None;
        self.leases.disconnected();
        self.connect();
    }

    fn received(&mut self, message: v1::ControlMessage) {
        match message.message {
            Some(FromControl::Lease(lease)) => self.start_task(lease),
            Some(FromControl::HeartbeatReply(reply)) => {
                for task in self.leases.answered(&reply.lost, self.lease) {
                    tracing::info!(task.id = task, "task stopped: its lease is lost");
                }
            }
            Some(FromControl::CommitReply(reply)) => self.commits.answered(reply, Instant::now()),
            Some(FromControl::AccessReply(reply)) => self.accesses.answered(reply),
            Some(FromControl::Drain(_)) => {
                tracing::info!("draining at the request of control");
                self.draining = true;
            }
            Some(FromControl::Welcome(_)) | None => {}
        }
    }

    fn start_task(&mut self, lease: v1::Lease) {
        self.leases_received += 1;
        if let Some(wanted) = &mut self.wanted {
            match wanted.slots {
                0 => wanted.express_slots = wanted.express_slots.saturating_sub(1),
                _ => wanted.slots -= 1,
            }
        }
        let (name, token) = (lease.task_id.clone(), lease.token);
        if self.draining {
            self.release(name, token, Duration::ZERO);
            return;
        }
        tracing::info!(task.id = name, attempt = lease.attempt, "task started");
        let (cancel, progress) = (CancellationToken::new(), Arc::new(TaskProgress::default()));
        let expires = Instant::now() + self.lease;
        self.leases.add(name.clone(), token, expires, cancel.clone(), Arc::clone(&progress));
        let committer = Committer::new(name.clone(), token, self.commit_requests.0.clone());
        let access = Access::new(name.clone(), token, self.access_requests.0.clone());
        let context = Arc::clone(&self.context);
        let work = task::run(Task { lease, context, committer, access, cancel, progress });
        let id = self.tasks.spawn(work).id();
        self.names.insert(id, (name, token));
    }

    fn task_ended(&mut self, joined: Result<(Id, TaskOutcome), JoinError>) {
        let (id, ended) = match joined {
            Ok((id, ended)) => (id, ended),
            Err(error) => {
                let failure = TaskFailure::retryable("internal", "the task panicked");
                (error.id(), TaskOutcome::Failed(failure))
            }
        };
        let Some((task_id, token)) = self.names.remove(&id) else { return };
        let held = self.leases.remove(&task_id, token);
        let outcome = match ended {
            TaskOutcome::Done => "done",
            // Nothing to report: the lease had already been lost.
            _ if !held => "lost",
            TaskOutcome::LeaseLost => "lost",
            TaskOutcome::Stopped => self.release(task_id.clone(), token, Duration::ZERO),
            TaskOutcome::Deferred(delay) => self.release(task_id.clone(), token, delay),
            TaskOutcome::Failed(failure) => {
                self.failed(task_id.clone(), token, failure);
                "failed"
            }
        };
        tracing::info!(task.id = task_id, outcome, "task ended");
        self.ended.add(1, &[KeyValue::new("outcome", outcome)]);
    }

    /// Gives a lease back without counting the attempt.
    fn release(&mut self, task_id: String, token: u64, delay: Duration) -> &'static str {
        let delay_seconds = delay.as_secs_f64();
        self.send_or_queue(ToControl::Release(v1::Release { task_id, token, delay_seconds }));
        if delay.is_zero() { "released" } else { "deferred" }
    }

    fn failed(&mut self, task_id: String, token: u64, failure: TaskFailure) {
        if failure.cause == Cause::UnhealthyHost {
            let message = self.health.failed(&failure, Instant::now());
            self.send(message);
        }
        let retryable = failure.is_retryable();
        let TaskFailure { code, message, cause } = failure;
        tracing::warn!(task.id = task_id, %code, reason = message, retryable, "task failed");
        if code == DISK_FULL {
            self.pause.start(Instant::now());
        }
        let code = code.into_owned();
        let cause = v1::FailureCause::from(cause).into();
        let fail = v1::Fail { task_id, token, code, message, retryable, cause };
        self.send_or_queue(ToControl::Fail(fail));
    }

    fn tick(&mut self, now: Instant) {
        self.health.tick(&self.context, now);
        for task in self.leases.expire(now) {
            tracing::warn!(task.id = task, "task stopped: control was unreachable for too long");
        }
        if self.connection.is_some() {
            for commit in self.commits.due(now) {
                self.send(ToControl::Commit(commit));
            }
        }
        if now >= self.heartbeat_due {
            self.send_heartbeat(now);
        }
    }

    /// Sends a message once: now, or on the next stream.
    fn send_or_queue(&mut self, message: ToControl) {
        if self.connection.is_some() {
            self.send(message);
        } else if self.outbox.len() < OUTBOX_MAX {
            self.outbox.push(message);
        }
    }

    /// Sends a message on the current stream. Messages that must survive the stream are stored elsewhere.
    fn send(&mut self, message: ToControl) {
        let Some(connection) = &self.connection else { return };
        if let Err(error) = connection.send(message) {
            self.disconnected(&error);
        }
    }
}
