//! The options of each video encoder: closed GOPs exactly on the grid, with parameter sets outside
//! the samples, identical for every chunk of a rendition on every machine.

use media::{
    Codec, FrameRate,
    ladder::{BUFFER_PERCENT, MAXRATE_PERCENT, Rung},
};

use super::ChunkEncode;

/// Above this rate one frame lasts less than 0.05 s.
const REORDERED_FPS_MIN: f64 = 20.5;

/// The options that encode one rung.
pub(super) fn encoder(encode: &ChunkEncode<'_>, rung: &Rung) -> Vec<String> {
    let threads = encode.threads.max(1);
    let preset = if rung.preset.is_empty() { encode.preset } else { &rung.preset };
    let mut options = vec!["-c:v".to_owned(), rung.codec.encoder().to_owned()];
    let mut add = |name: &str, value: String| options.extend([format!("-{name}"), value]);
    add("preset", preset.to_owned());
    match rung.codec {
        Codec::H264 => add("profile:v", "high".to_owned()),
        Codec::Hevc => {
            add("profile:v", "main".to_owned());
            add("tag:v", "hvc1".to_owned());
        }
        Codec::Av1 => {}
    }
    add("threads", threads.to_string());
    match rung.crf {
        Some(crf) => add("crf", crf.to_string()),
        None => add("b:v", rung.video_bitrate.to_string()),
    }
    // SVT-AV1 does not support a peak rate together with an average one.
    if rung.codec != Codec::Av1 || rung.crf.is_some() {
        add("maxrate", (rung.video_bitrate * MAXRATE_PERCENT / 100).to_string());
        add("bufsize", (rung.video_bitrate * BUFFER_PERCENT / 100).to_string());
    }
    let gop = encode.grid.gop_frames();
    let gops = encode.grid.chunk_gops(encode.chunk);
    let last = encode.grid.gop(gops.end.saturating_sub(1));
    let longest = u64::from(gop).max(last.end - last.start);
    add("g", longest.to_string());
    if rung.codec != Codec::Av1 {
        add("keyint_min", gop.to_string());
        add("sc_threshold", "0".to_owned());
    }
    // A last GOP that takes a short remainder: the encoder's own interval is that GOP's length, and
    // the other key frames are placed by number.
    let placed = longest > gop.into() && gops.len() > 1 && rung.has_placed_key_frames();
    if placed {
        let start = last.start - encode.grid.chunk_frames(encode.chunk).start;
        add("force_key_frames", format!("expr:lte(n,{start})*not(mod(n,{gop}))"));
        if rung.codec != Codec::Av1 {
            add("forced-idr", "1".to_owned());
        }
    }
    add("flags", "+cgop+global_header".to_owned());
    let reordered = is_reordered(encode.grid.rate());
    match rung.codec {
        Codec::H264 => add("x264-params", x264(rung, preset, reordered)),
        Codec::Hevc => add("x265-params", x265(threads, reordered)),
        Codec::Av1 => add("svtav1-params", svt_av1(threads, placed)),
    }
    options
}

/// B-frames delay presentation by the number of frames that they are reordered over. An edit list
/// compensates for the delay, but hls.js ignores edit lists and tolerates a delay of at most 0.05
/// s. Therefore one frame of reordering is used where frames are short enough, and none where they
/// are longer. AV1 samples are always in presentation order.
fn is_reordered(rate: FrameRate) -> bool {
    rate.fps() > REORDERED_FPS_MIN
}

/// How many frames x264's fast presets look ahead at a constant rate factor, instead of their own 10
/// or 20. A long lookahead saves bytes, and under the cap it sees the next key frame in time: with
/// 10 frames, a noisy clip had 3.5 VMAF less at the same bytes (docs/profiles.md, Rate control).
const X264_LOOKAHEAD: u32 = 30;

fn x264(rung: &Rung, preset: &str, reordered: bool) -> String {
    let mut params = String::from(if reordered { "b-pyramid=none" } else { "bframes=0" });
    if rung.crf.is_some() {
        // Without this, the parameter sets depend on the rate control, and so on the worker's
        // release during an update.
        params.push_str(":stitchable=1");
        if ["veryfast", "faster"].contains(&preset) {
            params.push_str(&format!(":rc-lookahead={X264_LOOKAHEAD}"));
        }
    }
    params
}

/// Wavefront processing is a bit in the parameter sets, and x265 disables it when it has no thread
/// pool, so there is always a pool.
fn x265(threads: u32, reordered: bool) -> String {
    let frames = if reordered { "b-pyramid=0" } else { "bframes=0" };
    format!(
        "log-level=error:info=0:repeat-headers=0:scenecut=0:open-gop=0:wpp=1:pools={threads}:{frames}"
    )
}

/// Key frames only at GOP starts; only the number of threads depends on the machine. SVT-AV1 ignores
/// placed key frames unless they are enabled, and rejects the option at an average bit rate.
fn svt_av1(threads: u32, placed: bool) -> String {
    let enabled = if placed { ":enable-force-key-frames=1" } else { "" };
    format!("scd=0:lp={threads}{enabled}")
}
