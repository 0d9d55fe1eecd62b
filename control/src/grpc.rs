//! The gRPC services: each handler reads its message, authorizes the caller, calls the database and
//! replies.

pub mod access;
pub mod auth;
pub mod bearer;
pub mod calls;
mod captions;
pub mod commits;
pub mod gate;
pub mod input;
pub mod jobs;
pub mod lasting;
pub mod leases;
pub mod playback;
pub mod refusals;
pub mod said;
pub mod session;
pub mod uploads;
pub mod videos;
pub mod view;
pub mod watch;
pub mod workers;

use std::sync::Arc;

use api::code::Problem;
use futures::stream::BoxStream;
use tonic::Status;

use crate::{
    db::{DbError, causes},
    deps::Deps,
    index::IndexProblem,
};

/// The type of server streams.
pub type Stream<T> = BoxStream<'static, Result<T, Status>>;

/// The type that implements every service.
#[derive(Clone, Debug)]
pub struct Services(pub Arc<Deps>);

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
                tracing::error!(%error, "build an index");
                Self::new(api::code::Code::Internal, "internal error")
            }
        }
    }
}

/// Maps a database error to a gRPC status.
fn refuse(error: impl Into<DbError>) -> Status {
    Problem::from(error.into()).into()
}
