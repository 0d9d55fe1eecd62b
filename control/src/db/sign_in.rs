//! Rows of `sign_in_codes`: one-time codes, of which only hashes are stored, and what the sessions
//! that they begin are made from.

use authz::{Credential, Grant};
use jiff::Timestamp;
use tokio_postgres::{GenericClient, Row};

use super::DbError;

/// How long a code is valid, in seconds: 10 minutes.
const CODE_SECONDS: f64 = 600.0;

/// Stores a code's hash and returns when the code expires; repeating it changes nothing else.
pub async fn create(
    db: &impl GenericClient,
    hash: &[u8],
    credential: &Credential,
) -> Result<Timestamp, DbError> {
    let ends = Timestamp::from_second(credential.expires_at).unwrap_or(Timestamp::MAX);
    let row = db
        .query_one(
            "INSERT INTO sign_in_codes
                 (code_hash, tenant, subject, role, credential_expires_at, revocation_ids, checks,
                  root_key, expires_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, now() + make_interval(secs => $9))
             -- A retry after a lost reply.
             ON CONFLICT (code_hash) DO UPDATE SET expires_at = EXCLUDED.expires_at
             RETURNING expires_at",
            &[
                &hash,
                &credential.grant.tenant,
                &credential.grant.subject,
                &credential.grant.role.text(),
                &ends,
                &credential.revocation_ids,
                &credential.checks,
                &credential.key.map(i64::from),
                &CODE_SECONDS,
            ],
        )
        .await?;
    Ok(row.try_get("expires_at")?)
}

/// Uses a code: returns the credential of its creator, once; `None` if the code is unknown, used or
/// expired.
pub async fn redeem(db: &impl GenericClient, hash: &[u8]) -> Result<Option<Credential>, DbError> {
    let row = db
        .query_opt(
            "UPDATE sign_in_codes
             SET used_at = now()
             WHERE code_hash = $1 AND used_at IS NULL AND expires_at > now()
             RETURNING *",
            &[&hash],
        )
        .await?;
    row.as_ref().map(credential).transpose()
}

fn credential(row: &Row) -> Result<Credential, DbError> {
    // An error must not contain the code's hash.
    let invalid = |column| DbError::row("sign_in_codes", column, "(hashed)");
    let role: &str = row.try_get("role")?;
    let ends: Timestamp = row.try_get("credential_expires_at")?;
    let key: Option<i64> = row.try_get("root_key")?;
    Ok(Credential {
        grant: Grant {
            subject: row.try_get("subject")?,
            tenant: row.try_get("tenant")?,
            role: role.parse().map_err(|_| invalid("role"))?,
        },
        expires_at: ends.as_second(),
        revocation_ids: row.try_get("revocation_ids")?,
        checks: row.try_get("checks")?,
        key: key.map(u32::try_from).transpose().map_err(|_| invalid("root_key"))?,
    })
}

/// Deletes codes that have expired, used or not.
pub async fn delete_old(db: &impl GenericClient) -> Result<(), DbError> {
    db.execute("DELETE FROM sign_in_codes WHERE expires_at < now()", &[]).await?;
    Ok(())
}
