//! A control plane for tests: sends the leases that a test queues and records the worker's
//! messages.

use std::{
    collections::HashSet,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use api::v1::{
    self, ControlMessage, WorkerMessage,
    control_message::Message as ToWorker,
    worker_message::Message as FromWorker,
    worker_service_server::{WorkerService, WorkerServiceServer},
};
use tokio::{
    net::TcpListener,
    runtime::{Builder, Runtime},
    sync::mpsc,
    time::timeout,
};
use tokio_stream::wrappers::{TcpListenerStream, UnboundedReceiverStream};
use tonic::{Request, Response, Status, Streaming};

/// How long a test waits for a message from the worker.
const MESSAGE_TIME_MAX: Duration = Duration::from_secs(60);

type Sender = mpsc::UnboundedSender<Result<ControlMessage, Status>>;

#[derive(Default)]
struct State {
    sender: Mutex<Option<Sender>>,
    lost: Mutex<HashSet<String>>,
    /// Do not reply to commits.
    mute_commits: AtomicBool,
    /// Do not reply to heartbeats.
    mute_heartbeats: AtomicBool,
    lease_ms: AtomicU32,
    authorization: Mutex<String>,
    /// Of the last hello.
    encoders: Mutex<Vec<String>>,
    /// The store for which URLs are signed, and how long they are valid.
    bucket: Mutex<Option<(store::Store, Duration)>>,
}

#[derive(Clone)]
struct Service {
    state: Arc<State>,
    messages: mpsc::UnboundedSender<FromWorker>,
}

/// The test's handle.
pub(crate) struct Control {
    pub(crate) addr: SocketAddr,
    state: Arc<State>,
    messages: mpsc::UnboundedReceiver<FromWorker>,
    service: Service,
    /// Runs on its own runtime; shutting it down breaks every connection, as killing a process
    /// does.
    server: Option<Runtime>,
    /// How long a message of the worker is awaited.
    pub(crate) patience: Duration,
}

impl Control {
    pub(crate) async fn start() -> Self {
        let (sender, messages) = mpsc::unbounded_channel();
        let state = Arc::new(State::default());
        state.lease_ms.store(15_000, Ordering::SeqCst);
        let service = Service { state: Arc::clone(&state), messages: sender };
        let addr = "127.0.0.1:0".parse().unwrap();
        let mut control =
            Self { addr, state, messages, service, server: None, patience: MESSAGE_TIME_MAX };
        control.listen();
        control
    }

    /// Listens on the previous address again; earlier connections stay closed.
    pub(crate) fn listen(&mut self) {
        let listener = std::net::TcpListener::bind(self.addr).unwrap();
        listener.set_nonblocking(true).unwrap();
        self.addr = listener.local_addr().unwrap();
        let service = WorkerServiceServer::new(self.service.clone());
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.spawn(async move {
            let incoming = TcpListenerStream::new(TcpListener::from_std(listener).unwrap());
            let server = tonic::transport::Server::builder().add_service(service);
            server.serve_with_incoming(incoming).await.unwrap();
        });
        self.server = Some(runtime);
    }

    /// Breaks every stream and stops listening.
    pub(crate) async fn stop(&mut self) {
        let server = self.server.take().unwrap();
        let ended = tokio::task::spawn_blocking(|| server.shutdown_timeout(MESSAGE_TIME_MAX));
        ended.await.unwrap();
        *self.state.sender.lock().unwrap() = None;
    }

    pub(crate) fn set_lease(&self, lease: Duration) {
        self.state.lease_ms.store(lease.as_millis() as u32, Ordering::SeqCst);
    }

    pub(crate) fn lose(&self, task: &str) {
        self.state.lost.lock().unwrap().insert(task.to_owned());
    }

    pub(crate) fn mute_commits(&self, mute: bool) {
        self.state.mute_commits.store(mute, Ordering::SeqCst);
    }

    pub(crate) fn mute_heartbeats(&self, mute: bool) {
        self.state.mute_heartbeats.store(mute, Ordering::SeqCst);
    }

    /// Signs URLs for this store from now on.
    pub(crate) fn sign_for(&self, store: &store::Store, lifetime: Duration) {
        *self.state.bucket.lock().unwrap() = Some((store.clone(), lifetime));
    }

    pub(crate) fn authorization(&self) -> String {
        self.state.authorization.lock().unwrap().clone()
    }

    /// The encoders that the worker announces.
    pub(crate) fn encoders(&self) -> Vec<String> {
        self.state.encoders.lock().unwrap().clone()
    }

    pub(crate) fn send(&self, message: ToWorker) {
        let message = ControlMessage { message: Some(message) };
        let sender = self.state.sender.lock().unwrap();
        sender.as_ref().expect("a worker is connected").send(Ok(message)).unwrap();
    }

    /// Waits for the next message that `pick` accepts; all earlier ones are dropped.
    pub(crate) async fn wait<T>(&mut self, mut pick: impl FnMut(FromWorker) -> Option<T>) -> T {
        let found = async {
            loop {
                let message = self.messages.recv().await.expect("the worker is connected");
                if let Some(found) = pick(message) {
                    return found;
                }
            }
        };
        timeout(self.patience, found).await.expect("the worker sends the expected message")
    }

    /// Waits until the worker requests tasks.
    pub(crate) async fn ready(&mut self) {
        let wants =
            |message| matches!(message, FromWorker::Want(want) if want.slots > 0).then_some(());
        self.wait(wants).await;
    }

    /// Leases a task and collects the result: every output and report, or the failure.
    pub(crate) async fn work(&mut self, lease: v1::Lease) -> Result<Done, v1::Fail> {
        let task = lease.task_id.clone();
        self.send(ToWorker::Lease(lease));
        let mut done = Done::default();
        self.wait(|message| match message {
            FromWorker::Commit(commit) if commit.task_id == task => {
                done.commits += 1;
                done.outputs.extend(commit.outputs);
                done.pictures.extend(commit.pictures);
                done.source = commit.source.or(done.source.take());
                commit.last.then_some(Ok(()))
            }
            FromWorker::Fail(fail) if fail.task_id == task => Some(Err(fail)),
            _ => None,
        })
        .await?;
        Ok(done)
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            server.shutdown_background();
        }
    }
}

/// The result of a task.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(crate) commits: usize,
    pub(crate) outputs: Vec<v1::Output>,
    pub(crate) source: Option<v1::SourceReport>,
    pub(crate) pictures: Vec<v1::Picture>,
}

#[tonic::async_trait]
impl WorkerService for Service {
    type WorkStream = UnboundedReceiverStream<Result<ControlMessage, Status>>;

    async fn work(
        &self,
        request: Request<Streaming<WorkerMessage>>,
    ) -> Result<Response<Self::WorkStream>, Status> {
        let token = request.metadata().get("authorization").unwrap().to_str().unwrap().to_owned();
        *self.state.authorization.lock().unwrap() = token;
        let (sender, receiver) = mpsc::unbounded_channel();
        *self.state.sender.lock().unwrap() = Some(sender.clone());
        let (service, mut inbound) = (self.clone(), request.into_inner());
        tokio::spawn(async move {
            while let Ok(Some(message)) = inbound.message().await {
                let message = message.message.unwrap();
                let reply = match &message {
                    FromWorker::Access(access) => service.sign(access).await,
                    message => service.reply(message),
                };
                if let Some(reply) = reply {
                    let _ = sender.send(Ok(ControlMessage { message: Some(reply) }));
                }
                let _ = service.messages.send(message);
            }
        });
        Ok(Response::new(UnboundedReceiverStream::new(receiver)))
    }

    async fn list_workers(
        &self,
        _: Request<v1::ListWorkersRequest>,
    ) -> Result<Response<v1::ListWorkersResponse>, Status> {
        Err(Status::unimplemented("not implemented by the test"))
    }

    async fn drain_worker(
        &self,
        _: Request<v1::DrainWorkerRequest>,
    ) -> Result<Response<v1::DrainWorkerResponse>, Status> {
        Err(Status::unimplemented("not implemented by the test"))
    }
}

impl Service {
    async fn sign(&self, access: &v1::Access) -> Option<ToWorker> {
        let (store, lifetime) = self.state.bucket.lock().unwrap().clone()?;
        let mut reply = v1::AccessReply {
            request: access.request,
            url_seconds: lifetime.as_secs_f64(),
            ..v1::AccessReply::default()
        };
        for place in &access.outputs {
            let url = store.sign_put(&place.key, &place.sha256, lifetime).await.unwrap().unwrap();
            reply.output_urls.push(url.expose().to_owned());
        }
        if !access.source_key.is_empty() {
            let url = store.sign_get(&access.source_key, lifetime).await.unwrap().unwrap();
            reply.source_url = url.expose().to_owned();
        }
        Some(ToWorker::AccessReply(reply))
    }

    fn reply(&self, message: &FromWorker) -> Option<ToWorker> {
        match message {
            FromWorker::Hello(hello) => {
                self.state.encoders.lock().unwrap().clone_from(&hello.encoders);
                let lease = f64::from(self.state.lease_ms.load(Ordering::SeqCst)) / 1000.0;
                let worker_id = "00000000-0000-7000-8000-000000000001".to_owned();
                let heartbeat_seconds = lease / 5.0;
                let welcome = v1::Welcome { worker_id, lease_seconds: lease, heartbeat_seconds };
                Some(ToWorker::Welcome(welcome))
            }
            FromWorker::Heartbeat(heartbeat)
                if !self.state.mute_heartbeats.load(Ordering::SeqCst) =>
            {
                let lost = self.state.lost.lock().unwrap();
                let named = heartbeat.leases.iter().map(|lease| lease.task_id.clone());
                let lost = named.filter(|task| lost.contains(task)).collect();
                Some(ToWorker::HeartbeatReply(v1::HeartbeatReply { lost }))
            }
            FromWorker::Commit(commit) if !self.state.mute_commits.load(Ordering::SeqCst) => {
                let request = commit.request;
                let reply = v1::CommitReply { request, refusal: None, lease_lost: false };
                Some(ToWorker::CommitReply(reply))
            }
            _ => None,
        }
    }
}
