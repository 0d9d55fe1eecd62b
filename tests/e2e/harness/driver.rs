//! Drives pages of the service in headless Chromium (tests/browser/player/drive.mjs).

use std::time::Duration;

use serde_json::{Value, json};

use super::{eventually, node::Node};

/// The time for one command, from the start of the browser on.
const COMMAND_DEADLINE: Duration = Duration::from_secs(60);

/// A browser with named pages; dropping it closes the browser.
pub(crate) struct Driver {
    node: Node,
    last: u64,
    /// The origin of the embedding page.
    pub(crate) foreign: String,
}

impl Driver {
    /// Starts the browser; `address` is the data plane's `host:port`.
    pub(crate) async fn start(address: &str) -> Self {
        let order = json!({ "origin": format!("http://{address}") });
        let node = Node::start("player/drive.mjs", &order);
        let mut driver = Self { node, last: 0, foreign: String::new() };
        let hello = driver.reply(0).await;
        driver.foreign = hello["foreign"].as_str().expect("the embedding origin").to_owned();
        driver
    }

    /// Performs one operation of drive.mjs on a page; panics if it fails.
    pub(crate) async fn act(&mut self, page: &str, op: &str, mut given: Value) -> Value {
        self.last += 1;
        given["id"] = json!(self.last);
        given["page"] = json!(page);
        given["op"] = json!(op);
        self.node.write(&given).await;
        self.reply(self.last).await
    }

    async fn reply(&mut self, id: u64) -> Value {
        let reply = tokio::time::timeout(COMMAND_DEADLINE, self.node.read());
        let reply = reply.await.expect("browser deadline").expect("drive.mjs ended early");
        assert_eq!(reply["id"], id, "{reply}");
        assert!(reply["error"].is_null(), "{}", reply["error"].as_str().unwrap_or_default());
        reply["value"].clone()
    }

    /// Opens a page and returns its HTTP status.
    pub(crate) async fn open(&mut self, page: &str, path: &str, mut given: Value) -> Value {
        given["path"] = json!(path);
        self.act(page, "open", given).await["status"].clone()
    }

    /// The current state of a page, and the events of its media element since the last call.
    pub(crate) async fn state(&mut self, page: &str) -> Value {
        self.act(page, "state", json!({})).await
    }

    /// Waits until the state of a page satisfies `look`; returns that state with all events since
    /// the call.
    pub(crate) async fn until(
        &mut self,
        page: &str,
        what: &str,
        deadline: Duration,
        look: impl Fn(&Value) -> bool,
    ) -> Value {
        let mut events = Vec::new();
        let mut last = Value::Null;
        let this = tokio::sync::Mutex::new(self);
        let wait = eventually(what, deadline, async || {
            let mut state = this.lock().await.state(page).await;
            events.extend(state["events"].as_array().cloned().into_iter().flatten());
            state["events"] = json!(events);
            let found = look(&state);
            last = state.clone();
            found.then_some(state)
        });
        wait.await
    }

    /// Panics if a page failed to run a script, violated its policy or left its origin.
    pub(crate) async fn assert_clean(&mut self, page: &str) {
        let problems = self.act(page, "problems", json!({})).await;
        assert_eq!(problems, json!([]), "{page}");
    }

    /// The number that the picture or a tile shows; `None` if it is unreadable.
    pub(crate) async fn number(&mut self, page: &str, tile: Value) -> Option<u16> {
        let blocks = self.act(page, "blocks", json!({ "tile": tile })).await;
        let levels = blocks.as_array().expect("a list").iter();
        let mut gray = 0_u16;
        for (bit, level) in levels.filter_map(Value::as_f64).enumerate() {
            if (level - 128.0).abs() < 40.0 {
                return None;
            }
            gray |= u16::from(level > 128.0) << bit;
        }
        let mut number = gray;
        for shift in [8, 4, 2, 1] {
            number ^= number >> shift;
        }
        Some(number)
    }
}

/// A number of a state; not a number if it is absent.
pub(crate) fn number(state: &Value, key: &str) -> f64 {
    state[key].as_f64().unwrap_or(f64::NAN)
}

/// The events of one kind in a state.
pub(crate) fn events<'a>(state: &'a Value, kind: &str) -> Vec<&'a Value> {
    let all = state["events"].as_array().into_iter().flatten();
    all.filter(|event| event["kind"] == kind).collect()
}
