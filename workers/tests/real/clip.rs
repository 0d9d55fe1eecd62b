//! Tiny videos whose frames show their own number: twelve boxes, one per bit.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

const BITS: usize = 12;
const BOX: usize = 24;
const WIDTH: usize = 320;
const HEIGHT: usize = 180;

/// A generated file.
pub(crate) struct Clip {
    folder: TempDir,
    name: String,
}

impl Clip {
    /// Numbered frames at `rate`, with a tone, in the container of `name`'s extension.
    pub(crate) fn numbered(name: &str, rate: &str, seconds: u32) -> Self {
        Self::with(name, rate, seconds, &["-g", "50", "-c:a", "aac"])
    }

    /// The same with additional output options.
    pub(crate) fn with(name: &str, rate: &str, seconds: u32, options: &[&str]) -> Self {
        let picture = pictures(rate, &seconds.to_string());
        let tone = format!("sine=440:r=44100:d={seconds}");
        let mut args = vec!["-f", "lavfi", "-i", &picture, "-f", "lavfi", "-i", &tone];
        args.extend(["-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", "-pix_fmt", "yuv420p"]);
        args.extend(options);
        Self::made(name, &args)
    }

    /// `count` numbered frames, without audio; `times` is the expression of each one's time in
    /// seconds, in which `PREV_OUTT` is the time of the one before it.
    pub(crate) fn timed(name: &str, times: &str, count: usize, options: &[&str]) -> Self {
        let picture = boxes("30", &format!("d={}", count.div_ceil(30)));
        let graph = format!("{picture},settb=1/90000,setpts='({times})/TB'");
        let count = count.to_string();
        let mut args = vec!["-f", "lavfi", "-i", &graph, "-vsync", "passthrough"];
        args.extend(["-enc_time_base", "1:90000", "-pix_fmt", "yuv420p", "-frames:v", &count]);
        args.extend(options);
        Self::made(name, &args)
    }

    /// A file that ffmpeg creates with `args`.
    pub(crate) fn made(name: &str, args: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clip = Self { folder, name: name.to_owned() };
        let mut ffmpeg = Command::new("ffmpeg");
        ffmpeg.args(["-v", "error", "-nostdin", "-y"]).args(args).arg(clip.path());
        assert!(ffmpeg.status().unwrap().success(), "make {name}");
        clip
    }

    /// A file with these bytes.
    pub(crate) fn bytes(name: &str, bytes: &[u8]) -> Self {
        let clip = Self { folder: tempfile::tempdir().unwrap(), name: name.to_owned() };
        std::fs::write(clip.path(), bytes).unwrap();
        clip
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join(&self.name)
    }
}

/// A filter graph that generates numbered frames.
pub(crate) fn pictures(rate: &str, seconds: &str) -> String {
    boxes(rate, &format!("d={seconds}"))
}

/// The frame numbers that a video shows, in presentation order.
pub(crate) fn numbers(file: &Path) -> Vec<usize> {
    let raw = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-i"])
        .arg(file)
        .args(["-vsync", "passthrough", "-vf", &format!("scale={WIDTH}:{HEIGHT}")])
        .args(["-f", "rawvideo", "-pix_fmt", "gray", "-"])
        .output()
        .unwrap()
        .stdout;
    let number = |frame: &[u8]| {
        let lit = |bit: &usize| frame[50 * WIDTH + bit * BOX + BOX / 2] > 128;
        (0..BITS).filter(lit).map(|bit| 1 << bit).sum()
    };
    raw.chunks_exact(WIDTH * HEIGHT).map(number).collect()
}

/// The source of numbered frames.
fn boxes(rate: &str, length: &str) -> String {
    let mut picture = format!("color=black:s={WIDTH}x{HEIGHT}:r={rate}:{length}");
    for bit in 0..BITS {
        let (x, step) = (bit * BOX, 1 << bit);
        picture.push_str(&format!(
            ",drawbox=x={x}:y=20:w={BOX}:h=60:t=fill:color=white:enable='mod(floor(n/{step})\\,2)'"
        ));
    }
    picture
}
