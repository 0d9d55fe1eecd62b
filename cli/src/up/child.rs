//! One supervised child process: started, restarted with backoff when it dies, stopped in steps.
//!
//! **Invariant:** every child is spawned from the process's first thread (`up` runs on a current-thread
//! runtime), because the parent-death signal fires when the spawning *thread* ends.

use std::{
    ffi::OsString,
    fs, io,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    pin::Pin,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};
use tokio::{
    process::{Child, Command},
    sync::watch,
    time::{Instant, interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{log, say};

const BACKOFF_MIN: Duration = Duration::from_millis(250);
const BACKOFF_MAX: Duration = Duration::from_secs(15);
/// A child that lived this long starts again with the shortest backoff.
const HEALTHY_LIFE: Duration = Duration::from_secs(60);
const LOG_CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// What a child gets between the hurried signal and SIGKILL.
const HURRY_PATIENCE: Duration = Duration::from_secs(4);

/// As whom a child runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RunAs {
    /// As whoever runs `up`.
    Same,
    /// As ourselves, but shown to itself as this user.
    Appear(u32),
    /// As this user.
    Become(u32),
    /// As this user, whom folders do not keep out: they lie below one that only root may enter.
    Reach(u32),
}

/// Work to do before each start, such as clearing what a killed predecessor left.
pub(crate) type Prepare = Box<dyn Fn() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// A child, described.
pub(crate) struct Spec {
    pub(crate) name: String,
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<OsString>,
    /// A file that it reads on standard input.
    pub(crate) input: Option<PathBuf>,
    /// Start from an empty environment, keeping only `PATH`.
    pub(crate) clear_env: bool,
    pub(crate) env: Vec<(&'static str, OsString)>,
    /// Variables that it must not see; a name that ends in `*` stands for all that begin so.
    pub(crate) unset: &'static [&'static str],
    pub(crate) run_as: RunAs,
    /// What it gets when `up` is killed.
    pub(crate) death_signal: Signal,
    /// What it gets when `up` stops it, and for how long each step waits; SIGKILL comes last.
    pub(crate) stop: &'static [(Signal, Duration)],
    /// What it gets at once when the person asks a second time.
    pub(crate) hurry: Signal,
    pub(crate) log: PathBuf,
    /// A variable that takes the address in this file once the child has written it: so a restarted
    /// child keeps the port that clients know.
    pub(crate) pinned: Option<(&'static str, PathBuf)>,
    pub(crate) prepare: Option<Prepare>,
}

/// How often a child has died, and how the last time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Deaths {
    pub(crate) count: u32,
    pub(crate) last: String,
}

/// A command that runs `program` through `exec-child`, in a process group of its own, so that Ctrl-C in
/// the terminal reaches only `up`.
pub(crate) fn command(program: &Path, run_as: RunAs, death_signal: Signal) -> Command {
    // Our own image even after a new build replaced the file.
    let mut command = Command::new("/proc/self/exe");
    command.arg("exec-child");
    command.arg(format!("--parent={}", std::process::id()));
    command.arg(format!("--death-signal={}", death_signal.as_str()));
    match run_as {
        RunAs::Same => {}
        RunAs::Appear(uid) => drop(command.arg(format!("--namespace-user={uid}"))),
        RunAs::Become(uid) => drop(command.arg(format!("--user={uid}"))),
        RunAs::Reach(uid) => drop(command.arg(format!("--user={uid}")).arg("--reach")),
    }
    command.arg("--").arg(program);
    command.stdin(Stdio::null()).process_group(0).kill_on_drop(true);
    command
}

/// Keeps a child running until `stop`; `hard` cuts the stopping short.
pub(crate) async fn supervise(
    spec: Spec,
    stop: CancellationToken,
    hard: CancellationToken,
    deaths: watch::Sender<Deaths>,
) {
    let mut backoff = BACKOFF_MIN;
    loop {
        let born = Instant::now();
        let Some(end) = live(&spec, &stop, &hard).await else { return };
        if born.elapsed() >= HEALTHY_LIFE {
            backoff = BACKOFF_MIN;
        }
        say(&format!(
            "{} ended ({end}); starting it again in {:.2} s; its log: {}",
            spec.name,
            backoff.as_secs_f64(),
            spec.log.display(),
        ));
        deaths.send_modify(|deaths| {
            deaths.count += 1;
            deaths.last = end;
        });
        tokio::select! {
            () = sleep(backoff) => backoff = (backoff * 2).min(BACKOFF_MAX),
            () = stop.cancelled() => return,
        }
    }
}

/// One life of the child: how it ended, or nothing when it was stopped.
async fn live(spec: &Spec, stop: &CancellationToken, hard: &CancellationToken) -> Option<String> {
    if let Some(prepare) = &spec.prepare {
        tokio::select! {
            () = prepare() => {}
            () = stop.cancelled() => return None,
        }
    }
    let mut child = match spawn(spec) {
        Ok(child) => child,
        Err(error) => return Some(format!("could not start: {error}")),
    };
    let mut log_check = interval(LOG_CHECK_INTERVAL);
    loop {
        tokio::select! {
            status = child.wait() => return Some(describe(status)),
            () = stop.cancelled() => {
                end(spec, &mut child, hard).await;
                return None;
            }
            _ = log_check.tick() => log::bound(&spec.log),
        }
    }
}

fn spawn(spec: &Spec) -> io::Result<Child> {
    let out = log::open(&spec.log)?;
    let mut command = command(&spec.program, spec.run_as, spec.death_signal);
    command.args(&spec.args).stdout(out.try_clone()?).stderr(out);
    if let Some(input) = &spec.input {
        command.stdin(fs::File::open(input)?);
    }
    if spec.clear_env {
        command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    }
    for name in spec.unset {
        match name.strip_suffix('*') {
            None => drop(command.env_remove(name)),
            Some(prefix) => {
                let all = std::env::vars_os().map(|(name, _)| name);
                for name in all.filter(|name| name.to_string_lossy().starts_with(prefix)) {
                    command.env_remove(name);
                }
            }
        }
    }
    // An empty variable counts as unset, also for planes that would not read it so.
    for (name, _) in std::env::vars_os().filter(|(_, value)| value.is_empty()) {
        command.env_remove(name);
    }
    command.envs(spec.env.iter().map(|(name, value)| (name, value)));
    if let Some((name, file)) = &spec.pinned
        && let Ok(address) = fs::read_to_string(file)
        && !address.trim().is_empty()
    {
        command.env(name, address.trim());
    }
    command.spawn()
}

/// Stops the child step by step and reaps it.
async fn end(spec: &Spec, child: &mut Child, hard: &CancellationToken) {
    for &(signal, patience) in spec.stop {
        send(child, signal);
        tokio::select! {
            _ = child.wait() => return,
            () = sleep(patience) => {}
            () = hard.cancelled() => break,
        }
    }
    if hard.is_cancelled() {
        send(child, spec.hurry);
        if timeout(HURRY_PATIENCE, child.wait()).await.is_ok() {
            return;
        }
    }
    say(&format!("{} does not stop; killing it", spec.name));
    if let Some(pid) = pid(child) {
        // Only fails when the group is gone, which is what we want.
        let _ = killpg(pid, Signal::SIGKILL);
    }
    let _ = child.wait().await;
}

fn send(child: &Child, signal: Signal) {
    if let Some(pid) = pid(child) {
        let _ = kill(pid, signal);
    }
}

/// The child's id while it has not been reaped, so never somebody else's.
fn pid(child: &Child) -> Option<Pid> {
    child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw)
}

/// An exit, in words.
pub(crate) fn describe(status: io::Result<ExitStatus>) -> String {
    match status {
        Err(error) => format!("cannot be waited for: {error}"),
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => format!("exit code {code}"),
            (None, Some(signal)) => match Signal::try_from(signal) {
                Ok(signal) => format!("killed by {signal}"),
                Err(_) => format!("killed by signal {signal}"),
            },
            (None, None) => "unknown end".to_owned(),
        },
    }
}
