//! Arguments that encode an audio track.

use std::ffi::OsString;

use media::{
    Grid,
    grid::{AAC_FRAME_SAMPLES, AUDIO_RATE},
    source::{AudioPart, AudioTrack, VideoTrack},
    surround,
};

use super::Args;
use crate::input::Input;

/// Encodes one audio track from start to end, as fragmented MP4 on standard output.
#[derive(Clone, Debug)]
pub struct AudioEncode<'a> {
    /// The source.
    pub source: &'a Input,
    /// The track to encode.
    pub track: &'a AudioTrack,
    /// The video track, whose start is time 0. Without one, the audio track's first sample is time
    /// 0.
    pub video: Option<&'a VideoTrack>,
    /// The output's grid.
    pub grid: &'a Grid,
    /// Channels of the output: 1, 2, or 6 for 5.1.
    pub channels: u32,
    /// In bit/s.
    pub bitrate: u64,
    /// Threads of the decoder and the filters.
    pub threads: u32,
}

/// Maximum number of joined recordings that one FFmpeg process decodes: it opens all of them when
/// it starts.
const RECORDINGS_AT_ONCE: usize = 50;
/// Seconds by which the audio may deviate from its timestamps before silence fills the difference or
/// samples are dropped. Every gap of a packet or more is filled: a packet of AAC at 48 kHz lasts
/// 0.0213 s. Timestamps that jitter by less do not interrupt the audio.
const DRIFT_SECONDS_MAX: &str = "0.02";
/// Raw samples between two FFmpeg processes: the format of FFmpeg's AAC encoder and filters.
const RAW_FORMAT: &str = "f32le";
/// Frames of AMR, narrowband or wideband, without a container.
const AMR_FORMAT: &str = "amr";

/// Arguments that encode an audio track to standard output, padded and cut to the grid's length.
pub fn audio(encode: &AudioEncode<'_>) -> Vec<OsString> {
    let mut args = opening(encode, &encode.track.parts);
    args.add([filter(encode)]);
    args.encoder(encode);
    args.0
}

/// The recordings of a track that has too many for one process, in groups; `None` if one process is
/// enough.
pub fn groups<'a>(
    track: &'a AudioTrack,
) -> Option<impl Iterator<Item = &'a [AudioPart]> + use<'a>> {
    let many = track.parts.len() > RECORDINGS_AT_ONCE;
    many.then(|| track.parts.chunks(RECORDINGS_AT_ONCE))
}

/// Arguments that decode a group of recordings to raw samples on standard output.
pub fn audio_group(encode: &AudioEncode<'_>, group: &[AudioPart]) -> Vec<OsString> {
    let mut args = opening(encode, group);
    args.add([format!("{}[a]", joined(encode, group))]);
    args.add(["-map", "[a]", "-c:a", "pcm_f32le", "-f", RAW_FORMAT, "pipe:1"]);
    args.0
}

/// Arguments that write the track's packets, one after another, as an AMR file to standard output.
pub fn audio_packets(encode: &AudioEncode<'_>) -> Vec<OsString> {
    let mut args = Args::new();
    args.input(encode.source);
    args.add(["-map", &format!("0:{}", encode.track.index), "-vn", "-sn", "-dn"]);
    args.add(["-c:a", "copy", "-f", AMR_FORMAT, "pipe:1"]);
    args.0
}

/// Arguments that encode the AMR file which arrives on standard input, as [`audio`] does. Its first
/// sample is due at `start`, in the source's seconds.
pub fn audio_of_packets(encode: &AudioEncode<'_>, start: f64) -> Vec<OsString> {
    let mut args = Args::new();
    args.add(["-protocol_whitelist", "pipe", "-f", AMR_FORMAT, "-i", "pipe:0"]);
    args.add(["-filter_complex_threads", "1", "-filter_complex"]);
    let late = encode.video.map_or(0.0, |video| start - video.seconds(video.start_pts()));
    let origin = format!("(STARTPTS-({late:.6})/TB)");
    args.add([format!("{}[a]", placed(encode, 0, 0, &origin, samples(encode)))]);
    args.encoder(encode);
    args.0
}

/// Arguments that encode the samples of all groups, which arrive on standard input, as [`audio`]
/// does.
pub fn audio_of_groups(encode: &AudioEncode<'_>) -> Vec<OsString> {
    let mut args = Args::new();
    args.add(["-protocol_whitelist", "pipe", "-f", RAW_FORMAT, "-ar", &AUDIO_RATE.to_string()]);
    args.add(["-ac", &encode.channels.to_string(), "-i", "pipe:0"]);
    args.add(["-filter_complex_threads", "1", "-filter_complex"]);
    args.add([format!("[0:0]{}[a]", cut(samples(encode)))]);
    args.encoder(encode);
    args.0
}

/// The inputs, up to the filter graph.
fn opening(encode: &AudioEncode<'_>, parts: &[AudioPart]) -> Args {
    let threads = encode.threads.max(1).to_string();
    let mut args = Args::new();
    args.add(["-copyts"]);
    for input in inputs(encode, parts) {
        args.add(["-threads", &threads]);
        args.input(&input);
    }
    args.add(["-filter_complex_threads", "1", "-filter_complex"]);
    args
}

impl Args {
    /// Encodes the filter graph's output.
    fn encoder(&mut self, encode: &AudioEncode<'_>) {
        self.add([
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
        self.add(["-b:a", &encode.bitrate.to_string(), "-flags", "+global_header"]);
        self.add(["-movflags", "+empty_moov+default_base_moof", "-frag_duration", "1000000"]);
        self.add(["-f", "mp4", "pipe:1"]);
    }
}

/// The source, or those of its joined recordings that have audio.
fn inputs(encode: &AudioEncode<'_>, parts: &[AudioPart]) -> Vec<Input> {
    if parts.is_empty() {
        return vec![encode.source.clone()];
    }
    let audible = parts.iter().filter(|part| part.index.is_some());
    audible.map(|part| encode.source.part(Some(part.start..part.end))).collect()
}

/// The samples of the whole output.
fn samples(encode: &AudioEncode<'_>) -> u64 {
    encode.grid.audio_frames_total() * u64::from(AAC_FRAME_SAMPLES)
}

/// Pads or cuts to `samples` samples.
fn cut(samples: u64) -> String {
    format!("apad,atrim=end_sample={samples},asetpts=N/SR/TB")
}

fn filter(encode: &AudioEncode<'_>) -> String {
    let samples = samples(encode);
    if !encode.track.parts.is_empty() {
        return format!("{},{}[a]", joined(encode, &encode.track.parts), cut(samples));
    }
    let start = encode.video.map_or_else(
        || "STARTPTS".to_owned(),
        |video| format!("({}*{}/{})/TB", video.start_pts(), video.time_base.0, video.time_base.1),
    );
    format!("{}[a]", placed(encode, 0, encode.track.index, &start, samples))
}

/// `samples` samples of stream `index` from `start` on, with silence where the stream has no
/// samples.
fn placed(encode: &AudioEncode<'_>, input: usize, index: u32, start: &str, samples: u64) -> String {
    let format = format(encode);
    format!(
        "[{input}:{index}]asetpts=PTS-{start},\
         aresample={AUDIO_RATE}:async=1:min_hard_comp={DRIFT_SECONDS_MAX}:first_pts=0,{format},{}",
        cut(samples)
    )
}

fn format(encode: &AudioEncode<'_>) -> String {
    let layout = match encode.channels {
        1 => "mono",
        surround::CHANNELS => "5.1",
        _ => "stereo",
    };
    format!("aformat=sample_fmts=fltp:sample_rates={AUDIO_RATE}:channel_layouts={layout}")
}

/// Concatenates the recordings, each padded or cut to its length on the timeline.
fn joined(encode: &AudioEncode<'_>, parts: &[AudioPart]) -> String {
    let (mut graph, mut pads, mut input) = (String::new(), String::new(), 0);
    for (number, part) in parts.iter().enumerate() {
        let AudioPart { index, origin, samples, .. } = part;
        let sound = match index {
            Some(index) => {
                let start =
                    origin.map_or_else(|| "STARTPTS".to_owned(), |pts| format!("({pts}/90000)/TB"));
                input += 1;
                placed(encode, input - 1, *index, &start, *samples)
            }
            None => {
                format!("anullsrc=r={AUDIO_RATE},{},atrim=end_sample={samples}", format(encode))
            }
        };
        graph.push_str(&format!("{sound}[p{number}];"));
        pads.push_str(&format!("[p{number}]"));
    }
    format!("{graph}{pads}concat=n={}:v=0:a=1", parts.len())
}
