//! Whether this release can work on the schema that the database has.
//!
//! A later release may have migrated the database before this one was rolled back to. Whether that was
//! compatible is what that release wrote into `schema_compat`; see `migrations/README.md`.

use std::{fmt, str::FromStr};

use refinery::Migration;
use thiserror::Error;
use tokio_postgres::GenericClient;

use super::DbError;

/// Why this release cannot work on the schema.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SchemaError {
    /// A later release has changed what this one relies on.
    #[error(
        "the schema (migration {version}) needs release {min_release} or later; this is release \
         {release}"
    )]
    TooNew {
        /// The newest incompatible migration.
        version: i32,
        /// The first release that can work with it.
        min_release: Release,
        /// This one.
        release: Release,
    },
    /// `schema_compat` holds what is not a release.
    #[error("\"{0}\" is not a release: it must be major.minor.patch")]
    NotARelease(String),
    /// Another branch of development has migrated the database.
    #[error("migration {missing} is missing in the database, which is at migration {newest}")]
    Skipped {
        /// The migration of ours.
        missing: i32,
        /// The newest one that was applied.
        newest: i32,
    },
}

/// A release, without what marks its candidates: 1.2.0-rc.1 migrates as 1.2.0 does.
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

/// Looks at the schema as `release`, which has the migrations `ours`, before anything is changed.
///
/// # Errors
/// [`DbError::Schema`] when the release must not work on it.
pub async fn check(
    db: &impl GenericClient,
    release: &str,
    ours: &[Migration],
) -> Result<(), DbError> {
    let found = db
        .query_one(
            "SELECT to_regclass('refinery_schema_history') IS NOT NULL AS migrated,
                    to_regclass('schema_compat') IS NOT NULL AS judged",
            &[],
        )
        .await?;
    if found.try_get("judged")? {
        judge(db, release.parse()?).await?;
    }
    if found.try_get("migrated")? {
        compare(db, ours).await?;
    }
    Ok(())
}

/// Refuses a schema that needs a later release than this one.
async fn judge(db: &impl GenericClient, release: Release) -> Result<(), DbError> {
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

/// Refuses a database that lacks a migration of ours below its newest one: it would be left out silently.
/// Migrations that this release does not know are another's, and were judged above.
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
            "a later release has migrated the schema; this release is compatible with it"
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
    fn what_is_not_a_release_is_refused() {
        for text in
            ["", "1", "1.2", "1.2.3.4", "v1.2.3", "1.2.x", "1..3", "-1.2.3", "99999999999.0.0"]
        {
            assert_eq!(release(text), Err(SchemaError::NotARelease(text.to_owned())), "{text}");
        }
    }
}
