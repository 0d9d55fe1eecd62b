//! The sandbox around FFmpeg: uploads are untrusted input to its parsers.
//!
//! The worker starts its own executable again with a policy in [`POLICY_VARIABLE`]. That process is
//! single-threaded and restricts itself (limits, Landlock, seccomp) before it executes FFmpeg, so
//! none of our code runs between fork and exec and no unsafe code is needed.
//!
//! **Invariant:** a sandboxed process can read this task's source and the system's programs, write
//! to this task's scratch folder, open the devices of a hardware encoder if the task needs one, and
//! connect only to the one port that serves its source; it is killed with the worker.

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

pub use filesystem::{available, can_restrict_to_one_port};
pub use limits::Limits;
pub use policy::{POLICY_VARIABLE, Policy};

use crate::input::Input;

/// The launcher's exit code if the sandbox could not be set up; FFmpeg itself never uses it.
pub const EXIT_SANDBOX_FAILED: u8 = 125;

/// Why the sandbox could not be set up.
#[derive(Debug, Error)]
pub enum SandboxError {
    /// The policy is missing or cannot be read.
    #[error("read sandbox policy: {0}")]
    Policy(String),
    /// The worker exited before its child could arrange to be killed with it.
    #[error("tie sandbox to its parent: the parent has ended")]
    Orphaned,
    /// The kernel rejected a limit or an attribute.
    #[error("set process attribute {0}")]
    Attribute(&'static str, #[source] nix::Error),
    /// The kernel has no Landlock or too old a version.
    #[error("restrict file system: {0}")]
    Landlock(String),
    /// The system call filter cannot be built or installed.
    #[error("filter system calls: {0}")]
    Seccomp(String),
    /// The program cannot be started.
    #[error("start {program}")]
    Exec {
        /// The program's file name.
        program: String,
        /// The operating system's error.
        #[source]
        source: io::Error,
    },
}

/// Starts sandboxed programs.
#[derive(Clone, Debug)]
pub struct Sandbox {
    launcher: PathBuf,
    confined: bool,
}

impl Sandbox {
    /// Uses the executable `launcher`, whose `main` must call [`launch`] when [`requested`] is
    /// true. With `confined` false, Landlock and seccomp are left out: for kernels without them,
    /// when the operator opts out.
    pub fn new(launcher: PathBuf, confined: bool) -> Self {
        Self { launcher, confined }
    }

    /// The executable to start.
    pub fn launcher(&self) -> &Path {
        &self.launcher
    }

    /// Prepares `command` (of [`Sandbox::launcher`]) to become the sandboxed `program`, in its own
    /// process group. The program may open `devices`.
    ///
    /// # Errors
    /// When a path is not valid UTF-8.
    pub fn prepare(
        &self,
        command: &mut Command,
        program: &Path,
        source: Option<&Input>,
        scratch: &Path,
        devices: &[PathBuf],
        limits: Limits,
    ) -> Result<(), SandboxError> {
        let policy = Policy {
            program: program.to_owned(),
            source: source.and_then(Input::file).map(Path::to_owned),
            port: source.and_then(Input::port),
            devices: devices.to_vec(),
            scratch: scratch.to_owned(),
            parent: std::process::id(),
            confined: self.confined,
            script: policy::is_script(program),
            limits,
        };
        command.current_dir(scratch).process_group(0).env_clear();
        command.env(POLICY_VARIABLE, policy.encode()?);
        Ok(())
    }
}

/// Whether this process was started to become a sandboxed program.
pub fn requested() -> bool {
    env::var_os(POLICY_VARIABLE).is_some()
}

/// Restricts this process and executes the policy's program; returns only on failure. Must be
/// called before the process has a second thread.
///
/// # Errors
/// Always returns an error: the reason why the program did not start.
pub fn launch() -> SandboxError {
    match confine() {
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

fn confine() -> Result<Policy, SandboxError> {
    let policy = Policy::from_env()?;
    let attribute = |name| move |error| SandboxError::Attribute(name, error);
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(attribute("parent death signal"))?;
    // The worker may have died before the death signal was set; then the signal would never be
    // sent.
    if unistd::getppid().as_raw() as u32 != policy.parent {
        return Err(SandboxError::Orphaned);
    }
    prctl::set_no_new_privs().map_err(attribute("no new privileges"))?;
    limits::apply(&policy.limits)?;
    if policy.confined {
        filesystem::restrict(&policy)?;
        syscalls::restrict(policy.script, policy.port.is_some())?;
    }
    Ok(policy)
}
