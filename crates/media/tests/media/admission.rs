//! Admission rejects every difference from the grid, and names it.

use std::sync::LazyLock;

use media::{
    Grid,
    admission::{AdmissionError, TrackKind, admit},
    fmp4::rewrite::Rewritten,
};
use proptest::prelude::*;

use crate::{
    ffmpeg::{Folder, MOVFLAGS, encode_audio},
    fixture::{audio, grid, video},
};

struct Samples {
    grid: Grid,
    video: Vec<Rewritten>,
    audio: Vec<Rewritten>,
}

/// 2 + 1.4 GOPs at 25 frames per second.
static SAMPLES: LazyLock<Samples> = LazyLock::new(|| {
    let folder = Folder::new();
    let grid = grid(25, 1, 170);
    let video = video(&grid, MOVFLAGS[0], "128x72", &folder);
    let raw = encode_audio(&grid, 500_000, folder.path());
    Samples { grid, video, audio: audio(&grid, &raw, 8192) }
});

fn admit_video(bytes: &[u8]) -> Result<usize, AdmissionError> {
    let Samples { grid, video, .. } = &*SAMPLES;
    admit(TrackKind::Video, grid, 0, &video[0].init, bytes).map(|fragments| fragments.len())
}

/// Position of the `nth` occurrence of `code` in `bytes`.
fn find(bytes: &[u8], code: &[u8; 4], nth: usize) -> usize {
    let mut places = bytes.windows(4).enumerate().filter(|(_, window)| window == code);
    places.nth(nth).unwrap().0
}

/// Chunk 0 of the video with `change` applied to it.
fn mutated(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = SAMPLES.video[0].bytes.clone();
    change(&mut bytes);
    bytes
}

#[test]
fn complete_output_is_admitted() {
    let Samples { grid, video, audio } = &*SAMPLES;
    for (kind, chunks) in [(TrackKind::Video, video), (TrackKind::Audio, audio)] {
        assert_eq!(chunks.len() as u32, grid.chunks());
        for chunk in chunks {
            let admitted = admit(kind, grid, chunk.chunk, &chunk.init, &chunk.bytes);
            assert_eq!(admitted.as_ref(), Ok(&chunk.fragments));
        }
    }
}

#[test]
fn truncation_is_rejected_everywhere() {
    let bytes = &SAMPLES.video[0].bytes;
    for length in (0..bytes.len()).step_by(41).chain([bytes.len() - 1]) {
        assert!(admit_video(&bytes[..length]).is_err(), "cut at {length}");
    }
}

#[test]
fn extra_bytes_are_rejected() {
    let trailing = admit_video(&mutated(|b| b.extend_from_slice(&[0; 8])));
    assert_eq!(trailing, Err(AdmissionError::Trailing(8)));
    let Samples { video, .. } = &*SAMPLES;
    let twice = admit_video(&mutated(|b| b.extend_from_slice(&video[0].bytes)));
    assert_eq!(twice, Err(AdmissionError::Trailing(video[0].bytes.len())));
    // An additional byte inside an `mdat` whose size includes it.
    let slack = admit_video(&mutated(|b| {
        let at = find(b, b"mdat", 0) - 4;
        let size = u32::from_be_bytes(b[at..at + 4].try_into().unwrap());
        b[at..at + 4].copy_from_slice(&(size + 1).to_be_bytes());
        b.insert(at + size as usize, 0);
    }));
    assert_eq!(slack, Err(AdmissionError::FragmentForm { gop: 0 }));
}

#[test]
fn a_wrong_decode_time_is_rejected() {
    let late = admit_video(&mutated(|b| {
        let at = find(b, b"tfdt", 1);
        b[at + 15] ^= 1;
    }));
    assert!(
        matches!(late, Err(AdmissionError::DecodeTime { gop: 1, expected: 20_000, .. })),
        "{late:?}"
    );
    let Samples { grid, video, audio } = &*SAMPLES;
    let other = admit(TrackKind::Video, grid, 1, &video[0].init, &video[0].bytes);
    assert!(matches!(other, Err(AdmissionError::DecodeTime { gop: 2, .. })), "{other:?}");
    let other = admit(TrackKind::Audio, grid, 0, &audio[1].init, &audio[1].bytes);
    assert!(matches!(other, Err(AdmissionError::DecodeTime { gop: 0, .. })), "{other:?}");
    let past = admit(TrackKind::Video, grid, 9, &video[0].init, &video[0].bytes);
    assert_eq!(past, Err(AdmissionError::Chunk { chunk: 9, chunks: 2 }));
}

#[test]
fn a_missing_frame_is_rejected() {
    // Without its first GOP the chunk starts too late; without its last the object ends too early.
    let first = SAMPLES.video[0].fragments[0].bytes as usize;
    assert!(matches!(
        admit_video(&SAMPLES.video[0].bytes[first..]),
        Err(AdmissionError::DecodeTime { gop: 0, .. })
    ));
    assert!(matches!(
        admit_video(&SAMPLES.video[0].bytes[..first]),
        Err(AdmissionError::Fragment { gop: 1, .. })
    ));
    // The run states one sample fewer.
    let fewer = admit_video(&mutated(|b| {
        let at = find(b, b"trun", 0);
        b[at + 11] -= 1;
    }));
    assert_eq!(fewer, Err(AdmissionError::SampleCount { gop: 0, expected: 50, found: 49 }));
    // A shorter video expects fewer samples than the fragment has.
    let shorter = grid(25, 1, 80);
    let Samples { video, .. } = &*SAMPLES;
    let rejected = admit(TrackKind::Video, &shorter, 0, &video[0].init, &video[0].bytes);
    assert_eq!(rejected, Err(AdmissionError::SampleCount { gop: 1, expected: 30, found: 50 }));
}

#[test]
fn a_gop_that_does_not_start_with_a_key_frame_is_rejected() {
    let flagged = admit_video(&mutated(|b| {
        let at = find(b, b"trun", 0);
        b[at + 16..at + 20].copy_from_slice(&0x0101_0000_u32.to_be_bytes());
    }));
    assert_eq!(flagged, Err(AdmissionError::KeyFrame { gop: 0, sample: 0 }));
    // The tables mark a sync sample, but the picture is not an IDR picture. FFmpeg writes an SEI
    // unit first.
    let picture = admit_video(&mutated(|b| {
        let mut at = find(b, b"mdat", 0) + 4;
        while b[at + 4] & 0x1f != 5 {
            at += 4 + u32::from_be_bytes(b[at..at + 4].try_into().unwrap()) as usize;
        }
        b[at + 4] = b[at + 4] & 0xe0 | 1;
    }));
    assert_eq!(picture, Err(AdmissionError::KeyFrame { gop: 0, sample: 0 }));
}

#[test]
fn a_broken_nal_unit_is_rejected() {
    let last = SAMPLES.video[0].bytes.len();
    let length = admit_video(&mutated(|b| {
        let at = find(b, b"mdat", 0) + 4;
        b[at + 3] = b[at + 3].wrapping_add(1);
    }));
    assert!(matches!(length, Err(AdmissionError::Payload { gop: 0, sample: 0, .. })), "{length:?}");
    let zeros = admit_video(&mutated(|b| {
        let at = find(b, b"mdat", 1) + 4;
        b[at..last].fill(0);
    }));
    assert!(matches!(zeros, Err(AdmissionError::Payload { gop: 1, sample: 0, .. })), "{zeros:?}");
}

#[test]
fn two_frames_at_one_time_are_rejected() {
    let doubled = admit_video(&mutated(|b| {
        let second = find(b, b"trun", 0) + 20 + 8;
        let delay: [u8; 4] = b[second - 4..second].try_into().unwrap();
        // Presents the second sample at the time of the third, which is taken.
        b[second + 4..second + 8].copy_from_slice(&delay);
    }));
    assert!(matches!(doubled, Err(AdmissionError::Composition { gop: 0, .. })), "{doubled:?}");
    let between = admit_video(&mutated(|b| {
        let second = find(b, b"trun", 0) + 20 + 8;
        b[second + 7] ^= 1;
    }));
    assert_eq!(between, Err(AdmissionError::Composition { gop: 0, sample: 1 }));
}

#[test]
fn another_init_segment_is_rejected() {
    let Samples { grid: right, video, audio } = &*SAMPLES;
    let (init, bytes) = (&video[0].init, &video[0].bytes);
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut init = init.clone();
        change(&mut init);
        admit(TrackKind::Video, right, 0, &init, bytes)
    };
    let timescale = with(&|init| {
        let at = find(init, b"mdhd", 0);
        init[at + 16..at + 20].copy_from_slice(&12_800_u32.to_be_bytes());
    });
    assert_eq!(timescale, Err(AdmissionError::Timescale { expected: 10_000, found: 12_800 }));
    assert_eq!(
        with(&|init| init.extend_from_slice(b"\0\0\0\x08free")),
        Err(AdmissionError::InitForm)
    );
    assert!(matches!(with(&Vec::clear), Err(AdmissionError::Init(_))));
    let shift = with(&|init| {
        let at = find(init, b"elst", 0);
        init[at + 19] ^= 1;
    });
    assert_eq!(shift, Err(AdmissionError::InitForm));
    let size = with(&|init| {
        let at = find(init, b"avc1", 0);
        init[at + 29] ^= 0x40;
    });
    assert!(matches!(size, Err(AdmissionError::Init(_))), "{size:?}");
    assert_eq!(admit(TrackKind::Video, right, 0, &audio[0].init, bytes), Err(AdmissionError::Kind));
    let faster = grid(30, 1, 170);
    let faster = admit(TrackKind::Video, &faster, 0, init, bytes);
    assert_eq!(faster, Err(AdmissionError::Timescale { expected: 10_020, found: 10_000 }));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_flipped_byte_of_a_moof_is_rejected(at: prop::sample::Index, flip in 1_u8..=255) {
        let Samples { grid, video, audio } = &*SAMPLES;
        for (kind, chunk) in [(TrackKind::Video, &video[0]), (TrackKind::Audio, &audio[0])] {
            let mut bytes = chunk.bytes.clone();
            let at = at.index(find(&bytes, b"mdat", 0) + 4);
            bytes[at] ^= flip;
            prop_assert!(admit(kind, grid, 0, &chunk.init, &bytes).is_err(), "byte {at}");
        }
    }

    #[test]
    fn any_flipped_byte_of_an_init_segment_is_rejected_or_another_codec(
        at: prop::sample::Index, flip in 1_u8..=255,
    ) {
        // The encoder chooses parameter sets and colours; the control plane compares them between
        // chunks. All other bytes have one canonical form.
        let Samples { grid, video, .. } = &*SAMPLES;
        let mut init = video[0].init.clone();
        let (codec, rest) = (find(&init, b"avcC", 0) + 4, find(&init, b"pasp", 0) - 4);
        let at = at.index(init.len());
        init[at] ^= flip;
        if at < codec || at >= rest {
            let admitted = admit(TrackKind::Video, grid, 0, &init, &video[0].bytes);
            prop_assert!(admitted.is_err(), "byte {at}");
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>, at: prop::sample::Index) {
        let Samples { grid, video, .. } = &*SAMPLES;
        prop_assert!(admit_video(&bytes).is_err());
        prop_assert!(admit(TrackKind::Video, grid, 0, &bytes, &video[0].bytes).is_err());
        let mut mixed = video[0].bytes.clone();
        let at = at.index(mixed.len());
        let end = (at + bytes.len()).min(mixed.len());
        mixed[at..end].copy_from_slice(&bytes[..end - at]);
        let _ = admit_video(&mixed);
    }
}
