//! Streams that outlive the check of their token: they end soon after the token is revoked.

use std::{sync::Arc, time::Duration};

use authz::{AuthError, Principal};
use futures::{StreamExt, stream};
use tokio::time::{Interval, MissedTickBehavior, interval};
use tonic::Status;

use super::{Stream, authorize};
use crate::state::AppState;

/// How often an open stream checks whether its token has been revoked.
const LOOK_EVERY: Duration = Duration::from_secs(1);

struct RevocableStream<T> {
    inner: Stream<T>,
    app: Arc<AppState>,
    /// The identity in the token that opened the stream.
    principal: Principal,
    looks: Interval,
    ended: bool,
}

/// Returns the stream, ended once the token of `principal` is revoked.
pub fn revocable<T: Send + 'static>(
    app: Arc<AppState>,
    principal: Principal,
    inner: Stream<T>,
) -> Stream<T> {
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let revocable = RevocableStream { inner, app, principal, looks, ended: false };
    stream::unfold(revocable, RevocableStream::next).boxed()
}

impl<T> RevocableStream<T> {
    async fn next(mut self) -> Option<(Result<T, Status>, Self)> {
        if self.ended {
            return None;
        }
        loop {
            tokio::select! {
                item = self.inner.next() => return item.map(|item| (item, self)),
                _ = self.looks.tick() => {}
            }
            self.app.verifier.note_use(&self.principal, self.app.clock.now_unix());
            if self.app.verifier.is_revoked(&self.principal.revocation_ids) {
                self.ended = true;
                return Some((Err(authorize::problem(AuthError::Revoked).into()), self));
            }
        }
    }
}
