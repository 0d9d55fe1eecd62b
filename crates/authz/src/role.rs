//! Roles and the operations that each one allows.

use std::{fmt, str::FromStr};

/// The role of a token's holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Operates the service: everything except a worker's calls.
    Admin,
    /// Uploads, transcodes, edits and cancels; deletes its own videos.
    Editor,
    /// Reads and plays.
    Viewer,
    /// A worker: leases tasks and nothing else.
    Worker,
    /// A data plane: indexes, keys and changes, and nothing else.
    Dataplane,
}

/// The kinds of operations that roles distinguish. Control checks ownership.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Read videos and jobs.
    Read,
    /// Upload, transcode, edit, cancel.
    Write,
    /// Delete a video.
    Delete,
    /// Mint and revoke tokens, drain workers.
    Admin,
    /// Lease tasks.
    Work,
    /// Serve playback: read indexes, keys and changes.
    Serve,
    /// Fetch manifests and segments.
    Play,
}

/// A text that does not name a role.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("\"{0}\" is not a role; must be one of admin, editor, viewer, worker, dataplane")]
pub struct RoleError(String);

impl Role {
    /// Every role.
    pub const ALL: [Self; 5] =
        [Self::Admin, Self::Editor, Self::Viewer, Self::Worker, Self::Dataplane];

    /// The stable name, used in tokens and flags.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Editor => "editor",
            Self::Viewer => "viewer",
            Self::Worker => "worker",
            Self::Dataplane => "dataplane",
        }
    }

    /// Whether the role may perform `operation` at all.
    pub const fn allows(self, operation: Operation) -> bool {
        use Operation::{Delete, Play, Read, Serve, Work, Write};
        match self {
            Self::Admin => !matches!(operation, Work),
            Self::Editor => matches!(operation, Read | Write | Delete | Play),
            Self::Viewer => matches!(operation, Read | Play),
            Self::Worker => matches!(operation, Work),
            Self::Dataplane => matches!(operation, Serve),
        }
    }
}

/// A text that does not name an operation.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "\"{0}\" is not an operation; must be one of read, write, delete, admin, work, serve, play"
)]
pub struct OperationError(String);

impl Operation {
    /// Every operation.
    pub const ALL: [Self; 7] =
        [Self::Read, Self::Write, Self::Delete, Self::Admin, Self::Work, Self::Serve, Self::Play];

    /// The stable name, used in a token's checks.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Delete => "delete",
            Self::Admin => "admin",
            Self::Work => "work",
            Self::Serve => "serve",
            Self::Play => "play",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl FromStr for Role {
    type Err = RoleError;

    fn from_str(text: &str) -> Result<Self, RoleError> {
        Self::ALL.into_iter().find(|role| role.text() == text).ok_or_else(|| RoleError(text.into()))
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl FromStr for Operation {
    type Err = OperationError;

    fn from_str(text: &str) -> Result<Self, OperationError> {
        let found = Self::ALL.into_iter().find(|operation| operation.text() == text);
        found.ok_or_else(|| OperationError(text.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::{Operation::*, Role};

    #[test]
    fn roles_allow_exactly_the_listed_operations() {
        let all = [Read, Write, Delete, Admin, Work, Serve, Play];
        let allowed = |role: Role| all.into_iter().filter(|o| role.allows(*o)).collect::<Vec<_>>();
        assert_eq!(allowed(Role::Admin), [Read, Write, Delete, Admin, Serve, Play]);
        assert_eq!(allowed(Role::Editor), [Read, Write, Delete, Play]);
        assert_eq!(allowed(Role::Viewer), [Read, Play]);
        assert_eq!(allowed(Role::Worker), [Work]);
        assert_eq!(allowed(Role::Dataplane), [Serve]);
    }

    #[test]
    fn role_texts_read_back() {
        for role in Role::ALL {
            assert_eq!(role.to_string().parse(), Ok(role));
        }
        assert!("root".parse::<Role>().is_err() && "Admin".parse::<Role>().is_err());
    }
}
