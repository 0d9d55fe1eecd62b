//! The policy of one sandboxed process, which the worker passes to the launcher.

use std::{
    env, fs,
    io::Read,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{Limits, SandboxError};

/// Contains the policy as JSON. If it is set, the worker's executable acts as the launcher.
pub const POLICY_VARIABLE: &str = "STREAMING_SANDBOX";

/// The files, ports and resources that one sandboxed process may use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// The program to execute.
    #[serde(with = "path")]
    pub program: PathBuf,
    /// The only file that it may read.
    #[serde(with = "optional_path")]
    pub source: Option<PathBuf>,
    /// Devices of hardware encoders that it may open.
    #[serde(with = "paths")]
    pub devices: Vec<PathBuf>,
    /// The only TCP port that it may connect to.
    pub port: Option<u16>,
    /// The only folder that it may write.
    #[serde(with = "path")]
    pub scratch: PathBuf,
    /// The worker's process id: the child ends when the worker does.
    pub parent: u32,
    /// Whether Landlock and seccomp are applied.
    pub confined: bool,
    /// Whether the program is an operator's wrapper script, which must be able to start other
    /// processes.
    pub script: bool,
    /// Limits on its resources.
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

/// Serializes a path, which may not be UTF-8, as a JSON string.
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

/// The same for several paths.
mod paths {
    use std::path::PathBuf;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(paths: &[PathBuf], to: S) -> Result<S::Ok, S::Error> {
        let texts: Vec<String> = paths.iter().map(|path| api::path::text(path)).collect();
        texts.serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<PathBuf>, D::Error> {
        let texts = Vec::<String>::deserialize(from)?;
        Ok(texts.iter().map(|text| api::path::read(text)).collect())
    }
}

/// The same for an optional path.
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
