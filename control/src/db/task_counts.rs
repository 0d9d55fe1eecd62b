//! How many tasks wait and run; for metrics.

use tokio_postgres::GenericClient;

use super::{DbError, states};
use crate::domain::TaskKind;

/// The tasks of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Load {
    /// How many can be leased now.
    pub ready: u64,
    /// How many are leased.
    pub leased: u64,
    /// The longest wait of a ready task.
    pub waits_seconds: f64,
    /// The longest time since the first start of a task that is leased.
    pub held_seconds: f64,
    /// The longest time since a lease was last renewed.
    pub silent_seconds: f64,
}

/// The ready and leased tasks by kind; kinds without such tasks are omitted. A lease lasts
/// `lease_seconds` after its last renewal.
pub async fn by_kind(
    db: &impl GenericClient,
    lease_seconds: f64,
) -> Result<Vec<(&'static str, Load)>, DbError> {
    let rows = db
        .query(
            "SELECT kind,
                    count(*) FILTER (WHERE ready) AS ready,
                    count(*) FILTER (WHERE NOT ready) AS leased,
                    COALESCE(max(waits) FILTER (WHERE ready), 0)::float8 AS waits,
                    COALESCE(max(held) FILTER (WHERE NOT ready), 0)::float8 AS held,
                    COALESCE(max($1 - left_over) FILTER (WHERE NOT ready), 0)::float8 AS silent
             FROM (
                 SELECT kind,
                        state = 'ready' AS ready,
                        extract(epoch FROM now() - GREATEST(created_at, run_after))::float8 AS waits,
                        extract(epoch FROM now() - started_at)::float8 AS held,
                        extract(epoch FROM lease_expires - now())::float8 AS left_over
                 FROM tasks
                 WHERE state = 'leased' OR (state = 'ready' AND run_after <= now())
             ) AS t
             GROUP BY kind",
            &[&lease_seconds],
        )
        .await?;
    let mut load = Vec::with_capacity(rows.len());
    for row in rows {
        let kind: TaskKind =
            states::read(&row, "kind", ("tasks", row.try_get::<_, &str>("kind")?))?;
        let (ready, leased): (i64, i64) = (row.try_get("ready")?, row.try_get("leased")?);
        let seconds = |column: &str| row.try_get::<_, f64>(column).map(|seconds| seconds.max(0.0));
        let found = Load {
            ready: ready.unsigned_abs(),
            leased: leased.unsigned_abs(),
            waits_seconds: seconds("waits")?,
            held_seconds: seconds("held")?,
            silent_seconds: seconds("silent")?,
        };
        load.push((kind.text(), found));
    }
    Ok(load)
}
