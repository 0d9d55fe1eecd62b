//! The options of each video encoder: closed GOPs exactly on the grid, with parameter sets outside
//! the samples, identical for every chunk of a rendition on every machine.

use media::{
    Codec, FrameRate, HardwareEncoder,
    ladder::{BUFFER_PERCENT, Rung},
};

use super::ChunkEncode;

/// Above this rate one frame lasts less than 0.05 s.
const REORDERED_FPS_MIN: f64 = 20.5;

/// The options that encode one rung.
pub(super) fn encoder(encode: &ChunkEncode<'_>, rung: &Rung) -> Vec<String> {
    let threads = encode.threads.max(1);
    let preset = if rung.preset.is_empty() { encode.preset } else { &rung.preset };
    let mut options = vec!["-c:v".to_owned(), rung.encoder().to_owned()];
    let mut add = |name: &str, value: String| options.extend([format!("-{name}"), value]);
    match rung.hardware {
        Some(hardware) => {
            let fixed = hardware_options(hardware).iter();
            fixed.for_each(|(name, value)| add(name, (*value).to_owned()));
        }
        None => {
            add("preset", preset.to_owned());
            add_profile(rung.codec, &mut add);
            add("threads", threads.to_string());
        }
    }
    add_rate(rung, &mut add);
    let placed = add_key_frames(encode, rung, &mut add);
    add("flags", "+cgop+global_header".to_owned());
    let reordered = is_reordered(encode.grid.rate());
    match (rung.hardware, rung.codec) {
        (Some(_), _) => add("bf", u32::from(reordered).to_string()),
        (None, Codec::H264) => add("x264-params", x264(rung, preset, reordered)),
        (None, Codec::Hevc) => add("x265-params", x265(rung, threads, reordered)),
        (None, Codec::Av1) => add("svtav1-params", svt_av1(threads, placed)),
    }
    options
}

fn add_profile(codec: Codec, add: &mut impl FnMut(&str, String)) {
    match codec {
        Codec::H264 => add("profile:v", "high".to_owned()),
        Codec::Hevc => {
            add("profile:v", "main".to_owned());
            add("tag:v", "hvc1".to_owned());
        }
        Codec::Av1 => {}
    }
}

/// The bit rate or the rate factor, and the cap.
fn add_rate(rung: &Rung, add: &mut impl FnMut(&str, String)) {
    let quality = match rung.hardware {
        None => "crf",
        Some(HardwareEncoder::Nvenc) => "cq",
        Some(HardwareEncoder::Vaapi | HardwareEncoder::Qsv) => "global_quality",
    };
    if let Some(crf) = rung.crf {
        add(quality, crf.to_string());
    }
    match (rung.hardware, rung.crf) {
        // Otherwise, NVENC's own bit rate of 2 Mbit/s applies.
        (Some(HardwareEncoder::Nvenc), Some(_)) => add("b:v", "0".to_owned()),
        (None, Some(_)) => {}
        _ => add("b:v", rung.video_bitrate.to_string()),
    }
    // SVT-AV1 does not support a peak rate together with an average one.
    if rung.codec != Codec::Av1 || rung.crf.is_some() {
        add("maxrate", rung.peak_bitrate().to_string());
        add("bufsize", (rung.video_bitrate * BUFFER_PERCENT / 100).to_string());
    }
}

/// Key frames at the starts of GOPs, and nowhere else. Returns whether they are placed by number.
fn add_key_frames(
    encode: &ChunkEncode<'_>,
    rung: &Rung,
    add: &mut impl FnMut(&str, String),
) -> bool {
    let gop = encode.grid.gop_frames();
    let gops = encode.grid.chunk_gops(encode.chunk);
    let last = encode.grid.gop(gops.end.saturating_sub(1));
    let longest = u64::from(gop).max(last.end - last.start);
    add("g", longest.to_string());
    if rung.hardware.is_none() && rung.codec != Codec::Av1 {
        add("keyint_min", gop.to_string());
        add("sc_threshold", "0".to_owned());
    }
    // A last GOP that takes a short remainder: the encoder's own interval is that GOP's length, and
    // the other key frames are placed by number.
    let placed = longest > gop.into() && gops.len() > 1 && rung.has_placed_key_frames();
    if placed {
        let start = last.start - encode.grid.chunk_frames(encode.chunk).start;
        add("force_key_frames", format!("expr:lte(n,{start})*not(mod(n,{gop}))"));
    }
    match rung.hardware {
        None if placed && rung.codec != Codec::Av1 => add("forced-idr", "1".to_owned()),
        Some(HardwareEncoder::Nvenc) => add("forced-idr", "1".to_owned()),
        Some(HardwareEncoder::Qsv) => add("forced_idr", "1".to_owned()),
        // VA-API makes every forced key frame an IDR picture.
        Some(HardwareEncoder::Vaapi) | None => {}
    }
    placed
}

/// Options of hardware encoders, which have none of x264's presets: no key frames at scene changes,
/// every key frame an IDR picture, no B-pyramid, no captions or other SEI messages.
const fn hardware_options(hardware: HardwareEncoder) -> &'static [(&'static str, &'static str)] {
    match hardware {
        HardwareEncoder::Nvenc => &[
            ("preset", "p4"),
            ("profile:v", "high"),
            ("rc", "vbr"),
            ("no-scenecut", "1"),
            ("strict_gop", "1"),
            ("b_ref_mode", "disabled"),
            ("a53cc", "0"),
        ],
        HardwareEncoder::Vaapi => &[("profile:v", "high"), ("idr_interval", "0"), ("sei", "0")],
        HardwareEncoder::Qsv => &[
            ("preset", "medium"),
            ("profile:v", "high"),
            ("idr_interval", "0"),
            ("adaptive_i", "0"),
            ("b_strategy", "0"),
            ("a53cc", "0"),
        ],
    }
}

/// The options before the inputs that open the device of the rungs' hardware encoder. NVENC finds
/// its own.
pub(super) fn hardware_device(encode: &ChunkEncode<'_>) -> Vec<String> {
    let path = encode.device.map(api::path::text);
    let hardware = encode.rungs.first().and_then(|rung| rung.hardware);
    let (Some(path), Some(hardware)) = (path, hardware) else { return Vec::new() };
    let device = match hardware {
        HardwareEncoder::Nvenc => return Vec::new(),
        HardwareEncoder::Vaapi => format!("vaapi=device:{path}"),
        HardwareEncoder::Qsv => format!("qsv=device,child_device={path}"),
    };
    ["-init_hw_device", &device, "-filter_hw_device", "device"].map(str::to_owned).to_vec()
}

/// The filters that turn a rung's frames into the hardware encoder's, with a comma before them.
pub(super) const fn hardware_frames(rung: &Rung) -> &'static str {
    match rung.hardware {
        None | Some(HardwareEncoder::Nvenc) => "",
        Some(HardwareEncoder::Vaapi) => ",format=nv12,hwupload",
        Some(HardwareEncoder::Qsv) => ",format=nv12",
    }
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

/// How full the rate buffer is at the start of a chunk, instead of 0.9. Within a scene that needs the
/// cap it is rarely fuller, so that a full one makes the start of each chunk better than the rest, for
/// bytes that the rest needs more.
const BUFFER_FILLED: &str = "vbv-init=0.4";

fn x264(rung: &Rung, preset: &str, reordered: bool) -> String {
    let mut params = String::from(if reordered { "b-pyramid=none" } else { "bframes=0" });
    if rung.crf.is_some() {
        // Without this, the parameter sets depend on the rate control, and so on the worker's
        // release during an update.
        params.push_str(&format!(":stitchable=1:{BUFFER_FILLED}"));
        if ["veryfast", "faster"].contains(&preset) {
            params.push_str(&format!(":rc-lookahead={X264_LOOKAHEAD}"));
        }
        if preset == "veryfast" {
            params.push_str(":trellis=1");
        }
    }
    params
}

/// Wavefront processing is a bit in the parameter sets, and x265 disables it when it has no thread
/// pool, so there is always a pool.
fn x265(rung: &Rung, threads: u32, reordered: bool) -> String {
    let frames = if reordered { "b-pyramid=0" } else { "bframes=0" };
    let filled = if rung.crf.is_some() { format!(":{BUFFER_FILLED}") } else { String::new() };
    format!(
        "log-level=error:info=0:repeat-headers=0:scenecut=0:open-gop=0:wpp=1:pools={threads}:{frames}\
         {filled}"
    )
}

/// Key frames only at GOP starts; only the number of threads depends on the machine. SVT-AV1 ignores
/// placed key frames unless they are enabled, and rejects the option at an average bit rate.
fn svt_av1(threads: u32, placed: bool) -> String {
    let enabled = if placed { ":enable-force-key-frames=1" } else { "" };
    format!("scd=0:lp={threads}{enabled}")
}
