//! The purpose of an audio track, from the dispositions of its source, in the terms of HLS and DASH.

use serde::{Deserialize, Serialize};

/// Distinguishes an audio track from others of the same language.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AudioPurpose {
    /// Describes the pictures, for viewers with impaired sight.
    pub description: bool,
    /// Speech is easier to understand, for viewers with impaired hearing.
    pub clear_speech: bool,
    /// A commentary on the video, such as its director's.
    pub commentary: bool,
    /// A translation of the speech.
    pub dub: bool,
    /// In the language in which the video was made.
    pub original: bool,
}

impl AudioPurpose {
    /// Whether every viewer of the language may want the track: neither a commentary nor made for
    /// viewers with a disability.
    pub const fn is_for_everyone(self) -> bool {
        !self.description && !self.clear_speech && !self.commentary
    }

    /// The words that follow the language in the label; `None` for a track that is for everyone.
    pub const fn label(self) -> Option<&'static str> {
        match self {
            Self { commentary: true, .. } => Some("commentary"),
            Self { description: true, .. } => Some("audio description"),
            Self { clear_speech: true, .. } => Some("clear speech"),
            _ => None,
        }
    }

    /// The word that distinguishes two tracks for everyone; `None` if the source states neither.
    pub const fn version(self) -> Option<&'static str> {
        match self {
            Self { dub: true, .. } => Some("dubbed"),
            Self { original: true, .. } => Some("original"),
            _ => None,
        }
    }

    /// The media characteristics of Apple's players, for CHARACTERISTICS in HLS (RFC 8216, 4.3.4.1).
    pub fn characteristics(self) -> Vec<&'static str> {
        let all = [
            (self.description, "public.accessibility.describes-video"),
            (self.clear_speech, "public.accessibility.enhances-speech-intelligibility"),
            (self.commentary, "public.auxiliary-content"),
            (self.dub, "public.translation.dubbed"),
            (self.original, "public.original-content"),
        ];
        all.into_iter().filter(|(applies, _)| *applies).map(|(_, name)| name).collect()
    }

    /// The roles of the scheme `urn:mpeg:dash:role:2011` (ISO/IEC 23009-1, 5.8.5.5). A track without
    /// a role of its own is the main one or an alternative to it.
    pub fn roles(self, main: bool) -> Vec<&'static str> {
        let all = [
            (main, "main"),
            (self.description, "description"),
            (self.clear_speech, "enhanced-audio-intelligibility"),
            (self.commentary, "commentary"),
            (self.dub, "dub"),
        ];
        let roles: Vec<_> =
            all.into_iter().filter(|(applies, _)| *applies).map(|(_, role)| role).collect();
        if roles.is_empty() { vec!["alternate"] } else { roles }
    }

    /// The term of `urn:tva:metadata:cs:AudioPurposeCS:2007` (ETSI TS 102 822-3-1) for a track that
    /// is made for viewers with a disability.
    pub const fn accessibility(self) -> Option<u32> {
        match self {
            Self { description: true, .. } => Some(1),
            Self { clear_speech: true, .. } => Some(2),
            _ => None,
        }
    }
}
