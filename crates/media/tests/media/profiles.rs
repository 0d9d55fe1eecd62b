//! Profiles files: accepted files, and errors that list every mistake.

use media::{Codec, ladder::default_profiles, profiles::parse};

/// The file that docs/profiles.md shows in full.
fn documented() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/profiles.md");
    let page = std::fs::read_to_string(path).unwrap();
    let begin = page.find("```toml\n").unwrap() + "```toml\n".len();
    let length = page[begin..].find("```").unwrap();
    page[begin..begin + length].to_owned()
}

#[test]
fn the_documented_file_contains_the_built_in_profiles() {
    assert_eq!(parse(&documented()).unwrap(), default_profiles());
}

#[test]
fn codecs_and_presets_have_defaults_and_bit_rates_have_units() {
    let text = r#"
        [[profile]]
        name = "hd-av1"
        width = 1920
        height = 1080
        video_bitrate = "2.5M"
        audio_bitrate = 96000
        codec = "av1"

        [[profile]]
        name = "hd_hevc"
        width = 1920
        height = 1080
        video_bitrate = "3000k"
        audio_bitrate = "128k"
        codec = "hevc"
        preset = "fast"
    "#;
    let profiles = parse(text).unwrap();
    let found: Vec<_> = profiles
        .iter()
        .map(|p| (p.codec, p.preset.as_str(), p.video_bitrate, p.audio_bitrate))
        .collect();
    let expected =
        [(Codec::Av1, "10", 2_500_000, 96_000), (Codec::Hevc, "fast", 3_000_000, 128_000)];
    assert_eq!(found, expected);
}

/// A profile with these lines.
fn profile(lines: &str) -> String {
    format!(
        "[[profile]]\nname = \"a\"\nwidth = 640\nheight = 360\nvideo_bitrate = \"1M\"\n\
         audio_bitrate = \"96k\"\n{lines}\n"
    )
}

#[test]
fn a_profile_has_a_constant_rate_factor_unless_it_asks_for_an_average_bit_rate() {
    let expected = [
        ("", Some(Codec::H264.default_crf())),
        ("rate = \"crf\"", Some(Codec::H264.default_crf())),
        ("rate = \"abr\"", None),
        ("crf = 18", Some(18)),
        ("rate = \"crf\"\ncrf = 51", Some(51)),
        ("codec = \"hevc\"", Some(Codec::Hevc.default_crf())),
        ("codec = \"av1\"\ncrf = 63", Some(63)),
        ("codec = \"av1\"\nrate = \"abr\"", None),
    ];
    for (lines, crf) in expected {
        assert_eq!(parse(&profile(lines)).unwrap()[0].crf, crf, "{lines}");
    }
}

#[test]
fn an_invalid_rate_control_is_rejected_with_its_bounds() {
    let expected = [
        ("rate = \"vbr\"", "rate: must be one of crf, abr"),
        ("rate = 5", "rate: must be one of crf, abr"),
        ("crf = 0", "crf: must be a number from 1 to 51 for h264"),
        ("crf = 52", "crf: must be a number from 1 to 51 for h264"),
        ("crf = \"20\"", "crf: must be a number from 1 to 51 for h264"),
        ("codec = \"av1\"\ncrf = 64", "crf: must be a number from 1 to 63 for av1"),
        ("encoder = \"libx264\"", "encoder: must be one of h264_nvenc, h264_vaapi, h264_qsv"),
        ("encoder = 1", "encoder: must be one of h264_nvenc, h264_vaapi, h264_qsv"),
        ("codec = \"hevc\"\nencoder = \"h264_qsv\"", "encoder: h264_qsv does not encode hevc"),
        ("rate = \"abr\"\ncrf = 21", "crf: is not allowed together with rate = \"abr\""),
    ];
    for (lines, error) in expected {
        let prefix = "profile 1 (\"a\"): ";
        assert_eq!(parse(&profile(lines)).unwrap_err(), [format!("{prefix}{error}")], "{lines}");
    }
}

#[test]
fn all_errors_are_reported_together() {
    let text = r#"
        title = "mine"

        [[profile]]
        name = "a/b"
        width = 8
        height = "360"
        video_bitrate = "fast"
        audio_bitrate = "1k"
        codec = "vp9"
        colour = "red"

        [[profile]]
        name = "720p"
        width = 1280
        height = 720
        video_bitrate = "2800k"
        audio_bitrate = "128k"
        codec = "av1"
        preset = "veryfast"

        [[profile]]
        name = "720p"
        width = 1280
        height = 720
        video_bitrate = "2800k"
        audio_bitrate = "128k"
    "#;
    let errors = parse(text).unwrap_err();
    let expected = [
        "\"title\": no such table",
        "profile 1 (\"a/b\"): colour: no such field",
        "profile 1 (\"a/b\"): codec: must be one of h264, hevc, av1",
        "profile 1 (\"a/b\"): name: must be",
        "profile 1 (\"a/b\"): width: must be",
        "profile 1 (\"a/b\"): height: must be",
        "profile 1 (\"a/b\"): video_bitrate: must be",
        "profile 1 (\"a/b\"): audio_bitrate: must be",
        "profile 2 (\"720p\"): preset: must be one of av1's: 0 to 13",
        "profile 3 (\"720p\"): name: is used by an earlier table",
    ];
    assert_eq!(errors.len(), expected.len(), "{errors:#?}");
    for (error, expected) in errors.iter().zip(expected) {
        assert!(error.starts_with(expected) && !error.contains('\n'), "{error}");
    }
}

#[test]
fn files_without_profiles_and_broken_ones_are_rejected_in_one_line() {
    assert_eq!(parse("").unwrap_err(), ["profile: the file contains no [[profile]] table"]);
    assert_eq!(parse("profile = 1").unwrap_err(), ["profile: must be [[profile]] tables"]);
    let broken = parse("[[profile]]\nname = \"a\nwidth = 1").unwrap_err();
    assert_eq!(broken.len(), 1);
    assert!(broken[0].starts_with("line 2: ") && !broken[0].contains('\n'), "{broken:?}");
    for name in ["audio-0", "surround-0", "text-1", "", "a b", "ü"] {
        let text = format!(
            "[[profile]]\nname = \"{name}\"\nwidth = 640\nheight = 360\n\
             video_bitrate = \"1M\"\naudio_bitrate = \"96k\""
        );
        assert_eq!(parse(&text).unwrap_err().len(), 1, "{name:?}");
    }
}

#[test]
fn tables_beyond_the_limit_are_not_read() {
    let text = "[[profile]]\n".repeat(20_000);
    let errors = media::profiles::parse(&text).unwrap_err();
    assert!(errors.iter().any(|error| error.contains("more than")), "{errors:?}");
    // A few for each table that is read.
    assert!(errors.len() < 16 * media::profiles::PROFILES_MAX, "{}", errors.len());
}
