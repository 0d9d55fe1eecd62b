//! Planning: what tasks a source becomes. Pure: the same source and wish give the same plan.

use api::code::{Code, Problem};
use media::{
    FrameRate, Grid,
    grid::GridError,
    ladder::{self, LadderError, Profile, Rung},
    source::{AudioTrack, Source, VideoTrack},
};
use serde::{Deserialize, Serialize};

use crate::{
    domain::{TaskKind, TaskState},
    language,
};

/// Audio tracks that are encoded; a source with more keeps its first ones.
pub const AUDIO_TRACKS_MAX: usize = 16;
/// One preset for every rung of every job.
const PRESET: &str = "veryfast";

const PRIORITY_PROBE: i32 = 1000;
/// Somebody waits for the first picture.
pub const PRIORITY_FIRST: i32 = 900;
const PRIORITY_AUDIO: i32 = 850;
/// From here on somebody waits: probes, first chunks, sound. Workers keep express slots for these.
pub const PRIORITY_EXPRESS_MIN: i32 = PRIORITY_AUDIO;
const PRIORITY_FIRST_OTHERS: i32 = 800;
const PRIORITY_COLLECT: i32 = 700;
const PRIORITY_CHUNK: i32 = 500;

/// Encoding a second of sound costs about as much as this many megapixels of picture.
const AUDIO_MEGAPIXELS: f64 = 0.5;
const COLLECT_WEIGHT: f64 = 1.0;

/// What a job makes, fixed when it is created.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The output's time grid.
    pub grid: Grid,
    /// What is encoded.
    pub video: VideoTrack,
    /// Lowest first.
    pub rungs: Vec<Rung>,
    /// In the source's order; the first is the default.
    pub audio: Vec<PlannedAudio>,
    /// The encoder preset of every rung.
    pub preset: String,
    /// Serve HLS.
    pub hls: bool,
    /// Serve DASH.
    pub dash: bool,
    /// What was left out and why.
    pub notes: Vec<String>,
}

/// An audio rendition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedAudio {
    /// Names the rendition and the task.
    pub number: u32,
    /// What is encoded.
    pub track: AudioTrack,
    /// What people see, unique in the video.
    pub label: String,
    /// BCP 47; "und" when unknown.
    pub language: String,
    /// Channels of the output.
    pub channels: u32,
    /// bit/s
    pub bitrate: u64,
}

impl PlannedAudio {
    /// The rendition's name.
    pub fn rendition(&self) -> String {
        rendition_of_audio(self.number)
    }
}

/// The name of an audio rendition.
pub fn rendition_of_audio(number: u32) -> String {
    format!("audio-{number}")
}

/// What the caller asks for.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// Empty takes every profile that fits.
    pub profiles: Vec<String>,
    /// Serve HLS.
    pub hls: bool,
    /// Serve DASH.
    pub dash: bool,
    /// Not made by this version.
    pub thumbnails: bool,
    /// Not made by this version.
    pub preview: bool,
}

/// A task to be made.
#[derive(Clone, Debug, PartialEq)]
pub struct NewTask {
    /// What it does.
    pub kind: TaskKind,
    /// The chunk's or the track's number.
    pub ordinal: u32,
    /// What a chunk task encodes.
    pub rungs: Vec<String>,
    /// Ready, or blocked until the others are done.
    pub state: TaskState,
    /// Higher first.
    pub priority: i32,
    /// Share of the job's work.
    pub weight: f64,
}

/// The grid that a source's renditions get.
///
/// # Errors
/// [`GridError`] when the source's rate or length makes no grid.
pub fn grid(track: &VideoTrack) -> Result<Grid, GridError> {
    let (num, den) = track.frame_rate;
    let rate = FrameRate::for_source(num, den)?;
    Grid::new(rate, track.frames_at(rate))
}

/// The one task of a probe.
pub fn probe() -> NewTask {
    NewTask {
        kind: TaskKind::Probe,
        ordinal: 0,
        rungs: Vec::new(),
        state: TaskState::Ready,
        priority: PRIORITY_PROBE,
        weight: 1.0,
    }
}

/// Plans a transcode.
///
/// # Errors
/// Names `profiles[i]` when a profile is unknown, repeated or above the source, and says so when the
/// source's frame rate or length cannot be planned.
pub fn plan(source: &Source, profiles: &[Profile], wish: &Wish) -> Result<Plan, Problem> {
    let grid = grid(&source.video)
        .map_err(|e| Problem::new(Code::NotAVideo, format!("the source cannot be planned: {e}")))?;
    let rungs = ladder::select(&source.video, profiles, &wish.profiles).map_err(refuse)?;
    if rungs.is_empty() {
        return Err(Problem::new(Code::NotConfigured, "no profiles are configured"));
    }
    let mut notes = Vec::new();
    if wish.profiles.is_empty() {
        for profile in profiles.iter().filter(|p| !rungs.iter().any(|r| r.name == p.name)) {
            let (name, width, height) = (&profile.name, source.video.width, source.video.height);
            notes.push(format!("{name} is above the source ({width}x{height}) and was left out"));
        }
    }
    let asked = [(wish.thumbnails, "thumbnails"), (wish.preview, "a preview")];
    for (_, what) in asked.into_iter().filter(|(asked, _)| *asked) {
        notes.push(format!("{what}: not made by this version"));
    }
    if source.audio.len() > AUDIO_TRACKS_MAX {
        let left = source.audio.len() - AUDIO_TRACKS_MAX;
        notes
            .push(format!("{left} audio tracks beyond the first {AUDIO_TRACKS_MAX} were left out"));
    }
    let bitrate = ladder::audio_bitrate(profiles, &rungs);
    Ok(Plan {
        grid,
        video: source.video.clone(),
        audio: audio(&source.audio, bitrate),
        rungs,
        preset: PRESET.to_owned(),
        hls: wish.hls,
        dash: wish.dash,
        notes,
    })
}

fn refuse(error: LadderError) -> Problem {
    let (LadderError::Unknown { index, .. }
    | LadderError::AboveSource { index, .. }
    | LadderError::Repeated { index, .. }) = &error;
    Problem::field(format!("profiles[{index}]"), error.to_string())
}

fn audio(tracks: &[AudioTrack], bitrate: u64) -> Vec<PlannedAudio> {
    let mut planned: Vec<PlannedAudio> = Vec::new();
    for (number, track) in (0..).zip(tracks.iter().take(AUDIO_TRACKS_MAX)) {
        let language = language::tag(&track.language);
        let wanted = label(track, &language, number);
        let mut label = wanted.clone();
        let mut copy = 2;
        while planned.iter().any(|p| p.label == label) {
            label = format!("{wanted} ({copy})");
            copy += 1;
        }
        let channels = if track.channels == 1 { 1 } else { 2 };
        let track = track.clone();
        planned.push(PlannedAudio { number, track, label, language, channels, bitrate });
    }
    planned
}

/// Titles longer than this are cut: they stand in every manifest.
const LABEL_CHARS_MAX: usize = 64;

fn label(track: &AudioTrack, language: &str, number: u32) -> String {
    let title: String =
        track.title.chars().filter(|c| !c.is_control()).take(LABEL_CHARS_MAX).collect();
    match title.trim() {
        "" if language != "und" => language::name(language).to_owned(),
        "" => format!("Audio {}", number + 1),
        title => title.to_owned(),
    }
}

impl Plan {
    /// Every task of the job, weighted by megapixels.
    pub fn tasks(&self) -> Vec<NewTask> {
        let mut tasks = Vec::new();
        for chunk in 0..self.grid.chunks() {
            let names: Vec<String> = self.rungs.iter().map(|r| r.name.clone()).collect();
            if chunk > 0 {
                tasks.push(self.chunk(chunk, names, PRIORITY_CHUNK));
                continue;
            }
            // The first picture must not wait for the larger ones.
            let (lowest, others) = names.split_at(names.len().min(1));
            tasks.push(self.chunk(0, lowest.to_vec(), PRIORITY_FIRST));
            if !others.is_empty() {
                tasks.push(self.chunk(0, others.to_vec(), PRIORITY_FIRST_OTHERS));
            }
        }
        for audio in &self.audio {
            tasks.push(NewTask {
                kind: TaskKind::Audio,
                ordinal: audio.number,
                rungs: Vec::new(),
                state: TaskState::Ready,
                priority: PRIORITY_AUDIO,
                weight: self.grid.frames() as f64 * AUDIO_MEGAPIXELS / 30.0,
            });
        }
        tasks.push(NewTask {
            kind: TaskKind::Collect,
            ordinal: 0,
            rungs: Vec::new(),
            state: TaskState::Blocked,
            priority: PRIORITY_COLLECT,
            weight: COLLECT_WEIGHT,
        });
        tasks
    }

    fn chunk(&self, chunk: u32, rungs: Vec<String>, priority: i32) -> NewTask {
        let frames = self.grid.chunk_frames(chunk);
        let frames = (frames.end - frames.start) as f64;
        let megapixels = |rung: &Rung| f64::from(rung.width) * f64::from(rung.height) / 1e6;
        let size: f64 = self.rungs.iter().filter(|r| rungs.contains(&r.name)).map(megapixels).sum();
        let weight = frames * size;
        let (kind, state) = (TaskKind::Chunk, TaskState::Ready);
        NewTask { kind, ordinal: chunk, rungs, state, priority, weight }
    }
}

#[cfg(test)]
mod tests {
    use media::{ladder::default_profiles, source::Source};

    use super::{Plan, Wish, plan};
    use crate::domain::{TaskKind, TaskState};

    fn source(width: u32, height: u32, seconds: i64) -> Source {
        let report = serde_json::json!({
            "format": "mp4", "duration": seconds, "bytes": 1, "bitrate": 1,
            "video": {
                "index": 0, "codec": "h264", "width": width, "height": height,
                "frame_rate": [25, 1], "time_base": [1, 25], "first_pts": 0,
                "last_pts": seconds * 25 - 1, "interlaced": false, "pixel_format": "yuv420p",
                "transfer": ""
            },
            "audio": [
                {"index": 1, "codec": "aac", "channels": 6, "sample_rate": 48000,
                 "language": "ger", "title": ""},
                {"index": 2, "codec": "aac", "channels": 1, "sample_rate": 44100,
                 "language": "deu", "title": ""},
                {"index": 3, "codec": "aac", "channels": 2, "sample_rate": 44100,
                 "language": "", "title": ""}
            ]
        });
        serde_json::from_value(report).unwrap()
    }

    fn planned(source: &Source) -> Plan {
        plan(source, &default_profiles(), &Wish { hls: true, ..Wish::default() }).unwrap()
    }

    #[test]
    fn every_rung_of_every_chunk_is_planned_once() {
        for seconds in [1, 3, 4, 5, 24, 100] {
            let plan = planned(&source(1280, 720, seconds));
            let tasks = plan.tasks();
            for chunk in 0..plan.grid.chunks() {
                let of_chunk = tasks.iter().filter(|t| t.kind == TaskKind::Chunk);
                let of_chunk = of_chunk.filter(|t| t.ordinal == chunk);
                let rungs: Vec<&str> =
                    of_chunk.flat_map(|t| &t.rungs).map(String::as_str).collect();
                assert_eq!(rungs, ["360p", "480p", "720p"], "{seconds} s, chunk {chunk}");
            }
            assert_eq!(tasks.iter().filter(|t| t.kind == TaskKind::Audio).count(), 3);
            let collect = tasks.last().unwrap();
            assert_eq!((collect.kind, collect.state), (TaskKind::Collect, TaskState::Blocked));
            assert!(tasks.iter().all(|t| t.weight > 0.0));
        }
    }

    #[test]
    fn labels_are_unique_and_what_is_left_out_is_said() {
        let plan = planned(&source(1280, 720, 10));
        let audio: Vec<_> = plan
            .audio
            .iter()
            .map(|a| (a.label.as_str(), a.language.as_str(), a.channels))
            .collect();
        assert_eq!(audio, [("Deutsch", "de", 2), ("Deutsch (2)", "de", 1), ("Audio 3", "und", 2)]);
        assert_eq!(plan.notes.len(), 2);
        assert!(plan.notes[0].starts_with("1080p"));
    }

    #[test]
    fn a_rate_that_makes_no_grid_is_refused() {
        let mut broken = source(640, 360, 10);
        broken.video.frame_rate = (0, 1);
        let wish = Wish::default();
        let problem = plan(&broken, &default_profiles(), &wish).unwrap_err();
        assert_eq!(problem.code, api::code::Code::NotAVideo);
    }
}
