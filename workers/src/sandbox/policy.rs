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
    #[serde(with = "path")]
    pub program: PathBuf,
    /// The one file that it may read.
    #[serde(with = "optional_path")]
    pub source: Option<PathBuf>,
    /// The one TCP port that it may connect to.
    pub port: Option<u16>,
    /// The one folder that it may write.
    #[serde(with = "path")]
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

/// A path, which need not be UTF-8, in JSON, which is.
mod path {
    use std::path::{Path, PathBuf};

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&api::path::text(path))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
        String::deserialize(from).map(|text| api::path::read(&text))
    }
}

/// The same where there may be none.
mod optional_path {
    use std::path::PathBuf;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(
        path: &Option<PathBuf>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        path.as_deref().map(api::path::text).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<PathBuf>, D::Error> {
        Ok(Option::<String>::deserialize(from)?.as_deref().map(api::path::read))
    }
}

/// Whether `program` starts with `#!`.
pub(super) fn is_script(program: &Path) -> bool {
    let mut head = [0; 2];
    let read = fs::File::open(program).and_then(|mut file| file.read_exact(&mut head));
    read.is_ok() && head == *b"#!"
}
