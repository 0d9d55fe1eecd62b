//! The futures that the worker's main loop waits for.

use std::{
    future::{Future, pending},
    pin::Pin,
    time::Duration,
};

use api::v1;
use runtime::Shutdown;

use super::connection::{Connection, ConnectionError};

/// A stream that is being opened.
pub(super) type Connecting =
    Pin<Box<dyn Future<Output = Result<(Connection, v1::Welcome), ConnectionError>> + Send>>;

/// Control's next message; pending without a stream.
pub(super) async fn next(
    connection: &mut Option<Connection>,
) -> Result<v1::ControlMessage, ConnectionError> {
    match connection {
        Some(connection) => connection.next().await,
        None => pending().await,
    }
}

/// The stream that is being opened; pending if no stream is being opened.
pub(super) async fn connected(
    connecting: &mut Option<Connecting>,
) -> Result<(Connection, v1::Welcome), ConnectionError> {
    match connecting {
        Some(connecting) => connecting.await,
        None => pending().await,
    }
}

/// Completes when running tasks must be stopped: some time after the soft shutdown, or at the hard
/// one.
pub(super) async fn drain_deadline(shutdown: Shutdown, drain: Duration) {
    let expired = async {
        shutdown.soft.cancelled().await;
        tokio::time::sleep(drain).await;
    };
    tokio::select! {
        () = expired => {}
        () = shutdown.hard.cancelled() => {}
    }
}
