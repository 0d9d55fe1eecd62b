//! The gRPC services: each handler reads its message, authorizes the caller, calls the database and
//! replies.

pub mod auth;
pub mod authorize;
pub mod bearer;
pub mod call_telemetry;
mod captions;
pub mod commits;
pub mod convert;
pub mod events;
pub mod input;
pub mod jobs;
pub mod leases;
mod lists;
mod lookup;
pub mod playback;
pub mod presigned_urls;
pub mod revocable_stream;
pub mod session;
pub mod system;
pub mod uploads;
pub mod videos;
pub mod watch;
pub mod worker_messages;
pub mod workers;

use std::sync::Arc;

use api::code::{Code, Problem};
use futures::stream::BoxStream;
use tonic::Status;

use crate::{
    db::{DbError, causes},
    objects::ObjectError,
    publish::PublishError,
    state::AppState,
};

/// The type of server streams.
pub type Stream<T> = BoxStream<'static, Result<T, Status>>;

/// The type that implements every service.
#[derive(Clone, Debug)]
pub struct Services(pub Arc<AppState>);

impl From<ObjectError> for Problem {
    fn from(error: ObjectError) -> Self {
        let cause = causes(&error);
        tracing::warn!(%error, cause, "failed to reach a store");
        Self::new(Code::Unavailable, "the object store is not reachable")
    }
}

impl From<PublishError> for Problem {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::Db(error) => error.into(),
            PublishError::Object(error) => error.into(),
            PublishError::Init { .. } => {
                tracing::error!(%error, "failed to build an index");
                Self::new(Code::Internal, "internal error")
            }
        }
    }
}

/// Maps a database error to a gRPC status.
fn db_status(error: impl Into<DbError>) -> Status {
    Problem::from(error.into()).into()
}
