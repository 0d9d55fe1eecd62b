//! Classifies failed runs: a stable code for programs and a message for people.
//!
//! FFmpeg's exit codes carry little information, so the end of its log is examined as well. Log
//! text is cleaned before it becomes part of a message: paths and control characters are removed
//! and the length is bounded.

use std::{ops::RangeInclusive, os::unix::process::ExitStatusExt, process::ExitStatus};

use nix::libc;

use crate::{
    outcome::{DISK_FULL, TaskFailure},
    sandbox::EXIT_SANDBOX_FAILED,
};

/// Maximum length of a message, in characters.
const MESSAGE_MAX: usize = 300;

/// Why the worker stopped a run early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// No progress for too long.
    Stalled,
    /// The run took longer than any legitimate source needs.
    TimedOut,
    /// The run wrote more output than any legitimate source causes.
    OutputTooLarge,
}

/// FFmpeg's error texts for failures of the host. If the log contains one of them, all others are
/// ignored, because bytes that were read only in part look invalid.
const HOST_ERROR_TEXTS: [(&str, &str); 16] = [
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
const SOURCE_ERROR_TEXTS: [(&str, &str); 12] = [
    ("Invalid data found when processing input", "not_a_video"),
    ("Format not on whitelist", "not_a_video"),
    ("moov atom not found", "not_a_video"),
    // The header extends beyond the end of the file, or contains values that the demuxer cannot
    // handle.
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

/// Classifies a run that failed. The source is the cause only if the log contains a text of the
/// closed list, the program ended by itself and the log shows no failure of the host; otherwise the
/// host is the cause.
pub fn classify(status: ExitStatus, stopped: Option<StopReason>, log: &[String]) -> TaskFailure {
    match stopped {
        Some(StopReason::Stalled) => {
            return TaskFailure::retryable("timeout", "no progress for too long");
        }
        Some(StopReason::TimedOut) => return TaskFailure::retryable("timeout", "took too long"),
        Some(StopReason::OutputTooLarge) => {
            return TaskFailure::permanent("output_too_large", "produced too much output");
        }
        None => {}
    }
    let code = match status.code() {
        Some(code) if EXIT_SIGNALLED.contains(&code) => return signal_failure(code - 128),
        Some(code) => code,
        None => return signal_failure(status.signal().unwrap_or_default()),
    };
    if code == i32::from(EXIT_SANDBOX_FAILED) {
        return TaskFailure::retryable(
            "sandbox_failed",
            summary(log, "the sandbox cannot be set up"),
        );
    }
    if let Some(failure) = host_failure(log) {
        return failure;
    }
    if EXIT_UNRUNNABLE.contains(&code) {
        return TaskFailure::retryable("ffmpeg_failed", format!("cannot be run: exit code {code}"));
    }
    for (words, code) in SOURCE_ERROR_TEXTS {
        if contains(log, words) {
            let message =
                message_for_uploader(words).map_or_else(|| summary(log, words), str::to_owned);
            return TaskFailure::permanent(code, message);
        }
    }
    TaskFailure::retryable("ffmpeg_failed", summary(log, "failed without an error message"))
}

fn host_failure(log: &[String]) -> Option<TaskFailure> {
    let found = HOST_ERROR_TEXTS.into_iter().find(|(words, _)| contains(log, words));
    found.map(|(words, code)| TaskFailure::retryable(code, summary(log, words)))
}

/// The failure of a run that ended with success but may not have read all of its source.
pub fn unread(log: &[String]) -> Option<TaskFailure> {
    let words = "Input/output error";
    contains(log, words).then(|| TaskFailure::retryable("io_failed", summary(log, words)))
}

fn contains(log: &[String], words: &str) -> bool {
    log.iter().any(|line| line.contains(words))
}

fn signal_failure(signal: i32) -> TaskFailure {
    match signal {
        libc::SIGXCPU => TaskFailure::retryable("timeout", "used too much CPU time"),
        libc::SIGXFSZ => {
            TaskFailure::retryable("output_too_large", "wrote a file that is too large")
        }
        // The worker did not send the signal, so the kernel did, because memory ran out.
        libc::SIGKILL => {
            TaskFailure::retryable("out_of_memory", "was killed by the kernel (out of memory)")
        }
        signal => TaskFailure::retryable("ffmpeg_crashed", format!("ended by signal {signal}")),
    }
}

/// A message that is clearer to uploaders than FFmpeg's text.
fn message_for_uploader(words: &str) -> Option<&'static str> {
    match words {
        "Invalid data found when processing input"
        | "moov atom not found"
        | "End of file"
        | "Invalid argument"
        | "header corrupt" => Some("unsupported or corrupt media file"),
        "Format not on whitelist" => Some("unsupported media format"),
        _ => None,
    }
}

/// The text of the last error line, else the last line, else `otherwise`.
fn summary(log: &[String], otherwise: &str) -> String {
    let text = |line: &String| {
        let tail = line.rsplit_once("[error] ").or_else(|| line.rsplit_once("[fatal] "));
        tail.map(|(_, text)| clean(text))
    };
    let text = log.iter().rev().find_map(text);
    text.or_else(|| log.last().map(|line| clean(line))).unwrap_or_else(|| otherwise.to_owned())
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

    use super::{StopReason, classify, clean};
    use crate::outcome::Cause;

    #[test]
    fn only_an_error_of_a_program_that_exited_by_itself_is_attributed_to_the_source() {
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
            (signal(9), Some(StopReason::Stalled), invalid, "timeout", Cause::Host),
            (signal(9), Some(StopReason::TimedOut), invalid, "timeout", Cause::Host),
            (exit(125), None, "no landlock", "sandbox_failed", Cause::Host),
        ] {
            let failure = classify(status, stopped, &["[warning] x".to_owned(), line.to_owned()]);
            assert_eq!((failure.code.as_ref(), failure.cause), (code, cause), "{status:?} {line}");
        }
        let both = [invalid.to_owned(), "[error] x: Input/output error".to_owned()];
        assert_eq!(
            classify(exit(1), None, &both).cause,
            Cause::Host,
            "bytes that were read in part look invalid"
        );
    }

    #[test]
    fn messages_contain_no_paths_and_no_control_characters() {
        let line = "[error] file:/srv/secret/x.mp4: \u{1b}[31mInvalid\u{7} data";
        assert_eq!(clean(line), "[error] … [31mInvalid data");
        assert_eq!(clean(&"x ".repeat(1000)).chars().count(), 300);
    }
}
