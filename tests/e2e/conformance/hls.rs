//! HLS multivariant playlists and delivery: rules H1 to H11, H21 to H23, G1.

use std::collections::BTreeSet;

use super::{Parsed, Phase, Violations, hls_media, parse, text, trick_play};
use crate::harness::{
    capture::{Capture, rendition, resolve},
    m3u8::{self, Attributes, Media, Multivariant, unquoted},
};

/// Checks a captured video against all HLS rules.
pub(crate) fn check(capture: &Capture, phase: Phase) -> Violations {
    let mut violations = Violations::default();
    let tracks = parse(&capture.hls_tracks(), &mut violations);
    let raw = capture.texts[&capture.manifest].body.clone();
    let clean = raw.starts_with(b"#EXTM3U\n") && std::str::from_utf8(&raw).is_ok();
    violations.require("H1", clean, "multivariant: not UTF-8 that begins with #EXTM3U");
    let playlist = match m3u8::multivariant(&capture.manifest_text()) {
        Ok(playlist) => playlist,
        Err(error) => {
            violations.require("H1", false, format!("multivariant: {error:#}"));
            return violations;
        }
    };
    let mut media = Vec::new();
    for (path, reply) in capture.texts.iter().filter(|(path, _)| **path != capture.manifest) {
        match m3u8::media(&reply.text()) {
            Ok(parsed) => media.push((path.clone(), parsed)),
            Err(error) => violations.require("H1", false, format!("{path}: {error:#}")),
        }
    }
    general(&playlist, phase, &mut violations);
    for (attributes, uri) in &playlist.variants {
        let path = resolve(&capture.manifest, uri);
        variant(capture, &playlist, attributes, &path, &tracks, &mut violations);
        if phase == Phase::Final {
            bandwidth(&playlist, attributes, &path, &tracks, &media, &mut violations);
        }
    }
    groups(&playlist, &mut violations);
    text::hls(capture, &playlist, &media, &mut violations);
    channels(&playlist, &tracks, &mut violations);
    iframes(capture, &playlist, phase, &tracks, &mut violations);
    trick_play::hls_images(capture, &playlist, &media, &tracks, &mut violations);
    hls_media::check(capture, &media, &tracks, phase, &mut violations);
    delivery(capture, &mut violations);
    violations
}

fn track<'a>(tracks: &'a [Parsed], path: &str) -> Option<&'a Parsed> {
    tracks.iter().find(|track| track.name == rendition(path))
}

fn general(playlist: &Multivariant, phase: Phase, violations: &mut Violations) {
    let version = playlist.version.unwrap_or(1);
    violations.require(
        "H2",
        (1..=7).contains(&version),
        format!("multivariant: version {version}"),
    );
    violations.require("H9", playlist.independent, "multivariant: no EXT-X-INDEPENDENT-SEGMENTS");
    violations.require("H6", !playlist.variants.is_empty(), "multivariant: no variant");
    if phase == Phase::Growing {
        violations.require(
            "G1",
            starts_at_zero(playlist.start.as_ref()),
            "multivariant: no EXT-X-START near 0",
        );
    }
    let variants = playlist.variants.iter();
    let mut seen: Vec<_> = variants.map(|(a, uri)| (uri.as_str(), text(a, "AUDIO"))).collect();
    seen.sort_unstable();
    seen.dedup();
    violations.require(
        "H6",
        seen.len() == playlist.variants.len(),
        "multivariant: a variant twice",
    );
    let rates: Vec<Option<u64>> =
        playlist.variants.iter().map(|(a, _)| number(a, "BANDWIDTH")).collect();
    let different = rates.windows(2).all(|pair| pair[0] != pair[1]);
    violations.require("H6", different, "multivariant: variants of one bit rate");
}

/// Rule G1: the offset must be above zero, because Shaka ignores zero.
pub(super) fn starts_at_zero(start: Option<&Attributes>) -> bool {
    let offset = start.and_then(|a| a.get("TIME-OFFSET")).and_then(|v| v.parse::<f64>().ok());
    offset.is_some_and(|offset| offset > 0.0 && offset < 0.01)
}

pub(super) fn number(attributes: &Attributes, name: &str) -> Option<u64> {
    attributes.get(name).and_then(|value| value.parse().ok())
}

pub(super) fn text<'a>(attributes: &'a Attributes, name: &str) -> Option<&'a str> {
    attributes.get(name).and_then(|value| unquoted(value))
}

fn codecs(attributes: &Attributes) -> Vec<String> {
    let mut found: Vec<String> =
        text(attributes, "CODECS").unwrap_or_default().split(',').map(str::to_lowercase).collect();
    found.sort();
    found
}

fn variant(
    capture: &Capture,
    playlist: &Multivariant,
    attributes: &Attributes,
    path: &str,
    tracks: &[Parsed],
    violations: &mut Violations,
) {
    let Some(video) = track(tracks, path) else {
        violations.require("H17", false, format!("{path}: the variant's media cannot be read"));
        return;
    };
    let group = text(attributes, "AUDIO");
    let members = playlist.media.iter().filter(|m| group.is_some() && text(m, "GROUP-ID") == group);
    let sounds: Vec<&Parsed> = members
        .filter_map(|m| text(m, "URI"))
        .filter_map(|uri| track(tracks, &resolve(&capture.manifest, uri)))
        .collect();
    let mut expected: Vec<String> =
        std::iter::once(video).chain(sounds).map(|track| track.init.codec.clone()).collect();
    expected.sort();
    expected.dedup();
    let found = codecs(attributes);
    violations.require(
        "H3",
        found == expected,
        format!("{path}: CODECS {found:?}, tracks {expected:?}"),
    );
    violations.require(
        "H5",
        number(attributes, "BANDWIDTH").is_some(),
        format!("{path}: no BANDWIDTH"),
    );
    // RFC 8216, 4.3.4.2: if one variant has NONE, all must.
    let captions = attributes.get("CLOSED-CAPTIONS").map(String::as_str);
    violations.require(
        "H22",
        captions == Some("NONE"),
        format!("{path}: CLOSED-CAPTIONS {captions:?}"),
    );
    if !video.init.video {
        let none = !attributes.contains_key("RESOLUTION") && !attributes.contains_key("FRAME-RATE");
        violations.require("H4", none, format!("{path}: audio with the attributes of video"));
        return;
    }
    let size = format!("{}x{}", video.init.width, video.init.height);
    let declared = attributes.get("RESOLUTION").cloned().unwrap_or_default();
    violations.require(
        "H4",
        declared == size,
        format!("{path}: RESOLUTION {declared}, track {size}"),
    );
    let first =
        video.segments.first().and_then(|s| s.fragments.first()).map(|f| f.samples[0].duration);
    let rate = first.map_or(0.0, |ticks| f64::from(video.init.timescale) / f64::from(ticks));
    let declared: f64 = attributes.get("FRAME-RATE").and_then(|v| v.parse().ok()).unwrap_or(0.0);
    violations.require(
        "H4",
        (declared - rate).abs() < 0.001,
        format!("{path}: FRAME-RATE {declared}, track {rate}"),
    );
}

fn bandwidth(
    playlist: &Multivariant,
    attributes: &Attributes,
    path: &str,
    tracks: &[Parsed],
    media: &[(String, Media)],
    violations: &mut Violations,
) {
    let target = media.iter().filter_map(|(_, playlist)| playlist.target).max().unwrap_or(0) as f64;
    let group = text(attributes, "AUDIO");
    let member = |name: &str| {
        let mut of_group = playlist.media.iter().filter(|m| text(m, "GROUP-ID") == group);
        of_group.any(|m| text(m, "URI").is_some_and(|uri| rendition(uri) == name))
    };
    let sounds: Vec<&Parsed> =
        tracks.iter().filter(|track| group.is_some() && member(&track.name)).collect();
    let Some(video) = track(tracks, path) else { return };
    let sum = |rate: &dyn Fn(&Parsed) -> f64| {
        // An audio-only variant is itself a member of its group.
        let picture = if video.init.video { rate(video) } else { 0.0 };
        picture + sounds.iter().map(|sound| rate(sound)).fold(0.0, f64::max)
    };
    let measured = sum(&|t| peak(t, target));
    let declared = number(attributes, "BANDWIDTH").unwrap_or(0) as f64;
    let right = declared >= measured * 0.999 && declared <= measured * 1.10;
    violations.require(
        "H5",
        right,
        format!("{path}: BANDWIDTH {declared}, measured {measured:.0}"),
    );
    let mean = sum(&|t| average(t));
    let declared = number(attributes, "AVERAGE-BANDWIDTH").unwrap_or(0) as f64;
    let right = (declared - mean).abs() <= mean * 0.10;
    violations.require(
        "H5",
        right,
        format!("{path}: AVERAGE-BANDWIDTH {declared}, measured {mean:.0}"),
    );
}

fn average(track: &Parsed) -> f64 {
    let bytes: usize = track.segments.iter().map(|segment| segment.bytes).sum();
    bytes as f64 * 8.0 / track.duration()
}

/// Peak segment bit rate of RFC 8216bis: the largest bit rate of any run of segments that lasts 0.5
/// to 1.5 target durations; the average of a track without such a run.
fn peak(track: &Parsed, target: f64) -> f64 {
    let mut peak = average(track);
    for first in 0..track.segments.len() {
        let (mut bytes, mut seconds) = (0, 0.0);
        for segment in &track.segments[first..] {
            bytes += segment.bytes;
            seconds += track.seconds(segment);
            if seconds > target * 1.5 {
                break;
            }
            if seconds >= target * 0.5 {
                peak = peak.max(bytes as f64 * 8.0 / seconds);
            }
        }
    }
    peak
}

fn groups(playlist: &Multivariant, violations: &mut Violations) {
    let mut defaults = Vec::new();
    let mut names = Vec::new();
    for media in &playlist.media {
        let group = text(media, "GROUP-ID").unwrap_or_default();
        let name = text(media, "NAME").unwrap_or_default();
        let place = format!("EXT-X-MEDIA {group:?} {name:?}");
        violations.require(
            "H7",
            !group.is_empty() && !name.is_empty(),
            format!("{place}: needs GROUP-ID and NAME"),
        );
        violations.require(
            "H7",
            text(media, "LANGUAGE").is_some_and(|l| !l.is_empty()),
            format!("{place}: no LANGUAGE"),
        );
        let yes = |key: &str| media.get(key).is_some_and(|value| value == "YES");
        violations.require(
            "H7",
            !yes("DEFAULT") || yes("AUTOSELECT"),
            format!("{place}: DEFAULT without AUTOSELECT"),
        );
        let kind = media.get("TYPE").map(String::as_str).unwrap_or_default();
        let known = ["AUDIO", "SUBTITLES"].contains(&kind);
        violations.require("H7", known, format!("{place}: TYPE {kind}"));
        let used = playlist.variants.iter().any(|(variant, _)| text(variant, kind) == Some(group));
        violations.require("H7", used, format!("{place}: no variant references the group"));
        let kinds = playlist.variants.iter().all(|(variant, _)| text(variant, kind).is_some());
        violations.require("H7", kinds, format!("{place}: a variant has no group of {kind}"));
        violations.require("H7", !names.contains(&(group, name)), format!("{place}: a name twice"));
        names.push((group, name));
        if yes("DEFAULT") {
            violations.require(
                "H7",
                !defaults.contains(&group),
                format!("{place}: two defaults in a group"),
            );
            defaults.push(group);
        }
    }
    for kind in ["AUDIO", "SUBTITLES"] {
        let same = members(playlist, kind).windows(2).all(|pair| pair[0].1 == pair[1].1);
        violations.require("H7", same, format!("groups of {kind} have different members"));
    }
    for (variant, uri) in &playlist.variants {
        for kind in ["AUDIO", "SUBTITLES"] {
            let Some(group) = text(variant, kind) else { continue };
            let mut of_kind =
                playlist.media.iter().filter(|m| m.get("TYPE").is_some_and(|t| t == kind));
            let known = of_kind.any(|media| text(media, "GROUP-ID") == Some(group));
            violations.require("H7", known, format!("{uri}: unknown {kind} group {group:?}"));
        }
    }
}

/// The groups of a kind, each with the attributes of its members that may not differ between groups
/// (RFC 8216, 4.3.4.1.1).
fn members<'a>(playlist: &'a Multivariant, kind: &str) -> Vec<(&'a str, Vec<Attributes>)> {
    let mut groups: Vec<(&str, Vec<Attributes>)> = Vec::new();
    let of_kind = playlist.media.iter().filter(|m| m.get("TYPE").is_some_and(|t| t == kind));
    for media in of_kind {
        let mut fixed = media.clone();
        fixed.retain(|name, _| !["GROUP-ID", "URI", "CHANNELS"].contains(&name.as_str()));
        let group = text(media, "GROUP-ID").unwrap_or_default();
        match groups.iter_mut().find(|(name, _)| *name == group) {
            Some((_, members)) => members.push(fixed),
            None => groups.push((group, vec![fixed])),
        }
    }
    groups
}

/// Rule H7: CHANNELS is the number of channels of the track.
fn channels(playlist: &Multivariant, tracks: &[Parsed], violations: &mut Violations) {
    for media in playlist.media.iter().filter(|m| m.get("TYPE").is_some_and(|t| t == "AUDIO")) {
        let uri = text(media, "URI").unwrap_or_default();
        let found = text(media, "CHANNELS").and_then(|value| value.parse().ok());
        let real = track(tracks, uri).map(|track| track.init.channels);
        violations.require("H7", found == real, format!("{uri}: CHANNELS {found:?}, not {real:?}"));
    }
}

fn iframes(
    capture: &Capture,
    playlist: &Multivariant,
    phase: Phase,
    tracks: &[Parsed],
    violations: &mut Violations,
) {
    if phase == Phase::Final {
        let variants = playlist.variants.iter();
        let pictures = variants.filter(|(a, _)| a.contains_key("RESOLUTION"));
        let pictures: BTreeSet<&str> = pictures.map(|(_, uri)| uri.as_str()).collect();
        let complete = playlist.iframes.len() == pictures.len();
        violations.require("H11", complete, "multivariant: not one I-frame playlist per variant");
    }
    for stream in &playlist.iframes {
        let path =
            text(stream, "URI").map(|uri| resolve(&capture.manifest, uri)).unwrap_or_default();
        let Some(video) = track(tracks, &path) else {
            violations.require("H11", false, format!("I-frame playlist {path} of no variant"));
            continue;
        };
        let found = codecs(stream);
        violations.require(
            "H3",
            found == [video.init.codec.clone()],
            format!("{path}: CODECS {found:?}"),
        );
        let size = format!("{}x{}", video.init.width, video.init.height);
        violations.require(
            "H4",
            stream.get("RESOLUTION") == Some(&size),
            format!("{path}: RESOLUTION"),
        );
        violations.require(
            "H5",
            number(stream, "BANDWIDTH").is_some(),
            format!("{path}: no BANDWIDTH"),
        );
    }
}

fn delivery(capture: &Capture, violations: &mut Violations) {
    for (path, reply) in &capture.texts {
        let kind = reply.header("content-type");
        let right = kind.split(';').next() == Some("application/vnd.apple.mpegurl");
        violations.require("H21", right, format!("{path}: content type {kind}"));
    }
    if let Some(reply) = &capture.segment_reply {
        let kind = reply.header("content-type");
        let right = ["video/mp4", "audio/mp4", "video/iso.segment"].contains(&kind);
        violations.require("H21", right, format!("segments: content type {kind}"));
    }
}
