//! The schema is applied completely and once, regardless of the number of instances that apply it.
//! An earlier release works on the schema of a later one, or reports why it cannot.

use std::{
    collections::BTreeSet,
    process::{Command, Output},
};

use control::{
    db::{
        Db, DbError, migrate,
        schema::{self, Release, SchemaError},
    },
    domain::TaskKind,
};
use refinery::{Migration, Runner};

use crate::{
    earlier_release,
    plane::{Plane, Shared},
    postgres,
    rows::{self, number},
};

/// Later than any of this release.
const LATER: i32 = 9001;

#[tokio::test]
async fn migrations_apply_twice() {
    let db = Db::new(&postgres::empty().await, 2).unwrap();
    migrate::run(&db).await.unwrap();
    migrate::run(&db).await.unwrap();
    let applied = number(&db, "SELECT count(*) FROM refinery_schema_history").await;
    assert!(applied >= 1);
}

/// `tasks.kind` accepts exactly the kinds that the code has, so a new kind needs a migration, which
/// also decides whether earlier releases can work with it.
#[tokio::test]
async fn the_database_accepts_exactly_the_task_kinds_of_the_code() {
    let db = rows::db().await;
    let sql = "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = $1";
    let check = db.get().await.unwrap().query_one(sql, &[&"tasks_kind_check"]).await.unwrap();
    let quoted = check.get::<_, &str>(0).split('\'').skip(1).step_by(2);
    let accepted: BTreeSet<&str> = quoted.collect();
    assert_eq!(accepted, TaskKind::ALL.map(TaskKind::text).into());
}

#[tokio::test]
async fn instances_that_start_together_migrate_one_after_another() {
    let url = postgres::empty().await;
    let starts = (0..4).map(|_| {
        let url = url.clone();
        async move { migrate::run(&Db::new(&url, 2).unwrap()).await }
    });
    for start in futures::future::join_all(starts).await {
        start.unwrap();
    }
    let db = Db::new(&url, 2).unwrap();
    assert_eq!(number(&db, "SELECT count(*) FROM videos").await, 0);
}

/// Migrates one step further, as a later release would.
async fn later(url: &str, sql: &str) -> Db {
    let db = Db::new(url, 2).unwrap();
    let step = Migration::unapplied(&format!("V{LATER}__go_further"), sql).unwrap();
    let mut client = db.dedicated().await.unwrap();
    let runner = Runner::new(&[step]).set_abort_missing(false);
    let report = runner.run_async(&mut client).await.unwrap();
    assert_eq!(report.applied_migrations().len(), 1);
    db
}

/// Changes with which this release must keep working.
const ADDITIVE: &str = "
    ALTER TABLE videos ADD COLUMN tone TEXT NOT NULL DEFAULT 'calm';
    ALTER TABLE tasks ADD COLUMN shade INT;
    CREATE TABLE tones (tone TEXT PRIMARY KEY);
    CREATE INDEX videos_tone ON videos (tone);";

/// Changes with which it cannot work.
const INCOMPATIBLE: &str = "
    ALTER TABLE videos RENAME COLUMN filename TO name;
    INSERT INTO schema_compat (version, min_release) VALUES (9001, '999.1.2');";

/// This release's own program on a database.
fn control(shared: &Shared, command: &str) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_streaming-control"));
    program.arg(command).args(["--database-url", &shared.database]).env("LOG_LEVEL", "info");
    if command == "serve" {
        let store = format!("file://{}", shared.store().display());
        program.args(["--grpc-addr", "127.0.0.1:0", "--stores", &store]);
        program.arg("--root-key-file").arg(shared.key_file());
    }
    program.output().unwrap()
}

#[tokio::test]
async fn a_release_works_on_a_schema_that_a_later_one_has_extended() {
    let url = postgres::database().await;
    later(&url, ADDITIVE).await;
    let shared = Shared::new(url);
    let migrated = control(&shared, "migrate");
    assert!(migrated.status.success(), "{migrated:?}");
    let plane = Plane::of(shared).await;
    earlier_release::from_upload_to_index(&plane).await;
    plane.stop().await;
}

#[tokio::test]
async fn a_release_rejects_an_incompatible_schema_with_a_one_line_error() {
    let url = postgres::database().await;
    let db = later(&url, INCOMPATIBLE).await;
    let shared = Shared::new(url);
    for command in ["migrate", "serve"] {
        let output = control(&shared, command);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(output.stdout.is_empty() && stderr.contains("999.1.2"), "{stderr}");
        assert!(stderr.contains(runtime::program_version()), "{stderr}");
    }
    // The later release went on to what this one can work with; only the newest row counts.
    let c = db.get().await.unwrap();
    c.execute("INSERT INTO schema_compat VALUES ($1, '0.0.1')", &[&(LATER + 1)]).await.unwrap();
    migrate::run(&db).await.unwrap();
    // From that release on the row is valid.
    c.execute("DELETE FROM schema_compat WHERE version > $1", &[&LATER]).await.unwrap();
    for (release, fits) in [("999.1.1", false), ("999.1.2-rc.1", true), ("1000.0.0", true)] {
        assert_eq!(schema::check(&*c, release, &[]).await.is_ok(), fits, "{release}");
    }
}

/// A row that this release's own migrations leave must not shut this release out.
#[tokio::test]
async fn the_newest_compatibility_row_names_a_release_that_exists() {
    let db = rows::db().await;
    let c = db.get().await.unwrap();
    let found = c.query("SELECT version, min_release FROM schema_compat", &[]).await.unwrap();
    assert!(!found.is_empty());
    let own: Release = runtime::program_version().parse().unwrap();
    for row in found {
        let release: Release = row.get::<_, &str>("min_release").parse().unwrap();
        assert!(release <= own, "release {release} is later than Cargo.toml's version");
        let applied = "SELECT count(*) AS n FROM refinery_schema_history WHERE version = $1";
        let applied = c.query_one(applied, &[&row.get::<_, i32>("version")]).await.unwrap();
        assert_eq!(applied.get::<_, i64>("n"), 1);
    }
}

#[tokio::test]
async fn changed_or_skipped_migrations_are_rejected() {
    let (differs, lacks) = (rows::db().await, rows::db().await);
    let sql = "UPDATE refinery_schema_history SET checksum = '1' WHERE version = 1";
    differs.get().await.unwrap().execute(sql, &[]).await.unwrap();
    let error = migrate::run(&differs).await.unwrap_err();
    assert!(matches!(error, DbError::Migration(_)), "{error:?}");
    // Like the history of two branches that each added a migration, of which the other was released
    // first.
    let sql = "DELETE FROM refinery_schema_history WHERE version = 10";
    lacks.get().await.unwrap().execute(sql, &[]).await.unwrap();
    let error = migrate::run(&lacks).await.unwrap_err();
    assert!(
        matches!(error, DbError::Schema(SchemaError::Skipped { missing: 10, .. })),
        "{error:?}"
    );
}
