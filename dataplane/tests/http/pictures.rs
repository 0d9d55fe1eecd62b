//! Images, clips and downloads while the control plane is unreachable: index and objects suffice.

use authz::{PlaybackGrant, RootKeys};
use media::{
    index::TableObject,
    layout,
    pictures::{Picture, Pictures, Size, Storyboard, Thumbnail},
    tables::{self, ChunkTable, GopTable},
};
use runtime::{Clock, SystemClock};

use crate::support::{Clip, Plane};

const THUMBNAILS: u32 = 3;

/// Adds images to the video; their bytes are their names.
fn with_pictures(mut clip: Clip) -> Clip {
    let prefix = layout::job_prefix(clip.index.video, clip.index.version);
    let mut picture = |name: &str, extension: &str| {
        let content = name.repeat(100).into_bytes();
        let key = layout::picture(&prefix, name, 7, "0123456789abcdef", extension);
        let bytes = content.len() as u64;
        clip.objects.push((key.clone(), content));
        Picture { key, bytes, sha256: *digest_like(name) }
    };
    clip.index.pictures = Pictures {
        poster: Some(picture("poster", "jpg")),
        thumbnails: (0..THUMBNAILS)
            .map(|n| Thumbnail { gop: n * 2, picture: picture(&format!("thumbnails/{n}"), "jpg") })
            .collect(),
        storyboard: Some(Storyboard {
            sheets: vec![picture("storyboard/0", "jpg")],
            tile: Size { width: 160, height: 90 },
            columns: 6,
            rows: 1,
            tiles: 6,
            tile_gops: 1,
        }),
        preview: Some(picture("preview", "mp4")),
    };
    clip
}

/// A value that differs by name.
fn digest_like(name: &str) -> Box<[u8; 32]> {
    let mut out = Box::new([0; 32]);
    for (place, byte) in name.bytes().enumerate() {
        out[place % 32] ^= byte;
    }
    out
}

#[tokio::test]
async fn images_are_served_under_permanent_names() {
    let plane = Plane::start().await;
    let clip = with_pictures(Clip::new(true));
    clip.store(&plane.folder);
    for (path, name, kind) in [
        ("poster.jpg", "poster", "image/jpeg"),
        ("thumbnails/0.jpg", "thumbnails/0", "image/jpeg"),
        ("thumbnails/2.jpg", "thumbnails/2", "image/jpeg"),
        ("preview.mp4", "preview", "video/mp4"),
    ] {
        let whole = name.repeat(100);
        let reply = plane.get(&clip.path(path)).await;
        assert_eq!((reply.status, reply.header("content-type")), (200, kind), "{path}");
        assert_eq!(reply.text(), whole, "{path}");
        assert_eq!(reply.header("cache-control"), "public, max-age=60", "{path}");
        assert_eq!(reply.header("accept-ranges"), "bytes", "{path}");
        let again = format!("If-None-Match: {}", reply.header("etag"));
        let again = plane.send("GET", &clip.path(path), &[&again]).await;
        assert_eq!((again.status, again.body.len()), (304, 0), "{path}");
        let part = plane.send("GET", &clip.path(path), &["Range: bytes=3-9"]).await;
        assert_eq!((part.status, part.text()), (206, whole[3..10].to_owned()), "{path}");
        let beyond = plane.send("GET", &clip.path(path), &["Range: bytes=99999-"]).await;
        assert_eq!(beyond.status, 416, "{path}");
        let head = plane.send("HEAD", &clip.path(path), &[]).await;
        assert_eq!(head.header("content-length"), whole.len().to_string(), "{path}");
        assert_eq!((head.status, head.body.len()), (200, 0), "{path}");
    }
    let past = plane.get(&clip.path("thumbnails/3.jpg")).await;
    assert_eq!((past.status, past.code().as_str()), (404, "not_found"));
}

#[tokio::test]
async fn lists_and_storyboard_name_the_existing_images() {
    let plane = Plane::start().await;
    let clip = with_pictures(Clip::new(true));
    clip.store(&plane.folder);
    let listed = plane.get(&clip.path("thumbnails")).await;
    assert_eq!(listed.header("content-type"), "application/json");
    let listed = listed.json();
    assert_eq!(listed.as_array().unwrap().len(), THUMBNAILS as usize);
    assert_eq!(listed[1]["time"], 4.0);
    let url = listed[1]["url"].as_str().unwrap();
    assert_eq!(plane.get(url).await.text(), "thumbnails/1".repeat(100));
    let vtt = plane.get(&clip.path("storyboard.vtt")).await;
    assert_eq!((vtt.status, vtt.header("content-type")), (200, "text/vtt"));
    assert!(vtt.text().starts_with("WEBVTT\n"), "{}", vtt.text());
    let line = vtt.text().lines().find(|line| line.contains("#xywh=")).unwrap().to_owned();
    let (sheet, place) = line.split_once("#xywh=").unwrap();
    assert_eq!(place, "0,0,160,90");
    let sheet = plane.get(&clip.path(sheet)).await;
    assert_eq!(sheet.header("cache-control"), "public, max-age=31536000, immutable");
    assert_eq!(sheet.text(), "storyboard/0".repeat(100));
    assert_eq!(plane.get(&clip.media("storyboard/1.jpg")).await.status, 404);
}

#[tokio::test]
async fn missing_images_are_404() {
    let plane = Plane::start().await;
    let clip = Clip::new(true);
    clip.store(&plane.folder);
    let names = ["poster.jpg", "thumbnails", "thumbnails/0.jpg", "storyboard.vtt", "preview.mp4"];
    for name in names.into_iter().chain(["download/360p.mp4", "download/9p.mp4"]) {
        let reply = plane.get(&clip.path(name)).await;
        assert_eq!((reply.status, reply.code().as_str()), (404, "not_found"), "{name}");
    }
}

#[tokio::test]
async fn private_images_need_the_token_and_pass_it_on() {
    let keys = RootKeys::generate();
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("keys")).unwrap();
    let public = serde_json::to_vec(&keys.public()).unwrap();
    std::fs::write(folder.path().join("keys/public.json"), public).unwrap();
    let plane = Plane::start_in(folder, |_| {}).await;
    let clip = with_downloads(with_pictures(Clip::new(false)));
    clip.store(&plane.folder);
    let grant = PlaybackGrant { video: clip.index.video, max_height: None, address: None };
    let token = keys.mint_playback(&grant, 0, SystemClock.now_unix() + 60).unwrap();
    let names = ["poster.jpg", "thumbnails", "storyboard.vtt", "preview.mp4", "download/360p.mp4"];
    for name in names {
        assert_eq!(plane.get(&clip.path(name)).await.status, 404, "{name}");
        let reply = plane.get(&clip.path(&format!("{name}?token={token}"))).await;
        assert_eq!(reply.status, 200, "{name}");
        assert_eq!(reply.header("cache-control"), "private, max-age=60", "{name}");
    }
    let vtt = plane.get(&clip.path(&format!("storyboard.vtt?token={token}"))).await.text();
    let line = vtt.lines().find(|line| line.contains("#xywh=")).unwrap();
    let sheet = line.split('#').next().unwrap();
    assert_eq!(plane.get(&clip.path(sheet)).await.text(), "storyboard/0".repeat(100));
    let bare = sheet.split('?').next().unwrap();
    assert_eq!(plane.get(&clip.path(bare)).await.status, 404);
    let low = PlaybackGrant { max_height: Some(100), ..grant };
    let low = keys.mint_playback(&low, 0, SystemClock.now_unix() + 60).unwrap();
    // The lowest rung is always available.
    let lowest = plane.get(&clip.path(&format!("download/360p.mp4?token={low}"))).await;
    assert_eq!(lowest.status, 200);
}

fn boxed(kind: &str, body: &[&[u8]]) -> Vec<u8> {
    let body = body.concat();
    [&(body.len() as u32 + 8).to_be_bytes()[..], kind.as_bytes(), &body].concat()
}

/// The smallest init segment that is sufficient for a layout.
fn init(handler: &str, timescale: u32) -> Vec<u8> {
    let zeros = [0_u8; 76];
    let stsd = boxed("stsd", &[&[0, 0, 0, 0, 0, 0, 0, 1], &boxed("test", &[&zeros[..8]])]);
    let minf = boxed("minf", &[&boxed("stbl", &[&stsd])]);
    let mdhd = boxed("mdhd", &[&zeros[..12], &timescale.to_be_bytes(), &zeros[..8]]);
    let hdlr = boxed("hdlr", &[&zeros[..8], handler.as_bytes(), &zeros[..13]]);
    let tkhd = boxed("tkhd", &[&zeros, &[0; 8]]);
    let trak = boxed("trak", &[&tkhd, &boxed("mdia", &[&mdhd, &hdlr, &minf])]);
    boxed("moov", &[&trak])
}

/// Bytes of a fragment before its samples.
const HEAD: u32 = 40;

/// Adds sample tables that match the fragments to the video.
fn with_downloads(mut clip: Clip) -> Clip {
    let (grid, prefix) =
        (clip.index.grid, layout::job_prefix(clip.index.video, clip.index.version));
    let ticks = grid.rate().timescale();
    for (name, handler, timescale) in [("360p", "vide", ticks), ("audio-0", "soun", 48_000)] {
        let Some(track) = clip.index.track_mut(name) else { panic!("no {name}") };
        track.init = init(handler, timescale);
        let mut gop = 0;
        let chunks = track.chunks.iter().flatten().map(|chunk| {
            let table = chunk.fragments.iter().map(|fragment| {
                let frames = match handler {
                    "vide" => grid.gop(gop),
                    _ => grid.audio_frames(gop),
                };
                gop += 1;
                let count = (frames.end - frames.start) as u32;
                let (payload, each) = (fragment.bytes - HEAD, (fragment.bytes - HEAD) / count);
                let mut sizes = vec![each; count as usize];
                sizes[0] += payload - each * count;
                GopTable { head: HEAD, sizes, compositions: Vec::new() }
            });
            table.collect()
        });
        let encoded = tables::encode(&chunks.collect::<Vec<ChunkTable>>());
        let key = layout::tables(&prefix, name, "00");
        track.table = Some(TableObject { key: key.clone(), bytes: encoded.len() as u64 });
        clip.objects.push((key, encoded));
    }
    "Größe".clone_into(&mut clip.index.title);
    clip
}

#[tokio::test]
async fn every_range_of_a_download_belongs_to_one_file() {
    let plane = Plane::start().await;
    let clip = with_downloads(Clip::new(true));
    clip.store(&plane.folder);
    let path = clip.path("download/360p.mp4");
    let whole = plane.get(&path).await;
    assert_eq!((whole.status, whole.header("content-type")), (200, "video/mp4"));
    assert_eq!(whole.header("content-length"), whole.body.len().to_string());
    assert_eq!(
        whole.header("content-disposition"),
        "attachment; filename=\"Gr__e.mp4\"; filename*=UTF-8''Gr%C3%B6%C3%9Fe.mp4"
    );
    // The samples of the first fragment follow the header, in the same form as in the store.
    let first = &clip.object(0)[HEAD as usize..400_000];
    let start = whole.body.windows(64).position(|w| w == &first[..64]).unwrap();
    assert!(whole.body[start..start + first.len()] == *first);
    assert_eq!(&whole.body[4..8], b"ftyp");
    let size = whole.body.len();
    let mut at = 12_345;
    for n in 0..30 {
        at = (at * 7919 + n) % size;
        let end = (at + 1 + n * n * 1500).min(size);
        let range = format!("Range: bytes={at}-{}", end - 1);
        let part = plane.send("GET", &path, &[&range]).await;
        assert_eq!(part.status, 206);
        assert!(part.body == whole.body[at..end], "{range}");
        assert_eq!(part.header("content-range"), format!("bytes {at}-{}/{size}", end - 1));
        assert_eq!(part.header("etag"), whole.header("etag"));
    }
    let head = plane.send("HEAD", &path, &[]).await;
    assert_eq!((head.status, head.header("content-length")), (200, &*size.to_string()));
    let beyond = plane.send("GET", &path, &[&format!("Range: bytes={size}-")]).await;
    assert_eq!(beyond.header("content-range"), format!("bytes */{size}"));
    let same = format!("If-None-Match: {}", whole.header("etag"));
    assert_eq!(plane.send("GET", &path, &[&same]).await.status, 304);
    let stale = ["Range: bytes=0-9", "If-Range: \"other\""];
    assert_eq!(plane.send("GET", &path, &stale).await.status, 200);
}

#[tokio::test]
async fn a_download_needs_a_final_video_with_all_of_its_objects() {
    let plane = Plane::start().await;
    let mut growing = with_downloads(Clip::new(true));
    growing.index.finished_at_ms = None;
    growing.store(&plane.folder);
    assert_eq!(plane.get(&growing.path("download/360p.mp4")).await.status, 404);
    let clip = with_downloads(Clip::new(true));
    clip.store(&plane.folder);
    let table = clip.index.track("360p").unwrap().0.table.clone().unwrap();
    std::fs::remove_file(plane.folder.path().join(&table.key)).unwrap();
    assert_eq!(plane.get(&clip.path("download/360p.mp4")).await.status, 404);
    std::fs::write(plane.folder.path().join(&table.key), vec![7; table.bytes as usize]).unwrap();
    let damaged = plane.get(&clip.path("download/360p.mp4")).await;
    assert_eq!((damaged.status, damaged.code().as_str()), (500, "internal"));
}

/// The first sample of a stored fragment, whose boxes take 108 bytes and 8 for each of 50 samples,
/// follows boxes of its own.
#[tokio::test]
async fn every_range_of_a_key_frame_belongs_to_one_file() {
    const SAMPLE: usize = 3000;
    const STORED_HEAD: usize = 108 + 8 * 50;
    const OWN_HEAD: usize = 108 + 8;
    let plane = Plane::start().await;
    let mut clip = Clip::new(true);
    let ticks = clip.index.grid.rate().timescale();
    let Some(track) = clip.index.track_mut("360p") else { panic!("no rung") };
    track.init = init("vide", ticks);
    let fragments = track.chunks.iter_mut().flatten().flat_map(|chunk| &mut chunk.fragments);
    fragments.for_each(|fragment| fragment.intra_bytes = (STORED_HEAD + SAMPLE) as u32);
    clip.store(&plane.folder);
    // GOP 3 is the second one of chunk 1.
    let whole = plane.get(&clip.media("360p/i3.m4s")).await;
    assert_eq!((whole.status, whole.header("content-type")), (200, "video/mp4"));
    assert_eq!(whole.header("content-length"), (OWN_HEAD + SAMPLE).to_string());
    assert!(whole.header("cache-control").contains("immutable"));
    assert_eq!(
        (&whole.body[4..8], &whole.body[OWN_HEAD - 4..OWN_HEAD]),
        (&b"moof"[..], &b"mdat"[..])
    );
    let stored = 400_000 + STORED_HEAD;
    assert!(whole.body[OWN_HEAD..] == clip.object(1)[stored..stored + SAMPLE]);
    for (from, to) in
        [(0, 1), (0, OWN_HEAD), (100, 116), (115, 118), (116, 117), (116, 3116), (3115, 3116)]
    {
        let range = format!("Range: bytes={from}-{}", to - 1);
        let part = plane.send("GET", &clip.media("360p/i3.m4s"), &[&range]).await;
        assert_eq!((part.status, part.header("content-length")), (206, &*(to - from).to_string()));
        assert!(part.body == whole.body[from..to], "{range}");
    }
    let same = format!("If-None-Match: {}", whole.header("etag"));
    assert_eq!(plane.send("GET", &clip.media("360p/i3.m4s"), &[&same]).await.status, 304);
    let segment = plane.get(&clip.media("360p/d1.m4s")).await;
    assert_ne!(segment.header("etag"), whole.header("etag"));
    for missing in ["360p/i6.m4s", "audio-0/i0.m4s", "240p/i0.m4s"] {
        assert_eq!(plane.get(&clip.media(missing)).await.status, 404, "{missing}");
    }
}

#[tokio::test]
async fn sheets_of_the_storyboard_are_listed_for_hls() {
    let plane = Plane::start().await;
    let clip = with_pictures(Clip::new(true));
    clip.store(&plane.folder);
    let list = plane.get(&clip.media("storyboard/images.m3u8")).await;
    assert_eq!((list.status, list.header("content-type")), (200, "application/vnd.apple.mpegurl"));
    let text = String::from_utf8(list.body.to_vec()).unwrap();
    assert!(text.contains("#EXT-X-TILES:RESOLUTION=160x90,LAYOUT=6x1,DURATION=2.000000\n0.jpg\n"));
    assert_eq!(plane.get(&clip.media("storyboard/0.jpg")).await.status, 200);
    let without = Clip::new(true);
    without.store(&plane.folder);
    assert_eq!(plane.get(&without.media("storyboard/images.m3u8")).await.status, 404);
}
