//! Pure functions that build FFmpeg's arguments and thereby define how everything is encoded.
//!
//! Paths never reach an option parser or a file name pattern: the source follows `-i` with the prefix
//! `file:`, and outputs are relative names in the scratch folder that this module chooses.

pub mod filters;
mod questions;
mod video;

use std::{ffi::OsString, path::PathBuf};

use media::{
    Grid,
    ladder::Rung,
    source::{AudioTrack, VideoTrack},
};

pub use self::questions::{probe_first_frames, probe_last_packets, probe_streams};
use crate::source::Input;

/// Real containers only. Formats that refer to other files (playlists, concat scripts, image sequences)
/// or generate images (text art, lavfi) are excluded.
pub const DEMUXERS: &str = "mov,matroska,avi,mpegts,mpeg,flv,ogg,asf,mp3,wav,flac";
/// `file` for a source in a local store, `pipe` for outputs to the worker.
pub const PROTOCOLS: &str = "file,pipe";
/// For a source that is read through the worker's own proxy; the sandbox allows connections to that one
/// port only.
pub const LOOPBACK_PROTOCOLS: &str = "http,tcp";

/// The protocols that `source` needs.
pub(super) fn protocols(source: &Input) -> &'static str {
    match source {
        Input::File(_) => PROTOCOLS,
        Input::Loopback { .. } => LOOPBACK_PROTOCOLS,
    }
}

/// A little more than 8K (7680×4320); decoders reject larger frames.
pub const PIXELS_MAX: u32 = 36_000_000;
/// The number of streams that FFmpeg opens in one file.
pub const STREAMS_MAX: u32 = 100;

/// How far before a chunk's first frame decoding starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preroll {
    /// Enough for files with an index, where FFmpeg seeks to the preceding key frame.
    Short,
    /// For files without an index, where FFmpeg starts anywhere and waits for a key frame.
    Long,
    /// From the file's first byte: always works, but decodes everything before the chunk.
    FromStart,
}

impl Preroll {
    /// The next longer preroll, for another try.
    pub fn longer(self) -> Option<Self> {
        match self {
            Self::Short => Some(Self::Long),
            Self::Long => Some(Self::FromStart),
            Self::FromStart => None,
        }
    }

    fn seconds(self) -> Option<f64> {
        match self {
            Self::Short => Some(1.0),
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
}

/// The name of a rung's MP4 in the scratch folder.
pub fn movie_name(rung: &Rung) -> PathBuf {
    PathBuf::from(format!("{}.mp4", rung.name))
}

/// The name of a rung's packet checksums in the scratch folder.
pub fn proof_name(rung: &Rung) -> PathBuf {
    PathBuf::from(format!("{}.framecrc", rung.name))
}

/// Arguments that encode a chunk into [`movie_name`] and [`proof_name`] of every rung.
pub fn chunk(encode: &ChunkEncode<'_>) -> Vec<OsString> {
    let threads = encode.threads.max(1).to_string();
    let mut args = Args::new();
    args.add(["-copyts"]);
    if let Some(start) = seek(encode) {
        args.add(["-noaccurate_seek", "-seek_timestamp", "1", "-ss"]);
        args.add([format!("{start:.6}")]);
    }
    // The scaler handles a change of size in mid-stream; rebuilding the filter graph would lose frames.
    args.add(["-reinit_filter", "0", "-threads", &threads]);
    args.input(encode.source);
    args.add(["-filter_complex_threads", &threads, "-filter_complex"]);
    args.add([filters::chunk(encode)]);
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
            proof_name(rung).display(),
        )]);
    }
    args.0
}

/// The position to seek to, in the source's own seconds; `None` for its start.
fn seek(encode: &ChunkEncode<'_>) -> Option<f64> {
    let frames = encode.grid.chunk_frames(encode.chunk);
    let before = encode.preroll.seconds()?;
    // Frames after the last picture repeat it, so seek no further than that picture.
    let first = frames.start.min(*encode.track.pictures_at(encode.grid.rate()).end());
    let start = encode.grid.seconds(first) - before;
    (start > 0.0).then(|| encode.track.seconds(encode.track.start_pts()) + start)
}

/// One audio track from start to end, as fragmented MP4 on standard output.
#[derive(Clone, Debug)]
pub struct AudioEncode<'a> {
    /// The video's source file.
    pub source: &'a Input,
    /// The audio track in `source`.
    pub track: &'a AudioTrack,
    /// The video track, whose start is time 0; without one, time 0 is the audio track's first sample.
    pub video: Option<&'a VideoTrack>,
    /// The output's grid.
    pub grid: &'a Grid,
    /// Bit rate in bit/s.
    pub bitrate: u64,
    /// Threads of the decoder and the filters.
    pub threads: u32,
}

/// Arguments that encode an audio track to standard output, padded and cut to the grid's length.
pub fn audio(encode: &AudioEncode<'_>) -> Vec<OsString> {
    let threads = encode.threads.max(1).to_string();
    let layout = if encode.track.channels == 1 { "mono" } else { "stereo" };
    let samples = encode.grid.audio_frames_total() * u64::from(media::grid::AAC_FRAME_SAMPLES);
    let rate = media::grid::AUDIO_RATE;
    let start = encode.video.map_or_else(
        || "STARTPTS".to_owned(),
        |video| format!("({}*{}/{})/TB", video.start_pts(), video.time_base.0, video.time_base.1),
    );
    let filter = format!(
        "[0:{}]asetpts=PTS-{start},aresample={rate}:async=1:first_pts=0,\
         aformat=sample_fmts=fltp:sample_rates={rate}:channel_layouts={layout},\
         apad,atrim=end_sample={samples},asetpts=N/SR/TB[a]",
        encode.track.index
    );
    let mut args = Args::new();
    args.add(["-copyts", "-threads", &threads]);
    args.input(encode.source);
    args.add(["-filter_complex_threads", "1", "-filter_complex"]);
    args.add([filter]);
    args.add([
        "-map",
        "[a]",
        "-vn",
        "-sn",
        "-dn",
        "-map_metadata",
        "-1",
        "-map_chapters",
        "-1",
        "-c:a",
        "aac",
    ]);
    args.add(["-b:a", &encode.bitrate.to_string(), "-flags", "+global_header"]);
    args.add(["-movflags", "+empty_moov+default_base_moof", "-frag_duration", "1000000"]);
    args.add(["-f", "mp4", "pipe:1"]);
    args.0
}

/// Arguments that write text track `index` of `source` to standard output as WebVTT, with the source's
/// own timestamps.
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
        self.add(["-protocol_whitelist", protocols(source), "-format_whitelist", DEMUXERS]);
        self.add(["-max_streams", &STREAMS_MAX.to_string()]);
        self.add(["-max_pixels", &PIXELS_MAX.to_string()]);
        self.add([OsString::from("-i"), source.url()]);
    }
}
