//! Which audio tracks of a source become renditions, and their labels.

use media::{language, source::AudioTrack};
use serde::{Deserialize, Serialize};

use super::label;

/// Maximum number of audio tracks that are encoded; of a source with more, the first ones are kept.
pub const AUDIO_TRACKS_MAX: usize = 16;

/// An audio rendition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedAudio {
    /// Used in the names of the rendition and the task.
    pub number: u32,
    /// The track to encode.
    pub track: AudioTrack,
    /// The label shown to users, unique in the video.
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

/// The renditions of `tracks` at `bitrate` (bit/s).
pub(super) fn plan(tracks: &[AudioTrack], bitrate: u64) -> Vec<PlannedAudio> {
    let mut planned: Vec<PlannedAudio> = Vec::new();
    for (number, track) in (0..).zip(tracks.iter().take(AUDIO_TRACKS_MAX)) {
        let language = language::tag_of_track(&track.language);
        let taken = |label: &str| planned.iter().any(|p| p.label == label);
        let mut wanted = label(&track.title, &language, "Audio", number);
        if let Some(purpose) = track.purpose.label().filter(|_| track.title.trim().is_empty()) {
            wanted = format!("{wanted} ({purpose})");
        }
        if let Some(version) = track.purpose.version().filter(|_| taken(&wanted)) {
            wanted = format!("{wanted} ({version})");
        }
        let mut label = wanted.clone();
        let mut copy = 2;
        while taken(&label) {
            label = format!("{wanted} ({copy})");
            copy += 1;
        }
        let channels = if track.channels == 1 { 1 } else { 2 };
        let track = track.clone();
        planned.push(PlannedAudio { number, track, label, language, channels, bitrate });
    }
    planned
}
