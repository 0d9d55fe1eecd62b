//! Rows of `workers`: one per connection.

use jiff::Timestamp;
use media::WorkerId;
use tokio_postgres::{GenericClient, Row};

use super::{DbError, changes, claim::SEEN_SECONDS_MAX};

/// One connection.
#[derive(Clone, Debug)]
pub struct Worker {
    /// The connection.
    pub id: WorkerId,
    /// The name it reports.
    pub name: String,
    /// Tasks it runs at a time.
    pub slots: u32,
    /// Leases it holds.
    pub leases: u32,
    /// Accepts no further tasks.
    pub draining: bool,
    /// Its stream is open.
    pub connected: bool,
    /// Its process has connected again since; one that does not state which process it is counts by
    /// its name.
    pub replaced: bool,
    /// When its session last recorded that it is alive.
    pub seen_at: Timestamp,
    /// Why it cannot probe; `None` if it can.
    pub probe_trouble: Option<String>,
    /// The version of its program; empty if it did not report one.
    pub version: String,
}

impl TryFrom<&Row> for Worker {
    type Error = DbError;

    fn try_from(row: &Row) -> Result<Self, DbError> {
        let slots: i32 = row.try_get("slots")?;
        let leases: i64 = row.try_get("leases")?;
        Ok(Self {
            id: WorkerId::new(row.try_get("id")?),
            name: row.try_get("name")?,
            slots: slots.unsigned_abs(),
            leases: u32::try_from(leases).unwrap_or(u32::MAX),
            draining: row.try_get("draining")?,
            connected: row.try_get("connected")?,
            replaced: row.try_get("replaced")?,
            seen_at: row.try_get("seen_at")?,
            probe_trouble: match row.try_get("can_probe")? {
                true => None,
                false => Some(row.try_get("probe_trouble")?),
            },
            version: row.try_get("version")?,
        })
    }
}

/// The first key of the advisory locks on workers' names.
const NAMES_LOCK: i32 = 787_327;

/// A worker that connects.
#[derive(Clone, Copy, Debug)]
pub struct Connecting<'a> {
    /// This connection.
    pub id: WorkerId,
    /// The name that the worker chose.
    pub name: &'a str,
    /// The random id of its process; empty if the worker does not send one.
    pub instance: &'a str,
    /// The number of tasks that it runs at a time.
    pub slots: u32,
    /// FFmpeg's names of its encoders.
    pub encoders: &'a [String],
    /// The version of its program; may be empty.
    pub version: &'a str,
}

/// Records a connected worker, and returns the name under which its results are recorded: its own,
/// or its own with a suffix while another process of the same name is connected. Two workers never
/// count as one.
pub async fn connect(tx: &impl GenericClient, worker: &Connecting<'_>) -> Result<String, DbError> {
    let Connecting { id, name, instance, slots, encoders, version } = *worker;
    // Workers that start at the same time see each other.
    tx.execute("SELECT pg_advisory_xact_lock($1, hashtext($2))", &[&NAMES_LOCK, &name]).await?;
    let row = tx
        .query_one(
            "INSERT INTO workers (id, name, slots, encoders, instance, version)
             SELECT $1,
                    CASE WHEN EXISTS (
                        SELECT 1
                        FROM workers w
                        WHERE w.name = $2
                          AND w.instance <> $5
                          AND w.connected
                          AND w.seen_at > now() - make_interval(secs => $6)
                    ) THEN $2 || '~' || right(COALESCE(NULLIF($5, ''), $1::uuid::text), 8)
                    ELSE $2 END,
                    $3, $4, $5, $7
             ON CONFLICT (id) DO UPDATE SET connected = true, seen_at = now()
             RETURNING name",
            &[
                &id.uuid(),
                &name,
                &slots.cast_signed(),
                &encoders,
                &instance,
                &SEEN_SECONDS_MAX,
                &version,
            ],
        )
        .await?;
    changes::record_replaced_workers(tx, id).await?;
    Ok(row.try_get("name")?)
}

/// Records that the session is alive; returns whether the worker is to drain.
pub async fn touch(db: &impl GenericClient, id: WorkerId) -> Result<bool, DbError> {
    let row = db
        .query_opt(
            "UPDATE workers
             SET seen_at = now(), connected = true
             WHERE id = $1
             RETURNING draining",
            &[&id.uuid()],
        )
        .await?;
    Ok(row.map(|row| row.try_get("draining")).transpose()?.unwrap_or(false))
}

/// Records whether the worker can probe, and why not.
pub async fn health(
    db: &impl GenericClient,
    id: WorkerId,
    can_probe: bool,
    trouble: &str,
) -> Result<(), DbError> {
    db.execute(
        "UPDATE workers SET can_probe = $2, probe_trouble = $3 WHERE id = $1",
        &[&id.uuid(), &can_probe, &trouble],
    )
    .await?;
    Ok(())
}

/// Number of connected workers that cannot probe.
pub async fn unhealthy(db: &impl GenericClient) -> Result<i64, DbError> {
    let row = db
        .query_one(
            "SELECT count(*) AS workers
             FROM workers
             WHERE connected AND NOT can_probe AND seen_at > now() - interval '15 seconds'",
            &[],
        )
        .await?;
    Ok(row.try_get("workers")?)
}

/// Records that the stream has ended.
pub async fn disconnect(db: &impl GenericClient, id: WorkerId) -> Result<(), DbError> {
    db.execute("UPDATE workers SET connected = false WHERE id = $1", &[&id.uuid()]).await?;
    Ok(())
}

/// Marks a worker as draining, so that it accepts no further tasks; false when the worker is
/// unknown.
pub async fn drain(db: &impl GenericClient, id: WorkerId) -> Result<bool, DbError> {
    let rows =
        db.execute("UPDATE workers SET draining = true WHERE id = $1", &[&id.uuid()]).await?;
    Ok(rows == 1)
}

/// Connections of the last hour; open ones first, then the most recently seen.
pub async fn list(db: &impl GenericClient, limit: i64) -> Result<Vec<Worker>, DbError> {
    let rows = db
        .query(
            "SELECT w.id, w.name, w.slots, w.draining, w.seen_at, w.can_probe,
                    -- The instance of control that serves the stream may have died.
                    w.connected AND w.seen_at > now() - make_interval(secs => $2) AS connected,
                    w.probe_trouble, w.version,
                    -- Ids rise with time.
                    lead(w.id) OVER (
                        PARTITION BY w.instance, CASE w.instance WHEN '' THEN w.name END
                        ORDER BY w.id
                    ) IS NOT NULL AS replaced,
                    (
                        SELECT count(*)
                        FROM tasks t
                        WHERE t.state = 'leased' AND t.worker_id = w.id
                    ) AS leases
             FROM workers w
             WHERE w.connected OR w.seen_at > now() - interval '1 hour'
             ORDER BY connected DESC, w.seen_at DESC
             LIMIT $1",
            &[&limit, &SEEN_SECONDS_MAX],
        )
        .await?;
    rows.iter().map(Worker::try_from).collect()
}

/// Number of connected workers.
pub async fn connected(db: &impl GenericClient) -> Result<i64, DbError> {
    let row = db
        .query_one(
            "SELECT count(*) AS workers
             FROM workers
             WHERE connected AND seen_at > now() - interval '15 seconds'",
            &[],
        )
        .await?;
    Ok(row.try_get("workers")?)
}

/// Marks connections whose control instance died as closed, and deletes old ones.
pub async fn delete_old(db: &impl GenericClient) -> Result<(), DbError> {
    db.execute(
        "UPDATE workers
         SET connected = false
         WHERE connected AND seen_at < now() - interval '30 seconds'",
        &[],
    )
    .await?;
    db.execute(
        "DELETE FROM workers WHERE NOT connected AND seen_at < now() - interval '1 day'",
        &[],
    )
    .await?;
    Ok(())
}
