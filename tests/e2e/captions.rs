//! Text tracks from end to end: one in the source, others uploaded before and after the transcode.
//! They are listed, checked against the conformance rules, and read in Chromium while the video
//! plays.

use std::{path::PathBuf, time::Duration};

use bytes::Bytes;
use hyper::Method;
use serde_json::{Value, json};

use crate::{
    conformance::{Phase, dash, hls},
    harness::{
        CHANGE_DEADLINE,
        browser::Play,
        capture::Capture,
        client::{Client, Reply},
        clip::Numbered,
        eventually, program,
        stack::Stack,
    },
};

const JOB_DEADLINE: Duration = Duration::from_secs(120);
const SECONDS: f64 = 6.0;
/// Spans the end of the first HLS segment at 4 s, and lasts long enough for a slow machine.
const EMBEDDED: (&str, (f64, f64)) = ("spoken in the video", (3.0, 5.5));
const UPLOADED: (&str, (f64, f64)) = ("gesagt & geschrieben", (2.5, 5.5));
const SRT: &str =
    "1\n00:00:02,500 --> 00:00:05,500\n<font color=\"red\">gesagt &amp; geschrieben</font>\n\n";
const BOUNDARY: &str = "captions-boundary";

/// A source with a text track.
fn clip(stack: &Stack) -> PathBuf {
    let plain = Numbered::seconds(6).file();
    let text = stack.beside().join("a.srt");
    let srt = format!("1\n00:00:03,000 --> 00:00:05,500\n{}\n", EMBEDDED.0);
    std::fs::write(&text, srt).expect("write text");
    let file = stack.beside().join("text.mkv");
    #[rustfmt::skip]
    let args = [
        "-v", "error", "-i", plain.to_str().expect("path"), "-i", text.to_str().expect("path"),
        "-map", "0", "-map", "1", "-c", "copy", "-c:s", "subrip", "-metadata:s:s:0", "language=eng",
        "-disposition:s:0", "default", file.to_str().expect("path"),
    ];
    program::output("ffmpeg", &args);
    file
}

async fn post(client: &Client, path: &str, kind: &str, body: impl Into<Bytes>) -> Reply {
    let headers = [("content-type", kind)];
    client.send(Method::POST, path, &headers, body.into()).await.expect("POST")
}

async fn listed(client: &Client, video: &str) -> Vec<Value> {
    let shown = client.get(&format!("/api/videos/{video}")).await.expect(200).json();
    let listed = client.get(&format!("/api/videos/{video}/captions")).await.expect(200).json();
    assert_eq!(shown["captions"], listed["captions"]);
    listed["captions"].as_array().expect("a list").clone()
}

/// A multipart form with `fields` and the file.
fn form(fields: &[(&str, &str)], file: &str) -> String {
    let mut form = String::new();
    for (name, value) in fields {
        form += &format!(
            "--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
        );
    }
    form + &format!(
        "--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.vtt\"\r\n\
         content-type: application/octet-stream\r\n\r\n{file}\r\n--{BOUNDARY}--\r\n"
    )
}

async fn seeded_violations(client: &Client, captions: &str) {
    let vtt = "WEBVTT\n\n00:01.000 --> 00:02.000\nx\n";
    let multipart = format!("multipart/form-data; boundary={BOUNDARY}");
    let large = "x".repeat((2 << 20) + 1);
    let form = form(&[("language", "en"), ("owner", "me")], vtt);
    for (query, kind, body, status, field) in [
        ("?language=en", "application/json", "{}", 415, ""),
        ("", "text/vtt", vtt, 422, "language"),
        ("?language=not%20a%20tag", "text/vtt", vtt, 422, "language"),
        ("?language=en&kind=chapters", "text/vtt", vtt, 422, "kind"),
        ("?language=en&default=1", "text/vtt", vtt, 422, "default"),
        ("?language=en&tenant=x", "text/vtt", vtt, 422, "tenant"),
        ("?language=en", "text/vtt", "hello", 422, "file"),
        ("?language=en", "application/x-subrip", vtt, 422, "file"),
        ("?language=en", "text/vtt", &*large, 413, "file"),
        ("", &*multipart, &*form, 422, "owner"),
        ("?language=en", &*multipart, "--nonsense", 400, ""),
        ("?language=en", "multipart/form-data", "x", 400, ""),
    ] {
        let reply = post(client, &format!("{captions}{query}"), kind, body.to_owned()).await;
        let text = reply.text();
        assert_eq!(reply.status, status, "{query} {kind}: {text}");
        let named = reply.json()["errors"][0]["field"].as_str().unwrap_or_default().to_owned();
        assert_eq!(named, field, "{query} {kind}: {text}");
    }
    let put = client.send(Method::PUT, captions, &[], Bytes::new()).await.expect("PUT");
    assert_eq!((put.status, put.header("allow")), (405, "GET, HEAD, POST"));
}

/// The conformance checker finds every violation that is seeded into text tracks.
fn seeded_violations_are_found(good: &Capture) {
    for (rule, place, from, to) in [
        ("H7", "playlist.m3u8", ",SUBTITLES=\"text\"", ""),
        ("H7", "playlist.m3u8", "NAME=\"Deutsch\"", "NAME=\"English\""),
        ("H7", "playlist.m3u8", "LANGUAGE=\"de\",DEFAULT=NO", "LANGUAGE=\"de\",DEFAULT=YES"),
        ("H8", "h0.vtt", "X-TIMESTAMP-MAP=MPEGTS:900000,", "X-TIMESTAMP-MAP="),
        ("H8", "h0.vtt", "MPEGTS:900000", "MPEGTS:0"),
        ("H8", "h1.vtt", EMBEDDED.0, "spoken elsewhere"),
    ] {
        let mut broken = good.clone();
        let change = |text: String| text.contains(from).then(|| text.replacen(from, to, 1));
        let texts = broken.texts.iter_mut().map(|(path, reply)| (path, &mut reply.body));
        let parts = texts.chain(broken.media.iter_mut()).filter(|(path, _)| path.ends_with(place));
        let mut changed = parts.filter_map(|(_, bytes)| {
            let text = change(String::from_utf8_lossy(bytes).into_owned())?;
            *bytes = Bytes::from(text);
            Some(())
        });
        changed.next().unwrap_or_else(|| panic!("no {from:?} in {place}"));
        drop(changed);
        let found = hls::check(&broken, Phase::Final).0;
        assert!(found.iter().any(|f| f.rule == rule), "{from:?} breaks {rule}, found {found:?}");
    }
}

/// Plays the video once in `player` and checks the cues that it shows of the text track in
/// `language`.
async fn read(
    stack: &Stack,
    video: &str,
    player: &'static str,
    name: &str,
    language: &'static str,
) {
    let play = Play {
        player,
        manifest: format!("/api/stream/{video}/{name}"),
        start: name.ends_with("mpd").then_some(0.0),
        switches: Vec::new(),
        text: Some(language),
        deadline: Duration::from_secs(60),
    };
    let report = play.run(&stack.http).await;
    report.assert_played(SECONDS);
    let (text, times) = if language == "en" { EMBEDDED } else { UPLOADED };
    // Players differ in how they treat an entity: native cues keep it as it is.
    let texts = report.summary["texts"].to_string();
    let text = if texts.contains("&amp;") { text.replace('&', "&amp;") } else { text.to_owned() };
    report.assert_read(&text, times);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded_and_uploaded_text_tracks_are_shown_during_playback() {
    let stack = Stack::start().await;
    let client = stack.client();
    let video = client.upload_clip(&clip(&stack)).await;
    let captions = format!("/api/videos/{video}/captions");
    seeded_violations(&client, &captions).await;
    assert_eq!(listed(&client, &video).await, Vec::<Value>::new());
    // The first upload comes before the transcode.
    let query = "?language=de&label=Deutsch&kind=captions";
    let made = post(&client, &format!("{captions}{query}"), "application/x-subrip", SRT).await;
    let made = made.expect(201);
    let id = made.json()["id"].as_str().expect("id").to_owned();
    assert_eq!(made.header("location"), format!("{captions}/{id}"));
    let job = client.transcode(&video, &json!({"profiles": ["360p"]})).await;
    let ended = client.wait_job(&job, "completed", JOB_DEADLINE).await;
    let kinds: Vec<&Value> =
        ended["tasks"].as_array().expect("tasks").iter().map(|task| &task["kind"]).collect();
    assert!(kinds.contains(&&json!("subtitles")), "{ended:#}");
    let tracks = listed(&client, &video).await;
    let rows: Vec<[&Value; 5]> = tracks
        .iter()
        .map(|t| ["source", "language", "label", "kind", "default"].map(|key| &t[key]))
        .collect();
    assert_eq!(
        json!(rows),
        json!([
            ["file", "en", "English", "subtitles", true],
            ["upload", "de", "Deutsch", "captions", false],
        ])
    );
    // Another upload after the transcode, by multipart form; the manifests list it within a second.
    let form = form(
        &[("language", "fr"), ("label", "Français")],
        "WEBVTT\n\n00:01.000 --> 00:02.000\nsalut\n",
    );
    let kind = format!("multipart/form-data; boundary={BOUNDARY}");
    let third = post(&client, &captions, &kind, form).await.expect(201).json();
    let viewer = stack.anonymous();
    let playlist = format!("/api/stream/{video}/hls/playlist.m3u8");
    let lists = async |name: &str| viewer.get(&playlist).await.text().contains(name);
    eventually("the new track is listed", Duration::from_secs(5), async || {
        lists("NAME=\"Français\"").await.then_some(())
    })
    .await;
    let captured = Capture::hls(&viewer, &playlist).await;
    hls::check(&captured, Phase::Final).assert_none("HLS");
    seeded_violations_are_found(&captured);
    let manifest = format!("/api/stream/{video}/dash/manifest.mpd");
    let mpd = super::growing::settled_dash(&viewer, &manifest).await;
    dash::check(&mpd, Phase::Final).assert_none("DASH");
    let whole = viewer.get(third["url"].as_str().expect("url")).await.expect(200);
    assert_eq!(whole.header("content-type"), "text/vtt");
    assert_eq!(whole.text(), "WEBVTT\n\n00:00:01.000 --> 00:00:02.000\nsalut\n");
    read(&stack, &video, "hls.js", "hls/playlist.m3u8", "en").await;
    read(&stack, &video, "shaka", "hls/playlist.m3u8", "de").await;
    read(&stack, &video, "dash.js", "dash/manifest.mpd", "de").await;
    let deleted_path = format!("{captions}/{}", third["id"].as_str().expect("id"));
    let delete = async || {
        client.send(Method::DELETE, &deleted_path, &[], Bytes::new()).await.expect("DELETE")
    };
    assert_eq!((delete().await.status, delete().await.status), (204, 404));
    eventually("the track disappears from the list", Duration::from_secs(5), async || {
        (!lists("NAME=\"Français\"").await).then_some(())
    })
    .await;
    assert_eq!(viewer.get(third["url"].as_str().expect("url")).await.status, 404);
    retranscoded(&client, &video, &id).await;
}

/// After another transcode the uploaded track keeps its id; the source's track gets a new one.
async fn retranscoded(client: &Client, video: &str, uploaded: &str) {
    let before = listed(client, video).await;
    let job = client.transcode(video, &json!({"profiles": ["360p"]})).await;
    client.wait_job(&job, "completed", JOB_DEADLINE).await;
    let after = listed(client, video).await;
    assert_eq!((after.len(), &after[1]["id"]), (2, &json!(uploaded)));
    assert_ne!(after[0]["id"], before[0]["id"]);
    for track in &after {
        let url = track["url"].as_str().expect("url");
        eventually(&format!("{url} is served"), CHANGE_DEADLINE, async || {
            (client.get(url).await.status == 200).then_some(())
        })
        .await;
    }
}

/// The captions of one picture of the clip of [`with_closed_captions`]: CC1 shows "hidden" from 2 s to 4 s.
fn closed_captions(picture: usize) -> [u8; 2] {
    let load = [[0x14, 0x20], [0x14, 0x70], *b"hi", *b"dd", *b"en", [0x14, 0x2f]];
    let odd = |byte: u8| {
        if (byte & 0x7f).count_ones().is_multiple_of(2) { byte | 0x80 } else { byte & 0x7f }
    };
    let pair = match picture {
        45..=50 => load[picture - 45],
        100 => [0x14, 0x2c],
        _ => [0, 0],
    };
    pair.map(odd)
}

/// Six seconds of H.264 whose pictures carry closed captions (ATSC A/53) in SEI messages.
fn with_closed_captions(stack: &Stack) -> PathBuf {
    let [raw, made, file] =
        ["a.h264", "b.h264", "closed.mp4"].map(|name| stack.beside().join(name));
    #[rustfmt::skip]
    let encode = [
        "-v", "error", "-f", "lavfi", "-i", "testsrc2=s=640x360:r=25:d=6", "-c:v", "libx264", "-preset",
        "ultrafast", "-bf", "0", "-pix_fmt", "yuv420p", raw.to_str().expect("path"),
    ];
    program::output("ffmpeg", &encode);
    let bytes = std::fs::read(&raw).expect("read H.264");
    let (mut out, mut pictures) = (Vec::new(), 0);
    let starts: Vec<usize> =
        (0..bytes.len() - 3).filter(|at| bytes[*at..].starts_with(&[0, 0, 1])).collect();
    let ends = starts.iter().skip(1).copied().chain([bytes.len()]);
    for (start, end) in starts.iter().zip(ends) {
        let unit = bytes[start + 3..end].strip_suffix(&[0]).unwrap_or(&bytes[start + 3..end]);
        if [1, 5].contains(&(unit[0] & 31)) && unit[1] & 0x80 != 0 {
            let [first, second] = closed_captions(pictures);
            let message = [b"\xb5\0\x31GA94\x03\xc1\xff\xfc", &[first, second, 0xff][..]].concat();
            out.extend([&[0, 0, 0, 1, 6, 4, message.len() as u8], &message[..], &[0x80]].concat());
            pictures += 1;
        }
        out.extend([&[0, 0, 0, 1], unit].concat());
    }
    assert_eq!(pictures, 150);
    std::fs::write(&made, out).expect("write H.264");
    let paths = [&made, &file].map(|path| path.to_str().expect("path"));
    program::output("ffmpeg", &["-v", "error", "-r", "25", "-i", paths[0], "-c", "copy", paths[1]]);
    file
}

/// Captions in the pictures are listed and shown as any text track, and the renditions contain none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closed_captions_in_the_picture_are_a_text_track_and_nowhere_else() {
    let stack = Stack::start().await;
    let client = stack.client();
    let video = client.upload_clip(&with_closed_captions(&stack)).await;
    let job = client.transcode(&video, &json!({"profiles": ["360p"]})).await;
    client.wait_job(&job, "completed", JOB_DEADLINE).await;
    let tracks = listed(&client, &video).await;
    let row = ["source", "language", "label", "kind", "default"].map(|key| &tracks[0][key]);
    assert_eq!(json!(row), json!(["file", "und", "CC1", "captions", false]));
    let viewer = stack.anonymous();
    let text = viewer.get(tracks[0]["url"].as_str().expect("url")).await.expect(200).text();
    assert_eq!(text, "WEBVTT\n\n00:00:02.000 --> 00:00:04.000\nhidden\n");
    let playlist = format!("/api/stream/{video}/hls/playlist.m3u8");
    let captured = Capture::hls(&viewer, &playlist).await;
    hls::check(&captured, Phase::Final).assert_none("HLS");
}
