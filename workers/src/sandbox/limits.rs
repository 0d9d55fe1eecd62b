//! Resource limits of a sandboxed process, as rlimits.
//!
//! The number of processes is not limited here, because that rlimit counts per user and exempts
//! root. Instead, the system call filter prevents FFmpeg from creating processes at all.

use nix::sys::resource::{Resource, setrlimit};
use serde::{Deserialize, Serialize};

use super::SandboxError;

const OPEN_FILES_MAX: u64 = 256;

/// Resource limits of a sandboxed process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Address space; more than the process really uses, because allocators and thread stacks
    /// reserve more.
    pub memory_bytes: u64,
    /// Size of any one file that it writes.
    pub file_bytes: u64,
    /// Processor time of all threads together.
    pub cpu_seconds: u64,
}

pub(super) fn apply(limits: &Limits) -> Result<(), SandboxError> {
    let cpu_hard = limits.cpu_seconds.saturating_add(5);
    for (name, resource, soft, hard) in [
        ("address space", Resource::RLIMIT_AS, limits.memory_bytes, limits.memory_bytes),
        ("file size", Resource::RLIMIT_FSIZE, limits.file_bytes, limits.file_bytes),
        ("processor time", Resource::RLIMIT_CPU, limits.cpu_seconds, cpu_hard),
        ("open files", Resource::RLIMIT_NOFILE, OPEN_FILES_MAX, OPEN_FILES_MAX),
        ("core size", Resource::RLIMIT_CORE, 0, 0),
    ] {
        setrlimit(resource, soft, hard).map_err(|error| SandboxError::Attribute(name, error))?;
    }
    Ok(())
}
