//! The rungs that each source gets.

use media::{
    Codec,
    ladder::{LadderError, Profile, audio_bitrate, default_profiles, select},
    source::VideoTrack,
};

fn source(width: u32, height: u32) -> VideoTrack {
    VideoTrack {
        index: 0,
        codec: "h264".to_owned(),
        width,
        height,
        frame_rate: (25, 1),
        time_base: (1, 25),
        first_pts: 0,
        last_pts: 99,
        hold_before: 0,
        hold_after: 0,
        parts: Vec::new(),
        interlaced: false,
        pixel_format: "yuv420p".to_owned(),
        transfer: String::new(),
        matrix: String::new(),
        primaries: String::new(),
        paced: false,
        hidden: 0,
        examined: 0,
    }
}

fn sizes(width: u32, height: u32) -> Vec<(String, u32, u32)> {
    let rungs = select(&source(width, height), &default_profiles(), &[]).unwrap();
    rungs.into_iter().map(|r| (r.name, r.width, r.height)).collect()
}

fn expect(source: (u32, u32), rungs: &[(&str, u32, u32)]) {
    let rungs: Vec<_> = rungs.iter().map(|(name, w, h)| ((*name).to_owned(), *w, *h)).collect();
    assert_eq!(sizes(source.0, source.1), rungs, "{source:?}");
}

#[test]
fn sources_get_the_rungs_they_fill() {
    let to_1080 =
        [("360p", 640, 360), ("480p", 854, 480), ("720p", 1280, 720), ("1080p", 1920, 1080)];
    expect((1920, 1080), &to_1080);
    let mut to_4k = to_1080.to_vec();
    to_4k.push(("4k", 3840, 2160));
    expect((3840, 2160), &to_4k);
    // Portrait: the shorter side counts.
    expect((720, 1280), &[("360p", 360, 640), ("480p", 480, 854), ("720p", 720, 1280)]);
    // A source one pixel smaller than the profile still fills it, and is not scaled up.
    expect((853, 479), &[("360p", 640, 360), ("480p", 852, 478)]);
    // A widescreen source fills the box by its width.
    let wide = [("360p", 640, 268), ("480p", 854, 358), ("720p", 1280, 536), ("1080p", 1920, 804)];
    expect((1920, 804), &wide);
    expect(
        (1080, 1080),
        &[("360p", 360, 360), ("480p", 480, 480), ("720p", 720, 720), ("1080p", 1080, 1080)],
    );
}

#[test]
fn the_lowest_rung_takes_any_source_at_its_own_size() {
    expect((160, 90), &[("360p", 160, 90)]);
    expect((161, 91), &[("360p", 160, 90)]);
    expect((2, 2), &[("360p", 16, 16)]);
}

#[test]
fn no_rung_is_above_its_source() {
    for width in (16..4200).step_by(37) {
        for height in [16, 90, 359, 479, 719, 1079, 2161] {
            for (_, w, h) in sizes(width, height) {
                assert!(w <= width && h <= height && w % 2 == 0 && h % 2 == 0);
            }
        }
    }
}

#[test]
fn errors_in_requested_profiles_name_their_position() {
    let profiles = default_profiles();
    let request = |names: &[&str]| {
        let names: Vec<_> = names.iter().map(|n| (*n).to_owned()).collect();
        select(&source(1280, 720), &profiles, &names)
    };
    let names: Vec<_> = request(&["720p", "360p"]).unwrap().into_iter().map(|r| r.name).collect();
    assert_eq!(names, ["360p", "720p"]);
    assert!(matches!(request(&["360p", "8k"]), Err(LadderError::Unknown { index: 1, .. })));
    assert!(matches!(request(&["1080p"]), Err(LadderError::AboveSource { index: 0, .. })));
    assert!(matches!(request(&["360p", "360p"]), Err(LadderError::Repeated { index: 1, .. })));
    let unknown = request(&["8k"]).unwrap_err().to_string();
    assert!(unknown.contains("360p, 480p, 720p, 1080p, 4k"), "{unknown}");
    assert_eq!(audio_bitrate(&profiles, &request(&["360p"]).unwrap()), 96_000);
    assert_eq!(audio_bitrate(&profiles, &[]), 128_000);
}

#[test]
fn each_codec_has_its_own_ladder_and_av1_a_minimum_size() {
    let profile = |name: &str, codec, video_bitrate, base: usize| Profile {
        name: name.to_owned(),
        codec,
        video_bitrate,
        ..default_profiles().remove(base)
    };
    let profiles = [
        profile("a", Codec::Av1, 400_000, 0),
        profile("b", Codec::H264, 800_000, 0),
        profile("c", Codec::Av1, 900_000, 1),
        profile("d", Codec::Hevc, 600_000, 0),
    ];
    let names = |width, height, requested: &[String]| {
        let rungs = select(&source(width, height), &profiles, requested);
        rungs.map(|rungs| rungs.into_iter().map(|r| r.name).collect::<Vec<_>>())
    };
    assert_eq!(names(854, 480, &[]).unwrap(), ["b", "d", "a", "c"]);
    assert_eq!(names(320, 180, &[]).unwrap(), ["b", "d", "a"]);
    assert_eq!(names(64, 36, &[]).unwrap(), ["b", "d"]);
    let rejected = names(64, 36, &["a".to_owned()]).unwrap_err();
    assert!(matches!(rejected, LadderError::TooSmall { index: 0, .. }), "{rejected}");
}
