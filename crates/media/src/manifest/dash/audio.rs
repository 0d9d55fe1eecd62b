//! The AdaptationSets of audio renditions.

use super::{
    super::{Links, captions, timeline::Timeline, xml},
    bandwidth, duration_micros, push, push_template,
};
use crate::{
    fmp4::TrackKind,
    index::{AudioRendition, Index, Track},
    language,
    purpose::AudioPurpose,
    surround::{self, SurroundCodec},
};

/// The sets of the audio renditions, of the text tracks and, as the last ones, of surround; their
/// ids begin with `first`.
pub(super) fn push_sets(
    out: &mut String,
    index: &Index,
    links: &Links<'_>,
    (first, surround): (usize, &[(usize, &AudioRendition)]),
    buffer_ms: u64,
) {
    let preferred = !surround.is_empty();
    for (place, rendition) in index.audio_renditions.iter().enumerate() {
        let set = AudioSet { id: first + place, place, rendition, preferred };
        push_audio(out, index, links, &set, buffer_ms);
    }
    captions::dash_sets(out, index, links, duration_micros(index) / 1000);
    let first = first + index.audio_renditions.len();
    for (id, &(place, rendition)) in (first..).zip(surround) {
        let set = AudioSet { id, place, rendition, preferred: false };
        push_audio(out, index, links, &set, buffer_ms);
    }
}

/// The AdaptationSet of an audio rendition.
struct AudioSet<'a> {
    id: usize,
    /// The place of its track among the audio renditions.
    place: usize,
    rendition: &'a AudioRendition,
    /// Whether players choose it before others of the same track: stereo before surround. dash.js
    /// otherwise chooses the highest bit rate.
    preferred: bool,
}

fn push_audio(
    out: &mut String,
    index: &Index,
    links: &Links<'_>,
    set: &AudioSet<'_>,
    buffer_ms: u64,
) {
    let AudioSet { id, place, rendition, preferred } = set;
    let AudioRendition { name, label, language, channels, target_bitrate, track } = rendition;
    push(
        out,
        format_args!(
            "    <AdaptationSet id=\"{id}\" contentType=\"audio\" mimeType=\"audio/mp4\" \
         lang=\"{}\" segmentAlignment=\"true\" startWithSAP=\"1\"{}>\n",
            language::tag(language),
            if *preferred { " selectionPriority=\"2\"" } else { "" },
        ),
    );
    let (scheme, value) = channel_configuration(track, *channels);
    push(
        out,
        format_args!(
            "      <AudioChannelConfiguration schemeIdUri=\"{scheme}\" value=\"{value}\"/>\n      \
         <Label>{}</Label>\n",
            xml(label),
        ),
    );
    push_purpose(out, index.purpose(*place), *place == 0);
    let timeline = Timeline::of(&index.grid, TrackKind::Audio, track);
    push_template(out, index, links, timeline, track.frontier());
    push(
        out,
        format_args!(
            "      <Representation id=\"{}\" bandwidth=\"{}\" codecs=\"{}\" \
         audioSamplingRate=\"{}\"/>\n    </AdaptationSet>\n",
            xml(name),
            bandwidth(index, track, TrackKind::Audio, *target_bitrate, buffer_ms),
            xml(&track.codec),
            track.timescale,
        ),
    );
}

/// The scheme and the value that describe the channels of an audio rendition. Dolby's scheme has one
/// bit per loudspeaker, from the left one down, and the lowest bit for low frequencies (ETSI TS 102
/// 366, I.1.2); the other scheme's values from 1 to 6 are numbers of channels (ISO/IEC 23003-3).
fn channel_configuration(track: &Track, channels: u32) -> (&'static str, String) {
    match SurroundCodec::of_rfc6381(&track.codec) {
        Some(SurroundCodec::Ac3 | SurroundCodec::Eac3) => {
            let value = if channels == surround::CHANNELS { "F801" } else { "F800" };
            ("tag:dolby.com,2014:dash:audio_channel_configuration:2011", value.to_owned())
        }
        Some(SurroundCodec::Aac) | None => {
            ("urn:mpeg:dash:23003:3:audio_channel_configuration:2011", channels.to_string())
        }
    }
}

/// The elements that distinguish an audio track from others of its language.
fn push_purpose(out: &mut String, purpose: AudioPurpose, main: bool) {
    if let Some(term) = purpose.accessibility() {
        push(
            out,
            format_args!(
                "      <Accessibility schemeIdUri=\"urn:tva:metadata:cs:AudioPurposeCS:2007\" \
             value=\"{term}\"/>\n",
            ),
        );
    }
    for role in purpose.roles(main) {
        push(
            out,
            format_args!(
                "      <Role schemeIdUri=\"urn:mpeg:dash:role:2011\" value=\"{role}\"/>\n",
            ),
        );
    }
}
