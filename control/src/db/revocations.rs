//! Rows of `revocations`: tokens that were revoked before they expired.

use jiff::Timestamp;
use tokio_postgres::{GenericClient, Row};

use super::DbError;

/// Revokes a token by each of its ids and deletes its record; repeating it changes nothing.
pub async fn add(
    db: &impl GenericClient,
    ids: &[Vec<u8>],
    expires_at: Option<Timestamp>,
) -> Result<(), DbError> {
    db.execute(
        "WITH deleted AS (DELETE FROM tokens WHERE revocation_id = ANY ($1::bytea[]))
         INSERT INTO revocations (revocation_id, expires_at)
         SELECT id, $2
         FROM unnest($1::bytea[]) AS id
         ON CONFLICT DO NOTHING",
        &[&ids, &expires_at],
    )
    .await?;
    Ok(())
}

/// The ids revoked after `since`, or all of them; without those whose tokens have expired.
pub async fn list(
    db: &impl GenericClient,
    since: Option<Timestamp>,
) -> Result<Vec<Vec<u8>>, DbError> {
    let rows = db
        .query(
            "SELECT revocation_id
             FROM revocations
             WHERE ($1::timestamptz IS NULL OR revoked_at > $1)
               AND (expires_at IS NULL OR expires_at > now())
             ORDER BY revoked_at",
            &[&since],
        )
        .await?;
    rows.iter().map(|row: &Row| Ok(row.try_get("revocation_id")?)).collect()
}

/// Deletes revocations whose tokens expired more than an hour ago.
pub async fn delete_old(db: &impl GenericClient) -> Result<(), DbError> {
    db.execute("DELETE FROM revocations WHERE expires_at < now() - interval '1 hour'", &[]).await?;
    Ok(())
}
