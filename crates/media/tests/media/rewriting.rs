//! From FFmpeg's output to the stored form: every frame once, exactly on the grid, and accepted by
//! admission.

use std::fs;

use media::fmp4::{
    Mp4Error, init_info,
    rewrite::{AudioRewriter, video_chunk},
    samples,
};

use crate::{
    ffmpeg::{Folder, MOVFLAGS, encode_audio, encode_video, joined, run},
    fixture::{audio, grid, video},
};

/// Presentation times as reported by ffprobe, in ticks and in presentation order.
fn times(file: &str, folder: &Folder) -> Vec<i64> {
    let arguments = ["-v", "error", "-show_entries", "packet=pts", "-of", "csv=p=0", file];
    let out = String::from_utf8(run("ffprobe", &arguments, folder.path())).unwrap();
    let mut times: Vec<i64> =
        out.lines().map(|line| line.trim_end_matches(',').parse().unwrap()).collect();
    times.sort_unstable();
    times
}

#[test]
fn every_frame_plays_once_at_its_place_for_each_rate_and_fragmentation() {
    let folder = Folder::new();
    let rates = [(24, 1), (25, 1), (30_000, 1001), (50, 1), (60, 1), (1, 1), (5, 1)];
    for (n, (num, den)) in rates.into_iter().enumerate() {
        // At 24 frames per second: chunk 0, chunk 1, and slightly more than two GOPs of chunk 2.
        let seconds = if n == 0 { 29 } else { 7 };
        let grid = grid(num, den, u64::from(num / den) * seconds + 5);
        let chunks = video(&grid, MOVFLAGS[n % MOVFLAGS.len()], "128x72", &folder);
        fs::write(folder.path().join("joined.mp4"), joined(&chunks)).unwrap();
        let ticks = i64::from(grid.rate().frame_ticks());
        let expected: Vec<i64> = (0..grid.frames() as i64).map(|frame| frame * ticks).collect();
        assert_eq!(times("joined.mp4", &folder), expected, "{num}/{den}");
        let decode = ["-v", "error", "-xerror", "-i", "joined.mp4", "-f", "null", "-"];
        run("ffmpeg", &decode, folder.path());
    }
}

#[test]
fn audio_does_not_depend_on_how_it_is_split() {
    let folder = Folder::new();
    let grid = grid(30_000, 1001, 30 * 26 + 7);
    let raw = encode_audio(&grid, 700_000, folder.path());
    let chunks = audio(&grid, &raw, raw.len());
    assert_eq!(chunks.len() as u32, grid.chunks());
    assert_eq!(audio(&grid, &raw, 1000), chunks);
    let others = encode_audio(&grid, 2_000_000, folder.path());
    assert_eq!(audio(&grid, &others, 65_536), chunks);
    fs::write(folder.path().join("joined.mp4"), joined(&chunks)).unwrap();
    let expected: Vec<i64> = (0..grid.audio_frames_total() as i64).map(|n| n * 1024).collect();
    assert_eq!(times("joined.mp4", &folder), expected);
    // The priming packet is dropped: packet n of the output is packet n + 1 of FFmpeg's output.
    let (theirs, joined) = (samples(&raw).unwrap(), joined(&chunks));
    let ours = samples(&joined).unwrap();
    for (ours, theirs) in ours.iter().zip(&theirs[1..]) {
        assert_eq!(ours.data, theirs.data);
    }
    let missing = &raw[..raw.len() / 2];
    let mut rewriter = AudioRewriter::new(grid);
    rewriter.push(missing).unwrap();
    while rewriter.next_chunk().unwrap().is_some() {}
    let expected = grid.audio_frames_total();
    let error = rewriter.finish().unwrap_err();
    assert!(matches!(error, Mp4Error::SampleCount { expected: e, .. } if e == expected));
}

#[test]
fn init_segments_name_the_codec() {
    let folder = Folder::new();
    let grid = grid(25, 1, 30);
    let chunk = &video(&grid, MOVFLAGS[0], "128x72", &folder)[0];
    let info = init_info(&chunk.init).unwrap();
    assert_eq!((info.width, info.height, info.timescale), (128, 72, 10_000));
    assert!(info.codec.starts_with("avc1.6400"), "{}", info.codec);
    let sound = &audio(&grid, &encode_audio(&grid, 500_000, folder.path()), 4096)[0];
    let info = init_info(&sound.init).unwrap();
    assert_eq!((info.codec.as_str(), info.timescale, info.channels), ("mp4a.40.2", 48_000, 2));
}

#[test]
fn a_chunk_with_a_frame_too_few_is_an_error() {
    let folder = Folder::new();
    let short = grid(25, 1, 99);
    let raw = encode_video(&short, 0, MOVFLAGS[0], "128x72", folder.path());
    let error = video_chunk(&raw, &grid(25, 1, 200), 0).unwrap_err();
    assert_eq!(error, Mp4Error::SampleCount { expected: 100, found: 99 });
    for length in (0..raw.len()).step_by(97) {
        assert!(video_chunk(&raw[..length], &short, 0).is_err(), "cut at {length}");
    }
}

#[test]
fn the_encoders_reordering_delay_is_subtracted() {
    let folder = Folder::new();
    let grid = grid(25, 1, 100);
    let settings: [(&[&str], bool); 4] = [
        (&["-preset", "ultrafast"], false),
        (&["-profile:v", "baseline"], false),
        (&["-preset", "slow", "-bf", "8"], true),
        (
            &[
                "-b_strategy",
                "0",
                "-bf",
                "1",
                "-nal-hrd",
                "vbr",
                "-maxrate",
                "1M",
                "-bufsize",
                "1M",
            ],
            true,
        ),
    ];
    for (arguments, reorders) in settings {
        #[rustfmt::skip]
        let common = [
            "-v", "error", "-y", "-f", "lavfi", "-i", "testsrc2=s=128x72:r=25:d=4",
            "-pix_fmt", "yuv420p", "-color_range", "tv", "-colorspace", "bt709",
            "-color_primaries", "bt709", "-color_trc", "bt709", "-c:v", "libx264", "-g", "50",
            "-keyint_min", "50", "-sc_threshold", "0", "-flags", "+cgop+global_header",
            "-video_track_timescale", "10000", "-movflags", MOVFLAGS[0],
        ];
        let all = [&common[..], arguments, &["raw.mp4"]].concat();
        run("ffmpeg", &all, folder.path());
        let raw = fs::read(folder.path().join("raw.mp4")).unwrap();
        let chunk = video_chunk(&raw, &grid, 0).unwrap();
        let delayed = chunk.init.windows(4).any(|code| code == b"elst");
        assert_eq!(delayed, reorders, "{arguments:?}");
        assert!(chunk.init.windows(4).any(|code| code == b"nclx"));
        fs::write(folder.path().join("joined.mp4"), joined(&[chunk])).unwrap();
        let expected: Vec<i64> = (0..100).map(|frame| frame * 400).collect();
        assert_eq!(times("joined.mp4", &folder), expected, "{arguments:?}");
    }
}

#[test]
fn sound_plays_at_its_time() {
    let folder = Folder::new();
    let grid = grid(25, 1, 75);
    #[rustfmt::skip]
    let encode = [
        "-v", "error", "-f", "lavfi", "-i", "aevalsrc=if(gte(t\\,1)\\,sin(2000*t)\\,0):s=48000:d=3.1",
        "-c:a", "aac", "-f", "mp4", "-movflags", "+empty_moov+default_base_moof", "pipe:1",
    ];
    let chunks = audio(&grid, &run("ffmpeg", &encode, folder.path()), 4096);
    fs::write(folder.path().join("joined.mp4"), joined(&chunks)).unwrap();
    let decode = ["-v", "error", "-i", "joined.mp4", "-f", "s16le", "-c:a", "pcm_s16le", "pipe:1"];
    let pcm = run("ffmpeg", &decode, folder.path());
    let samples = pcm.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]]));
    let start = samples.into_iter().position(|sample| sample.unsigned_abs() > 8000).unwrap();
    // The wave takes a quarter of a millisecond to reach that level, and there is a little
    // pre-echo.
    assert!(start.abs_diff(48_000) < 100, "starts at sample {start}");
}
