//! Text tracks while the control plane is unreachable: index and objects suffice.

use authz::{PlaybackGrant, RootKeys};
use media::{
    CaptionId, JobId,
    captions::{CaptionKind, Described, TextTrack},
    layout,
    pictures::Picture,
};
use runtime::{Clock, SystemClock};
use uuid::Uuid;

use crate::support::{Clip, Plane};

const TEXT: &str = "WEBVTT\n\n00:00:01.000 --> 00:00:02.000\nfirst\n\n\
                    00:00:03.500 --> 00:00:05.000\nover the border\n\n\
                    00:00:11.000 --> 00:00:12.000\nlast\n";
const MAP: &str = "WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:900000,LOCAL:00:00:10.000\n";

/// Adds a text track to the video.
fn with_text(mut clip: Clip) -> (Clip, CaptionId) {
    let id = CaptionId::new(Uuid::now_v7());
    let key = layout::caption(clip.index.video, id, "0123456789abcdef");
    clip.objects.push((key.clone(), TEXT.as_bytes().to_vec()));
    let about = Described {
        id,
        language: "pt-BR".to_owned(),
        label: "Portu\"guês".to_owned(),
        kind: CaptionKind::Captions,
        default: true,
        forced: false,
    };
    let object = Picture { key, bytes: TEXT.len() as u64, sha256: [7; 32] };
    clip.index.captions = vec![TextTrack { about, object }];
    (clip, id)
}

#[tokio::test]
async fn a_text_track_is_in_both_manifests_and_segmented_on_the_videos_grid() {
    let plane = Plane::start().await;
    let (clip, id) = with_text(Clip::new(true));
    clip.store(&plane.folder);
    let playlist = plane.get(&clip.path("hls/playlist.m3u8")).await.text();
    let version = clip.index.version;
    let media = format!(
        "#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID=\"text\",NAME=\"Portu'guês\",LANGUAGE=\"pt-BR\",\
         DEFAULT=YES,AUTOSELECT=YES,FORCED=NO,CHARACTERISTICS=\"\
         public.accessibility.transcribes-spoken-dialog,\
         public.accessibility.describes-music-and-sound\",\
         URI=\"../{version}/text-{id}/vod.m3u8\"\n"
    );
    assert!(playlist.contains(&media), "{playlist}");
    let variants: Vec<&str> = playlist.lines().filter(|l| l.contains("STREAM-INF")).collect();
    let plain = |line: &&&str| line.starts_with("#EXT-X-STREAM-INF");
    assert!(variants.iter().filter(plain).all(|l| l.contains(",SUBTITLES=\"text\"")), "{playlist}");
    let own = plane.get(&clip.media(&format!("text-{id}/vod.m3u8"))).await;
    assert_eq!(own.header("content-type"), "application/vnd.apple.mpegurl");
    let own = own.text();
    let video = plane.get(&clip.media("360p/vod.m3u8")).await.text();
    let durations = |text: &str| -> Vec<String> {
        text.lines().filter(|line| line.starts_with("#EXTINF")).map(str::to_owned).collect()
    };
    assert_eq!(durations(&own), durations(&video));
    assert!(own.contains("\nh0.vtt\n") && own.ends_with("\nh1.vtt\n#EXT-X-ENDLIST\n"), "{own}");
    assert!(!own.contains("EXT-X-MAP"), "{own}");
    for (number, texts) in [(0, ["first", "over the border"]), (1, ["over the border", "last"])] {
        let reply = plane.get(&clip.media(&format!("text-{id}/h{number}.vtt"))).await;
        assert_eq!((reply.status, reply.header("content-type")), (200, "text/vtt"));
        assert_eq!(reply.header("cache-control"), "public, max-age=31536000, immutable");
        assert_eq!(reply.header("surrogate-key"), format!("video-{}", clip.index.video));
        let text = reply.text();
        let cues = text.strip_prefix(MAP).unwrap_or_else(|| panic!("{text}"));
        let found: Vec<&str> =
            cues.lines().filter(|l| !l.is_empty() && !l.contains("-->")).collect();
        assert_eq!(found, texts, "{number}");
        let again = format!("If-None-Match: {}", reply.header("etag"));
        let path = clip.media(&format!("text-{id}/h{number}.vtt"));
        assert_eq!(plane.send("GET", &path, &[&again]).await.status, 304);
        assert_eq!(plane.send("HEAD", &path, &[]).await.body.len(), 0);
    }
    let mpd = plane.get(&clip.path("dash/manifest.mpd")).await.text();
    let set = mpd.split("<AdaptationSet").find(|set| set.contains("text/vtt")).unwrap();
    assert!(set.contains("lang=\"pt-BR\"") && set.contains("value=\"caption\""), "{set}");
    assert!(set.contains(&format!("<BaseURL>../captions/{id}.vtt</BaseURL>")), "{set}");
    let whole = plane.get(&clip.path(&format!("captions/{id}.vtt"))).await;
    assert_eq!((whole.text().as_str(), whole.header("content-type")), (TEXT, "text/vtt"));
    let part = ["Range: bytes=0-5"];
    let part = plane.send("GET", &clip.path(&format!("captions/{id}.vtt")), &part).await;
    assert_eq!((part.status, part.text().as_str()), (206, "WEBVTT"));
}

#[tokio::test]
async fn unknown_text_tracks_are_404() {
    let plane = Plane::start().await;
    let (clip, id) = with_text(Clip::new(true));
    clip.store(&plane.folder);
    let other = Uuid::now_v7();
    for path in [
        clip.media(&format!("text-{id}/h2.vtt")),
        clip.media(&format!("text-{id}/init.mp4")),
        clip.media(&format!("text-{other}/h0.vtt")),
        clip.media(&format!("text-{other}/vod.m3u8")),
        clip.path(&format!("captions/{other}.vtt")),
        clip.path(&format!("{other}/text-{id}/h0.vtt")),
    ] {
        let reply = plane.get(&path).await;
        assert_eq!((reply.status, reply.code().as_str()), (404, "not_found"), "{path}");
    }
    // A file that differs from the one that was committed is not served.
    let key = &clip.index.captions[0].object.key;
    let bytes = TEXT.replace("first", "<b>rst").into_bytes();
    assert_eq!(bytes.len(), TEXT.len() + 1);
    std::fs::write(plane.folder.path().join(key), &bytes[..TEXT.len()]).unwrap();
    let reply = plane.get(&clip.media(&format!("text-{id}/h0.vtt"))).await;
    assert_eq!((reply.status, reply.code().as_str()), (500, "internal"));
}

#[tokio::test]
async fn text_of_a_growing_video_ends_at_the_frontier() {
    let plane = Plane::start().await;
    let (mut clip, id) = with_text(Clip::new(true));
    clip.index.finished_at_ms = None;
    clip.index.video_renditions[0].track.chunks[1] = None;
    clip.store(&plane.folder);
    let multivariant = plane.get(&clip.path("hls/playlist.m3u8")).await.text();
    assert!(multivariant.contains(&format!("text-{id}/event.m3u8")), "{multivariant}");
    let own = plane.get(&clip.media(&format!("text-{id}/event.m3u8"))).await.text();
    assert!(own.contains("#EXT-X-PLAYLIST-TYPE:EVENT\n") && own.ends_with("\nh0.vtt\n"), "{own}");
    assert_eq!(plane.get(&clip.media(&format!("text-{id}/vod.m3u8"))).await.status, 404);
}

#[tokio::test]
async fn sessions_of_an_older_version_find_text_tracks_that_were_added_later() {
    let plane = Plane::start().await;
    let older = Clip::new(true);
    older.store(&plane.folder);
    let version = JobId::new(Uuid::now_v7());
    let (clip, id) = with_text(Clip::of(older.index.video, version, true));
    clip.store(&plane.folder);
    for version in [&older, &clip] {
        let reply = plane.get(&version.media(&format!("text-{id}/h0.vtt"))).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
}

#[tokio::test]
async fn private_text_needs_the_token_and_passes_it_on() {
    let keys = RootKeys::generate();
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("keys")).unwrap();
    let public = serde_json::to_vec(&keys.public()).unwrap();
    std::fs::write(folder.path().join("keys/public.json"), public).unwrap();
    let plane = Plane::start_in(folder, |_| {}).await;
    let (clip, id) = with_text(Clip::new(false));
    clip.store(&plane.folder);
    let grant = PlaybackGrant { video: clip.index.video, max_height: None, address: None };
    let token = keys.mint_playback(&grant, 0, SystemClock.now_unix() + 60).unwrap();
    let paths = [
        clip.path(&format!("captions/{id}.vtt")),
        clip.media(&format!("text-{id}/vod.m3u8")),
        clip.media(&format!("text-{id}/h0.vtt")),
    ];
    for path in &paths {
        assert_eq!(plane.get(path).await.status, 404, "{path}");
        let reply = plane.get(&format!("{path}?token={token}")).await;
        assert_eq!(reply.status, 200, "{path}");
        assert!(reply.header("cache-control").starts_with("private"), "{path}");
    }
    let own = plane.get(&format!("{}?token={token}", paths[1])).await.text();
    assert!(own.contains("h0.vtt?token="), "{own}");
    let mpd = plane.get(&clip.path(&format!("dash/manifest.mpd?token={token}"))).await.text();
    assert!(mpd.contains(&format!("captions/{id}.vtt?token=")), "{mpd}");
}
