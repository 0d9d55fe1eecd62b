//! Which text tracks of a source are extracted, and their labels.

use media::{
    JobId,
    captions::{CaptionKind, Described, id_of_file},
    language,
    source::TextTrack,
};
use serde::{Deserialize, Serialize};

use super::label;

/// Maximum number of text tracks that are extracted; of a source with more, the first ones are
/// kept.
pub const TEXT_TRACKS_MAX: usize = 32;

/// An embedded text track.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedText {
    /// Used in the names of its object and its task.
    pub number: u32,
    /// The track to extract.
    pub track: TextTrack,
    /// The label shown to users.
    pub label: String,
    /// BCP 47; "und" when unknown.
    pub language: String,
}

impl PlannedText {
    /// Its description for the API, once `job` has extracted it.
    pub fn described(&self, job: JobId) -> Described {
        let kind = match self.track.hearing_impaired {
            true => CaptionKind::Captions,
            false => CaptionKind::Subtitles,
        };
        Described {
            id: id_of_file(job, self.number),
            language: self.language.clone(),
            label: self.label.clone(),
            kind,
            default: self.track.default,
            forced: self.track.forced,
        }
    }
}

/// The words that follow the language in the label of a track that is not for everyone.
const fn purpose(track: &TextTrack) -> Option<&'static str> {
    match track {
        TextTrack { commentary: true, .. } => Some("commentary"),
        TextTrack { forced: true, .. } => Some("forced"),
        TextTrack { hearing_impaired: true, .. } => Some("SDH"),
        _ => None,
    }
}

/// Plans the tracks that contain text; tracks that are left out are noted.
pub(super) fn plan(tracks: &[TextTrack], notes: &mut Vec<String>) -> Vec<PlannedText> {
    let (text, pictures): (Vec<_>, Vec<_>) = tracks.iter().partition(|track| track.is_text());
    for track in pictures {
        let (index, codec) = (track.index, &track.codec);
        notes.push(format!(
            "subtitle track {index} ({codec}) was left out, because it is not stored as text"
        ));
    }
    if text.len() > TEXT_TRACKS_MAX {
        let left = text.len() - TEXT_TRACKS_MAX;
        notes.push(format!(
            "{left} subtitle tracks beyond the first {TEXT_TRACKS_MAX} were left out"
        ));
    }
    let planned = (0..).zip(text.into_iter().take(TEXT_TRACKS_MAX)).map(|(number, track)| {
        let language = language::tag_of_track(&track.language);
        let mut label = match (&*track.channel, &*track.title) {
            ("", title) => label(title, &language, "Subtitles", number),
            (channel, "") if language == "und" => channel.to_owned(),
            (channel, title) => format!("{} ({channel})", label(title, &language, channel, number)),
        };
        let unnamed = track.channel.is_empty() && track.title.trim().is_empty();
        if let Some(purpose) = purpose(track).filter(|_| unnamed) {
            label = format!("{label} ({purpose})");
        }
        PlannedText { number, track: track.clone(), label, language }
    });
    planned.collect()
}
