//! Text tracks: what a probe reports about them, and what a worker extracts from real files.

use std::fs;

use api::v1;
use media::captions::{Captions, length_of};

use crate::{clip::Clip, control::Control, encodes::Probed, worker::Worker};

const FIRST: &str = "1\n00:00:00,500 --> 00:00:01,500\nHello <i>there</i>\n\n\
                     2\n00:00:01,000 --> 00:00:09,000\n{\\an8}a < b & <script>c\n\n";
const SECOND: &str = "1\n00:00:01,000 --> 00:00:02,000\nGuten Tag\n\n";

/// Two seconds of video with text tracks, in the container of `name`'s extension.
fn clip_with_text(name: &str, options: &[&str]) -> Clip {
    let (first, second) =
        (Clip::bytes("a.srt", FIRST.as_bytes()), Clip::bytes("b.srt", SECOND.as_bytes()));
    let texts = [first.path(), second.path()].map(|path| path.display().to_string());
    let inputs =
        ["-f", "lavfi", "-i", "testsrc2=s=64x36:r=25:d=2", "-i", &texts[0], "-i", &texts[1]];
    Clip::made(name, &[&inputs[..], options].concat())
}

fn work(probed: &Probed, place: usize) -> v1::lease::Work {
    v1::lease::Work::Subtitles(v1::SubtitlesWork {
        grid: Some(probed.grid.into()),
        number: place as u32,
        track: Some(probed.source.text[place].clone().into()),
        video: probed.source.video.clone().map(Into::into),
    })
}

/// The WebVTT that the worker makes of a text track, after control's checks.
async fn text(
    control: &mut Control,
    worker: &Worker,
    clip: &Clip,
    probed: &Probed,
    place: usize,
) -> String {
    let lease = worker.lease(&clip.path(), work(probed, place));
    let done = control.work(lease).await.unwrap();
    let [made] = &done.pictures[..] else { panic!("{done:?}") };
    assert_eq!(made.name, format!("subtitles/{place}"));
    let bytes = fs::read(worker.store().join(&made.key)).unwrap();
    assert_eq!(bytes.len() as u64, made.bytes);
    Captions::parse_canonical(&bytes, Some(length_of(&probed.grid))).unwrap();
    String::from_utf8(bytes).unwrap()
}

const H264: [&str; 6] = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p"];
const MAPS: [&str; 6] = ["-map", "0", "-map", "1", "-map", "2"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn text_tracks_of_every_container_become_webvtt() {
    let mut control = Control::start().await;
    let worker = Worker::start(&mut control, &[]).await;
    let vp9 = ["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8"];
    for (name, video, codecs, found) in [
        ("two.mkv", &H264[..], ["subrip", "ass"], ["subrip", "ass"]),
        ("text.mp4", &H264, ["mov_text", "mov_text"], ["mov_text", "mov_text"]),
        ("text.webm", &vp9, ["webvtt", "webvtt"], ["webvtt", "webvtt"]),
    ] {
        let text_options = [
            "-c:s:0",
            codecs[0],
            "-c:s:1",
            codecs[1],
            "-metadata:s:s:0",
            "language=eng",
            "-metadata:s:s:1",
            "language=ger",
            "-disposition:s:1",
            "default+forced",
        ];
        let clip = clip_with_text(name, &[&MAPS[..], video, &text_options].concat());
        let probed = Probed::probe(&mut control, &worker, &clip).await;
        let tracks = &probed.source.text;
        let codecs: Vec<&str> = tracks.iter().map(|track| track.codec.as_str()).collect();
        assert_eq!(codecs, found, "{name}");
        assert_eq!(
            (tracks[0].language.as_str(), tracks[1].language.as_str()),
            ("eng", "ger"),
            "{name}"
        );
        assert!(tracks[1].default && tracks[1].forced && tracks[1].is_text(), "{name}: {tracks:?}");
        let second = text(&mut control, &worker, &clip, &probed, 1).await;
        assert_eq!(second, "WEBVTT\n\n00:00:01.000 --> 00:00:02.000\nGuten Tag\n", "{name}");
        let first = text(&mut control, &worker, &clip, &probed, 0).await;
        assert!(first.contains("Hello <i>there</i>"), "{name}: {first}");
        assert!(!first.contains("<script"), "{name}: {first}");
        // The cue is cut off at the end of the video.
        assert!(first.contains("00:00:01.000 --> 00:00:02.000\n"), "{name}: {first}");
    }
}

/// Matroska as mkvmerge writes it: FFmpeg does not know the codec's name. The clip's title is
/// shortened by the bytes that the name needs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webvtt_of_mkvmerge_becomes_webvtt() {
    let mut control = Control::start().await;
    let worker = Worker::start(&mut control, &[]).await;
    let title = ["-c:s", "subrip", "-metadata:s:s:0", "title=Translated"];
    let language = ["-metadata:s:s:0", "language=eng"];
    let options = [&["-map", "0", "-map", "1"], &H264[..], &title, &language].concat();
    let mut bytes = fs::read(clip_with_text("a.mkv", &options).path()).unwrap();
    let find = |wanted: &[u8]| bytes.windows(wanted.len()).position(|found| found == wanted);
    let (name, codec) = (find(b"\x53\x6e\x8aTranslated").unwrap(), find(b"S_TEXT/UTF8").unwrap());
    let between = bytes[name + 13..codec - 2].to_vec();
    let renamed = [b"\x53\x6e\x88Translat", &between[..], b"\x86\x8dS_TEXT/WEBVTT"].concat();
    assert_eq!(renamed.len(), codec + 11 - name);
    bytes[name..codec + 11].copy_from_slice(&renamed);
    let clip = Clip::bytes("a.mkv", &bytes);
    let probed = Probed::probe(&mut control, &worker, &clip).await;
    let track = &probed.source.text[0];
    assert_eq!((track.title.as_str(), track.language.as_str()), ("Translat", "eng"));
    assert!(track.is_text(), "{track:?}");
    let text = text(&mut control, &worker, &clip, &probed, 0).await;
    assert!(text.contains("00:00:00.500 --> 00:00:01.500\nHello <i>there</i>\n"), "{text}");
    assert!(text.contains("00:00:01.000 --> 00:00:02.000\n"), "{text}");
    assert!(!text.contains("<script"), "{text}");
}

/// The video starts at its first picture, regardless of that picture's timestamp in the container.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn text_stays_in_sync_where_the_clock_does_not_begin_at_zero() {
    let mut control = Control::start().await;
    let worker = Worker::start(&mut control, &[]).await;
    let options = ["-c:s", "subrip", "-output_ts_offset", "5"];
    let clip = clip_with_text("late.mkv", &[&MAPS[..], &H264, &options].concat());
    let probed = Probed::probe(&mut control, &worker, &clip).await;
    let first = probed.source.video.as_ref().unwrap();
    assert!(first.seconds(first.first_pts) > 4.9, "{first:?}");
    let second = text(&mut control, &worker, &clip, &probed, 1).await;
    assert_eq!(second, "WEBVTT\n\n00:00:01.000 --> 00:00:02.000\nGuten Tag\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_track_without_cues_fails_permanently() {
    let mut control = Control::start().await;
    let worker = Worker::start(&mut control, &[]).await;
    let silent = Clip::bytes("c.srt", b"1\n00:00:05,000 --> 00:00:06,000\nafter the end\n\n");
    let path = silent.path().display().to_string();
    let inputs = ["-f", "lavfi", "-i", "testsrc2=s=64x36:r=25:d=2", "-i", &path];
    let clip = Clip::made("d.mkv", &[&inputs[..], &H264, &["-c:s", "subrip"]].concat());
    let probed = Probed::probe(&mut control, &worker, &clip).await;
    let lease = worker.lease(&clip.path(), work(&probed, 0));
    let fail = control.work(lease).await.expect_err("the track has no cues");
    assert_eq!((fail.code.as_str(), fail.retryable), ("no_text", false), "{fail:?}");
}
