//! Files assembled from stored fragments: excerpts and downloads.

use std::{fs, ops::Range, path::Path};

use media::{
    download::{Download, Rendition, Slice, etag},
    excerpt::{self, Cut},
    grid::AAC_FRAME_SAMPLES,
    movie::{self, Wanted},
    pictures::Size,
    tables::{self, ChunkTable},
};

use crate::{
    ffmpeg::{Folder, run},
    fixture::{Fixture, fixture, grid},
};

/// The fragment of one GOP.
fn fragment<'a>(fixture: &'a Fixture, rendition: &str, gop: u32) -> &'a [u8] {
    let (track, _) = fixture.index.track(rendition).unwrap();
    let number = fixture.index.grid.chunk_of(gop);
    let chunk = track.chunks[number as usize].as_ref().unwrap();
    let place = (gop - fixture.index.grid.chunk_gops(number).start) as usize;
    let start: u32 = chunk.fragments[..place].iter().map(|f| f.bytes).sum();
    let end = start + chunk.fragments[place].bytes;
    &fixture.object(&chunk.key)[start as usize..end as usize]
}

/// Codec and number of frames of each stream, as counted by ffprobe.
fn frames(file: &Path) -> Vec<String> {
    #[rustfmt::skip]
    let arguments = [
        "-v", "error", "-count_frames", "-of", "csv=p=0", "-show_entries",
        "stream=codec_name,nb_read_frames", file.to_str().unwrap(),
    ];
    let text = String::from_utf8(run("ffprobe", &arguments, Path::new("/"))).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn stills_are_the_key_frames_of_their_gops() {
    let folder = Folder::new();
    let fixture = fixture(grid(25, 1, 300), &folder);
    let init = |name: &str| fixture.index.track(name).unwrap().0.init.clone();
    let still = |name: &str, gop| excerpt::key_frame(fragment(&fixture, name, gop)).unwrap();
    let (small, large) = (init("72p"), init("90p"));
    let tracks = [
        (small.as_slice(), vec![still("72p", 0), still("72p", 3), still("72p", 5)]),
        (large.as_slice(), vec![still("90p", 1)]),
    ];
    let file = folder.path().join("stills.mp4");
    fs::write(&file, excerpt::stills(&tracks, None).unwrap()).unwrap();
    assert_eq!(frames(&file), ["h264,3", "h264,1"]);
    let moving = excerpt::stills(&tracks, Some(fragment(&fixture, "90p", 2))).unwrap();
    fs::write(&file, moving).unwrap();
    assert_eq!(frames(&file), ["h264,3", "h264,51"]);
    assert!(excerpt::key_frame(&fragment(&fixture, "72p", 0)[..60]).is_err());
    assert!(excerpt::key_frame(b"").is_err());
}

#[test]
fn clips_contain_the_video_and_audio_of_their_cuts() {
    let folder = Folder::new();
    let fixture = fixture(grid(30_000, 1001, 600), &folder);
    let (video, audio) =
        (fixture.index.track("72p").unwrap().0, fixture.index.track("audio-0").unwrap().0);
    let of = |name, gops: Range<u32>| gops.map(|gop| fragment(&fixture, name, gop)).collect();
    let cuts: Vec<Cut<'_>> = [1..3, 5..7, 9..10]
        .map(|gops| Cut {
            gop: gops.start,
            video: of("72p", gops.clone()),
            audio: of("audio-0", gops),
        })
        .to_vec();
    let clip = excerpt::clip(&fixture.index.grid, &video.init, Some(&audio.init), &cuts).unwrap();
    let file = folder.path().join("clip.mp4");
    fs::write(&file, &clip).unwrap();
    let expected = 4 * 60 + 60;
    let counted = frames(&file);
    assert_eq!(counted[0], format!("h264,{expected}"));
    assert!(counted[1].starts_with("aac,"), "{counted:?}");
    let wanted = Wanted {
        size: Size { width: 128, height: 72 },
        frames: expected,
        seconds: expected as f64 * 1001.0 / 30_000.0,
        sound: true,
    };
    movie::check(&clip, &wanted).unwrap();
    rejects_other_files_than_the_clip(&clip, &wanted);
    let silent = excerpt::clip(&fixture.index.grid, &video.init, None, &cuts).unwrap();
    assert!(movie::check(&silent, &wanted).is_err());
    movie::check(&silent, &Wanted { sound: false, ..wanted }).unwrap();
}

fn rejects_other_files_than_the_clip(clip: &[u8], wanted: &Wanted) {
    for end in (0..clip.len()).step_by(97) {
        assert!(movie::check(&clip[..end], wanted).is_err(), "cut at {end}");
    }
    let wrong = [
        Wanted { size: Size { width: 130, height: 72 }, ..*wanted },
        Wanted { frames: wanted.frames + 1, ..*wanted },
        Wanted { seconds: wanted.seconds + 1.0, ..*wanted },
        Wanted { sound: false, ..*wanted },
    ];
    for wrong in wrong {
        assert!(movie::check(clip, &wrong).is_err(), "{wrong:?}");
    }
    // A flipped byte in the header either causes an error or has no effect; it never causes a
    // panic.
    for at in 0..clip.len().min(4096) {
        let mut bytes = clip.to_vec();
        bytes[at] ^= 0x55;
        let _ = movie::check(&bytes, wanted);
    }
}

fn tables_of(fixture: &Fixture, rendition: &str) -> Vec<ChunkTable> {
    let (track, _) = fixture.index.track(rendition).unwrap();
    let video = rendition.ends_with('p');
    let ticks = if video { fixture.index.grid.rate().frame_ticks() } else { AAC_FRAME_SAMPLES };
    let chunks = track.chunks.iter().flatten();
    let made: Vec<ChunkTable> =
        chunks.map(|chunk| tables::of_chunk(fixture.object(&chunk.key), ticks).unwrap()).collect();
    let encoded = tables::encode(&made);
    assert_eq!(tables::decode(&encoded), Some(made.clone()));
    assert_eq!(tables::decode(&encoded[..encoded.len() - 1]), None);
    made
}

fn bytes(fixture: &Fixture, download: &Download, range: Range<u64>) -> Vec<u8> {
    let mut out = Vec::new();
    for slice in download.slices(range) {
        match slice {
            Slice::Header(bytes) => out.extend_from_slice(bytes),
            Slice::Object { key, range } => {
                out.extend_from_slice(
                    &fixture.object(key)[range.start as usize..range.end as usize],
                );
            }
        }
    }
    out
}

fn framemd5(file: &Path, stream: &str) -> Vec<String> {
    let file = file.to_str().unwrap();
    let arguments = ["-v", "error", "-i", file, "-map", stream, "-f", "framemd5", "-"];
    let text = String::from_utf8(run("ffmpeg", &arguments, Path::new("/"))).unwrap();
    let rows = text.lines().filter(|line| !line.starts_with('#'));
    rows.map(|line| line.rsplit(',').next().unwrap().trim().to_owned()).collect()
}

/// Init segment and all fragments, concatenated as in a player.
fn joined(fixture: &Fixture, rendition: &str, folder: &Folder) -> std::path::PathBuf {
    let (track, _) = fixture.index.track(rendition).unwrap();
    let mut all = track.init.clone();
    track
        .chunks
        .iter()
        .flatten()
        .for_each(|chunk| all.extend_from_slice(fixture.object(&chunk.key)));
    let file = folder.path().join(format!("{rendition}-joined.mp4"));
    fs::write(&file, all).unwrap();
    file
}

#[test]
fn a_download_contains_every_frame_and_any_range_is_a_part_of_it() {
    let folder = Folder::new();
    let fixture = fixture(grid(24_000, 1001, 700), &folder);
    let (video, audio) =
        (fixture.index.track("90p").unwrap().0, fixture.index.track("audio-0").unwrap().0);
    let (video_tables, audio_tables) = (tables_of(&fixture, "90p"), tables_of(&fixture, "audio-0"));
    let picture = Rendition { track: video, tables: &video_tables };
    let sound = Rendition { track: audio, tables: &audio_tables };
    let download = Download::new(&fixture.index, picture, Some(sound)).unwrap();
    let whole = bytes(&fixture, &download, 0..u64::MAX);
    assert_eq!(whole.len() as u64, download.bytes());
    let file = folder.path().join("download.mp4");
    fs::write(&file, &whole).unwrap();
    assert_eq!(frames(&file)[0], "h264,700");
    assert_eq!(framemd5(&file, "0:v:0"), framemd5(&joined(&fixture, "90p", &folder), "0:v:0"));
    assert_eq!(framemd5(&file, "0:a:0"), framemd5(&joined(&fixture, "audio-0", &folder), "0:a:0"));
    // Every byte range, at any position.
    let length = whole.len() as u64;
    let mut at = 1;
    for step in 0..400_u64 {
        at = (at * 6_364_136_223 + step) % length;
        let end = (at + 1 + step * step).min(length);
        assert_eq!(
            bytes(&fixture, &download, at..end),
            whole[at as usize..end as usize],
            "{at}..{end}"
        );
    }
    assert_eq!(bytes(&fixture, &download, length..length + 5), b"");
    let silent = Download::new(&fixture.index, picture, None).unwrap();
    fs::write(&file, bytes(&fixture, &silent, 0..u64::MAX)).unwrap();
    assert_eq!(frames(&file), ["h264,700"]);
    let short = Rendition { track: video, tables: &video_tables[1..] };
    assert!(Download::new(&fixture.index, short, None).is_err());
    assert_ne!(etag(&fixture.index, "a", None), etag(&fixture.index, "a", Some("b")));
}

#[test]
fn a_download_of_sound_alone_contains_every_frame_of_its_track() {
    let folder = Folder::new();
    let fixture = fixture(grid(24_000, 1001, 700), &folder);
    let (track, tables) =
        (fixture.index.track("audio-0").unwrap().0, tables_of(&fixture, "audio-0"));
    let sound = Rendition { track, tables: &tables };
    let download = Download::new(&fixture.index, sound, None).unwrap();
    let whole = bytes(&fixture, &download, 0..u64::MAX);
    assert_eq!(whole.len() as u64, download.bytes());
    let file = folder.path().join("sound.mp4");
    fs::write(&file, &whole).unwrap();
    assert_eq!(framemd5(&file, "0:a:0"), framemd5(&joined(&fixture, "audio-0", &folder), "0:a:0"));
    let [streams] = &frames(&file)[..] else { panic!("one track: {:?}", frames(&file)) };
    let count: usize = tables.iter().flatten().map(|gop| gop.sizes.len()).sum();
    assert_eq!(*streams, format!("aac,{count}"));
}
