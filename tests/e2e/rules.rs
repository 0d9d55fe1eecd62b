//! Tests of the conformance checker: real output passes, and each seeded violation is reported
//! under the rule that it breaks.

use std::time::Duration;

use bytes::Bytes;
use serde_json::json;

use crate::{
    conformance::{Phase, Violations, dash, hls},
    harness::{capture::Capture, clip::Numbered, m3u8, picture, program, stack::Stack},
};

type Check = fn(&Capture, Phase) -> Violations;
type Mutate = Box<dyn Fn(&mut Capture)>;

/// Replaces text in the MPD, or in the multivariant playlist.
fn manifest(from: &'static str, to: &'static str) -> Mutate {
    Box::new(move |capture| {
        let name = capture.manifest.clone();
        replace(capture, &name, from, to);
    })
}

/// Replaces text in every media playlist whose path ends with `ending`.
fn playlists(ending: &'static str, from: &'static str, to: &'static str) -> Mutate {
    Box::new(move |capture| {
        let names: Vec<String> =
            capture.texts.keys().filter(|name| name.ends_with(ending)).cloned().collect();
        assert!(!names.is_empty(), "no playlist {ending}");
        names.iter().for_each(|name| replace(capture, name, from, to));
    })
}

fn replace(capture: &mut Capture, name: &str, from: &str, to: &str) {
    let reply = capture.texts.get_mut(name).expect("text");
    let text = reply.text();
    assert!(text.contains(from), "{name} does not contain {from:?}:\n{text}");
    reply.body = Bytes::from(text.replacen(from, to, 1));
}

/// Changes the number after `key` in the manifest.
fn number(key: &'static str, change: fn(f64) -> f64) -> Mutate {
    Box::new(move |capture| {
        let name = capture.manifest.clone();
        let text = capture.manifest_text();
        let start = text.find(key).unwrap_or_else(|| panic!("no {key} in\n{text}")) + key.len();
        let digits = text[start..].find(|c: char| !c.is_ascii_digit() && c != '.').expect("an end");
        let old: f64 = text[start..start + digits].parse().expect("a number");
        let new = format!("{}{}{}", &text[..start], change(old), &text[start + digits..]);
        capture.texts.get_mut(&name).expect("manifest").body = Bytes::from(new);
    })
}

/// Changes bytes at a box's type in the media object whose path ends with `ending`.
fn media(ending: &'static str, atom: &'static [u8; 4], change: fn(&mut Vec<u8>, usize)) -> Mutate {
    Box::new(move |capture| {
        let (_, bytes) =
            capture.media.iter_mut().find(|(name, _)| name.ends_with(ending)).expect("object");
        let mut changed = bytes.to_vec();
        let at = changed.windows(4).position(|four| four == atom).expect("box");
        change(&mut changed, at);
        *bytes = Bytes::from(changed);
    })
}

fn assert_found(capture: &Capture, check: Check, mutations: Vec<(&'static str, Mutate)>) {
    let clean = check(capture, Phase::Final);
    clean.assert_none("the unmodified stream");
    for (index, (rule, mutate)) in mutations.into_iter().enumerate() {
        let mut mutated = capture.clone();
        mutate(&mut mutated);
        let found = check(&mutated, Phase::Final).0;
        assert!(
            found.iter().any(|f| f.rule == rule),
            "violation {index} breaks {rule}, found: {found:?}"
        );
    }
}

fn hls_violations() -> Vec<(&'static str, Mutate)> {
    vec![
        ("H1", manifest("#EXTM3U", "\u{feff}#EXTM3U")),
        ("H1", manifest("#EXTM3U\n", "")),
        ("H1", manifest("#EXT-X-INDEPENDENT-SEGMENTS", "#EXT-X-INDEPENDANT-SEGMENTS")),
        ("H2", playlists("360p/vod.m3u8", "#EXT-X-VERSION:", "#EXT-X-VERSION:1")),
        ("H3", manifest(",mp4a.40.2", "")),
        ("H3", manifest("avc1.64", "avc1.42")),
        ("H4", manifest("RESOLUTION=640x360", "RESOLUTION=642x360")),
        ("H4", number("FRAME-RATE=", |rate| rate + 1.0)),
        ("H5", number("INF:BANDWIDTH=", |rate| (rate * 0.7).round())),
        ("H5", number("INF:BANDWIDTH=", |rate| (rate * 1.5).round())),
        ("H5", number("AVERAGE-BANDWIDTH=", |rate| (rate * 0.7).round())),
        ("H7", manifest(",LANGUAGE=\"und\"", "")),
        ("H7", manifest("AUTOSELECT=YES", "AUTOSELECT=NO")),
        ("H7", manifest("GROUP-ID=\"", "GROUP-ID=\"other-")),
        ("H9", manifest("#EXT-X-INDEPENDENT-SEGMENTS\n", "")),
        ("H11", manifest("#EXT-X-I-FRAME-STREAM-INF", "#EX-gone")),
        ("H11", playlists("360p/iframes.m3u8", "\ni1.m4s", "\ni0.m4s")),
        ("H11", playlists("360p/iframes.m3u8", "\ni1.m4s", "\nh0.m4s")),
        ("H11", media("360p/i1.m4s", b"trun", |bytes, at| bytes[at + 23] ^= 1)),
        ("H12", playlists("360p/vod.m3u8", "#EXT-X-TARGETDURATION:10", "#EXT-X-TARGETDURATION:3")),
        (
            "H12",
            playlists("audio-0/vod.m3u8", "#EXT-X-TARGETDURATION:10", "#EXT-X-TARGETDURATION:11"),
        ),
        ("H13", playlists("360p/vod.m3u8", "#EXTINF:4.0", "#EXTINF:4.2")),
        ("H14", playlists("360p/vod.m3u8", "#EXT-X-MAP", "#not-a-map")),
        ("H15", playlists("360p/vod.m3u8", "#EXT-X-ENDLIST", "")),
        ("H15", playlists("360p/vod.m3u8", "TYPE:VOD", "TYPE:EVENT")),
        ("H15", playlists("360p/vod.m3u8", "#EXTINF", "#EXT-X-MEDIA-SEQUENCE:7\n#EXTINF")),
        ("H16", playlists("360p/vod.m3u8", "#EXTINF", "#EXT-X-DISCONTINUITY\n#EXTINF")),
        ("H17", manifest("360p/vod.m3u8", "361p/vod.m3u8")),
        ("H22", manifest("CLOSED-CAPTIONS=NONE", "CLOSED-CAPTIONS=\"cc\"")),
        ("H22", manifest(",CLOSED-CAPTIONS=NONE", "")),
        ("H19", playlists("audio-0/vod.m3u8", "#EXTINF:4.0", "#EXTINF:4.3")),
        ("H23", manifest("RESOLUTION=160x90,CODECS", "RESOLUTION=160x91,CODECS")),
        ("H23", playlists("storyboard/images.m3u8", "LAYOUT=10x2", "LAYOUT=5x2")),
        ("H23", playlists("storyboard/images.m3u8", "#EXTINF:2", "#EXTINF:1")),
        (
            "H24",
            playlists("360p/vod.m3u8", "#EXT-X-ENDLIST", "#EXTINF:0.04,\nh0.m4s\n#EXT-X-ENDLIST"),
        ),
    ]
}

fn box_violations() -> Vec<(&'static str, Mutate)> {
    vec![
        ("C1", media("360p/h1.m4s", b"tfdt", |bytes, at| bytes[at + 15] ^= 1)),
        ("C1", media("360p/h1.m4s", b"trun", |bytes, at| bytes[at + 11] -= 1)),
        ("C1", media("360p/h0.m4s", b"mdat", |bytes, at| bytes[at - 1] ^= 3)),
        ("C1", media("audio-0/h0.m4s", b"tfdt", |bytes, at| bytes[at + 15] ^= 8)),
        ("C2", media("360p/h0.m4s", b"mfhd", |bytes, at| bytes[at + 11] ^= 9)),
        (
            "C3",
            media("360p/init.mp4", b"ftyp", |bytes, at| {
                let end = bytes.windows(4).position(|four| four == b"moov").expect("moov");
                for four in
                    bytes[at + 4..end - 4].chunks_mut(4).filter(|four| four.starts_with(b"cm"))
                {
                    four.copy_from_slice(b"none");
                }
            }),
        ),
        (
            "H20",
            media("360p/h0.m4s", b"mdat", |bytes, at| {
                let idr = first_slice(bytes, at + 4);
                bytes[idr] = (bytes[idr] & 0xe0) | 1;
            }),
        ),
        (
            "H22",
            media("360p/h0.m4s", b"mdat", |bytes, at| {
                // Turns x264's SEI message about its version into one with captions.
                assert_eq!(bytes[at + 8..at + 10], [6, 5]);
                bytes[at + 9] = 4;
            }),
        ),
    ]
}

/// Offset of the first IDR slice's NAL unit header in the sample at `from`.
fn first_slice(bytes: &[u8], from: usize) -> usize {
    let mut at = from;
    while bytes[at + 4] & 0x1f != 5 {
        at += 4 + u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four")) as usize;
    }
    at + 4
}

fn dash_violations() -> Vec<(&'static str, Mutate)> {
    vec![
        ("D1", manifest("urn:mpeg:dash:schema:mpd:2011", "urn:mpeg:dash:schema:mpd:2012")),
        ("D2", manifest("type=\"static\"", "type=\"dynamic\"")),
        ("D2", manifest("mediaPresentationDuration=\"PT", "mediaPresentationDuration=\"PT9H")),
        ("D2", manifest("<Period", "<Period availability=\"\"/><Period")),
        ("D3", number(" d=\"", |ticks| ticks + 100.0)),
        ("D3", manifest(" timescale=\"", " scale=\"")),
        ("D4", manifest("$Number$", "7")),
        ("D4", number(" endNumber=\"", |last| last + 1.0)),
        ("D7", manifest("segmentAlignment=\"true\"", "")),
        ("D7", manifest("startWithSAP=\"1\"", "")),
        ("D7", manifest("width=\"640\"", "width=\"641\"")),
        ("D7", manifest("avc1.64", "avc1.42")),
        ("D7", manifest("audioSamplingRate=\"48000\"", "audioSamplingRate=\"44100\"")),
        ("D7", manifest("frameRate=\"", "frameRate=\"9")),
        ("D8", number(" bandwidth=\"", |rate| (rate * 0.1).round())),
        ("D11", manifest("trickmode\" value=\"0\"", "trickmode\" value=\"1\"")),
        ("D11", manifest("/i$Number$", "/d$Number$")),
        ("D11", manifest("codingDependency=\"false\"", "")),
        ("D12", manifest("thumbnail_tile\" value=\"10x2\"", "thumbnail_tile\" value=\"10\"")),
        ("D12", manifest("width=\"1600\"", "width=\"1601\"")),
        ("D12", number("00\" duration=\"", |ticks| ticks / 2.0)),
        ("D13", manifest("value=\"main\"", "value=\"alternate\"")),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checker_finds_every_seeded_violation() {
    let stack = Stack::start().await;
    let clip = Numbered { width: 854, height: 480, ..Numbered::seconds(26) }.file();
    let client = stack.client();
    let video = client.upload_clip(&clip).await;
    let job = client.transcode(&video, &json!({"generateThumbnails": true})).await;
    client.wait_job(&job, "completed", Duration::from_secs(120)).await;
    let viewer = stack.anonymous();
    let captured = Capture::hls(&viewer, &format!("/api/stream/{video}/hls/playlist.m3u8")).await;
    assert_found(&captured, hls::check, hls_violations());
    assert_found(&captured, hls::check, box_violations());
    let manifest = format!("/api/stream/{video}/dash/manifest.mpd");
    let captured = super::growing::last_dash(&viewer, &manifest).await;
    assert_found(&captured, dash::check, dash_violations());
}

#[test]
fn byte_range_without_offset_follows_its_own_resource_only() {
    let playlist = |second: &str| {
        format!(
            "#EXTM3U\n#EXTINF:1,\n#EXT-X-BYTERANGE:10@5\na\n#EXTINF:1,\n#EXT-X-BYTERANGE:7\n{second}\n"
        )
    };
    let read = m3u8::media(&playlist("a")).expect("continues");
    assert_eq!(read.segments[1].range, Some(m3u8::Range { start: 15, length: 7 }));
    assert!(m3u8::media(&playlist("b")).is_err(), "rule H18");
}

/// The frame reader reads the generated clips, and detects a lost, a doubled and a blended frame.
#[test]
fn frame_numbers_are_read_and_damage_is_detected() {
    let clip = Numbered { width: 854, height: 480, ..Numbered::seconds(6) };
    let expected: Vec<Option<u16>> = (0..clip.frames()).map(|n| Some(n as u16)).collect();
    assert_eq!(picture::numbers(&clip.file()), expected);
    let dir = tempfile::tempdir().expect("folder");
    for (name, filter) in [
        ("lost", "select='not(eq(n,70))'"),
        ("double", "loop=loop=1:size=1:start=70"),
        ("blended", "tmix=frames=2:enable='eq(n,70)'"),
    ] {
        let out = dir.path().join(format!("{name}.mp4"));
        let (from, to) = (clip.file(), out.to_string_lossy().into_owned());
        let from = from.to_string_lossy();
        program::output(
            "ffmpeg",
            &["-v", "error", "-i", &from, "-an", "-vf", filter, "-fps_mode", "passthrough", &to],
        );
        assert_ne!(picture::numbers(&out), expected, "{name}");
    }
}
