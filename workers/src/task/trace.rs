//! The span of a task in a trace: its kind, its ids and how it ended. No paths, titles or messages.

use api::v1;
use runtime::telemetry::context;
use tracing::{Span, field::Empty};

use crate::outcome::TaskOutcome;

/// Creates a span in the trace of the request that queued the task.
pub(super) fn span(lease: &v1::Lease) -> Span {
    let kind = kind(lease);
    let span = tracing::info_span!(
        "task",
        otel.name = format!("task {kind}"),
        otel.kind = "consumer",
        otel.status_code = Empty,
        "error.type" = Empty,
        task.kind = kind,
        task.id = lease.task_id,
        task.attempt = lease.attempt,
        task.outcome = Empty,
        job.id = lease.job_id,
        video.id = lease.video_id
    );
    context::adopt(&span, &lease.traceparent);
    span
}

/// Records how the task ended and returns the name of the outcome.
pub(super) fn ended(span: &Span, outcome: &TaskOutcome) -> &'static str {
    let name = match outcome {
        TaskOutcome::Done => "done",
        TaskOutcome::LeaseLost => "lost",
        TaskOutcome::Stopped => "stopped",
        TaskOutcome::Deferred(_) => "deferred",
        TaskOutcome::Failed(failure) => {
            span.record("error.type", &*failure.code);
            span.record("otel.status_code", "ERROR");
            "failed"
        }
    };
    span.record("task.outcome", name);
    name
}

/// The task's kind.
pub(super) fn kind(lease: &v1::Lease) -> &'static str {
    match lease.work {
        Some(v1::lease::Work::Probe(_)) => "probe",
        Some(v1::lease::Work::Chunk(_)) => "chunk",
        Some(v1::lease::Work::Audio(_)) => "audio",
        Some(v1::lease::Work::Pictures(_)) => "thumbnails",
        Some(v1::lease::Work::Preview(_)) => "preview",
        Some(v1::lease::Work::Subtitles(_)) => "subtitles",
        Some(v1::lease::Work::Surround(_)) => "surround",
        None => "unknown",
    }
}
