//! Plays a video in headless Chromium (tests/browser/play.mjs) and reports the player's events.

use std::time::Duration;

use serde_json::{Value, json};

use super::node::Node;

/// Time allowed from the start of node to the browser's first report.
const SLACK: Duration = Duration::from_secs(45);

/// Options of a playback session.
#[derive(Clone, Debug)]
pub(crate) struct Play {
    /// "hls.js", "video.js", "shaka" or "dash.js".
    pub(crate) player: &'static str,
    /// The path of the manifest.
    pub(crate) manifest: String,
    /// The start position passed to the player's load call; `None` leaves it to the manifest.
    pub(crate) start: Option<f64>,
    /// Switches to the rung of this height once playback has passed this second.
    pub(crate) switches: Vec<(f64, u32)>,
    /// Shows the text track of this language.
    pub(crate) text: Option<&'static str>,
    /// The timeout.
    pub(crate) deadline: Duration,
}

/// A running session; dropping it closes the browser.
pub(crate) struct Session {
    node: Node,
    play: Play,
    seen: Vec<Value>,
}

/// The events of a whole session.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    play: Play,
    /// Every event in order.
    pub(crate) events: Vec<Value>,
    /// The last line that play.mjs printed.
    pub(crate) summary: Value,
}

impl Play {
    /// Starts the browser; `origin` is the data plane's `host:port`.
    pub(crate) fn begin(self, origin: &str) -> Session {
        self.begin_with(origin, &Value::Null, &Value::Null)
    }

    /// The same with a page that renews its playback token and buffers 4 s; `minted` is the reply with the first one.
    pub(crate) fn begin_renewing(self, origin: &str, minted: &Value) -> Session {
        self.begin_with(origin, minted, &Value::Null)
    }

    /// As [`Self::run`], at `rate` times the speed from the first picture on (in Shaka by its trick play);
    /// also looks up the thumbnails at some positions, in seconds.
    pub(crate) async fn run_fast(self, origin: &str, rate: f64, thumbnails: &[f64]) -> Report {
        let fast = json!({"rate": rate, "thumbnails": thumbnails});
        self.begin_with(origin, &Value::Null, &fast).finish().await
    }

    fn begin_with(self, origin: &str, renewal: &Value, fast: &Value) -> Session {
        let switches: Vec<Value> =
            self.switches.iter().map(|(at, height)| json!({"at": at, "height": height})).collect();
        let order = json!({
            "origin": format!("http://{origin}"), "player": self.player, "manifest": self.manifest,
            "start": self.start, "switches": switches, "text": self.text, "renewal": renewal,
            "fast": fast,
            "seconds": self.deadline.as_secs(),
        });
        Session { node: Node::start("play.mjs", &order), play: self, seen: Vec::new() }
    }

    /// Plays to the end.
    pub(crate) async fn run(self, origin: &str) -> Report {
        self.begin(origin).finish().await
    }
}

impl Session {
    /// Reads events until the player reports `kind` at playback position `time` or later; returns
    /// that event.
    pub(crate) async fn until(&mut self, kind: &str, time: f64) -> Value {
        let limit = self.play.deadline + SLACK;
        let wait = async {
            while let Some(event) = self.next().await {
                let reached = event["time"].as_f64().unwrap_or_default() >= time;
                if event["kind"] == kind && reached {
                    return event;
                }
            }
            panic!("the session ended before {kind} at {time} s: {:#?}", self.seen);
        };
        tokio::time::timeout(limit, wait).await.expect("browser deadline")
    }

    async fn next(&mut self) -> Option<Value> {
        let event = self.node.read().await?;
        self.seen.push(event.clone());
        Some(event)
    }

    /// Waits for the end of the session.
    pub(crate) async fn finish(mut self) -> Report {
        let limit = self.play.deadline + SLACK;
        let all = async { while self.next().await.is_some() {} };
        tokio::time::timeout(limit, all).await.expect("browser deadline");
        let status = self.node.wait().await;
        assert!(status.success(), "play.mjs ended with {status}: {:#?}", self.seen);
        let summary = self.seen.pop().expect("a summary");
        Report { play: self.play, events: self.seen, summary }
    }
}

impl Report {
    /// Panics unless the video played from 0 to `seconds` without an error or a stall.
    pub(crate) fn assert_clean(&self, seconds: f64) {
        self.assert_played(seconds);
        assert_eq!(self.summary["errors"], json!([]), "errors: {}", self.described());
        let stall = self.number("longestStall");
        assert!(stall < 1.0, "stalled for {stall} s: {}", self.described());
    }

    /// Panics unless the video played from 0 to `seconds` without an error. It may have waited for
    /// the encoder, which hls.js reports as a non-fatal error.
    pub(crate) fn assert_played(&self, seconds: f64) {
        assert_eq!(self.summary["ended"], true, "did not end: {}", self.described());
        let errors = self.summary["errors"].as_array().into_iter().flatten();
        let waited =
            |error: &&Value| error["details"] == "bufferStalledError" && error["fatal"] == false;
        let bad: Vec<&Value> = errors.filter(|error| !waited(error)).collect();
        assert!(bad.is_empty(), "errors: {bad:?} {}", self.described());
        assert!(self.number("startedAt") < 0.5, "did not start at 0: {}", self.described());
        let (time, duration) = (self.number("time"), self.number("duration"));
        assert!((time - seconds).abs() < 0.5, "did not reach the end: {}", self.described());
        assert!((duration - seconds).abs() < 0.2, "wrong duration: {}", self.described());
    }

    fn number(&self, key: &str) -> f64 {
        self.summary[key].as_f64().unwrap_or(f64::NAN)
    }

    fn described(&self) -> String {
        let (player, manifest) = (self.play.player, &self.play.manifest);
        format!("{player} {manifest}: {:#}\n{:#?}", self.summary, self.events)
    }

    /// Panics unless the cue `text` was shown during its time, from `start` to `end`.
    pub(crate) fn assert_read(&self, text: &str, (start, end): (f64, f64)) {
        let seen = self.summary["texts"].as_array().into_iter().flatten();
        let mut seen = seen.filter(|seen| seen["text"] == text);
        let seen =
            seen.next().unwrap_or_else(|| panic!("never read {text:?}: {}", self.described()));
        let number = |key: &str| seen[key].as_f64().unwrap_or(f64::NAN);
        let near = |key: &str, value: f64| (number(key) - value).abs() < 0.01;
        assert!(near("start", start) && near("end", end), "{seen}: {}", self.described());
        let at = number("at");
        assert!(at > start - 0.3 && at < end + 0.3, "{text:?} at {at} s: {}", self.described());
    }

    /// Heights of the displayed video frames, in order.
    pub(crate) fn heights(&self) -> Vec<u64> {
        let heights = self.summary["heights"].as_array().into_iter().flatten();
        heights.filter_map(Value::as_u64).collect()
    }
}
