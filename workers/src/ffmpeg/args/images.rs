//! FFmpeg's arguments for images and previews. They are made from an excerpt that control builds
//! from finished renditions: an MP4 in a known form, upright, in SDR, with square pixels.

use std::ffi::OsString;

use media::{FrameRate, pictures::Size};

use super::protocols;
use crate::input::Input;

/// Quality of every JPEG: 2 is best, 31 is worst.
const QUALITY: &str = "4";
/// Size in pixels of the gray image by which a poster candidate is rated.
pub const GREY: Size = Size { width: 64, height: 36 };
/// The file that contains the gray images, one after another.
pub const GREYS_NAME: &str = "greys";
/// The file that the preview is written to.
pub const PREVIEW_NAME: &str = "preview.mp4";
/// Constant quality of the preview, and the bit rate that it may not exceed.
const PREVIEW_CRF: &str = "23";
const PREVIEW_MAXRATE: &str = "1500k";
const PREVIEW_BUFFER: &str = "3000k";
const PREVIEW_AUDIO_BITRATE: &str = "96k";
/// Seconds between key frames.
const PREVIEW_GOP_SECONDS: f64 = 2.0;

/// Creates the images of a video from its key frames.
#[derive(Clone, Copy, Debug)]
pub struct ImagesEncode<'a> {
    /// The excerpt.
    pub source: &'a Input,
    /// Size of a thumbnail.
    pub thumbnail: Size,
    /// Size of a storyboard tile.
    pub tile: Size,
    /// Tiles in a row and in a column of a sheet.
    pub grid: (u32, u32),
    /// Size of the poster.
    pub poster: Size,
    /// Threads of decoders and filters.
    pub threads: u32,
}

/// The file that a thumbnail is written to.
pub fn thumbnail_file(number: u32) -> String {
    format!("thumbnail-{number}.jpg")
}

/// The file that a storyboard sheet is written to.
pub fn sheet_file(number: u32) -> String {
    format!("sheet-{number}.jpg")
}

/// The file that a poster candidate is written to.
pub fn candidate_file(number: u32) -> String {
    format!("candidate-{number}.jpg")
}

/// Arguments that write every thumbnail, sheet and candidate, and gray versions of the candidates.
pub fn images(encode: &ImagesEncode<'_>) -> Vec<OsString> {
    let mut args = begin(encode.source, encode.threads);
    let (columns, rows) = encode.grid;
    let tile = format!("{},tile={columns}x{rows}", jpeg(encode.tile));
    let outputs = [
        ("0:0", jpeg(encode.thumbnail), "thumbnail-%d.jpg"),
        ("0:1", tile, "sheet-%d.jpg"),
        ("0:2", jpeg(encode.poster), "candidate-%d.jpg"),
    ];
    for (track, filter, names) in &outputs {
        add(&mut args, ["-map", track, "-vf", filter, "-vsync", "passthrough"]);
        add(&mut args, ["-c:v", "mjpeg", "-q:v", QUALITY, "-threads", "1"]);
        add(&mut args, ["-flags", "+bitexact", "-map_metadata", "-1", "-map_chapters", "-1"]);
        add(&mut args, ["-f", "image2", "-start_number", "0", names]);
    }
    let Size { width, height } = GREY;
    let grey = format!("scale={width}:{height}:flags=area:out_range=full,format=gray");
    add(&mut args, ["-map", "0:2", "-vf", &grey, "-vsync", "passthrough"]);
    add(&mut args, ["-f", "rawvideo", GREYS_NAME]);
    args
}

/// JPEG uses full range and the BT.601 matrix, regardless of the video's own.
fn jpeg(size: Size) -> String {
    let Size { width, height } = size;
    format!(
        "scale={width}:{height}:flags=area:out_range=full:out_color_matrix=bt601,\
         setsar=1,format=yuvj420p"
    )
}

/// A preview clip.
#[derive(Clone, Copy, Debug)]
pub struct PreviewEncode<'a> {
    /// The excerpt.
    pub source: &'a Input,
    /// Frame rate of the excerpt and of the preview.
    pub rate: FrameRate,
    /// Number of frames.
    pub frames: u64,
    /// Size of the frames.
    pub size: Size,
    /// Whether the excerpt has an audio track.
    pub sound: bool,
    /// Threads of the decoder and the encoder.
    pub threads: u32,
}

/// Arguments that write the preview: a progressive MP4 that can be played while it loads.
pub fn preview(encode: &PreviewEncode<'_>) -> Vec<OsString> {
    let PreviewEncode { rate, frames, size, .. } = encode;
    let threads = encode.threads.max(1).to_string();
    let mut args = begin(encode.source, encode.threads);
    let seconds = *frames as f64 / rate.fps();
    let mut graph = format!(
        "[0:v:0]trim=end_frame={frames},scale={}:{}:flags=bicubic,setsar=1,format=yuv420p[v]",
        size.width, size.height
    );
    if encode.sound {
        graph.push_str(&format!(
            ";[0:a:0]aresample={}:async=1:first_pts=0,apad,atrim=end={seconds:.6}[a]",
            media::grid::AUDIO_RATE
        ));
    }
    add(&mut args, ["-filter_complex_threads", "1", "-filter_complex", &graph, "-map", "[v]"]);
    let gop = ((PREVIEW_GOP_SECONDS * rate.fps()).round() as u64).max(1).to_string();
    add(&mut args, ["-vsync", "passthrough", "-c:v", "libx264", "-preset", "veryfast"]);
    add(&mut args, ["-profile:v", "high", "-crf", PREVIEW_CRF, "-maxrate", PREVIEW_MAXRATE]);
    add(&mut args, ["-bufsize", PREVIEW_BUFFER, "-g", &gop, "-threads", &threads]);
    add(&mut args, ["-video_track_timescale", &rate.timescale().to_string()]);
    if encode.sound {
        add(&mut args, ["-map", "[a]", "-c:a", "aac", "-b:a", PREVIEW_AUDIO_BITRATE]);
    }
    add(
        &mut args,
        ["-sn", "-dn", "-map_metadata", "-1", "-map_chapters", "-1", "-fflags", "+bitexact"],
    );
    add(&mut args, ["-movflags", "+faststart", "-f", "mp4", PREVIEW_NAME]);
    args
}

fn begin(source: &Input, threads: u32) -> Vec<OsString> {
    let mut args = Vec::new();
    add(&mut args, ["-hide_banner", "-nostdin", "-y", "-loglevel", "level+warning", "-stats"]);
    add(&mut args, ["-threads", &threads.max(1).to_string()]);
    add(&mut args, ["-protocol_whitelist", &protocols(source), "-format_whitelist", "mov"]);
    args.extend(["-i".into(), source.url()]);
    args
}

fn add<const N: usize>(args: &mut Vec<OsString>, more: [&str; N]) {
    args.extend(more.map(OsString::from));
}
