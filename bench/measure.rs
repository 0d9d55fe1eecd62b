//! Measurements: one source through the service, with the time of each stage, and the same work
//! with one ffmpeg command.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use api::v1::{Job, JobState, TaskState, WatchJobRequest};
use bytes::Bytes;
use futures::StreamExt;
use media::ladder::{BUFFER_PERCENT, Profile, default_profiles};
use serde_json::{Value, json};

use crate::{
    harness::{capture::resolve, client::Client, m3u8, program, stack::Stack},
    service,
};

const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// A source to encode.
pub(crate) struct BenchSource {
    path: PathBuf,
    seconds: u32,
}

impl BenchSource {
    /// Repeats `clip` without re-encoding it.
    pub(crate) fn looped(clip: &Path, seconds: u32) -> Self {
        let dir = program::target_dir().join("bench-media");
        fs::create_dir_all(&dir).expect("make folder");
        let name = clip.file_stem().and_then(|name| name.to_str()).expect("file name");
        let path = dir.join(format!("{name}-{seconds}.mp4"));
        if !path.exists() {
            let (from, length) = (clip.to_str().expect("path"), seconds.to_string());
            let args = [
                "-v",
                "error",
                "-y",
                "-stream_loop",
                "-1",
                "-i",
                from,
                "-t",
                &length,
                "-c",
                "copy",
            ];
            let draft = path.with_extension("draft.mp4");
            program::output("ffmpeg", &[&args[..], &[draft.to_str().expect("path")]].concat());
            fs::rename(draft, &path).expect("rename source");
        }
        Self { path, seconds }
    }

    /// The file's name and length, for the results.
    pub(crate) fn described(&self) -> Value {
        let name = self.path.file_name().and_then(|name| name.to_str());
        json!({"name": name, "seconds": self.seconds})
    }
}

/// Seconds of each stage.
#[derive(Clone, Debug)]
pub(crate) struct Timeline {
    pub(crate) preset: String,
    /// From the last byte sent to metadata received.
    pub(crate) probe: f64,
    /// From the job's creation to its first lease.
    pub(crate) queue: f64,
    /// From the first lease to the first video chunk committed.
    pub(crate) first_chunk: f64,
    /// From the job's creation to the last chunk and the audio committed.
    pub(crate) encode: f64,
    /// From the last commit to the job's completion.
    pub(crate) collect: f64,
    /// From the job's creation to its completion.
    pub(crate) job: f64,
    /// From the last byte sent to the first segment received.
    pub(crate) playable: f64,
}

impl Timeline {
    /// A timeline without measurements.
    const fn new() -> Self {
        const UNKNOWN: f64 = f64::NAN;
        Self {
            preset: String::new(),
            probe: UNKNOWN,
            queue: UNKNOWN,
            first_chunk: UNKNOWN,
            encode: UNKNOWN,
            collect: UNKNOWN,
            job: UNKNOWN,
            playable: UNKNOWN,
        }
    }

    /// The stages and their seconds; NaN for a stage that was not observed.
    pub(crate) const fn stages(&self) -> [(&'static str, f64); 7] {
        [
            ("probe", self.probe),
            ("queue", self.queue),
            ("first chunk", self.first_chunk),
            ("encode", self.encode),
            ("collect", self.collect),
            ("job", self.job),
            ("playable", self.playable),
        ]
    }

    /// The observed stages, for the results.
    pub(crate) fn json(&self) -> Value {
        let stages: BTreeMap<&str, f64> =
            self.stages().into_iter().filter(|(_, s)| s.is_finite()).collect();
        json!({"preset": self.preset, "seconds": stages})
    }
}

/// Measures a whole transcode on a fresh service.
pub(crate) async fn transcode(source: &BenchSource, env: &[(&str, &str)]) -> Timeline {
    let stack = service(env).await;
    let mut timeline = Timeline::new();
    let (video, _) = upload(&stack, source, &mut timeline).await;
    let (job, created) = create(&stack, &video).await;
    watch(&stack, &job, created, &mut timeline, true).await;
    timeline
}

/// Measures up to the first segment that a viewer receives, on a fresh service; then cancels the
/// job.
pub(crate) async fn until_playable(source: &BenchSource) -> Timeline {
    let stack = service(&[]).await;
    let mut timeline = Timeline::new();
    let (video, sent) = upload(&stack, source, &mut timeline).await;
    let (job, created) = create(&stack, &video).await;
    let viewer = stack.anonymous();
    let manifest = format!("/api/stream/{video}/hls/playlist.m3u8");
    let mut stages = timeline.clone();
    let (playable, ()) = tokio::join!(
        async {
            segment(&viewer, &manifest).await;
            sent.elapsed().as_secs_f64()
        },
        watch(&stack, &job, created, &mut stages, false),
    );
    stages.playable = playable;
    let path = format!("/api/jobs/{job}");
    let cancel = stack.client().send(hyper::Method::DELETE, &path, &[], Bytes::new()).await;
    cancel.expect("cancel job").expect(202);
    stages
}

/// Uploads the source and returns the time when its last byte was sent.
async fn upload(stack: &Stack, source: &BenchSource, timeline: &mut Timeline) -> (String, Instant) {
    let content = Bytes::from(fs::read(&source.path).expect("read source"));
    let last: Arc<OnceLock<Instant>> = Arc::default();
    let noted = last.clone();
    let pieces: Vec<Bytes> = (0..content.len())
        .step_by(1 << 18)
        .map(|at| content.slice(at..content.len().min(at + (1 << 18))))
        .collect();
    let end = futures::stream::once(async move {
        let _ = noted.set(Instant::now());
        Ok(Bytes::new())
    });
    let body = futures::stream::iter(pieces.into_iter().map(Ok)).chain(end).boxed();
    let reply = stack.client().upload_stream("video.mp4", &[], body).await.expect(201);
    let sent = *last.get().expect("the last byte was sent");
    timeline.probe = sent.elapsed().as_secs_f64();
    (reply.json()["videoId"].as_str().expect("videoId").to_owned(), sent)
}

async fn create(stack: &Stack, video: &str) -> (String, Instant) {
    let created = Instant::now();
    (stack.client().transcode(video, &json!({})).await, created)
}

/// Follows the job to its end, or to its first chunk, and records the time of each stage.
async fn watch(stack: &Stack, job: &str, created: Instant, timeline: &mut Timeline, to_end: bool) {
    let request = WatchJobRequest { job_id: job.to_owned() };
    let mut updates = stack.rpc().jobs().watch_job(request).await.expect("watch job").into_inner();
    let mut marks: BTreeMap<&str, f64> = BTreeMap::new();
    while let Some(update) = updates.message().await.expect("update") {
        let now = created.elapsed().as_secs_f64();
        for mark in reached(&update) {
            marks.entry(mark).or_insert(now);
        }
        timeline.preset = update.preset;
        if !to_end && marks.contains_key("first chunk") {
            break;
        }
    }
    let mark = |name: &str| marks.get(name).copied().unwrap_or(f64::NAN);
    assert!(!to_end || marks.contains_key("completed"), "the job did not complete");
    timeline.queue = mark("leased");
    timeline.first_chunk = mark("first chunk") - mark("leased");
    timeline.encode = mark("encoded");
    timeline.job = mark("completed");
    timeline.collect = mark("completed") - mark("encoded");
}

fn reached(job: &Job) -> Vec<&'static str> {
    let started = |state: TaskState| !matches!(state, TaskState::Blocked | TaskState::Ready);
    let done = |state: TaskState| state == TaskState::Done;
    let mut work = job.tasks.iter().filter(|task| task.kind != "collect");
    let marks = [
        ("leased", work.clone().any(|task| started(task.state()))),
        ("first chunk", work.clone().any(|task| task.kind == "chunk" && done(task.state()))),
        ("encoded", work.all(|task| done(task.state()))),
        ("completed", job.state() == JobState::Completed),
    ];
    marks.into_iter().filter(|(_, reached)| *reached).map(|(mark, _)| mark).collect()
}

/// Polls as an impatient player would, until the first segments of video and audio have arrived.
async fn segment(viewer: &Client, manifest: &str) {
    let multivariant = loop {
        let reply = viewer.get(manifest).await;
        if reply.status == 200 {
            break m3u8::multivariant(&reply.text()).expect("multivariant playlist");
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    };
    let sound = multivariant.media.iter().filter_map(|media| m3u8::unquoted(media.get("URI")?));
    for uri in
        multivariant.variants.iter().map(|(_, uri)| uri.as_str()).take(1).chain(sound.take(1))
    {
        let playlist = resolve(manifest, uri);
        let media =
            m3u8::media(&viewer.get(&playlist).await.expect(200).text()).expect("media playlist");
        let (init, _) = media.map.expect("init segment");
        for uri in [init, media.segments[0].uri.clone()] {
            viewer.get(&resolve(&playlist, &uri)).await.expect(200);
        }
    }
}

/// Encodes the same ladder with the same settings in one ffmpeg command; returns the seconds.
pub(crate) fn by_hand(source: &BenchSource, preset: &str) -> f64 {
    let (width, height, fps) = shape(&source.path);
    let profiles = default_profiles();
    let rungs: Vec<_> =
        profiles.iter().filter(|p| p.width <= width && p.height <= height).collect();
    let dir = tempfile::tempdir().expect("make folder");
    let mut graph = format!("[0:v:0]split={}", rungs.len());
    (0..rungs.len()).for_each(|n| graph += &format!("[s{n}]"));
    for (n, Profile { width: w, height: h, .. }) in rungs.iter().enumerate() {
        graph += &format!(";[s{n}]scale={w}:{h}:flags=bicubic,setsar=1,format=yuv420p[v{n}]");
    }
    let gop = (2.0 * fps).round().to_string();
    let mut command = Command::new("ffmpeg");
    command
        .args(["-v", "error", "-nostdin", "-y", "-i"])
        .arg(&source.path)
        .args(["-filter_complex", &graph]);
    for (n, profile) in rungs.iter().enumerate() {
        let rate = |percent: u64| (profile.video_bitrate * percent / 100).to_string();
        let crf = profile.crf.map(|crf| crf.to_string()).expect("a rate factor");
        command.args([
            "-map",
            &format!("[v{n}]"),
            "-c:v",
            "libx264",
            "-preset",
            preset,
            "-profile:v",
            "high",
        ]);
        let (maxrate, bufsize) = (rate(100), rate(BUFFER_PERCENT));
        command.args(["-crf", &crf, "-maxrate", &maxrate, "-bufsize", &bufsize]);
        command.args(["-g", &gop, "-keyint_min", &gop, "-sc_threshold", "0", "-flags", "+cgop"]);
        command.args([
            "-x264-params",
            "b-pyramid=none:stitchable=1:vbv-init=0.4:rc-lookahead=30:trellis=1",
        ]);
        command.args(["-movflags", "+empty_moov+default_base_moof+frag_keyframe"]);
        command.arg(dir.path().join(format!("{n}.mp4")));
    }
    command.args(["-map", "0:a:0?", "-c:a", "aac", "-ac", "2", "-ar", "48000", "-b:a", "192k"]);
    command.arg(dir.path().join("audio.mp4"));
    let start = Instant::now();
    assert!(command.status().expect("start ffmpeg").success(), "ffmpeg by hand");
    start.elapsed().as_secs_f64()
}

fn shape(path: &Path) -> (u32, u32, f64) {
    let entries = "stream=width,height,r_frame_rate";
    let args = ["-v", "error", "-select_streams", "v:0", "-show_entries", entries, "-of", "json"];
    let text = program::output("ffprobe", &[&args[..], &[path.to_str().expect("path")]].concat());
    let found: Value = serde_json::from_slice(&text).expect("JSON");
    let stream = &found["streams"][0];
    let number = |key: &str| stream[key].as_u64().expect("a size") as u32;
    let rate =
        stream["r_frame_rate"].as_str().and_then(|rate| rate.split_once('/')).expect("a rate");
    let (num, den): (f64, f64) = (rate.0.parse().expect("rate"), rate.1.parse().expect("rate"));
    (number("width"), number("height"), num / den)
}
