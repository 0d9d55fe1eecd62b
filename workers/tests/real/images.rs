//! Images and previews of real, unusual videos, made from the worker's own encodes in an excerpt
//! such as control builds.

use std::{fs, path::Path, process::Command};

use api::v1;
use media::{
    Codec,
    admission::TrackKind,
    excerpt::{self, Cut},
    index::{Chunk, Track},
    jpeg,
    ladder::Rung,
    movie,
    pictures::{ClipPlan, PicturePlan, Size},
};

use crate::{
    clip::Clip,
    control::{Control, Done},
    encodes::{Probed, check},
    worker::Worker,
};

/// A video encoded in one rung: its fragments by GOP.
struct Encoded {
    probed: Probed,
    size: (u32, u32),
    track: Track,
    video: Vec<Vec<u8>>,
    audio: Vec<Vec<u8>>,
    audio_init: Vec<u8>,
}

impl Encoded {
    async fn new(control: &mut Control, worker: &Worker, clip: &Clip, size: (u32, u32)) -> Self {
        let probed = Probed::probe(control, worker, clip).await;
        let mut encoded = Self {
            probed,
            size,
            track: Track::default(),
            video: Vec::new(),
            audio: Vec::new(),
            audio_init: Vec::new(),
        };
        for chunk in 0..encoded.probed.grid.chunks() {
            let lease = worker.lease(&clip.path(), encoded.probed.chunk(chunk, &[size]));
            let done = control.work(lease).await.unwrap();
            encoded.take(worker, &done.outputs[0], TrackKind::Video);
        }
        if !encoded.probed.source.audio.is_empty() {
            let done = control.work(worker.lease(&clip.path(), encoded.probed.audio(0))).await;
            for output in &done.unwrap().outputs {
                encoded.take(worker, output, TrackKind::Audio);
            }
        }
        encoded
    }

    fn take(&mut self, worker: &Worker, output: &v1::Output, kind: TrackKind) {
        let grid = &self.probed.grid;
        let bytes = check(&worker.store(), kind, grid, output);
        let admitted =
            media::admission::admit(kind, grid, output.chunk, &output.init, &bytes).unwrap();
        let mut rest = bytes.as_slice();
        let fragments = match kind {
            TrackKind::Video => &mut self.video,
            TrackKind::Audio => &mut self.audio,
        };
        for fragment in &admitted {
            let (own, after) = rest.split_at(fragment.bytes as usize);
            fragments.push(own.to_vec());
            rest = after;
        }
        match kind {
            TrackKind::Video => {
                self.track.init = output.init.to_vec();
                let chunk = Chunk { key: output.key.clone(), fragments: admitted };
                self.track.chunks.push(Some(chunk));
            }
            TrackKind::Audio => self.audio_init = output.init.to_vec(),
        }
    }

    fn rungs(&self) -> [Rung; 1] {
        [Rung {
            name: "rung".to_owned(),
            width: self.size.0,
            height: self.size.1,
            video_bitrate: 200_000,
            codec: Codec::H264,
            preset: "veryfast".to_owned(),
            crf: None,
            hardware: None,
        }]
    }

    /// Has the poster, thumbnails and storyboard made.
    async fn images(&self, control: &mut Control, worker: &Worker) -> (PicturePlan, Done) {
        let plan = PicturePlan::new(&self.probed.grid, &self.rungs(), 10).unwrap();
        let still = |gop: u32| excerpt::key_frame(&self.video[gop as usize]).unwrap();
        let tracks = [
            (&self.track.init[..], plan.thumbnails.iter().map(|gop| still(*gop)).collect()),
            (&self.track.init[..], plan.tile_gops().map(still).collect()),
            (&self.track.init[..], plan.candidates(&self.track).into_iter().map(still).collect()),
        ];
        let source = worker.store().join("stills.mp4");
        let moving = plan.moving(&self.track).map(|gop| &self.video[gop as usize][..]);
        fs::write(&source, excerpt::stills(&tracks, moving).unwrap()).unwrap();
        let size = |size: Size| Some(v1::Size { width: size.width, height: size.height });
        let work = v1::lease::Work::Pictures(v1::PicturesWork {
            thumbnails: plan.thumbnails.len() as u32,
            thumbnail: size(plan.thumbnail),
            tiles: plan.tiles,
            tile: size(plan.tile),
            columns: plan.columns,
            rows: plan.rows,
            candidates: plan.candidates,
            poster: size(plan.poster),
        });
        let done = control.work(worker.lease(&source, work)).await.unwrap();
        let names: Vec<&str> = done.pictures.iter().map(|p| p.name.as_str()).collect();
        let wanted = plan.wanted();
        assert_eq!(names, wanted.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>());
        for ((name, size), made) in wanted.iter().zip(&done.pictures) {
            let bytes = fs::read(worker.store().join(&made.key)).unwrap();
            assert_eq!(bytes.len() as u64, made.bytes);
            assert_eq!(workers::output::digest(&bytes)[..], made.sha256[..]);
            jpeg::check(&bytes, *size).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        (plan, done)
    }

    /// Has the preview made and checks it as control does; returns its file and its length in
    /// seconds.
    async fn preview(&self, control: &mut Control, worker: &Worker) -> (std::path::PathBuf, f64) {
        let grid = &self.probed.grid;
        let sound = (!self.audio.is_empty()).then(|| "audio-0".to_owned());
        let plan = ClipPlan::new(grid, &self.rungs(), sound.clone()).unwrap();
        let mut cuts = Vec::with_capacity(plan.cuts.len());
        for gops in &plan.cuts {
            let own = gops.start as usize..gops.end as usize;
            let slices = |all: &'_ [Vec<u8>]| all.get(own.clone()).unwrap_or_default().to_vec();
            cuts.push((gops.start, slices(&self.video), slices(&self.audio)));
        }
        let cuts: Vec<Cut<'_>> = cuts
            .iter()
            .map(|(gop, video, audio)| Cut {
                gop: *gop,
                video: video.iter().map(Vec::as_slice).collect(),
                audio: audio.iter().map(Vec::as_slice).collect(),
            })
            .collect();
        let audio_init = sound.as_ref().map(|_| self.audio_init.as_slice());
        let source = worker.store().join("clip.mp4");
        fs::write(&source, excerpt::clip(grid, &self.track.init, audio_init, &cuts).unwrap())
            .unwrap();
        let rate = grid.rate();
        let work = v1::lease::Work::Preview(v1::PreviewWork {
            frame_rate: Some(v1::Ratio { num: rate.num(), den: rate.den() }),
            frames: plan.frames,
            size: Some(v1::Size { width: plan.size.width, height: plan.size.height }),
            sound: sound.is_some(),
            urgent: true,
        });
        let done = control.work(worker.lease(&source, work)).await.unwrap();
        let file = worker.store().join(&done.pictures[0].key);
        let wanted = movie::Wanted {
            size: plan.size,
            frames: plan.frames,
            seconds: plan.seconds(grid),
            sound: sound.is_some(),
        };
        movie::check(&fs::read(&file).unwrap(), &wanted).unwrap();
        let length = ffprobe(&file, "format=duration");
        (file, length[0].parse().unwrap())
    }
}

fn ffprobe(file: &Path, entries: &str) -> Vec<String> {
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-of", "csv=p=0", "-show_entries", entries])
        .arg(file)
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// The mean brightness of an image, or of a part of it (`crop=` arguments).
fn brightness(file: &Path, crop: Option<&str>) -> u8 {
    let crop = crop.map(|crop| format!("crop={crop},")).unwrap_or_default();
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-i"])
        .arg(file)
        .args(["-vf", &format!("{crop}scale=1:1:flags=area,format=gray"), "-f", "rawvideo", "-"])
        .output()
        .unwrap();
    output.stdout[0]
}

fn stored(worker: &Worker, done: &Done, name: &str) -> std::path::PathBuf {
    let made = done.pictures.iter().find(|picture| picture.name == name).unwrap();
    worker.store().join(&made.key)
}

const X264: [&str; 6] = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_poster_of_a_video_that_begins_black_is_bright() {
    let mut control = Control::start().await;
    let worker = Worker::start(&mut control, &[]).await;
    let picture = "testsrc2=s=320x180:r=10:d=14,drawbox=t=fill:color=black:enable='lt(t,9)'";
    let clip = Clip::made("a.mp4", &[&["-f", "lavfi", "-i", picture][..], &X264].concat());
    let encoded = Encoded::new(&mut control, &worker, &clip, (320, 180)).await;
    let (plan, done) = encoded.images(&mut control, &worker).await;
    assert_eq!((plan.thumbnails.len(), plan.tiles, plan.columns), (7, 7, 7));
    assert!(brightness(&stored(&worker, &done, "poster"), None) > 60);
    // Each thumbnail shows its own moment: black until the ninth second.
    for (number, gop) in plan.thumbnails.iter().enumerate() {
        let file = stored(&worker, &done, &format!("thumbnails/{number}"));
        let bright = brightness(&file, None) > 60;
        assert_eq!(bright, gop * 2 >= 9, "thumbnail {number}");
    }
    let sheet = stored(&worker, &done, "storyboard/0");
    for tile in 0..plan.tiles {
        let Size { width, height } = plan.tile;
        let crop = format!("{width}:{height}:{}:0", tile * width);
        assert_eq!(brightness(&sheet, Some(&crop)) > 60, tile * 2 >= 9, "tile {tile}");
    }
}

/// The video is bright for half a second only, without a key frame in it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_poster_of_a_nearly_black_video_shows_its_only_bright_moment() {
    let mut control = Control::start().await;
    let worker = Worker::start(&mut control, &[]).await;
    let picture =
        "testsrc2=s=320x180:r=25:d=14,drawbox=t=fill:color=black:enable='not(between(t,9,9.5))'";
    let clip = Clip::made("a.mp4", &[&["-f", "lavfi", "-i", picture][..], &X264].concat());
    let encoded = Encoded::new(&mut control, &worker, &clip, (320, 180)).await;
    let (_, done) = encoded.images(&mut control, &worker).await;
    assert!(brightness(&stored(&worker, &done, "poster"), None) > 60);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn black_videos_single_frames_and_rotated_videos_have_images_too() {
    let mut control = Control::start().await;
    let worker = Worker::start(&mut control, &[]).await;
    let lavfi = |picture: &'static str| ["-f", "lavfi", "-i", picture];
    let one = [&lavfi("testsrc2=s=320x180:r=25:d=0.04")[..], &X264].concat();
    let black = [&lavfi("color=black:s=64x36:r=10:d=3")[..], &X264].concat();
    let tall = [&lavfi("testsrc2=s=90x160:r=10:d=3")[..], &X264].concat();
    for (args, size, thumbnails, frames) in
        [(&one, (320, 180), 1, 1), (&black, (64, 36), 2, 30), (&tall, (90, 160), 2, 30)]
    {
        let clip = Clip::made("a.mp4", args);
        let encoded = Encoded::new(&mut control, &worker, &clip, size).await;
        let (plan, done) = encoded.images(&mut control, &worker).await;
        assert_eq!(plan.thumbnails.len(), thumbnails, "{args:?}");
        assert_eq!(done.pictures.len(), thumbnails + 2, "{args:?}");
        let (file, _) = encoded.preview(&mut control, &worker).await;
        let counted = ffprobe(&file, "stream=codec_name,nb_frames");
        assert_eq!(counted, [format!("h264,{frames}")], "{args:?}");
    }
    worker.until(|| worker.task_folders() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_preview_of_a_long_video_has_excerpts_of_all_of_it_and_audio() {
    let mut control = Control::start().await;
    let worker = Worker::start(&mut control, &[]).await;
    // The brightness increases with time, so it identifies the moment.
    let picture = "color=black:s=64x36:r=30000/1001:d=60,geq=lum='16+3.5*T':cb=128:cr=128";
    let args = ["-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", "sine=d=60"];
    let clip = Clip::made("a.mkv", &[&args[..], &X264, &["-c:a", "aac"]].concat());
    let encoded = Encoded::new(&mut control, &worker, &clip, (64, 36)).await;
    let (file, length) = encoded.preview(&mut control, &worker).await;
    assert!((29.5..=30.05).contains(&length), "{length}");
    let codecs = ffprobe(&file, "stream=codec_name");
    assert_eq!(codecs, ["h264", "aac"]);
    let raw = Command::new("ffmpeg")
        .args(["-v", "error", "-i"])
        .arg(&file)
        .args([
            "-map",
            "0:v",
            "-vf",
            "fps=1,scale=1:1:flags=area,format=gray",
            "-f",
            "rawvideo",
            "-",
        ])
        .output()
        .unwrap()
        .stdout;
    let seconds: Vec<f64> = raw.iter().map(|level| f64::from(*level) / 255.0 * 62.6).collect();
    assert!(seconds.is_sorted_by(|a, b| *b > a - 1.0), "{seconds:?}");
    assert!(seconds[0] < 10.0 && seconds[seconds.len() - 1] > 50.0, "{seconds:?}");
    let silence = Command::new("ffmpeg")
        .args(["-v", "info", "-i"])
        .arg(&file)
        .args(["-af", "silencedetect=n=-40dB:d=0.2", "-vn", "-f", "null", "-"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&silence.stderr).into_owned();
    assert!(!text.contains("silence_start"), "{text}");
}
