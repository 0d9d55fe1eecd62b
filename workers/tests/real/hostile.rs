//! Malicious files: each is rejected with a specific error code, and the canary is never read.

use std::{fs, os::unix::fs::MetadataExt, path::PathBuf, time::SystemTime};

use crate::{clip::Clip, control::Control, worker::Worker};

/// A valid video that no probe may open; its access time shows whether one did.
struct Canary(Clip);

impl Canary {
    fn new() -> Self {
        let clip = Clip::numbered("canary.mp4", "25", 2);
        // A read updates an access time that is older than the modification time (relatime).
        let file = fs::File::options().write(true).open(clip.path()).unwrap();
        let old = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1);
        file.set_times(fs::FileTimes::new().set_accessed(old)).unwrap();
        Self(clip)
    }

    fn path(&self) -> PathBuf {
        self.0.path()
    }

    fn is_untouched(&self) -> bool {
        fs::metadata(self.path()).unwrap().atime() == 1
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_refer_to_other_files_cannot_read_them() {
    let canary = Canary::new();
    let path = canary.path().display().to_string();
    let mut control = Control::start().await;
    let worker = Worker::start(&mut control, &[]).await;
    let mpd = format!(
        "<?xml version=\"1.0\"?><MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" type=\"static\"><Period>\
         <AdaptationSet><Representation id=\"1\" mimeType=\"video/mp4\"><BaseURL>file://{path}</BaseURL>\
         </Representation></AdaptationSet></Period></MPD>"
    );
    for (name, text) in [
        ("script", format!("ffconcat version 1.0\nfile '{path}'\n")),
        (
            "playlist",
            format!(
                "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nfile://{path}\n#EXT-X-ENDLIST\n"
            ),
        ),
        (
            "joined",
            format!(
                "#EXTM3U\n#EXTINF:2,\nconcat:http://127.0.0.1:9/|file://{path}\n#EXT-X-ENDLIST\n"
            ),
        ),
        ("manifest", mpd),
        (
            "session",
            "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\n"
                .to_owned(),
        ),
        ("markup", "<!DOCTYPE html><html><body>video</body></html>".to_owned()),
    ] {
        let clip = Clip::bytes("a.mp4", text.as_bytes());
        let fail = control.work(worker.probe(&clip.path())).await.expect_err(name);
        assert_eq!((fail.code.as_str(), fail.retryable), ("not_a_video", false), "{name}");
        assert!(canary.is_untouched(), "{name}");
    }
    control.work(worker.probe(&canary.path())).await.unwrap();
    assert!(!canary.is_untouched(), "reading the canary changes its access time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sources_with_forged_times_or_sizes_are_rejected() {
    let mut control = Control::start().await;
    let worker = Worker::start(&mut control, &[]).await;
    // Two frames, a day apart.
    let gap = Clip::made(
        "gap.mkv",
        &[
            "-f",
            "lavfi",
            "-i",
            "color=black:s=64x36:r=25:d=0.08",
            "-vf",
            "setpts='if(N,86400/TB,0)'",
            "-vsync",
            "passthrough",
            "-c:v",
            "libx264",
            "-bf",
            "0",
        ],
    );
    let wide = Clip::made(
        "wide.mkv",
        &[
            "-f",
            "lavfi",
            "-i",
            "color=black:s=8000x8000:r=25:d=0.04",
            "-c:v",
            "mpeg4",
            "-q:v",
            "31",
        ],
    );
    for clip in [gap, wide] {
        let fail = control.work(worker.probe(&clip.path())).await.expect_err("a bomb");
        assert_eq!(
            (fail.code.as_str(), fail.retryable),
            ("not_a_video", false),
            "{}",
            fail.message
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_and_tags_are_treated_as_text() {
    let mut control = Control::start().await;
    let worker = Worker::start(&mut control, &[]).await;
    let evil = "\u{1b}[31m<script>alert(1)</script>";
    let title = format!("title={evil}{}", "x".repeat(5000));
    let clip = Clip::numbered("a.mkv", "25", 2);
    let path = clip.path().display().to_string();
    for name in ["-i", "%03d.mp4", "pipe:0", "http:x", "a|b.mp4", "concat:a"] {
        let copy = ["-i", &path, "-c", "copy", "-metadata:s:a", &title, "-f", "matroska"];
        let tagged = Clip::made("x", &copy);
        let clip = Clip::bytes(name, &fs::read(tagged.path()).unwrap());
        let done = control.work(worker.probe(&clip.path())).await;
        let source = done.unwrap_or_else(|fail| panic!("{name}: {fail:?}")).source.unwrap();
        let title = &source.audio[0].title;
        assert!(title.starts_with("[31m<script>") && title.chars().count() == 200, "{title}");
    }
}
