//! Runs FFmpeg or ffprobe in the sandbox: starts the process, watches it and kills its process
//! group.
//!
//! The thread that starts the process also waits for it, because the kernel ties the child's
//! lifetime to that thread. The group is stopped with SIGKILL only, because SIGTERM can be ignored.

use std::{
    ffi::OsString,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use bytes::Bytes;
use ffmpeg_sidecar::command::FfmpegCommand;
use nix::{
    sys::{
        signal::{Signal, killpg},
        wait::{Id, WaitPidFlag, waitid},
    },
    unistd::Pid,
};
use tokio::{
    sync::mpsc,
    task::{JoinError, JoinHandle, spawn_blocking},
    time::{Instant, Interval, interval},
};
use tracing::{Span, field::Empty};

use super::{
    Progress, Toolbox,
    failure::{StopReason, classify, unread},
};
use crate::{input::Input, outcome::TaskFailure, sandbox::Limits};

/// Maximum bytes of standard output per message, and maximum number of queued messages.
const OUTPUT_BYTES_MAX: usize = 64 * 1024;
const OUTPUT_QUEUE_MAX: usize = 16;
/// How often the watchdog checks the run.
const WATCH_INTERVAL: Duration = Duration::from_millis(500);

/// A program with its arguments and limits.
#[derive(Clone, Debug)]
pub struct Run {
    /// One of the toolbox's programs.
    pub program: PathBuf,
    /// The program's arguments.
    pub args: Vec<OsString>,
    /// The only source that it may read.
    pub source: Option<Input>,
    /// The only folder that it may write; also its working directory.
    pub scratch: PathBuf,
    /// Maximum duration of the run.
    pub time_max: Duration,
    /// Maximum time without progress or output; at least the toolbox's `stall`.
    pub stall_max: Duration,
    /// Maximum size of a file that it writes.
    pub file_bytes_max: u64,
}

/// A run that has been started. Dropping it kills the process group.
#[derive(Debug)]
pub struct Running {
    /// Its progress.
    pub progress: Arc<Progress>,
    /// Its standard output. The program blocks while the receiver does not read.
    output: mpsc::Receiver<Bytes>,
    open: bool,
    group: Group,
    waiter: JoinHandle<io::Result<ExitStatus>>,
    watch: Interval,
    deadline: Instant,
    stall_max: Duration,
    /// The number of changes that the watchdog saw last, and the time since which it has not grown.
    seen: u64,
    seen_at: Instant,
    stopped: Option<StopReason>,
    /// Covers the whole run; a child of the span that is current at the start.
    span: Span,
}

type Waited = Result<io::Result<ExitStatus>, JoinError>;

/// The process group, as long as it may be killed. It must not be killed after its leader has been
/// reaped, because its number may then belong to another group.
#[derive(Clone, Debug, Default)]
struct Group(Arc<Mutex<GroupState>>);

#[derive(Debug, Default)]
enum GroupState {
    #[default]
    Starting,
    Alive(Pid),
    Reaped,
    Cancelled,
}

impl Group {
    fn state(&self) -> std::sync::MutexGuard<'_, GroupState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kill(&self) {
        let mut state = self.state();
        match *state {
            // Fails only when all members have ended.
            GroupState::Alive(pid) => {
                let _ = killpg(pid, Signal::SIGKILL);
            }
            GroupState::Starting => *state = GroupState::Cancelled,
            GroupState::Reaped | GroupState::Cancelled => {}
        }
    }

    fn started(&self, pid: Pid) {
        let mut state = self.state();
        if matches!(*state, GroupState::Cancelled) {
            let _ = killpg(pid, Signal::SIGKILL);
        }
        *state = GroupState::Alive(pid);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.group.kill();
    }
}

/// Starts `run`.
///
/// # Errors
/// When the sandbox policy cannot be encoded.
pub fn start(toolbox: &Toolbox, run: Run) -> Result<Running, TaskFailure> {
    start_reading(toolbox, run, None)
}

/// Starts `run` with standard input from `input`.
///
/// # Errors
/// As [`start`].
pub fn start_fed(
    toolbox: &Toolbox,
    run: Run,
    input: mpsc::Receiver<Bytes>,
) -> Result<Running, TaskFailure> {
    start_reading(toolbox, run, Some(input))
}

fn start_reading(
    toolbox: &Toolbox,
    run: Run,
    input: Option<mpsc::Receiver<Bytes>>,
) -> Result<Running, TaskFailure> {
    let cores = thread::available_parallelism().map_or(1, usize::from) as u64;
    let limits = Limits {
        memory_bytes: toolbox.memory_bytes,
        file_bytes: run.file_bytes_max,
        cpu_seconds: run.time_max.as_secs().max(1).saturating_mul(cores),
    };
    let sandbox = &toolbox.sandbox;
    let span = span(&run.program);
    let mut command = FfmpegCommand::new_with_path(sandbox.launcher());
    command.args(&run.args);
    // Not spawned by the sidecar, which adds `-n`: ffprobe does not support it.
    let mut command = Command::from(command);
    command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
    sandbox
        .prepare(
            &mut command,
            &run.program,
            run.source.as_ref(),
            &run.scratch,
            &toolbox.devices,
            limits,
        )
        .map_err(|error| TaskFailure::retryable("sandbox_failed", error.to_string()))?;
    let progress = Arc::new(Progress::default());
    let group = Group::default();
    let (sender, output) = mpsc::channel(OUTPUT_QUEUE_MAX);
    let waiter = spawn_blocking({
        let (progress, group) = (Arc::clone(&progress), group.clone());
        move || supervise(command, &progress, &group, &sender, input)
    });
    let stall_max = run.stall_max.max(toolbox.stall);
    let now = Instant::now();
    Ok(Running {
        progress,
        output,
        open: true,
        group,
        waiter,
        watch: interval(WATCH_INTERVAL),
        deadline: now + run.time_max,
        stall_max,
        seen: 0,
        seen_at: now,
        stopped: None,
        span,
    })
}

/// The run's tracing span. It omits the arguments, because they contain paths.
fn span(program: &Path) -> Span {
    let name = if program.ends_with("ffprobe") { "ffprobe" } else { "ffmpeg" };
    tracing::info_span!(
        "ffmpeg",
        otel.name = name,
        otel.status_code = Empty,
        "error.type" = Empty,
        process.exit.code = Empty
    )
}

/// Occupies a dedicated thread from the process's start to its end.
fn supervise(
    mut command: Command,
    progress: &Progress,
    group: &Group,
    output: &mpsc::Sender<Bytes>,
    input: Option<mpsc::Receiver<Bytes>>,
) -> io::Result<ExitStatus> {
    let mut child = command.spawn()?;
    let pid = Pid::from_raw(child.id() as i32);
    group.started(pid);
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    thread::scope(|scope| {
        if let Some(stderr) = stderr {
            scope.spawn(|| progress.read(stderr));
        }
        if let Some(stdout) = stdout {
            scope.spawn(|| forward(stdout, output, progress));
        }
        if let Some((stdin, input)) = child.stdin.take().zip(input) {
            scope.spawn(|| write_input(stdin, input));
        }
        reap(&mut child, pid, group)
    })
}

/// Waits for the leader to end, kills the rest of its group while the group's number is still
/// valid, then reaps it.
fn reap(child: &mut Child, pid: Pid, group: &Group) -> io::Result<ExitStatus> {
    while waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT)
        == Err(nix::errno::Errno::EINTR)
    {}
    group.kill();
    *group.state() = GroupState::Reaped;
    child.wait()
}

/// Forwards standard output until it ends or the receiver is dropped.
fn forward(mut stdout: impl Read, output: &mpsc::Sender<Bytes>, progress: &Progress) {
    let mut buffer = vec![0; OUTPUT_BYTES_MAX];
    loop {
        match stdout.read(&mut buffer) {
            Ok(0) => return,
            Ok(length) => {
                progress.touch();
                if output.blocking_send(Bytes::copy_from_slice(&buffer[..length])).is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// Writes `input` to standard input until it ends or the program has closed it.
fn write_input(mut stdin: impl Write, mut input: mpsc::Receiver<Bytes>) {
    while let Some(bytes) = input.blocking_recv() {
        if stdin.write_all(&bytes).is_err() {
            return;
        }
    }
}

impl Running {
    /// The next piece of standard output; `None` once the program has succeeded. Kills the group
    /// when it stalls or takes too long.
    ///
    /// # Errors
    /// When the run fails or is stopped.
    pub async fn next(&mut self) -> Result<Option<Bytes>, TaskFailure> {
        // Time that the consumer took since the last call is not the program's.
        self.seen_at = Instant::now();
        loop {
            tokio::select! {
                biased;
                bytes = self.output.recv(), if self.open => match bytes {
                    Some(bytes) => return Ok(Some(bytes)),
                    None => self.open = false,
                },
                ended = &mut self.waiter, if !self.open => return self.result(ended),
                _ = self.watch.tick() => self.check(Instant::now()),
            }
        }
    }

    /// The watchdog: kills the group after the deadline or when the run stalls.
    fn check(&mut self, now: Instant) {
        let changes = self.progress.changes();
        if changes != self.seen {
            (self.seen, self.seen_at) = (changes, now);
        }
        let reason = if now > self.deadline {
            StopReason::TimedOut
        } else if now - self.seen_at > self.stall_max {
            StopReason::Stalled
        } else {
            return;
        };
        self.stopped.get_or_insert(reason);
        self.group.kill();
    }

    fn result(&self, ended: Waited) -> Result<Option<Bytes>, TaskFailure> {
        let lost = |error: &dyn std::fmt::Display| {
            TaskFailure::retryable("ffmpeg_failed", format!("run ffmpeg: {error}"))
        };
        let status = ended.map_err(|error| lost(&error))?.map_err(|error| lost(&error))?;
        if let Some(code) = status.code() {
            self.span.record("process.exit.code", code);
        }
        if self.stopped.is_none() && status.success() {
            return Ok(None);
        }
        let failure = classify(status, self.stopped, &self.progress.log());
        self.span.record("error.type", &*failure.code);
        self.span.record("otel.status_code", "ERROR");
        Err(failure)
    }

    /// Waits for the run to end and returns its standard output, at most `bytes_max` bytes.
    ///
    /// # Errors
    /// When the run fails, may not have read all of its source, or writes too much output.
    pub async fn read_to_end(self, bytes_max: usize) -> Result<Vec<u8>, TaskFailure> {
        let mut text = Vec::new();
        self.read(|bytes| {
            if text.len() + bytes.len() > bytes_max {
                let reason = Some(StopReason::OutputTooLarge);
                return Err(classify(ExitStatus::default(), reason, &[]));
            }
            text.extend_from_slice(bytes);
            Ok(())
        })
        .await?;
        Ok(text)
    }

    /// Waits for the run to end and passes its standard output to `take`, piece by piece.
    ///
    /// # Errors
    /// As `take`, and when the run fails or may not have read all of its source.
    pub async fn read(
        mut self,
        mut take: impl FnMut(&[u8]) -> Result<(), TaskFailure>,
    ) -> Result<(), TaskFailure> {
        while let Some(bytes) = self.next().await? {
            take(&bytes)?;
        }
        // For a source that it could read only in part, the program writes partial output and exits
        // with 0.
        unread(&self.progress.log()).map_or(Ok(()), Err)
    }
}
