//! Images: the plan, the storyboard's WebVTT, and rejection of bytes that are not the planned
//! image.

use media::{
    Codec, Grid,
    index::Index,
    jpeg::{self, JpegError},
    ladder::Rung,
    manifest::Links,
    pictures::{ClipPlan, Picture, PicturePlan, Size, vtt},
};
use proptest::prelude::*;

use crate::{
    ffmpeg::{Folder, run},
    fixture::{empty_index, grid},
};

fn rung(name: &str, width: u32, height: u32) -> Rung {
    Rung {
        name: name.to_owned(),
        width,
        height,
        video_bitrate: 800_000,
        codec: Codec::H264,
        preset: "veryfast".to_owned(),
        crf: None,
        hardware: None,
    }
}

fn ladder() -> Vec<Rung> {
    vec![rung("360p", 640, 360), rung("720p", 1280, 720), rung("1080p", 1920, 1080)]
}

fn plan(grid: &Grid, count: u32) -> PicturePlan {
    PicturePlan::new(grid, &ladder(), count).unwrap()
}

#[test]
fn thumbnails_are_spread_over_the_video_and_fewer_when_it_is_short() {
    // One frame, one GOP, three GOPs, a minute, two hours.
    for (frames, expected) in [(1, 1), (50, 1), (150, 3), (1500, 10), (180_000, 10)] {
        let grid = grid(25, 1, frames);
        let plan = plan(&grid, 10);
        assert_eq!(plan.thumbnails.len(), expected, "{frames} frames");
        assert!(plan.thumbnails.is_sorted_by(|a, b| a < b));
        assert!(plan.thumbnails.iter().all(|gop| *gop < grid.gops()));
        let times: Vec<f64> = (0..expected)
            .map(|n| plan.seconds(&grid, &format!("thumbnails/{n}")).unwrap())
            .collect();
        // Each tenth of the video has its own thumbnail.
        let part = grid.duration() / expected as f64;
        for (n, time) in times.iter().enumerate() {
            let middle = part * (n as f64 + 0.5);
            assert!((time - middle).abs() <= part / 2.0 + 2.0, "{frames} frames: {times:?}");
        }
    }
    assert_eq!(plan(&grid(25, 1, 1500), 10).seconds(&grid(25, 1, 1500), "poster"), None);
}

#[test]
fn sizes_keep_the_aspect_ratio_and_are_never_scaled_up() {
    let landscape = plan(&grid(25, 1, 1500), 10);
    assert_eq!(landscape.thumbnail, Size { width: 320, height: 180 });
    assert_eq!(landscape.tile, Size { width: 160, height: 90 });
    assert_eq!((landscape.poster_from.as_str(), landscape.poster.height), ("720p", 720));
    let portrait = [rung("360p", 360, 640), rung("1080p", 1080, 1920)];
    let portrait = PicturePlan::new(&grid(25, 1, 1500), &portrait, 10).unwrap();
    assert_eq!(portrait.thumbnail, Size { width: 180, height: 320 });
    assert_eq!(portrait.poster, Size { width: 360, height: 640 });
    let small = PicturePlan::new(&grid(25, 1, 1500), &[rung("360p", 64, 36)], 10).unwrap();
    let own = Size { width: 64, height: 36 };
    assert_eq!((small.thumbnail, small.tile, small.poster), (own, own, own));
    assert_eq!(PicturePlan::new(&grid(25, 1, 1500), &[], 10), None);
    let large = ClipPlan::new(&grid(25, 1, 1500), &[rung("1080p", 1920, 1080)], None).unwrap();
    assert_eq!(large.size, Size { width: 854, height: 480 });
}

#[test]
fn clip_is_the_whole_video_or_thirty_seconds_of_it() {
    for (num, den) in [(25, 1), (30_000, 1001), (24_000, 1001), (60, 1), (7, 1), (1, 1)] {
        for seconds in [1_u64, 10, 29, 30, 31, 45, 600, 7200] {
            let frames = seconds * u64::from(num) / u64::from(den);
            let grid = grid(num, den, frames.max(1));
            let clip = ClipPlan::new(&grid, &ladder(), Some("audio-0".to_owned())).unwrap();
            assert_eq!(clip.rung, "360p");
            let length = clip.seconds(&grid);
            assert!(length <= 30.0, "{num}/{den}, {seconds} s: {length}");
            if grid.duration() <= 30.0 {
                assert_eq!(clip.frames, grid.frames());
            } else {
                assert!(length > 27.0, "{num}/{den}, {seconds} s: {length}");
                assert_eq!(clip.cuts.len(), 5);
            }
            assert!(clip.cuts.is_sorted_by(|a, b| a.end <= b.start), "{:?}", clip.cuts);
            assert!(clip.cuts.iter().all(|cut| !cut.is_empty() && cut.end <= grid.gops()));
        }
    }
}

fn picture(name: &str) -> Picture {
    Picture { key: format!("pictures/{name}"), bytes: 1, sha256: [7; 32] }
}

fn with_storyboard(frames: u64) -> (Index, PicturePlan) {
    let mut index = empty_index(grid(25, 1, frames));
    let plan = plan(&index.grid, 10);
    index.pictures = plan.gather(|name| Some(picture(name)));
    (index, plan)
}

#[test]
fn storyboard_covers_the_video_and_stays_inside_its_sheets() {
    for frames in [1, 50, 1500, 45_000, 1_000_000] {
        let (index, plan) = with_storyboard(frames);
        let text = vtt::storyboard(&index, &Links::default()).unwrap();
        assert!(text.starts_with("WEBVTT\n\n"), "{text}");
        let cues: Vec<Vec<&str>> =
            text.split("\n\n").skip(1).map(|cue| cue.lines().collect()).collect();
        assert_eq!(cues.len(), plan.tiles as usize);
        assert!(plan.tiles <= 400);
        let mut until = 0.0;
        for (n, cue) in cues.iter().enumerate() {
            let (from, to) = cue[0].split_once(" --> ").unwrap();
            assert!((seconds(from) - until).abs() < 1e-9, "{frames}: gap before cue {n}");
            until = seconds(to);
            assert!(until > seconds(from), "{frames}: {cue:?}");
            let (url, place) = cue[1].split_once("#xywh=").unwrap();
            let sheet = url.strip_prefix(&format!("{}/storyboard/", index.version)).unwrap();
            let sheet: u32 = sheet.strip_suffix(".jpg").unwrap().parse().unwrap();
            assert!(sheet < plan.sheets());
            let place: Vec<u32> = place.split(',').map(|v| v.parse().unwrap()).collect();
            let [x, y, width, height] = place[..] else { panic!("{cue:?}") };
            assert!(x + width <= plan.columns * plan.tile.width);
            assert!(y + height <= plan.rows * plan.tile.height);
        }
        assert!((until - index.grid.duration()).abs() < 0.001, "{frames}: ends at {until}");
    }
}

#[test]
fn storyboard_carries_the_token_and_the_cdn() {
    let (index, _) = with_storyboard(100);
    let links = Links { token: Some("a+b"), base: Some("https://cdn"), max_height: None };
    let text = vtt::storyboard(&index, &links).unwrap();
    let expected = format!(
        "https://cdn/api/stream/{}/{}/storyboard/0.jpg?token=a%2Bb#xywh=0,0,160,90",
        index.video, index.version
    );
    assert_eq!(text.lines().nth(3), Some(expected.as_str()));
    let mut none = index;
    none.pictures.storyboard = None;
    assert_eq!(vtt::storyboard(&none, &links), None);
}

fn seconds(text: &str) -> f64 {
    let parts: Vec<f64> = text.split(':').map(|part| part.parse().unwrap()).collect();
    parts[0] * 3600.0 + parts[1] * 60.0 + parts[2]
}

const SIZE: Size = Size { width: 64, height: 36 };

fn real_jpeg() -> Vec<u8> {
    let folder = Folder::new();
    #[rustfmt::skip]
    let arguments = [
        "-v", "error", "-f", "lavfi", "-i", "testsrc2=s=64x36", "-frames:v", "1",
        "-c:v", "mjpeg", "-q:v", "4", "-pix_fmt", "yuvj420p", "-f", "image2pipe", "pipe:1",
    ];
    run("ffmpeg", &arguments, folder.path())
}

#[test]
fn only_a_complete_jpeg_without_extra_bytes_is_admitted() {
    let whole = real_jpeg();
    assert_eq!(jpeg::check(&whole, SIZE), Ok(()));
    for end in 0..whole.len() {
        assert!(jpeg::check(&whole[..end], SIZE).is_err(), "cut at {end} of {}", whole.len());
    }
    let mut longer = whole.clone();
    longer.push(0);
    assert_eq!(jpeg::check(&longer, SIZE), Err(JpegError::Trailing(1)));
    assert_eq!(
        jpeg::check(&[&whole[..], &whole].concat(), SIZE),
        Err(JpegError::Trailing(whole.len()))
    );
    let other = Size { width: 65, ..SIZE };
    assert_eq!(jpeg::check(&whole, other), Err(JpegError::Size(64, 36)));
    assert!(jpeg::check(b"<html>not found</html>", SIZE).is_err());
}

proptest! {
    #[test]
    fn damaged_jpegs_never_panic(at in 0_usize..2000, byte: u8) {
        let mut bytes = real_jpeg_once().clone();
        let at = at % bytes.len();
        bytes[at] = byte;
        let _ = jpeg::check(&bytes, SIZE);
    }
}

fn real_jpeg_once() -> &'static Vec<u8> {
    static JPEG: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    JPEG.get_or_init(real_jpeg)
}
