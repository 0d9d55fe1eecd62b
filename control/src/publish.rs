//! Publishing: from the output that a worker offers to the index that data planes serve.

pub mod admission;
pub mod captions;
pub mod excerpt;
pub mod finalize;
pub mod index;
pub mod sample_tables;

use media::{JobId, fmp4::Mp4Error};
use thiserror::Error;

use crate::{db::DbError, objects::ObjectError};

/// Why an index or its objects cannot be built or stored.
#[derive(Debug, Error)]
pub enum PublishError {
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
    /// An object cannot be written or deleted.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// A committed init segment is invalid; admission should have prevented that.
    #[error("read the init segment of {rendition} of job {job}")]
    Init {
        /// The job.
        job: JobId,
        /// Its rendition.
        rendition: String,
        /// Why it is invalid.
        #[source]
        source: Mp4Error,
    },
}

impl PublishError {
    /// Whether a retry may help, because the database or the store failed temporarily.
    pub fn transient(&self) -> bool {
        match self {
            Self::Db(error) => error.transient(),
            Self::Object(error) => error.transient(),
            Self::Init { .. } => false,
        }
    }
}
