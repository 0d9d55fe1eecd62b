//! Rewriting of fragments that FFmpeg might write: random reordering, random fragmentation, and
//! every way to encode a sample's size and flags.

use proptest::prelude::*;

use super::{
    TrackKind,
    boxes::Writer,
    fragment::Defaults,
    init::{Config, Header},
    rewrite::video_chunk,
    samples,
    video::VideoConfig,
};
use crate::{Codec, FrameRate, Grid, admission::admit};

/// `avcC` of a 128x72 stream by x264, which reorders by up to two frames.
const AVCC: &str =
    "0164000affe100196764000aacd9420bf97011000003000100000300320f12259601000468ef8fcbfdf8f800";

/// A sample of a random encoder.
#[derive(Clone, Debug)]
struct Sample {
    /// Position in presentation order, within the chunk.
    place: u64,
    sync: bool,
    data: Vec<u8>,
}

/// The output style of a random muxer.
#[derive(Clone, Debug)]
struct Style {
    /// Where new fragments start, besides at 0.
    cuts: Vec<prop::sample::Index>,
    /// Frames by which presentation lags decoding.
    delay: i64,
    signed_offsets: bool,
    own_durations: bool,
    own_flags: bool,
    decode_times: bool,
    several_runs: bool,
}

fn header(timescale: u32) -> Header {
    let avcc: Vec<u8> = (0..AVCC.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&AVCC[at..at + 2], 16).unwrap())
        .collect();
    let mut w = Writer::default();
    w.zeros(24);
    w.u16(128);
    w.u16(72);
    w.zeros(50);
    w.boxed(b"avcC", |w| w.bytes(&avcc));
    let config = Config::Video(VideoConfig::read(Codec::H264, &w.finish()).unwrap());
    Header { timescale, config, defaults: Defaults::default() }
}

/// Encodes closed GOPs of mini-GOPs of up to four frames, with the middle B-frame as a reference.
fn encode(grid: &Grid, chunk: u32, groups: &[u64], fill: &[u8]) -> Vec<Sample> {
    let frames = grid.chunk_frames(chunk);
    let mut groups = groups.iter().cycle();
    let mut out = Vec::new();
    for gop in grid.chunk_gops(chunk) {
        let own = grid.gop(gop);
        let mut order = vec![own.start];
        let mut at = own.start + 1;
        while at < own.end {
            let size = (*groups.next().unwrap()).min(own.end - at);
            order.push(at + size - 1);
            match size {
                4 => order.extend([at + 1, at, at + 2]),
                size => order.extend(at..at + size - 1),
            }
            at += size;
        }
        for frame in order {
            let sync = frame == own.start;
            let length = 1 + fill[out.len() % fill.len()] % 40;
            let mut data = u32::from(length).to_be_bytes().to_vec();
            data.push(if sync { 0x65 } else { 0x41 });
            data.resize(4 + usize::from(length), out.len() as u8);
            out.push(Sample { place: frame - frames.start, sync, data });
        }
    }
    out
}

fn mux(grid: &Grid, samples: &[Sample], style: &Style) -> Vec<u8> {
    let ticks = grid.rate().frame_ticks();
    let mut file = header(grid.rate().timescale()).write(ticks);
    let mut cuts: Vec<usize> = style.cuts.iter().map(|cut| cut.index(samples.len())).collect();
    cuts.extend([0, samples.len()]);
    cuts.sort_unstable();
    cuts.dedup();
    for pair in cuts.windows(2) {
        let moof = |offset| moof(samples, pair[0]..pair[1], ticks, style, offset);
        let head = moof(moof(0).len() as i32 + 8);
        file.extend_from_slice(&head);
        let payload = samples[pair[0]..pair[1]].iter().flat_map(|s| s.data.iter().copied());
        let payload: Vec<u8> = payload.collect();
        let mut w = Writer::default();
        w.boxed(b"mdat", |w| w.bytes(&payload));
        file.extend_from_slice(&w.finish());
    }
    file
}

fn moof(
    samples: &[Sample],
    range: std::ops::Range<usize>,
    ticks: u32,
    style: &Style,
    offset: i32,
) -> Vec<u8> {
    let mut w = Writer::default();
    w.boxed(b"moof", |w| {
        w.full(b"mfhd", 0, 0, |w| w.u32(7));
        w.boxed(b"traf", |w| {
            w.full(b"tfhd", 0, 0x02_0028, |w| {
                w.u32(1);
                w.u32(if style.own_durations { 5 } else { ticks });
                w.u32(0x0101_0000);
            });
            if style.decode_times || range.start == 0 {
                w.full(b"tfdt", 0, 0, |w| w.u32(range.start as u32 * ticks));
            }
            let middle = range.start + range.len() / 2;
            if style.several_runs && middle > range.start {
                trun(w, samples, range.start..middle, ticks, style, Some(offset));
                trun(w, samples, middle..range.end, ticks, style, None);
            } else {
                trun(w, samples, range, ticks, style, Some(offset));
            }
        });
    });
    w.finish()
}

fn trun(
    w: &mut Writer,
    samples: &[Sample],
    range: std::ops::Range<usize>,
    ticks: u32,
    style: &Style,
    offset: Option<i32>,
) {
    let sync = |at: usize| if samples[at].sync { 0x0200_0000 } else { 0x0101_0000 };
    // Unless each sample has flags, all samples but the first use the default flags.
    let own_flags = style.own_flags || range.clone().skip(1).any(|at| samples[at].sync);
    let mut flags = 0xa00;
    flags |= if offset.is_some() { 0x1 } else { 0 };
    flags |= if own_flags { 0x400 } else { 0x4 };
    flags |= if style.own_durations { 0x100 } else { 0 };
    w.full(b"trun", u8::from(style.signed_offsets), flags, |w| {
        w.u32(range.len() as u32);
        if let Some(offset) = offset {
            w.i32(offset);
        }
        if !own_flags {
            w.u32(sync(range.start));
        }
        for at in range {
            if style.own_durations {
                w.u32(ticks);
            }
            w.u32(samples[at].data.len() as u32);
            if own_flags {
                w.u32(sync(at));
            }
            let late = samples[at].place as i64 - at as i64 + style.delay;
            w.i32((late * i64::from(ticks)) as i32);
        }
    });
}

fn styles() -> impl Strategy<Value = Style> {
    let cuts = prop::collection::vec(any::<prop::sample::Index>(), 0..6);
    (cuts, 2_i64..5, any::<[bool; 5]>()).prop_map(|(cuts, delay, flags)| Style {
        cuts,
        delay: if flags[0] { delay - 2 } else { delay },
        signed_offsets: flags[0],
        own_durations: flags[1],
        own_flags: flags[2],
        decode_times: flags[3],
        several_runs: flags[4],
    })
}

fn grids() -> impl Strategy<Value = (Grid, u32)> {
    let rates = prop::sample::select(vec![(24, 1), (30_000, 1001), (5, 1), (60, 1)]);
    (rates, 1_u64..300, any::<prop::sample::Index>()).prop_map(|((num, den), frames, chunk)| {
        let grid = Grid::new(FrameRate::new(num, den).unwrap(), frames).unwrap();
        (grid, chunk.index(grid.chunks() as usize) as u32)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    #[test]
    fn written_samples_are_read_back_unchanged(
        (grid, chunk) in grids(),
        groups in prop::collection::vec(1_u64..=4, 1..8),
        fill in prop::collection::vec(any::<u8>(), 1..20),
        style in styles(),
    ) {
        let encoded = encode(&grid, chunk, &groups, &fill);
        let file = mux(&grid, &encoded, &style);
        let rewritten = video_chunk(&file, &grid, chunk).unwrap();
        let admitted =
            admit(TrackKind::Video, &grid, chunk, &rewritten.init, &rewritten.bytes).unwrap();
        prop_assert_eq!(&admitted, &rewritten.fragments);
        let ticks = u64::from(grid.rate().frame_ticks());
        prop_assert_eq!(&rewritten.init, &header(grid.rate().timescale()).write(ticks as u32));

        let joined = [rewritten.init, rewritten.bytes].concat();
        let (start, delay) = (grid.chunk_frames(chunk).start, 2 * ticks as i64);
        let ours = samples(&joined).unwrap();
        prop_assert_eq!(ours.len(), encoded.len());
        for (at, (ours, theirs)) in ours.iter().zip(&encoded).enumerate() {
            prop_assert_eq!(ours.data, &theirs.data[..]);
            prop_assert_eq!(ours.sync, theirs.sync);
            prop_assert_eq!(ours.decode_time, (start + at as u64) * ticks);
            let presented = ours.decode_time as i64 + ours.composition_offset - delay;
            prop_assert_eq!(presented as u64, (start + theirs.place) * ticks);
        }
    }

    #[test]
    fn a_missing_duplicated_or_moved_frame_is_detected(
        (grid, chunk) in grids(),
        style in styles(),
        at: prop::sample::Index,
        fault in 0..4,
    ) {
        let mut encoded = encode(&grid, chunk, &[3, 4, 1], &[9]);
        let at = at.index(encoded.len());
        match fault {
            0 => drop(encoded.remove(at)),
            1 => encoded.insert(at, encoded[at].clone()),
            2 => encoded[at].place += 1,
            _ => encoded[at].sync ^= true,
        }
        // A delay is only detectable relative to another frame.
        prop_assume!(!encoded.is_empty() && (fault != 2 || encoded.len() > 1));
        let file = mux(&grid, &encoded, &style);
        prop_assert!(video_chunk(&file, &grid, chunk).is_err());
    }

    #[test]
    fn damaged_files_never_panic(
        (grid, chunk) in grids(), style in styles(), at: prop::sample::Index, value: u8,
    ) {
        let mut file = mux(&grid, &encode(&grid, chunk, &[2], &[9]), &style);
        let at = at.index(file.len());
        file[at] = value;
        let _ = video_chunk(&file, &grid, chunk);
        file.truncate(at);
        prop_assert!(video_chunk(&file, &grid, chunk).is_err());
    }
}

#[test]
fn the_size_of_a_video_head_depends_on_the_number_of_samples_alone() {
    for count in [0, 1, 50, 121] {
        let samples = vec![(1000, 512); count];
        let head = super::fragment::Head {
            kind: super::TrackKind::Video,
            gop: 7,
            decode_time: u64::MAX / 2,
            sample_duration: 512,
            samples: &samples,
        };
        let bytes = head.write().unwrap().len() as u64;
        assert_eq!(bytes, super::fragment::video_head_bytes(count as u64));
    }
}
