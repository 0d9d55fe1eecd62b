//! Decodes and validates messages from workers.

use api::{
    code::{Code, Problem},
    v1,
};
use media::{pictures::Picture, source::Source};

use crate::{
    db::{
        lease::{LeaseId, Progress},
        outputs::Offered,
    },
    domain::Failure,
    plan::retry::Cause,
    publish::admission::{Offer, OfferedImage},
};

/// Maximum number of leases in one heartbeat; more than any worker has slots.
const PROGRESS_MAX: usize = 1024;
/// Maximum number of objects in one commit: every rung of one chunk.
const OUTPUTS_MAX: usize = 64;
/// Maximum number of images in one commit: every thumbnail and storyboard sheet of a video.
const PICTURES_MAX: usize = 256;
const INIT_BYTES_MAX: usize = 64 << 10;
const KEY_BYTES_MAX: usize = 1024;
const CODE_CHARS_MAX: usize = 64;
const MESSAGE_CHARS_MAX: usize = 1000;
const SPEED_MAX: f64 = 100_000.0;
/// Longest delay of a task that its worker releases.
const DELAY_SECONDS_MAX: f64 = 120.0;
/// Maximum number of tracks of one type in a source report.
const TRACKS_MAX: usize = 128;
const TEXT_CHARS_MAX: usize = 256;
/// Maximum number of notes in a source report; further ones are dropped.
const NOTES_MAX: usize = 16;

/// Parses a worker's reference to a lease; `None` if the task id is invalid.
pub fn lease(task_id: &str, token: u64) -> Option<LeaseId> {
    Some(LeaseId { task: task_id.parse().ok()?, token })
}

/// The progress in a heartbeat, without entries whose task id is invalid.
pub fn progress(heartbeat: &v1::Heartbeat) -> Vec<Progress> {
    let bounded =
        |value: f64, max: f64| if value.is_finite() { value.clamp(0.0, max) } else { 0.0 };
    let read = |p: &v1::Progress| {
        Some(Progress {
            lease: lease(&p.task_id, p.token)?,
            fraction: bounded(p.fraction, 1.0),
            speed: bounded(p.speed, SPEED_MAX),
        })
    };
    heartbeat.leases.iter().take(PROGRESS_MAX).filter_map(read).collect()
}

/// A failed attempt, as reported by its worker.
pub struct FailureReport {
    /// The lease.
    pub lease: LeaseId,
    /// The reason.
    pub failure: Failure,
    /// Whether another attempt may succeed.
    pub retryable: bool,
    /// Whether the source or the worker's host caused it.
    pub cause: Cause,
}

/// Parses a failure; `None` if its task id is invalid.
pub fn failure(fail: v1::Fail) -> Option<FailureReport> {
    let cause = match fail.cause() {
        v1::FailureCause::Unspecified => Cause::Unknown,
        v1::FailureCause::Source => Cause::Source,
        v1::FailureCause::HealthyHost => Cause::HealthyHost,
        v1::FailureCause::UnhealthyHost => Cause::UnhealthyHost,
    };
    let lease = lease(&fail.task_id, fail.token)?;
    let plain = |c: &char| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '_';
    let code: String = fail.code.chars().filter(plain).take(CODE_CHARS_MAX).collect();
    let code = if code.is_empty() { "failed".to_owned() } else { code };
    let message = text(&fail.message, MESSAGE_CHARS_MAX);
    let failure = Failure { code, message };
    Some(FailureReport { lease, failure, retryable: fail.retryable, cause })
}

/// Whether a worker can probe, and why not.
pub fn health(health: &v1::Health) -> (bool, String) {
    let trouble = text(&health.trouble, MESSAGE_CHARS_MAX);
    (health.can_probe, if trouble.is_empty() { "unknown".to_owned() } else { trouble })
}

/// The delay of a released task, clamped to its bounds.
pub fn delay(seconds: f64) -> f64 {
    if seconds.is_finite() { seconds.clamp(0.0, DELAY_SECONDS_MAX) } else { 0.0 }
}

fn text(text: &str, chars_max: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(chars_max).collect()
}

/// Parses a commit.
///
/// # Errors
/// [`Code::InvalidId`] or [`Code::InvalidField`]: a fault of the worker, not of the media.
pub fn offer(commit: v1::Commit) -> Result<Offer, Problem> {
    let lease = lease(&commit.task_id, commit.token)
        .ok_or_else(|| Problem::at(Code::InvalidId, "task_id", "is not a UUID"))?;
    if commit.outputs.len() > OUTPUTS_MAX {
        return Err(Problem::field("outputs", format!("must have at most {OUTPUTS_MAX} entries")));
    }
    let outputs = commit.outputs.into_iter().map(offered).collect::<Result<Vec<_>, _>>()?;
    if commit.pictures.len() > PICTURES_MAX {
        return Err(Problem::field(
            "pictures",
            format!("must have at most {PICTURES_MAX} entries"),
        ));
    }
    let pictures = commit.pictures.into_iter().map(picture).collect::<Result<Vec<_>, _>>()?;
    let source = commit.source.map(|report| source(report).map_err(|problem| problem.message));
    let (last, traceparent) = (commit.last || source.is_some(), commit.traceparent);
    Ok(Offer { lease, outputs, pictures, last, source, traceparent })
}

fn picture(picture: v1::Picture) -> Result<OfferedImage, Problem> {
    let sha256 = picture.sha256[..].try_into();
    let sha256 = sha256.map_err(|_| Problem::field("pictures.sha256", "must be 32 bytes"))?;
    key_length("pictures.key", &picture.key)?;
    let name = text(&picture.name, TEXT_CHARS_MAX);
    let picture = Picture { key: picture.key, bytes: picture.bytes, sha256 };
    Ok(OfferedImage { name, picture })
}

fn key_length(field: &str, key: &str) -> Result<(), Problem> {
    if key.len() > KEY_BYTES_MAX {
        return Err(Problem::field(field, format!("is longer than {KEY_BYTES_MAX} bytes")));
    }
    Ok(())
}

fn offered(output: v1::Output) -> Result<Offered, Problem> {
    if output.sha256.len() != 32 {
        return Err(Problem::field("outputs.sha256", "must be 32 bytes"));
    }
    if output.init.is_empty() || output.init.len() > INIT_BYTES_MAX {
        return Err(Problem::field("outputs.init", format!("must be 1 to {INIT_BYTES_MAX} bytes")));
    }
    key_length("outputs.key", &output.key)?;
    Ok(Offered {
        rendition: text(&output.rendition, TEXT_CHARS_MAX),
        chunk: output.chunk.min(i32::MAX.unsigned_abs()),
        key: output.key,
        bytes: output.bytes,
        sha256: output.sha256.to_vec(),
        init: output.init.to_vec(),
    })
}

/// Parses a probe's report. Its texts come from the file and are sanitized.
fn source(report: v1::SourceReport) -> Result<Source, Problem> {
    for (field, count) in [("source.audio", report.audio.len()), ("source.text", report.text.len())]
    {
        if count > TRACKS_MAX {
            return Err(Problem::field(field, format!("must have at most {TRACKS_MAX} tracks")));
        }
    }
    let mut source = Source::try_from(report)?;
    source.notes.truncate(NOTES_MAX);
    for note in &mut source.notes {
        *note = text(note, MESSAGE_CHARS_MAX);
    }
    source.format = text(&source.format, TEXT_CHARS_MAX);
    if let Some(video) = &mut source.video {
        let tags = [&mut video.transfer, &mut video.matrix, &mut video.primaries];
        for name in [&mut video.codec, &mut video.pixel_format].into_iter().chain(tags) {
            *name = text(name, TEXT_CHARS_MAX);
        }
    }
    for track in &mut source.audio {
        for name in [&mut track.codec, &mut track.language, &mut track.title] {
            *name = text(name, TEXT_CHARS_MAX);
        }
    }
    for track in &mut source.text {
        for name in [&mut track.codec, &mut track.language, &mut track.title, &mut track.channel] {
            *name = text(name, TEXT_CHARS_MAX);
        }
    }
    Ok(source)
}
