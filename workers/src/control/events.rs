//! The futures that the worker's main loop waits for.

use std::{
    future::{Future, pending},
    pin::Pin,
    time::Duration,
};

use api::v1;
use runtime::Shutdown;

use super::connection::{Link, LinkError};

/// A stream that is being opened.
pub(super) type Connecting =
    Pin<Box<dyn Future<Output = Result<(Link, v1::Welcome), LinkError>> + Send>>;

/// Control's next message; pending while there is no stream.
pub(super) async fn next(link: &mut Option<Link>) -> Result<v1::ControlMessage, LinkError> {
    match link {
        Some(link) => link.next().await,
        None => pending().await,
    }
}

/// The stream that is being opened; pending if there is none.
pub(super) async fn connected(
    connecting: &mut Option<Connecting>,
) -> Result<(Link, v1::Welcome), LinkError> {
    match connecting {
        Some(connecting) => connecting.await,
        None => pending().await,
    }
}

/// Completes when running tasks must be stopped: some time after the soft shutdown, or at the hard one.
pub(super) async fn drain_deadline(shutdown: Shutdown, drain: Duration) {
    let patience = async {
        shutdown.soft.cancelled().await;
        tokio::time::sleep(drain).await;
    };
    tokio::select! {
        () = patience => {}
        () = shutdown.hard.cancelled() => {}
    }
}
