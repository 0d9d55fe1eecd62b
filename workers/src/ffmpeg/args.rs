//! Pure functions that build FFmpeg's arguments and thereby define how everything is encoded.
//!
//! Paths never reach an option parser or a file name pattern: the source follows `-i` with the
//! prefix `file:`, and outputs are relative names in the scratch folder that this module chooses.

mod audio;
mod colors;
mod copied;
mod ffprobe;
pub mod filters;
pub mod images;
mod video;

use std::{
    ffi::OsString,
    ops::Range,
    path::{Path, PathBuf},
};

use media::{
    Grid,
    ladder::Rung,
    source::{Span, VideoTrack},
};

pub use self::audio::{
    AudioEncode, audio, audio_group, audio_of_groups, audio_of_packets, audio_packets, groups,
};
pub use self::copied::{copied_audio, copied_origin, silence};
pub use self::ffprobe::{
    packets_with_bytes, probe_first_frames, probe_first_packets, probe_packet_count,
    probe_packets_from, probe_streams, probe_windows,
};
use crate::input::Input;

/// Real containers only. Formats that refer to other files (playlists, concat scripts, image
/// sequences) or generate images (text art, lavfi) are excluded.
pub const DEMUXERS: &str = "mov,matroska,avi,mpegts,mpeg,flv,ogg,asf,mxf,dv,gif,h264,hevc,\
                            mp3,wav,flac,aac,ac3,eac3,aiff,caf,amr";
/// `file` for a source in a local store, `pipe` for outputs to the worker.
pub const PROTOCOLS: &str = "file,pipe";
/// For a source that is read through the worker's own proxy; the sandbox allows connections to that
/// one port only.
pub const LOOPBACK_PROTOCOLS: &str = "http,tcp";
/// For a part of either.
const PART_PROTOCOL: &str = "subfile";

/// The protocols that `source` needs.
pub(super) fn protocols(source: &Input) -> String {
    match source {
        Input::File(_) => PROTOCOLS.to_owned(),
        Input::Loopback { .. } => LOOPBACK_PROTOCOLS.to_owned(),
        Input::Part { of, .. } => format!("{PART_PROTOCOL},{}", protocols(of)),
    }
}

/// A little more than 8K (7680×4320); decoders reject larger frames.
pub const PIXELS_MAX: u32 = 36_000_000;
/// The number of streams that FFmpeg opens in one file.
pub const STREAMS_MAX: u32 = 100;

/// Seconds of the shortest and of the longest [`Preroll::Short`].
const SHORT_MIN: f64 = 0.25;
const SHORT_MAX: f64 = 1.0;
/// Pictures over which encoders reorder, at most, in sources that people have.
const REORDERED_MAX: f64 = 6.0;

/// How far before a chunk's first frame decoding starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preroll {
    /// Enough for files with an index, where FFmpeg seeks to the preceding key frame: as long as
    /// pictures are reordered, because some containers find the key frame by its decode time.
    Short,
    /// For files without an index, where FFmpeg starts anywhere and waits for a key frame.
    Long,
    /// From the file's first byte: always works, but decodes everything before the chunk.
    FromStart,
}

impl Preroll {
    /// The next longer preroll, for another run.
    pub fn longer(self) -> Option<Self> {
        match self {
            Self::Short => Some(Self::Long),
            Self::Long => Some(Self::FromStart),
            Self::FromStart => None,
        }
    }

    /// For `track`. A shorter preroll more often finds the last key frame before the chunk instead of
    /// the one before it; decoding what lies between them is the largest cost of chunks. Pacing and
    /// deinterlacing depend on earlier pictures, so they get more of them.
    fn seconds(self, track: &VideoTrack) -> Option<f64> {
        let (num, den) = track.frame_rate;
        let pictures = |count: f64| count * f64::from(den) / f64::from(num.max(1));
        match self {
            Self::Short if track.paced || track.interlaced => Some(SHORT_MAX),
            Self::Short => Some(pictures(REORDERED_MAX).clamp(SHORT_MIN, SHORT_MAX)),
            Self::Long => Some(15.0),
            Self::FromStart => None,
        }
    }
}

/// One chunk in every rung of `rungs`, decoded only once.
#[derive(Clone, Debug)]
pub struct ChunkEncode<'a> {
    /// The video's source file.
    pub source: &'a Input,
    /// The video track in `source`.
    pub track: &'a VideoTrack,
    /// The output's grid.
    pub grid: &'a Grid,
    /// The chunk's number.
    pub chunk: u32,
    /// The renditions to encode.
    pub rungs: &'a [Rung],
    /// The preset of rungs that do not specify one.
    pub preset: &'a str,
    /// Threads of the decoder and of each encoder.
    pub threads: u32,
    /// How far before the chunk decoding starts.
    pub preroll: Preroll,
    /// The source states no times: its pictures follow one another at the track's rate.
    pub untimed: bool,
    /// The device of the hardware encoder, where FFmpeg needs its path.
    pub device: Option<&'a Path>,
}

/// The name of a rung's MP4 in the scratch folder.
pub fn movie_name(rung: &Rung) -> PathBuf {
    PathBuf::from(format!("{}.mp4", rung.name))
}

/// The name of a rung's packet checksums in the scratch folder.
pub fn checksums_name(rung: &Rung) -> PathBuf {
    PathBuf::from(format!("{}.framecrc", rung.name))
}

/// Arguments that encode a chunk into [`movie_name`] and [`checksums_name`] of every rung.
pub fn chunk(encode: &ChunkEncode<'_>) -> Vec<OsString> {
    let threads = encode.threads.max(1).to_string();
    let takes = chunk_inputs(encode);
    let mut args = Args::new();
    args.add(["-copyts"]);
    args.add(video::hardware_device(encode));
    for take in &takes {
        if let Some(start) = take.seek(encode) {
            args.add(["-noaccurate_seek", "-seek_timestamp", "1", "-ss"]);
            args.add([format!("{start:.6}")]);
        }
        // The scaler handles a change of size in mid-stream; rebuilding the filter graph would lose
        // frames.
        args.add(["-reinit_filter", "0", "-threads", &threads]);
        if encode.untimed {
            let (num, den) = encode.track.frame_rate;
            args.add(["-r", &format!("{num}/{den}")]);
        }
        args.input(&take.source);
    }
    args.add(["-filter_complex_threads", &threads, "-filter_complex"]);
    args.add([filters::chunk(encode, &takes)]);
    for (place, rung) in encode.rungs.iter().enumerate() {
        args.add([
            "-map",
            &format!("[v{place}]"),
            "-an",
            "-sn",
            "-dn",
            "-map_metadata",
            "-1",
            "-map_chapters",
            "-1",
        ]);
        args.add(["-vsync", "passthrough"]);
        args.add(video::encoder(encode, rung));
        args.add(["-f", "tee"]);
        args.add([format!(
            "[f=mp4:movflags=+empty_moov+default_base_moof+frag_keyframe:\
             video_track_timescale={}]{}|[f=framecrc]{}",
            encode.grid.rate().timescale(),
            movie_name(rung).display(),
            checksums_name(rung).display(),
        )]);
    }
    args.0
}

/// The part of one recording that a chunk contains.
pub(super) struct ChunkInput {
    source: Input,
    /// Of the recording.
    track: VideoTrack,
    /// Frames of the recording's own timeline.
    frames: Range<u64>,
    /// They are its last ones.
    ends: bool,
}

/// The parts that a chunk consists of, in order: one part of the source, or parts of several
/// recordings that the source was joined from.
fn chunk_inputs(encode: &ChunkEncode<'_>) -> Vec<ChunkInput> {
    let chunk = encode.grid.chunk_frames(encode.chunk);
    let spans = encode.track.spans(encode.grid.rate(), encode.grid.frames());
    let take = |span: Span| {
        let own = chunk.start.max(span.frames.start)..chunk.end.min(span.frames.end);
        let first = span.frames.start;
        (!own.is_empty()).then(|| ChunkInput {
            source: encode.source.part(span.bytes),
            track: span.track,
            frames: own.start - first..own.end - first,
            ends: own.end == span.frames.end,
        })
    };
    spans.into_iter().filter_map(take).collect()
}

impl ChunkInput {
    /// The position to seek to, in the recording's own seconds; `None` for its start.
    fn seek(&self, encode: &ChunkEncode<'_>) -> Option<f64> {
        let before = encode.preroll.seconds(&self.track)?;
        // Frames after the last picture repeat it, so seek no further than that picture.
        let last = *self.track.pictures_at(encode.grid.rate()).end();
        let start = encode.grid.seconds(self.frames.start.min(last)) - before;
        (start > 0.0).then(|| self.track.seconds(self.track.start_pts()) + start)
    }
}

/// Arguments that write text track `index` of `source` to standard output as WebVTT, with the
/// source's own timestamps.
pub fn subtitles(source: &Input, index: u32) -> Vec<OsString> {
    let mut args = Args::new();
    args.add(["-copyts", "-threads", "1"]);
    args.input(source);
    args.add([
        "-map",
        &format!("0:{index}"),
        "-vn",
        "-an",
        "-dn",
        "-map_metadata",
        "-1",
        "-map_chapters",
        "-1",
    ]);
    args.add(["-c:s", "webvtt", "-avoid_negative_ts", "disabled", "-f", "webvtt", "pipe:1"]);
    args.0
}

/// The name of the list of packets that [`closed_captions`] writes in the scratch folder.
pub const CAPTION_LIST: &str = "captions.framecrc";
/// The name of the bytes of these packets.
pub const CAPTION_DATA: &str = "captions.data";

/// A part of a video from which captions are read.
#[derive(Clone, Copy, Debug)]
pub struct CaptionSample {
    /// Seconds after the start of the source.
    pub start: f64,
    /// Length in seconds.
    pub seconds: f64,
}

/// Arguments that copy those units of stream `index` that can contain closed captions, without
/// decoding pictures: the packets to [`CAPTION_LIST`] with the source's own timestamps, except those
/// of a sample, and their bytes to [`CAPTION_DATA`].
pub fn closed_captions(
    source: &Input,
    index: u32,
    unit_types: Option<&str>,
    sample: Option<CaptionSample>,
) -> Vec<OsString> {
    let mut args = Args::new();
    match sample {
        None => args.add(["-copyts"]),
        Some(CaptionSample { start, seconds }) => {
            if start > 0.0 {
                args.add(["-ss", &format!("{start:.3}")]);
            }
            args.add(["-t", &format!("{seconds:.3}")]);
        }
    }
    args.add(["-threads", "1"]);
    args.input(source);
    args.add(["-map", &format!("0:{index}"), "-c", "copy", "-copytb", "1"]);
    if let Some(types) = unit_types {
        args.add(["-bsf", &format!("filter_units=pass_types={types}")]);
    }
    args.add(["-map_metadata", "-1", "-map_chapters", "-1", "-f", "tee"]);
    args.add([format!("[f=framecrc]{CAPTION_LIST}|[f=data]{CAPTION_DATA}")]);
    args.0
}

/// Arguments that encode a picture with the encoder of `encode`'s rungs, without a source and
/// without an output.
pub fn trial(encode: &ChunkEncode<'_>) -> Vec<OsString> {
    let mut args = Args::new();
    args.add(video::hardware_device(encode));
    for rung in encode.rungs {
        let Rung { width, height, .. } = rung;
        let upload = video::hardware_frames(rung);
        args.add(["-filter_complex"]);
        args.add([format!("color=gray:s={width}x{height}:r=25,format=yuv420p{upload}[v]")]);
        args.add(["-map", "[v]", "-frames:v", "1"]);
        args.add(video::encoder(encode, rung));
        args.add(["-f", "null", "-"]);
    }
    args.0
}

/// Arguments that list the encoders.
pub fn encoders() -> Vec<OsString> {
    ["-hide_banner", "-nostdin", "-encoders"].map(OsString::from).to_vec()
}

struct Args(Vec<OsString>);

impl Args {
    /// Sets a log level after the one that the sidecar always puts first; the later one takes
    /// precedence.
    fn new() -> Self {
        let mut args = Self(Vec::new());
        args.add(["-hide_banner", "-nostdin", "-y", "-loglevel", "level+warning", "-stats"]);
        args
    }

    fn add<T: Into<OsString>>(&mut self, args: impl IntoIterator<Item = T>) {
        self.0.extend(args.into_iter().map(Into::into));
    }

    fn input(&mut self, source: &Input) {
        self.add(["-protocol_whitelist", &protocols(source), "-format_whitelist", DEMUXERS]);
        self.add(["-max_streams", &STREAMS_MAX.to_string()]);
        self.add(["-max_pixels", &PIXELS_MAX.to_string()]);
        self.add([OsString::from("-i"), source.url()]);
    }
}
