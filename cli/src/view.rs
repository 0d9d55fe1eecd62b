//! Wire messages as JSON, in the shapes of the REST API, and as table cells.

use anyhow::Result;
use api::{v1, wire};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{failure::Failure, output};

/// A video.
pub(crate) fn video(video: &v1::Video) -> Value {
    let metadata = video.metadata.as_ref().map(|metadata| {
        json!({
            "duration": metadata.duration_seconds,
            "format": metadata.format,
            "width": metadata.width,
            "height": metadata.height,
            "bitrate": metadata.bitrate,
            "fps": metadata.fps,
            "codec": metadata.codec,
        })
    });
    let some = |text: &'_ str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let thumbnails = video.thumbnails.iter().map(|t| json!({ "time": t.time, "url": t.url }));
    let downloads = video.downloads.iter();
    let downloads =
        downloads.map(|d| json!({ "profile": d.profile, "url": d.url, "bytes": d.bytes }));
    json!({
        "videoId": video.video_id,
        "title": video.title,
        "description": video.description,
        "state": name(video.state().as_str_name(), "VIDEO_STATE_"),
        "visibility": name(video.visibility().as_str_name(), "VISIBILITY_"),
        "metadata": metadata,
        "createdAt": text(video.created_at.as_ref().and_then(wire::time)),
        "jobId": Some(&video.job_id).filter(|id| !id.is_empty()),
        "playable": video.playable,
        "error": failure(video.failure.as_ref()),
        "poster": some(&video.poster),
        "thumbnails": any(thumbnails),
        "storyboard": some(&video.storyboard),
        "preview": some(&video.preview),
        "downloads": any(downloads),
        "captions": video.captions.iter().map(caption).collect::<Vec<_>>(),
        "playableSeconds": video.playable_seconds,
    })
}

/// A text track.
pub(crate) fn caption(caption: &v1::Caption) -> Value {
    json!({
        "id": caption.caption_id,
        "language": caption.language,
        "label": caption.label,
        "kind": caption.kind,
        "default": caption.default,
        "forced": caption.forced,
        "source": caption.source,
        "url": caption.url,
    })
}

/// A list, or null when it is empty, as in the REST API.
fn any(list: impl Iterator<Item = Value>) -> Option<Vec<Value>> {
    Some(list.collect::<Vec<_>>()).filter(|list| !list.is_empty())
}

/// A job.
pub(crate) fn job(job: &v1::Job) -> Value {
    json!({
        "jobId": job.job_id,
        "videoId": job.video_id,
        "state": state(job),
        "progress": job.progress,
        "etaSeconds": job.eta_seconds,
        "speed": job.speed,
        "preset": job.preset,
        "profiles": job.profiles,
        "generateHLS": job.generate_hls,
        "generateDASH": job.generate_dash,
        "tasks": job.tasks.iter().map(task).collect::<Vec<_>>(),
        "notes": job.notes,
        "queuePosition": job.queue_position,
        "createdAt": text(job.created_at.as_ref().and_then(wire::time)),
        "startedAt": text(job.started_at.as_ref().and_then(wire::time)),
        "finishedAt": text(job.finished_at.as_ref().and_then(wire::time)),
        "error": failure(job.error.as_ref()),
    })
}

fn task(task: &v1::Task) -> Value {
    json!({
        "taskId": task.task_id,
        "kind": task.kind,
        "ordinal": task.ordinal,
        "rungs": task.rungs,
        "state": name(task.state().as_str_name(), "TASK_STATE_"),
        "progress": task.progress,
        "attempt": task.attempt,
        "worker": Some(&task.worker).filter(|worker| !worker.is_empty()),
        "speed": task.speed,
        "error": failure(task.error.as_ref()),
    })
}

/// A worker.
pub(crate) fn worker(worker: &v1::Worker) -> Value {
    json!({
        "workerId": worker.worker_id,
        "name": worker.name,
        "slots": worker.slots,
        "leases": worker.leases,
        "draining": worker.draining,
        "connected": worker.connected,
        "state": name(worker.state().as_str_name(), "WORKER_STATE_"),
        "version": Some(&worker.version).filter(|version| !version.is_empty()),
        "probeTrouble": Some(&worker.probe_trouble).filter(|trouble| !trouble.is_empty()),
        "seenAt": text(worker.seen_at.as_ref().and_then(wire::time)),
    })
}

/// A job's state, for example "running".
pub(crate) fn state(job: &v1::Job) -> String {
    name(job.state().as_str_name(), "JOB_STATE_")
}

/// Whether the job is completed, failed or cancelled.
pub(crate) fn has_ended(job: &v1::Job) -> bool {
    use v1::JobState::{Cancelled, Completed, Failed};
    matches!(job.state(), Completed | Failed | Cancelled)
}

/// An RFC 3339 time.
fn text(time: Option<Timestamp>) -> Option<String> {
    time.map(|time| time.to_string())
}

/// An enum value in lower case, without the prefix of its type.
pub(crate) fn name(text: &str, prefix: &str) -> String {
    text.strip_prefix(prefix).unwrap_or(text).to_lowercase()
}

fn failure(failure: Option<&v1::Failure>) -> Option<Value> {
    failure.map(|failure| json!({"code": failure.code, "message": failure.message}))
}

/// Returns an error if the job failed or was cancelled.
pub(crate) fn ensure_completed(job: &v1::Job) -> Result<()> {
    match job.state() {
        v1::JobState::Failed => {
            let error = job.error.clone().unwrap_or_default();
            let text = format!("job {} failed: {}", job.job_id, output::one_line(&error.message));
            Err(Failure::job(&error.code, text).into())
        }
        v1::JobState::Cancelled => {
            let text = format!("job {} was cancelled", job.job_id);
            Err(Failure::job("cancelled", text).into())
        }
        _ => Ok(()),
    }
}
