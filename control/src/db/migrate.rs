//! Applies `migrations/`, one instance at a time.

use super::{Db, DbError};

mod embedded {
    refinery::embed_migrations!("../migrations");
}

/// Any number that nothing else locks in this database: "stream" on a telephone.
const LOCK: i64 = 787_326;

/// Brings the schema up to date; instances that start together take turns.
///
/// # Errors
/// [`DbError::Migration`] names what failed; a transient error means that Postgres is not there yet.
pub async fn run(db: &Db) -> Result<(), DbError> {
    let mut client = db.dedicated().await?;
    // Waiting for the other instance, and a long migration, may take what it takes. The session
    // ends with this function and takes the settings and the lock with it.
    client.batch_execute("SET statement_timeout = 0; SET lock_timeout = 0").await?;
    client.execute("SELECT pg_advisory_lock($1)", &[&LOCK]).await?;
    let report = embedded::migrations::runner()
        .run_async(&mut client)
        .await
        .map_err(|e| DbError::Migration(Box::new(e)))?;
    for migration in report.applied_migrations() {
        tracing::info!(migration = %migration, "migration applied");
    }
    client.execute("SELECT pg_advisory_unlock($1)", &[&LOCK]).await?;
    Ok(())
}
