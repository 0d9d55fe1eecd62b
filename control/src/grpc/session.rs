//! One worker's stream, from the welcome to its end.
//!
//! The session claims tasks for its worker, replies to its messages and notifies it of lost leases.
//! The session is not the source of truth: leases are stored in Postgres, so a worker that
//! reconnects, to this instance or another, keeps them.

mod capacity;
mod claims;
mod preparation;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use api::v1::{
    self, ControlMessage, WorkerMessage, control_message::Message as Out,
    worker_message::Message as In,
};
use futures::StreamExt;
use media::{JobId, TaskId, WorkerId};
use tokio::sync::{broadcast, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use self::{
    capacity::{Capacity, SlotKind},
    claims::PreparationBackoff,
    preparation::Preparations,
};
use super::{
    Stream,
    commits::{CommitReply, Commits},
    leases, presigned_urls, worker_messages,
};
use crate::{
    cluster::events::{self, Event},
    db::{
        claim::Claimer,
        lease::{self, LeaseId},
        workers,
    },
    domain::{Failure, TaskKind},
    publish::admission,
    state::AppState,
};

/// Maximum slots of one worker.
pub const SLOTS_MAX: u32 = 256;
/// Maximum number of queued messages for a worker; a worker that exceeds it counts as disconnected.
const QUEUE_MAX: usize = 1024;
/// How often the session records that it is alive.
const TOUCH_EVERY: Duration = Duration::from_secs(3);
/// How long commits may continue after the stream has ended.
const COMMITS_MAX: Duration = Duration::from_secs(20);
/// Attempts for a statement that the whole session waits for.
const TRIES_MAX: u32 = 4;

/// A worker, as it introduces itself.
#[derive(Clone, Debug)]
pub struct WorkerInfo {
    /// The id of this connection.
    pub id: WorkerId,
    /// The name under which failures are recorded.
    pub name: String,
    /// Tasks it runs at a time.
    pub slots: u32,
    /// FFmpeg's names of its encoders; empty if the worker does not report them.
    pub encoders: Vec<String>,
    /// The version of its program; empty if the worker does not report it.
    pub version: String,
}

/// The reason why a stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StreamEnd {
    /// The worker closed the stream, or the connection was lost: the leases that it still holds end
    /// at once.
    Worker,
    /// This instance is stopping: the worker reconnects and keeps its leases.
    Control,
}

struct Session {
    app: Arc<AppState>,
    worker: WorkerId,
    claimer: Claimer,
    out: mpsc::Sender<Result<ControlMessage, Status>>,
    /// The worker's free slots.
    capacity: Capacity,
    draining: bool,
    /// The worker's leases, as far as this stream has seen them.
    held: HashMap<TaskId, (LeaseId, JobId)>,
    /// Leases that are being prepared while the session continues.
    preparations: Preparations,
    /// Leases that could not be prepared.
    preparation_backoff: PreparationBackoff,
    commits: Commits,
}

/// Welcomes a worker and serves its stream in a tracked task.
pub fn open(
    app: Arc<AppState>,
    introduced: WorkerInfo,
    inbound: Streaming<WorkerMessage>,
) -> Stream<ControlMessage> {
    let (out, receiver) = mpsc::channel(QUEUE_MAX);
    let WorkerInfo { id, name, encoders, .. } = introduced;
    let kinds = TaskKind::with_property(TaskKind::is_for_workers);
    let session = Session {
        commits: Commits::new(app.clone()),
        worker: id,
        claimer: Claimer { worker: id, name, kinds, encoders, avoided: Vec::new() },
        out,
        capacity: Capacity::default(),
        draining: false,
        held: HashMap::new(),
        preparations: Preparations::default(),
        preparation_backoff: PreparationBackoff::default(),
        app,
    };
    let tracker = session.app.shutdown.tracker.clone();
    tracker.spawn(session.run(inbound));
    ReceiverStream::new(receiver).boxed()
}

impl Session {
    async fn run(mut self, inbound: Streaming<WorkerMessage>) {
        let events = self.app.bus.subscribe();
        let (worker, name) = (self.worker, self.claimer.name.clone());
        tracing::info!(worker.id = %worker, worker.name = name, "worker connected");
        self.send(Out::Welcome(v1::Welcome {
            worker_id: worker.to_string(),
            lease_seconds: self.app.lease_seconds(),
            heartbeat_seconds: self.app.policy.heartbeat.as_secs_f64(),
        }));
        let end = self.serve(inbound, events).await;
        self.finish(end).await;
        tracing::info!(worker.id = %worker, worker.name = name, ?end, "worker disconnected");
    }

    async fn serve(
        &mut self,
        mut inbound: Streaming<WorkerMessage>,
        mut events: broadcast::Receiver<Event>,
    ) -> StreamEnd {
        let app = self.app.clone();
        let mut touch = tokio::time::interval(TOUCH_EVERY);
        touch.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            if self.out.is_closed() {
                return StreamEnd::Worker;
            }
            tokio::select! {
                () = app.shutdown.soft.cancelled() => return StreamEnd::Control,
                message = inbound.message() => match message {
                    Ok(Some(message)) => self.handle(message).await,
                    Ok(None) | Err(_) => return StreamEnd::Worker,
                },
                () = app.bus.ready.notified(), if self.wants(SlotKind::Any) => self.claim(SlotKind::Any).await,
                () = app.bus.express.notified(), if self.wants(SlotKind::Express) => {
                    self.claim(SlotKind::Express).await;
                }
                event = events::next(&mut events) => self.event(event).await,
                reply = self.commits.next() => self.finish_commit(reply),
                prepared = self.preparations.next() => self.send_prepared(prepared).await,
                () = self.preparation_backoff.over() => self.resume().await,
                _ = touch.tick() => self.touch().await,
            }
        }
    }

    async fn handle(&mut self, message: WorkerMessage) {
        match message.message {
            Some(In::Want(want)) => {
                if self.capacity.set(want) {
                    self.claim_all().await;
                }
            }
            Some(In::Heartbeat(heartbeat)) => self.heartbeat(&heartbeat).await,
            Some(In::Commit(commit)) => {
                let request = commit.request;
                match worker_messages::offer(commit) {
                    Ok(offer) => {
                        if let Err(reply) = self.commits.add(request, offer) {
                            self.finish_commit(reply);
                        }
                    }
                    Err(problem) => self.finish_commit(CommitReply::rejected(request, &problem)),
                }
            }
            Some(In::Fail(fail)) => self.fail(fail).await,
            Some(In::Health(health)) => self.health(&health).await,
            Some(In::Release(release)) => self.release(&release).await,
            Some(In::Access(access)) => {
                let reply = presigned_urls::reply(&self.app, access).await;
                self.send(Out::AccessReply(reply));
            }
            // A second hello, or a message from a newer worker that this release does not know:
            // ignored.
            Some(In::Hello(_)) | None => {}
        }
    }

    async fn heartbeat(&mut self, heartbeat: &v1::Heartbeat) {
        let progress = worker_messages::progress(heartbeat);
        let seconds = self.app.lease_seconds();
        let extended = self
            .app
            .db
            .run(TRIES_MAX, async |db| lease::extend(db, self.worker, &progress, seconds).await);
        let extended = match extended.await {
            Ok(extended) => extended,
            // The database did not answer, so the leases may still be held. The worker continues
            // until its lease would have expired.
            Err(error) => {
                tracing::warn!(%error, "failed to extend leases");
                return;
            }
        };
        let kept: HashMap<TaskId, JobId> = extended.into_iter().collect();
        for job in kept.values().collect::<HashSet<_>>() {
            self.app.bus.publish(Event::Job(*job));
        }
        let mut lost = Vec::new();
        for one in &progress {
            match kept.get(&one.lease.task) {
                Some(job) => {
                    self.held.insert(one.lease.task, (one.lease, *job));
                }
                None => lost.push(one.lease.task),
            }
        }
        self.report_lost(lost);
    }

    /// Reports lost leases. Every heartbeat gets this reply, even if nothing is lost.
    fn report_lost(&mut self, lost: Vec<TaskId>) {
        // A task whose commit is running looks lost once the commit has succeeded.
        let lost = lost.into_iter().filter(|task| !self.commits.concerns(*task));
        let lost: Vec<TaskId> = lost.collect();
        for task in &lost {
            self.held.remove(task);
        }
        let lost = lost.into_iter().map(|task| task.to_string()).collect();
        self.send(Out::HeartbeatReply(v1::HeartbeatReply { lost }));
    }

    async fn fail(&mut self, fail: v1::Fail) {
        let Some(failed) = worker_messages::failure(fail) else { return };
        let worker_messages::FailureReport { lease, failure, retryable, cause } = failed;
        self.held.remove(&lease.task);
        let ended =
            admission::record_failed_attempt(&self.app, lease, failure.clone(), retryable, cause)
                .await;
        let Failure { code, message } = failure;
        match ended {
            Ok(held) => {
                let reason = message;
                tracing::info!(task.id = %lease.task, code, reason, retryable, held, "task failed");
            }
            Err(error) => tracing::warn!(%error, "failed to record a failure"),
        }
    }

    async fn release(&mut self, release: &v1::Release) {
        let Some(lease) = worker_messages::lease(&release.task_id, release.token) else { return };
        self.held.remove(&lease.task);
        let delay = worker_messages::delay(release.delay_seconds);
        let released =
            self.app.db.run(TRIES_MAX, async |db| lease::release(db, lease, delay).await);
        match released.await {
            Ok(true) if delay == 0.0 => self.app.bus.notify_tasks_ready(1),
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "failed to release a lease"),
        }
    }

    async fn event(&mut self, event: Event) {
        let concerns = match event {
            Event::Stopped(job) => self.held.values().any(|(_, held)| *held == job),
            Event::Drain(worker) if worker == self.worker => {
                self.drain();
                false
            }
            Event::Everything => !self.held.is_empty(),
            _ => false,
        };
        if !concerns {
            return;
        }
        let leases: Vec<LeaseId> = self.held.values().map(|(lease, _)| *lease).collect();
        let held = match self.app.db.get().await {
            Ok(db) => lease::held(&*db, &leases).await,
            Err(error) => Err(error),
        };
        match held {
            Ok(held) => {
                let lost = leases.iter().map(|lease| lease.task).filter(|t| !held.contains(t));
                let lost: Vec<TaskId> = lost.collect();
                if !lost.is_empty() {
                    self.report_lost(lost);
                }
            }
            // The next heartbeat detects lost leases.
            Err(error) => tracing::debug!(%error, "failed to look up lost leases"),
        }
    }

    fn finish_commit(&mut self, reply: CommitReply) {
        if let Some(task) = reply.finished {
            self.held.remove(&task);
        }
        self.send(Out::CommitReply(reply.reply));
    }

    async fn touch(&mut self) {
        let touched = async {
            let db = self.app.db.get().await?;
            workers::touch(&*db, self.worker).await
        };
        match touched.await {
            Ok(true) => self.drain(),
            Ok(false) => {}
            Err(error) => tracing::debug!(%error, "failed to update a worker's last contact"),
        }
    }

    fn drain(&mut self) {
        if !self.draining {
            self.draining = true;
            self.send(Out::Drain(v1::Drain {}));
        }
    }

    /// Sends a message, or drops the worker: if the channel is closed, the receiver has been
    /// dropped; if [`QUEUE_MAX`] messages are unread, the worker is stuck.
    fn send(&mut self, message: Out) {
        if self.out.try_send(Ok(ControlMessage { message: Some(message) })).is_err() {
            self.out = mpsc::channel(1).0;
        }
    }

    async fn finish(mut self, end: StreamEnd) {
        if end == StreamEnd::Control {
            drop(self.out.try_send(Err(Status::unavailable("the server is stopping"))));
        }
        // A lease that was not sent does not count as an attempt.
        for id in self.preparations.stop() {
            self.give_back(id, 0.0);
        }
        // Commits that were received before the stream ended still count.
        let drained = async {
            self.preparation_backoff.returned().await;
            while self.commits.busy() {
                let reply = self.commits.next().await;
                self.finish_commit(reply);
            }
        };
        let drained = tokio::time::timeout(COMMITS_MAX, drained).await;
        if drained.is_err() {
            tracing::warn!(worker.id = %self.worker, "failed to finish commits in time after their stream ended");
        }
        if let Err(error) =
            leases::release_worker(&self.app, self.worker, end == StreamEnd::Worker).await
        {
            tracing::warn!(worker.id = %self.worker, %error, "failed to release a worker's leases");
        }
    }
}
