//! Conversions between wire and domain types. Messages are validated here, on receipt, and errors
//! name the field; handlers convert first and then work with checked values only.

mod parts;

use media::{
    Codec, FrameRate, Grid, HardwareEncoder,
    ids::Id,
    ladder::Rung,
    purpose::AudioPurpose,
    source::{AudioTrack, Source, TextTrack, VideoTrack},
};

use self::parts::parts;
use crate::{
    code::{Code, Problem},
    v1,
};

/// Parses an id field. Only the hyphenated form is accepted: REST accepts no other, and filters
/// compare texts.
///
/// # Errors
/// [`Code::InvalidId`], naming `field`, when the text is not such a UUID.
pub fn id<T>(field: &str, text: &str) -> Result<Id<T>, Problem> {
    match text.parse() {
        Ok(id) if text.len() == 36 => Ok(id),
        _ => Err(Problem::at(Code::InvalidId, field, "is not a UUID")),
    }
}

/// Converts a stored time, exactly to the nanosecond.
pub fn timestamp(time: jiff::Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: time.as_second(), nanos: time.subsec_nanosecond() }
}

/// Converts a timestamp back; `None` when it is out of range.
pub fn time(timestamp: &prost_types::Timestamp) -> Option<jiff::Timestamp> {
    jiff::Timestamp::new(timestamp.seconds, timestamp.nanos).ok()
}

fn required<T>(field: &str, value: Option<T>) -> Result<T, Problem> {
    value.ok_or_else(|| Problem::field(field, "is missing"))
}

impl From<Grid> for v1::Grid {
    fn from(grid: Grid) -> Self {
        let rate = grid.rate();
        let frame_rate = Some(v1::Ratio { num: rate.num(), den: rate.den() });
        let joined_remainder = grid.has_joined_remainder();
        Self { frame_rate, frames: grid.frames(), joined_remainder }
    }
}

impl TryFrom<v1::Grid> for Grid {
    type Error = Problem;

    fn try_from(grid: v1::Grid) -> Result<Self, Problem> {
        let rate = required("grid.frame_rate", grid.frame_rate)?;
        let rate = FrameRate::new(rate.num, rate.den)
            .map_err(|e| Problem::field("grid.frame_rate", e.to_string()))?;
        let planned = Self::new(rate, grid.frames)
            .map_err(|e| Problem::field("grid.frames", e.to_string()))?;
        Ok(if grid.joined_remainder { planned.with_joined_remainder() } else { planned })
    }
}

impl From<Rung> for v1::Rung {
    fn from(rung: Rung) -> Self {
        let Rung { name, width, height, video_bitrate, codec, preset, crf, hardware } = rung;
        let (codec, encoder) = (codec.text().to_owned(), hardware.map(HardwareEncoder::text));
        let encoder = encoder.unwrap_or_default().to_owned();
        Self { name, width, height, video_bitrate, codec, preset, crf, encoder }
    }
}

impl TryFrom<v1::Rung> for Rung {
    type Error = Problem;

    fn try_from(rung: v1::Rung) -> Result<Self, Problem> {
        let v1::Rung { name, width, height, video_bitrate, codec, preset, crf, encoder } = rung;
        let safe = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if name.is_empty() || !name.chars().all(safe) {
            return Err(Problem::field("rungs.name", "is not a plain name"));
        }
        if width == 0 || height == 0 || width % 2 + height % 2 != 0 {
            return Err(Problem::field("rungs.width", "sizes must be even and above zero"));
        }
        let codec = match codec.as_str() {
            "" => Some(Codec::default()),
            text => Codec::parse(text),
        };
        let codec = codec.ok_or_else(|| Problem::field("rungs.codec", "is unknown"))?;
        if !preset.is_empty() && !codec.has_preset(&preset) {
            return Err(Problem::field("rungs.preset", "is unknown"));
        }
        if crf.is_some_and(|crf| !codec.crfs().contains(&crf)) {
            return Err(Problem::field("rungs.crf", "is out of range"));
        }
        let hardware = HardwareEncoder::parse(&encoder);
        if hardware.is_none() != encoder.is_empty() || hardware.is_some_and(|h| h.codec() != codec)
        {
            return Err(Problem::field(
                "rungs.encoder",
                "is unknown, or does not encode the codec",
            ));
        }
        Ok(Self { name, width, height, video_bitrate, codec, preset, crf, hardware })
    }
}

impl From<VideoTrack> for v1::VideoTrack {
    fn from(track: VideoTrack) -> Self {
        let ratio = |(num, den)| Some(v1::Ratio { num, den });
        Self {
            index: track.index,
            codec: track.codec,
            width: track.width,
            height: track.height,
            frame_rate: ratio(track.frame_rate),
            time_base: ratio(track.time_base),
            first_pts: track.first_pts,
            last_pts: track.last_pts,
            interlaced: track.interlaced,
            pixel_format: track.pixel_format,
            transfer: track.transfer,
            matrix: track.matrix,
            primaries: track.primaries,
            paced: track.paced,
            hidden: track.hidden,
            examined: track.examined,
            hold_before: track.hold_before,
            hold_after: track.hold_after,
            parts: track.parts.into_iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<v1::VideoTrack> for VideoTrack {
    type Error = Problem;

    fn try_from(track: v1::VideoTrack) -> Result<Self, Problem> {
        let ratio = |field: &str, value: Option<v1::Ratio>| {
            let ratio = required(field, value)?;
            if ratio.num == 0 || ratio.den == 0 {
                return Err(Problem::field(field, "must be above zero"));
            }
            Ok((ratio.num, ratio.den))
        };
        if track.width == 0 || track.height == 0 {
            return Err(Problem::field("video.width", "sizes must be above zero"));
        }
        Ok(Self {
            index: track.index,
            codec: track.codec,
            width: track.width,
            height: track.height,
            frame_rate: ratio("video.frame_rate", track.frame_rate)?,
            time_base: ratio("video.time_base", track.time_base)?,
            first_pts: track.first_pts,
            last_pts: track.last_pts,
            interlaced: track.interlaced,
            pixel_format: track.pixel_format,
            transfer: track.transfer,
            matrix: track.matrix,
            primaries: track.primaries,
            paced: track.paced,
            hidden: track.hidden,
            examined: track.examined,
            hold_before: track.hold_before,
            hold_after: track.hold_after,
            parts: parts("video.parts", track.parts)?,
        })
    }
}

impl From<AudioTrack> for v1::AudioTrack {
    fn from(track: AudioTrack) -> Self {
        let AudioTrack { index, codec, channels, sample_rate, language, title, purpose, parts } =
            track;
        let parts = parts.into_iter().map(Into::into).collect();
        let purpose = Some(purpose.into());
        Self { index, codec, channels, sample_rate, language, title, parts, purpose }
    }
}

impl TryFrom<v1::AudioTrack> for AudioTrack {
    type Error = Problem;

    fn try_from(track: v1::AudioTrack) -> Result<Self, Problem> {
        Ok(Self {
            index: track.index,
            codec: track.codec,
            channels: track.channels,
            sample_rate: track.sample_rate,
            language: track.language,
            title: track.title,
            purpose: track.purpose.map(Into::into).unwrap_or_default(),
            parts: parts("audio.parts", track.parts)?,
        })
    }
}

impl From<AudioPurpose> for v1::AudioPurpose {
    fn from(purpose: AudioPurpose) -> Self {
        let AudioPurpose { description, clear_speech, commentary, dub, original } = purpose;
        Self { description, clear_speech, commentary, dub, original }
    }
}

impl From<v1::AudioPurpose> for AudioPurpose {
    fn from(purpose: v1::AudioPurpose) -> Self {
        let v1::AudioPurpose { description, clear_speech, commentary, dub, original } = purpose;
        Self { description, clear_speech, commentary, dub, original }
    }
}

impl From<TextTrack> for v1::TextTrack {
    fn from(track: TextTrack) -> Self {
        Self {
            index: track.index,
            codec: track.codec,
            language: track.language,
            title: track.title,
            default: track.default,
            forced: track.forced,
            hearing_impaired: track.hearing_impaired,
            commentary: track.commentary,
            channel: track.channel,
        }
    }
}

impl From<v1::TextTrack> for TextTrack {
    fn from(track: v1::TextTrack) -> Self {
        Self {
            index: track.index,
            codec: track.codec,
            language: track.language,
            title: track.title,
            default: track.default,
            forced: track.forced,
            hearing_impaired: track.hearing_impaired,
            commentary: track.commentary,
            channel: track.channel,
        }
    }
}

impl From<Source> for v1::SourceReport {
    fn from(source: Source) -> Self {
        Self {
            format: source.format,
            duration_seconds: source.duration,
            bytes: source.bytes,
            bitrate: source.bitrate,
            video: source.video.map(Into::into),
            audio: source.audio.into_iter().map(Into::into).collect(),
            text: source.text.into_iter().map(Into::into).collect(),
            notes: source.notes,
        }
    }
}

impl TryFrom<v1::SourceReport> for Source {
    type Error = Problem;

    fn try_from(report: v1::SourceReport) -> Result<Self, Problem> {
        if !report.duration_seconds.is_finite() || report.duration_seconds <= 0.0 {
            return Err(Problem::field("source.duration_seconds", "must be above zero"));
        }
        if report.video.is_none() && report.audio.is_empty() {
            return Err(Problem::field("source.video", "is missing, and so is audio"));
        }
        Ok(Self {
            format: report.format,
            duration: report.duration_seconds,
            bytes: report.bytes,
            bitrate: report.bitrate,
            video: report.video.map(TryInto::try_into).transpose()?,
            audio: report.audio.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
            text: report.text.into_iter().map(Into::into).collect(),
            notes: report.notes,
        })
    }
}

#[cfg(test)]
mod tests {
    use media::ids::Video;

    use super::*;

    #[test]
    fn ids_are_accepted_only_in_canonical_form() {
        let plain = "01936b2e-7c1a-7d33-8b0e-000000000001";
        assert_eq!(id::<Video>("video_id", plain).unwrap().to_string(), plain);
        let bare = plain.replace('-', "");
        let others = [bare.clone(), format!("{{{plain}}}"), format!("urn:uuid:{plain}")];
        for other in others.iter().map(String::as_str).chain(["", "nope", " "]) {
            let problem = id::<Video>("video_id", other).unwrap_err();
            assert_eq!(problem.code, Code::InvalidId, "{other}");
            assert_eq!(problem.violations[0].field, "video_id");
        }
    }
}
