//! Status messages of `up` on standard output.

use std::{
    io::Write,
    sync::atomic::{AtomicBool, Ordering},
};

/// Whether messages are written as JSON. Global, because one process runs `up` once.
static AS_JSON: AtomicBool = AtomicBool::new(false);

/// Selects JSON or text for all messages that follow.
pub(crate) fn set_json(json: bool) {
    AS_JSON.store(json, Ordering::Relaxed);
}

/// Prints a status message, as text or, with `--json`, as a JSON line. Write errors are ignored: a
/// reader that has closed the pipe must not stop the service.
pub(crate) fn print_status(text: &str) {
    let mut out = std::io::stdout();
    let _ = if AS_JSON.load(Ordering::Relaxed) {
        writeln!(out, "{}", serde_json::json!({"ready": false, "message": text}))
    } else {
        writeln!(out, "streaming-service: {text}")
    };
}
