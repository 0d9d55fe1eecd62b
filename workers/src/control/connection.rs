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

/// Why a stream cannot be opened or has ended. No variant contains the token.
#[derive(Debug, Error)]
pub(super) enum ConnectionError {
    /// The address of a control plane is not a valid URL.
    #[error("parse control url")]
    Url(#[source] tonic::transport::Error),
    /// The token file cannot be read or contains no token.
    #[error("read token file {}: {reason}", path.display())]
    Token {
        /// The file.
        path: PathBuf,
        /// The problem with it.
        reason: String,
    },
    /// The connection attempt failed.
    #[error("connect to control")]
    Connect(#[source] tonic::transport::Error),
    /// Control rejected or ended the stream with a status.
    #[error("control rejected or ended the stream: {}", .0.message())]
    Status(#[source] Box<Status>),
    /// Control did not send the welcome message.
    #[error("control sent no welcome message")]
    NoWelcome,
    /// Control does not read this worker's messages.
    #[error("control does not read the messages of the worker")]
    NotReading,
    /// Control ended the stream.
    #[error("control ended the stream")]
    Ended,
}

/// A stream on which the hello and welcome messages have been exchanged.
#[derive(Debug)]
pub(super) struct Connection {
    sender: mpsc::Sender<WorkerMessage>,
    inbound: Streaming<ControlMessage>,
}

impl Connection {
    /// Connects, sends the hello and waits for the welcome.
    pub(super) async fn open(
        url: String,
        config: &Config,
        hello: Hello,
    ) -> Result<(Self, Welcome), ConnectionError> {
        let token = read_token(&config.token_file)?;
        let endpoint = Endpoint::from_shared(url)
            .map_err(ConnectionError::Url)?
            .connect_timeout(CONNECT_TIME_MAX)
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            .tcp_nodelay(true);
        let channel = tls::channel(&endpoint, config.dial.ca_file()).await;
        let channel = channel.map_err(ConnectionError::Connect)?;
        let (sender, outbound) = mpsc::channel(QUEUE_MAX);
        let mut request = Request::new(ReceiverStream::new(outbound));
        request.metadata_mut().insert("authorization", token);
        let introduce = async {
            let mut connection = Self::call(channel, sender, request, hello).await?;
            match connection.next().await?.message {
                Some(control_message::Message::Welcome(welcome)) => Ok((connection, welcome)),
                _ => Err(ConnectionError::NoWelcome),
            }
        };
        tokio::time::timeout(WELCOME_TIME_MAX, introduce)
            .await
            .unwrap_or(Err(ConnectionError::NoWelcome))
    }

    async fn call(
        channel: Channel,
        sender: mpsc::Sender<WorkerMessage>,
        request: Request<ReceiverStream<WorkerMessage>>,
        hello: Hello,
    ) -> Result<Self, ConnectionError> {
        // Queued before the call, because some servers reply only once they have received a
        // message.
        let hello = WorkerMessage { message: Some(worker_message::Message::Hello(hello)) };
        sender.try_send(hello).map_err(|_| ConnectionError::NotReading)?;
        let response = WorkerServiceClient::new(channel).work(request).await;
        let response = response.map_err(|status| ConnectionError::Status(Box::new(status)))?;
        Ok(Self { sender, inbound: response.into_inner() })
    }

    /// Control's next message.
    pub(super) async fn next(&mut self) -> Result<ControlMessage, ConnectionError> {
        let message = self.inbound.message().await;
        message
            .map_err(|status| ConnectionError::Status(Box::new(status)))?
            .ok_or(ConnectionError::Ended)
    }

    /// Queues a message.
    pub(super) fn send(&self, message: worker_message::Message) -> Result<(), ConnectionError> {
        let message = WorkerMessage { message: Some(message) };
        self.sender.try_send(message).map_err(|_| ConnectionError::NotReading)
    }

    /// Closes the worker's side and waits up to `time_max` until control has read everything.
    pub(super) async fn close(self, time_max: Duration) {
        let Self { sender, mut inbound } = self;
        drop(sender);
        let drained = async { while let Ok(Some(_)) = inbound.message().await {} };
        // A timeout does no harm: the leases expire by themselves.
        drop(tokio::time::timeout(time_max, drained).await);
    }
}

fn read_token(path: &Path) -> Result<MetadataValue<Ascii>, ConnectionError> {
    let token_error =
        |reason: &str| ConnectionError::Token { path: path.to_owned(), reason: reason.to_owned() };
    let text = std::fs::read_to_string(path).map_err(|error| token_error(&error.to_string()))?;
    let token = text.trim();
    if token.is_empty() || token.len() > TOKEN_BYTES_MAX {
        return Err(token_error("it contains no valid token"));
    }
    let mut value = MetadataValue::try_from(format!("Bearer {token}"))
        .map_err(|_| token_error("it contains no valid token"))?;
    value.set_sensitive(true);
    Ok(value)
}
