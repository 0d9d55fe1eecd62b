//! Commands that fail before they start: one line with the name of the invalid argument, and an
//! exit code for the kind of error.

#![cfg(test)] // helpers fail by panicking, as tests do

use std::{net::TcpListener, process::Command};

const PROGRAM: &str = env!("CARGO_BIN_EXE_streaming-service");

/// The error text of a command with invalid arguments.
fn usage_error(variables: &[(&str, &str)], args: &[&str]) -> String {
    ended(2, variables, args)
}

/// The error text of a command that ends with this code.
fn ended(code: i32, variables: &[(&str, &str)], args: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(PROGRAM);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("STREAMING_")) {
        command.env_remove(name);
    }
    command.current_dir(folder.path()).envs(variables.iter().copied()).args(args);
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(output.stdout.is_empty());
    text
}

#[test]
fn an_invalid_variable_is_reported_in_one_line() {
    let text = usage_error(&[("STREAMING_WORKERS", "many")], &["up"]);
    assert!(text.starts_with("streaming-service: STREAMING_WORKERS: ") && text.contains("many"));
    // The flag overrides its variable, so the error names the flag.
    let text = usage_error(&[("STREAMING_WORKERS", "2")], &["up", "--workers", "many"]);
    assert!(text.contains("--workers") && !text.contains("STREAMING_WORKERS"), "{text}");
}

#[test]
fn usage_errors_are_json_with_the_json_flag() {
    let text = usage_error(&[], &["videos", "lst"]);
    assert!(text.contains("'lst'") && text.contains("'list'"), "{text}");
    let text = usage_error(&[], &["--json", "videos", "lst"]);
    let text: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(text["error"]["code"], "usage");
    assert_eq!(text["error"]["exitCode"], 2);
}

/// An upload retries when a server disappears for a moment, but not when there never was one: the
/// user would not see why it waits.
#[test]
fn an_upload_to_a_closed_port_fails_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("video.mp4");
    std::fs::write(&file, "video").unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let variables = [("STREAMING_HTTP_ADDR", closed.as_str()), ("STREAMING_TOKEN", "token")];
    let text = ended(3, &variables, &["upload", file.to_str().unwrap()]);
    assert!(text.contains(&closed) && text.contains("unreachable"), "{text}");
}
