//! Tests `up` as a supervisor, with real Postgres and Redis and with stand-ins for the planes:
//! shell scripts that write an address and wait. The end-to-end tests cover the real planes.

#![cfg(test)] // helpers fail by panicking, as tests do

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, User, geteuid},
};
use tempfile::TempDir;

const READY_PATIENCE: Duration = Duration::from_secs(60);
/// How long children may outlive `up` after a SIGKILL.
const CHILD_EXIT_DEADLINE: Duration = Duration::from_secs(5);

const PROGRAM: &str = env!("CARGO_BIN_EXE_streaming-service");

/// A folder that contains the program, stand-in planes, and a data folder.
struct Stage {
    folder: TempDir,
}

impl Stage {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let stage = Self { folder };
        fs::create_dir(stage.path("bin")).unwrap();
        fs::copy(PROGRAM, stage.path("bin/streaming-service")).unwrap();
        let health = serve_health();
        // For control any unused port will do: these tests never connect to it.
        stage.script("streaming-control", "echo 127.0.0.1:7 > $STREAMING_ADDR_FILE");
        stage.script("streaming-dataplane", &format!("echo {health} > $STREAMING_ADDR_FILE"));
        stage.script("streaming-worker", "echo started $STREAMING_WORKER_NAME >&2");
        stage
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn script(&self, name: &str, line: &str) {
        let path = self.path("bin").join(name);
        fs::write(&path, format!("#!/bin/sh\n{line}\nexec sleep 600\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.path("bin/streaming-service"));
        command.arg("up").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("STREAMING_")) {
            command.env_remove(name);
        }
        command
            .env("STREAMING_DATA", self.path("data"))
            .env("STREAMING_HTTP_ADDR", "127.0.0.1:0")
            .env("STREAMING_GRPC_ADDR", "127.0.0.1:0");
        command
    }

    /// Starts `up` and waits until it reports that it is ready.
    fn up(&self) -> Up {
        let mut child = self.command().stderr(Stdio::inherit()).spawn().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let (sender, lines) = std::sync::mpsc::channel();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = stdout.read(&mut buffer) {
                let _ = sender.send(String::from_utf8_lossy(&buffer[..count]).into_owned());
            }
        });
        let mut up = Up { child, lines, text: String::new() };
        up.wait_for_text("streaming-service is ready");
        up
    }

    fn start_error(&self, change: impl FnOnce(&mut Command)) -> String {
        let mut command = self.command();
        change(&mut command);
        let Output { status, stderr, stdout } = command.output().unwrap();
        assert!(!status.success());
        assert!(stdout.is_empty(), "{}", String::from_utf8_lossy(&stdout));
        let text = String::from_utf8(stderr).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        text
    }
}

/// A running `up`.
struct Up {
    child: Child,
    lines: std::sync::mpsc::Receiver<String>,
    text: String,
}

impl Up {
    fn wait_for_text(&mut self, wanted: &str) {
        let deadline = Instant::now() + READY_PATIENCE;
        while !self.text.contains(wanted) {
            let left = deadline.saturating_duration_since(Instant::now());
            let piece = self.lines.recv_timeout(left);
            self.text += &piece.unwrap_or_else(|_| panic!("no {wanted:?} in:\n{}", self.text));
        }
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    fn descendants(&self) -> Vec<Process> {
        let all = processes();
        let mut found = vec![self.child.id()];
        let mut index = 0;
        while index < found.len() {
            let parent = found[index];
            found.extend(all.iter().filter(|p| p.parent == parent).map(|p| p.pid));
            index += 1;
        }
        all.into_iter().filter(|p| found[1..].contains(&p.pid)).collect()
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Process {
    pid: u32,
    parent: u32,
    name: String,
    /// Start time; together with the id it identifies a process uniquely.
    started: String,
}

/// All running processes; zombies do not count.
fn processes() -> Vec<Process> {
    let ids = fs::read_dir("/proc").unwrap().flatten();
    ids.filter_map(|entry| {
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        let (head, tail) = stat.rsplit_once(") ")?;
        let (pid, name) = head.split_once(" (")?;
        let fields = tail.split_whitespace().collect::<Vec<_>>();
        (fields[0] != "Z").then(|| Process {
            pid: pid.parse().unwrap(),
            parent: fields[1].parse().unwrap(),
            name: name.to_owned(),
            started: fields[19].to_owned(),
        })
    })
    .collect()
}

fn still_there(wanted: &[Process]) -> Vec<Process> {
    let now = processes();
    let same = |a: &Process, b: &Process| a.pid == b.pid && a.started == b.started;
    wanted.iter().filter(|process| now.iter().any(|p| same(p, process))).cloned().collect()
}

/// Polls until `look` returns a value.
fn eventually<T>(what: &str, patience: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(value) = look() {
            return value;
        }
        assert!(Instant::now() < deadline, "{what}");
        thread::park_timeout(Duration::from_millis(20));
    }
}

/// Answers every request with 200, as a healthy data plane does.
fn serve_health() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut socket in listener.incoming().flatten() {
            let _ = socket.read(&mut [0; 1024]);
            let _ = socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        }
    });
    addr
}

fn names(processes: &[Process]) -> Vec<&str> {
    processes.iter().map(|process| process.name.as_str()).collect()
}

#[test]
fn killed_up_leaves_no_process_and_the_next_start_recovers() {
    let stage = Stage::new();
    // Left behind by a first start that was killed while it created the cluster.
    fs::create_dir_all(stage.path("data/postgres.new")).unwrap();
    fs::write(stage.path("data/postgres.new/PG_VERSION"), "half").unwrap();
    let up = stage.up();
    let children = up.descendants();
    for name in ["postgres", "redis-server", "sleep"] {
        assert!(names(&children).contains(&name), "{name} in {children:?}");
    }
    up.signal(Signal::SIGKILL);
    drop(up);
    eventually("children outlive up", CHILD_EXIT_DEADLINE, || {
        still_there(&children).is_empty().then_some(())
    });
    // After a power failure the pid file is still there, and its number may belong to another
    // process.
    let pid_file = stage.path("data/postgres/postmaster.pid");
    let place = stage.path("data/postgres").display().to_string();
    fs::write(&pid_file, format!("1\n{place}\n1\n5432\n\n\n\nready\n")).unwrap();
    let mut up = stage.up();
    let children = up.descendants();
    up.signal(Signal::SIGTERM);
    up.wait_for_text("stopped");
    assert!(up.child.wait().unwrap().success());
    assert_eq!(still_there(&children), []);
    assert!(!stage.path("data/run/http.addr").exists());
    assert!(!pid_file.exists(), "Postgres was not stopped cleanly");
}

#[test]
fn dead_children_are_started_again_and_keep_their_port() {
    let stage = Stage::new();
    // The address requested at each start, one per line.
    let requested = stage.path("requested");
    let script = "echo $STREAMING_GRPC_ADDR >> REQUESTED; echo 127.0.0.1:7 > $STREAMING_ADDR_FILE";
    stage.script(
        "streaming-control",
        &script.replace("REQUESTED", &requested.display().to_string()),
    );
    let mut up = stage.up();
    let postmaster = fs::read_to_string(stage.path("data/postgres/postmaster.pid")).unwrap();
    let postmaster = postmaster.lines().next().unwrap().to_owned();
    for child in up.descendants() {
        if child.name == "sleep" || child.pid.to_string() == postmaster {
            kill(Pid::from_raw(child.pid.cast_signed()), Signal::SIGKILL).unwrap();
        }
    }
    up.wait_for_text("control ended (killed by SIGKILL)");
    up.wait_for_text("postgres ended (killed by SIGKILL)");
    eventually("control starts again", READY_PATIENCE, || {
        let text = fs::read_to_string(&requested).unwrap();
        (text == "127.0.0.1:0\n127.0.0.1:7\n").then_some(())
    });
    eventually("postgres starts again", READY_PATIENCE, || {
        let text = fs::read_to_string(stage.path("data/postgres/postmaster.pid")).ok()?;
        let fresh = text.lines().next() != Some(&postmaster);
        (fresh && text.lines().nth(7)?.trim() == "ready").then_some(())
    });
    let children = up.descendants();
    // The second signal makes `up` stop faster.
    up.signal(Signal::SIGINT);
    up.wait_for_text("stopping");
    up.signal(Signal::SIGINT);
    assert!(up.child.wait().unwrap().success());
    assert_eq!(still_there(&children), []);
}

#[test]
fn start_errors_are_one_line_that_names_the_cause() {
    let stage = Stage::new();
    let up = stage.up();
    let data = stage.path("data").canonicalize().unwrap();
    let text = stage.start_error(|_| {});
    assert!(text.contains(&data.display().to_string()), "{text}");
    drop(up);

    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = holder.local_addr().unwrap();
    for name in ["STREAMING_HTTP_ADDR", "STREAMING_GRPC_ADDR"] {
        let text = stage.start_error(|command| {
            command.env(name, addr.to_string());
        });
        assert!(text.contains(&addr.port().to_string()) && text.contains(name), "{text}");
    }
    let text = stage.start_error(|command| {
        command.env("PATH", stage.path("bin"));
    });
    assert!(text.contains("ffmpeg") && text.contains("redis-server"), "{text}");
    let gone = stage.path("bin/streaming-worker");
    fs::remove_file(&gone).unwrap();
    let text = stage.start_error(|_| {});
    assert!(text.contains("streaming-worker"), "{text}");
}

#[test]
fn a_plane_that_cannot_start_ends_up_with_its_last_log_line() {
    let stage = Stage::new();
    stage.script("streaming-control", "echo 'read the settings: no such setting' >&2; exit 3");
    let output = stage.command().output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains("exit code 3") && text.contains("no such setting"), "{text}");
}

#[test]
fn external_parts_are_used_and_not_started() {
    let stage = Stage::new();
    let settings = stage.path("settings");
    let script = "echo $STREAMING_DATABASE_URL $STREAMING_REDIS_URL > SETTINGS\n\
                  echo 127.0.0.1:7 > $STREAMING_ADDR_FILE";
    stage.script("streaming-control", &script.replace("SETTINGS", &settings.display().to_string()));
    let mut command = stage.command();
    command
        .env("STREAMING_DATABASE_URL", "postgres://there")
        .env("STREAMING_REDIS_URL", "redis://y");
    let mut child = command.stdout(Stdio::null()).spawn().unwrap();
    eventually("ready", READY_PATIENCE, || stage.path("data/run/http.addr").exists().then_some(()));
    assert_eq!(fs::read_to_string(&settings).unwrap(), "postgres://there redis://y\n");
    assert!(!stage.path("data/postgres").exists());
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM).unwrap();
    assert!(child.wait().unwrap().success());
}

/// Runs a program through `exec-child` with these options.
fn exec_child(options: &[&str], program: &[&str]) -> Output {
    let parent = format!("--parent={}", std::process::id());
    let mut command = Command::new(PROGRAM);
    command.args(["exec-child", &parent, "--death-signal=SIGKILL"]).args(options);
    command.arg("--").args(program).output().unwrap()
}

#[test]
fn children_run_as_the_requested_user() {
    assert!(exec_child(&[], &["true"]).status.success());
    if !geteuid().is_root() {
        return;
    }
    let uid = User::from_name("nobody").unwrap().unwrap().uid;
    let become_user = format!("--user={uid}");
    let appear_user = format!("--namespace-user={uid}");
    let reach = [become_user.as_str(), "--reach"];
    for options in [&reach[..1], &reach, &[&appear_user]] {
        let output = exec_child(options, &["id", "-u"]);
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(text.trim(), uid.to_string(), "{options:?}");
    }
    // In a namespace the process only appears to be another user: it can still access root's files.
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    fs::write(&secret, "x").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let read = |options: &[&str]| exec_child(options, &["cat", &path(&secret)]).status.success();
    assert!(read(&[&appear_user]));
    assert!(!read(&reach[..1]));
    // Without namespaces, `--reach` must still allow access to root's folders.
    assert!(read(&reach));
}

#[test]
fn a_child_of_another_parent_does_not_start() {
    let mut command = Command::new(PROGRAM);
    command.args(["exec-child", "--parent=1", "--death-signal=SIGKILL", "--", "true"]);
    let output = command.output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("parent"));
}

fn path(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
