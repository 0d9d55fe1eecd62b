//! Waits until a condition is true.

use std::time::Duration;

const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Polls a condition until it is true; panics with `what` after the deadline.
pub(crate) async fn eventually(what: &str, deadline: Duration, holds: impl AsyncFn() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    };
    tokio::time::timeout(deadline, waiting)
        .await
        .unwrap_or_else(|_| panic!("timed out waiting: {what}"));
}
