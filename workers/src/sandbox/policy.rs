//! What one fenced process may do, as it travels from the worker to the launcher.

use std::{
    env, fs,
    io::Read,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{Limits, SandboxError};

/// Holds the policy as JSON; its presence turns the worker's executable into the launcher.
pub const POLICY_VARIABLE: &str = "STREAMING_SANDBOX";

/// What one fenced process may do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// The program to become.
    pub program: PathBuf,
    /// The one file that it may read.
    pub source: Option<PathBuf>,
    /// The one TCP port that it may connect to.
    pub port: Option<u16>,
    /// The one folder that it may write.
    pub scratch: PathBuf,
    /// The worker's process id: with it, the child ends.
    pub parent: u32,
    /// Landlock and seccomp on.
    pub fenced: bool,
    /// The program is an operator's wrapper script, which needs to start processes of its own.
    pub script: bool,
    /// Bounds on what it may use.
    pub limits: Limits,
}

impl Policy {
    pub(super) fn encode(&self) -> Result<String, SandboxError> {
        serde_json::to_string(self).map_err(|error| SandboxError::Policy(error.to_string()))
    }

    pub(super) fn from_env() -> Result<Self, SandboxError> {
        let text =
            env::var(POLICY_VARIABLE).map_err(|error| SandboxError::Policy(error.to_string()))?;
        serde_json::from_str(&text).map_err(|error| SandboxError::Policy(error.to_string()))
    }
}

/// Whether `program` starts with `#!`.
pub(super) fn is_script(program: &Path) -> bool {
    let mut head = [0; 2];
    let read = fs::File::open(program).and_then(|mut file| file.read_exact(&mut head));
    read.is_ok() && head == *b"#!"
}
