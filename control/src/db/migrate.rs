//! Applies `migrations/`, one instance at a time.

use super::{Db, DbError, schema};

mod embedded {
    refinery::embed_migrations!("../migrations");
}

/// An arbitrary number that no other lock in this database uses.
const LOCK: i64 = 787_326;

/// Brings the schema up to date; instances that start at the same time wait for each other. A
/// schema that a later release has migrated stays as it is.
///
/// # Errors
/// [`DbError::Schema`] when this release must not work on the schema, [`DbError::Migration`] when a
/// migration fails or differs from the applied one, or Postgres is not reachable yet (a transient
/// error).
pub async fn run(db: &Db) -> Result<(), DbError> {
    let mut client = db.dedicated().await?;
    // Waiting for another instance, and a long migration, may take any time. The session ends with
    // this function, which also ends the settings and the lock.
    client.batch_execute("SET statement_timeout = 0; SET lock_timeout = 0").await?;
    client.execute("SELECT pg_advisory_lock($1)", &[&LOCK]).await?;
    // `schema` checks migrations that are missing on either side: refinery rejects both or neither.
    let runner = embedded::migrations::runner().set_abort_divergent(true).set_abort_missing(false);
    schema::check(&client, runtime::program_version(), runner.get_migrations()).await?;
    let report =
        runner.run_async(&mut client).await.map_err(|e| DbError::Migration(Box::new(e)))?;
    for migration in report.applied_migrations() {
        tracing::info!(migration = %migration, "migration applied");
    }
    client.execute("SELECT pg_advisory_unlock($1)", &[&LOCK]).await?;
    Ok(())
}
