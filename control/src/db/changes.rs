//! The log of changes: which videos, jobs, tasks and workers have changed since a number.
//!
//! Triggers append the objects that a transaction changes to `pending_changes`. [`number`] gives the
//! rows of committed transactions the next numbers, one reader at a time. It reads in the same
//! snapshot as the states of the objects are read ([`lock`]): a state never shows a change that has
//! no number yet, so an event is neither lost nor sent twice, in any order of commits.

use media::{JobId, TaskId, VideoId, WorkerId};
use tokio_postgres::{GenericClient, IsolationLevel, Row, Transaction};
use uuid::Uuid;

use super::{DbError, pool::Connection};
use crate::domain::OPERATOR_TENANT;

/// How long changes are kept, in seconds.
pub const KEPT_SECONDS: f64 = 600.0;

/// An object that has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Object {
    /// A video, which may have been deleted.
    Video(VideoId),
    /// A job, or the progress of its tasks.
    Job(JobId),
    /// A task of a transcode.
    Task(TaskId),
    /// A worker's connection.
    Worker(WorkerId),
}

/// The latest change of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The object.
    pub object: Object,
    /// The tenant that may see it.
    pub tenant: String,
    /// Its place among all changes.
    pub number: i64,
}

impl TryFrom<&Row> for Change {
    type Error = DbError;

    fn try_from(row: &Row) -> Result<Self, DbError> {
        let id: Uuid = row.try_get("object_id")?;
        let kind: &str = row.try_get("kind")?;
        let object = match kind {
            "video" => Object::Video(VideoId::new(id)),
            "job" => Object::Job(JobId::new(id)),
            "task" => Object::Task(TaskId::new(id)),
            "worker" => Object::Worker(WorkerId::new(id)),
            _ => return Err(DbError::row("changes", "kind", id)),
        };
        Ok(Self { object, tenant: row.try_get("tenant")?, number: row.try_get("number")? })
    }
}

/// The log's single row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// Identifies the database to which the numbers belong.
    pub epoch: Uuid,
    /// The highest number.
    pub last: i64,
    /// Changes up to this number may have been deleted.
    pub pruned: i64,
}

/// Begins a transaction that numbers or deletes changes: all of its statements see one snapshot,
/// which is taken once no other such transaction runs.
///
/// `LOCK TABLE` takes no snapshot, so it must be the first statement.
pub async fn lock<'c>(connection: &'c mut Connection<'_>) -> Result<Transaction<'c>, DbError> {
    let tx = connection.build_transaction().isolation_level(IsolationLevel::RepeatableRead);
    let tx = tx.start().await?;
    tx.batch_execute("LOCK TABLE change_log IN SHARE ROW EXCLUSIVE MODE").await?;
    Ok(tx)
}

/// How many earlier connections of a worker are recorded as changed when it connects again.
const REPLACED_MAX: i64 = 10;

/// Records that the connections of a worker before `id` are replaced, although their rows stay the
/// same.
pub async fn record_replaced_workers(db: &impl GenericClient, id: WorkerId) -> Result<(), DbError> {
    db.execute(
        "INSERT INTO pending_changes (kind, object_id, tenant)
         SELECT 'worker', o.id, $2
         FROM workers n
         JOIN workers o
           ON o.id < n.id
          AND (o.name = n.name OR o.instance <> '' AND o.instance = n.instance)
         WHERE n.id = $1 AND o.seen_at > now() - interval '1 hour'
         ORDER BY o.id DESC
         LIMIT $3",
        &[&id.uuid(), &OPERATOR_TENANT, &REPLACED_MAX],
    )
    .await?;
    Ok(())
}

/// Whether committed changes have no number yet.
pub async fn are_pending(db: &impl GenericClient) -> Result<bool, DbError> {
    let row = db.query_one("SELECT EXISTS (SELECT FROM pending_changes) AS pending", &[]).await?;
    Ok(row.try_get("pending")?)
}

/// Numbers all changes that the transaction, begun by [`lock`], sees. Several changes of one object
/// get one number.
pub async fn number(tx: &Transaction<'_>) -> Result<(), DbError> {
    tx.execute(
        "WITH taken AS (
             DELETE FROM pending_changes RETURNING kind, object_id, tenant
         ),
         placed AS MATERIALIZED (
             SELECT kind, object_id, tenant, row_number() OVER (ORDER BY kind, object_id) AS place
             FROM (SELECT DISTINCT kind, object_id, tenant FROM taken) AS objects
         ),
         log AS (
             UPDATE change_log
             SET last_number = last_number + (SELECT count(*) FROM placed)
             RETURNING last_number - (SELECT count(*) FROM placed) AS base
         )
         INSERT INTO changes (kind, object_id, tenant, number, changed_at)
         SELECT placed.kind, placed.object_id, placed.tenant, log.base + placed.place, now()
         FROM placed
         CROSS JOIN log
         ON CONFLICT (kind, object_id) DO UPDATE
         SET number = EXCLUDED.number, changed_at = EXCLUDED.changed_at",
        &[],
    )
    .await?;
    Ok(())
}

/// The state of the log.
pub async fn log(db: &impl GenericClient) -> Result<Log, DbError> {
    let row = db.query_one("SELECT epoch, last_number, pruned_number FROM change_log", &[]).await?;
    Ok(Log {
        epoch: row.try_get("epoch")?,
        last: row.try_get("last_number")?,
        pruned: row.try_get("pruned_number")?,
    })
}

/// Up to `limit` changes of `tenants` after a number, in their order.
pub async fn after(
    db: &impl GenericClient,
    tenants: &[String],
    number: i64,
    limit: i64,
) -> Result<Vec<Change>, DbError> {
    let rows = db
        .query(
            "SELECT kind::text AS kind, object_id, tenant, number
             FROM changes
             WHERE number > $1 AND tenant = ANY ($2)
             ORDER BY number
             LIMIT $3",
            &[&number, &tenants, &limit],
        )
        .await?;
    rows.iter().map(Change::try_from).collect()
}

/// Numbers the pending changes and deletes changes older than [`KEPT_SECONDS`], in a transaction
/// begun by [`lock`].
pub async fn prune(tx: &Transaction<'_>) -> Result<(), DbError> {
    number(tx).await?;
    tx.execute(
        "WITH gone AS (
             DELETE FROM changes
             WHERE changed_at < now() - make_interval(secs => $1)
             RETURNING number
         )
         UPDATE change_log
         SET pruned_number = GREATEST(pruned_number, (SELECT max(number) FROM gone))
         WHERE EXISTS (SELECT FROM gone)",
        &[&KEPT_SECONDS],
    )
    .await?;
    Ok(())
}
