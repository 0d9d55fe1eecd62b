//! Why a run failed, as a stable code for programs and a sentence for people.
//!
//! FFmpeg's exit codes say little, so its last words are read too. Nothing in a message comes from
//! outside unchecked: paths are cut out, control characters dropped, the length bounded.

use std::{
    borrow::Cow, io::ErrorKind, ops::RangeInclusive, os::unix::process::ExitStatusExt,
    process::ExitStatus,
};

use api::v1;
use nix::libc;

use crate::sandbox::EXIT_UNFENCED;

/// Longest message, in characters.
const MESSAGE_MAX: usize = 300;

/// What a failure says, and of what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A finding about the source's bytes, one of a closed list: every attempt ends the same way.
    Source,
    /// The lease is unusable, which says nothing of the source: every attempt ends the same way.
    Lease,
    /// The host, the moment or the program: another attempt can end differently.
    Host,
    /// As `Host`, and afterwards the host probed its own sample well.
    HealthyHost,
    /// The host fails to probe its own sample, so whatever it says of a source is void.
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
    /// Stable, for example "not_a_video".
    pub code: Cow<'static, str>,
    /// For people.
    pub message: String,
    /// What it says, and of what.
    pub cause: Cause,
}

impl Fault {
    /// A finding about the source's bytes.
    pub fn permanent(code: &'static str, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), cause: Cause::Source }
    }

    /// A lease that no worker can work on.
    pub fn lease(message: impl Into<String>) -> Self {
        Self { code: "invalid_lease".into(), message: message.into(), cause: Cause::Lease }
    }

    /// A fault of the moment, the machine or the program.
    pub fn retryable(code: &'static str, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), cause: Cause::Host }
    }

    /// Whether another attempt can end differently.
    pub fn is_retryable(&self) -> bool {
        !matches!(self.cause, Cause::Source | Cause::Lease)
    }

    /// A file of ours that cannot be read or written; a full disk has a code of its own.
    pub fn io(what: &str, error: &std::io::Error) -> Self {
        // The kind, because whoever adds a path to an error drops its number.
        let full = matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
        let code = if full { DISK_FULL } else { "io_failed" };
        Self::retryable(code, format!("{what}: {}", error.kind()))
    }
}

/// The code of a full disk: the worker then pauses.
pub const DISK_FULL: &str = "disk_full";

/// Who ended a run before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// No progress for too long.
    Stalled,
    /// Longer than any honest source needs.
    Overdue,
    /// More output than any honest source makes.
    Flooded,
}

/// What FFmpeg says when its host fails it. Beside any of it nothing else counts: half-read bytes look invalid.
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

/// What FFmpeg says of a source's bytes: nothing else that it says may blame a source.
const FINDINGS: [(&str, &str); 12] = [
    ("Invalid data found when processing input", "not_a_video"),
    ("Format not on whitelist", "not_a_video"),
    ("moov atom not found", "not_a_video"),
    // The header goes on beyond the file, or holds what a demuxer cannot work with.
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

/// The shell's: a program that cannot be run, or is not there or lacks a library.
const EXIT_UNRUNNABLE: [i32; 2] = [126, 127];
/// The shell's, of a program that a signal ended: 128 and the signal's number.
const EXIT_SIGNALLED: RangeInclusive<i32> = 129..=159;

/// Classifies a run that did not end with success. A finding is what the closed list holds, of a program
/// that ended by itself and whose host did not fail it; everything else is the host's.
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

/// Why a run that ended with success may not have read all of its source.
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
        // Not ours, so the kernel's: it ran out of memory.
        libc::SIGKILL => Fault::retryable("out_of_memory", "was killed by the system"),
        signal => Fault::retryable("ffmpeg_crashed", format!("ended by signal {signal}")),
    }
}

/// What an uploader can make more of than of FFmpeg's words.
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

/// What the last error line says, or `otherwise`.
fn summary(log: &[String], otherwise: &str) -> String {
    let said = |line: &String| {
        let tail = line.rsplit_once("[error] ").or_else(|| line.rsplit_once("[fatal] "));
        tail.map(|(_, said)| clean(said))
    };
    let said = log.iter().rev().find_map(said);
    said.or_else(|| log.last().map(|line| clean(line))).unwrap_or_else(|| otherwise.to_owned())
}

/// Drops what must not reach a log or a person: control characters, paths, excess length.
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
