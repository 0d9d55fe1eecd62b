//! Plans which tasks a source needs. Pure: the same source and options give the same plan.

mod audio;
mod chunks;
pub mod hardware;
pub mod lead;
pub mod retry;
mod surround;
#[cfg(test)]
mod tests;
mod text;

use media::{
    Codec, Grid,
    captions::LABEL_CHARS_MAX,
    grid::{FRAME_RATE_MAX, GridError},
    ladder::{self, LadderError, Profile, Rung},
    language,
    pictures::{ClipPlan, PicturePlan},
    source::{Source, VideoTrack},
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use self::{
    audio::{AUDIO_TRACKS_MAX, PlannedAudio, rendition_of_audio},
    surround::PlannedSurround,
    text::{PlannedText, TEXT_TRACKS_MAX},
};
use crate::domain::{TaskKind, TaskState};

const PRIORITY_PROBE: i32 = 1000;
/// The user waits for the first picture.
pub const PRIORITY_FIRST: i32 = 900;
const PRIORITY_AUDIO: i32 = 850;
/// Tasks of at least this priority are urgent to a user: probes, first chunks, audio. Workers keep
/// express slots for them.
pub const PRIORITY_EXPRESS_MIN: i32 = PRIORITY_AUDIO;
/// The lowest rung of a chunk that a viewer reaches soon, where the ladder is encoded more slowly
/// than it plays. Such tasks may use all express slots but one.
pub const PRIORITY_LEAD: i32 = 840;
/// The same for the rungs between the lowest and the highest one.
const PRIORITY_LEAD_OTHERS: i32 = 830;
/// Cheap, and needed soon after playback starts. But the task may read the whole source, which must
/// not delay a first chunk.
const PRIORITY_SUBTITLES: i32 = 820;
const PRIORITY_FIRST_OTHERS: i32 = 800;
const PRIORITY_COLLECT: i32 = 700;
/// These tasks are short, and the last ones that their video waits for, so they run before later
/// chunks of other videos.
const PRIORITY_THUMBNAILS: i32 = 650;
const PRIORITY_PREVIEW: i32 = 600;
const PRIORITY_CHUNK: i32 = 500;
/// Sessions that start while the video grows play stereo, so surround must not delay a chunk.
const PRIORITY_SURROUND: i32 = PRIORITY_CHUNK;

/// Encoding one second of audio costs about as much as encoding this many megapixels of video.
const AUDIO_MEGAPIXELS: f64 = 0.5;
const COLLECT_WEIGHT: f64 = 1.0;
const SUBTITLES_WEIGHT: f64 = 1.0;
/// Decoding a key frame and writing a small image costs about as much as encoding this many
/// megapixels.
const PICTURE_MEGAPIXELS: f64 = 0.2;
/// Number of thumbnails of a video unless configured otherwise.
pub const THUMBNAILS_DEFAULT: u32 = 10;

/// The outputs of a job, fixed when the job is created.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The output's time grid.
    pub grid: Grid,
    /// The video track to encode; `None` for an audio-only source.
    pub video: Option<VideoTrack>,
    /// H.264 first, then HEVC, then AV1, each from the lowest; empty for an audio-only source.
    pub rungs: Vec<Rung>,
    /// In the order of the source; the first is the default.
    pub audio: Vec<PlannedAudio>,
    /// The encoder presets as shown to users: one per codec, so usually one.
    pub preset: String,
    /// Whether HLS is served.
    pub hls: bool,
    /// Whether DASH is served.
    pub dash: bool,
    /// Omitted tracks, rungs and pictures, with the reason.
    pub notes: Vec<String>,
    /// Poster, thumbnails and storyboard, if requested.
    #[serde(default)]
    pub pictures: Option<PicturePlan>,
    /// The preview clip, if requested.
    #[serde(default)]
    pub preview: Option<ClipPlan>,
    /// Text tracks of the source, in its order.
    #[serde(default)]
    pub text: Vec<PlannedText>,
    /// Surround renditions of audio tracks, in the order of their numbers.
    #[serde(default)]
    pub surround: Vec<PlannedSurround>,
}

/// The options of the caller.
#[derive(Clone, Debug, Default)]
pub struct TranscodeOptions {
    /// If empty, every profile that fits is used.
    pub profiles: Vec<String>,
    /// Whether HLS is served.
    pub hls: bool,
    /// Whether DASH is served.
    pub dash: bool,
    /// Number of thumbnails, made with poster and storyboard; `None` makes none of these.
    pub thumbnails: Option<u32>,
    /// Whether to make a preview clip.
    pub preview: bool,
}

/// Why a source cannot be planned.
#[derive(Debug, Error)]
pub enum PlanError {
    /// The frame rate or the duration of the source cannot be planned.
    #[error("the source cannot be planned: {0}")]
    Source(GridError),
    /// A requested profile is unknown, repeated, larger than the source or too small for its codec.
    #[error(transparent)]
    Profile(#[from] LadderError),
    /// All profiles are above the source.
    #[error("no profile fits the source ({width}x{height})")]
    NoProfileFits {
        /// The width of the source.
        width: u32,
        /// The height of the source.
        height: u32,
    },
}

/// A task to be created.
#[derive(Clone, Debug, PartialEq)]
pub struct NewTask {
    /// The kind of the task.
    pub kind: TaskKind,
    /// The chunk's or the track's number.
    pub ordinal: u32,
    /// The rungs that a chunk task encodes.
    pub rungs: Vec<String>,
    /// Ready, or blocked until other tasks are done.
    pub state: TaskState,
    /// Higher priorities run first.
    pub priority: i32,
    /// Its share of the job's work.
    pub weight: f64,
    /// FFmpeg's name of the video encoder that the worker must have; empty if it needs none.
    pub encoder: &'static str,
}

/// The only task of a probe job.
pub fn probe() -> NewTask {
    task(TaskKind::Probe, 0, 1.0)
}

/// Plans a transcode.
///
/// # Errors
/// A profile is unknown, repeated, larger than the source or too small for its codec (the error
/// names `profiles[i]`); no profile fits; or the source's frame rate or duration cannot be planned.
pub fn plan(
    source: &Source,
    profiles: &[Profile],
    options: &TranscodeOptions,
) -> Result<Plan, PlanError> {
    let mut grid = source.grid().map_err(PlanError::Source)?;
    let mut notes = source.notes.clone();
    let rungs = match &source.video {
        Some(video) => {
            notes.extend(hidden_pictures(video));
            rungs(video, profiles, options, &mut notes)?
        }
        None => {
            ladder::known(profiles, &options.profiles)?;
            if !options.profiles.is_empty() {
                let names = options.profiles.join(", ");
                notes.push(format!("{names}: left out, because the source has no video track"));
            }
            Vec::new()
        }
    };
    if !rungs.iter().all(Rung::has_placed_key_frames) {
        grid = grid.without_joined_remainder();
    }
    let requested = [(options.thumbnails.is_some(), "thumbnails"), (options.preview, "preview")];
    for (_, what) in requested.into_iter().filter(|(requested, _)| *requested && rungs.is_empty()) {
        notes.push(format!("{what}: left out, because the source has no video track"));
    }
    if source.audio.len() > AUDIO_TRACKS_MAX {
        let left = source.audio.len() - AUDIO_TRACKS_MAX;
        notes
            .push(format!("{left} audio tracks beyond the first {AUDIO_TRACKS_MAX} were left out"));
    }
    let bitrate = match source.video {
        Some(_) => ladder::audio_bitrate(profiles, &rungs),
        None => ladder::sound_bitrate(profiles),
    };
    let audio = audio::plan(&source.audio, bitrate);
    let text = text::plan(&source.text, &mut notes);
    let sound = audio.first().map(PlannedAudio::rendition);
    Ok(Plan {
        grid,
        video: source.video.clone(),
        surround: surround::plan(&audio),
        audio,
        preset: presets(&rungs),
        pictures: options.thumbnails.and_then(|count| PicturePlan::new(&grid, &rungs, count)),
        preview: if options.preview { ClipPlan::new(&grid, &rungs, sound) } else { None },
        text,
        rungs,
        hls: options.hls,
        dash: options.dash,
        notes,
    })
}

/// The note about pictures that have no frame in the output.
fn hidden_pictures(video: &VideoTrack) -> Option<String> {
    let VideoTrack { hidden, examined, .. } = video;
    (*hidden > 0).then(|| {
        format!(
            "{hidden} of {examined} examined pictures: left out, because they follow one another \
             faster than {FRAME_RATE_MAX} per second"
        )
    })
}

/// The ladder of a source with a video track; profiles that were left out are noted.
fn rungs(
    video: &VideoTrack,
    profiles: &[Profile],
    options: &TranscodeOptions,
    notes: &mut Vec<String>,
) -> Result<Vec<Rung>, PlanError> {
    let rungs = ladder::select(video, profiles, &options.profiles)?;
    let (width, height) = (video.width, video.height);
    if rungs.is_empty() {
        return Err(PlanError::NoProfileFits { width, height });
    }
    let missing = |p: &&Profile| !rungs.iter().any(|r| r.name == p.name);
    for profile in profiles.iter().filter(|_| options.profiles.is_empty()).filter(missing) {
        let name = &profile.name;
        let above = profile.width.min(profile.height) > width.min(height)
            || profile.width.max(profile.height) > width.max(height);
        notes.push(if above {
            format!("{name}: left out, because it is larger than the source ({width}x{height})")
        } else {
            format!("{name}: left out, because the source ({width}x{height}) does not fit it")
        });
    }
    Ok(rungs)
}

/// The preset of each codec, that of the first rung first.
fn presets(rungs: &[Rung]) -> String {
    let mut presets: Vec<&str> = Vec::new();
    for rung in rungs {
        if !presets.contains(&rung.preset.as_str()) {
            presets.push(&rung.preset);
        }
    }
    presets.join(", ")
}

impl Plan {
    /// The rungs with which playback may start, by the rule of `media::manifest::hls_playable`.
    pub fn openers(&self) -> Vec<String> {
        let names = |rungs: &[Rung]| rungs.iter().map(|r| r.name.clone()).collect::<Vec<_>>();
        let everywhere = self.rungs.iter().take_while(|r| r.codec == Codec::H264).count();
        names(self.rungs.get(..everywhere.max(1)).unwrap_or_default())
    }

    /// Every task of the job, weighted by its encoding work.
    pub fn tasks(&self) -> Vec<NewTask> {
        let mut tasks = Vec::new();
        for chunk in 0..self.grid.chunks() {
            tasks.extend(self.chunk_tasks(chunk));
        }
        for audio in &self.audio {
            let weight = self.grid.frames() as f64 * AUDIO_MEGAPIXELS / 30.0;
            tasks.push(task(TaskKind::Audio, audio.number, weight));
        }
        // Behind the chunks: in the same queue, which has a turn for each task.
        for surround in &self.surround {
            let weight = self.grid.frames() as f64 * AUDIO_MEGAPIXELS / 30.0;
            let encoder = self.rungs.first().map_or("", Rung::encoder);
            tasks.push(NewTask { encoder, ..task(TaskKind::Surround, surround.number, weight) });
        }
        for text in &self.text {
            tasks.push(task(TaskKind::Subtitles, text.number, SUBTITLES_WEIGHT));
        }
        if let Some(pictures) = &self.pictures {
            let count = pictures.tiles + pictures.thumbnails.len() as u32 + pictures.candidates;
            let weight = f64::from(count) * PICTURE_MEGAPIXELS;
            tasks.push(task(TaskKind::Thumbnails, 0, weight));
        }
        if let Some(preview) = &self.preview {
            let size = f64::from(preview.size.width) * f64::from(preview.size.height) / 1e6;
            let weight = preview.frames as f64 * size;
            let encoder = Codec::H264.encoder();
            tasks.push(NewTask { encoder, ..task(TaskKind::Preview, 0, weight) });
        }
        tasks.push(task(TaskKind::Collect, 0, COLLECT_WEIGHT));
        tasks
    }
}

/// The rendition that a task makes of an audio track; `None` for tasks of other kinds.
pub fn rendition_of_sound(kind: TaskKind, ordinal: u32) -> Option<String> {
    match kind {
        TaskKind::Audio => Some(rendition_of_audio(ordinal)),
        TaskKind::Surround => Some(media::surround::rendition(ordinal)),
        TaskKind::Probe
        | TaskKind::Chunk
        | TaskKind::Subtitles
        | TaskKind::Thumbnails
        | TaskKind::Preview
        | TaskKind::Collect => None,
    }
}

/// A task with the priority and the first state of its kind.
fn task(kind: TaskKind, ordinal: u32, weight: f64) -> NewTask {
    let (state, priority) = (kind.first_state(), priority(kind));
    NewTask { kind, ordinal, rungs: Vec::new(), state, priority, weight, encoder: "" }
}

/// The priority of a kind; chunk tasks of a first chunk have higher ones.
const fn priority(kind: TaskKind) -> i32 {
    match kind {
        TaskKind::Probe => PRIORITY_PROBE,
        TaskKind::Chunk => PRIORITY_CHUNK,
        TaskKind::Audio => PRIORITY_AUDIO,
        TaskKind::Surround => PRIORITY_SURROUND,
        TaskKind::Subtitles => PRIORITY_SUBTITLES,
        TaskKind::Thumbnails => PRIORITY_THUMBNAILS,
        TaskKind::Preview => PRIORITY_PREVIEW,
        TaskKind::Collect => PRIORITY_COLLECT,
    }
}

/// The label of a track: its title, else the name of its language, else its number. Longer titles
/// are cut, because every manifest contains them.
fn label(title: &str, tag: &str, kind: &str, number: u32) -> String {
    let title: String = title.chars().filter(|c| !c.is_control()).take(LABEL_CHARS_MAX).collect();
    match title.trim() {
        "" if tag != "und" => language::name(tag),
        "" => format!("{kind} {}", number + 1),
        title => title.to_owned(),
    }
}
