//! Converts gRPC messages to the JSON of the REST API.

use api::v1;
use serde_json::{Value, json};

/// A video.
pub(crate) fn video(video: &v1::Video) -> Value {
    json!({
        "videoId": video.video_id,
        "title": video.title,
        "description": video.description,
        "state": video_state(video.state()),
        "visibility": visibility(video.visibility()),
        "metadata": video.metadata.as_ref().map(metadata),
        "createdAt": time(video.created_at.as_ref()),
        "jobId": non_empty(&video.job_id),
        "playable": video.playable,
        "error": video.failure.as_ref().map(failure),
        "poster": non_empty(&video.poster),
        "thumbnails": any(&video.thumbnails, |t| json!({ "time": t.time, "url": t.url })),
        "storyboard": non_empty(&video.storyboard),
        "preview": non_empty(&video.preview),
        "downloads": any(&video.downloads, |d| {
            json!({ "profile": d.profile, "url": d.url, "bytes": d.bytes })
        }),
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

/// A list, or null if it is empty.
fn any<T>(list: &[T], shape: impl Fn(&T) -> Value) -> Value {
    if list.is_empty() { Value::Null } else { list.iter().map(shape).collect() }
}

/// The source's metadata as reported by ffprobe, in the fixed format of the API.
pub(crate) fn metadata(metadata: &v1::VideoMetadata) -> Value {
    json!({
        "duration": metadata.duration_seconds,
        "format": metadata.format,
        "width": metadata.width,
        "height": metadata.height,
        "bitrate": metadata.bitrate,
        "fps": metadata.fps,
        "codec": metadata.codec,
    })
}

/// A job.
pub(crate) fn job(job: &v1::Job) -> Value {
    json!({
        "jobId": job.job_id,
        "videoId": job.video_id,
        "state": job_state(job.state()),
        "progress": job.progress,
        "etaSeconds": job.eta_seconds,
        "speed": job.speed,
        "tasks": job.tasks.iter().map(task).collect::<Vec<_>>(),
        "error": job.error.as_ref().map(failure),
        "preset": job.preset,
        "profiles": job.profiles,
        "generateHLS": job.generate_hls,
        "generateDASH": job.generate_dash,
        "notes": job.notes,
        "attempt": job.attempt,
        "lastError": job.last_error.as_ref().map(failure),
        "queuePosition": job.queue_position,
        "createdAt": time(job.created_at.as_ref()),
        "startedAt": time(job.started_at.as_ref()),
        "finishedAt": time(job.finished_at.as_ref()),
    })
}

/// A task.
pub(crate) fn task(task: &v1::Task) -> Value {
    json!({
        "taskId": task.task_id,
        "kind": task.kind,
        "ordinal": task.ordinal,
        "rungs": task.rungs,
        "state": task_state(task.state()),
        "progress": task.progress,
        "attempt": task.attempt,
        "worker": non_empty(&task.worker),
        "speed": task.speed,
        "error": task.error.as_ref().map(failure),
    })
}

/// A configured profile.
pub(crate) fn profile(profile: &v1::Profile) -> Value {
    json!({
        "name": profile.name,
        "width": profile.width,
        "height": profile.height,
        "videoBitrate": profile.video_bitrate,
        "audioBitrate": profile.audio_bitrate,
        "codec": profile.codec,
        "preset": profile.preset,
    })
}

/// A worker; `None` once it is gone, because lists leave it out then.
pub(crate) fn worker(worker: &v1::Worker) -> Option<Value> {
    let state = match worker.state() {
        v1::WorkerState::Connected => "connected",
        v1::WorkerState::Draining => "draining",
        v1::WorkerState::Lost => "lost",
        v1::WorkerState::Gone | v1::WorkerState::Unspecified => return None,
    };
    Some(json!({
        "id": worker.worker_id,
        "name": worker.name,
        "state": state,
        "slots": worker.slots,
        "running": worker.leases,
        "version": non_empty(&worker.version),
        "lastHeartbeatAt": time(worker.seen_at.as_ref()),
    }))
}

/// A worker that has changed: as in lists, or with the state "gone", so that clients remove it.
pub(crate) fn worker_event(changed: &v1::Worker) -> Value {
    worker(changed).unwrap_or_else(
        || json!({ "id": changed.worker_id, "name": changed.name, "state": "gone" }),
    )
}

fn failure(failure: &v1::Failure) -> Value {
    json!({ "code": failure.code, "message": failure.message })
}

/// An RFC 3339 time, or null.
pub(crate) fn time(time: Option<&prost_types::Timestamp>) -> Value {
    time.and_then(api::wire::time).map_or(Value::Null, |time| Value::String(time.to_string()))
}

pub(crate) fn non_empty(text: &str) -> Value {
    if text.is_empty() { Value::Null } else { Value::from(text) }
}

pub(crate) fn video_state(state: v1::VideoState) -> &'static str {
    match state {
        v1::VideoState::Unspecified => "unknown",
        v1::VideoState::Uploading => "uploading",
        v1::VideoState::Probing => "probing",
        v1::VideoState::Uploaded => "uploaded",
        v1::VideoState::Processing => "processing",
        v1::VideoState::Ready => "ready",
        v1::VideoState::Failed => "failed",
    }
}

/// The state of a job as text.
pub(crate) fn job_state(state: v1::JobState) -> &'static str {
    match state {
        v1::JobState::Unspecified => "unknown",
        v1::JobState::Queued => "queued",
        v1::JobState::Running => "running",
        v1::JobState::Completed => "completed",
        v1::JobState::Failed => "failed",
        v1::JobState::Cancelled => "cancelled",
    }
}

fn task_state(state: v1::TaskState) -> &'static str {
    match state {
        v1::TaskState::Unspecified => "unknown",
        v1::TaskState::Blocked => "blocked",
        v1::TaskState::Ready => "ready",
        v1::TaskState::Leased => "leased",
        v1::TaskState::Done => "done",
        v1::TaskState::Failed => "failed",
        v1::TaskState::Cancelled => "cancelled",
    }
}

fn visibility(visibility: v1::Visibility) -> &'static str {
    match visibility {
        v1::Visibility::Private => "private",
        v1::Visibility::Public => "public",
        v1::Visibility::Unspecified => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn job_has_the_fixed_names() {
        let wire = v1::Job {
            job_id: "j".to_owned(),
            state: v1::JobState::Failed.into(),
            progress: 12.5,
            tasks: vec![v1::Task { kind: "chunk".to_owned(), ..v1::Task::default() }],
            error: Some(v1::Failure { code: "c".to_owned(), message: "m".to_owned() }),
            ..v1::Job::default()
        };
        let value = job(&wire);
        for name in ["jobId", "videoId", "state", "progress", "etaSeconds", "tasks", "error"] {
            assert!(value.get(name).is_some(), "{name}");
        }
        assert_eq!(value["state"], "failed");
        assert_eq!(value["etaSeconds"], Value::Null);
        assert_eq!(value["error"]["code"], "c");
        for name in ["kind", "state", "progress", "attempt", "worker"] {
            assert!(value["tasks"][0].get(name).is_some(), "{name}");
        }
    }

    #[test]
    fn video_has_the_fixed_names() {
        let created_at = Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 0 });
        let wire = v1::Video {
            state: v1::VideoState::Ready.into(),
            visibility: v1::Visibility::Private.into(),
            metadata: Some(v1::VideoMetadata { fps: 25.0, ..v1::VideoMetadata::default() }),
            created_at,
            ..v1::Video::default()
        };
        let value = video(&wire);
        assert_eq!(value["createdAt"], "2023-11-14T22:13:20Z");
        assert_eq!((&value["state"], &value["visibility"]), (&"ready".into(), &"private".into()));
        for name in ["duration", "format", "width", "height", "bitrate", "fps", "codec"] {
            assert!(value["metadata"].get(name).is_some(), "{name}");
        }
    }
}
