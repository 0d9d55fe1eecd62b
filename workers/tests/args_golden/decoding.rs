//! Where the decoding of a chunk starts, and which pictures are copied after it.

use std::path::Path;

use media::{FrameRate, Grid, source::VideoTrack};
use workers::{
    ffmpeg::args::{self, ChunkEncode, Preroll},
    input::Input,
};

use super::{encode, lines, rungs, track};

/// The scaler copies each picture where it may have to convert its range.
#[test]
fn pictures_of_the_right_size_are_copied_only_where_their_range_may_be_full() {
    let args = |codec: &str, pixel_format: &str| {
        let (codec, pixel_format) = (codec.to_owned(), pixel_format.to_owned());
        let track = VideoTrack { codec, pixel_format, ..track() };
        encode(&track, &rungs(), 1, Preroll::Short)
    };
    for (codec, pixel_format, may_be_full) in [
        ("h264", "yuv420p", false),
        ("hevc", "yuv420p", false),
        // Full range is another format of these codecs.
        ("h264", "yuvj420p", true),
        ("hevc", "yuv422p", true),
        // In others it is a tag, which may be missing at the start.
        ("vp9", "yuv420p", true),
        ("av1", "yuv420p", true),
        ("h264", "", true),
    ] {
        let converts = args(codec, pixel_format).contains(":out_range=tv,setsar=1");
        assert_eq!(converts, may_be_full, "{codec} {pixel_format}");
    }
}

/// How many seconds before the second chunk, which starts at 4 s, decoding starts.
#[test]
fn decoding_starts_as_long_before_a_chunk_as_pictures_may_be_reordered() {
    let grid = Grid::new(FrameRate::new(25, 1).unwrap(), 1500).unwrap();
    let preroll = |track: VideoTrack, preroll| {
        let args = lines(&args::chunk(&ChunkEncode {
            source: &Input::from(Path::new("/store/source")),
            track: &VideoTrack { first_pts: 0, ..track },
            grid: &grid,
            chunk: 1,
            rungs: &rungs()[..1],
            preset: "veryfast",
            threads: 2,
            preroll,
            untimed: false,
            device: None,
        }));
        let start = args.split_once("\n-ss\n").and_then(|(_, after)| after.lines().next());
        start.map(|start| 4.0 - start.parse::<f64>().unwrap())
    };
    let at = |frame_rate| VideoTrack { frame_rate, ..track() };
    let cases = [((60, 1), 0.25), ((25, 1), 0.25), ((15, 1), 0.4), ((5, 1), 1.0), ((1, 10), 1.0)];
    for (rate, seconds) in cases {
        let found = preroll(at(rate), Preroll::Short).unwrap();
        assert!((found - seconds).abs() < 1e-6, "{rate:?}: {found}");
    }
    // Jitter and fields depend on the pictures before them.
    for track in [VideoTrack { paced: true, ..track() }, VideoTrack { interlaced: true, ..track() }]
    {
        assert_eq!(preroll(track, Preroll::Short), Some(1.0));
    }
    assert_eq!(preroll(track(), Preroll::Long), None, "the start of the source is nearer");
}
