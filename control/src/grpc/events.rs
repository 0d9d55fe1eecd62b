//! Implements `EventService`: streams the changes of a tenant.
//!
//! An event's id is the number of its change ([`crate::db::changes`]), so a client continues at any
//! instance, and after a restart, where its stream was cut.

mod cursor;
pub mod read;

use std::{sync::Arc, time::Duration};

use api::{
    code::{Code, Problem},
    v1::{self, event, event_service_server::EventService},
};
use authz::{AuthError, Operation, Principal, Request as Ask};
use futures::StreamExt;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use self::cursor::Start;
use super::{
    Services, Stream,
    authorize::{self, Rpc},
    bearer::CheckedJwt,
    revocable_stream::revocable,
};
use crate::{
    event_feed::{Page, Watcher},
    state::AppState,
};

/// Maximum number of messages queued for a slow reader; beyond it, the sender waits.
const QUEUE_MAX: usize = 16;
/// A reader that receives no message for this long counts as disconnected.
const SEND_MAX: Duration = Duration::from_secs(30);
/// Pause before a failed read is repeated.
const READ_RETRY: Duration = Duration::from_secs(1);
/// How often an open stream checks whether its token still permits it. Narrowed tokens may expire
/// earlier than the token from which they were made.
const TOKEN_EVERY: Duration = Duration::from_secs(2);

#[tonic::async_trait]
impl EventService for Services {
    type WatchEventsStream = Stream<v1::Event>;

    async fn watch_events(
        &self,
        request: Request<v1::WatchEventsRequest>,
    ) -> Result<Response<Self::WatchEventsStream>, Status> {
        let principal = self.0.authorize(Rpc::WatchEvents, &request, None)?;
        // Before the position is read, so that no change in between is missed.
        let watcher = self.0.events.watch(&principal.tenant)?;
        let start = cursor::start(&self.0, &request.get_ref().last_event_id).await?;
        let (sender, receiver) = mpsc::channel(QUEUE_MAX);
        let follower = Follower {
            workers: principal.may(Rpc::ListWorkers.operation()).is_ok(),
            app: self.0.clone(),
            tenant: principal.tenant.clone(),
            watcher,
            sender,
            epoch: start.epoch,
            number: start.number,
        };
        let token = Token::of(&principal, request);
        self.0.shutdown.tracker.spawn(follower.run(start, token));
        let events = ReceiverStream::new(receiver).boxed();
        Ok(Response::new(revocable(self.0.clone(), principal, events)))
    }
}

/// The token that opened a stream.
struct Token {
    expires_at: i64,
    request: Request<()>,
}

impl Token {
    fn of<T>(principal: &Principal, request: Request<T>) -> Self {
        Self { expires_at: principal.expires_at, request: request.map(drop) }
    }

    /// Returns once the token does not permit the stream any more.
    async fn ended(&self, app: &AppState) -> AuthError {
        loop {
            tokio::time::sleep(TOKEN_EVERY).await;
            let now = app.clock.now_unix();
            if now >= self.expires_at {
                return AuthError::Expired;
            }
            if self.request.extensions().get::<CheckedJwt>().is_some() {
                continue;
            }
            let Ok(token) = authorize::bearer(self.request.metadata()) else { continue };
            let address = app.client(&self.request);
            let ask = Ask { now, operation: Operation::Read, video: None, address };
            match app.verifier.authenticate(token, &ask) {
                Ok(_) | Err(AuthError::Busy) => {}
                Err(error) => return error,
            }
        }
    }
}

/// One client's stream.
struct Follower {
    app: Arc<AppState>,
    tenant: String,
    /// Whether the client may list workers.
    workers: bool,
    watcher: Watcher,
    sender: mpsc::Sender<Result<v1::Event, Status>>,
    epoch: Uuid,
    /// Changes up to this number have been sent.
    number: i64,
}

/// The client reads no further events.
struct Closed;

impl Follower {
    async fn run(mut self, start: Start, token: Token) {
        let (app, sender) = (self.app.clone(), self.sender.clone());
        let problem = tokio::select! {
            _closed = self.follow(&start) => return,
            () = sender.closed() => return,
            error = token.ended(&app) => authorize::problem(error),
            () = app.shutdown.soft.cancelled() => {
                Problem::new(Code::Unavailable, "the server is stopping")
            }
        };
        drop(sender.send_timeout(Err(problem.into()), SEND_MAX).await);
    }

    async fn follow(&mut self, start: &Start) -> Result<(), Closed> {
        if start.reset {
            self.send(start.number, Some(reset())).await?;
        } else if start.resumed {
            self.catch_up().await?;
        } else {
            self.send(start.number, None).await?;
        }
        loop {
            match self.watcher.next().await {
                Some(page) if page.upto <= self.number => {}
                Some(page) if page.after <= self.number && page.tenants.contains(&self.tenant) => {
                    self.deliver(&page).await?;
                }
                _ => self.catch_up().await?,
            }
        }
    }

    /// Sends what has changed since the last event, read for this stream alone.
    async fn catch_up(&mut self) -> Result<(), Closed> {
        let tenants = [self.tenant.clone()];
        loop {
            match read::page(&self.app, &tenants, self.number).await {
                Ok(Some(page)) => {
                    self.deliver(&page).await?;
                    if !page.more {
                        return Ok(());
                    }
                }
                // The stream was held up for so long that changes have been deleted.
                Ok(None) => match read::log(&self.app).await {
                    Ok(log) => {
                        self.send(log.last, Some(reset())).await?;
                        self.number = log.last;
                        return Ok(());
                    }
                    Err(error) => self.wait(&error).await,
                },
                Err(error) => self.wait(&error).await,
            }
        }
    }

    async fn wait(&self, error: &crate::db::DbError) {
        tracing::debug!(%error, "failed to read events, retrying");
        tokio::time::sleep(READ_RETRY).await;
    }

    async fn deliver(&mut self, page: &Page) -> Result<(), Closed> {
        for (tenant, number, event) in &page.events {
            let hidden = matches!(event, event::Event::Worker(_)) && !self.workers;
            if *number > self.number && *tenant == self.tenant && !hidden {
                self.send(*number, Some(event.clone())).await?;
            }
        }
        self.number = self.number.max(page.upto);
        Ok(())
    }

    async fn send(&self, number: i64, event: Option<event::Event>) -> Result<(), Closed> {
        let event = v1::Event { id: cursor::text(self.epoch, number), event };
        self.sender.send_timeout(Ok(event), SEND_MAX).await.map_err(|_| Closed)
    }
}

fn reset() -> event::Event {
    event::Event::Reset(v1::ResetEvent {})
}
