//! Harness of the end-to-end tests: a stack of real processes, generated clips, a client, a
//! manifest reader, a browser and a fault proxy. It links none of the planes: tests use the service
//! as users and players do.

pub(crate) mod backing;
pub(crate) mod browser;
pub(crate) mod capture;
pub(crate) mod client;
pub(crate) mod clip;
pub(crate) mod collector;
pub(crate) mod console;
pub(crate) mod driver;
pub(crate) mod flaky;
pub(crate) mod fleet;
pub(crate) mod m3u8;
pub(crate) mod minio;
pub(crate) mod nginx;
pub(crate) mod node;
pub(crate) mod picture;
pub(crate) mod port;
pub(crate) mod powercut;
pub(crate) mod process;
pub(crate) mod program;
pub(crate) mod proxy;
pub(crate) mod rpc;
pub(crate) mod script;
pub(crate) mod stack;
pub(crate) mod worker;

use std::time::{Duration, Instant};

/// Pause between two polls of a condition.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// From the moment at which control reports the end of a job until the data planes serve its result
/// and control has counted it. Control reads the row again, writes the index object and only then
/// sends the change; a change that it failed to send is found in the rows within a second.
pub(crate) const CHANGE_DEADLINE: Duration = Duration::from_secs(10);

/// Polls `look` until it returns a value; panics with `what` after `deadline`.
pub(crate) async fn eventually<T, F>(what: &str, deadline: Duration, mut look: F) -> T
where
    F: AsyncFnMut() -> Option<T>,
{
    let start = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(start.elapsed() < deadline, "not within {deadline:?}: {what}");
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}
