//! Postgres, the source of truth. Free functions with inline SQL, one file per concern; rows are
//! read by column name.
//!
//! **Invariant:** a transaction that needs a video's row together with other rows locks the video's
//! row first, then the job, then its tasks. Claims, heartbeats and requeues touch single task rows
//! in separate statements.
//!
//! # Errors
//! Every function below this module that returns [`DbError`] fails when its statement fails or a
//! row contains an invalid value. A function that fails for other reasons, too, has a section of
//! its own.

#![expect(
    clippy::missing_errors_doc,
    reason = "the module's documentation states the common reason once"
)]

pub mod captions;
pub mod changes;
pub mod chores;
pub mod claim;
pub mod completion;
mod fair_queue;
pub mod hardware;
pub mod images;
pub mod jobs;
pub mod lead;
pub mod lease;
pub mod migrate;
pub mod outputs;
pub mod pool;
pub mod probes;
pub mod revocations;
pub mod schema;
mod served_version;
pub mod sign_in;
mod states;
pub mod system;
pub mod task_counts;
pub mod tasks;
pub mod tokens;
pub mod uploads;
pub mod videos;
pub mod workers;

use std::{error::Error, future::Future, time::Duration};

use api::code::{Code, Problem};
use runtime::retry::doubled;
use thiserror::Error;
use tokio_postgres::{Row, error::SqlState};

pub use pool::Db;
pub use runtime::error::causes;
pub use tokio_postgres::{GenericClient, Transaction};

/// A failed database operation.
#[derive(Debug, Error)]
pub enum DbError {
    /// The URL is invalid.
    #[error("read STREAMING_DATABASE_URL")]
    Url(#[source] tokio_postgres::Error),
    /// No connection became available within the checkout limit.
    #[error("check out a database connection")]
    Unreachable(#[source] Box<dyn Error + Send + Sync>),
    /// The statement failed.
    #[error("run a statement")]
    Statement(#[from] tokio_postgres::Error),
    /// A row contains an invalid value.
    #[error("read {column} of {table} {id}")]
    Row {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// The row's primary key.
        id: String,
    },
    /// This release must not work on the database's schema.
    #[error(transparent)]
    Schema(#[from] schema::SchemaError),
    /// A migration failed.
    #[error("apply migrations")]
    Migration(#[source] Box<dyn Error + Send + Sync>),
}

impl DbError {
    /// Whether the same call may succeed in a moment: connection failures, restarts, deadlocks.
    pub fn transient(&self) -> bool {
        match self {
            Self::Unreachable(_) => true,
            Self::Statement(e) => match e.code() {
                None => e.is_closed() || e.source().is_some_and(|s| s.is::<std::io::Error>()),
                Some(code) => {
                    let codes = [
                        SqlState::T_R_SERIALIZATION_FAILURE,
                        SqlState::T_R_DEADLOCK_DETECTED,
                        SqlState::ADMIN_SHUTDOWN,
                        SqlState::CRASH_SHUTDOWN,
                        SqlState::CANNOT_CONNECT_NOW,
                        SqlState::TOO_MANY_CONNECTIONS,
                        SqlState::QUERY_CANCELED,
                        SqlState::LOCK_NOT_AVAILABLE,
                    ];
                    codes.contains(code) || code.code().starts_with("08")
                }
            },
            Self::Url(_) | Self::Row { .. } | Self::Schema(_) | Self::Migration(_) => false,
        }
    }

    fn row(table: &'static str, column: &'static str, id: impl ToString) -> Self {
        Self::Row { table, column, id: id.to_string() }
    }
}

/// How long a caller should wait before it tries again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

impl From<DbError> for Problem {
    fn from(error: DbError) -> Self {
        let cause = causes(&error);
        if error.transient() {
            tracing::warn!(error = %error, cause, "database unavailable");
            let mut problem = Self::new(Code::Unavailable, "the database is not reachable");
            problem.retry_after = Some(RETRY_AFTER);
            return problem;
        }
        tracing::error!(error = %error, cause, "database call failed");
        Self::new(Code::Internal, "internal error")
    }
}

/// Attempts for a call that a worker waits for: with checkouts of 2 s this outlasts a restart of
/// Postgres.
pub const WORK_TRIES_MAX: u32 = 8;
/// Attempts for a call that a user waits for.
pub const CALL_TRIES_MAX: u32 = 2;
const RETRY_BASE: Duration = Duration::from_millis(100);
const RETRY_CAP: Duration = Duration::from_secs(2);

/// Runs `call` until it succeeds, fails permanently, or has been tried `tries` times.
async fn retry<T, F>(tries: u32, call: impl Fn() -> F) -> Result<T, DbError>
where
    F: Future<Output = Result<T, DbError>>,
{
    let mut tried = 1;
    loop {
        match call().await {
            Err(e) if e.transient() && tried < tries => {
                let base = doubled(RETRY_BASE, tried, RETRY_CAP);
                let delay = base.mul_f64(0.5 + rand::random::<f64>() / 2.0);
                tracing::debug!(error = %e, tried, "retrying a database call");
                tokio::time::sleep(delay).await;
                tried += 1;
            }
            other => return other,
        }
    }
}

fn failure(
    row: &Row,
    code: &str,
    message: &str,
) -> Result<Option<crate::domain::Failure>, DbError> {
    let code: Option<String> = row.try_get(code)?;
    let message: Option<String> = row.try_get(message)?;
    Ok(code.map(|code| crate::domain::Failure::new(code, message.unwrap_or_default())))
}
