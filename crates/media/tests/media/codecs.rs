//! HEVC and AV1: the same rules as for H.264, from the encoder's output to admission.

use std::{fs, path::Path, sync::LazyLock};

use media::{
    Codec, Grid,
    admission::{AdmissionError, TrackKind, admit},
    fmp4::{
        init_info,
        rewrite::{Rewritten, video_chunk},
    },
};
use proptest::prelude::*;

use crate::{
    ffmpeg::{Folder, joined, run},
    fixture::grid,
};

/// Encodes one chunk of a test pattern in the same way as a worker.
fn encode(codec: Codec, grid: &Grid, chunk: u32, size: &str, folder: &Path) -> Vec<u8> {
    let (num, den) = (grid.rate().num(), grid.rate().den());
    let frames = grid.chunk_frames(chunk);
    let gop = grid.gop_frames().to_string();
    let trim = format!(
        "trim=start_frame={}:end_frame={},setpts=PTS-STARTPTS,format=yuv420p",
        frames.start, frames.end
    );
    let x265 = "log-level=error:info=0:repeat-headers=0:scenecut=0:open-gop=0:b-pyramid=0:pools=1";
    let options: &[&str] = match codec {
        Codec::H264 => &["libx264", "-preset", "veryfast", "-sc_threshold", "0"],
        Codec::Hevc => &["libx265", "-preset", "ultrafast", "-tag:v", "hvc1", "-x265-params", x265],
        Codec::Av1 => &["libsvtav1", "-preset", "12", "-svtav1-params", "lp=1"],
    };
    let source = format!("testsrc2=s={size}:r={num}/{den}");
    let (count, timescale) =
        ((frames.end - frames.start).to_string(), grid.rate().timescale().to_string());
    let mut arguments = vec!["-v", "error", "-y", "-f", "lavfi", "-i", &source, "-vf", &trim];
    arguments.extend(["-frames:v", &count, "-c:v"]);
    arguments.extend(options);
    arguments.extend(["-threads", "1", "-b:v", "200k", "-g", &gop, "-keyint_min", &gop]);
    arguments.extend(["-flags", "+cgop+global_header", "-video_track_timescale", &timescale]);
    arguments.extend(["-movflags", "+frag_keyframe+empty_moov+default_base_moof"]);
    arguments.extend(["-f", "mp4", "chunk.mp4"]);
    run("ffmpeg", &arguments, folder);
    fs::read(folder.join("chunk.mp4")).unwrap()
}

fn chunks(codec: Codec, grid: &Grid, size: &str, folder: &Folder) -> Vec<Rewritten> {
    let chunk = |chunk| {
        let raw = encode(codec, grid, chunk, size, folder.path());
        let made = video_chunk(&raw, grid, chunk).unwrap();
        let admitted = admit(TrackKind::Video, grid, chunk, &made.init, &made.bytes);
        assert_eq!(admitted.as_ref(), Ok(&made.fragments), "{codec}");
        made
    };
    (0..grid.chunks()).map(chunk).collect()
}

/// Size, codec string and times as reported by ffprobe; every frame must decode.
fn examined(codec: Codec, grid: &Grid, size: &str) -> String {
    let folder = Folder::new();
    let made = chunks(codec, grid, size, &folder);
    let info = init_info(&made[0].init).unwrap();
    assert_eq!(format!("{}x{}", info.width, info.height), size, "{codec}");
    assert_eq!(Codec::of_rfc6381(&info.codec), Some(codec));
    fs::write(folder.path().join("joined.mp4"), joined(&made)).unwrap();
    let probe = ["-v", "error", "-show_entries", "stream=codec_tag_string:packet=pts"];
    let probe = [&probe[..], &["-of", "csv=p=0", "joined.mp4"]].concat();
    let output = String::from_utf8(run("ffprobe", &probe, folder.path())).unwrap();
    let (times, tags): (Vec<&str>, Vec<&str>) =
        output.lines().map(|l| l.trim_end_matches(',')).partition(|l| l.parse::<i64>().is_ok());
    assert_eq!(tags, [codec.sample_entry()]);
    let mut times: Vec<i64> = times.iter().map(|t| t.parse().unwrap()).collect();
    times.sort_unstable();
    let ticks = i64::from(grid.rate().frame_ticks());
    let expected: Vec<i64> = (0..grid.frames() as i64).map(|frame| frame * ticks).collect();
    assert_eq!(times, expected, "{codec}");
    let decode = ["-v", "error", "-xerror", "-i", "joined.mp4", "-f", "framecrc", "-"];
    let decoded = String::from_utf8(run("ffmpeg", &decode, folder.path())).unwrap();
    let frames = decoded.lines().filter(|line| !line.starts_with('#')).count() as u64;
    assert_eq!(frames, grid.frames(), "{codec}");
    info.codec
}

#[test]
fn every_frame_of_hevc_plays_once_and_the_codec_string_is_correct() {
    assert_eq!(examined(Codec::Hevc, &grid(25, 1, 203), "160x90"), "hvc1.1.6.L60.90");
    examined(Codec::Hevc, &grid(30_000, 1001, 130), "90x160");
    examined(Codec::Hevc, &grid(24, 1, 1), "16x16");
}

#[test]
fn every_frame_of_av1_plays_once_and_the_codec_string_is_correct() {
    assert_eq!(examined(Codec::Av1, &grid(25, 1, 203), "160x90"), "av01.0.00M.08");
    examined(Codec::Av1, &grid(30_000, 1001, 130), "90x160");
    examined(Codec::Av1, &grid(24, 1, 1), "64x64");
}

#[test]
fn brands_name_the_media_profile() {
    let folder = Folder::new();
    let grid = grid(25, 1, 10);
    for (codec, brand) in [(Codec::H264, "cfhd"), (Codec::Hevc, "chhd"), (Codec::Av1, "av01")] {
        let made = chunks(codec, &grid, "160x90", &folder);
        let ftyp = String::from_utf8_lossy(&made[0].init[..40]).into_owned();
        assert!(ftyp.contains("cmfc") && ftyp.contains(brand), "{codec}: {ftyp:?}");
    }
}

struct Samples {
    grid: Grid,
    made: Vec<(Codec, Rewritten)>,
}

/// Two GOPs of each new codec.
static SAMPLES: LazyLock<Samples> = LazyLock::new(|| {
    let folder = Folder::new();
    let grid = grid(25, 1, 100);
    let made = [Codec::Hevc, Codec::Av1]
        .map(|codec| (codec, chunks(codec, &grid, "128x72", &folder).remove(0)));
    Samples { grid, made: made.to_vec() }
});

/// Where the samples of fragment `nth` begin.
fn payload(bytes: &[u8], nth: usize) -> usize {
    let mut places = bytes.windows(4).enumerate().filter(|(_, window)| window == b"mdat");
    places.nth(nth).unwrap().0 + 4
}

fn admitted(made: &Rewritten, bytes: &[u8]) -> Result<usize, AdmissionError> {
    let fragments = admit(TrackKind::Video, &SAMPLES.grid, 0, &made.init, bytes);
    fragments.map(|fragments| fragments.len())
}

#[test]
fn a_damaged_sample_is_rejected_in_every_codec() {
    for (codec, made) in &SAMPLES.made {
        assert_eq!(admitted(made, &made.bytes), Ok(2));
        for nth in 0..2 {
            let at = payload(&made.bytes, nth);
            let mut zeroed = made.bytes.clone();
            zeroed[at..at + 200].fill(0);
            let rejected = admitted(made, &zeroed);
            let gop = nth as u32;
            assert!(
                matches!(rejected, Err(AdmissionError::Payload { gop: g, sample: 0, .. }) if g == gop),
                "{codec}: {rejected:?}"
            );
        }
    }
    // HEVC: an IDR picture becomes a CRA picture, which is not a clean random access point.
    let (_, hevc) = &SAMPLES.made[0];
    let mut bytes = hevc.bytes.clone();
    let at = payload(&bytes, 1) + 4;
    assert!(matches!(bytes[at] >> 1, 19 | 20));
    bytes[at] = 21 << 1;
    assert!(matches!(
        admitted(hevc, &bytes),
        Err(AdmissionError::Payload { gop: 1, sample: 0, .. })
    ));
    // AV1: the sequence header in the samples must equal the one in the init segment.
    let (_, av1) = &SAMPLES.made[1];
    let mut bytes = av1.bytes.clone();
    let at = payload(&bytes, 1);
    assert_eq!(bytes[at], 0x0a);
    bytes[at + 4] ^= 1;
    assert!(matches!(
        admitted(av1, &bytes),
        Err(AdmissionError::Payload { gop: 1, sample: 0, .. })
    ));
    // The first frame must be a key frame.
    let mut bytes = av1.bytes.clone();
    let frame = at + 2 + usize::from(bytes[at + 1]);
    let body = frame + 1 + bytes[frame + 1..].iter().position(|b| b & 0x80 == 0).unwrap() + 1;
    bytes[body] |= 0x20;
    assert_eq!(admitted(av1, &bytes), Err(AdmissionError::KeyFrame { gop: 1, sample: 0 }));
}

#[test]
fn another_codecs_init_segment_is_rejected() {
    let (hevc, av1) = (&SAMPLES.made[0].1, &SAMPLES.made[1].1);
    let admitted = admit(TrackKind::Video, &SAMPLES.grid, 0, &av1.init, &hevc.bytes);
    assert!(admitted.is_err(), "{admitted:?}");
}

proptest! {
    #[test]
    fn any_flipped_byte_of_an_init_segment_is_rejected_or_another_codec(
        which in 0_usize..2,
        at: prop::sample::Index,
        flip in 1_u8..=255,
    ) {
        let (_, made) = &SAMPLES.made[which];
        let mut init = made.init.clone();
        let at = at.index(init.len());
        init[at] ^= flip;
        let admitted = admit(TrackKind::Video, &SAMPLES.grid, 0, &init, &made.bytes);
        // The parts of the record that are not parsed here are compared between chunks by the
        // control plane.
        let record = made.init.windows(4).position(|w| w == b"hvcC" || w == b"av1C").unwrap();
        let size = u32::from_be_bytes(made.init[record - 4..record].try_into().unwrap());
        let inside = (record + 4..record - 4 + size as usize).contains(&at);
        prop_assert!(admitted.is_err() || inside, "byte {at}");
    }

    #[test]
    fn arbitrary_bytes_after_a_valid_init_segment_never_panic(
        which in 0_usize..2,
        bytes: Vec<u8>,
        nth in 0_usize..2,
        skip in 0_usize..300,
    ) {
        let (_, made) = &SAMPLES.made[which];
        let mut damaged = made.bytes.clone();
        let at = payload(&damaged, nth) + skip;
        for (old, new) in damaged[at..].iter_mut().zip(&bytes) {
            *old = *new;
        }
        let _ = admit(TrackKind::Video, &SAMPLES.grid, 0, &made.init, &damaged);
    }
}
