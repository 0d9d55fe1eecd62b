//! Converts rows, states and errors of the plan to messages of the protocol.

use api::{
    code::{Code, Problem},
    v1, wire,
};
use media::{
    JobId, VideoId,
    captions::Described,
    ladder::{LadderError, Profile},
    layout,
    manifest::captions::file,
    pictures::{POSTER, PREVIEW},
    source::Source,
    urls,
};

use crate::{
    db::{
        jobs::Job, tasks::Task, uploads::sessions::UploadSession, videos::Video, workers::Worker,
    },
    domain::{Failure, JobState, TaskKind, TaskState, VideoState},
    plan::PlanError,
    publish::captions::described,
};

impl From<Video> for v1::Video {
    fn from(video: Video) -> Self {
        let (id, pictures) = (video.id, &video.pictures);
        let path = |name: &str, file: &str| {
            let made = pictures.iter().any(|picture| picture.name == name);
            if made { urls::stream(id, file) } else { String::new() }
        };
        let thumbnails = pictures.iter().filter_map(|p| Some((p.name.as_str(), p.seconds?)));
        let thumbnails = thumbnails
            .map(|(name, time)| v1::Thumbnail {
                time,
                url: urls::stream(id, format_args!("{name}.jpg")),
            })
            .collect();
        let downloads = video.downloads.iter().map(|download| v1::Download {
            profile: download.profile.clone(),
            url: urls::download(id, &download.profile),
            bytes: download.bytes,
        });
        let captions = captions(&video);
        let visibility =
            if video.public { v1::Visibility::Public } else { v1::Visibility::Private };
        Self {
            video_id: video.id.to_string(),
            title: video.title,
            description: video.description,
            state: v1::VideoState::from(video.state).into(),
            visibility: visibility.into(),
            metadata: video.source.map(metadata),
            created_at: Some(wire::timestamp(video.created_at)),
            failure: video.failure.map(Into::into),
            job_id: video.job_id.map(|id| id.to_string()).unwrap_or_default(),
            playable: video.served_job.is_some(),
            poster: path(POSTER, "poster.jpg"),
            thumbnails,
            storyboard: path("storyboard/0", "storyboard.vtt"),
            preview: path(PREVIEW, "preview.mp4"),
            downloads: downloads.collect(),
            captions,
            revision: video.revision.unsigned_abs(),
            playable_seconds: video.playable_seconds,
        }
    }
}

/// The text tracks of a video, as listed.
fn captions(video: &Video) -> Vec<v1::Caption> {
    let made = video.pictures.iter().map(|picture| picture.name.as_str()).collect();
    let embedded = video.served_job.map(|job: JobId| (job, video.text.as_slice()));
    let listed = described(embedded, &made, video.uploaded.clone());
    let uploaded = |one: &Described| video.uploaded.iter().any(|upload| upload.id == one.id);
    listed.into_iter().map(|one| caption(video.id, uploaded(&one), one)).collect()
}

fn caption(video: VideoId, uploaded: bool, about: Described) -> v1::Caption {
    v1::Caption {
        caption_id: about.id.to_string(),
        language: about.language,
        label: about.label,
        kind: about.kind.text().to_owned(),
        default: about.default,
        source: if uploaded { "upload" } else { "file" }.to_owned(),
        url: urls::stream(video, file(about.id)),
        forced: about.forced,
    }
}

fn metadata(source: Source) -> v1::VideoMetadata {
    let mut metadata = v1::VideoMetadata {
        duration_seconds: source.duration,
        format: source.format,
        bitrate: source.bitrate,
        ..v1::VideoMetadata::default()
    };
    match (source.video, source.audio.into_iter().next()) {
        (Some(video), _) => {
            let (num, den) = video.frame_rate;
            metadata.width = video.width;
            metadata.height = video.height;
            metadata.fps = f64::from(num) / f64::from(den.max(1));
            metadata.codec = video.codec;
        }
        (None, sound) => metadata.codec = sound.map(|track| track.codec).unwrap_or_default(),
    }
    metadata
}

/// Below this fraction, the remaining time cannot be estimated reliably.
const ETA_FRACTION_MIN: f64 = 0.02;

/// Converts a job, with its tasks if the RPC returns them.
pub fn job(job: Job, tasks: Vec<Task>) -> v1::Job {
    let progress = match job.state {
        JobState::Completed => 100.0,
        // Only completed jobs report 100.
        _ => (job.fraction * 100.0).clamp(0.0, 99.9),
    };
    v1::Job {
        job_id: job.id.to_string(),
        video_id: job.video.to_string(),
        state: v1::JobState::from(job.state).into(),
        progress: (progress * 10.0).round() / 10.0,
        eta_seconds: eta(&job),
        tasks: tasks.into_iter().map(task).collect(),
        error: job.failure.map(Into::into),
        preset: job.plan.preset,
        profiles: job.plan.rungs.into_iter().map(|rung| rung.name).collect(),
        generate_hls: job.plan.hls,
        generate_dash: job.plan.dash,
        created_at: Some(wire::timestamp(job.created_at)),
        started_at: job.started_at.map(wire::timestamp),
        finished_at: job.finished_at.map(wire::timestamp),
        speed: job.speed,
        notes: job.plan.notes,
        queue_position: job.queue_position,
        attempt: job.attempt,
        last_error: job.last_failure.map(Into::into),
    }
}

fn eta(job: &Job) -> Option<u64> {
    let started = job.started_at?;
    if job.state != JobState::Running || job.fraction < ETA_FRACTION_MIN {
        return None;
    }
    let elapsed = job.now.duration_since(started).as_secs_f64();
    let left = elapsed * (1.0 - job.fraction).max(0.0) / job.fraction;
    Some(left.ceil() as u64)
}

/// Converts a task.
pub fn task(task: Task) -> v1::Task {
    let progress = if task.state == TaskState::Done { 1.0 } else { task.fraction };
    v1::Task {
        task_id: task.id.to_string(),
        kind: task.kind.text().to_owned(),
        ordinal: task.ordinal,
        rungs: if task.kind == TaskKind::Chunk { task.rungs } else { Vec::new() },
        state: v1::TaskState::from(task.state).into(),
        progress: (progress * 1000.0).round() / 10.0,
        attempt: task.attempt,
        worker: task.worker,
        error: task.failure.map(Into::into),
        speed: task.speed,
    }
}

impl From<Worker> for v1::Worker {
    fn from(worker: Worker) -> Self {
        let state = match (worker.connected, worker.draining || worker.replaced) {
            (true, _) if worker.draining => v1::WorkerState::Draining,
            (true, _) => v1::WorkerState::Connected,
            (false, false) => v1::WorkerState::Lost,
            (false, true) => v1::WorkerState::Gone,
        };
        Self {
            worker_id: worker.id.to_string(),
            name: worker.name,
            slots: worker.slots,
            leases: worker.leases,
            draining: worker.draining,
            connected: worker.connected,
            seen_at: Some(wire::timestamp(worker.seen_at)),
            probe_trouble: worker.probe_trouble.unwrap_or_default(),
            version: worker.version,
            state: state.into(),
        }
    }
}

/// Converts a configured profile.
pub fn profile(profile: &Profile) -> v1::Profile {
    v1::Profile {
        name: profile.name.clone(),
        width: profile.width,
        height: profile.height,
        video_bitrate: profile.video_bitrate,
        audio_bitrate: profile.audio_bitrate,
        codec: profile.codec.text().to_owned(),
        preset: profile.preset.clone(),
    }
}

impl From<VideoState> for v1::VideoState {
    fn from(state: VideoState) -> Self {
        match state {
            VideoState::Uploading => Self::Uploading,
            VideoState::Probing => Self::Probing,
            VideoState::Uploaded => Self::Uploaded,
            VideoState::Processing => Self::Processing,
            VideoState::Ready => Self::Ready,
            VideoState::Failed => Self::Failed,
        }
    }
}

impl From<JobState> for v1::JobState {
    fn from(state: JobState) -> Self {
        match state {
            JobState::Queued => Self::Queued,
            JobState::Running => Self::Running,
            JobState::Completed => Self::Completed,
            JobState::Failed => Self::Failed,
            JobState::Cancelled => Self::Cancelled,
        }
    }
}

impl From<TaskState> for v1::TaskState {
    fn from(state: TaskState) -> Self {
        match state {
            TaskState::Blocked => Self::Blocked,
            TaskState::Ready => Self::Ready,
            TaskState::Leased => Self::Leased,
            TaskState::Done => Self::Done,
            TaskState::Failed => Self::Failed,
            TaskState::Cancelled => Self::Cancelled,
        }
    }
}

impl From<Failure> for v1::Failure {
    fn from(failure: Failure) -> Self {
        Self { code: failure.code, message: failure.message }
    }
}

impl From<UploadSession> for v1::Upload {
    fn from(row: UploadSession) -> Self {
        Self {
            upload_id: row.id.to_string(),
            video_id: row.video.to_string(),
            store: row.store,
            key: layout::source(row.video),
            length: row.length.map(i64::unsigned_abs),
            offset: row.received.unsigned_abs(),
            expires_at: Some(wire::timestamp(row.expires_at)),
            metadata: row.metadata,
            complete: row.complete,
            part_bytes: row.part_bytes.unsigned_abs(),
            multipart_id: row.multipart_id.unwrap_or_default(),
            parts: u32::try_from(row.parts.len()).unwrap_or(u32::MAX),
            tail: row.tail,
            digest: row.digest.into(),
            held: row.held,
            claimed: row.claimed,
        }
    }
}

impl From<PlanError> for Problem {
    fn from(error: PlanError) -> Self {
        let text = error.to_string();
        match error {
            PlanError::Source(_) => Self::new(Code::NotAVideo, text),
            PlanError::NoProfileFits { .. } => Self::new(Code::NotConfigured, text),
            PlanError::Profile(
                LadderError::Unknown { index, .. }
                | LadderError::AboveSource { index, .. }
                | LadderError::TooSmall { index, .. }
                | LadderError::Repeated { index, .. },
            ) => Self::field(format!("profiles[{index}]"), text),
        }
    }
}
