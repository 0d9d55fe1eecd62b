//! A supervised child process: started, restarted with backoff when it exits, stopped in steps.
//!
//! **Invariant:** every child is spawned from the process's first thread (`up` runs on a
//! current-thread runtime), because the parent-death signal fires when the spawning *thread* ends.

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
use runtime::retry::Backoff;
use tokio::{
    process::{Child, Command},
    sync::watch,
    time::{Instant, interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{log, report::print_status};

const BACKOFF_MIN: Duration = Duration::from_millis(250);
const BACKOFF_MAX: Duration = Duration::from_secs(15);
/// A child that has run this long is restarted with the shortest backoff.
const HEALTHY_LIFE: Duration = Duration::from_secs(60);
const LOG_CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// Time between the signal for an immediate stop and SIGKILL.
const HURRY_PATIENCE: Duration = Duration::from_secs(4);

/// The user that a child runs as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RunAs {
    /// The user that runs `up`.
    Same,
    /// The user that runs `up`, mapped to this one in a user namespace.
    Appear(u32),
    /// This user.
    Become(u32),
    /// This user, with the capability to pass folder permissions (`CAP_DAC_OVERRIDE`): its files
    /// lie below a folder that only root may enter.
    Reach(u32),
}

/// Work before each start, for example removing the remains of a killed predecessor.
pub(crate) type Prepare = Box<dyn Fn() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// Describes a child.
pub(crate) struct Spec {
    pub(crate) name: String,
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<OsString>,
    /// A file to pass as standard input.
    pub(crate) input: Option<PathBuf>,
    /// Whether to start from an empty environment, keeping only `PATH`.
    pub(crate) clear_env: bool,
    pub(crate) env: Vec<(&'static str, OsString)>,
    /// Variables to remove from its environment; a name that ends in `*` is a prefix.
    pub(crate) unset: &'static [&'static str],
    pub(crate) run_as: RunAs,
    /// The signal that it receives when `up` exits.
    pub(crate) death_signal: Signal,
    /// The signals with which `up` stops it, and how long to wait after each; SIGKILL comes last.
    pub(crate) stop: &'static [(Signal, Duration)],
    /// The signal to send immediately when the user requests the stop a second time.
    pub(crate) immediate_stop: Signal,
    pub(crate) log: PathBuf,
    /// A variable to set to the address in this file once the child has written one: a restarted
    /// child thus keeps the port that clients know.
    pub(crate) pinned: Option<(&'static str, PathBuf)>,
    pub(crate) prepare: Option<Prepare>,
}

/// How often a child has exited, and how it ended the last time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Exits {
    pub(crate) count: u32,
    pub(crate) last: String,
}

/// A command that runs `program` through `exec-child`, in its own process group, so that Ctrl-C in
/// the terminal reaches only `up`.
pub(crate) fn command(program: &Path, run_as: RunAs, death_signal: Signal) -> Command {
    // The running executable, even if a new build has replaced the file.
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
    exits: watch::Sender<Exits>,
) {
    let mut backoff = Backoff::new(BACKOFF_MIN, BACKOFF_MAX);
    loop {
        let born = Instant::now();
        let Some(end) = live(&spec, &stop, &hard).await else { return };
        if born.elapsed() >= HEALTHY_LIFE {
            backoff.reset();
        }
        let pause = backoff.pause();
        print_status(&format!(
            "{} ended ({end}); starting it again in {:.2} s; its log: {}",
            spec.name,
            pause.as_secs_f64(),
            spec.log.display(),
        ));
        exits.send_modify(|exits| {
            exits.count += 1;
            exits.last = end;
        });
        tokio::select! {
            () = sleep(pause) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// Runs the child once. Returns how it ended, or `None` when it was stopped.
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
    // An empty variable counts as unset; the planes do not all read it that way.
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
        send(child, spec.immediate_stop);
        if timeout(HURRY_PATIENCE, child.wait()).await.is_ok() {
            return;
        }
    }
    print_status(&format!("{} does not stop; killing it", spec.name));
    if let Some(pid) = pid(child) {
        // This fails only if the group no longer exists, which is fine.
        let _ = killpg(pid, Signal::SIGKILL);
    }
    let _ = child.wait().await;
}

fn send(child: &Child, signal: Signal) {
    if let Some(pid) = pid(child) {
        let _ = kill(pid, signal);
    }
}

/// The child's id. `None` once the child has been reaped, so the id is never that of another
/// process.
fn pid(child: &Child) -> Option<Pid> {
    child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw)
}

/// Describes how a process ended.
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
