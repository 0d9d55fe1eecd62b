//! Periodic background tasks: lease expiry, finalization, deletion, purges, key reloads.

pub mod deletion;
pub mod hardware;
pub mod keys;
pub mod lead;
pub mod loops;
pub mod probes;
pub mod purges;
pub mod status;
pub mod uploads;

use thiserror::Error;

use crate::{db::DbError, objects::ObjectError, publish::PublishError};

/// Why a round of a background task failed.
#[derive(Debug, Error)]
pub enum BackgroundError {
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
    /// An object cannot be listed or deleted.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// An index cannot be built or stored.
    #[error(transparent)]
    Publish(#[from] PublishError),
}
