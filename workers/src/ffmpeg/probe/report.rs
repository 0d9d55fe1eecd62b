//! The parts of ffprobe's JSON that the worker requests. All of it is untrusted: the uploader
//! controls it.

mod ends;

use std::collections::HashMap;

use media::FrameRate;
use media::purpose::AudioPurpose;
use media::source::MATROSKA_WEBVTT;
use serde::Deserialize;

use crate::outcome::TaskFailure;

/// Image codecs that cover art uses.
const STILL_CODECS: [&str; 6] = ["mjpeg", "png", "bmp", "gif", "webp", "tiff"];
/// Raw streams of pictures.
const UNTIMED_FORMATS: [&str; 2] = ["h264", "hevc"];
/// Maximum length of a text that is copied from a file, in characters.
const TEXT_MAX: usize = 200;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Report {
    pub(super) streams: Vec<Stream>,
    pub(super) format: Format,
    /// Whether it is an MP4 or QuickTime file with movie fragments. The lengths in its index need
    /// not be those of the fragments that are there.
    #[serde(skip)]
    pub(super) fragmented: bool,
    /// The programs of a transport stream, each with a clock of its own.
    programs: Vec<Program>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Program {
    streams: Vec<Member>,
}

/// A stream of a program.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Member {
    index: u32,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Format {
    pub(super) format_name: String,
    start_time: Option<String>,
    duration: Option<String>,
    bit_rate: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Stream {
    pub(super) index: u32,
    id: Option<String>,
    pub(super) codec_type: Option<String>,
    pub(super) codec_name: Option<String>,
    pub(super) width: u32,
    pub(super) height: u32,
    /// The number of pictures by which decoding runs ahead of presentation.
    pub(super) has_b_frames: u32,
    sample_aspect_ratio: Option<String>,
    pub(super) field_order: Option<String>,
    pub(super) pix_fmt: Option<String>,
    color_transfer: Option<String>,
    color_space: Option<String>,
    color_primaries: Option<String>,
    r_frame_rate: Option<String>,
    avg_frame_rate: Option<String>,
    time_base: Option<String>,
    start_pts: Option<i64>,
    duration_ts: Option<i64>,
    nb_frames: Option<String>,
    pub(super) channels: u32,
    sample_rate: Option<String>,
    disposition: HashMap<String, i64>,
    tags: HashMap<String, String>,
    side_data_list: Vec<SideData>,
    /// Its pictures cannot be decoded, so that it is left out.
    #[serde(skip)]
    omitted: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct SideData {
    rotation: Option<f64>,
}

impl Program {
    fn contains_stream(&self, stream: &Stream) -> bool {
        self.streams.iter().any(|member| member.index == stream.index)
    }
}

impl Report {
    pub(super) fn parse(json: &[u8]) -> Result<Self, TaskFailure> {
        let text = String::from_utf8_lossy(json);
        serde_json::from_str(&text)
            // ffprobe writes JSON for every file that it can open.
            .map_err(|_| {
                TaskFailure::retryable("ffmpeg_failed", "the output of ffprobe is invalid JSON")
            })
    }

    /// The video track to encode: the default one, else the first, of those whose pictures were
    /// found. Cover art does not count,
    /// whether the container marks it as attached or it is a single picture in a file with audio.
    pub(super) fn video(&self) -> Option<&Stream> {
        let has_sound = self.streams.iter().any(Stream::is_audio);
        let playable = |stream: &&Stream| {
            stream.is_video() && !stream.omitted && !(has_sound && stream.is_still())
        };
        let videos = || self.streams.iter().filter(playable);
        // A multiplex may list programs that it does not contain.
        let sized = || videos().filter(|stream| stream.width > 0 && stream.height > 0);
        let default = sized().find(|stream| stream.is("default"));
        default.or_else(|| sized().next()).or_else(|| videos().next())
    }

    /// Leaves the video track out, if the source is still a video without it: it has another one, or
    /// audio. Returns a description of the track.
    pub(super) fn omit_video(&mut self) -> Option<String> {
        let index = self.video()?.index;
        let stream = self.streams.iter_mut().find(|stream| stream.index == index)?;
        stream.omitted = true;
        let codec = stream.codec_name.clone().filter(|name| name != "unknown");
        let codec = codec.unwrap_or_else(|| "unknown codec".to_owned());
        let left = self.video().is_some() || self.audible().next().is_some();
        left.then(|| format!("video track {index} ({codec})"))
    }

    /// Whether the source is a raw stream of pictures without times.
    pub(super) fn is_untimed(&self) -> bool {
        UNTIMED_FORMATS.contains(&self.format.format_name.as_str())
    }

    /// Whether the stream belongs to the program of the video track or, without video, of the first
    /// audio track. The programs of a transport stream have clocks of their own.
    pub(super) fn is_shown(&self, stream: &Stream) -> bool {
        let sound = || self.streams.iter().find(|stream| stream.is_audible());
        let Some(chosen) = self.video().or_else(sound) else { return true };
        let programs = || self.programs.iter().filter(|program| program.contains_stream(chosen));
        programs().next().is_none()
            || programs().any(|program| program.contains_stream(stream))
            || !self.programs.iter().any(|program| program.contains_stream(stream))
    }

    /// The audio tracks of that program.
    pub(super) fn audible(&self) -> impl Iterator<Item = &Stream> {
        self.streams.iter().filter(|stream| stream.is_audible() && self.is_shown(stream))
    }

    /// The audio tracks that become renditions, in the file's order, except that those with the
    /// default flag come first, and commentaries and tracks for viewers with a disability after
    /// other tracks.
    pub(super) fn sounds(&self) -> Vec<&Stream> {
        let mut sounds: Vec<_> = self.audible().collect();
        sounds.sort_by_key(|stream| (!stream.is("default"), !stream.purpose().is_for_everyone()));
        sounds
    }

    /// The audio track that determines the timeline of a file without video: the first that becomes
    /// a rendition.
    pub(super) fn sound(&self) -> Result<&Stream, TaskFailure> {
        let found = self.audible().next();
        found.or_else(|| self.streams.iter().find(|stream| stream.is_audio())).ok_or_else(|| {
            TaskFailure::permanent("not_a_video", "contains neither video nor audio")
        })
    }

    /// Where a stream's timeline begins according to the container.
    pub(super) fn start_pts(&self, stream: &Stream) -> i64 {
        stream.start_pts.unwrap_or(0)
    }

    /// How much earlier FFmpeg decodes a track of a transport stream than ffprobe lists it, in
    /// ticks: it takes a clock that is more than half of its range ahead of the file's start for
    /// one that has not wrapped yet, also where that start is another program's.
    pub(super) fn unwrapped(&self, first_pts: i64, tick: f64) -> i64 {
        const CLOCK: i64 = 1 << 33;
        let start = seconds(self.format.start_time.as_deref()).unwrap_or(0.0);
        let ahead = first_pts as f64 * tick - start > (CLOCK / 2) as f64 * tick;
        if ahead && self.format.format_name == "mpegts" { CLOCK } else { 0 }
    }

    fn is_matroska(&self) -> bool {
        self.format.format_name.starts_with("matroska")
    }

    /// Whether it is an MP4 or QuickTime file.
    pub(super) fn is_movie(&self) -> bool {
        self.format.format_name.starts_with("mov,")
    }

    /// Names the codecs of Matroska's text tracks that FFmpeg does not know. `codec_ids` are those
    /// of the file's text tracks, in order.
    pub(super) fn name_text_codecs(&mut self, codec_ids: &[String]) {
        let texts = self.streams.iter_mut().filter(|stream| stream.is_subtitle());
        for (stream, id) in texts.zip(codec_ids) {
            if stream.is_unknown() && id.eq_ignore_ascii_case(MATROSKA_WEBVTT) {
                stream.codec_name = Some(MATROSKA_WEBVTT.to_owned());
            }
        }
    }

    /// Whether the file is Matroska with a text track whose codec FFmpeg does not know.
    pub(super) fn has_unknown_text(&self) -> bool {
        let unknown = |stream: &Stream| stream.is_subtitle() && stream.is_unknown();
        self.is_matroska() && self.streams.iter().any(unknown)
    }

    /// Whether the index of the file proves that all pictures of `stream` last equally long: only
    /// then does FFmpeg's demuxer of MP4 state the same rate as nominal and as average.
    pub(super) fn is_constant(&self, stream: &Stream) -> bool {
        let rate = stream.nominal_rate().filter(|rate| Some(*rate) == stream.average_rate());
        rate.is_some_and(|(num, den)| FrameRate::new(num, den).is_ok())
            && self.format.format_name.starts_with("mov")
    }

    /// How much later the last picture is shown than decoded, in ticks, when a picture lasts
    /// `duration`. Program streams may omit the presentation time, so it is computed for them only.
    /// There the difference between the first packet and the first picture cannot be used: the
    /// first packets need not decode.
    pub(super) fn reorder(&self, stream: &Stream, duration: i64) -> Option<i64> {
        let program = self.format.format_name == "mpeg" && duration > 0;
        program.then(|| i64::from(stream.has_b_frames).saturating_mul(duration))
    }

    pub(super) fn bitrate(&self) -> Option<u64> {
        self.format.bit_rate.as_ref()?.parse().ok().filter(|rate| *rate > 0)
    }
}

impl Stream {
    pub(super) fn is_video(&self) -> bool {
        let picture = self.is("attached_pic") || self.is("timed_thumbnails");
        self.codec_type.as_deref() == Some("video") && !picture
    }

    pub(super) fn is_audio(&self) -> bool {
        self.codec_type.as_deref() == Some("audio")
    }

    /// Whether the stream is an audio track that becomes a rendition.
    pub(super) fn is_audible(&self) -> bool {
        let usable =
            (1..=64).contains(&self.channels) && (1..=768_000).contains(&self.sample_rate());
        self.is_audio() && self.codec_name.is_some() && usable
    }

    /// The time of its first packet, in the source's seconds.
    pub(super) fn start_seconds(&self) -> Option<f64> {
        self.start_pts.map(|pts| pts as f64 * self.tick())
    }

    /// The container's own id of the stream, if it has one: the PID in a transport stream.
    pub(super) fn id(&self) -> Option<u32> {
        u32::from_str_radix(self.id.as_deref()?.strip_prefix("0x")?, 16).ok()
    }

    /// Whether the stream contains subtitles, as text or as bitmaps.
    pub(super) fn is_subtitle(&self) -> bool {
        self.codec_type.as_deref() == Some("subtitle")
    }

    fn is_unknown(&self) -> bool {
        self.codec_name.as_deref().is_none_or(|name| name == "unknown")
    }

    /// Whether pictures may be presented in another order than they are decoded in.
    pub(super) fn is_reordered(&self) -> bool {
        self.has_b_frames > 0
    }

    /// Whether the stream is a single picture.
    fn is_still(&self) -> bool {
        let codec = self.codec_name.as_deref().unwrap_or_default();
        STILL_CODECS.contains(&codec) && self.nb_frames.as_deref() == Some("1")
    }

    pub(super) fn is(&self, disposition: &str) -> bool {
        self.disposition.get(disposition).is_some_and(|value| *value != 0)
    }

    /// The purpose of an audio track.
    pub(super) fn purpose(&self) -> AudioPurpose {
        AudioPurpose {
            description: self.is("visual_impaired") || self.is("descriptions"),
            clear_speech: self.is("hearing_impaired"),
            commentary: self.is("comment"),
            dub: self.is("dub"),
            original: self.is("original"),
        }
    }

    /// A tag's value, without control characters and of bounded length.
    pub(super) fn tag(&self, name: &str) -> String {
        let text = self.tags.get(name).map_or("", String::as_str);
        text.chars().filter(|c| !c.is_control()).take(TEXT_MAX).collect()
    }

    /// Seconds per tick.
    pub(super) fn tick(&self) -> f64 {
        self.time_base().map_or(0.0, |(num, den)| f64::from(num) / f64::from(den))
    }

    pub(super) fn time_base(&self) -> Option<(u32, u32)> {
        ratio(self.time_base.as_deref()?)
    }

    /// The stream in ticks of one picture at this rate.
    pub(super) fn at_rate(&self, (num, den): (u32, u32)) -> Self {
        Self { time_base: Some(format!("{den}/{num}")), ..self.clone() }
    }

    pub(super) fn nominal_rate(&self) -> Option<(u32, u32)> {
        ratio(self.r_frame_rate.as_deref()?)
    }

    pub(super) fn average_rate(&self) -> Option<(u32, u32)> {
        ratio(self.avg_frame_rate.as_deref()?)
    }

    pub(super) fn transfer(&self) -> String {
        color(self.color_transfer.as_deref())
    }

    pub(super) fn matrix(&self) -> String {
        color(self.color_space.as_deref())
    }

    pub(super) fn primaries(&self) -> String {
        color(self.color_primaries.as_deref())
    }

    pub(super) fn sample_aspect(&self) -> (u32, u32) {
        let text = self.sample_aspect_ratio.as_deref().unwrap_or("1:1");
        ratio(&text.replace(':', "/")).unwrap_or((1, 1))
    }

    pub(super) fn sample_rate(&self) -> u32 {
        self.sample_rate.as_deref().and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    /// Whether it is shown rotated by 90 or 270 degrees.
    pub(super) fn is_turned(&self) -> bool {
        let side_data = self.side_data_list.iter().find_map(|data| data.rotation);
        let tag = || self.tags.get("rotate").and_then(|text| text.parse().ok());
        let degrees = side_data.or_else(tag).unwrap_or(0.0);
        degrees.is_finite() && (degrees / 90.0).round() as i64 % 2 != 0
    }
}

/// FFmpeg's name of a property of colors; empty if it is unknown.
fn color(name: Option<&str>) -> String {
    name.filter(|name| *name != "unknown").unwrap_or_default().to_owned()
}

fn ratio(text: &str) -> Option<(u32, u32)> {
    let (num, den) = text.split_once('/')?;
    let (num, den) = (num.parse().ok()?, den.parse().ok()?);
    (num > 0 && den > 0).then_some((num, den))
}

fn seconds(text: Option<&str>) -> Option<f64> {
    text?.parse().ok().filter(|value: &f64| value.is_finite())
}
