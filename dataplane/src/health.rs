//! `/health`, `/health/playback`, `/metrics`.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use api::v1::{
    GetMetricsRequest, GetStatusRequest, playback_service_client::PlaybackServiceClient,
};
use http::{StatusCode, header};
use runtime::{Telemetry, admin::METRICS_CONTENT_TYPE};
use serde_json::{Value, json};
use store::{Store, Stores};

use crate::{
    control::{self, Control},
    http::{
        cache::CachePolicy,
        reply::{self, Body, Reply},
    },
    playback::index_cache::IndexCache,
};

/// How long a result is reused, because the route is public and the control plane must not be
/// flooded.
const FRESH: Duration = Duration::from_millis(500);
const CALL_TIME_MAX: Duration = Duration::from_secs(2);

/// The state of this process and of its dependencies, and the metrics.
pub(crate) struct Health {
    /// The last result of `/health`.
    last: tokio::sync::Mutex<Option<(Instant, bool, Value)>>,
    control: Arc<Control>,
    stores: Stores,
    index_cache: Arc<IndexCache>,
    telemetry: Telemetry,
    /// Whether the metrics of the control plane are appended to this plane's.
    with_control_metrics: bool,
}

impl Health {
    /// Examines nothing yet.
    pub(crate) fn new(
        control: Arc<Control>,
        stores: Stores,
        index_cache: Arc<IndexCache>,
        telemetry: Telemetry,
        with_control_metrics: bool,
    ) -> Self {
        let last = tokio::sync::Mutex::default();
        Self { last, control, stores, index_cache, telemetry, with_control_metrics }
    }

    /// Readiness, with the state of each dependency.
    pub(crate) async fn ready(&self) -> Reply {
        let (ok, document) = self.latest().await;
        let code = if ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        reply::json(code, &document)
    }

    /// The state of each dependency, by name.
    pub(crate) async fn dependencies(&self) -> Value {
        self.latest().await.1["dependencies"].take()
    }

    /// Whether all dependencies are available, and the document with their states.
    async fn latest(&self) -> (bool, Value) {
        let mut last = self.last.lock().await;
        let known = last.as_ref().filter(|(since, ..)| since.elapsed() < FRESH);
        match known {
            Some((_, ok, document)) => (*ok, document.clone()),
            None => {
                let (ok, document) = self.examine().await;
                *last = Some((Instant::now(), ok, document.clone()));
                (ok, document)
            }
        }
    }

    /// Liveness: this process serves what it has cached, even while its dependencies are down.
    pub(crate) fn alive(&self) -> Reply {
        let changes = if self.index_cache.watching() { "heard" } else { "not heard" };
        let document =
            json!({ "status": "ok", "version": runtime::program_version(), "changes": changes });
        reply::json(StatusCode::OK, &document)
    }

    async fn examine(&self) -> (bool, Value) {
        let mut dependencies = serde_json::Map::new();
        let mut all = true;
        let mut add = |name: String, ok: bool, detail: String| {
            all &= ok;
            let state = if ok { "ok" } else { "down" };
            dependencies.insert(name, json!({ "state": state, "detail": detail }));
        };
        let status = self
            .control
            .call(CALL_TIME_MAX, |channel| {
                let request = self.control.own(GetStatusRequest {});
                async move { PlaybackServiceClient::new(channel).get_status(request).await }
            })
            .await;
        match status {
            Ok(status) => {
                // Without change events, keys may be missing and cached data may be stale.
                let watching = self.index_cache.watching();
                let detail = if watching { "" } else { "its change events do not arrive yet" };
                add("control".to_owned(), watching, detail.to_owned());
                for dependency in status.dependencies {
                    // Both planes use the same stores, but only this plane's access to them counts
                    // here.
                    add(dependency.name, dependency.ok, dependency.detail);
                }
            }
            Err(status) => add("control".to_owned(), false, control::problem_of(&status).message),
        }
        for (number, store) in self.stores.all().iter().enumerate() {
            let (ok, detail) = match readable(store).await {
                Ok(()) => (true, String::new()),
                Err(error) => {
                    tracing::warn!(error, store.url = store.url, "failed to read a store");
                    (false, "the store cannot be read".to_owned())
                }
            };
            add(format!("store.{number}"), ok, detail);
        }
        let status = if all { "ok" } else { "unavailable" };
        let version = runtime::program_version();
        let document =
            json!({ "status": status, "version": version, "dependencies": dependencies });
        (all, document)
    }

    /// Serves this plane's metrics on the public address.
    pub(crate) async fn metrics(&self) -> Reply {
        let text = self.metrics_text().await;
        let mut reply = http::Response::new(Body::full(text.into()));
        reply::set(&mut reply, header::CONTENT_TYPE, METRICS_CONTENT_TYPE);
        reply.headers_mut().insert(header::CACHE_CONTROL, CachePolicy::NoStore.header(true));
        reply
    }

    /// The metrics of this plane, and those of the control plane if configured.
    pub(crate) async fn metrics_text(&self) -> String {
        let mut text = self.telemetry.render();
        if self.with_control_metrics {
            let reply = self
                .control
                .call(CALL_TIME_MAX, |channel| {
                    let request = self.control.own(GetMetricsRequest {});
                    async move { PlaybackServiceClient::new(channel).get_metrics(request).await }
                })
                .await;
            match reply {
                Ok(reply) => append(&mut text, &reply.text),
                Err(status) => {
                    tracing::debug!(code = ?status.code(), "failed to get control's metrics")
                }
            }
        }
        text
    }
}

async fn readable(store: &Store) -> Result<(), String> {
    match tokio::time::timeout(CALL_TIME_MAX, store.check()).await {
        Ok(checked) => checked.map_err(|error| error.to_string()),
        Err(_) => Err("no response in time".to_owned()),
    }
}

/// Appends the metric families of the other process. A family that both processes have is written
/// once, because a repeated family invalidates the whole page: its samples are merged, and samples
/// with the same labels are added.
fn append(text: &mut String, more: &str) {
    let known: HashSet<&str> = text.lines().filter_map(family).collect();
    let (mut own, mut joined) = (String::new(), BTreeMap::<&str, Vec<(&str, f64)>>::new());
    let mut shared = None;
    for line in more.lines() {
        if let Some(name) = family(line) {
            shared = Some(name).filter(|name| known.contains(name));
        }
        match (shared, sample(line)) {
            (None, _) => own.extend([line, "\n"]),
            (Some(name), Some(sample)) => joined.entry(name).or_default().push(sample),
            (Some(_), None) => {}
        }
    }
    let mut page = String::with_capacity(text.len() + more.len());
    let mut lines = text.lines().peekable();
    let mut present = None;
    while let Some(line) = lines.next() {
        present = family(line).or(present);
        let theirs = present.and_then(|name| joined.get_mut(name));
        let same = sample(line).zip(theirs).and_then(|((series, value), theirs)| {
            let at = theirs.iter().position(|(other, _)| *other == series)?;
            Some((series, value + theirs.swap_remove(at).1))
        });
        match same {
            Some((series, sum)) => page.push_str(&format!("{series} {sum}\n")),
            None => page.extend([line, "\n"]),
        }
        // End of the family: append the samples that only the other process has.
        if lines.peek().is_none_or(|next| family(next).is_some_and(|name| Some(name) != present)) {
            for (series, value) in present.and_then(|name| joined.remove(name)).unwrap_or_default()
            {
                page.push_str(&format!("{series} {value}\n"));
            }
        }
    }
    page.push_str(&own);
    *text = page;
}

/// The name of a family in its `HELP` or `TYPE` line.
fn family(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("# HELP ").or_else(|| line.strip_prefix("# TYPE "))?;
    rest.split(' ').next()
}

/// The name and labels of a sample, and its value.
fn sample(line: &str) -> Option<(&str, f64)> {
    let (series, value) = line.rsplit_once(' ').filter(|_| !line.starts_with('#'))?;
    Some((series, value.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::append;

    #[test]
    fn every_family_occurs_once_with_the_samples_of_both() {
        let mut text = "# TYPE a counter\na 1\n# TYPE r counter\nr{w=\"x\"} 1\n".to_owned();
        let more = "# HELP a x\n# TYPE a counter\na 2\n# TYPE b gauge\nb 3\n\
                    # TYPE r counter\nr{w=\"x\"} 2\nr{w=\"y\"} 5\n";
        append(&mut text, more);
        let whole = "# TYPE a counter\na 3\n# TYPE r counter\nr{w=\"x\"} 3\nr{w=\"y\"} 5\n\
                     # TYPE b gauge\nb 3\n";
        assert_eq!(text, whole);
    }

    #[test]
    fn metrics_are_unchanged_without_those_of_control() {
        let mut text = "# TYPE a counter\na 1\n".to_owned();
        append(&mut text, "");
        assert_eq!(text, "# TYPE a counter\na 1\n");
    }
}
