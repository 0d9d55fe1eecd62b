//! Tests the reports of probes about valid files.

use media::purpose::AudioPurpose;

use crate::{clip::Clip, control::Control, worker::Worker};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_probe_reports_rates_sizes_and_ends_of_every_container() {
    let mut control = Control::start().await;
    let worker = Worker::start(&mut control, &[]).await;
    for (name, rate, exact) in [
        ("a.mp4", "24000/1001", (24_000, 1001)),
        ("b.mkv", "24000/1001", (24_000, 1001)),
        ("c.mp4", "25", (25, 1)),
        ("d.mkv", "30000/1001", (30_000, 1001)),
        ("e.avi", "25", (25, 1)),
        ("f.mkv", "60", (60, 1)),
        ("g.mov", "50", (50, 1)),
        ("h.flv", "30", (30, 1)),
        ("i.ts", "50", (50, 1)),
    ] {
        let clip = Clip::numbered(name, rate, 6);
        let done = control.work(worker.probe(&clip.path())).await;
        let report = done.unwrap_or_else(|fail| panic!("{name}: {fail:?}")).source.unwrap();
        let video = report.video.unwrap();
        let found = video.frame_rate.unwrap();
        assert_eq!((found.num, found.den), exact, "{name}");
        assert_eq!((video.width, video.height), (320, 180), "{name}");
        assert_eq!(report.audio.len(), 1, "{name}");
        assert!(!video.interlaced, "{name}");
        let track = media::source::VideoTrack::try_from(video).unwrap();
        let rate = media::FrameRate::for_source(found.num, found.den).unwrap();
        let frames = (6.0 * rate.fps()).round() as i64;
        // Containers without presentation times for B-frames lose up to two frames at the end.
        let off = track.frames_at(rate) as i64 - frames;
        assert!((-2..=1).contains(&off), "{name}: {off} frames off");
    }
    assert_eq!(control.authorization(), "Bearer very-secret");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_probe_reports_the_display_size_of_rotated_and_anamorphic_videos() {
    let mut control = Control::start().await;
    let worker = Worker::start(&mut control, &[]).await;
    let plain = Clip::numbered("a.mp4", "25", 2);
    let path = plain.path().display().to_string();
    let tagged = ["-i", &path, "-c", "copy", "-metadata:s:v", "rotate=90"];
    let wide = [
        "-i",
        &path,
        "-c",
        "copy",
        "-bsf:v",
        "h264_metadata=sample_aspect_ratio=4/3",
        "-aspect",
        "64:27",
    ];
    for (args, size) in [(&tagged[..], (180, 320)), (&wide[..], (427, 180))] {
        let clip = Clip::made("b.mp4", args);
        let done = control.work(worker.probe(&clip.path())).await.unwrap();
        let video = done.source.unwrap().video.unwrap();
        assert_eq!((video.width, video.height), size, "{args:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_probe_reports_what_each_track_is_for() {
    let mut control = Control::start().await;
    let worker = Worker::start(&mut control, &[]).await;
    let text = Clip::bytes("a.srt", b"1\n00:00:00,500 --> 00:00:01,500\nHello\n\n");
    let text = text.path().display().to_string();
    #[rustfmt::skip]
    let clip = Clip::made("a.mkv", &[
        "-f", "lavfi", "-i", "testsrc2=s=64x36:r=25:d=2", "-f", "lavfi", "-i", "sine=440:d=2",
        "-i", &text, "-map", "1", "-map", "1", "-map", "0", "-map", "1", "-map", "1",
        "-map", "2", "-map", "2", "-map", "2", "-c:v", "libx264", "-preset", "ultrafast",
        "-pix_fmt", "yuv420p", "-c:a", "aac", "-c:s", "subrip",
        "-disposition:a:0", "comment", "-disposition:a:1", "visual_impaired",
        "-disposition:a:2", "dub", "-disposition:a:3", "hearing_impaired+original",
        "-disposition:s:0", "forced", "-disposition:s:1", "hearing_impaired",
        "-disposition:s:2", "comment",
    ]);
    let done = control.work(worker.probe(&clip.path())).await.unwrap();
    let source = media::source::Source::try_from(done.source.unwrap()).unwrap();
    let purposes: Vec<_> = source.audio.iter().map(|track| (track.index, track.purpose)).collect();
    let plain = AudioPurpose::default();
    // The track that is for everyone comes first, because no track has the default flag.
    assert_eq!(
        purposes,
        [
            (3, AudioPurpose { dub: true, ..plain }),
            (0, AudioPurpose { commentary: true, ..plain }),
            (1, AudioPurpose { description: true, ..plain }),
            (4, AudioPurpose { clear_speech: true, original: true, ..plain }),
        ]
    );
    let text = source.text.iter().map(|t| (t.forced, t.hearing_impaired, t.commentary));
    let text: Vec<_> = text.collect();
    assert_eq!(text, [(true, false, false), (false, true, false), (false, false, true)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_probe_rejects_invalid_and_truncated_files() {
    let mut control = Control::start().await;
    let worker = Worker::start(&mut control, &[]).await;
    let clip = Clip::numbered("a.mp4", "25", 8);
    let bytes = std::fs::read(clip.path()).unwrap();
    let early_index = Clip::with("b.mp4", "25", 8, &["-g", "50", "-movflags", "+faststart"]);
    let started = std::fs::read(early_index.path()).unwrap();
    // The length of the box `ftyp`, and of the index after it.
    let length =
        |at: usize| u32::from_be_bytes(started[at..at + 4].try_into().unwrap()) as usize + at;
    let index_end = length(length(0));
    let matroska = std::fs::read(Clip::numbered("c.mkv", "25", 8).path()).unwrap();
    let avi = std::fs::read(Clip::with("f.avi", "25", 8, &["-c:a", "libmp3lame"]).path()).unwrap();
    let wave = Clip::made("g.wav", &["-f", "lavfi", "-i", "sine=440:d=8"]);
    let wave = std::fs::read(wave.path()).unwrap();
    let tone = Clip::made("d.m4a", &["-f", "lavfi", "-i", "sine=440:d=8"]);
    let sound = std::fs::read(tone.path()).unwrap();
    let picture = Clip::made("e.png", &["-f", "lavfi", "-i", "testsrc2=s=64x64", "-frames:v", "1"]);
    let picture = std::fs::read(picture.path()).unwrap();
    for (name, bytes, code) in [
        ("empty.mp4", &[][..], "not_a_video"),
        ("text.mp4", b"once upon a time".repeat(100).as_slice(), "not_a_video"),
        ("picture.png", &picture, "not_a_video"),
        ("half.m4a", &sound[..sound.len() / 2], "truncated_source"),
        ("index missing.mp4", &bytes[..bytes.len() / 2], "truncated_source"),
        ("half.mp4", &started[..started.len() * 6 / 10], "truncated_source"),
        ("half an index.mp4", &started[..index_end / 2], "truncated_source"),
        ("only an index.mp4", &started[..index_end], "truncated_source"),
        ("media begins.mp4", &started[..index_end + 20], "truncated_source"),
        ("part of a picture.mp4", &started[..index_end + 200], "truncated_source"),
        ("half.mkv", &matroska[..matroska.len() / 2], "truncated_source"),
        ("half.avi", &avi[..avi.len() / 2], "truncated_source"),
        ("half.wav", &wave[..wave.len() / 2], "truncated_source"),
    ] {
        let clip = Clip::bytes(name, bytes);
        let fail = control.work(worker.probe(&clip.path())).await.expect_err(name);
        assert_eq!(fail.code, code, "{name}: {}", fail.message);
        assert_eq!(fail.cause(), api::v1::FailureCause::Source, "{name}: {}", fail.message);
        assert!(!fail.retryable && !fail.message.contains('/'), "{name}: {}", fail.message);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_default_audio_track_of_a_file_comes_first() {
    let mut control = Control::start().await;
    let worker = Worker::start(&mut control, &[]).await;
    let tone = |hertz: u32| format!("sine={hertz}:d=1");
    let (low, high) = (tone(200), tone(400));
    let mut args = vec!["-f", "lavfi", "-i", "color=gray:s=64x36:r=25:d=1"];
    args.extend(["-f", "lavfi", "-i", &low, "-f", "lavfi", "-i", &high]);
    args.extend(["-map", "0", "-map", "1", "-map", "2"]);
    args.extend(["-disposition:a:0", "0", "-disposition:a:1", "default"]);
    args.extend(["-metadata:s:a:0", "language=fra", "-metadata:s:a:1", "language=ita"]);
    let clip = Clip::made("a.mkv", &args);
    let source = control.work(worker.probe(&clip.path())).await.unwrap().source.unwrap();
    let tracks = source.audio.iter().map(|track| (track.index, track.language.as_str()));
    assert_eq!(tracks.collect::<Vec<_>>(), [(2, "ita"), (1, "fra")]);
}
