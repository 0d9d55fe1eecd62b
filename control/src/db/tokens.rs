//! Rows of `tokens`: a record of each bearer token, never the token itself.

use authz::{Grant, TokenUse};
use jiff::{Timestamp, civil::Date};
use media::TokenId;
use tokio_postgres::{GenericClient, Row};
use uuid::{Builder, Uuid};

use super::DbError;
use crate::page::Cursor;

/// How long after its expiry the record of a token is kept, in days.
const KEEP_DAYS: i32 = 7;

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRow {
    /// The id by which an admin revokes it.
    pub id: TokenId,
    /// The identity in the token.
    pub subject: String,
    /// The name of its role.
    pub role: String,
    /// The tenant that it belongs to.
    pub tenant: String,
    /// When it was minted, or first used.
    pub created_at: Timestamp,
    /// When it expires.
    pub expires_at: Timestamp,
    /// The latest day of use in UTC.
    pub last_used_day: Option<Date>,
}

impl TryFrom<&Row> for TokenRow {
    type Error = DbError;

    fn try_from(row: &Row) -> Result<Self, DbError> {
        Ok(Self {
            id: TokenId::new(row.try_get("id")?),
            subject: row.try_get("subject")?,
            role: row.try_get("role")?,
            tenant: row.try_get("tenant")?,
            created_at: row.try_get("created_at")?,
            expires_at: row.try_get("expires_at")?,
            last_used_day: row.try_get("last_used_day")?,
        })
    }
}

/// The id of the record of the token with this revocation id, a UUID of version 8.
pub fn id(revocation_id: &[u8]) -> TokenId {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&blake3::hash(revocation_id).as_bytes()[..16]);
    TokenId::new(Builder::from_custom_bytes(bytes).into_uuid())
}

/// Records a token that was minted; repeating it changes nothing.
pub async fn create(
    db: &impl GenericClient,
    revocation_id: &[u8],
    grant: &Grant,
    expires_at: Timestamp,
) -> Result<TokenRow, DbError> {
    let row = db
        .query_one(
            "INSERT INTO tokens (id, revocation_id, tenant, subject, role, expires_at)
             VALUES ($1, $2, $3, $4, $5, $6)
             -- A retry after a lost reply. Without an update the statement returns no row.
             ON CONFLICT (id) DO UPDATE SET expires_at = EXCLUDED.expires_at
             RETURNING *",
            &[
                &id(revocation_id).uuid(),
                &revocation_id,
                &grant.tenant,
                &grant.subject,
                &grant.role.text(),
                &expires_at,
            ],
        )
        .await?;
    TokenRow::try_from(&row)
}

/// Records on which day tokens were used. A token without a record gets one, unless it is revoked;
/// a row is written at most once per day.
pub async fn record_uses(db: &impl GenericClient, uses: &[TokenUse]) -> Result<(), DbError> {
    // Postgres stores every character except NUL; a token with it has no record.
    let storable =
        |one: &&TokenUse| !format!("{}{}", one.grant.subject, one.grant.tenant).contains('\0');
    let mut latest: Vec<(Uuid, &TokenUse)> =
        uses.iter().filter(storable).map(|one| (id(&one.revocation_id).uuid(), one)).collect();
    // One statement updates a row only once, and always in the same order, to avoid deadlocks.
    latest.sort_by_key(|(id, one)| (*id, -one.used_at));
    latest.dedup_by_key(|(id, _)| *id);
    let time = |seconds| Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX);
    let (ids, uses): (Vec<Uuid>, Vec<&TokenUse>) = latest.into_iter().unzip();
    let column = |text: fn(&TokenUse) -> &str| uses.iter().map(|one| text(one)).collect::<Vec<_>>();
    db.execute(
        "INSERT INTO tokens (id, revocation_id, tenant, subject, role, expires_at, last_used_day)
         SELECT id, revocation_id, tenant, subject, role, expires_at,
                (used_at AT TIME ZONE 'UTC')::date
         FROM unnest($1::uuid[], $2::bytea[], $3::text[], $4::text[], $5::text[],
                     $6::timestamptz[], $7::timestamptz[])
              AS used (id, revocation_id, tenant, subject, role, expires_at, used_at)
         WHERE NOT EXISTS (
             SELECT FROM revocations r WHERE r.revocation_id = used.revocation_id)
         ON CONFLICT (id) DO UPDATE
             SET last_used_day = EXCLUDED.last_used_day
             WHERE tokens.last_used_day IS NULL
                OR tokens.last_used_day < EXCLUDED.last_used_day",
        &[
            &ids,
            &uses.iter().map(|one| one.revocation_id.as_slice()).collect::<Vec<_>>(),
            &column(|one| &one.grant.tenant),
            &column(|one| &one.grant.subject),
            &column(|one| one.grant.role.text()),
            &uses.iter().map(|one| time(one.expires_at)).collect::<Vec<_>>(),
            &uses.iter().map(|one| time(one.used_at)).collect::<Vec<_>>(),
        ],
    )
    .await?;
    Ok(())
}

/// Up to `limit` records of one tenant, newest first, older than `after`; without revoked tokens.
pub async fn list(
    db: &impl GenericClient,
    tenant: &str,
    after: Option<Cursor>,
    limit: i64,
) -> Result<Vec<TokenRow>, DbError> {
    let (time, id) = after.map(|cursor| (cursor.time, cursor.id)).unzip();
    let rows = db
        .query(
            "SELECT *
             FROM tokens t
             WHERE t.tenant = $1
               AND ($2::timestamptz IS NULL OR (t.created_at, t.id) < ($2, $3::uuid))
               -- A use that was reported during the revocation may have left a row.
               AND NOT EXISTS (
                   SELECT FROM revocations r WHERE r.revocation_id = t.revocation_id)
             ORDER BY t.created_at DESC, t.id DESC
             LIMIT $4",
            &[&tenant, &time, &id, &limit],
        )
        .await?;
    rows.iter().map(TokenRow::try_from).collect()
}

/// The revocation id and the expiry of a tenant's token.
pub async fn find(
    db: &impl GenericClient,
    tenant: &str,
    id: TokenId,
) -> Result<Option<(Vec<u8>, Timestamp)>, DbError> {
    let row = db
        .query_opt(
            "SELECT revocation_id, expires_at
             FROM tokens t
             WHERE id = $1
               AND tenant = $2
               AND NOT EXISTS (
                   SELECT FROM revocations r WHERE r.revocation_id = t.revocation_id)",
            &[&id.uuid(), &tenant],
        )
        .await?;
    row.map(|row| Ok((row.try_get("revocation_id")?, row.try_get("expires_at")?))).transpose()
}

/// Deletes the records of tokens that expired more than `KEEP_DAYS` ago.
pub async fn delete_old(db: &impl GenericClient) -> Result<(), DbError> {
    let sql = "DELETE FROM tokens WHERE expires_at < now() - make_interval(days => $1)";
    db.execute(sql, &[&KEEP_DAYS]).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::id;

    #[test]
    fn ids_are_uuids_that_depend_on_the_whole_revocation_id() {
        let uuid = id(&[7; 64]).uuid();
        assert_eq!((uuid.get_version_num(), uuid), (8, id(&[7; 64]).uuid()));
        assert_ne!(uuid, id(&[[7; 63].as_slice(), &[8]].concat()).uuid());
    }
}
