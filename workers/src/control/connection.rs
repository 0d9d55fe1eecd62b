//! One stream to one control plane.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use api::v1::{
    ControlMessage, Hello, Welcome, WorkerMessage, control_message, worker_message,
    worker_service_client::WorkerServiceClient,
};
use runtime::tls;
use thiserror::Error;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Request, Status, Streaming,
    metadata::{Ascii, MetadataValue},
    transport::{Channel, Endpoint},
};

use crate::config::Config;

/// Queued outgoing messages. If the queue is full, the stream counts as broken.
const QUEUE_MAX: usize = 256;
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
const WELCOME_TIME_MAX: Duration = Duration::from_secs(10);
/// A dead peer is detected within the sum of both.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// Largest token file.
const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// Why there is no stream. No variant contains the token.
#[derive(Debug, Error)]
pub(super) enum LinkError {
    /// The address of a control plane is not a URL.
    #[error("parse control url")]
    Url(#[source] tonic::transport::Error),
    /// The token file cannot be read or holds no token.
    #[error("read token file {}: {why}", path.display())]
    Token {
        /// The file.
        path: PathBuf,
        /// The problem with it.
        why: String,
    },
    /// The connection attempt failed.
    #[error("connect to control")]
    Connect(#[source] tonic::transport::Error),
    /// Control rejected or ended the stream with a status.
    #[error("talk to control: {}", .0.message())]
    Refused(#[source] Box<Status>),
    /// Control did not send the welcome message.
    #[error("talk to control: no welcome")]
    NoWelcome,
    /// Control does not read our messages.
    #[error("talk to control: the stream is stuck")]
    Stuck,
    /// Control ended the stream.
    #[error("talk to control: the stream ended")]
    Ended,
}

/// A stream on which the hello and welcome messages have been exchanged.
#[derive(Debug)]
pub(super) struct Link {
    sender: mpsc::Sender<WorkerMessage>,
    inbound: Streaming<ControlMessage>,
}

impl Link {
    /// Connects, sends the hello and waits for the welcome.
    pub(super) async fn open(
        url: String,
        config: &Config,
        hello: Hello,
    ) -> Result<(Self, Welcome), LinkError> {
        let token = read_token(&config.token_file)?;
        let endpoint = Endpoint::from_shared(url)
            .map_err(LinkError::Url)?
            .connect_timeout(CONNECT_TIME_MAX)
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            .tcp_nodelay(true);
        let channel = tls::channel(&endpoint, config.dial.ca_file()).await;
        let channel = channel.map_err(LinkError::Connect)?;
        let (sender, outbound) = mpsc::channel(QUEUE_MAX);
        let mut request = Request::new(ReceiverStream::new(outbound));
        request.metadata_mut().insert("authorization", token);
        let introduce = async {
            let mut link = Self::call(channel, sender, request, hello).await?;
            match link.next().await?.message {
                Some(control_message::Message::Welcome(welcome)) => Ok((link, welcome)),
                _ => Err(LinkError::NoWelcome),
            }
        };
        tokio::time::timeout(WELCOME_TIME_MAX, introduce).await.unwrap_or(Err(LinkError::NoWelcome))
    }

    async fn call(
        channel: Channel,
        sender: mpsc::Sender<WorkerMessage>,
        request: Request<ReceiverStream<WorkerMessage>>,
        hello: Hello,
    ) -> Result<Self, LinkError> {
        // Queued before the call, because some servers reply only once they have received a message.
        let hello = WorkerMessage { message: Some(worker_message::Message::Hello(hello)) };
        sender.try_send(hello).map_err(|_| LinkError::Stuck)?;
        let response = WorkerServiceClient::new(channel).work(request).await;
        let response = response.map_err(|status| LinkError::Refused(Box::new(status)))?;
        Ok(Self { sender, inbound: response.into_inner() })
    }

    /// Control's next message.
    pub(super) async fn next(&mut self) -> Result<ControlMessage, LinkError> {
        let message = self.inbound.message().await;
        message.map_err(|status| LinkError::Refused(Box::new(status)))?.ok_or(LinkError::Ended)
    }

    /// Queues a message.
    pub(super) fn send(&self, message: worker_message::Message) -> Result<(), LinkError> {
        let message = WorkerMessage { message: Some(message) };
        self.sender.try_send(message).map_err(|_| LinkError::Stuck)
    }

    /// Closes our side and waits up to `time_max` until control has read everything.
    pub(super) async fn close(self, time_max: Duration) {
        let Self { sender, mut inbound } = self;
        drop(sender);
        let drained = async { while let Ok(Some(_)) = inbound.message().await {} };
        // A timeout does no harm: the leases expire by themselves.
        drop(tokio::time::timeout(time_max, drained).await);
    }
}

fn read_token(path: &Path) -> Result<MetadataValue<Ascii>, LinkError> {
    let fault = |why: &str| LinkError::Token { path: path.to_owned(), why: why.to_owned() };
    let text = std::fs::read_to_string(path).map_err(|error| fault(&error.to_string()))?;
    let token = text.trim();
    if token.is_empty() || token.len() > TOKEN_BYTES_MAX {
        return Err(fault("it holds no token"));
    }
    let mut value = MetadataValue::try_from(format!("Bearer {token}"))
        .map_err(|_| fault("it holds no token"))?;
    value.set_sensitive(true);
    Ok(value)
}
