//! Why a run failed, as a stable code for programs and a sentence for people.
//!
//! FFmpeg's exit codes say little, so its last words are read too. Nothing in a message comes from
//! outside unchecked: paths are cut out, control characters dropped, the length bounded.

use std::{borrow::Cow, io::ErrorKind, os::unix::process::ExitStatusExt, process::ExitStatus};

use nix::libc;

use crate::sandbox::EXIT_UNFENCED;

/// Longest message, in characters.
const MESSAGE_MAX: usize = 300;

/// Why a task's attempt failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// Stable, for example "not_a_video".
    pub code: Cow<'static, str>,
    /// For people.
    pub message: String,
    /// Whether another attempt can end differently.
    pub retryable: bool,
}

impl Fault {
    /// A fault of the source: every attempt ends the same way.
    pub fn permanent(code: &'static str, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), retryable: false }
    }

    /// A fault of the moment, the machine or the program.
    pub fn retryable(code: &'static str, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), retryable: true }
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

/// What FFmpeg says and what that means; the first hit counts.
const LAST_WORDS: [(&str, &str, bool); 11] = [
    ("No space left on device", DISK_FULL, true),
    ("Cannot allocate memory", "out_of_memory", true),
    ("File too large", "output_too_large", false),
    ("Unknown encoder", "encoder_missing", true),
    ("Unknown decoder", "unsupported", false),
    ("no decoder found", "unsupported", false),
    ("Decoder not found", "unsupported", false),
    ("matches no streams", "unsupported", false),
    ("Picture size", "unsupported", false),
    ("Invalid data found when processing input", "not_a_video", false),
    ("Format not on whitelist", "not_a_video", false),
];

/// Classifies a run that did not end with success.
pub fn classify(status: ExitStatus, stopped: Option<Stopped>, log: &[String]) -> Fault {
    match stopped {
        Some(Stopped::Stalled) => return Fault::retryable("timeout", "no progress for too long"),
        Some(Stopped::Overdue) => return Fault::retryable("timeout", "took too long"),
        Some(Stopped::Flooded) => {
            return Fault::permanent("output_too_large", "made more output than allowed");
        }
        None => {}
    }
    if status.code() == Some(i32::from(EXIT_UNFENCED)) {
        return Fault::retryable("sandbox_failed", summary(log, "the sandbox cannot be set up"));
    }
    for (words, code, retryable) in LAST_WORDS {
        if log.iter().any(|line| line.contains(words)) {
            let message = told(words).map_or_else(|| summary(log, words), str::to_owned);
            return Fault { code: code.into(), message, retryable };
        }
    }
    match status.signal() {
        Some(libc::SIGXCPU) => Fault::retryable("timeout", "used too much processor time"),
        Some(libc::SIGXFSZ) => Fault::permanent("output_too_large", "wrote too large a file"),
        // Not ours, so the kernel's: it ran out of memory.
        Some(libc::SIGKILL) => Fault::retryable("out_of_memory", "was killed by the system"),
        Some(signal) => Fault::retryable("ffmpeg_crashed", format!("ended by signal {signal}")),
        None => Fault::retryable("ffmpeg_failed", summary(log, "failed without a word")),
    }
}

/// What an uploader can make more of than of FFmpeg's words.
fn told(words: &str) -> Option<&'static str> {
    match words {
        "Invalid data found when processing input" => Some("its bytes are no film that is known"),
        "Format not on whitelist" => Some("its format is not one of those that are read"),
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

    use super::{Stopped, classify, clean};

    #[test]
    fn last_words_and_signals_become_codes() {
        let failed = ExitStatus::from_raw(1 << 8);
        let log = |line: &str| vec!["[warning] hm".to_owned(), line.to_owned()];
        for (status, stopped, line, code, retryable) in [
            (failed, None, "[error] av_write: No space left on device", "disk_full", true),
            (
                failed,
                None,
                "[error] x: Invalid data found when processing input",
                "not_a_video",
                false,
            ),
            (failed, None, "[error] something else", "ffmpeg_failed", true),
            (ExitStatus::from_raw(11), None, "", "ffmpeg_crashed", true),
            (ExitStatus::from_raw(9), None, "", "out_of_memory", true),
            (ExitStatus::from_raw(9), Some(Stopped::Stalled), "", "timeout", true),
            (ExitStatus::from_raw(125 << 8), None, "no landlock", "sandbox_failed", true),
        ] {
            let fault = classify(status, stopped, &log(line));
            assert_eq!((fault.code.as_ref(), fault.retryable), (code, retryable), "{line}");
        }
    }

    #[test]
    fn messages_hold_no_paths_and_no_control_characters() {
        let line = "[error] file:/srv/secret/x.mp4: \u{1b}[31mInvalid\u{7} data";
        assert_eq!(clean(line), "[error] … [31mInvalid data");
        assert_eq!(clean(&"x ".repeat(1000)).chars().count(), 300);
    }
}
