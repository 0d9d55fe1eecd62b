//! A script of tests/browser in node, which drives headless Chromium. Both sides write one JSON object a line.

use std::process::{ExitStatus, Stdio};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

use super::program;

/// A running script; dropping it closes the browser.
pub(crate) struct Node {
    child: Child,
    input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Node {
    /// Starts `tests/browser/{script}` with `order` as its argument.
    pub(crate) fn start(script: &str, order: &Value) -> Self {
        let chromium =
            program::tool("chromium").expect("chromium is missing: run `tools/install test`");
        let mut child = Command::new("node")
            .env("CHROMIUM", chromium)
            .arg(script)
            .arg(order.to_string())
            .current_dir(program::repository().join("tests/browser"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("start node");
        let input = child.stdin.take().expect("stdin");
        let lines = BufReader::new(child.stdout.take().expect("stdout")).lines();
        Self { child, input, lines }
    }

    /// The next object of the script; `None` when it has ended.
    pub(crate) async fn read(&mut self) -> Option<Value> {
        let line = self.lines.next_line().await.expect("read from node")?;
        Some(serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}")))
    }

    /// Sends an object to the script.
    pub(crate) async fn write(&mut self, value: &Value) {
        self.input.write_all(format!("{value}\n").as_bytes()).await.expect("write to node");
    }

    /// Waits for the end of the script.
    pub(crate) async fn wait(mut self) -> ExitStatus {
        self.child.wait().await.expect("wait for node")
    }
}
