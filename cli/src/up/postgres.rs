//! The private Postgres: one cluster below the data folder, reachable only by a Unix socket.
//!
//! Postgres does not run as root. If `up` runs as root, a user namespace therefore maps root to the
//! packaged user: Postgres sees itself as that user, while its files still belong to root. If user
//! namespaces are disabled, Postgres really runs as that user, and gets the capability to pass
//! folder permissions if the data folder is where only root has access.

mod paths;

use std::{
    fs, io,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, User, geteuid},
};
use tokio::{
    io::AsyncWriteExt,
    time::{Instant, sleep},
};

use self::paths::Paths;
use super::{
    child::{RunAs, Spec, command},
    folder::{self, Folder},
    log,
    report::print_status,
};

const USER: &str = "streaming";
const DATABASE: &str = "streaming";
const PORT: u16 = 5432;
/// How long the processes of a killed predecessor get to exit by themselves.
const LEFTOVER_PATIENCE: Duration = Duration::from_secs(6);
const POLL_INTERVAL: Duration = Duration::from_millis(25);
const INIT_PATIENCE: Duration = Duration::from_secs(120);
/// First a fast shutdown: it aborts transactions and writes a checkpoint. Then an immediate one:
/// the next start recovers from the write-ahead log.
const STOP: &[(Signal, Duration)] =
    &[(Signal::SIGINT, Duration::from_secs(30)), (Signal::SIGQUIT, Duration::from_secs(6))];

/// The private Postgres.
#[derive(Clone)]
pub(crate) struct Postgres {
    programs: PathBuf,
    cluster: PathBuf,
    /// Paths of the cluster and its sockets, as Postgres and its clients receive them.
    paths: Paths,
    log: PathBuf,
    run_as: RunAs,
}

impl Postgres {
    /// Chooses the user and the socket's folder, and creates the cluster if it does not exist.
    pub(crate) async fn prepare(programs: &Path, folder: &Folder) -> Result<Self> {
        let cluster = folder.cluster();
        let run_as = run_as(&cluster).await?;
        if let RunAs::Become(_) = run_as {
            // Postgres has to pass through these folders to reach its own.
            for path in [&folder.root, &folder.run()] {
                fs::set_permissions(path, fs::Permissions::from_mode(0o711))?;
            }
        }
        let socket = format!(".s.PGSQL.{PORT}");
        let paths =
            Paths::prepare(folder, (&cluster, &draft_of(&cluster)), &socket, owner(run_as))?;
        let log = folder.log("postgres");
        let postgres = Self { programs: programs.to_owned(), cluster, paths, log, run_as };
        if !postgres.cluster.join("PG_VERSION").exists() {
            print_status("creating the database cluster (first start only)");
            postgres.init().await.with_context(|| match run_as {
                RunAs::Become(uid) | RunAs::Reach(uid) => format!(
                    "create the database cluster (user namespaces are disabled, so user {uid} needs access to {})",
                    folder.root.display()
                ),
                RunAs::Same | RunAs::Appear(_) => "create the database cluster".to_owned(),
            })?;
        }
        Ok(postgres)
    }

    /// The connection string for the planes, in key/value form.
    pub(crate) fn url(&self) -> String {
        let host = self.paths.sockets.display();
        format!("host={host} port={PORT} user={USER} dbname={DATABASE}")
    }

    /// Removes the files outside of the data folder; to be called once they are unused.
    pub(crate) fn remove_links(folder: &Folder) {
        Paths::remove_links(&folder.root);
    }

    /// The child to supervise.
    pub(crate) fn spec(&self) -> Spec {
        let this = self.clone();
        let mut args = vec!["-D".into(), self.paths.cluster.clone().into_os_string()];
        args.extend(["-k".into(), self.paths.sockets.clone().into_os_string()]);
        for setting in
            [&format!("port={PORT}"), "listen_addresses=", "unix_socket_permissions=0700"]
        {
            args.extend(["-c".into(), setting.into()]);
        }
        Spec {
            name: "postgres".to_owned(),
            program: self.programs.join("postgres"),
            args,
            input: None,
            clear_env: true,
            env: Vec::new(),
            unset: &[],
            run_as: self.run_as,
            // Immediate shutdown: quick, and its own children end with it.
            death_signal: Signal::SIGQUIT,
            stop: STOP,
            immediate_stop: Signal::SIGQUIT,
            log: self.log.clone(),
            pinned: None,
            prepare: Some(Box::new(move || {
                let this = this.clone();
                Box::pin(async move { this.clear_leftovers().await })
            })),
        }
    }

    /// Returns once Postgres accepts connections.
    pub(crate) async fn ready(&self) {
        while !self.is_ready() {
            sleep(POLL_INTERVAL).await;
        }
    }

    /// The postmaster writes its state into the eighth line of its pid file.
    fn is_ready(&self) -> bool {
        let text = fs::read_to_string(self.cluster.join("postmaster.pid"));
        text.is_ok_and(|text| text.lines().nth(7).is_some_and(|line| line.trim() == "ready"))
    }

    /// After a kill, processes may still be exiting, and the pid in the pid file may by now belong
    /// to an unrelated process, which Postgres would take for a running postmaster. `up` holds the
    /// folder's lock, so every Postgres process found here is a leftover.
    async fn clear_leftovers(&self) {
        let deadline = Instant::now() + LEFTOVER_PATIENCE;
        loop {
            let left = processes_in(&self.cluster);
            if left.is_empty() {
                break;
            }
            if Instant::now() >= deadline {
                for pid in left {
                    let _ = kill(pid, Signal::SIGKILL);
                }
            }
            sleep(POLL_INTERVAL).await;
        }
        let socket = self.paths.sockets.join(format!(".s.PGSQL.{PORT}"));
        let lock = self.paths.sockets.join(format!(".s.PGSQL.{PORT}.lock"));
        for path in [self.cluster.join("postmaster.pid"), socket, lock] {
            // Usually the file does not exist; one that cannot be removed makes the start fail with
            // a reason.
            let _ = fs::remove_file(path);
        }
    }

    /// Creates the cluster in a draft folder and renames it, so that a first start that is killed
    /// leaves no cluster that looks complete.
    async fn init(&self) -> Result<()> {
        let draft = draft_of(&self.cluster);
        if draft.exists() {
            fs::remove_dir_all(&draft).context("remove the unfinished cluster")?;
        }
        folder::make_private(&draft)?;
        if let Some(uid) = owner(self.run_as) {
            chown(&draft, Some(uid), None)?;
        }
        let text = |text: &str| text.to_owned();
        let place = self.paths.draft.display().to_string();
        let args = [
            text("-D"),
            place.clone(),
            format!("--username={USER}"),
            text("--auth=trust"),
            text("--encoding=UTF8"),
            text("--locale=C.UTF-8"),
            text("--data-checksums"),
        ];
        self.complete("initdb", &args, "").await?;
        let args = [text("--single"), text("-D"), place, text("template1")];
        self.complete("postgres", &args, &format!("CREATE DATABASE {DATABASE};\n")).await?;
        fs::rename(&draft, &self.cluster).context("put the cluster in place")
    }

    /// Runs one of Postgres's programs until it exits.
    async fn complete(&self, name: &str, args: &[String], input: &str) -> Result<()> {
        let out = log::open(&self.log)?;
        let mut command = command(&self.programs.join(name), self.run_as, Signal::SIGKILL);
        command.args(args).stdin(Stdio::piped()).stdout(out.try_clone()?).stderr(out);
        command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        let mut child = command.spawn().with_context(|| format!("start {name}"))?;
        if let Some(mut stdin) = child.stdin.take() {
            // A child that fails early closes its standard input; its exit code is the better
            // error.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
        let status = tokio::time::timeout(INIT_PATIENCE, child.wait()).await;
        let status =
            status.with_context(|| format!("{name} did not finish within {INIT_PATIENCE:?}"))?;
        if !status?.success() {
            let quote = log::last_line(&self.log).unwrap_or_default();
            bail!("{name} failed; the last line in {}: {quote}", self.log.display());
        }
        Ok(())
    }
}

/// The draft folder in which a cluster is created.
fn draft_of(cluster: &Path) -> PathBuf {
    cluster.with_extension("new")
}

/// The user that must own the cluster's files; `None` for the user that runs `up`.
fn owner(run_as: RunAs) -> Option<u32> {
    match run_as {
        RunAs::Become(uid) | RunAs::Reach(uid) => Some(uid),
        RunAs::Same | RunAs::Appear(_) => None,
    }
}

/// An existing cluster is run as before, which is known from the owner of its files.
async fn run_as(cluster: &Path) -> Result<RunAs> {
    if !geteuid().is_root() {
        return Ok(RunAs::Same);
    }
    let owner = match fs::metadata(cluster) {
        Ok(folder) => Some(folder.uid()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error).context("inspect the database cluster"),
    };
    if let Some(uid) = owner
        && uid != 0
    {
        return switch_user(uid, cluster);
    }
    // Postgres looks up its own user name, so the user has to exist.
    let packaged = User::from_name("postgres")?;
    let user = packaged.or(User::from_name("nobody")?);
    let uid = user.context("no user named postgres exists to run the database as")?.uid.as_raw();
    if namespaces_work(uid).await {
        return Ok(RunAs::Appear(uid));
    }
    if owner.is_some() {
        bail!("{} belongs to root and user namespaces are disabled here", cluster.display());
    }
    switch_user(uid, cluster)
}

/// Runs as that user; with the capability if a folder above the data folder does not let the user
/// pass.
fn switch_user(uid: u32, cluster: &Path) -> Result<RunAs> {
    for above in cluster.ancestors().skip(2) {
        let mode = fs::metadata(above).with_context(|| format!("inspect {}", above.display()))?;
        if mode.permissions().mode() & 0o001 == 0 {
            return Ok(RunAs::Reach(uid));
        }
    }
    Ok(RunAs::Become(uid))
}

async fn namespaces_work(uid: u32) -> bool {
    let mut command = command(Path::new("true"), RunAs::Appear(uid), Signal::SIGKILL);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.status().await.is_ok_and(|status| status.success())
}

/// The Postgres processes of `cluster`: the working directory of each, first of the postmaster, is
/// that folder.
fn processes_in(cluster: &Path) -> Vec<Pid> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse().ok());
        let Some(pid) = pid else { continue };
        let here = fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd == cluster);
        let program = fs::read_link(entry.path().join("exe")).unwrap_or_default();
        if here && program.file_name().is_some_and(|name| name == "postgres") {
            found.push(Pid::from_raw(pid));
        }
    }
    found
}
