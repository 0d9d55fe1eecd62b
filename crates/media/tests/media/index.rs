//! The index format, and lookups in an index.

use std::sync::LazyLock;

use media::{
    grid::HLS_SEGMENT_GOPS,
    index::{Chunk, Fragment, Index, IndexError, Track, VideoRendition},
    segment::{Located, SegmentName, locate},
};
use proptest::prelude::*;

use crate::fixture::{empty_index, grid};

/// One rung with the given chunks committed; the fragment of GOP g has 1000 + g bytes.
pub(crate) fn synthetic(frames: u64, committed: &[u32]) -> Index {
    let grid = grid(25, 1, frames);
    let mut index = empty_index(grid);
    let mut chunks = vec![None; grid.chunks() as usize];
    for chunk in committed {
        let fragment = |gop| Fragment { bytes: 1000 + gop, intra_bytes: 300, duration: 20_000 };
        chunks[*chunk as usize] = Some(Chunk {
            key: format!("v/360p/{chunk}"),
            fragments: grid.chunk_gops(*chunk).map(fragment).collect(),
        });
    }
    index.video_renditions.push(VideoRendition {
        name: "360p".to_owned(),
        width: 640,
        height: 360,
        target_bitrate: 800_000,
        track: Track {
            codec: "avc1.64001e".to_owned(),
            timescale: 10_000,
            init: vec![1, 2, 3],
            chunks,
            table: None,
        },
    });
    index
}

static ENCODED: LazyLock<Vec<u8>> = LazyLock::new(|| synthetic(2000, &[0, 1, 3]).encode());

#[test]
fn an_index_survives_its_encoding() {
    for committed in [&[][..], &[0], &[1, 3], &[0, 1, 2, 3, 4]] {
        let index = synthetic(2000, committed);
        assert_eq!(Index::decode(&index.encode()), Ok(index));
    }
}

#[test]
fn damage_is_reported_with_its_kind() {
    let encoded = &*ENCODED;
    assert_eq!(Index::decode(&[]), Err(IndexError::Size(0)));
    assert_eq!(
        Index::decode(b"not an index at all, but long enough to be one"),
        Err(IndexError::Magic)
    );
    assert_eq!(Index::decode(&encoded[..encoded.len() - 1]), Err(IndexError::Checksum));
    let mut other = encoded.clone();
    other[4] = 99;
    assert_eq!(Index::decode(&other), Err(IndexError::Version(99)));
    let mut sealed = encoded[..6].to_vec();
    sealed.extend_from_slice(blake3::hash(b"\x01\x02").as_bytes());
    sealed.extend_from_slice(b"\x01\x02");
    assert_eq!(Index::decode(&sealed), Err(IndexError::Malformed));
}

#[test]
fn indexes_of_earlier_versions_are_read() {
    let index = synthetic(2000, &[0, 1, 3]);
    // The index has neither details of its audio nor a joined remainder, so it is written in version
    // 3. Version 2 lacked the list of text tracks at the end, here an empty list of one byte.
    assert_eq!(ENCODED[4], 3);
    let payload = &ENCODED[6 + blake3::OUT_LEN..ENCODED.len() - 1];
    let mut older = b"SVIX\x02\x00".to_vec();
    older.extend_from_slice(blake3::hash(payload).as_bytes());
    older.extend_from_slice(payload);
    assert_eq!(Index::decode(&older), Ok(index));
}

#[test]
fn an_index_keeps_the_rule_of_its_grid() {
    let mut index = synthetic(101, &[0, 1]);
    assert_eq!(Index::decode(&index.encode()).unwrap().grid.gops(), 3);
    index.grid = index.grid.with_joined_remainder();
    assert_eq!(Index::decode(&index.encode()).unwrap().grid.gops(), 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_corruption_is_an_error(at: prop::sample::Index, flip in 1_u8..=255, cut: prop::sample::Index) {
        let mut bytes = ENCODED.clone();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        prop_assert!(Index::decode(&bytes).is_err());
        prop_assert!(Index::decode(&ENCODED[..cut.index(ENCODED.len())]).is_err());
    }

    #[test]
    fn a_damaged_payload_with_a_valid_checksum_never_panics(
        at: prop::sample::Index, value: u8, cut: prop::sample::Index,
    ) {
        let mut payload = ENCODED[38..].to_vec();
        let at = at.index(payload.len());
        payload[at] = value;
        payload.truncate(cut.index(payload.len()) + 1);
        let mut bytes = ENCODED[..6].to_vec();
        bytes.extend_from_slice(blake3::hash(&payload).as_bytes());
        bytes.extend_from_slice(&payload);
        if let Ok(index) = Index::decode(&bytes) {
            let _ = media::manifest::hls_playable(&index);
        }
    }

    #[test]
    fn hls_and_dash_segments_have_the_same_total_size(frames in 1_u64..3000) {
        let chunks: Vec<u32> = (0..grid(25, 1, frames).chunks()).collect();
        let index = synthetic(frames, &chunks);
        let total = |name: fn(u32) -> SegmentName, count: usize| -> u64 {
            let sizes = (0..count as u32).map(|n| match locate(&index, "360p", name(n)) {
                Some(Located::Object { bytes, .. }) => bytes,
                other => panic!("{:?}: {other:?}", name(n)),
            });
            let total = sizes.sum();
            assert_eq!(locate(&index, "360p", name(count as u32)), None);
            assert_eq!(locate(&index, "360p", name(u32::MAX)), None);
            total
        };
        let all: u64 = (0..u64::from(index.grid.gops())).map(|gop| 1000 + gop).sum();
        prop_assert_eq!(total(SegmentName::Hls, index.grid.hls_segments().count()), all);
        prop_assert_eq!(total(SegmentName::Dash, index.grid.dash_segments().count()), all);
    }
}

#[test]
fn a_segment_is_a_range_of_one_object() {
    let index = synthetic(2000, &[0, 1, 3]);
    // Chunk 0 has GOPs 0 and 1, chunk 1 has GOPs 2 to 11.
    let Some(Located::Object { head, key, offset, bytes, etag, content_type }) =
        locate(&index, "360p", SegmentName::Hls(2))
    else {
        panic!("no segment");
    };
    assert_eq!((head.len(), key, content_type), (0, "v/360p/1", "video/mp4"));
    assert_eq!(offset, (2..7).map(|gop| 1000 + gop).sum::<u64>());
    assert_eq!(bytes, (7..12).map(|gop| 1000 + gop).sum::<u64>());
    assert!(etag.starts_with('"') && etag.ends_with('"') && etag.len() == 34);
    assert_eq!(HLS_SEGMENT_GOPS, 5);
    assert_eq!(locate(&index, "360p", SegmentName::Init), Some(Located::Inline(&[1, 2, 3])));
    // Chunk 2 is missing, so no segment of chunk 3 is available yet.
    assert_eq!(locate(&index, "360p", SegmentName::Hls(3)), None);
    assert_eq!(locate(&index, "360p", SegmentName::Hls(5)), None);
    assert_eq!(locate(&index, "480p", SegmentName::Hls(0)), None);
}

#[test]
fn only_canonical_names_exist() {
    let large = [SegmentName::Dash(4_294_967_295), SegmentName::KeyFrame(7)];
    for name in [SegmentName::Init, SegmentName::Hls(0)].into_iter().chain(large) {
        assert_eq!(SegmentName::parse(&name.to_string()), Some(name));
    }
    let others = [
        "",
        "h.m4s",
        "h01.m4s",
        "h+1.m4s",
        "h-1.m4s",
        "x1.m4s",
        "h4294967296.m4s",
        "init.mp4 ",
        "h1.m4s/",
        "ä1.m4s",
        "h1.mp4",
        "d1",
    ];
    for other in others {
        assert_eq!(SegmentName::parse(other), None, "{other:?}");
    }
}
