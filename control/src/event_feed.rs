//! Distributes a tenant's events from the instance's reader to its watchers.
//!
//! One reader serves all watchers of an instance (`grpc/events/read.rs`). It sends pages that state
//! the changes that they cover. A watcher for which a page is missing, because it fell behind or has
//! just begun, reads what it lacks itself. So memory is bounded, and nothing is lost.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use api::{
    code::{Code, Problem},
    v1,
};
use tokio::sync::{Notify, broadcast};

/// How many pages a watcher may fall behind before it reads from the database.
const PAGES_MAX: usize = 16;
/// Maximum number of watchers of an instance. A data plane has one connection to it, which carries
/// 1024 calls and streams.
const WATCHERS_MAX: usize = 500;
/// Maximum number of watchers of one tenant at an instance.
const TENANT_WATCHERS_MAX: usize = 100;

/// The newest states of the objects that changed after one number and up to another.
#[derive(Debug, Default)]
pub struct Page {
    /// The tenants whose changes it contains.
    pub tenants: Vec<String>,
    /// It contains their changes after this number …
    pub after: i64,
    /// … up to this one.
    pub upto: i64,
    /// Whether further changes follow at once.
    pub more: bool,
    /// Tenant, number and state, in the order of numbers; without ids.
    pub events: Vec<(String, i64, v1::event::Event)>,
}

/// Pages for the watchers of this instance.
#[derive(Debug)]
pub struct EventFeed {
    pages: broadcast::Sender<Arc<Page>>,
    /// Open watchers by tenant.
    watchers: Mutex<HashMap<String, usize>>,
    /// Notifies the reader of a first watcher.
    pub begun: Notify,
}

impl Default for EventFeed {
    fn default() -> Self {
        Self {
            pages: broadcast::channel(PAGES_MAX).0,
            watchers: Mutex::default(),
            begun: Notify::new(),
        }
    }
}

/// An open watcher. Dropping it gives its place to another.
#[derive(Debug)]
pub struct Watcher {
    feed: Arc<EventFeed>,
    tenant: String,
    pages: broadcast::Receiver<Arc<Page>>,
}

impl EventFeed {
    /// Opens a watcher of a tenant.
    ///
    /// # Errors
    /// [`Code::RateLimited`] if too many are open.
    pub fn watch(self: &Arc<Self>, tenant: &str) -> Result<Watcher, Problem> {
        let mut watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        let total: usize = watchers.values().sum();
        let own = watchers.get(tenant).copied().unwrap_or_default();
        if total >= WATCHERS_MAX || own >= TENANT_WATCHERS_MAX {
            let text = "too many event streams are open";
            return Err(Problem::new(Code::RateLimited, text));
        }
        watchers.insert(tenant.to_owned(), own + 1);
        drop(watchers);
        // Before the reader begins, so that its first page is received.
        let pages = self.pages.subscribe();
        self.begun.notify_one();
        Ok(Watcher { feed: self.clone(), tenant: tenant.to_owned(), pages })
    }

    /// The tenants that are watched.
    pub fn tenants(&self) -> Vec<String> {
        let watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        watchers.keys().cloned().collect()
    }

    /// The number of open watchers.
    pub fn open(&self) -> usize {
        let watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        watchers.values().sum()
    }

    /// Sends a page to the watchers.
    pub fn send(&self, page: Page) {
        // An error means that nothing is subscribed.
        drop(self.pages.send(Arc::new(page)));
    }
}

impl Watcher {
    /// The next page; `None` if some were missed.
    pub async fn next(&mut self) -> Option<Arc<Page>> {
        match self.pages.recv().await {
            Ok(page) => Some(page),
            Err(broadcast::error::RecvError::Lagged(_)) => None,
            // The feed, which owns the sender, outlives its watchers.
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let mut watchers = self.feed.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = watchers.get_mut(&self.tenant) {
            *open -= 1;
            if *open == 0 {
                watchers.remove(&self.tenant);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_tenant_cannot_use_up_the_streams_of_the_others() {
        let feed = Arc::new(EventFeed::default());
        let mut open: Vec<_> = (0..TENANT_WATCHERS_MAX).map(|_| feed.watch("a").unwrap()).collect();
        assert_eq!(feed.watch("a").unwrap_err().code, Code::RateLimited);
        let other = feed.watch("b").unwrap();
        assert_eq!((feed.open(), feed.tenants().len()), (TENANT_WATCHERS_MAX + 1, 2));
        open.pop();
        feed.watch("a").unwrap();
        drop((open, other));
        assert_eq!((feed.open(), feed.tenants().len()), (0, 0));
    }
}
