//! The gRPC services: each handler reads its message, authorizes the caller, calls the database and
//! replies.

pub mod auth;
pub mod authorize;
pub mod bearer;
pub mod call_telemetry;
mod captions;
pub mod commits;
pub mod convert;
pub mod input;
pub mod jobs;
pub mod leases;
pub mod playback;
pub mod presigned_urls;
pub mod revocable_stream;
pub mod session;
pub mod uploads;
pub mod videos;
pub mod watch;
pub mod worker_messages;
pub mod workers;

use std::sync::Arc;

use api::code::Problem;
use futures::stream::BoxStream;
use tonic::Status;

use crate::{
    db::{DbError, causes},
    publish::index::IndexProblem,
    state::AppState,
};

/// The type of server streams.
pub type Stream<T> = BoxStream<'static, Result<T, Status>>;

/// The type that implements every service.
#[derive(Clone, Debug)]
pub struct Services(pub Arc<AppState>);

impl From<IndexProblem> for Problem {
    fn from(error: IndexProblem) -> Self {
        match error {
            IndexProblem::Db(error) => error.into(),
            IndexProblem::Object { .. } | IndexProblem::Store(_) => {
                let cause = causes(&error);
                tracing::warn!(%error, cause, "store unavailable");
                Self::new(api::code::Code::Unavailable, "the object store is not reachable")
            }
            IndexProblem::Init { .. } => {
                tracing::error!(%error, "failed to build an index");
                Self::new(api::code::Code::Internal, "internal error")
            }
        }
    }
}

/// Maps a database error to a gRPC status.
fn refuse(error: impl Into<DbError>) -> Status {
    Problem::from(error.into()).into()
}
