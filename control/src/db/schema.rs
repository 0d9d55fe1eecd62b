//! Checks whether this release can work on the database's schema.
//!
//! A later release may have migrated the database before the operator rolled back to this one. That
//! release recorded in `schema_compat` which releases can work with its migration; see
//! `migrations/README.md`.

use std::{fmt, str::FromStr};

use refinery::Migration;
use thiserror::Error;
use tokio_postgres::GenericClient;

use super::DbError;

/// The reason why this release cannot work on the schema.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SchemaError {
    /// A later release changed something that this one depends on.
    #[error(
        "the schema (migration {version}) needs release {min_release} or later; this is release \
         {release}"
    )]
    TooNew {
        /// The newest incompatible migration.
        version: i32,
        /// The first release that can work with it.
        min_release: Release,
        /// This release.
        release: Release,
    },
    /// `schema_compat` holds a text that cannot be read as a release.
    #[error("\"{0}\" is not a release: it must be major.minor.patch")]
    NotARelease(String),
    /// The database was migrated by another branch of development.
    #[error("migration {missing} is missing in the database, which is at migration {newest}")]
    Skipped {
        /// The migration of this release that is missing.
        missing: i32,
        /// The newest migration that was applied.
        newest: i32,
    },
}

/// A release, without its pre-release suffix: 1.2.0-rc.1 migrates as 1.2.0 does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Release([u32; 3]);

impl FromStr for Release {
    type Err = SchemaError;

    fn from_str(text: &str) -> Result<Self, SchemaError> {
        let unreadable = || SchemaError::NotARelease(text.to_owned());
        let numbers = text.split(['-', '+']).next().unwrap_or_default();
        let numbers = numbers.split('.').map(str::parse).collect::<Result<Vec<u32>, _>>();
        let numbers = numbers.map_err(|_| unreadable())?;
        numbers.try_into().map(Self).map_err(|_| unreadable())
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.0;
        write!(f, "{major}.{minor}.{patch}")
    }
}

/// Checks the schema for `release`, which has the migrations `ours`, before anything is changed.
///
/// # Errors
/// [`DbError::Schema`] if the release must not work on the schema.
pub async fn check(
    db: &impl GenericClient,
    release: &str,
    ours: &[Migration],
) -> Result<(), DbError> {
    let found = db
        .query_one(
            "SELECT to_regclass('refinery_schema_history') IS NOT NULL AS migrated,
                    to_regclass('schema_compat') IS NOT NULL AS versioned",
            &[],
        )
        .await?;
    if found.try_get("versioned")? {
        check_release(db, release.parse()?).await?;
    }
    if found.try_get("migrated")? {
        compare(db, ours).await?;
    }
    Ok(())
}

/// Rejects a schema that needs a later release than this one.
async fn check_release(db: &impl GenericClient, release: Release) -> Result<(), DbError> {
    let newest = db
        .query_opt(
            "SELECT version, min_release
             FROM schema_compat
             ORDER BY version DESC
             LIMIT 1",
            &[],
        )
        .await?;
    let Some(row) = newest else { return Ok(()) };
    let version = row.try_get("version")?;
    let min_release: Release = row.try_get::<_, &str>("min_release")?.parse()?;
    if min_release > release {
        return Err(SchemaError::TooNew { version, min_release, release }.into());
    }
    Ok(())
}

/// Rejects a database that lacks one of this release's migrations below its newest one, because
/// that migration would be skipped silently. Migrations that this release does not know belong to
/// another release, and `check` has checked them.
async fn compare(db: &impl GenericClient, ours: &[Migration]) -> Result<(), DbError> {
    let rows =
        db.query("SELECT version FROM refinery_schema_history ORDER BY version", &[]).await?;
    let applied = rows.iter().map(|row| row.try_get("version")).collect::<Result<Vec<i32>, _>>()?;
    let Some(&newest) = applied.last() else { return Ok(()) };
    let known: Vec<i32> = ours.iter().map(Migration::version).collect();
    let lacks = |version: &&i32| **version < newest && !applied.contains(version);
    if let Some(&missing) = known.iter().find(lacks) {
        return Err(SchemaError::Skipped { missing, newest }.into());
    }
    if !known.contains(&newest) {
        tracing::warn!(
            schema.version = newest,
            "the schema is newer than this release, which is still compatible with it"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Release, SchemaError};

    fn release(text: &str) -> Result<Release, SchemaError> {
        text.parse()
    }

    #[test]
    fn releases_are_compared_by_their_numbers() {
        let ordered = ["0.1.0", "0.1.1", "0.2.0", "0.10.0", "1.0.0", "1.0.10"].map(release);
        assert!(
            ordered.windows(2).all(|pair| pair[0].as_ref().unwrap() < pair[1].as_ref().unwrap())
        );
        assert_eq!(release("1.2.0-rc.1"), release("1.2.0"));
        assert_eq!(release("1.2.0+build").unwrap().to_string(), "1.2.0");
        assert!(release(runtime::program_version()).is_ok());
    }

    #[test]
    fn invalid_releases_are_rejected() {
        for text in
            ["", "1", "1.2", "1.2.3.4", "v1.2.3", "1.2.x", "1..3", "-1.2.3", "99999999999.0.0"]
        {
            assert_eq!(release(text), Err(SchemaError::NotARelease(text.to_owned())), "{text}");
        }
    }
}
