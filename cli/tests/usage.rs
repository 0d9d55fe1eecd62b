//! Commands that fail before they start: one line with the name of the invalid argument, and an exit code
//! for the kind of error.

#![expect(clippy::unwrap_used, reason = "a test says what is wrong by failing")]

use std::{net::TcpListener, process::Command};

const PROGRAM: &str = env!("CARGO_BIN_EXE_streaming-service");

/// The error text of a command with invalid arguments.
fn refused(variables: &[(&str, &str)], args: &[&str]) -> String {
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
fn a_bad_variable_is_named_in_one_line() {
    let told = refused(&[("STREAMING_WORKERS", "many")], &["up"]);
    assert!(told.starts_with("streaming-service: STREAMING_WORKERS: ") && told.contains("many"));
    // The flag overrides its variable, so the error names the flag.
    let told = refused(&[("STREAMING_WORKERS", "2")], &["up", "--workers", "many"]);
    assert!(told.contains("--workers") && !told.contains("STREAMING_WORKERS"), "{told}");
}

#[test]
fn a_slip_is_told_as_json_where_json_is_asked_for() {
    let told = refused(&[], &["videos", "lst"]);
    assert!(told.contains("'lst'") && told.contains("'list'"), "{told}");
    let told = refused(&[], &["--json", "videos", "lst"]);
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["error"]["code"], "usage");
    assert_eq!(told["error"]["exitCode"], 2);
}

/// An upload retries when a server disappears for a moment, but not when there never was one: the user
/// would not see why it waits.
#[test]
fn an_upload_to_nobody_ends_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let film = folder.path().join("film.mp4");
    std::fs::write(&film, "film").unwrap();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let variables = [("STREAMING_HTTP_ADDR", nobody.as_str()), ("STREAMING_TOKEN", "token")];
    let told = ended(3, &variables, &["upload", film.to_str().unwrap()]);
    assert!(told.contains(&nobody) && told.contains("unreachable"), "{told}");
}
