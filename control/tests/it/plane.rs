//! Whole instances in this process, on free ports, and clients for them.

use std::{collections::VecDeque, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use api::v1::{
    self, ControlMessage, WorkerMessage, auth_service_client::AuthServiceClient, control_message,
    job_service_client::JobServiceClient, playback_service_client::PlaybackServiceClient,
    system_service_client::SystemServiceClient, upload_service_client::UploadServiceClient,
    video_service_client::VideoServiceClient, worker_message,
    worker_service_client::WorkerServiceClient,
};
use authz::{Grant, Role, RootKeys};
use clap::Parser;
use control::config::Config;
use runtime::{Clock, Shutdown, SystemClock, Telemetry};
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Streaming, transport::Channel};

/// No step of these tests takes longer.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    config: Config,
}

/// The parts that all instances of one service share.
pub(crate) struct Shared {
    folder: tempfile::TempDir,
    pub(crate) keys: RootKeys,
    pub(crate) database: String,
}

impl Shared {
    pub(crate) fn new(database: String) -> Arc<Self> {
        let folder = tempfile::tempdir().unwrap();
        let keys = RootKeys::generate();
        std::fs::write(folder.path().join("root.keys"), keys.to_json()).unwrap();
        Arc::new(Self { folder, keys, database })
    }

    /// The folder of the object store.
    pub(crate) fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    /// A token that expires in 10 minutes.
    pub(crate) fn token(&self, role: Role, tenant: &str) -> String {
        let grant = Grant { subject: format!("{role}"), tenant: tenant.to_owned(), role };
        self.keys.mint(&grant, SystemClock.now_unix() + 600).unwrap()
    }

    /// A token that expires `seconds` from now.
    pub(crate) fn brief_token(&self, role: Role, seconds: i64) -> String {
        let grant = Grant { subject: format!("{role}"), tenant: "default".to_owned(), role };
        self.keys.mint(&grant, SystemClock.now_unix() + seconds).unwrap()
    }

    /// The file with the keys.
    pub(crate) fn key_file(&self) -> PathBuf {
        self.folder.path().join("root.keys")
    }

    /// A token that has expired.
    pub(crate) fn expired(&self, role: Role) -> String {
        let grant = Grant { subject: "late".to_owned(), tenant: "default".to_owned(), role };
        self.keys.mint(&grant, SystemClock.now_unix() - 1).unwrap()
    }

    /// A playback token.
    pub(crate) fn playback(&self) -> String {
        let video = media::VideoId::new(uuid::Uuid::from_u128(1));
        let grant = authz::PlaybackGrant { video, max_height: None, address: None };
        let now = SystemClock.now_unix();
        self.keys.mint_playback(&grant, now, now + 600).unwrap()
    }

    /// A well-formed token with the signature of another root key.
    pub(crate) fn forged(&self) -> String {
        let subject = "mallory".to_owned();
        let grant = Grant { subject, tenant: "default".to_owned(), role: Role::Admin };
        RootKeys::generate().mint(&grant, SystemClock.now_unix() + 600).unwrap()
    }
}

/// One instance.
pub(crate) struct Plane {
    pub(crate) shared: Arc<Shared>,
    pub(crate) address: SocketAddr,
    pub(crate) channel: Channel,
    pub(crate) shutdown: Shutdown,
    pub(crate) served: JoinHandle<Result<(), control::ServeError>>,
}

impl Plane {
    /// Starts a service with one instance on an empty database.
    pub(crate) async fn start() -> Self {
        Self::of(Shared::new(crate::postgres::database().await)).await
    }

    /// The same with leases so short that a test can wait for their end, and for the sweep that
    /// follows after the same time again.
    pub(crate) async fn brief(lease: &str) -> Self {
        Self::with(Shared::new(crate::postgres::database().await), &["--lease", lease]).await
    }

    /// Starts another instance of a service.
    pub(crate) async fn of(shared: Arc<Shared>) -> Self {
        Self::with(shared, &[]).await
    }

    /// Starts another instance with additional flags.
    pub(crate) async fn with(shared: Arc<Shared>, more: &[&str]) -> Self {
        let store = format!("file://{}", shared.store().display());
        let keys = shared.folder.path().join("root.keys");
        let arguments = [
            "control",
            "--database-url",
            &shared.database,
            "--stores",
            &store,
            "--root-key-file",
            keys.to_str().unwrap(),
            "--heartbeat",
            "500ms",
        ];
        // Off, because tests send many invalid tokens.
        let defaults = [["--rate-tokens", "off"], ["--lease", "15s"], ["--database-pool", "6"]];
        let defaults = defaults.iter().filter(|default| !more.contains(&default[0])).flatten();
        let flags = arguments.iter().chain(defaults).chain(more);
        let config = Flags::parse_from(flags).config;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = Shutdown::new();
        let telemetry = Telemetry::new("streaming-control");
        let serve = control::serve(config, listener, telemetry, shutdown.clone());
        let served = tokio::spawn(serve);
        let endpoint = Channel::from_shared(format!("http://{address}")).unwrap();
        let channel = endpoint.connect().await.unwrap();
        Self { shared, address, channel, shutdown, served }
    }

    /// Stops the instance as SIGTERM does.
    pub(crate) async fn stop(self) {
        self.shutdown.soft.cancel();
        tokio::time::timeout(DEADLINE, self.served).await.unwrap().unwrap().unwrap();
        self.shutdown.drain(DEADLINE).await;
    }

    /// A caller of the default tenant.
    pub(crate) fn caller(&self, role: Role) -> Caller {
        self.caller_of(role, "default")
    }

    /// A caller of this tenant.
    pub(crate) fn caller_of(&self, role: Role, tenant: &str) -> Caller {
        Caller { token: self.shared.token(role, tenant), channel: self.channel.clone() }
    }

    /// Connects a worker and waits for its welcome.
    pub(crate) async fn worker(&self, name: &str) -> Worker {
        self.worker_through(&self.address.to_string(), name).await
    }

    /// The same through a proxy at `address`.
    pub(crate) async fn worker_through(&self, address: &str, name: &str) -> Worker {
        Worker::connect(self, address, name).await
    }
}

/// A token and a channel.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) token: String,
    pub(crate) channel: Channel,
}

impl Caller {
    /// A request with the token.
    pub(crate) fn ask<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let value = format!("Bearer {}", self.token).parse().unwrap();
        request.metadata_mut().insert("authorization", value);
        request
    }

    /// The same request, sent by a data plane on the caller's behalf.
    pub(crate) fn through_plane<T>(&self, plane: &str, message: T) -> Request<T> {
        let mut request = self.ask(message);
        request.metadata_mut().insert(api::PLANE_METADATA, plane.parse().unwrap());
        request
    }

    pub(crate) fn videos(&self) -> VideoServiceClient<Channel> {
        VideoServiceClient::new(self.channel.clone())
    }

    pub(crate) fn uploads(&self) -> UploadServiceClient<Channel> {
        UploadServiceClient::new(self.channel.clone())
    }

    pub(crate) fn jobs(&self) -> JobServiceClient<Channel> {
        JobServiceClient::new(self.channel.clone())
    }

    pub(crate) fn system(&self) -> SystemServiceClient<Channel> {
        SystemServiceClient::new(self.channel.clone())
    }

    pub(crate) fn workers(&self) -> WorkerServiceClient<Channel> {
        WorkerServiceClient::new(self.channel.clone())
    }

    pub(crate) fn auth(&self) -> AuthServiceClient<Channel> {
        AuthServiceClient::new(self.channel.clone())
    }

    pub(crate) fn playback(&self) -> PlaybackServiceClient<Channel> {
        PlaybackServiceClient::new(self.channel.clone())
    }

    /// The current state of a job.
    pub(crate) async fn job(&self, job_id: &str) -> v1::Job {
        let request = self.ask(v1::GetJobRequest { job_id: job_id.to_owned() });
        self.jobs().get_job(request).await.unwrap().into_inner()
    }

    /// Waits until `reached` is true for a job.
    pub(crate) async fn job_when(
        &self,
        job_id: &str,
        reached: impl Fn(&v1::Job) -> bool,
    ) -> v1::Job {
        let look = async {
            loop {
                let job = self.job(job_id).await;
                if reached(&job) {
                    return job;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(DEADLINE, look).await.expect("the job does not reach the state")
    }
}

/// The worker's end of a session, driven by the test.
pub(crate) struct Worker {
    out: mpsc::Sender<WorkerMessage>,
    inbound: Streaming<ControlMessage>,
    pub(crate) token: String,
    pub(crate) welcome: v1::Welcome,
    requests: u64,
    /// Leases that arrived while the test waited for another message.
    leases: VecDeque<v1::Lease>,
}

impl Worker {
    async fn connect(plane: &Plane, address: &str, name: &str) -> Self {
        let (out, receiver) = mpsc::channel(64);
        let hello = v1::Hello {
            protocol_version: api::WORKER_PROTOCOL,
            name: name.to_owned(),
            slots: 4,
            encoders: vec!["libx264".to_owned()],
            instance: String::new(),
            version: "7.8.9".to_owned(),
        };
        let hello = worker_message::Message::Hello(hello);
        out.send(WorkerMessage { message: Some(hello) }).await.unwrap();
        // Its own channel, so that dropping the worker closes the connection as a crash does.
        let endpoint = Channel::from_shared(format!("http://{address}")).unwrap();
        let caller = Caller {
            token: plane.shared.token(Role::Worker, "default"),
            channel: endpoint.connect().await.unwrap(),
        };
        let request = caller.ask(ReceiverStream::new(receiver));
        let inbound = caller.workers().work(request).await.unwrap().into_inner();
        let (welcome, leases) = (v1::Welcome::default(), VecDeque::new());
        let token = caller.token;
        let mut worker = Self { out, inbound, token, welcome, requests: 0, leases };
        match worker.next().await {
            control_message::Message::Welcome(welcome) => worker.welcome = welcome,
            other => panic!("no welcome but {other:?}"),
        }
        worker
    }

    /// Sends a message.
    pub(crate) async fn send(&self, message: worker_message::Message) {
        self.out.send(WorkerMessage { message: Some(message) }).await.unwrap();
    }

    /// Requests tasks for this many free slots.
    pub(crate) async fn want(&self, slots: u32) {
        self.send(worker_message::Message::Want(v1::Want { slots, ..v1::Want::default() })).await;
    }

    /// The next message from control.
    pub(crate) async fn next(&mut self) -> control_message::Message {
        self.next_within(DEADLINE).await
    }

    async fn next_within(&mut self, deadline: Duration) -> control_message::Message {
        let message = tokio::time::timeout(deadline, self.inbound.message()).await;
        message.expect("control sends no message").unwrap().unwrap().message.unwrap()
    }

    /// Whether control ends the stream; earlier messages are dropped.
    pub(crate) async fn ends(&mut self) -> bool {
        let drained = async { while let Ok(Some(_)) = self.inbound.message().await {} };
        tokio::time::timeout(DEADLINE, drained).await.is_ok()
    }

    /// The next lease.
    pub(crate) async fn lease(&mut self) -> v1::Lease {
        self.lease_within(DEADLINE).await
    }

    /// The next lease, for which it waits up to `deadline`.
    pub(crate) async fn lease_within(&mut self, deadline: Duration) -> v1::Lease {
        if let Some(lease) = self.leases.pop_front() {
            return lease;
        }
        loop {
            if let control_message::Message::Lease(lease) = self.next_within(deadline).await {
                return lease;
            }
        }
    }

    /// The lost leases of the next heartbeat reply that names any.
    pub(crate) async fn lost(&mut self) -> Vec<String> {
        loop {
            if let control_message::Message::HeartbeatReply(reply) = self.next().await
                && !reply.lost.is_empty()
            {
                return reply.lost;
            }
        }
    }

    /// Sends a commit and waits for the reply.
    pub(crate) async fn commit(&mut self, commit: v1::Commit) -> v1::CommitReply {
        let request = self.offer(commit).await;
        self.answer(request).await
    }

    /// Sends a commit and returns its request number.
    pub(crate) async fn offer(&mut self, mut commit: v1::Commit) -> u64 {
        self.requests += 1;
        commit.request = self.requests;
        self.send(worker_message::Message::Commit(commit)).await;
        self.requests
    }

    /// Waits for the reply to the commit with this request number.
    pub(crate) async fn answer(&mut self, request: u64) -> v1::CommitReply {
        loop {
            match self.next().await {
                control_message::Message::CommitReply(reply) => {
                    assert_eq!(reply.request, request);
                    return reply;
                }
                control_message::Message::Lease(lease) => self.leases.push_back(lease),
                _ => {}
            }
        }
    }

    /// Sends a heartbeat with the progress of a lease.
    pub(crate) async fn beat(&self, lease: &v1::Lease, fraction: f64) {
        let progress = v1::Progress {
            task_id: lease.task_id.clone(),
            token: lease.token,
            fraction,
            speed: 2.0,
        };
        self.send(worker_message::Message::Heartbeat(v1::Heartbeat { leases: vec![progress] }))
            .await;
    }
}
