//! `streaming-service upload`, as a user runs it, and tus-js-client, as an application uses it.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use crate::harness::{program, proxy::Proxy, stack::Stack};

/// The command, ready to start.
pub(crate) fn upload(stack: &Stack, proxy: &Proxy, file: &Path) -> Command {
    let mut command = stack.command("streaming-service");
    command.env("STREAMING_HTTP_ADDR", &proxy.address);
    command.arg("upload").arg(file).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Runs the command to its end and returns its output.
pub(crate) async fn run(stack: &Stack, proxy: &Proxy, file: &Path) -> String {
    let mut command = upload(stack, proxy, file);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = tokio::task::spawn_blocking(move || command.output().expect("run upload"));
    let output = output.await.expect("wait for upload");
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{text}");
    text
}

/// `Some` if the state of an unfinished upload has been saved.
pub(crate) fn remembered(stack: &Stack) -> Option<()> {
    let folder = std::fs::read_dir(stack.data().join("uploads"));
    let mut files = folder.into_iter().flatten().flatten();
    files.any(|file| file.path().extension().is_some_and(|kind| kind == "json")).then_some(())
}

/// Uploading a file that is not a video fails with the reason and a matching exit status.
pub(crate) async fn rejects_a_file_that_is_not_a_video(stack: &Stack, proxy: &Proxy, file: &Path) {
    for form in [false, true] {
        let mut command = upload(stack, proxy, file);
        if form {
            command.arg("--form");
        }
        command.stderr(Stdio::piped());
        let output = tokio::task::spawn_blocking(move || command.output().expect("run upload"));
        let output = output.await.expect("wait for upload");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && text.lines().count() == 1, "{text}");
    }
}

/// Uploads with tus-js-client in requests of `chunk` bytes: the first client stops after
/// `interrupt` bytes and a second one resumes. Returns the script's report.
pub(crate) async fn tus_js_client(stack: &Stack, file: &Path, chunk: u64, interrupt: u64) -> Value {
    let order = json!({
        "endpoint": format!("http://{}/api/uploads", stack.http),
        "token": stack.token,
        "file": file,
        "chunk": chunk,
        "interrupt": interrupt,
    });
    let folder = program::repository().join("tests/browser");
    let output = tokio::task::spawn_blocking(move || {
        program::output(
            "node",
            &[folder.join("tus.mjs").to_string_lossy().into_owned(), order.to_string()],
        )
    });
    let output = output.await.expect("wait for node");
    serde_json::from_slice(&output).expect("one line of JSON")
}
