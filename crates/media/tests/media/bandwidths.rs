//! The bit rates that manifests declare.

use media::{
    index::{Index, VideoRendition},
    manifest::{
        Links,
        dash::mpd,
        hls::{Playlist, media, multivariant},
    },
    segment::{Located, SegmentName, locate},
};
use proptest::prelude::*;

use crate::manifests::{LATER_MS, attribute, extinf, index, index_on, planned, tag};

fn segment_bytes(index: &Index, rendition: &str, name: SegmentName) -> u64 {
    match locate(index, rendition, name) {
        Some(Located::Object { bytes, .. }) => bytes,
        other => panic!("{name}: {other:?}"),
    }
}

/// The peak segment bit rate as RFC 8216, section 4.1, defines it: over all runs of segments that
/// last 0.5 to 1.5 target durations; without such a run, the average. `times` are exact, because the
/// microseconds of a list are too coarse for a video of one frame.
fn peak_of_runs(list: &str, sizes: &[u64], times: &[f64]) -> f64 {
    let target = tag(list, "#EXT-X-TARGETDURATION:") as f64;
    let rate = |run: std::ops::Range<usize>| {
        let (bytes, time) = (&sizes[run.clone()], &times[run]);
        bytes.iter().sum::<u64>() as f64 * 8.0 / time.iter().sum::<f64>()
    };
    let mut peak = rate(0..sizes.len());
    for first in 0..sizes.len() {
        for end in first + 1..=sizes.len() {
            let time: f64 = times[first..end].iter().sum();
            if (0.5 * target..=1.5 * target).contains(&time) {
                peak = peak.max(rate(first..end));
            }
        }
    }
    peak
}

/// The value of an attribute of the first variant of `rung`.
fn variant(hls: &str, rung: &VideoRendition, name: &str) -> u64 {
    let mark = format!("RESOLUTION={}x{},FRAME", rung.width, rung.height);
    attribute(hls.lines().find(|line| line.contains(&mark)).unwrap(), name)
}

#[test]
fn a_short_first_segment_does_not_count_as_a_peak() {
    let mut index = index(32 * 60, [9; 5]);
    index.audio_renditions.clear();
    index.video_renditions.truncate(1);
    let sizes = |gop: u32| if gop < 2 { 1_000_000 } else { 250_000 };
    for rung in &mut index.video_renditions {
        let fragments = rung.track.chunks.iter_mut().flatten().flat_map(|c| &mut c.fragments);
        (0..).zip(fragments).for_each(|(gop, fragment)| fragment.bytes = sizes(gop));
    }
    let hls = multivariant(&index, &Links::default()).unwrap();
    // Two GOPs of 1 MB and five of 250 kB in 14 s; the first segment alone has 4 Mbit/s.
    let seven = 3_250_000.0 * 8.0 / (7.0 * 2.002);
    for rung in &index.video_renditions {
        assert_eq!(variant(&hls, rung, ":BANDWIDTH"), f64::ceil(seven) as u64);
    }
}

/// As long as the encoder keeps to its peak rate and buffer, the bandwidths that a growing video
/// declares suffice until its end.
#[test]
fn a_growing_video_declares_what_its_later_segments_may_need() {
    let mut complete = index(61 * 60 + 30, [99; 5]);
    for rung in &mut complete.video_renditions {
        let rate = rung.target_bitrate as f64;
        for chunk in rung.track.chunks.iter_mut().flatten() {
            for (place, fragment) in chunk.fragments.iter_mut().enumerate() {
                // The buffer holds 1.8 s of the rate at the start of each chunk; the heads of 60
                // samples take 588 bytes.
                let burst = if place == 0 { 1.8 * rate } else { 0.0 };
                fragment.bytes = ((1.2 * rate * 2.002 + burst) / 8.0) as u32 + 588;
            }
        }
    }
    let mut growing = complete.clone();
    growing.finished_at_ms = None;
    for name in ["360p", "720p", "1080p", "audio-0", "audio-1"] {
        growing.track_mut(name).unwrap().chunks.truncate(1);
        // A low rate at the beginning does not predict the rest.
        let fragments = growing.track_mut(name).unwrap().chunks.iter_mut().flatten();
        fragments.flat_map(|c| &mut c.fragments).for_each(|fragment| fragment.bytes = 3000);
    }
    let links = Links::default();
    let hls = [&growing, &complete].map(|index| multivariant(index, &links).unwrap());
    let dash = [&growing, &complete].map(|index| mpd(index, LATER_MS, &links).unwrap());
    for rung in &complete.video_renditions {
        let [before, after] = [0, 1].map(|n| variant(&hls[n], rung, ":BANDWIDTH"));
        assert!(before >= after && before <= after * 115 / 100, "{before} {after}");
        let mark = format!("id=\"{}\" ", rung.name);
        let line = |mpd: &str| mpd.lines().find(|l| l.contains(&mark)).unwrap().to_owned();
        let [before, after] = [0, 1].map(|n| attribute(&line(&dash[n]), "bandwidth"));
        assert!(before >= after && before <= after * 115 / 100, "{before} {after}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn segments_stay_within_the_stated_bandwidths(frames in 1_u64..9000, joined: bool) {
        let index = index_on(planned(frames, joined), [u32::MAX; 5]);
        let links = Links::default();
        let hls = multivariant(&index, &links).unwrap();
        let dash = mpd(&index, LATER_MS, &links).unwrap();
        let alone = hls.lines().find(|line| line.contains(":BANDWIDTH") && !line.contains("avc1"));
        let alone = attribute(alone.unwrap(), ":BANDWIDTH") as f64;
        let buffer = dash.split_once("minBufferTime=\"PT").unwrap().1;
        let buffer: f64 = buffer.split_once('S').unwrap().0.parse().unwrap();
        for rung in &index.video_renditions {
            let mark = format!("RESOLUTION={}x{},FRAME", rung.width, rung.height);
            let line = hls.lines().find(|line| line.contains(&mark)).unwrap();
            let (peak, average) =
                (attribute(line, ":BANDWIDTH"), attribute(line, "AVERAGE-BANDWIDTH"));
            prop_assert!(average <= peak && peak <= 2 * average, "{line}");
            let list = media(&index, &rung.name, Playlist::Vod, &links).unwrap();
            let bytes = |n| segment_bytes(&index, &rung.name, SegmentName::Hls(n));
            let sizes: Vec<u64> = (0..extinf(&list).len() as u32).map(bytes).collect();
            let end = |gop: u32| index.grid.seconds(index.grid.gop(gop - 1).end);
            let start = |gop: u32| index.grid.seconds(index.grid.gop(gop).start);
            let times = index.grid.hls_segments().map(|gops| end(gops.end) - start(gops.start));
            let times: Vec<f64> = times.collect();
            // The rest is audio's peak, which the variant without video declares.
            let sound = peak as f64 - peak_of_runs(&list, &sizes, &times);
            prop_assert!((sound - alone).abs() <= 2.0, "{sound} {alone} {line}");
            // DASH: a buffer of minBufferTime never runs empty at @bandwidth, wherever playback
            // starts.
            let mark = format!("id=\"{}\" ", rung.name);
            let line = dash.lines().find(|line| line.contains(&mark)).unwrap();
            let bandwidth = attribute(line, "bandwidth") as f64;
            let segments: Vec<_> = index.grid.dash_segments().collect();
            let sizes: Vec<f64> = (0..segments.len() as u32)
                .map(|n| segment_bytes(&index, &rung.name, SegmentName::Dash(n)) as f64 * 8.0)
                .collect();
            let start = |n: usize| index.grid.seconds(index.grid.gop(segments[n].start).start);
            for first in 0..segments.len() {
                let mut bits = 0.0;
                for (last, size) in sizes.iter().enumerate().skip(first) {
                    bits += size;
                    let time = start(last) - start(first) + buffer;
                    prop_assert!(bits <= bandwidth * time + 1.0, "{first} to {last}");
                }
            }
        }
    }
}
