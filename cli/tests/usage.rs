//! A command line or a variable that cannot be understood: one line, the name at fault, exit code 2.

#![expect(clippy::unwrap_used, reason = "a test says what is wrong by failing")]

use std::process::Command;

const PROGRAM: &str = env!("CARGO_BIN_EXE_streaming-service");

/// What the refused command says, line by line.
fn refused(variables: &[(&str, &str)], args: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(PROGRAM);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("STREAMING_")) {
        command.env_remove(name);
    }
    command.current_dir(folder.path()).envs(variables.iter().copied()).args(args);
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(output.stdout.is_empty());
    text
}

#[test]
fn a_bad_variable_is_named_in_one_line() {
    let told = refused(&[("STREAMING_WORKERS", "many")], &["up"]);
    assert!(told.starts_with("streaming-service: STREAMING_WORKERS: ") && told.contains("many"));
    // The flag wins over its twin, and is what is at fault then.
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
