//! Which audio tracks of a source also become surround renditions.

use std::ops::RangeInclusive;

use media::{
    grid::AUDIO_RATE,
    source::AudioTrack,
    surround::{self, SurroundCodec},
};
use serde::{Deserialize, Serialize};

use super::PlannedAudio;

/// Channels of tracks in surround: 5.0 to 7.1. Tracks with fewer are mixed to stereo without much
/// loss; those with more are not meant for loudspeakers around a viewer.
const SURROUND_CHANNELS: RangeInclusive<u32> = 5..=8;
/// Highest bit rate of 5.1 in AAC (Apple's HLS authoring specification, 2.9), in bit/s.
const BITRATE_MAX: u64 = 320_000;

/// A surround rendition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedSurround {
    /// Used in the names of the rendition and the task.
    pub number: u32,
    /// The number of the audio rendition of the same track.
    pub audio: u32,
    /// Encoded or copied.
    pub codec: SurroundCodec,
    /// bit/s; 0 for a copy.
    pub bitrate: u64,
}

impl PlannedSurround {
    /// The rendition's name.
    pub fn rendition(&self) -> String {
        surround::rendition(self.number)
    }
}

/// The surround renditions beside `audio`: AAC for every player, and the source's own track if it
/// is in a format that receivers decode.
pub(super) fn plan(audio: &[PlannedAudio]) -> Vec<PlannedSurround> {
    let mut planned = Vec::new();
    for of in audio.iter().filter(|audio| SURROUND_CHANNELS.contains(&audio.track.channels)) {
        // As many bits for each of the five channels as in stereo; low frequencies need few.
        let bitrate = (of.bitrate * 5 / 2).min(BITRATE_MAX);
        for (codec, bitrate) in
            [(SurroundCodec::Aac, bitrate)].into_iter().chain(copy(&of.track).map(|copy| (copy, 0)))
        {
            let number = planned.len() as u32;
            planned.push(PlannedSurround { number, audio: of.number, codec, bitrate });
        }
    }
    planned
}

/// The codec in which a track can be copied. Its frames keep their bytes, so it must be one
/// recording at the sample rate of the output.
fn copy(track: &AudioTrack) -> Option<SurroundCodec> {
    let codec = SurroundCodec::parse(&track.codec).filter(|codec| *codec != SurroundCodec::Aac);
    codec.filter(|_| track.sample_rate == AUDIO_RATE && track.parts.is_empty())
}
