//! One run of FFmpeg or ffprobe behind the fence: started, watched, killed as a group.
//!
//! The thread that starts the process also waits for it, because the kernel ties the child's life to
//! that very thread. Nothing but SIGKILL to the group is used to stop it: SIGTERM can be ignored.

use std::{
    ffi::OsString,
    io::{self, Read},
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
    Fault, Progress, Toolbox,
    fault::{Stopped, classify, unread},
};
use crate::{sandbox::Limits, source::Input};

/// Bytes of standard output per message, and messages in flight.
const OUTPUT_BYTES_MAX: usize = 64 * 1024;
const OUTPUT_QUEUE_MAX: usize = 16;
/// How often the watchdog looks.
const WATCH_INTERVAL: Duration = Duration::from_millis(500);

/// What to run.
#[derive(Clone, Debug)]
pub struct Run {
    /// One of the toolbox's programs.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// The one source that it may read.
    pub source: Option<Input>,
    /// The one folder that it may write; also its working directory.
    pub scratch: PathBuf,
    /// Longest allowed run.
    pub time_max: Duration,
    /// Longest silence; at least the toolbox's.
    pub stall_max: Duration,
    /// Largest file it may write.
    pub file_bytes_max: u64,
}

/// A run that has been started. Dropping it kills the process group.
#[derive(Debug)]
pub struct Running {
    /// How far it is.
    pub progress: Arc<Progress>,
    /// Its standard output; the program waits when nobody reads.
    output: mpsc::Receiver<Bytes>,
    open: bool,
    group: Group,
    waiter: JoinHandle<io::Result<ExitStatus>>,
    watch: Interval,
    deadline: Instant,
    stall_max: Duration,
    /// What the watchdog has seen, and since when nothing else.
    seen: u64,
    seen_at: Instant,
    stopped: Option<Stopped>,
    /// From the start to the end; part of whichever span started it.
    span: Span,
}

type Waited = Result<io::Result<ExitStatus>, JoinError>;

/// The process group, while it may be killed: never after its leader has been reaped, when the number
/// may already be somebody else's.
#[derive(Clone, Debug, Default)]
struct Group(Arc<Mutex<GroupState>>);

#[derive(Debug, Default)]
enum GroupState {
    #[default]
    Starting,
    Alive(Pid),
    Gone,
    Unwanted,
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
            GroupState::Starting => *state = GroupState::Unwanted,
            GroupState::Gone | GroupState::Unwanted => {}
        }
    }

    fn born(&self, pid: Pid) {
        let mut state = self.state();
        if matches!(*state, GroupState::Unwanted) {
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
/// A [`Fault`] when the policy cannot be written down.
pub fn start(toolbox: &Toolbox, run: Run) -> Result<Running, Fault> {
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
    // Spawned as it is: the sidecar's own spawn adds `-n`, which ffprobe does not know.
    let mut command = Command::from(command);
    command.stdin(Stdio::null());
    sandbox
        .prepare(&mut command, &run.program, run.source.as_ref(), &run.scratch, limits)
        .map_err(|error| Fault::retryable("sandbox_failed", error.to_string()))?;
    let progress = Arc::new(Progress::default());
    let group = Group::default();
    let (sender, output) = mpsc::channel(OUTPUT_QUEUE_MAX);
    let waiter = spawn_blocking({
        let (progress, group) = (Arc::clone(&progress), group.clone());
        move || supervise(command, &progress, &group, &sender)
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

/// What a trace shows of a run. Its arguments stay out of it: they hold paths.
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

/// Runs on a thread of its own from the process's start to its end.
fn supervise(
    mut command: Command,
    progress: &Progress,
    group: &Group,
    output: &mpsc::Sender<Bytes>,
) -> io::Result<ExitStatus> {
    let mut child = command.spawn()?;
    let pid = Pid::from_raw(child.id() as i32);
    group.born(pid);
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    thread::scope(|scope| {
        if let Some(stderr) = stderr {
            scope.spawn(|| progress.read(stderr));
        }
        if let Some(stdout) = stdout {
            scope.spawn(|| forward(stdout, output, progress));
        }
        reap(&mut child, pid, group)
    })
}

/// Waits for the leader, ends the rest of its group while the number is still ours, then reaps.
fn reap(child: &mut Child, pid: Pid, group: &Group) -> io::Result<ExitStatus> {
    while waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT)
        == Err(nix::errno::Errno::EINTR)
    {}
    group.kill();
    *group.state() = GroupState::Gone;
    child.wait()
}

/// Passes standard output on until its end or until nobody listens, then swallows the rest.
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

impl Running {
    /// The next piece of standard output; none once the program has ended well. Kills the group when it
    /// stalls or takes too long.
    ///
    /// # Errors
    /// The run's [`Fault`].
    pub async fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        // Time that the consumer took since the last call is not the program's.
        self.seen_at = Instant::now();
        loop {
            tokio::select! {
                biased;
                bytes = self.output.recv(), if self.open => match bytes {
                    Some(bytes) => return Ok(Some(bytes)),
                    None => self.open = false,
                },
                ended = &mut self.waiter, if !self.open => return self.judge(ended),
                _ = self.watch.tick() => self.check(Instant::now()),
            }
        }
    }

    /// The watchdog.
    fn check(&mut self, now: Instant) {
        let changes = self.progress.changes();
        if changes != self.seen {
            (self.seen, self.seen_at) = (changes, now);
        }
        let reason = if now > self.deadline {
            Stopped::Overdue
        } else if now - self.seen_at > self.stall_max {
            Stopped::Stalled
        } else {
            return;
        };
        self.stopped.get_or_insert(reason);
        self.group.kill();
    }

    fn judge(&self, ended: Waited) -> Result<Option<Bytes>, Fault> {
        let lost = |error: &dyn std::fmt::Display| {
            Fault::retryable("ffmpeg_failed", format!("run ffmpeg: {error}"))
        };
        let status = ended.map_err(|error| lost(&error))?.map_err(|error| lost(&error))?;
        if let Some(code) = status.code() {
            self.span.record("process.exit.code", code);
        }
        if self.stopped.is_none() && status.success() {
            return Ok(None);
        }
        let fault = classify(status, self.stopped, &self.progress.log());
        self.span.record("error.type", &*fault.code);
        self.span.record("otel.status_code", "ERROR");
        Err(fault)
    }

    /// Waits for the end and returns standard output, at most `bytes_max` of it.
    ///
    /// # Errors
    /// A [`Fault`] of the run, or of too much output.
    pub async fn read_to_end(mut self, bytes_max: usize) -> Result<Vec<u8>, Fault> {
        let mut text = Vec::new();
        while let Some(bytes) = self.next().await? {
            if text.len() + bytes.len() > bytes_max {
                return Err(classify(ExitStatus::default(), Some(Stopped::Flooded), &[]));
            }
            text.extend_from_slice(&bytes);
        }
        // What could be read only in part is answered in part, with exit code 0.
        match unread(&self.progress.log()) {
            Some(fault) => Err(fault),
            None => Ok(text),
        }
    }
}

/// A short run that only asks something: `args` of `program`, with its answer.
///
/// # Errors
/// The run's [`Fault`].
pub async fn ask(
    toolbox: &Toolbox,
    program: &Path,
    args: Vec<OsString>,
    source: Option<&Input>,
    scratch: &Path,
    time_max: Duration,
    bytes_max: usize,
) -> Result<Vec<u8>, Fault> {
    let run = Run {
        program: program.to_owned(),
        args,
        source: source.cloned(),
        scratch: scratch.to_owned(),
        time_max,
        stall_max: time_max,
        file_bytes_max: 1 << 20,
    };
    start(toolbox, run)?.read_to_end(bytes_max).await
}
