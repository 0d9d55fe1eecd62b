//! Whose turn it is: tenants share each priority turn by turn, one task each.
//!
//! A task takes its turn when it becomes ready: the one after its tenant's last, and not before the one
//! after that which is being served. Claims go by priority, turn and age, so they read one index from its
//! start, however much waits and for however many. Hence the bound: when a task becomes ready whose tenant
//! has none waiting, at most two tasks of each other tenant go before it (the turn that is being served, and
//! the next). Nobody is held back while there are slots: turns order, they do not ration.
//!
//! Turns are counted per encoder, because what only some workers can do may be far behind the rest.

use media::JobId;
use tokio_postgres::GenericClient;

use super::DbError;

/// SQL: the last turn that is taken, from the point of view of a row `t` with tenant, priority and encoder.
///
/// What is in backoff, or came back from it, keeps its old turn and does not say what is being served. An
/// encoder that nobody waits for begins where the others of its priority are.
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

/// Any number that nothing else locks with a key of its own.
const LOCKS: i64 = 787_327;

/// Makes the jobs of one tenant that are queued at once queue up until the transaction ends: each must see
/// the turns that the others take.
///
/// # Errors
/// [`DbError`] as every function here.
pub(super) async fn queue_up(tx: &impl GenericClient, job: JobId) -> Result<(), DbError> {
    tx.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended(tenant, $2)) FROM jobs WHERE id = $1",
        &[&job.uuid(), &LOCKS],
    )
    .await?;
    Ok(())
}
