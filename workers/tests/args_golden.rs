//! FFmpeg's arguments as golden files: every change of the encoding changes them. After
//! an intended one, run `INSTA_UPDATE=always cargo test -p streaming-worker --test args_golden`.

#![cfg(test)] // helpers fail by panicking, as tests do

use std::{ffi::OsString, path::Path};

use media::{
    FrameRate, Grid,
    ladder::Rung,
    purpose::AudioPurpose,
    source::{AudioPart, AudioTrack, VideoPart, VideoTrack},
};
use workers::{
    ffmpeg::args::{
        self, AudioEncode, ChunkEncode, Preroll, packets_with_bytes, probe_first_frames,
        probe_first_packets, probe_packets_from, probe_streams, probe_windows,
    },
    input::Input,
};

#[path = "args_golden/decoding.rs"]
mod decoding;

fn track() -> VideoTrack {
    VideoTrack {
        index: 0,
        codec: "h264".to_owned(),
        width: 1920,
        height: 1080,
        frame_rate: (30_000, 1001),
        time_base: (1, 90_000),
        first_pts: 126_000,
        last_pts: 5_526_000,
        hold_before: 0,
        hold_after: 0,
        parts: Vec::new(),
        interlaced: false,
        pixel_format: "yuv420p".to_owned(),
        transfer: "bt709".to_owned(),
        matrix: String::new(),
        primaries: String::new(),
        paced: false,
        hidden: 0,
        examined: 0,
    }
}

fn rungs() -> Vec<Rung> {
    let rung = |name: &str, width, height, video_bitrate| Rung {
        name: name.to_owned(),
        width,
        height,
        video_bitrate,
        codec: media::Codec::H264,
        preset: String::new(),
        crf: None,
        hardware: None,
    };
    vec![rung("360p", 640, 360, 800_000), rung("1080p", 1920, 1080, 5_000_000)]
}

fn encode(track: &VideoTrack, rungs: &[Rung], chunk: u32, preroll: Preroll) -> String {
    let grid = Grid::new(FrameRate::new(30_000, 1001).unwrap(), 1799).unwrap();
    lines(&args::chunk(&ChunkEncode {
        source: &Input::from(Path::new("/store/videos/-i %03d|x/source")),
        track,
        grid: &grid,
        chunk,
        rungs,
        preset: "veryfast",
        threads: 2,
        preroll,
        untimed: false,
        device: None,
    }))
}

/// One argument per line: arguments never pass through a shell.
fn lines(args: &[OsString]) -> String {
    args.iter().map(|arg| format!("{}\n", arg.to_string_lossy())).collect()
}

#[test]
fn the_first_chunk_starts_at_zero_without_a_seek() {
    insta::assert_snapshot!("first_chunk", encode(&track(), &rungs()[..1], 0, Preroll::Short));
}

#[test]
fn a_later_chunk_is_reached_by_a_seek_and_cut_by_frame_number() {
    insta::assert_snapshot!("later_chunk", encode(&track(), &rungs(), 1, Preroll::Short));
}

#[test]
fn the_longest_preroll_decodes_from_the_start_and_the_last_chunk_is_padded() {
    insta::assert_snapshot!("last_chunk", encode(&track(), &rungs()[..1], 3, Preroll::FromStart));
}

/// At 25 frames per second: GOPs of 50 frames, the last one of 57.
#[test]
fn the_last_gop_of_a_chunk_takes_a_remainder() {
    let rung = |codec, crf| Rung { codec, crf, ..rungs().remove(0) };
    let args_of = |rung, frames, chunk| {
        let grid = Grid::new(FrameRate::new(25, 1).unwrap(), frames).unwrap();
        let text = lines(&args::chunk(&ChunkEncode {
            source: &Input::from(Path::new("/store/source")),
            track: &track(),
            grid: &grid.with_joined_remainder(),
            chunk,
            rungs: &[rung],
            preset: "veryfast",
            threads: 2,
            preroll: Preroll::Short,
            untimed: false,
            device: None,
        }));
        let after = |name: &str| {
            let place = text.find(&format!("\n{name}\n"));
            place.map(|at| text[at + name.len() + 2..].lines().next().unwrap_or("").to_owned())
        };
        let forced = after("-force_key_frames");
        (after("-g").unwrap(), forced, after("-svtav1-params").unwrap_or_default())
    };
    let args = |frames, chunk| {
        let (longest, forced, _) = args_of(rung(media::Codec::H264, None), frames, chunk);
        (longest, forced)
    };
    assert_eq!(args(257, 0), ("50".to_owned(), None));
    let forced = Some("expr:lte(n,100)*not(mod(n,50))".to_owned());
    assert_eq!(args(257, 1), ("57".to_owned(), forced.clone()));
    // A single GOP needs no other key frame.
    assert_eq!(args(157, 1), ("57".to_owned(), None));
    assert_eq!(args(263, 1), ("50".to_owned(), None), "13 frames are a GOP of their own");
    // SVT-AV1 places key frames only where they are enabled.
    let av1 = |chunk| args_of(rung(media::Codec::Av1, Some(34)), 257, chunk);
    let enabled = "scd=0:lp=2:enable-force-key-frames=1".to_owned();
    assert_eq!(av1(1), ("57".to_owned(), forced, enabled));
    assert_eq!(av1(0), ("50".to_owned(), None, "scd=0:lp=2".to_owned()));
}

#[test]
fn each_codec_gets_its_own_encoder() {
    let mut rungs = rungs();
    for (rung, codec) in rungs.iter_mut().zip([media::Codec::Hevc, media::Codec::Av1]) {
        rung.codec = codec;
        rung.preset = codec.default_preset().to_owned();
    }
    insta::assert_snapshot!("codecs", encode(&track(), &rungs, 1, Preroll::Short));
}

/// VA-API takes frames of its own; the smaller rung is scaled from those in memory.
#[test]
fn hardware_encoders_get_their_own_options_and_frames() {
    let grid = Grid::new(FrameRate::new(25, 1).unwrap(), 257).unwrap().with_joined_remainder();
    let device = Path::new("/dev/dri/renderD128");
    let text = media::HardwareEncoder::ALL.map(|hardware| {
        let set = |rung| Rung { hardware: Some(hardware), crf: Some(21), ..rung };
        let rungs: Vec<_> = rungs().into_iter().map(set).collect();
        let encode = ChunkEncode {
            source: &Input::from(Path::new("/store/source")),
            track: &track(),
            grid: &grid,
            chunk: 1,
            rungs: &rungs,
            preset: "veryfast",
            threads: 2,
            preroll: Preroll::Short,
            untimed: false,
            device: Some(device),
        };
        let trial = args::trial(&ChunkEncode { rungs: &rungs[..1], ..encode.clone() });
        format!("{}\n{}", lines(&args::chunk(&encode)), lines(&trial))
    });
    insta::assert_snapshot!("hardware", text.join("\n"));
}

#[test]
fn a_constant_rate_factor_replaces_the_average_and_keeps_the_cap() {
    for codec in media::Codec::ALL {
        let mut rungs = rungs();
        rungs.truncate(1);
        rungs[0].codec = codec;
        rungs[0].preset = codec.default_preset().to_owned();
        rungs[0].crf = Some(30);
        let args = encode(&track(), &rungs, 1, Preroll::Short);
        assert!(args.contains("-crf\n30\n") && !args.contains("-b:v"), "{args}");
        assert!(args.contains("-maxrate\n800000\n-bufsize\n1600000\n"), "{args}");
        // Without this, x264 writes the rate factor into the parameter sets.
        assert_eq!(args.contains(":stitchable=1"), codec == media::Codec::H264, "{args}");
        // Otherwise, the start of each chunk takes the bytes that the rest needs.
        assert_eq!(args.contains(":vbv-init=0.4"), codec != media::Codec::Av1, "{args}");
    }
}

#[test]
fn interlaced_and_high_dynamic_range_sources_get_their_filters() {
    let track = VideoTrack { interlaced: true, transfer: "smpte2084".to_owned(), ..track() };
    insta::assert_snapshot!("filters", encode(&track, &rungs(), 1, Preroll::Long));
}

/// A wider gamut is converted to the BT.709 gamut of the output.
#[test]
fn wide_gamut_is_converted() {
    let track = VideoTrack { transfer: "bt2020-10".to_owned(), ..track() };
    let args = encode(&track, &rungs()[..1], 1, Preroll::Short);
    let filter =
        "zscale=tin=bt2020-10:min=bt2020nc:pin=bt2020:rin=tv:t=bt709:p=bt709:m=bt709:r=tv,";
    assert!(args.contains(filter), "{args}");
}

#[test]
fn audio_is_padded_and_cut_to_the_grid() {
    let grid = Grid::new(FrameRate::new(25, 1).unwrap(), 1500).unwrap();
    let audio = AudioTrack {
        index: 2,
        codec: "ac3".to_owned(),
        channels: 6,
        sample_rate: 44_100,
        language: "eng".to_owned(),
        title: String::new(),
        purpose: AudioPurpose::default(),
        parts: Vec::new(),
    };
    let args = args::audio(&AudioEncode {
        source: &Input::from(Path::new("/store/videos/x/source")),
        track: &audio,
        video: Some(&track()),
        grid: &grid,
        channels: 2,
        bitrate: 128_000,
        threads: 1,
    });
    insta::assert_snapshot!("audio", lines(&args));
}

/// A chunk over a joint reads two recordings; the audio reads all that have any.
#[test]
fn joined_recordings_are_inputs_of_their_own() {
    let part = |number: u64, last_pts| VideoPart {
        start: number * 188_000,
        end: (number + 1) * 188_000,
        index: number as u32,
        first_pts: 126_000,
        last_pts,
        hold_before: 0,
        hold_after: 0,
    };
    let parts = vec![part(0, 576_450), part(1, 5_526_000)];
    let chunk = encode(&VideoTrack { parts, ..track() }, &rungs(), 1, Preroll::Short);
    insta::assert_snapshot!("joined_chunk", chunk);

    let part = |number: u64, index, origin| AudioPart {
        start: number * 188_000,
        end: (number + 1) * 188_000,
        index,
        origin,
        samples: 240_000,
    };
    let parts = vec![part(0, Some(1), Some(126_000)), part(1, None, None), part(2, Some(0), None)];
    let track = AudioTrack {
        index: 1,
        codec: "ac3".to_owned(),
        channels: 1,
        sample_rate: 48_000,
        language: String::new(),
        title: String::new(),
        purpose: AudioPurpose::default(),
        parts,
    };
    let args = args::audio(&AudioEncode {
        source: &Input::Loopback { port: 1234, path: "/secret".to_owned() },
        track: &track,
        video: None,
        grid: &Grid::new(FrameRate::new(25, 1).unwrap(), 375).unwrap(),
        channels: 1,
        bitrate: 128_000,
        threads: 1,
    });
    insta::assert_snapshot!("joined_audio", lines(&args));
}

/// No process opens more recordings than are decoded at the same time, and each recording is
/// decoded once.
#[test]
fn many_recordings_are_decoded_in_groups() {
    let part = |number: u64| AudioPart {
        start: number * 188,
        end: (number + 1) * 188,
        index: Some(0),
        origin: None,
        samples: 48_000,
    };
    let mut track = AudioTrack {
        index: 0,
        codec: "aac".to_owned(),
        channels: 2,
        sample_rate: 48_000,
        language: String::new(),
        title: String::new(),
        purpose: AudioPurpose::default(),
        parts: (0..50).map(part).collect(),
    };
    assert!(args::groups(&track).is_none());
    track.parts = (0..1001).map(part).collect();
    let encode = AudioEncode {
        source: &Input::from(Path::new("/store/videos/x/source")),
        track: &track,
        video: None,
        grid: &Grid::new(FrameRate::new(25, 1).unwrap(), 25_025).unwrap(),
        channels: 2,
        bitrate: 128_000,
        threads: 1,
    };
    let mut opened = Vec::new();
    for group in args::groups(&track).unwrap() {
        let args = lines(&args::audio_group(&encode, group));
        let inputs = args.matches("subfile,,start,").count();
        assert!(inputs == group.len() && inputs <= 50, "{args}");
        assert!(args.contains(&format!("concat=n={inputs}:v=0:a=1[a]")), "{args}");
        opened.extend(group.iter().map(|part| part.start / 188));
    }
    assert!(opened.into_iter().eq(0..1001));
    let args = lines(&args::audio_of_groups(&encode));
    assert!(args.contains("pipe:0") && args.contains("atrim=end_sample="), "{args}");
}

/// The copy keeps the source's times, and silence has the format of the track.
#[test]
fn a_dolby_track_is_copied_and_its_silence_is_encoded() {
    let copied = args::copied_audio(&Input::from(Path::new("/store/videos/x/source")), 3);
    let format = media::fmp4::copied::CopiedFormat { codec: "ac-3", channels: 6, rate: 448 };
    let silence = args::silence(format);
    insta::assert_snapshot!("copied_audio", format!("{}\n{}", lines(&copied), lines(&silence)));
    let late = VideoTrack { first_pts: 126_000, time_base: (1, 90_000), ..track() };
    assert_eq!(args::copied_origin(&late), (1_000_000 * 10 + 14) * 4_800);
    let early = VideoTrack { first_pts: -2_000, time_base: (1, 1000), ..track() };
    assert_eq!(args::copied_origin(&early), 999_998 * 48_000);
}

#[test]
fn a_text_track_is_written_with_the_timestamps_of_the_source() {
    let args = args::subtitles(&Input::from(Path::new("/store/videos/x/source")), 3);
    insta::assert_snapshot!("subtitles", lines(&args));
}

#[test]
fn queries_of_ffprobe_are_restricted_too() {
    let source = &Input::from(Path::new("/store/videos/x/source"));
    let queries = [
        probe_streams(source),
        probe_first_frames(source, 1, 8),
        probe_packets_from(source, 2, Some(90.5)),
        probe_packets_from(source, 2, None),
        packets_with_bytes(source, 3),
        probe_first_packets(source, 1, 8),
        probe_windows(source, 0, &[0.0, 60.5], 7.25),
    ];
    insta::assert_snapshot!("ffprobe", queries.map(|args| lines(&args)).join("\n"));
}

/// Scaling costs per pixel that it reads, so small rungs are scaled from larger ones.
#[test]
fn each_rung_is_scaled_from_the_smallest_rung_with_twice_its_pixels() {
    let sizes = [(640, 360), (854, 480), (1280, 720), (1920, 1080)];
    let rung =
        |(width, height)| Rung { width, height, name: format!("{height}p"), ..rungs().remove(0) };
    let ladder: Vec<Rung> = sizes.into_iter().map(rung).collect();
    let args = encode(&track(), &ladder, 1, Preroll::Short);
    let graph = args.lines().find(|line| line.starts_with("[0:0]")).unwrap();
    let fit = |size: &str| {
        format!("scale={size}:flags=bicubic,setsar=1,format=yuv420p,setparams=range=tv")
    };
    let expected = [
        format!("sidedata=mode=delete,split=1[s3];[s0]{}[v0]", fit("640:360")),
        format!("[s1]{}[v1]", fit("854:480")),
        format!("[s2]{},split=3[v2][s0][s1]", fit("1280:720")),
        format!("[s3]{},split=2[v3][s2]", fit("1920:1080")),
    ];
    assert!(graph.ends_with(&expected.join(";")), "{graph}");
    // A task with a single rung scales it from the source.
    let alone = encode(&track(), &ladder[..1], 1, Preroll::Short);
    assert!(alone.contains(&format!(",split=1[s0];[s0]{}[v0]\n", fit("640:360"))), "{alone}");
}
