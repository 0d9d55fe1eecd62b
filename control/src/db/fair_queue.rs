//! Fair queueing: the tenants at each priority take turns, one task each.
//!
//! A task takes its turn when it becomes ready: the turn after its tenant's last one, but not
//! before the turn after the one being served. Claims go by priority, turn and age, so they read
//! one index from its start, regardless of how many tasks and tenants wait. This gives a bound:
//! when a task becomes ready and its tenant has no other waiting task, at most two tasks of each
//! other tenant go before it (one in the turn being served, one in the next). Turns never hold a
//! task back while slots are free: they set the order, not a quota.
//!
//! Turns are counted per encoder, because the tasks that only some workers can run may be far
//! behind the rest.

use media::JobId;
use tokio_postgres::GenericClient;

use super::DbError;

/// SQL: the last turn taken, as seen from a row `t` with tenant, priority and encoder.
///
/// Tasks that are or were in backoff keep their old turn and do not define the turn being served.
/// If no task waits for an encoder, its turns start at those of the other encoders of the same
/// priority.
pub(super) const TAKEN: &str = "
    GREATEST(
        (
            SELECT max(o.turn)
            FROM tasks o
            WHERE o.state = 'ready'
              AND o.tenant = t.tenant
              AND o.priority = t.priority
              AND o.encoder = t.encoder
        ),
        COALESCE(
            (
                SELECT o.turn
                FROM tasks o
                WHERE o.state = 'ready'
                  AND o.attempt = 0
                  AND o.run_after <= now()
                  AND o.priority = t.priority
                  AND o.encoder = t.encoder
                ORDER BY o.turn
                LIMIT 1
            ),
            (
                SELECT o.turn
                FROM tasks o
                WHERE o.state = 'ready'
                  AND o.attempt = 0
                  AND o.run_after <= now()
                  AND o.priority = t.priority
                ORDER BY o.turn
                LIMIT 1
            ),
            0
        )
    )";

/// An arbitrary key that no other lock of this kind uses.
const LOCKS: i64 = 787_327;

/// Serializes the transactions that queue jobs of the same tenant, until the transaction ends: each
/// must see the turns that the others take.
pub(super) async fn lock_tenant_queue(tx: &impl GenericClient, job: JobId) -> Result<(), DbError> {
    tx.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended(tenant, $2)) FROM jobs WHERE id = $1",
        &[&job.uuid(), &LOCKS],
    )
    .await?;
    Ok(())
}
