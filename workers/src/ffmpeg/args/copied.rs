//! Arguments that copy a Dolby track, and that encode the silence that replaces missing parts of it.

use std::ffi::OsString;

use media::{fmp4::copied::CopiedFormat, grid::AUDIO_RATE, source::VideoTrack};

use super::Args;
use crate::input::Input;

/// Added to all times, in seconds, so that none is negative: more than the longest video.
const LEAD_SECONDS: u64 = 1_000_000;
/// Samples of the encoded silence: a few access units.
const SILENCE_SAMPLES: u32 = 6144;
/// Bit rate of silence in E-AC-3, in kbit/s; AC-3 has a constant rate.
const SILENCE_RATE: u16 = 192;

/// Copies stream `index` to standard output, as fragmented MP4 with the times of the source. The
/// muxer reads the first packet before it writes the configuration (`delay_moov`), and states
/// times instead of durations (`frag_discont`).
pub fn copied_audio(source: &Input, index: u32) -> Vec<OsString> {
    let mut args = Args::new();
    args.add(["-copyts"]);
    args.input(source);
    args.add(["-map".to_owned(), format!("0:{index}")]);
    args.add(["-c:a", "copy", "-map_metadata", "-1", "-map_chapters", "-1"]);
    args.add(["-output_ts_offset", &LEAD_SECONDS.to_string()]);
    args.add(["-movflags", "+delay_moov+default_base_moof+frag_discont"]);
    args.add(["-frag_duration", "1000000", "-f", "mp4", "pipe:1"]);
    args.0
}

/// The time in the output of [`copied_audio`], in samples, at which the video begins.
pub fn copied_origin(video: &VideoTrack) -> u64 {
    let (num, den) = video.time_base;
    let samples = i128::from(video.start_pts()) * i128::from(num) * i128::from(AUDIO_RATE);
    let start = samples.div_euclid(i128::from(den.max(1)));
    let lead = i128::from(LEAD_SECONDS) * i128::from(AUDIO_RATE);
    u64::try_from(lead + start).unwrap_or(0)
}

/// Encodes silence of `format` to standard output.
pub fn silence(format: CopiedFormat) -> Vec<OsString> {
    let (encoder, rate) = match format.codec {
        "ac-3" => ("ac3", format.rate),
        _ => ("eac3", SILENCE_RATE),
    };
    let layout = if format.channels == 6 { "5.1(side)" } else { "5.0(side)" };
    let mut args = Args::new();
    args.add(["-filter_complex_threads", "1", "-filter_complex"]);
    args.add([format!(
        "anullsrc=r={AUDIO_RATE}:cl={layout},atrim=end_sample={SILENCE_SAMPLES}[a]"
    )]);
    args.add(["-map", "[a]", "-c:a", encoder, "-b:a", &format!("{rate}k")]);
    args.add(["-f", encoder, "pipe:1"]);
    args.0
}
