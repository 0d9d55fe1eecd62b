//! The grid: segments cover the video without overlap, none spans two chunks, and audio stays
//! aligned with video.

use std::ops::Range;

use media::{
    FrameRate, Grid,
    grid::{FRAMES_MAX, GridError},
};
use proptest::prelude::*;

fn rates() -> impl Strategy<Value = FrameRate> {
    let odd = (1_u32..=60_000, 1_u32..=1001);
    let odd = odd.prop_filter_map("rate", |(num, den)| FrameRate::new(num, den).ok());
    let standard = prop::sample::select(vec![
        (24_000, 1001),
        (24, 1),
        (25, 1),
        (30_000, 1001),
        (50, 1),
        (60_000, 1001),
        (60, 1),
        (1, 1),
    ]);
    prop_oneof![standard.prop_map(|(num, den)| FrameRate::new(num, den).unwrap()), odd]
}

fn grids() -> impl Strategy<Value = Grid> {
    (rates(), prop_oneof![1_u64..500, 1_u64..20_000], any::<bool>()).prop_map(
        |(rate, frames, joined)| {
            let grid = Grid::new(rate, frames).unwrap();
            if joined { grid.with_joined_remainder() } else { grid }
        },
    )
}

fn tiles(ranges: impl Iterator<Item = Range<u64>>, end: u64) {
    let mut at = 0;
    for range in ranges {
        assert_eq!(range.start, at);
        assert!(range.end > range.start);
        at = range.end;
    }
    assert_eq!(at, end);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn gops_chunks_and_segments_cover_the_video_without_gaps(grid in grids()) {
        let gops = u64::from(grid.gops());
        let wide = |r: Range<u32>| u64::from(r.start)..u64::from(r.end);
        tiles((0..grid.gops()).map(|g| grid.gop(g)), grid.frames());
        tiles((0..grid.chunks()).map(|c| grid.chunk_frames(c)), grid.frames());
        tiles((0..grid.chunks()).map(|c| wide(grid.chunk_gops(c))), gops);
        tiles(grid.hls_segments().map(wide), gops);
        tiles(grid.dash_segments().map(wide), gops);
        tiles((0..grid.gops()).map(|g| grid.audio_frames(g)), grid.audio_frames_total());
        prop_assert!(grid.chunk_gops(grid.chunks()).is_empty());
        prop_assert!(grid.chunk_gops(u32::MAX).is_empty());
        prop_assert!(grid.gop(grid.gops()).is_empty());
        prop_assert!(grid.gop(u32::MAX).is_empty());
        for gop in 0..grid.gops() {
            let frames = grid.gop(gop);
            prop_assert_eq!((grid.gop_of(frames.start), grid.gop_of(frames.end - 1)), (gop, gop));
        }
    }

    #[test]
    fn a_planned_segment_lasts_half_a_second_unless_the_video_is_shorter(
        rate in rates(), frames in 1_u64..20_000,
    ) {
        let grid = Grid::new(rate, frames).unwrap().with_joined_remainder();
        let (least, most) = (0.5, grid.seconds(u64::from(grid.gop_frames())) + 0.5);
        for gop in 0..grid.gops() {
            let range = grid.gop(gop);
            let seconds = grid.seconds(range.end - range.start);
            prop_assert!(seconds >= least || grid.gops() == 1, "{seconds}");
            prop_assert!(seconds < most, "{seconds}");
        }
        prop_assert_eq!(grid.without_joined_remainder(), Grid::new(rate, frames).unwrap());
    }

    #[test]
    fn no_segment_crosses_a_chunk(grid in grids()) {
        for gops in grid.hls_segments().chain(grid.dash_segments()) {
            prop_assert_eq!(grid.chunk_of(gops.start), grid.chunk_of(gops.end - 1));
            let chunk = grid.chunk_gops(grid.chunk_of(gops.start));
            prop_assert!(chunk.start <= gops.start && gops.end <= chunk.end);
        }
    }

    #[test]
    fn audio_of_every_gop_ends_within_one_packet_of_its_video(grid in grids()) {
        let packet = 1024.0 / 48_000.0;
        for gop in 0..grid.gops() {
            let picture = grid.seconds(grid.gop(gop).end);
            let sound = grid.audio_frames(gop).end as f64 * packet;
            let slack = 1e-6;
            if gop + 1 == grid.gops() {
                // Audio may outlast the video only where a GOP shorter than a packet would
                // otherwise have none.
                let early = picture - sound;
                let alone = grid.audio_frames(gop).end - grid.audio_frames(gop).start == 1;
                prop_assert!(early < packet + slack && (early > -slack || alone), "{early}");
            } else {
                prop_assert!((sound - picture).abs() <= packet / 2.0 + slack);
            }
        }
    }

    #[test]
    fn ticks_are_exact(rate in rates()) {
        let ticks = u64::from(rate.frame_ticks()) * u64::from(rate.num());
        prop_assert_eq!(ticks, u64::from(rate.timescale()) * u64::from(rate.den()));
        prop_assert!(rate.timescale() >= 10_000);
    }

    #[test]
    fn any_source_rate_gives_a_rate_or_an_error(num: u32, den: u32, small in 1_u32..70_000) {
        for den in [den, small] {
            if let Ok(rate) = FrameRate::for_source(num, den) {
                prop_assert!((1.0..=60.0).contains(&rate.fps()));
                let _ = (rate.timescale(), rate.frame_ticks());
            }
        }
    }
}

#[test]
fn source_rates_become_output_rates() {
    let table = [
        ((24, 1), (24, 1)),
        ((24_000, 1001), (24_000, 1001)),
        ((23_976, 1000), (24_000, 1001)),
        ((2997, 100), (30_000, 1001)),
        ((29_970_030, 1_000_000), (30_000, 1001)),
        ((90_000, 3003), (30_000, 1001)),
        ((25, 1), (25, 1)),
        ((50, 2), (25, 1)),
        ((60, 1), (60, 1)),
        ((60_050, 1000), (60, 1)),
        ((120, 1), (60, 1)),
        ((120_000, 1001), (60_000, 1001)),
        ((240, 1), (60, 1)),
        ((100, 1), (50, 1)),
        ((90, 1), (45, 1)),
        ((1000, 1), (125, 4)),
        ((15, 1), (15, 1)),
        ((1, 10), (1, 1)),
        ((12_345_678, 1_000_000), (12_346, 1000)),
    ];
    for ((num, den), (out_num, out_den)) in table {
        let expected = FrameRate::new(out_num, out_den).unwrap();
        assert_eq!(FrameRate::for_source(num, den), Ok(expected), "{num}/{den}");
    }
    for (num, den) in [(0, 1), (1, 0), (0, 0), (1001, 1), (u32::MAX, 1)] {
        assert_eq!(FrameRate::for_source(num, den), Err(GridError::FrameRate(num, den)));
    }
}

#[test]
fn invalid_grids_are_errors() {
    for (num, den) in [(0, 1), (1, 0), (61, 1), (1, 2), (1, u32::MAX)] {
        assert_eq!(FrameRate::new(num, den), Err(GridError::FrameRate(num, den)));
    }
    let rate = FrameRate::new(25, 1).unwrap();
    assert_eq!(Grid::new(rate, 0), Err(GridError::Frames(0)));
    assert_eq!(Grid::new(rate, FRAMES_MAX + 1), Err(GridError::Frames(FRAMES_MAX + 1)));
}

/// At 25 frames per second a GOP has 50 frames, chunk 0 has 100, every other chunk 500.
#[test]
fn a_remainder_under_half_a_second_belongs_to_the_last_full_gop() {
    let rate = FrameRate::new(25, 1).unwrap();
    let shape = |frames| {
        let grid = Grid::new(rate, frames).unwrap().with_joined_remainder();
        (grid.gops(), grid.chunks(), grid.gop(grid.gops() - 1))
    };
    assert_eq!(shape(1), (1, 1, 0..1), "a remainder alone joins nothing");
    assert_eq!(shape(50), (1, 1, 0..50));
    assert_eq!(shape(51), (1, 1, 0..51));
    assert_eq!(shape(62), (1, 1, 0..62), "0.48 s");
    assert_eq!(shape(63), (2, 1, 50..63), "0.52 s");
    assert_eq!(shape(101), (2, 1, 50..101), "instead of a chunk of one frame");
    assert_eq!(shape(612), (12, 2, 550..612));
    assert_eq!(shape(613), (13, 3, 600..613));
    // 15 frames of NTSC video last 0.5005 s.
    let ntsc = |frames| {
        Grid::new(FrameRate::new(30_000, 1001).unwrap(), frames).unwrap().with_joined_remainder()
    };
    assert_eq!((ntsc(74).gops(), ntsc(75).gops()), (1, 2));
    // The remainder of sound without pictures counts in the same way.
    let sound = |seconds| Grid::of_sound(seconds).unwrap().with_joined_remainder().gops();
    assert_eq!((sound(4.2), sound(4.6)), (2, 3));
}

#[test]
fn a_last_gop_of_one_frame_has_sound() {
    for frames in 1..2000 {
        let grid = Grid::new(FrameRate::new(60, 1).unwrap(), frames).unwrap();
        assert!(!grid.audio_frames(grid.gops() - 1).is_empty(), "{frames} frames");
    }
}
