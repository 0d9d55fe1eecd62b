//! The fence around FFmpeg: uploads are untrusted programs for its parsers.
//!
//! The worker starts its own executable once more with a policy in [`POLICY_VARIABLE`]. That process is
//! single-threaded and fences itself in (limits, Landlock, seccomp) before it becomes FFmpeg, so nothing
//! of ours runs between fork and exec and no unsafe code is needed.
//!
//! **Invariant:** what runs inside reads this task's source and the system's programs, writes this
//! task's scratch folder, opens no socket but to the one port that its source is behind, and dies with
//! the worker.

mod filesystem;
mod limits;
mod policy;
mod syscalls;

use std::{
    env, io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
};

use nix::{
    sys::{prctl, signal::Signal},
    unistd,
};
use thiserror::Error;

pub use filesystem::{available, holds_to_one_port};
pub use limits::Limits;
pub use policy::{POLICY_VARIABLE, Policy};

use crate::source::Input;

/// The launcher's exit code when the fence could not be put up; FFmpeg itself never uses it.
pub const EXIT_UNFENCED: u8 = 125;

/// Why the fence could not be put up.
#[derive(Debug, Error)]
pub enum SandboxError {
    /// The policy is missing or cannot be read.
    #[error("read sandbox policy: {0}")]
    Policy(String),
    /// The worker was gone before its child could tie its life to it.
    #[error("tie sandbox to its parent: the parent is gone")]
    Orphaned,
    /// The kernel refuses a limit or an attribute.
    #[error("set process attribute {0}")]
    Attribute(&'static str, #[source] nix::Error),
    /// The kernel has no (or too old a) Landlock.
    #[error("restrict file system: {0}")]
    Landlock(String),
    /// The system call filter cannot be made or installed.
    #[error("filter system calls: {0}")]
    Seccomp(String),
    /// The program cannot be started.
    #[error("start {program}")]
    Exec {
        /// The program's file name.
        program: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

/// How to start fenced programs.
#[derive(Clone, Debug)]
pub struct Sandbox {
    launcher: PathBuf,
    fenced: bool,
}

impl Sandbox {
    /// Fences with the executable `launcher`, whose `main` calls [`launch`] when [`requested`].
    /// `fenced` false leaves out Landlock and seccomp: for kernels without them, on the operator's word.
    pub fn new(launcher: PathBuf, fenced: bool) -> Self {
        Self { launcher, fenced }
    }

    /// The executable to start.
    pub fn launcher(&self) -> &Path {
        &self.launcher
    }

    /// Prepares `command` (of [`Sandbox::launcher`]) to become `program` behind the fence, in a process
    /// group of its own.
    ///
    /// # Errors
    /// When a path is not valid UTF-8.
    pub fn prepare(
        &self,
        command: &mut Command,
        program: &Path,
        source: Option<&Input>,
        scratch: &Path,
        limits: Limits,
    ) -> Result<(), SandboxError> {
        let policy = Policy {
            program: program.to_owned(),
            source: source.and_then(Input::file).map(Path::to_owned),
            port: source.and_then(Input::port),
            scratch: scratch.to_owned(),
            parent: std::process::id(),
            fenced: self.fenced,
            script: policy::is_script(program),
            limits,
        };
        command.current_dir(scratch).process_group(0).env_clear();
        command.env(POLICY_VARIABLE, policy.encode()?);
        Ok(())
    }
}

/// Whether this process was started to become a fenced program.
pub fn requested() -> bool {
    env::var_os(POLICY_VARIABLE).is_some()
}

/// Fences this process in and becomes the policy's program; returns only on failure. Must run before
/// the process has a second thread.
///
/// # Errors
/// Always: the reason why the program did not start.
pub fn launch() -> SandboxError {
    match fence() {
        Err(error) => error,
        Ok(policy) => {
            let error = Command::new(&policy.program)
                .args(env::args_os().skip(1))
                .env_clear()
                .env("PATH", "/usr/local/bin:/usr/bin:/bin")
                .env("LANG", "C.UTF-8")
                .exec();
            let program = policy.program.file_name().unwrap_or_default();
            SandboxError::Exec { program: program.to_string_lossy().into_owned(), source: error }
        }
    }
}

fn fence() -> Result<Policy, SandboxError> {
    let policy = Policy::from_env()?;
    let attribute = |name| move |error| SandboxError::Attribute(name, error);
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(attribute("parent death signal"))?;
    // The worker may have died before the line above: then nobody would ever kill us.
    if unistd::getppid().as_raw() as u32 != policy.parent {
        return Err(SandboxError::Orphaned);
    }
    prctl::set_no_new_privs().map_err(attribute("no new privileges"))?;
    limits::apply(&policy.limits)?;
    if policy.fenced {
        filesystem::restrict(&policy)?;
        syscalls::restrict(policy.script, policy.port.is_some())?;
    }
    Ok(policy)
}
