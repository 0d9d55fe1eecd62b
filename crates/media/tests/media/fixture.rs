//! A small real video: encoded, rewritten, indexed and laid out in a folder as a server would serve
//! it.

use std::{fs, path::Path};

use media::{
    FrameRate, Grid, VideoId,
    admission::{TrackKind, admit},
    fmp4::{
        init_info,
        rewrite::{AudioRewriter, Rewritten, video_chunk},
    },
    ids::Id,
    index::{AudioRendition, Chunk, Index, Track, VideoRendition},
    manifest::{
        Links,
        dash::mpd,
        hls::{Playlist, iframes, media, multivariant},
    },
    pictures::Pictures,
    segment::{Located, SegmentName, locate},
};
use uuid::Uuid;

use crate::ffmpeg::{Folder, MOVFLAGS, encode_audio, encode_video};

/// The chunks of every rendition, and their index.
pub(crate) struct Fixture {
    pub(crate) index: Index,
    objects: Vec<(String, Vec<u8>)>,
}

pub(crate) fn grid(num: u32, den: u32, frames: u64) -> Grid {
    Grid::new(FrameRate::new(num, den).unwrap(), frames).unwrap()
}

/// An index without renditions.
pub(crate) fn empty_index(grid: Grid) -> Index {
    let video: VideoId = Id::new(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001));
    Index {
        video,
        version: Id::new(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0002)),
        tenant: "tenant".to_owned(),
        title: "a video".to_owned(),
        public: true,
        hls: true,
        dash: true,
        published_at_ms: 1_750_000_000_000,
        finished_at_ms: Some(1_750_000_060_000),
        grid,
        video_renditions: Vec::new(),
        audio_renditions: Vec::new(),
        pictures: Pictures::default(),
        captions: Vec::new(),
        audio_details: Vec::new(),
    }
}

/// Two rungs and one audio track.
pub(crate) fn fixture(grid: Grid, folder: &Folder) -> Fixture {
    let mut fixture = Fixture { index: empty_index(grid), objects: Vec::new() };
    for (name, width, height) in [("72p", 128, 72), ("90p", 160, 90)] {
        let chunks = video(&grid, MOVFLAGS[0], &format!("{width}x{height}"), folder);
        let track = fixture.store(name, &chunks);
        fixture.index.video_renditions.push(VideoRendition {
            name: name.to_owned(),
            width,
            height,
            target_bitrate: 200_000,
            track,
        });
    }
    let raw = encode_audio(&grid, 500_000, folder.path());
    let track = fixture.store("audio-0", &audio(&grid, &raw, 65_536));
    fixture.index.audio_renditions.push(AudioRendition {
        name: "audio-0".to_owned(),
        label: "English".to_owned(),
        language: "eng".to_owned(),
        channels: 2,
        target_bitrate: 96_000,
        track,
    });
    fixture
}

/// Every chunk of a rung, after admission.
pub(crate) fn video(grid: &Grid, movflags: &str, size: &str, folder: &Folder) -> Vec<Rewritten> {
    let chunk = |chunk| {
        let raw = encode_video(grid, chunk, movflags, size, folder.path());
        let rewritten = video_chunk(&raw, grid, chunk).unwrap();
        let admitted =
            admit(TrackKind::Video, grid, chunk, &rewritten.init, &rewritten.bytes).unwrap();
        assert_eq!(admitted, rewritten.fragments);
        rewritten
    };
    (0..grid.chunks()).map(chunk).collect()
}

/// Every chunk of an audio track that arrives in pieces, after admission.
pub(crate) fn audio(grid: &Grid, raw: &[u8], piece: usize) -> Vec<Rewritten> {
    let mut rewriter = AudioRewriter::new(*grid);
    let mut chunks = Vec::new();
    for bytes in raw.chunks(piece) {
        rewriter.push(bytes).unwrap();
        while let Some(chunk) = rewriter.next_chunk().unwrap() {
            chunks.push(chunk);
        }
    }
    while let Some(chunk) = rewriter.finish().unwrap() {
        chunks.push(chunk);
    }
    for chunk in &chunks {
        let admitted =
            admit(TrackKind::Audio, grid, chunk.chunk, &chunk.init, &chunk.bytes).unwrap();
        assert_eq!(admitted, chunk.fragments);
    }
    chunks
}

impl Fixture {
    /// The bytes of an object.
    pub(crate) fn object(&self, key: &str) -> &[u8] {
        let (_, object) = self.objects.iter().find(|(k, _)| k == key).unwrap();
        object
    }

    fn store(&mut self, name: &str, chunks: &[Rewritten]) -> Track {
        let info = init_info(&chunks[0].init).unwrap();
        let mut track = Track {
            codec: info.codec,
            timescale: info.timescale,
            init: chunks[0].init.clone(),
            chunks: Vec::new(),
            table: None,
        };
        for chunk in chunks {
            let key = format!("{name}/{}", chunk.chunk);
            self.objects.push((key.clone(), chunk.bytes.clone()));
            track.chunks.push(Some(Chunk { key, fragments: chunk.fragments.clone() }));
        }
        track
    }

    /// Writes every file that a player may request below `root`, which corresponds to
    /// `/api/stream/{id}/`.
    pub(crate) fn lay_out(&self, root: &Path, now_ms: i64) {
        let links = Links::default();
        let write = |path: &str, bytes: &[u8]| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        };
        let index = &self.index;
        write("hls/playlist.m3u8", multivariant(index, &links).unwrap().as_bytes());
        write("dash/manifest.mpd", mpd(index, now_ms, &links).unwrap().as_bytes());
        let videos = index.video_renditions.iter().map(|r| &r.name);
        for name in videos.chain(index.audio_renditions.iter().map(|r| &r.name)) {
            let below = format!("{}/{name}", index.version);
            let event = media(index, name, Playlist::Event, &links).unwrap();
            write(&format!("{below}/event.m3u8"), event.as_bytes());
            if let Some(vod) = media(index, name, Playlist::Vod, &links) {
                write(&format!("{below}/vod.m3u8"), vod.as_bytes());
            }
            if let Some(iframes) = iframes(index, name, &links) {
                write(&format!("{below}/iframes.m3u8"), iframes.as_bytes());
            }
            let numbered = |kind: fn(u32) -> SegmentName| (0..1000).map(kind);
            let names = numbered(SegmentName::Hls).chain(numbered(SegmentName::Dash));
            let names = names.chain(numbered(SegmentName::KeyFrame));
            for segment in names.chain([SegmentName::Init]) {
                if let Some(bytes) = self.bytes(name, segment) {
                    write(&format!("{below}/{segment}"), &bytes);
                }
            }
        }
    }

    /// The bytes of a segment.
    pub(crate) fn bytes(&self, rendition: &str, name: SegmentName) -> Option<Vec<u8>> {
        match locate(&self.index, rendition, name)? {
            Located::Inline(bytes) => Some(bytes.to_vec()),
            Located::Object { head, key, offset, bytes, .. } => {
                let (_, object) = self.objects.iter().find(|(k, _)| k == key).unwrap();
                Some([&head, &object[offset as usize..(offset + bytes) as usize]].concat())
            }
        }
    }
}
