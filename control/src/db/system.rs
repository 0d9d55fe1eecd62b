//! Figures about the load of the whole service, of one tenant or of all.

use tokio_postgres::GenericClient;

use super::{DbError, states};
use crate::domain::TaskKind;

/// Maximum number of videos that the percentiles count, and how long ago they became playable.
const VIDEOS_MAX: i64 = 1000;
const HOURS_MAX: i32 = 24;

/// How many tasks wait for a worker.
pub async fn queue_depth(db: &impl GenericClient, tenant: Option<&str>) -> Result<u64, DbError> {
    let row = db
        .query_one(
            "SELECT count(*) AS ready
             FROM tasks
             WHERE state = 'ready'
               AND run_after <= now()
               AND kind = ANY ($1)
               AND ($2::text IS NULL OR tenant = $2)",
            &[&states::kinds(TaskKind::is_for_workers), &tenant],
        )
        .await?;
    Ok(row.try_get::<_, i64>("ready")?.unsigned_abs())
}

/// The median and the 95th percentile of the seconds from the last byte of an upload to its first
/// listed segment, over the latest videos; `None` without such videos.
pub async fn playable_seconds(
    db: &impl GenericClient,
    tenant: Option<&str>,
) -> Result<Option<(f64, f64)>, DbError> {
    let row = db
        .query_one(
            "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds) AS p50,
                    percentile_cont(0.95) WITHIN GROUP (ORDER BY seconds) AS p95
             FROM (
                 SELECT extract(epoch FROM playable_at - received_at)::float8 AS seconds
                 FROM videos
                 WHERE playable_at > now() - make_interval(hours => $1)
                   AND received_at IS NOT NULL
                   AND ($2::text IS NULL OR tenant = $2)
                 ORDER BY playable_at DESC
                 LIMIT $3
             ) AS latest",
            &[&HOURS_MAX, &tenant, &VIDEOS_MAX],
        )
        .await?;
    let (p50, p95): (Option<f64>, Option<f64>) = (row.try_get("p50")?, row.try_get("p95")?);
    Ok(p50.zip(p95))
}
