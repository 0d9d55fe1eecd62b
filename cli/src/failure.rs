//! Errors of commands, for scripts: an exit code, and with `--json` one line of JSON on standard
//! error. Errors are never written to standard output.

use std::{io, process::ExitCode};

use api::code::Code;
use runtime::command_line::{EXIT_USAGE, UsageError};
use serde_json::json;

use crate::{output::one_line, server::DiscoveryError};

/// The meaning of each exit code; `--help` shows it.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0  success
  1  rejected by the server, or another failure
  2  wrong usage
  3  no service found, service unreachable, or no token found
  4  unknown video, text track, job or worker
  5  the token is invalid or lacks the permission
  6  the watched job failed or was cancelled";

/// The exit code of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Rejected by the server, or any other failure.
    Failed = 1,
    /// No service found, service unreachable, or no token found.
    Unreachable = 3,
    /// A video, text track, job or worker on the command line does not exist.
    NotFound = 4,
    /// The token is invalid or lacks the permission.
    Denied = 5,
    /// The watched job did not complete.
    JobEnded = 6,
}

/// A failure with a code and an exit code that scripts can distinguish.
#[derive(Debug, thiserror::Error)]
#[error("{message} ({code})")]
pub(crate) struct Failure {
    code: String,
    message: String,
    exit: Exit,
}

impl Failure {
    /// An error reply of the server.
    pub(crate) fn rejected(code: &str, message: String) -> Self {
        let exit = match Code::parse(code) {
            Some(Code::NotFound) => Exit::NotFound,
            Some(Code::Unauthenticated | Code::PermissionDenied) => Exit::Denied,
            Some(Code::Unavailable) => Exit::Unreachable,
            _ => Exit::Failed,
        };
        Self { code: code.to_owned(), message, exit }
    }

    /// The connection to `addr` failed.
    pub(crate) fn unreachable(addr: &str, why: &str) -> Self {
        let message = format!("cannot reach {addr}: {why}");
        Self { code: "unreachable".to_owned(), message, exit: Exit::Unreachable }
    }

    /// An object named on the command line does not exist.
    pub(crate) fn not_found(message: String) -> Self {
        Self::rejected(Code::NotFound.text(), message)
    }

    /// The watched job failed or was cancelled.
    pub(crate) fn job(code: &str, message: String) -> Self {
        Self { code: code.to_owned(), message, exit: Exit::JobEnded }
    }
}

/// Prints an error and returns its exit code.
pub(crate) fn report(error: &anyhow::Error, as_json: bool) -> ExitCode {
    // The reader of standard output closed the pipe, as in `streaming-service videos list | head
    // -1`.
    if error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe) {
        return ExitCode::SUCCESS;
    }
    let (code, message, exit) = classify(error);
    if as_json {
        let value = json!({"error": {"code": code, "message": message, "exitCode": exit as u8}});
        eprintln!("{value}");
    } else {
        eprintln!("streaming-service: {}", one_line(&format!("{error:#}")));
    }
    ExitCode::from(exit as u8)
}

/// Prints a usage error and returns its exit code.
pub(crate) fn usage(error: &UsageError) -> ExitCode {
    // The arguments could not be parsed, so look for the flag itself.
    if !std::env::args_os().any(|arg| arg == "--json") {
        return error.report("streaming-service");
    }
    let message = error.to_string();
    let value = json!({"error": {"code": "usage", "message": message, "exitCode": EXIT_USAGE}});
    eprintln!("{value}");
    ExitCode::from(EXIT_USAGE)
}

fn classify(error: &anyhow::Error) -> (String, String, Exit) {
    if let Some(failure) = error.chain().find_map(|cause| cause.downcast_ref::<Failure>()) {
        return (failure.code.clone(), one_line(&failure.message), failure.exit);
    }
    let message = one_line(&format!("{error:#}"));
    if error.is::<DiscoveryError>() {
        return ("no_service".to_owned(), message, Exit::Unreachable);
    }
    ("failed".to_owned(), message, Exit::Failed)
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn failures_have_their_exit_codes() {
        let exit = |error: anyhow::Error| classify(&error).2;
        let rejected = |code: Code| exit(Failure::rejected(code.text(), String::new()).into());
        assert_eq!(rejected(Code::NotFound), Exit::NotFound);
        assert_eq!(rejected(Code::Unauthenticated), Exit::Denied);
        assert_eq!(rejected(Code::PermissionDenied), Exit::Denied);
        assert_eq!(rejected(Code::InvalidField), Exit::Failed);
        assert_eq!(
            exit(Failure::unreachable("h:1", "connection refused").into()),
            Exit::Unreachable
        );
        assert_eq!(exit(anyhow!("something else")), Exit::Failed);
        let wrapped = anyhow::Error::from(Failure::job("failed", "x".into())).context("watch");
        assert_eq!(exit(wrapped), Exit::JobEnded);
    }

    #[test]
    fn the_help_lists_every_exit_code() {
        for exit in [Exit::Failed, Exit::Unreachable, Exit::NotFound, Exit::Denied, Exit::JobEnded]
        {
            let line = format!("  {}  ", exit as u8);
            assert!(EXIT_CODES.lines().any(|found| found.starts_with(&line)), "{line}");
        }
    }
}
