//! Surround: AAC in 5.1, copied AC-3 and E-AC-3 on the grid, and the manifests that list them.

use media::{
    Grid,
    admission::{AdmissionError, TrackKind, admit},
    fmp4::{
        Mp4Error,
        copied::{CopiedFormat, CopiedRewriter},
        init_info,
        rewrite::Rewritten,
    },
    grid::DOLBY_UNIT_SAMPLES,
    index::{AudioDetails, AudioRendition, Chunk, Fragment, Index, Track},
    manifest::{
        Links,
        dash::{mpd, reloaded_mpd},
        hls::{Playlist, media, multivariant},
    },
    segment::{Located, SegmentName, locate},
};

use crate::{
    ffmpeg::{Folder, joined, run},
    fixture::{audio, empty_index, grid},
};

/// 25 frames per second, 8 s and a half: chunks of two, two and a fraction of GOPs.
fn eight_seconds() -> Grid {
    grid(25, 1, 212)
}

/// A tone in each channel, for `seconds`.
fn tones(seconds: &str) -> String {
    let tone = |hertz: u32| format!("0.4*sin({hertz}*2*PI*t)");
    let tones = [300, 400, 500, 60, 600, 700].map(tone).join("|");
    format!("aevalsrc={tones}:s=48000:c=5.1(side):d={seconds}")
}

/// FFmpeg's output when it copies a track of `seconds` that begins at `start`, with all times moved
/// by 100 s.
fn copy(encoder: &str, seconds: &str, start: &str, filter: &str, folder: &Folder) -> Vec<u8> {
    let source = tones(seconds);
    #[rustfmt::skip]
    run("ffmpeg", &[
        "-v", "error", "-y", "-f", "lavfi", "-i", &source, "-c:a", encoder, "-b:a", "384k",
        "-f", "matroska", "made.mka",
    ], folder.path());
    #[rustfmt::skip]
    let copied = run("ffmpeg", &[
        "-v", "error", "-copyts", "-itsoffset", start, "-i", "made.mka", "-c", "copy",
        "-bsf:a", filter, "-output_ts_offset", "100",
        "-movflags", "+delay_moov+default_base_moof+frag_discont", "-frag_duration", "500000",
        "-f", "mp4", "pipe:1",
    ], folder.path());
    copied
}

fn silence(format: CopiedFormat, folder: &Folder) -> Vec<u8> {
    let encoder = if format.codec == "ac-3" { "ac3" } else { "eac3" };
    let rate = format!("{}k", format.rate);
    #[rustfmt::skip]
    let made = run("ffmpeg", &[
        "-v", "error", "-f", "lavfi", "-i", "anullsrc=r=48000:cl=5.1(side)", "-t", "0.1",
        "-c:a", encoder, "-b:a", &rate, "-f", encoder, "pipe:1",
    ], folder.path());
    made
}

/// Every chunk of a copied track, after admission.
fn rewritten(grid: &Grid, raw: &[u8], folder: &Folder) -> Result<Vec<Rewritten>, Mp4Error> {
    let mut rewriter = CopiedRewriter::new(*grid, Some(100 * 48_000));
    let (mut chunks, mut silent) = (Vec::new(), false);
    for bytes in raw.chunks(10_007) {
        rewriter.push(bytes)?;
        if let Some(format) = rewriter.format().filter(|_| !silent) {
            rewriter.set_silence(&silence(format, folder))?;
            silent = true;
        }
        while let Some(chunk) = rewriter.next_chunk()? {
            chunks.push(chunk);
        }
    }
    while let Some(chunk) = rewriter.finish()? {
        chunks.push(chunk);
    }
    for chunk in &chunks {
        let admitted = admit(TrackKind::Audio, grid, chunk.chunk, &chunk.init, &chunk.bytes);
        assert_eq!(admitted.as_ref(), Ok(&chunk.fragments));
    }
    Ok(chunks)
}

/// The volume of the first channel in each 32 ms of a file, in units of a 16-bit sample.
fn loudness(chunks: &[Rewritten], folder: &Folder) -> Vec<i16> {
    std::fs::write(folder.path().join("all.mp4"), joined(chunks)).unwrap();
    #[rustfmt::skip]
    let pcm = run("ffmpeg", &[
        "-v", "error", "-i", "all.mp4", "-filter_complex", "pan=mono|c0=FL",
        "-f", "s16le", "pipe:1",
    ], folder.path());
    let samples = pcm.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]]));
    let samples: Vec<i16> = samples.collect();
    let unit = DOLBY_UNIT_SAMPLES as usize;
    samples
        .chunks(unit)
        .map(|unit| unit.iter().map(|s| s.saturating_abs()).max().unwrap())
        .collect()
}

#[test]
fn aac_in_six_channels_is_admitted() {
    let (grid, folder) = (eight_seconds(), Folder::new());
    let source = tones("9");
    #[rustfmt::skip]
    let raw = run("ffmpeg", &[
        "-v", "error", "-f", "lavfi", "-i", &source, "-af", "aformat=channel_layouts=5.1",
        "-c:a", "aac", "-b:a", "320k", "-flags", "+global_header",
        "-movflags", "+empty_moov+default_base_moof", "-frag_duration", "1000000",
        "-f", "mp4", "pipe:1",
    ], folder.path());
    let chunks = audio(&grid, &raw, 65_536);
    let info = init_info(&chunks[0].init).unwrap();
    assert_eq!((info.codec.as_str(), info.channels, info.packet_samples), ("mp4a.40.2", 6, 1024));
    assert!(chunks[0].init.windows(4).any(|brand| brand == b"camc"));
    assert!(loudness(&chunks, &folder)[5] > 8000);
}

#[test]
fn copied_units_keep_their_time_and_gaps_are_silent() {
    let (grid, folder) = (eight_seconds(), Folder::new());
    for (encoder, codec) in [("ac3", "ac-3"), ("eac3", "ec-3")] {
        // Half a second late, without the second from 0.992 s of the track, and too short.
        let gap = "noise=amount=0:drop='between(n,31,61)'";
        let raw = copy(encoder, "6", "0.5", gap, &folder);
        let chunks = rewritten(&grid, &raw, &folder).unwrap();
        let info = init_info(&chunks[0].init).unwrap();
        assert_eq!((info.codec.as_str(), info.channels, info.packet_samples), (codec, 6, 1536));
        assert_eq!(chunks.len() as u32, grid.chunks());
        let levels = loudness(&chunks, &folder);
        assert_eq!(levels.len() as u64, grid.sound_frames_total(DOLBY_UNIT_SAMPLES), "{codec}");
        for (unit, level) in levels.iter().enumerate() {
            let (start, end) = (unit as f64 * 0.032, (unit + 1) as f64 * 0.032);
            // A unit overlaps with the one before, and may be moved by half of its length.
            let within = |from: f64, to: f64| start >= from + 0.05 && end <= to - 0.05;
            if within(0.5, 1.492) || within(2.484, 6.5) {
                assert!(*level > 4000, "{codec}: {level} at {start} s");
            } else if within(-1.0, 0.5) || within(1.492, 2.484) || within(6.5, 9.0) {
                assert!(*level < 100, "{codec}: {level} at {start} s");
            }
        }
    }
}

#[test]
fn units_before_the_video_are_dropped_and_jitter_moves_none() {
    let (grid, folder) = (eight_seconds(), Folder::new());
    // Starts 0.9 s before the video; every third unit is 4 ms late.
    let raw = copy("ac3", "12", "-0.9", "setts=ts=TS+4*not(mod(N\\,3))", &folder);
    let chunks = rewritten(&grid, &raw, &folder).unwrap();
    assert!(loudness(&chunks, &folder).iter().all(|level| *level > 4000), "no unit is missing");
}

#[test]
fn damaged_copies_are_not_admitted() {
    let (grid, folder) = (eight_seconds(), Folder::new());
    let raw = copy("ac3", "9", "0", "null", &folder);
    let chunk = rewritten(&grid, &raw, &folder).unwrap().remove(0);
    let check = |init: &[u8], bytes: &[u8]| admit(TrackKind::Audio, &grid, 0, init, bytes);
    let sync = chunk.bytes.windows(2).position(|pair| pair == [0x0b, 0x77]).unwrap();
    // The sync word, the bit rate, and the channels of the first unit.
    for (at, flip) in [(sync, 1), (sync + 4, 4), (sync + 6, 0x20)] {
        let mut bytes = chunk.bytes.clone();
        bytes[at] ^= flip;
        let found = check(&chunk.init, &bytes);
        let at_first = matches!(found, Err(AdmissionError::Payload { gop: 0, sample: 0, .. }));
        assert!(at_first, "byte {at}: {found:?}");
    }
    let cut = &chunk.bytes[..chunk.bytes.len() - 1];
    assert!(matches!(check(&chunk.init, cut), Err(AdmissionError::Fragment { .. })));
    let record = chunk.init.windows(4).position(|name| name == b"dac3").unwrap() + 4;
    // The sample rate, the layout of channels, and the bit rate.
    for (at, flip) in [(record, 0x40), (record + 1, 0x08), (record + 1, 0x04), (record + 2, 0x80)] {
        let mut init = chunk.init.clone();
        init[at] ^= flip;
        assert!(check(&init, &chunk.bytes).is_err(), "bits {flip:#x} of byte {at}");
    }
}

#[test]
fn a_track_that_changes_its_channels_is_not_copied() {
    let (grid, folder) = (eight_seconds(), Folder::new());
    let raw = copy("ac3", "3", "0", "null", &folder);
    let mut rewriter = CopiedRewriter::new(grid, Some(100 * 48_000));
    rewriter.push(&raw).unwrap();
    let format = rewriter.format().unwrap();
    assert_eq!(format, CopiedFormat { codec: "ac-3", channels: 6, rate: 384 });
    let other = CopiedFormat { rate: 448, ..format };
    assert!(rewriter.set_silence(&silence(other, &folder)).is_err(), "another bit rate");
    assert!(rewriter.set_silence(b"\x0b\x77").is_err() && rewriter.set_silence(&[]).is_err());
    // The second unit loses its channel for low frequencies, or its surround channels.
    let first = raw.windows(2).position(|pair| pair == [0x0b, 0x77]).unwrap();
    for flip in [0x01, 0x40] {
        let mut changed = raw.clone();
        changed[first + 384 * 4 + 6] ^= flip;
        let found = CopiedRewriter::new(grid, Some(100 * 48_000)).push(&changed);
        assert!(matches!(found, Err(Mp4Error::Unsupported(_))), "{found:?}");
    }
    // A unit that is damaged counts as missing.
    let mut damaged = raw.clone();
    damaged[first + 384 * 4] ^= 0xff;
    assert_eq!(CopiedRewriter::new(grid, Some(100 * 48_000)).push(&damaged), Ok(()));
}

/// A finished video without pictures: a track in surround and a commentary in stereo.
fn index() -> Index {
    let mut index = empty_index(Grid::of_sound(65.0).unwrap());
    let rendition = |index: &Index, name: &str, codec: &str, channels, bytes| {
        let chunk = |chunk| {
            let fragment = Fragment { bytes, intra_bytes: 400, duration: 0 };
            let fragments = index.grid.chunk_gops(chunk).map(|_| fragment).collect();
            Some(Chunk { key: format!("{name}/{chunk}"), fragments })
        };
        let chunks = (0..index.grid.chunks()).map(chunk).collect();
        let codec = codec.to_owned();
        let track = Track { codec, timescale: 48_000, init: vec![0], chunks, table: None };
        AudioRendition {
            name: name.to_owned(),
            label: if name == "audio-1" { "Commentary" } else { "English" }.to_owned(),
            language: "en".to_owned(),
            channels,
            target_bitrate: 128_000,
            track,
        }
    };
    for number in [0, 1] {
        let name = format!("audio-{number}");
        let stereo = rendition(&index, &name, "mp4a.40.2", 2, 32_000);
        index.audio_renditions.push(stereo);
    }
    let aac = rendition(&index, "surround-0", "mp4a.40.2", 6, 80_000);
    let ac3 = rendition(&index, "surround-1", "ac-3", 6, 112_000);
    index.audio_details = vec![
        AudioDetails { surround: vec![aac, ac3], ..AudioDetails::default() },
        AudioDetails::default(),
    ];
    index
}

#[test]
fn hls_lists_each_variant_once_per_audio_group_with_stereo_first() {
    let index = index();
    let playlist = multivariant(&index, &Links::default()).unwrap();
    let value = |line: &str, name: &str| {
        let rest = line.split(&format!("{name}=\"")).nth(1).unwrap_or_default();
        rest.split('"').next().unwrap_or_default().to_owned()
    };
    let media: Vec<_> = playlist.lines().filter(|l| l.starts_with("#EXT-X-MEDIA")).collect();
    let members: Vec<_> = media
        .iter()
        .map(|line| (value(line, "GROUP-ID"), value(line, "NAME"), value(line, "CHANNELS")))
        .collect();
    let expected = [
        ("audio", "English", "2"),
        ("audio", "Commentary", "2"),
        ("audio-surround-aac", "English", "6"),
        ("audio-surround-aac", "Commentary", "2"),
        ("audio-surround-ac3", "English", "6"),
        ("audio-surround-ac3", "Commentary", "2"),
    ];
    let owned = |(a, b, c): (&str, &str, &str)| (a.to_owned(), b.to_owned(), c.to_owned());
    assert_eq!(members, expected.map(owned));
    let variants = playlist.lines().filter(|line| line.starts_with("#EXT-X-STREAM-INF"));
    let variants: Vec<_> = variants.map(|l| (value(l, "AUDIO"), value(l, "CODECS"))).collect();
    let expected = [
        ("audio", "mp4a.40.2"),
        ("audio-surround-aac", "mp4a.40.2"),
        ("audio-surround-ac3", "ac-3,mp4a.40.2"),
    ];
    assert_eq!(variants, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    // The segments of AC-3 end on its own grid, within half of its packet.
    let list = |name| media_playlist(&index, name);
    assert!(list("audio-0").contains("#EXTINF:4.010667,"), "{}", list("audio-0"));
    assert!(list("surround-1").contains("#EXTINF:4.000000,"), "{}", list("surround-1"));
    let first = locate(&index, "surround-1", SegmentName::Hls(0));
    assert!(matches!(first, Some(Located::Object { content_type: "audio/mp4", .. })), "{first:?}");
}

fn media_playlist(index: &Index, name: &str) -> String {
    media(index, name, Playlist::Vod, &Links::default()).unwrap()
}

#[test]
fn dash_prefers_stereo_and_states_the_channels() {
    let mpd = mpd(&index(), i64::MAX, &Links::default()).unwrap();
    let sets: Vec<&str> = mpd.split("<AdaptationSet").skip(1).collect();
    let stereo = "23003:3:audio_channel_configuration:2011\" value=\"2\"";
    assert!(sets[..2].iter().all(|s| s.contains("selectionPriority=\"2\"") && s.contains(stereo)));
    let six = "23003:3:audio_channel_configuration:2011\" value=\"6\"";
    assert!(sets[2].contains(six) && sets[2].contains("id=\"surround-0\""), "{}", sets[2]);
    let dolby = "tag:dolby.com,2014:dash:audio_channel_configuration:2011\" value=\"F801\"";
    assert!(sets[3].contains(dolby) && sets[3].contains("codecs=\"ac-3\""), "{}", sets[3]);
    assert!(sets[2..].iter().all(|s| s.contains("value=\"main\"") && !s.contains("Priority")));
    assert_eq!(sets.len(), 4);
    // A session that began before the end keeps its sets.
    let reloaded = reloaded_mpd(&index(), i64::MAX, &Links::default()).unwrap();
    assert!(reloaded.contains("type=\"static\"") && !reloaded.contains("surround"), "{reloaded}");
}

#[test]
fn surround_that_is_not_complete_is_not_listed() {
    let mut growing = index();
    growing.finished_at_ms = None;
    let mut failed = index();
    for surround in &mut failed.audio_details[0].surround {
        surround.track.chunks.pop();
    }
    for index in [&growing, &failed] {
        let playlist = multivariant(index, &Links::default()).unwrap();
        assert!(!playlist.contains("surround"), "{playlist}");
        let mpd = mpd(index, i64::MAX, &Links::default()).unwrap();
        assert!(!mpd.contains("surround") && !mpd.contains("selectionPriority"), "{mpd}");
    }
    assert_eq!(Index::decode(&index().encode()), Ok(index()));
}
