//! Runs the console in headless Chromium: a script of tests/browser/console against a service.
//!
//! A script prints one JSON object a line. A line with `ask` is a question, which the test answers
//! with one line; the script then goes on.

use std::time::Duration;

use serde_json::{Value, json};

use super::{node::Node, stack::Stack};

/// From the start of a script until its end.
const DEADLINE: Duration = Duration::from_secs(300);

/// A running script; dropping it closes the browser.
pub(crate) struct Script {
    name: &'static str,
    node: Node,
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
        let node = Node::start(&format!("console/{name}"), &order);
        Self { name, node, printed: Vec::new() }
    }

    /// The next question of the script; `None` when it has ended.
    pub(crate) async fn question(&mut self) -> Option<Value> {
        let next = async {
            while let Some(value) = self.node.read().await {
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
        self.node.write(answer).await;
    }

    /// Waits for the end; panics when the script failed. Returns its lines.
    pub(crate) async fn finish(mut self) -> Vec<Value> {
        if let Some(question) = self.question().await {
            panic!("{} asked: {question}", self.name);
        }
        let status = self.node.wait().await;
        assert!(status.success(), "{} ended with {status}: {:#?}", self.name, self.printed);
        self.printed
    }
}
