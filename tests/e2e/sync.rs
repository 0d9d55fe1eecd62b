//! Audio and video stay in sync: a flash and its beep are at most one frame apart.

use std::{path::Path, time::Duration};

use crate::{
    conformance::{self, Phase, Violations},
    harness::{
        capture::{Capture, Track},
        clip, picture, program,
        stack::Stack,
    },
};

const SECONDS: u32 = 48;
const RATE: f64 = 25.0;
/// Brightness (0 to 255) above which a picture is a flash.
const FLASH_LEVEL: u8 = 120;
/// Amplitude (0 to 32767) above which a sample belongs to a beep.
const BEEP_LEVEL: i16 = 8000;
/// Silence between the end of one beep and the start of the next, in samples.
const SILENCE_SAMPLES: usize = 24_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flash_and_beep_stay_together_in_every_rendition() {
    let file = clip::flash_and_beep(SECONDS);
    let stack = Stack::start().await;
    let (video, _) = stack.client().publish(&file, Duration::from_secs(180)).await;
    let viewer = stack.anonymous();
    let hls = Capture::hls(&viewer, &format!("/api/stream/{video}/hls/playlist.m3u8")).await;
    let due = clip::flashes(SECONDS).map(f64::from);
    together(&hls.hls_tracks(), stack.beside(), &due);
    let manifest = format!("/api/stream/{video}/dash/manifest.mpd");
    let dash = super::growing::settled_dash(&viewer, &manifest).await;
    together(&dash.dash_tracks(), stack.beside(), &due);
}

/// Two recordings in one transport stream, the second by an earlier clock.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn joined_recordings_are_served_one_after_the_other_with_their_audio() {
    const PART_SECONDS: u32 = 9;
    let stack = Stack::start().await;
    let joined = |part: &Path, name: &str| {
        let mut bytes = Vec::new();
        for offset in ["100", "0"] {
            let file = stack.beside().join(format!("{offset}-{name}"));
            let (part, out) = (part.to_str().expect("path"), file.to_str().expect("path"));
            let args = ["-v", "error", "-i", part, "-c", "copy", "-output_ts_offset", offset, out];
            program::output("ffmpeg", &args);
            bytes.extend(std::fs::read(file).expect("read recording"));
        }
        let file = stack.beside().join(name);
        std::fs::write(&file, bytes).expect("write joined recordings");
        file
    };
    let (client, viewer) = (stack.client(), stack.anonymous());
    let part = clip::flash_and_beep(PART_SECONDS);
    let (video, _) = client.publish(&joined(&part, "flash.ts"), Duration::from_secs(180)).await;
    let captured = Capture::hls(&viewer, &format!("/api/stream/{video}/hls/playlist.m3u8")).await;
    let due = clip::flashes(PART_SECONDS).map(f64::from);
    let later = due.map(|second| second + f64::from(PART_SECONDS));
    together(&captured.hls_tracks(), stack.beside(), &[due, later].concat());

    let part = clip::Numbered::seconds(PART_SECONDS);
    let file = joined(&part.file(), "numbered.ts");
    let (video, _) = client.publish(&file, Duration::from_secs(180)).await;
    let metadata = client.get(&format!("/api/videos/{video}")).await.expect(200).json();
    assert_eq!(metadata["metadata"]["duration"], 18.0, "{metadata:#}");
    let captured = Capture::hls(&viewer, &format!("/api/stream/{video}/hls/playlist.m3u8")).await;
    conformance::hls::check(&captured, Phase::Final).assert_none("HLS");
    let once = || (0..part.frames()).map(|number| Some(number as u16));
    let expected: Vec<Option<u16>> = once().chain(once()).collect();
    for track in captured.hls_tracks().iter().filter(|track| !track.is_audio()) {
        assert_eq!(picture::numbers(&track.write(stack.beside())), expected, "{}", track.name);
    }
}

fn together(tracks: &[Track], dir: &Path, due: &[f64]) {
    let mut violations = Violations::default();
    assert_eq!(conformance::parse(tracks, &mut violations).len(), tracks.len(), "{violations:?}");
    let sounds: Vec<&Track> = tracks.iter().filter(|track| track.is_audio()).collect();
    assert_eq!(sounds.len(), 1, "one audio rendition");
    let beeps = beeps(&sounds[0].write(dir));
    for track in tracks.iter().filter(|track| !track.is_audio()) {
        let flashes = flashes(&track.write(dir));
        let found = (flashes.len(), beeps.len());
        assert_eq!(found, (due.len(), due.len()), "{flashes:?} {beeps:?}");
        for ((flash, beep), due) in flashes.iter().zip(&beeps).zip(due) {
            assert!(
                (flash - beep).abs() <= 1.0 / RATE,
                "{}: flash {flash}, beep {beep}",
                track.name
            );
            assert!((flash - due).abs() <= 1.0 / RATE, "{}: flash {flash}, due {due}", track.name);
        }
    }
}

fn flashes(file: &Path) -> Vec<f64> {
    let levels = picture::brightness(file);
    let lit = |index: usize| levels[index] > FLASH_LEVEL;
    let begins = (1..levels.len()).filter(|index| lit(*index) && !lit(index - 1));
    begins.map(|index| index as f64 / RATE).collect()
}

fn beeps(file: &Path) -> Vec<f64> {
    let path = file.to_str().expect("UTF-8 path");
    let args = ["-v", "error", "-i", path, "-ac", "1", "-ar", "48000", "-f", "s16le", "-"];
    let pcm = program::output("ffmpeg", &args);
    let samples = pcm.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]]));
    let loud = samples.enumerate().filter(|(_, level)| level.saturating_abs() > BEEP_LEVEL);
    let mut found = Vec::new();
    let mut last: Option<usize> = None;
    for (index, _) in loud {
        if last.is_none_or(|last| index - last > SILENCE_SAMPLES) {
            found.push(index as f64 / 48_000.0);
        }
        last = Some(index);
    }
    found
}
