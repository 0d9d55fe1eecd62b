//! A private Postgres server for the tests of this process, started once; each test has its own
//! database. nextest runs each test in a process of its own, so the server's files are copied from
//! a cluster that was created and migrated once.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use control::db::{Db, migrate};
use tokio::sync::OnceCell;

const PROGRAMS: [&str; 4] = [
    "/usr/lib/postgresql/15/bin",
    "/usr/lib/postgresql/16/bin",
    "/usr/lib/postgresql/17/bin",
    "/usr/bin",
];
const READY_MAX: Duration = Duration::from_secs(30);
const TEMPLATE: &str = "migrated";

/// Runs its arguments until this process closes its end of the pipe, which also happens if the
/// process is killed; then cleans up.
const GUARD: &str = r#"
    remove=$1; shift
    "$@" </dev/null & pid=$!
    cat >/dev/null
    kill -QUIT $pid 2>/dev/null; wait $pid
    test -z "$remove" || rm -rf "$remove"
"#;

/// A running server.
pub(crate) struct Server {
    folder: PathBuf,
    guard: Option<Child>,
    /// The folder that the guard removes when this process ends; a static is never dropped.
    remove: PathBuf,
}

impl Server {
    /// Creates a cluster and starts the server.
    pub(crate) fn new() -> Self {
        let mut server = Self::initialized();
        server.start();
        server
    }

    /// Starts on a copy of the migrated cluster; the guard removes it.
    fn shared() -> Self {
        let folder = tempfile::Builder::new().prefix("pg-").tempdir().unwrap().keep();
        let data = folder.join("data");
        run(Command::new("cp").args(["-r", "--"]).arg(migrated_cluster().join("data")).arg(&data));
        fs::set_permissions(&data, PermissionsExt::from_mode(0o700)).unwrap();
        let mut server = Self { remove: folder.clone(), folder, guard: None };
        server.start();
        server
    }

    fn initialized() -> Self {
        let folder = tempfile::Builder::new().prefix("pg-").tempdir().unwrap().keep();
        let mut initdb = as_user(&folder, "initdb");
        initdb.args([
            "-A",
            "trust",
            "-U",
            "streaming",
            "--no-sync",
            "-E",
            "UTF8",
            "--wal-segsize=1",
        ]);
        run(initdb.arg("--locale=C.UTF-8").arg("-D").arg(folder.join("data")));
        Self { folder, guard: None, remove: PathBuf::new() }
    }

    /// Starts the server again after [`Self::stop`].
    pub(crate) fn start(&mut self) {
        let inner = as_user(&self.folder, "postgres");
        let mut command = Command::new("sh");
        command.args(["-c", GUARD, "guard"]).arg(&self.remove);
        command.arg(inner.get_program()).args(inner.get_args());
        command.arg("-D").arg(self.folder.join("data")).arg("-k").arg(&self.folder);
        for option in [
            "listen_addresses=",
            "fsync=off",
            "synchronous_commit=off",
            "full_page_writes=off",
            "max_connections=200",
        ] {
            command.args(["-c", option]);
        }
        let log =
            fs::File::options().create(true).append(true).open(self.folder.join("log")).unwrap();
        command.stdin(Stdio::piped()).stdout(log.try_clone().unwrap()).stderr(log);
        self.guard = Some(command.spawn().unwrap());
        let started = Instant::now();
        let mut ready = as_user(&self.folder, "pg_isready");
        ready.arg("-q").arg("-h").arg(&self.folder).args(["-U", "streaming", "-d", "postgres"]);
        while !ready.status().unwrap().success() {
            assert!(started.elapsed() < READY_MAX, "postgres does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Stops the server abruptly, like a crash.
    pub(crate) fn stop(&mut self) {
        if let Some(mut guard) = self.guard.take() {
            drop(guard.stdin.take());
            guard.wait().unwrap();
        }
    }

    /// The connection string of one of its databases.
    pub(crate) fn url(&self, database: &str) -> String {
        format!("host={} user=streaming dbname={database}", self.folder.display())
    }

    /// Creates a database from `template` and returns its connection string.
    pub(crate) async fn create(&self, database: &str, template: &str) -> String {
        let admin = Db::new(&self.url("postgres"), 2).unwrap();
        let admin = admin.dedicated().await.unwrap();
        let sql = format!("CREATE DATABASE {database} TEMPLATE {template}");
        let started = Instant::now();
        // The template must have no sessions; the one that applied the migrations may still be
        // closing.
        while let Err(error) = admin.batch_execute(&sql).await {
            assert!(started.elapsed() < READY_MAX, "{error}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.url(database)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
        drop(fs::remove_dir_all(&self.folder));
    }
}

fn program(name: &str) -> PathBuf {
    let found = PROGRAMS.iter().map(|folder| Path::new(folder).join(name)).find(|p| p.exists());
    found.expect("postgres is missing: apt-get install postgresql")
}

/// Postgres does not run as root, so a user namespace maps root to another user.
fn as_user(folder: &Path, program: &str) -> Command {
    let program = self::program(program);
    if fs::metadata("/proc/self").map(|m| m.uid()).unwrap() != 0 {
        return Command::new(program);
    }
    let mapped = Command::new("unshare").args(["-U", "--map-user=1000", "true"]).status();
    if mapped.is_ok_and(|status| status.success()) {
        let mut command = Command::new("unshare");
        command.args(["-U", "--map-user=1000", "--map-group=1000"]).arg(program);
        return command;
    }
    run(Command::new("chown").args(["-R", "postgres"]).arg(folder));
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
    command
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A cluster whose database [`TEMPLATE`] has all migrations; created once per Postgres version and
/// set of migrations, below `target/tmp`.
fn migrated_cluster() -> PathBuf {
    let folder =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("postgres-{:016x}", version()));
    let lock = fs::File::create(folder.with_extension("lock")).unwrap();
    lock.lock().unwrap();
    if !folder.exists() {
        let mut server = Server::new();
        std::thread::scope(|scope| {
            let runtime = || tokio::runtime::Runtime::new().unwrap().block_on(migrate(&server));
            scope.spawn(runtime).join().unwrap();
        });
        let mut stop = as_user(&server.folder, "pg_ctl");
        run(stop.args(["stop", "-s", "-m", "fast", "-D"]).arg(server.folder.join("data")));
        server.stop();
        let new = folder.with_extension("new");
        drop(fs::remove_dir_all(&new));
        run(Command::new("cp").args(["-r", "--"]).arg(&server.folder).arg(&new));
        fs::rename(&new, &folder).unwrap();
    }
    folder
}

async fn migrate(server: &Server) {
    let url = server.create(TEMPLATE, "template0").await;
    migrate::run(&Db::new(&url, 2).unwrap()).await.unwrap();
}

/// Changes with the programs of Postgres and with the migrations.
fn version() -> u64 {
    let migrations = Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations");
    let mut files: Vec<PathBuf> =
        fs::read_dir(migrations).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut hasher = DefaultHasher::new();
    program("postgres").hash(&mut hasher);
    for file in files {
        fs::read(file).unwrap().hash(&mut hasher);
    }
    hasher.finish()
}

static SHARED: OnceCell<Server> = OnceCell::const_new();
static DATABASES: AtomicU32 = AtomicU32::new(0);

async fn shared() -> &'static Server {
    SHARED
        .get_or_init(|| async { tokio::task::spawn_blocking(Server::shared).await.unwrap() })
        .await
}

fn fresh_name() -> String {
    format!("test_{}", DATABASES.fetch_add(1, Ordering::Relaxed))
}

/// The URL of a new database with the schema, for one test.
pub(crate) async fn database() -> String {
    shared().await.create(&fresh_name(), TEMPLATE).await
}

/// The URL of a new empty database.
pub(crate) async fn empty() -> String {
    shared().await.create(&fresh_name(), "template0").await
}
