//! A whole service for one test: `streaming-service up` on a private folder and free ports.
//!
//! **Invariant:** when a stack ends, all processes that it started have ended; the harness checks
//! this itself, in every test.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::{
    client::Client,
    eventually,
    minio::Minio,
    process::{self, Process},
    program,
    rpc::Rpc,
};

/// From the start of `up` until the service is healthy.
const READY_DEADLINE: Duration = Duration::from_secs(60);
/// From SIGTERM until `up` ends.
const STOP_DEADLINE: Duration = Duration::from_secs(40);
/// From the end of `up`, for any reason, until all processes that it started have ended.
pub(crate) const CHILD_EXIT_DEADLINE: Duration = Duration::from_secs(5);
/// Lines of each log to print when a test fails.
const LOG_TAIL_LINES: usize = 25;

/// A running (or stopped) service and its data.
pub(crate) struct Stack {
    dir: TempDir,
    /// Of the data folder.
    name: OsString,
    env: BTreeMap<String, String>,
    up: Option<Child>,
    /// How often `up` was started; numbers its logs.
    starts: u32,
    /// `host:port` of the data plane.
    pub(crate) http: String,
    /// `host:port` of control.
    pub(crate) grpc: String,
    /// The admin's token.
    pub(crate) token: String,
}

impl Stack {
    /// Starts a service with defaults.
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts a service with these variables set.
    pub(crate) async fn start_with(env: &[(&str, &str)]) -> Self {
        let mut stack = Self::new(env);
        stack.up().await;
        stack
    }

    /// Starts a service that stores its objects in all buckets of `minio`.
    pub(crate) async fn start_on(minio: &Minio, env: &[(&str, &str)]) -> Self {
        let mut stack = Self::new(env);
        stack.set_stores(minio);
        stack.up().await;
        stack
    }

    /// Configures the next start to store objects in all buckets of `minio`.
    pub(crate) fn set_stores(&mut self, minio: &Minio) {
        self.set("STREAMING_STORES", &minio.stores());
        for (key, value) in minio.vars() {
            self.set(key, &value);
        }
    }

    /// Prepares a service without starting it.
    pub(crate) fn new(env: &[(&str, &str)]) -> Self {
        Self::named("data", env)
    }

    /// Prepares a service whose data folder has this name, without starting it.
    pub(crate) fn named(name: impl AsRef<OsStr>, env: &[(&str, &str)]) -> Self {
        // Paths of unix sockets are limited to 107 bytes, so the folder is in the system's
        // temporary folder.
        let dir = tempfile::Builder::new().prefix("svc-").tempdir().expect("make data folder");
        let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        Self {
            dir,
            name: name.as_ref().to_owned(),
            env: env.iter().map(own).collect(),
            up: None,
            starts: 0,
            http: String::new(),
            grpc: String::new(),
            token: String::new(),
        }
    }

    /// The data folder.
    pub(crate) fn data(&self) -> PathBuf {
        self.dir.path().join(&self.name)
    }

    /// The parent of the data folder, which the service does not use.
    pub(crate) fn beside(&self) -> &Path {
        self.dir.path()
    }

    /// Sets a variable for the next start.
    pub(crate) fn set(&mut self, key: &str, value: &str) {
        self.env.insert(key.to_owned(), value.to_owned());
    }

    /// A command for one of the programs, with the stack's variables and without those of the
    /// environment.
    pub(crate) fn command(&self, name: &str) -> Command {
        let mut command = Command::new(program::ours(name));
        for (key, _) in std::env::vars_os() {
            let name = key.to_string_lossy();
            if name.starts_with("STREAMING_") || name.starts_with("AWS_") {
                command.env_remove(key);
            }
        }
        command
            .current_dir(self.dir.path())
            .env("STREAMING_DATA", self.data())
            .env("STREAMING_HTTP_ADDR", "127.0.0.1:0")
            .env("STREAMING_GRPC_ADDR", "127.0.0.1:0")
            .env("STREAMING_RATE_GENERAL", "off")
            .env("STREAMING_RATE_UPLOAD", "off")
            .env("STREAMING_RATE_STREAM", "off")
            .envs(&self.env)
            .stdin(Stdio::null());
        command
    }

    /// Runs `up` and waits until it is healthy.
    pub(crate) async fn up(&mut self) {
        self.launch();
        self.wait_ready().await;
    }

    /// Starts `up` without waiting for it.
    pub(crate) fn launch(&mut self) {
        assert!(self.up.is_none(), "the stack is already running");
        self.starts += 1;
        let file = |kind: &str| {
            let path = self.dir.path().join(format!("up-{}.{kind}", self.starts));
            File::create(path).expect("create log")
        };
        let (out, err) = (file("out"), file("err"));
        let child = self.command("streaming-service").arg("up").stdout(out).stderr(err).spawn();
        self.up = Some(child.expect("start streaming-service up"));
    }

    /// Waits until `/health` returns 200.
    pub(crate) async fn wait_ready(&mut self) {
        self.wait_addresses().await;
        let start = Instant::now();
        while !self.healthy().await {
            self.check_start(start).await;
            self.read_addresses();
        }
    }

    /// Waits until addresses and token are known; control may not have a worker yet.
    pub(crate) async fn wait_addresses(&mut self) {
        let start = Instant::now();
        while !self.read_addresses() {
            self.check_start(start).await;
        }
    }

    async fn check_start(&mut self, since: Instant) {
        if let Some(status) = self.up.as_mut().and_then(|up| up.try_wait().expect("wait for up")) {
            panic!("up ended early with {status}\n{}", self.logs());
        }
        assert!(since.elapsed() < READY_DEADLINE, "up is not ready\n{}", self.logs());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    fn read_addresses(&mut self) -> bool {
        let read = |name: &str| fs::read_to_string(self.data().join(name)).unwrap_or_default();
        let (http, grpc, token) =
            (read("run/http.addr"), read("run/grpc.addr"), read("admin.token"));
        self.http = http.trim().to_owned();
        self.grpc = grpc.trim().to_owned();
        self.token = token.trim().to_owned();
        !self.http.is_empty() && !self.grpc.is_empty() && !self.token.is_empty()
    }

    async fn healthy(&self) -> bool {
        let reply = self.anonymous().try_get("/health").await;
        reply.is_ok_and(|reply| reply.status == 200)
    }

    /// An admin's HTTP client.
    pub(crate) fn client(&self) -> Client {
        Client::new(&self.http, Some(&self.token))
    }

    /// A client without a token.
    pub(crate) fn anonymous(&self) -> Client {
        Client::new(&self.http, None)
    }

    /// An admin's gRPC clients.
    pub(crate) fn rpc(&self) -> Rpc {
        Rpc::new(&self.grpc, &self.token)
    }

    /// The process id of `up`.
    pub(crate) fn up_pid(&self) -> i32 {
        self.up.as_ref().expect("the stack runs").id() as i32
    }

    /// The processes below `up` that run `program`, for example "streaming-worker".
    pub(crate) fn running(&self, program: &str) -> Vec<Process> {
        let mut found = process::descendants(self.up_pid());
        found.retain(|process| process.program == program);
        found
    }

    /// Sends a signal to each process below `up` that runs `program`; panics if no such process
    /// runs.
    pub(crate) fn signal(&self, program: &str, signal: Signal) {
        let found = self.running(program);
        assert!(!found.is_empty(), "no {program} runs below up");
        for process in found {
            process::send(process.pid, signal);
        }
    }

    /// SIGKILLs `program` and waits until `up` has started another. Does not kill its children of
    /// the same name (Postgres has some); they end with their parent.
    pub(crate) async fn replace(&self, program: &str) {
        let before = self.roots(program);
        before.iter().for_each(|pid| process::send(*pid, Signal::SIGKILL));
        eventually("up restarts the killed program", Duration::from_secs(20), async || {
            self.roots(program).iter().any(|pid| !before.contains(pid)).then_some(())
        })
        .await;
    }

    /// The processes of this name that were not started by another one of the same name.
    fn roots(&self, program: &str) -> Vec<i32> {
        let all = self.running(program);
        let is_root = |p: &&process::Process| !all.iter().any(|other| other.pid == p.parent);
        all.iter().filter(is_root).map(|p| p.pid).collect()
    }

    /// SIGKILLs `up` itself; its child processes must end immediately.
    pub(crate) fn kill_up(&mut self) {
        let mut up = self.up.take().expect("the stack runs");
        up.kill().expect("kill up");
        up.wait().expect("reap up");
        self.assert_nothing_left("SIGKILL of up");
    }

    /// SIGTERMs `up`; checks that it ends within the deadline and leaves no processes.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        let mut up = self.up.take().expect("the stack runs");
        process::send(up.id() as i32, Signal::SIGCONT);
        process::send(up.id() as i32, Signal::SIGTERM);
        let start = Instant::now();
        let status = loop {
            if let Some(status) = up.try_wait().expect("wait for up") {
                break status;
            }
            if start.elapsed() > STOP_DEADLINE {
                up.kill().expect("kill up");
                up.wait().expect("reap up");
                panic!("up did not end within {STOP_DEADLINE:?} of SIGTERM\n{}", self.logs());
            }
            std::thread::sleep(Duration::from_millis(50));
        };
        self.assert_nothing_left("SIGTERM of up");
        status
    }

    fn assert_nothing_left(&self, after: &str) {
        let mark = self.dir.path().to_string_lossy().into_owned();
        let own = std::process::id() as i32;
        let mut left = process::marked(&mark);
        left.retain(|process| process.pid != own);
        let pids: Vec<i32> = left.iter().map(|process| process.pid).collect();
        let remaining = process::wait_gone(&pids, CHILD_EXIT_DEADLINE);
        if remaining.is_empty() {
            return;
        }
        for pid in &remaining {
            process::send(*pid, Signal::SIGKILL);
        }
        left.retain(|process| remaining.contains(&process.pid));
        panic!("left running after {after}: {left:#?}");
    }

    /// The last lines of all logs.
    pub(crate) fn logs(&self) -> String {
        let mut text = String::new();
        for dir in [self.dir.path().to_owned(), self.data().join("logs")] {
            let mut paths: Vec<PathBuf> =
                fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path()).collect();
            paths.sort();
            let texts = ["log", "out", "err"];
            paths.retain(|path| {
                path.extension().is_some_and(|kind| texts.iter().any(|t| kind == *t))
            });
            for path in paths {
                let all = fs::read(&path).unwrap_or_default();
                let all = String::from_utf8_lossy(&all);
                let skipped = all.lines().count().saturating_sub(LOG_TAIL_LINES);
                text += &format!("--- {}\n", path.display());
                all.lines().skip(skipped).for_each(|line| text += &format!("{line}\n"));
            }
        }
        text
    }

    /// The keys of all objects in the embedded store.
    pub(crate) fn objects(&self) -> Vec<String> {
        let root = self.store();
        let mut keys = Vec::new();
        let mut dirs = vec![root.clone()];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    dirs.push(path);
                } else {
                    let key = path.strip_prefix(&root).expect("below the store");
                    keys.push(key.to_string_lossy().into_owned());
                }
            }
        }
        keys.sort();
        keys
    }

    /// The folder of the embedded store.
    pub(crate) fn store(&self) -> PathBuf {
        self.data().join("store")
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
            if std::env::var_os("STREAMING_TEST_KEEP").is_some() {
                let mut dir = TempDir::new().expect("swap folder");
                std::mem::swap(&mut dir, &mut self.dir);
                eprintln!("kept {}", dir.keep().display());
            }
            let mark = self.dir.path().to_string_lossy().into_owned();
            if let Some(mut up) = self.up.take() {
                let _ = up.kill();
                let _ = up.wait();
            }
            for process in
                process::marked(&mark).iter().filter(|p| p.pid != std::process::id() as i32)
            {
                process::send(process.pid, Signal::SIGKILL);
            }
        } else if self.up.is_some() {
            let status = self.stop();
            assert!(status.success(), "up ended with {status} after SIGTERM");
        }
    }
}
