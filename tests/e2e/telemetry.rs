//! Telemetry for operators: traces over OTLP, metrics, dashboards and alerts.

use std::{
    collections::BTreeSet,
    fs,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use hyper::Method;
use serde_json::{Value, json};

use crate::harness::{
    CHANGE_DEADLINE,
    client::Client,
    clip::Numbered,
    collector::{Collector, Span},
    eventually,
    port::free_address,
    program,
    stack::Stack,
};

const JOB_DEADLINE: Duration = Duration::from_secs(120);
/// From a span's end to its arrival at the collector.
const SPAN_DEADLINE: Duration = Duration::from_secs(15);

/// Waits for the data plane's span of a call below `parent` and returns the control plane's span
/// below it.
async fn called(collector: &Collector, method: &str, parent: &Span) -> Span {
    let call = child(collector, "streaming-dataplane", method, parent).await;
    child(collector, "streaming-control", method, &call).await
}

/// Waits for the span `name` of `service` whose parent is `parent`.
async fn child(collector: &Collector, service: &str, name: &str, parent: &Span) -> Span {
    let what = format!("{service} sends {name} as a child of {}", parent.name);
    let looked = eventually(&what, SPAN_DEADLINE, async || {
        let mut spans = collector.spans();
        spans.retain(|span| span.trace == parent.trace && span.parent == parent.id);
        spans.into_iter().find(|span| span.service == service && span.name == name)
    });
    looked.await
}

/// The upload's trace differs from `trace` and reaches ffprobe.
async fn the_upload_has_its_own_trace(collector: &Collector, trace: &str) {
    let upload = eventually("the upload's span", SPAN_DEADLINE, async || {
        collector.spans().into_iter().find(|span| span.name == "POST /api/videos/upload")
    });
    let upload = upload.await;
    assert!(upload.parent.is_empty() && upload.trace != trace, "{upload:?}");
    let complete = "streaming.v1.UploadService/CompleteUpload";
    let complete = called(collector, complete, &upload).await;
    let probe = child(collector, "streaming-worker", "task probe", &complete).await;
    child(collector, "streaming-worker", "ffprobe", &probe).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_trace_covers_the_request_control_and_ffmpeg() {
    let collector = Collector::http().await;
    let stack = Stack::start_with(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.endpoint),
        ("OTEL_BSP_SCHEDULE_DELAY", "200"),
    ])
    .await;
    let client = stack.client();
    let clip = Numbered::seconds(6).file();
    let fields = [("title", "a title that must stay private"), ("visibility", "private")];
    let reply = client.upload(&clip, &fields).await.expect(201).json();
    let video = reply["videoId"].as_str().expect("videoId").to_owned();

    // The client that sent the request (a player, a service or a proxy) has started the trace.
    let (trace, caller) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
    let traceparent = format!("00-{trace}-{caller}-01");
    let headers = [("content-type", "application/json"), ("traceparent", traceparent.as_str())];
    let body = json!({"profiles": ["360p"]}).to_string().into();
    let path = format!("/api/videos/{video}/transcode?token=made-up-secret");
    let reply = client.send(Method::POST, &path, &headers, body).await.expect("send").expect(202);
    let job = reply.json()["jobId"].as_str().expect("jobId").to_owned();
    client.wait_job(&job, "completed", JOB_DEADLINE).await;

    let root = Span {
        service: String::new(),
        name: "the span of the caller".to_owned(),
        trace: trace.to_owned(),
        id: caller.to_owned(),
        parent: String::new(),
        attributes: Vec::new(),
    };
    let (dataplane, control, worker) =
        ("streaming-dataplane", "streaming-control", "streaming-worker");
    let request = child(&collector, dataplane, "POST /api/videos/{id}/transcode", &root).await;
    assert_eq!(request.attribute("http.response.status_code"), "202");
    let call = called(&collector, "streaming.v1.JobService/CreateJob", &request).await;
    let chunk = child(&collector, worker, "task chunk", &call).await;
    assert_eq!(chunk.attribute("video.id"), video);
    assert_eq!(chunk.attribute("task.outcome"), "done");
    let ffmpeg = child(&collector, worker, "ffmpeg", &chunk).await;
    assert_eq!(ffmpeg.attribute("process.exit.code"), "0");
    child(&collector, worker, "store output", &chunk).await;
    let commit = child(&collector, worker, "commit", &chunk).await;
    child(&collector, control, "admit commit", &commit).await;
    child(&collector, worker, "task audio", &call).await;
    child(&collector, control, "collect", &call).await;

    // Log lines carry the ids of their trace and span.
    let log = stack.data().join("logs/control.log");
    eventually("control's log names the trace", SPAN_DEADLINE, async || {
        let text = fs::read_to_string(&log).expect("read log");
        let mut lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let line = lines.find(|line| line["message"] == "job queued")?;
        (line["trace_id"] == trace && line["span_id"] == call.id.as_str()).then_some(())
    })
    .await;

    the_upload_has_its_own_trace(&collector, trace).await;

    let text = collector.text();
    let data = stack.data().to_string_lossy().into_owned();
    let file = clip.file_name().and_then(|name| name.to_str()).expect("name");
    for secret in [&stack.token, "made-up-secret", "must stay private", data.as_str(), file] {
        assert!(!text.contains(secret), "{secret} is in a trace");
    }
    for span in collector.spans() {
        assert!(!span.name.contains(&video) && !span.name.contains(&job), "{}", span.name);
        assert!(!["GET /health", "GET /metrics"].contains(&span.name.as_str()), "{}", span.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_sends_pending_spans_and_an_unreachable_collector_delays_nothing() {
    let collector = Collector::grpc().await;
    let mut stack = Stack::start_with(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.endpoint),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        // Without a stop, no span would be exported before the test ends.
        ("OTEL_BSP_SCHEDULE_DELAY", "600000"),
    ])
    .await;
    stack.client().upload_clip(&Numbered::seconds(2).file()).await;
    assert!(collector.spans().is_empty());
    assert!(stack.stop().success());
    let services: BTreeSet<String> =
        collector.spans().into_iter().map(|span| span.service).collect();
    let planes = ["streaming-control", "streaming-dataplane", "streaming-worker"];
    assert_eq!(services, planes.map(str::to_owned).into());

    // Port 9 (discard) has no listener.
    stack.set("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9");
    stack.set("OTEL_BSP_SCHEDULE_DELAY", "200");
    stack.up().await;
    stack.client().upload_clip(&Numbered::seconds(2).file()).await;
    let failed = "streaming_telemetry_spans_failed_total";
    eventually("spans that the collector did not accept are counted", SPAN_DEADLINE, async || {
        let text = stack.anonymous().get("/metrics").await.expect(200).text();
        text.lines().any(|line| line.starts_with(failed) && !line.ends_with(" 0")).then_some(())
    })
    .await;
    let begun = Instant::now();
    assert!(stack.stop().success());
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

const DASHBOARD: &str = "ops/grafana/dashboard.json";
const ALERTS: &str = "ops/prometheus/alerts.yaml";

fn file(path: &str) -> String {
    fs::read_to_string(program::repository().join(path)).expect("read file of the repository")
}

/// All words with the prefix of this service's metrics.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("streaming_")).map(str::to_owned).collect()
}

/// Names of the metrics that have samples in a page of metrics.
fn samples(page: &str) -> BTreeSet<String> {
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| Some(line.split(['{', ' ']).next()?.to_owned())).collect()
}

/// Starts a worker outside of `up`, with a metrics address of its own.
fn worker(stack: &Stack, metrics: &str) -> Child {
    stack
        .command("streaming-worker")
        .arg("run")
        .env("STREAMING_CONTROL_URLS", format!("http://{}", stack.grpc))
        .env("STREAMING_TOKEN_FILE", stack.data().join("run/worker.token"))
        .env("STREAMING_METRICS_ADDR", metrics)
        .stderr(Stdio::null())
        .spawn()
        .expect("start worker")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dashboard_alerts_and_docs_name_the_exposed_metrics() {
    let (moved, of_worker) = (free_address(), free_address());
    let mut stack = Stack::new(&[("STREAMING_METRICS_ADDR", &moved), ("STREAMING_WORKERS", "0")]);
    stack.launch();
    stack.wait_addresses().await;
    eventually("/health reports that no worker is connected", CHANGE_DEADLINE, async || {
        let health = stack.anonymous().get("/health").await.expect(503).json();
        let detail = &health["dependencies"]["workers"]["detail"];
        (detail == "no worker is connected").then_some(())
    })
    .await;
    let mut worker = worker(&stack, &of_worker);
    stack.wait_ready().await;
    stack.client().publish(&Numbered::seconds(2).file(), JOB_DEADLINE).await;

    // With an address of their own, metrics are not served at the public one.
    stack.anonymous().get("/metrics").await.expect(404);
    let (planes, workers) = (Client::new(&moved, None), Client::new(&of_worker, None));
    let wanted = metrics_in(&(file(DASHBOARD) + &file(ALERTS)));
    assert!(wanted.len() > 15, "{wanted:?}");
    eventually("every metric has samples", Duration::from_secs(20), async || {
        let mut exposed = samples(&planes.get("/metrics").await.expect(200).text());
        exposed.extend(samples(&workers.get("/metrics").await.expect(200).text()));
        let missing: Vec<_> = wanted.difference(&exposed).collect();
        if !missing.is_empty() {
            eprintln!("not exposed (yet): {missing:?}");
        }
        missing.is_empty().then_some(())
    })
    .await;
    let page = planes.get("/metrics").await.text() + &workers.get("/metrics").await.text();
    let documented = metrics_in(&file("docs/telemetry.md"));
    for line in page.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let name = line.split(' ').next().unwrap_or_default();
        assert!(documented.contains(name), "{name} is not in docs/telemetry.md");
    }
    worker.kill().expect("kill worker");
    worker.wait().expect("reap worker");
}

#[test]
fn alerts_pass_their_tests_and_have_runbooks() {
    let Some(promtool) = program::tool("promtool") else {
        assert!(!program::continuous_integration(), "promtool: run tools/install test");
        return eprintln!("skip: promtool is not installed");
    };
    let tests = "ops/prometheus/alerts.test.yaml";
    for args in [["check", "rules", ALERTS], ["test", "rules", tests]] {
        let output = Command::new(&promtool).args(args).current_dir(program::repository()).output();
        let output = output.expect("run promtool");
        let text =
            String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}");
    }
    let (alerts, guide) = (file(ALERTS), file("docs/troubleshooting.md"));
    let slug = |title: &str| title.to_lowercase().replace(' ', "-");
    let sections: BTreeSet<String> =
        guide.lines().filter_map(|line| line.strip_prefix("## ")).map(slug).collect();
    let rules: Vec<&str> = alerts.split("- alert: ").skip(1).collect();
    for rule in &rules {
        let name = rule.lines().next().unwrap_or_default();
        let runbook = rule.split("docs/troubleshooting.md#").nth(1).and_then(|r| r.lines().next());
        let runbook = runbook.unwrap_or_else(|| panic!("{name} has no runbook"));
        assert!(
            sections.contains(runbook),
            "{name}: docs/troubleshooting.md has no section {runbook}"
        );
        assert!(rule.contains("for: ") && rule.contains("severity: "), "{name}");
        assert!(
            file(tests).contains(&format!("alertname: {name}")),
            "{name} has no test in alerts.test.yaml"
        );
    }
    assert!(rules.len() >= 10);
}
