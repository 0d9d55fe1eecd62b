//! Arguments that encode an audio track.

use std::ffi::OsString;

use media::{
    Grid,
    grid::{AAC_FRAME_SAMPLES, AUDIO_RATE},
    source::{AudioPart, AudioTrack, VideoTrack},
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
    /// The video track, whose start is time 0. Without one, the audio track's first sample is time 0.
    pub video: Option<&'a VideoTrack>,
    /// The output's grid.
    pub grid: &'a Grid,
    /// In bit/s.
    pub bitrate: u64,
    /// Threads of the decoder and the filters.
    pub threads: u32,
}

/// Arguments that encode an audio track to standard output, padded and cut to the grid's length.
pub fn audio(encode: &AudioEncode<'_>) -> Vec<OsString> {
    let threads = encode.threads.max(1).to_string();
    let mut args = Args::new();
    args.add(["-copyts"]);
    let inputs = inputs(encode);
    for input in &inputs {
        args.add(["-threads", &threads]);
        args.input(input);
    }
    args.add(["-filter_complex_threads", "1", "-filter_complex"]);
    args.add([filter(encode)]);
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

/// The source, or those of its joined recordings that have audio.
fn inputs(encode: &AudioEncode<'_>) -> Vec<Input> {
    if encode.track.parts.is_empty() {
        return vec![encode.source.clone()];
    }
    let audible = encode.track.parts.iter().filter(|part| part.index.is_some());
    audible.map(|part| encode.source.part(Some(part.start..part.end))).collect()
}

fn filter(encode: &AudioEncode<'_>) -> String {
    let samples = encode.grid.audio_frames_total() * u64::from(AAC_FRAME_SAMPLES);
    if !encode.track.parts.is_empty() {
        return joined(encode, samples);
    }
    let start = encode.video.map_or_else(
        || "STARTPTS".to_owned(),
        |video| format!("({}*{}/{})/TB", video.start_pts(), video.time_base.0, video.time_base.1),
    );
    format!("{}[a]", placed(encode, 0, encode.track.index, &start, samples))
}

/// `samples` samples of stream `index` from `start` on, with silence where the stream has no samples.
fn placed(encode: &AudioEncode<'_>, input: usize, index: u32, start: &str, samples: u64) -> String {
    let format = format(encode.track);
    format!(
        "[{input}:{index}]asetpts=PTS-{start},aresample={AUDIO_RATE}:async=1:first_pts=0,{format},\
         apad,atrim=end_sample={samples},asetpts=N/SR/TB"
    )
}

fn format(track: &AudioTrack) -> String {
    let layout = if track.channels == 1 { "mono" } else { "stereo" };
    format!("aformat=sample_fmts=fltp:sample_rates={AUDIO_RATE}:channel_layouts={layout}")
}

/// Concatenates the recordings, each padded or cut to its length on the timeline.
fn joined(encode: &AudioEncode<'_>, samples: u64) -> String {
    let (mut graph, mut pads, mut input) = (String::new(), String::new(), 0);
    for (number, part) in encode.track.parts.iter().enumerate() {
        let AudioPart { index, origin, samples, .. } = part;
        let sound = match index {
            Some(index) => {
                let start =
                    origin.map_or_else(|| "STARTPTS".to_owned(), |pts| format!("({pts}/90000)/TB"));
                input += 1;
                placed(encode, input - 1, *index, &start, *samples)
            }
            None => format!(
                "anullsrc=r={AUDIO_RATE},{},atrim=end_sample={samples}",
                format(encode.track)
            ),
        };
        graph.push_str(&format!("{sound}[p{number}];"));
        pads.push_str(&format!("[p{number}]"));
    }
    let count = encode.track.parts.len();
    format!(
        "{graph}{pads}concat=n={count}:v=0:a=1,apad,atrim=end_sample={samples},asetpts=N/SR/TB[a]"
    )
}
