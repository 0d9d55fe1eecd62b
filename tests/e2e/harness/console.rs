//! Runs the console in headless Chromium: a script of tests/browser/console against a service.
//!
//! A script prints one JSON object a line. A line with `ask` is a question, which the test answers
//! with one line; the script then goes on.

use std::{process::Stdio, time::Duration};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

use super::{program, stack::Stack};

/// From the start of a script until its end.
const DEADLINE: Duration = Duration::from_secs(300);

/// A running script; dropping it closes the browser.
pub(crate) struct Script {
    name: &'static str,
    child: Child,
    input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    printed: Vec<Value>,
}

impl Script {
    /// Starts `tests/browser/console/{name}` with the service's address, the admin's token and
    /// `extra`.
    pub(crate) fn begin(name: &'static str, stack: &Stack, extra: &Value) -> Self {
        let mut order =
            json!({"origin": format!("http://{}", stack.http), "token": stack.token.clone()});
        let fields = extra.as_object().expect("an object").clone();
        order.as_object_mut().expect("an object").extend(fields);
        let chromium =
            program::tool("chromium").expect("chromium is missing: run `tools/install test`");
        let mut child = Command::new("node")
            .env("CHROMIUM", chromium)
            .arg(format!("console/{name}"))
            .arg(order.to_string())
            .current_dir(program::repository().join("tests/browser"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("start node");
        let input = child.stdin.take().expect("stdin");
        let lines = BufReader::new(child.stdout.take().expect("stdout")).lines();
        Self { name, child, input, lines, printed: Vec::new() }
    }

    /// The next question of the script; `None` when it has ended.
    pub(crate) async fn question(&mut self) -> Option<Value> {
        let next = async {
            while let Some(line) = self.lines.next_line().await.expect("read from node") {
                let value: Value =
                    serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"));
                self.printed.push(value.clone());
                if value["ask"].is_string() {
                    return Some(value);
                }
            }
            None
        };
        let limited = tokio::time::timeout(DEADLINE, next).await;
        limited.unwrap_or_else(|_| panic!("{} takes too long: {:#?}", self.name, self.printed))
    }

    /// Answers the last question.
    pub(crate) async fn answer(&mut self, answer: &Value) {
        self.input.write_all(format!("{answer}\n").as_bytes()).await.expect("write to node");
    }

    /// Waits for the end; panics when the script failed. Returns its lines.
    pub(crate) async fn finish(mut self) -> Vec<Value> {
        if let Some(question) = self.question().await {
            panic!("{} asked: {question}", self.name);
        }
        let status = self.child.wait().await.expect("wait for node");
        assert!(status.success(), "{} ended with {status}: {:#?}", self.name, self.printed);
        self.printed
    }
}
