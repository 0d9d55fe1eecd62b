//! Colors: for every matrix, primaries, range and codec of a source, the output shows the same
//! colors and signals how it encodes them.

use std::{io::Write, path::Path, process::Command};

use crate::{clip::Clip, control::Control, encodes::Probed, worker::Worker};

/// Red, green and nearly white.
const PATCHES: [[u8; 3]; 3] = [[0xc0, 0x30, 0x20], [0x20, 0xb0, 0x40], [0xf0, 0xf0, 0xf0]];
const X264: [&str; 6] = ["-c:v", "libx264", "-preset", "ultrafast", "-qp", "1"];

/// A clip of the three patches side by side, converted by `filter`.
fn clip(name: &str, filter: &str, options: &[&str]) -> Clip {
    let patch = |[r, g, b]: [u8; 3]| format!("color=0x{r:02X}{g:02X}{b:02X}:s=96x96:r=25:d=0.4");
    let inputs = PATCHES.map(patch);
    let mut args = Vec::new();
    for input in &inputs {
        args.extend(["-f", "lavfi", "-i", input]);
    }
    let graph = format!("[0][1][2]hstack=3,format=gbrp,{filter}");
    args.extend(["-filter_complex", &graph]);
    args.extend(options);
    Clip::made(name, &args)
}

/// The range and the matrix that the rendition's first chunk signals, and the colors of its patches.
async fn encoded(control: &mut Control, worker: &Worker, clip: &Clip) -> (String, Vec<[u8; 3]>) {
    let probed = Probed::probe(control, worker, clip).await;
    let lease = worker.lease(&clip.path(), probed.chunk(0, &[(288, 96)]));
    let done = control.work(lease).await.unwrap();
    let movie = tempfile::NamedTempFile::with_suffix(".mp4").unwrap();
    movie.as_file().write_all(&done.outputs[0].init).unwrap();
    let bytes = std::fs::read(worker.store().join(&done.outputs[0].key)).unwrap();
    movie.as_file().write_all(&bytes).unwrap();
    let tags = tags(movie.path());
    // The decoder uses the matrix that the rendition signals.
    let raw = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-i"])
        .arg(movie.path())
        .args(["-frames:v", "1", "-vf", "scale=in_color_matrix=auto:flags=accurate_rnd"])
        .args(["-pix_fmt", "rgb24", "-f", "rawvideo", "-"])
        .output()
        .unwrap()
        .stdout;
    let pixel = |place: usize| {
        let at = 3 * (48 * 288 + 96 * place + 48);
        [raw[at], raw[at + 1], raw[at + 2]]
    };
    (tags, (0..PATCHES.len()).map(pixel).collect())
}

/// Range and matrix.
fn tags(file: &Path) -> String {
    let entries = ["-show_entries", "stream=color_range,color_space", "-of", "csv=p=0"];
    let output =
        Command::new("ffprobe").args(["-v", "error"]).args(entries).arg(file).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn assert_close(name: &str, found: &[[u8; 3]], due: &[[u8; 3]; 3]) {
    for (found, due) in found.iter().zip(due) {
        let off = found.iter().zip(due).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(off < Some(10), "{name}: {found:?}, not {due:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_range_becomes_limited_for_every_codec() {
    let mut control = Control::start().await;
    let worker = Worker::start(&mut control, &[]).await;
    let vp9 = ["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-b:v", "2M"];
    let hevc = ["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error:qp=2"];
    for (name, options, format) in [
        ("h264.mp4", &X264[..], "yuvj420p"),
        ("h264.mkv", &X264, "yuvj444p"),
        ("hevc.mp4", &hevc, "yuv420p10le"),
        ("vp9.webm", &vp9, "yuv420p"),
        ("av1.mp4", &["-c:v", "libsvtav1", "-preset", "12", "-crf", "10"], "yuv420p"),
        ("ffv1.mkv", &["-c:v", "ffv1"], "yuv444p"),
    ] {
        let filter = format!("scale=out_color_matrix=bt709:out_range=pc,format={format}");
        let tags = ["-colorspace", "bt709", "-color_trc", "bt709", "-color_primaries", "bt709"];
        let options = [&tags[..], &["-color_range", "pc"], options].concat();
        let clip = clip(name, &filter, &options);
        let (tags, found) = encoded(&mut control, &worker, &clip).await;
        assert_eq!(tags, "tv,bt709", "{name}");
        assert_close(name, &found, &PATCHES);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contradicting_tags_are_converted_by_their_own_matrix() {
    let mut control = Control::start().await;
    let worker = Worker::start(&mut control, &[]).await;
    // The colors that BT.2020 calls by the same numbers, clipped to BT.709.
    let wide = [[225, 0, 0], [0, 181, 0], [238, 238, 238]];
    for (matrix, scaler, transfer, primaries, due) in [
        ("smpte170m", "bt601", "bt2020-10", "unknown", PATCHES),
        ("smpte170m", "bt601", "bt2020-12", "bt709", PATCHES),
        ("bt470bg", "bt601", "bt2020-10", "bt709", PATCHES),
        ("bt709", "bt709", "bt2020-10", "bt709", PATCHES),
        ("bt2020nc", "bt2020", "bt2020-10", "bt709", PATCHES),
        ("bt2020nc", "bt2020", "bt709", "bt709", PATCHES),
        ("bt2020nc", "bt2020", "bt2020-10", "unknown", wide),
        ("bt2020nc", "bt2020", "unknown", "bt2020", wide),
        ("smpte170m", "bt601", "bt709", "bt2020", wide),
    ] {
        let name = format!("{matrix}, {transfer}, {primaries}");
        let filter = format!("scale=out_color_matrix={scaler}:out_range=tv,format=yuv420p");
        let tags = ["-colorspace", matrix, "-color_trc", transfer, "-color_primaries", primaries];
        let clip = clip("a.mp4", &filter, &[&tags[..], &X264].concat());
        let (tags, found) = encoded(&mut control, &worker, &clip).await;
        assert_eq!(tags, "tv,bt709", "{name}");
        assert_close(&name, &found, &due);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rgb_is_converted_by_the_matrix_that_the_output_signals() {
    let mut control = Control::start().await;
    let worker = Worker::start(&mut control, &[]).await;
    let rgb = ["-c:v", "libx264rgb", "-preset", "ultrafast", "-qp", "1"];
    for (name, format, options) in [
        ("a.mp4", "rgb24", &rgb[..]),
        ("b.mkv", "gbrp", &["-c:v", "ffv1"]),
        ("c.mov", "rgb24", &["-c:v", "qtrle"]),
    ] {
        let clip = clip(name, &format!("format={format}"), options);
        let (tags, found) = encoded(&mut control, &worker, &clip).await;
        assert_eq!(tags, "tv,bt709", "{name}");
        assert_close(name, &found, &PATCHES);
    }
}
