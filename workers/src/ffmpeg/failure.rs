//! Classifies failed runs: a stable code for programs and a message for people.
//!
//! FFmpeg's exit codes carry little information, so the end of its log is examined as well. Log text is cleaned
//! before it becomes part of a message: paths and control characters are removed and the length is bounded.

use std::{
    borrow::Cow, io::ErrorKind, ops::RangeInclusive, os::unix::process::ExitStatusExt,
    process::ExitStatus,
};

use api::v1;
use nix::libc;

use crate::sandbox::EXIT_UNFENCED;

/// Maximum length of a message, in characters.
const MESSAGE_MAX: usize = 300;

/// Where the cause of a failure lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// In the source's bytes, by one of a closed list of messages: every attempt fails the same way.
    Source,
    /// In the lease, which is unusable. This implies nothing about the source: every attempt fails the same way.
    Lease,
    /// In the host, a temporary condition or the program: another attempt can succeed.
    Host,
    /// As `Host`, and afterwards the host probed its own sample successfully.
    HealthyHost,
    /// The host fails to probe its own sample, so its results about sources are not trusted.
    UnhealthyHost,
}

impl From<Cause> for v1::FailureCause {
    fn from(cause: Cause) -> Self {
        match cause {
            Cause::Source => Self::Source,
            Cause::Lease | Cause::Host => Self::Unspecified,
            Cause::HealthyHost => Self::HealthyHost,
            Cause::UnhealthyHost => Self::UnhealthyHost,
        }
    }
}

/// Why a task's attempt failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// Stable code, for example "not_a_video".
    pub code: Cow<'static, str>,
    /// Message for people.
    pub message: String,
    /// Where the cause lies.
    pub cause: Cause,
}

impl Fault {
    /// A permanent failure that the source's bytes cause.
    pub fn permanent(code: &'static str, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), cause: Cause::Source }
    }

    /// A lease that no worker can work on.
    pub fn lease(message: impl Into<String>) -> Self {
        Self { code: "invalid_lease".into(), message: message.into(), cause: Cause::Lease }
    }

    /// A failure that a temporary condition, the host or the program causes.
    pub fn retryable(code: &'static str, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), cause: Cause::Host }
    }

    /// Whether another attempt can succeed.
    pub fn is_retryable(&self) -> bool {
        !matches!(self.cause, Cause::Source | Cause::Lease)
    }

    /// A file of the worker that cannot be read or written; a full disk has its own code.
    pub fn io(what: &str, error: &std::io::Error) -> Self {
        // Checks the kind, because code that adds a path to an error drops its errno.
        let full = matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
        let code = if full { DISK_FULL } else { "io_failed" };
        Self::retryable(code, format!("{what}: {}", error.kind()))
    }
}

/// The code of a full disk. The worker then pauses.
pub const DISK_FULL: &str = "disk_full";

/// Why the worker stopped a run early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// No progress for too long.
    Stalled,
    /// The run took longer than any legitimate source needs.
    Overdue,
    /// The run wrote more output than any legitimate source causes.
    Flooded,
}

/// FFmpeg's error texts for failures of the host. If the log contains one of them, all others are ignored, because
/// bytes that were read only in part look invalid.
const HOST_WORDS: [(&str, &str); 16] = [
    ("No space left on device", DISK_FULL),
    ("Cannot allocate memory", "out_of_memory"),
    ("File too large", "output_too_large"),
    ("Unknown encoder", "encoder_missing"),
    ("Input/output error", "io_failed"),
    ("Permission denied", "io_failed"),
    ("Operation not permitted", "io_failed"),
    ("No such file or directory", "io_failed"),
    ("Stale file handle", "io_failed"),
    ("Resource temporarily unavailable", "io_failed"),
    ("Too many open files", "io_failed"),
    ("Connection refused", "io_failed"),
    ("Connection reset", "io_failed"),
    ("Connection timed out", "io_failed"),
    ("Server returned", "io_failed"),
    ("error while loading shared libraries", "ffmpeg_failed"),
];

/// FFmpeg's error texts about a source's bytes. No other text may mark a source as invalid.
const FINDINGS: [(&str, &str); 12] = [
    ("Invalid data found when processing input", "not_a_video"),
    ("Format not on whitelist", "not_a_video"),
    ("moov atom not found", "not_a_video"),
    // The header extends beyond the end of the file, or contains values that the demuxer cannot handle.
    ("End of file", "not_a_video"),
    ("Invalid argument", "not_a_video"),
    ("header corrupt", "not_a_video"),
    ("Unknown decoder", "unsupported"),
    ("no decoder found", "unsupported"),
    ("Decoder not found", "unsupported"),
    ("matches no streams", "unsupported"),
    ("Picture size", "unsupported"),
    ("Not yet implemented in FFmpeg, patches welcome", "unsupported"),
];

/// The shell's exit codes for a program that cannot be run, is missing or lacks a library.
const EXIT_UNRUNNABLE: [i32; 2] = [126, 127];
/// The shell's exit codes for a program that a signal ended: 128 plus the signal's number.
const EXIT_SIGNALLED: RangeInclusive<i32> = 129..=159;

/// Classifies a run that failed. The source is the cause only if the log contains a text of the closed list, the
/// program ended by itself and the log shows no failure of the host; otherwise the host is the cause.
pub fn classify(status: ExitStatus, stopped: Option<Stopped>, log: &[String]) -> Fault {
    match stopped {
        Some(Stopped::Stalled) => return Fault::retryable("timeout", "no progress for too long"),
        Some(Stopped::Overdue) => return Fault::retryable("timeout", "took too long"),
        Some(Stopped::Flooded) => {
            return Fault::permanent("output_too_large", "made more output than allowed");
        }
        None => {}
    }
    let code = match status.code() {
        Some(code) if EXIT_SIGNALLED.contains(&code) => return signalled(code - 128),
        Some(code) => code,
        None => return signalled(status.signal().unwrap_or_default()),
    };
    if code == i32::from(EXIT_UNFENCED) {
        return Fault::retryable("sandbox_failed", summary(log, "the sandbox cannot be set up"));
    }
    if let Some(fault) = host_fault(log) {
        return fault;
    }
    if EXIT_UNRUNNABLE.contains(&code) {
        return Fault::retryable("ffmpeg_failed", format!("cannot be run: exit code {code}"));
    }
    for (words, code) in FINDINGS {
        if said(log, words) {
            let message = told(words).map_or_else(|| summary(log, words), str::to_owned);
            return Fault::permanent(code, message);
        }
    }
    Fault::retryable("ffmpeg_failed", summary(log, "failed without an error message"))
}

fn host_fault(log: &[String]) -> Option<Fault> {
    let found = HOST_WORDS.into_iter().find(|(words, _)| said(log, words));
    found.map(|(words, code)| Fault::retryable(code, summary(log, words)))
}

/// The failure of a run that ended with success but may not have read all of its source.
pub fn unread(log: &[String]) -> Option<Fault> {
    let words = "Input/output error";
    said(log, words).then(|| Fault::retryable("io_failed", summary(log, words)))
}

fn said(log: &[String], words: &str) -> bool {
    log.iter().any(|line| line.contains(words))
}

fn signalled(signal: i32) -> Fault {
    match signal {
        libc::SIGXCPU => Fault::retryable("timeout", "used too much processor time"),
        libc::SIGXFSZ => Fault::retryable("output_too_large", "wrote too large a file"),
        // Not sent by the worker, so by the kernel, which ran out of memory.
        libc::SIGKILL => Fault::retryable("out_of_memory", "was killed by the system"),
        signal => Fault::retryable("ffmpeg_crashed", format!("ended by signal {signal}")),
    }
}

/// A message that is clearer to uploaders than FFmpeg's text.
fn told(words: &str) -> Option<&'static str> {
    match words {
        "Invalid data found when processing input"
        | "moov atom not found"
        | "End of file"
        | "Invalid argument"
        | "header corrupt" => Some("unsupported or corrupt media file"),
        "Format not on whitelist" => Some("its format is not supported"),
        _ => None,
    }
}

/// The text of the last error line, else the last line, else `otherwise`.
fn summary(log: &[String], otherwise: &str) -> String {
    let said = |line: &String| {
        let tail = line.rsplit_once("[error] ").or_else(|| line.rsplit_once("[fatal] "));
        tail.map(|(_, said)| clean(said))
    };
    let said = log.iter().rev().find_map(said);
    said.or_else(|| log.last().map(|line| clean(line))).unwrap_or_else(|| otherwise.to_owned())
}

/// Removes what must not appear in logs and messages: control characters, paths and excess length.
pub fn clean(line: &str) -> String {
    let words = line.split_whitespace().map(|word| if word.contains('/') { "…" } else { word });
    let text = words.collect::<Vec<_>>().join(" ");
    text.chars().filter(|c| !c.is_control()).take(MESSAGE_MAX).collect()
}

#[cfg(test)]
mod tests {
    use std::{os::unix::process::ExitStatusExt, process::ExitStatus};

    use super::{Cause, Stopped, classify, clean};

    #[test]
    fn only_a_finding_of_a_program_that_ended_by_itself_blames_the_source() {
        let invalid = "[error] x: Invalid data found when processing input";
        let exit = |code: i32| ExitStatus::from_raw(code << 8);
        let signal = ExitStatus::from_raw;
        for (status, stopped, line, code, cause) in [
            (exit(1), None, invalid, "not_a_video", Cause::Source),
            (exit(183), None, invalid, "not_a_video", Cause::Source),
            (exit(1), None, "[error] Format not on whitelist 'mov'", "not_a_video", Cause::Source),
            (exit(1), None, "[error] Decoder (codec none) not found", "ffmpeg_failed", Cause::Host),
            (exit(1), None, "[error] file:x: End of file", "not_a_video", Cause::Source),
            (exit(1), None, "[error] no decoder found for: x", "unsupported", Cause::Source),
            (exit(1), None, "[error] av_write: No space left on device", "disk_full", Cause::Host),
            (exit(1), None, "[error] x: Input/output error", "io_failed", Cause::Host),
            (exit(1), None, "[error] something else", "ffmpeg_failed", Cause::Host),
            (exit(1), None, "", "ffmpeg_failed", Cause::Host),
            (exit(126), None, invalid, "ffmpeg_failed", Cause::Host),
            (exit(127), None, invalid, "ffmpeg_failed", Cause::Host),
            (exit(137), None, invalid, "out_of_memory", Cause::Host),
            (exit(139), None, invalid, "ffmpeg_crashed", Cause::Host),
            (signal(11), None, invalid, "ffmpeg_crashed", Cause::Host),
            (signal(9), None, invalid, "out_of_memory", Cause::Host),
            (signal(9), Some(Stopped::Stalled), invalid, "timeout", Cause::Host),
            (signal(9), Some(Stopped::Overdue), invalid, "timeout", Cause::Host),
            (exit(125), None, "no landlock", "sandbox_failed", Cause::Host),
        ] {
            let fault = classify(status, stopped, &["[warning] hm".to_owned(), line.to_owned()]);
            assert_eq!((fault.code.as_ref(), fault.cause), (code, cause), "{status:?} {line}");
        }
        let both = [invalid.to_owned(), "[error] x: Input/output error".to_owned()];
        assert_eq!(
            classify(exit(1), None, &both).cause,
            Cause::Host,
            "half-read bytes look invalid"
        );
    }

    #[test]
    fn messages_hold_no_paths_and_no_control_characters() {
        let line = "[error] file:/srv/secret/x.mp4: \u{1b}[31mInvalid\u{7} data";
        assert_eq!(clean(line), "[error] … [31mInvalid data");
        assert_eq!(clean(&"x ".repeat(1000)).chars().count(), 300);
    }
}
