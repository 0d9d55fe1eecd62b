//! Images, previews and downloads of a video, from the request to their deletion.

use std::{path::Path, process::Command, time::Duration};

use bytes::Bytes;
use hyper::Method;
use serde_json::{Value, json};

use crate::harness::{
    capture::Capture, client::Client, clip, eventually, picture, program, stack::Stack,
};

const JOB_DEADLINE: Duration = Duration::from_secs(120);
/// The video is black up to this second.
const BEGINS: u32 = 5;
const SECONDS: u32 = 36;
const TITLE: &str = "Größe \"36\"";

/// Images with a higher mean brightness than this are not black.
const BRIGHT: u8 = 50;

struct Viewer<'a> {
    stack: &'a Stack,
    client: Client,
    video: String,
    token: String,
}

impl Viewer<'_> {
    /// Fetches a path below the video's own with the playback token.
    async fn get(&self, path: &str) -> crate::harness::client::Reply {
        self.get_with(path, &[]).await
    }

    async fn get_with(
        &self,
        path: &str,
        headers: &[(&str, &str)],
    ) -> crate::harness::client::Reply {
        let path = format!("/api/stream/{}/{path}?token={}", self.video, self.token);
        self.stack.anonymous().get_with(&path, headers).await
    }

    /// Fetches a file and writes it beside the stack.
    async fn file(&self, path: &str, name: &str) -> std::path::PathBuf {
        let file = self.stack.beside().join(name);
        let body = self.get(path).await.expect(200).body;
        std::fs::write(&file, body).expect("write file");
        file
    }

    async fn show(&self) -> Value {
        self.client.get(&format!("/api/videos/{}", self.video)).await.expect(200).json()
    }
}

fn bright(file: &Path) -> bool {
    picture::brightness(file)[0] > BRIGHT
}

fn output(program: &str, args: &[&str]) -> String {
    String::from_utf8_lossy(&program::output(program, args)).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn images_preview_and_downloads_are_made_and_deleted_with_their_video() {
    let stack =
        Stack::start_with(&[("STREAMING_LEASE", "6s"), ("STREAMING_THUMBNAILS", "6")]).await;
    let client = stack.client();
    let clip = clip::late_beginning(BEGINS, SECONDS);
    let reply = client.upload(&clip, &[("title", TITLE), ("visibility", "private")]).await;
    let video = reply.expect(201).json()["videoId"].as_str().expect("videoId").to_owned();
    let shown = client.get(&format!("/api/videos/{video}")).await.expect(200).json();
    for name in ["poster", "thumbnails", "storyboard", "preview", "downloads"] {
        assert!(shown[name].is_null(), "{shown:#}");
    }
    let wish = json!({"generateThumbnails": true, "generatePreview": true});
    let job = client.transcode(&video, &wish).await;
    let job = client.wait_job(&job, "completed", JOB_DEADLINE).await;
    for kind in ["thumbnails", "preview"] {
        let tasks = job["tasks"].as_array().expect("tasks");
        let task = tasks.iter().find(|task| task["kind"] == kind).expect(kind);
        assert_eq!((&task["state"], &task["progress"]), (&json!("done"), &json!(100.0)), "{job:#}");
    }
    let minted = client.post(&format!("/api/videos/{video}/playback-token"), &json!({})).await;
    let token = minted.expect(200).json()["token"].as_str().expect("token").to_owned();
    let viewer = Viewer { stack: &stack, client: client.clone(), video: video.clone(), token };
    check_poster_and_thumbnails(&viewer).await;
    check_storyboard(&viewer).await;
    check_preview(&viewer).await;
    check_download(&viewer).await;

    let path = format!("/api/videos/{video}");
    client.send(Method::DELETE, &path, &[], Bytes::new()).await.expect("DELETE").expect(204);
    assert_eq!(viewer.get("poster.jpg").await.status, 404);
    eventually("none of the video's objects are stored", Duration::from_secs(40), async || {
        (!stack.objects().iter().any(|key| key.contains(&video))).then_some(())
    })
    .await;
}

async fn check_poster_and_thumbnails(viewer: &Viewer<'_>) {
    let shown = viewer.show().await;
    let below = |name: &str| format!("/api/stream/{}/{name}", viewer.video);
    assert_eq!(shown["poster"], below("poster.jpg"), "{shown:#}");
    let without = viewer.stack.anonymous().get(&below("poster.jpg")).await;
    assert_eq!(without.status, 404, "a private video's poster is private");
    let poster = viewer.get("poster.jpg").await.expect(200);
    assert_eq!(poster.header("content-type"), "image/jpeg");
    assert!(poster.header("cache-control").starts_with("private"), "{:?}", poster.headers);
    let again = viewer.get_with("poster.jpg", &[("if-none-match", poster.header("etag"))]).await;
    assert_eq!(again.status, 304);
    let file = viewer.file("poster.jpg", "poster.jpg").await;
    assert!(bright(&file), "the poster is black");
    let size = output(
        "ffprobe",
        &[
            "-v",
            "error",
            "-of",
            "csv=p=0",
            "-show_entries",
            "stream=codec_name,width,height",
            file.to_str().expect("path"),
        ],
    );
    assert_eq!(size.trim(), "mjpeg,320,180");

    let thumbnails = shown["thumbnails"].as_array().expect("thumbnails").clone();
    assert_eq!(thumbnails.len(), 6, "as many as are configured: {shown:#}");
    let mut before = -1.0;
    for (number, thumbnail) in thumbnails.iter().enumerate() {
        let time = thumbnail["time"].as_f64().expect("time");
        assert!(time > before && time < f64::from(SECONDS), "{shown:#}");
        before = time;
        let name = format!("thumbnails/{number}.jpg");
        assert_eq!(thumbnail["url"], below(&name));
        let file = viewer.file(&name, "thumbnail.jpg").await;
        assert_eq!(bright(&file), time >= f64::from(BEGINS), "thumbnail at {time} s");
    }
    let listed = viewer.get("thumbnails").await.expect(200).json();
    assert_eq!(listed.as_array().map(Vec::len), Some(6), "{listed:#}");
    let url = listed[0]["url"].as_str().expect("url");
    viewer.stack.anonymous().get(url).await.expect(200);
}

async fn check_storyboard(viewer: &Viewer<'_>) {
    let vtt = viewer.get("storyboard.vtt").await.expect(200);
    assert_eq!(vtt.header("content-type"), "text/vtt");
    let text = vtt.text();
    let cues: Vec<&str> = text.split("\n\n").skip(1).collect();
    assert_eq!(cues.len() as u32, SECONDS / 2, "{text}");
    // Both sides of the change from black, and the last cue.
    for number in [0, 2, 3, cues.len() - 1] {
        let cue = cues[number];
        let (url, place) = cue.lines().nth(1).and_then(|l| l.split_once("#xywh=")).expect("cue");
        // The URL includes the playback token.
        let url = format!("/api/stream/{}/{url}", viewer.video);
        let sheet = viewer.stack.beside().join("sheet.jpg");
        std::fs::write(&sheet, viewer.stack.anonymous().get(&url).await.expect(200).body)
            .expect("write sheet");
        let place: Vec<&str> = place.trim().split(',').collect();
        let crop = format!("crop={}:{}:{}:{}", place[2], place[3], place[0], place[1]);
        let tile = viewer.stack.beside().join("tile.png");
        let (sheet, tile_name) = (sheet.to_str().expect("path"), tile.to_str().expect("path"));
        program::output("ffmpeg", &["-v", "error", "-y", "-i", sheet, "-vf", &crop, tile_name]);
        let lit = 2 * number as u32 >= BEGINS;
        assert_eq!(bright(&tile), lit, "tile {number}: {cue}");
    }
}

async fn check_preview(viewer: &Viewer<'_>) {
    let file = viewer.file("preview.mp4", "preview.mp4").await;
    let name = file.to_str().expect("path");
    let entries = ["-v", "error", "-of", "csv=p=0", "-show_entries"];
    let length = output("ffprobe", &[&entries[..], &["format=duration", name]].concat());
    let length: f64 = length.trim().parse().expect("duration");
    assert!((29.0..=30.05).contains(&length), "{length} s");
    let streams = output("ffprobe", &[&entries[..], &["stream=codec_name", name]].concat());
    assert_eq!(streams.split_whitespace().collect::<Vec<_>>(), ["h264", "aac"]);
    let whole = std::fs::read(&file).expect("read preview");
    let place = |kind: &[u8]| whole.windows(4).position(|w| w == kind).expect("box");
    assert!(place(b"moov") < place(b"mdat"), "the preview can be played while it loads");
    let part = viewer.get_with("preview.mp4", &[("range", "bytes=100-199")]).await.expect(206);
    assert_eq!(part.body[..], whole[100..200]);
    let volume = Command::new("ffmpeg")
        .args(["-i", name, "-af", "volumedetect", "-vn", "-f", "null", "-"])
        .output()
        .expect("start ffmpeg");
    let text = String::from_utf8_lossy(&volume.stderr).into_owned();
    let mean = text.split("mean_volume: ").nth(1).and_then(|t| t.split(' ').next());
    let mean: f64 = mean.expect("volume").parse().expect("dB");
    assert!(mean > -40.0, "the preview is silent: {mean} dB");
}

async fn check_download(viewer: &Viewer<'_>) {
    let shown = viewer.show().await;
    let offered = &shown["downloads"][0];
    assert_eq!(offered["profile"], "360p", "{shown:#}");
    let path = "download/360p.mp4";
    assert_eq!(offered["url"], format!("/api/stream/{}/{path}", viewer.video));
    let whole = viewer.get(path).await.expect(200);
    assert_eq!(offered["bytes"], json!(whole.body.len()), "{shown:#}");
    let name = whole.header("content-disposition");
    assert!(name.starts_with("attachment;"), "{name}");
    assert!(name.ends_with("filename*=UTF-8''Gr%C3%B6%C3%9Fe%20%2236%22.mp4"), "{name}");
    let (size, etag) = (whole.body.len() as u64, whole.header("etag").to_owned());
    let mut at = 1;
    for step in 1..20_u64 {
        at = (at * 48_271 + step) % size;
        let end = (at + step * step * 7919).min(size);
        let range = format!("bytes={at}-{}", end - 1);
        let headers = [("range", range.as_str()), ("if-range", etag.as_str())];
        let part = viewer.get_with(path, &headers).await.expect(206);
        assert!(part.body[..] == whole.body[at as usize..end as usize], "{range}");
    }
    let beyond = viewer.get_with(path, &[("range", &format!("bytes={size}-"))]).await;
    assert_eq!(beyond.status, 416);
    assert_eq!(viewer.get("download/720p.mp4").await.status, 404);

    let file = viewer.file(path, "download.mp4").await;
    let manifest = format!("/api/stream/{}/hls/playlist.m3u8?token={}", viewer.video, viewer.token);
    let captured = Capture::hls(&viewer.stack.anonymous(), &manifest).await;
    for track in captured.hls_tracks() {
        let stream = if track.is_audio() { "0:a:0" } else { "0:v:0" };
        let played = track.write(viewer.stack.beside());
        assert_eq!(hashes(&file, stream), hashes(&played, "0:0"), "{}", track.name);
    }
    // Seeking shows the same frame as continuous playback.
    let at = |seek: &[&str]| {
        let name = file.to_str().expect("path");
        let pick = ["-frames:v", "1", "-map", "0:v", "-f", "md5", "-"];
        output("ffmpeg", &[&["-v", "error"], seek, &["-i", name], &pick].concat())
    };
    let read = |from: &str| {
        let name = file.to_str().expect("path");
        let select = format!("select=gte(t\\,{from})");
        let pick = ["-vf", &select, "-frames:v", "1", "-map", "0:v", "-f", "md5", "-"];
        output("ffmpeg", &[&["-v", "error", "-i", name], &pick[..]].concat())
    };
    assert_eq!(at(&["-ss", "17.52"]), read("17.52"));
}

/// A hash of every frame of a stream.
fn hashes(file: &Path, stream: &str) -> Vec<String> {
    let name = file.to_str().expect("path");
    let text =
        output("ffmpeg", &["-v", "error", "-i", name, "-map", stream, "-f", "framemd5", "-"]);
    let rows = text.lines().filter(|line| !line.starts_with('#'));
    rows.filter_map(|line| Some(line.rsplit_once(',')?.1.trim().to_owned())).collect()
}
