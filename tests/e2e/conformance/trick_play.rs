//! Trick play and thumbnails: rules H11 and H23 of HLS, D11 and D12 of DASH.

use bytes::Bytes;
use roxmltree::Node;

use super::{
    Parsed, Violations, fmp4,
    hls::{number, text},
    hls_media::frame_seconds,
};
use crate::harness::{
    capture::{Capture, LocalName, rendition, resolve},
    m3u8::{Media, Multivariant},
};

/// Checks that each part is a fragment of one sample: the key frame of the GOP at its place in
/// `track`, which it lasts as long as.
pub(super) fn key_frames(
    rule: &'static str,
    parts: &[(String, Bytes)],
    track: &Parsed,
    violations: &mut Violations,
) {
    let gops: Vec<_> = track.segments.iter().flat_map(|segment| &segment.fragments).collect();
    let place = &track.name;
    violations.require(rule, parts.len() == gops.len(), format!("{place}: {} frames", parts.len()));
    for ((path, bytes), gop) in parts.iter().zip(gops) {
        let read = fmp4::fragments(bytes);
        let Ok([frame]) = read.as_deref() else {
            violations.require(rule, false, format!("{path}: not one fragment: {read:?}"));
            continue;
        };
        let delay = track.init.delay;
        let same = frame.samples.len() == 1
            && frame.samples[0].sync
            && frame.slack == 0
            && frame.first == gop.first
            && (frame.time, frame.ticks()) == (gop.time, gop.ticks())
            && frame.times(delay)[0] == gop.times(delay)[0];
        violations.require(rule, same, format!("{path}: differs from its GOP's key frame"));
    }
}

/// Checks the playlists of thumbnails.
pub(super) fn hls_images(
    capture: &Capture,
    playlist: &Multivariant,
    media: &[(String, Media)],
    tracks: &[Parsed],
    violations: &mut Violations,
) {
    for stream in &playlist.images {
        let at = text(stream, "URI").map(|uri| resolve(&capture.manifest, uri));
        let Some((path, list)) = media.iter().find(|(path, _)| Some(path) == at.as_ref()) else {
            violations.require("H23", false, format!("no image playlist at {at:?}"));
            continue;
        };
        let jpeg = text(stream, "CODECS") == Some("jpeg") && number(stream, "BANDWIDTH").is_some();
        let whole = list.images_only && list.end && list.kind.as_deref() == Some("VOD");
        violations.require("H23", jpeg && whole, format!("{path}: {stream:?} {list:?}"));
        for sheet in &list.segments {
            let tiles = sheet.tiles.clone().unwrap_or_default();
            let pair = |name: &str| tiles.get(name).and_then(|value| pair(value));
            let duration = tiles.get("DURATION").and_then(|v| v.parse::<f64>().ok());
            let (Some(size), Some(layout), Some(duration)) =
                (pair("RESOLUTION"), pair("LAYOUT"), duration)
            else {
                violations.require("H23", false, format!("{path}: tiles {tiles:?}"));
                continue;
            };
            let own = stream.get("RESOLUTION") == tiles.get("RESOLUTION");
            let fits = sheet.duration <= duration * f64::from(layout.0 * layout.1) + 0.001;
            let short = sheet.duration.round() as u64 <= list.target.unwrap_or(0);
            let found = capture.media.get(&resolve(path, &sheet.uri)).and_then(jpeg_size);
            let drawn = found == Some((size.0 * layout.0, size.1 * layout.1));
            let right = own && fits && short && drawn;
            violations.require("H23", right, format!("{path}: {sheet:?} of {found:?}"));
        }
        let total: f64 = list.segments.iter().map(|sheet| sheet.duration).sum();
        let video = tracks.iter().find(|track| track.init.video);
        let covers = video.is_some_and(|v| (total - v.duration()).abs() <= frame_seconds(v));
        violations.require("H23", covers, format!("{path}: covers {total} s"));
    }
}

/// Two numbers in the form `160x90`.
fn pair(text: &str) -> Option<(u32, u32)> {
    let (left, right) = text.split_once('x')?;
    Some((left.parse().ok()?, right.parse().ok()?))
}

/// Width and height from a JPEG's frame header.
fn jpeg_size(bytes: &Bytes) -> Option<(u32, u32)> {
    let mut at = 2;
    loop {
        let marker = *bytes.get(at + 1)?;
        let short =
            |at: usize| Some(u32::from(*bytes.get(at)?) << 8 | u32::from(*bytes.get(at + 1)?));
        if matches!(marker, 0xc0..=0xc2) {
            return Some((short(at + 7)?, short(at + 5)?));
        }
        at += 2 + short(at + 2)? as usize;
    }
}

/// Checks the attributes of a set for trick play.
pub(super) fn dash_set(set: Node, violations: &mut Violations) {
    let place = format!("AdaptationSet {}", set.attribute("id").unwrap_or_default());
    let property = set.children().find(|n| n.has_tag_name_local("EssentialProperty"));
    let main = property.and_then(|property| property.attribute("value"));
    let codecs = |set: Node| {
        let of_set = set.children().find(|n| n.has_tag_name_local("Representation"));
        of_set.and_then(|n| n.attribute("codecs")).map(|text| text[..4].to_owned())
    };
    let mut others = set.parent().into_iter().flat_map(|period| period.children());
    let known = others.find(|n| n.attribute("id") == main && n.attribute("contentType").is_some());
    let same = known.is_some_and(|main| main != set && codecs(main) == codecs(set));
    violations.require("D11", same, format!("{place}: for trick play of {main:?}"));
    for representation in set.children().filter(|n| n.has_tag_name_local("Representation")) {
        let get = |name| representation.attribute(name);
        let rate = get("maxPlayoutRate").and_then(|rate| rate.parse::<f64>().ok());
        let right = get("codingDependency") == Some("false") && rate.is_some_and(|rate| rate > 1.0);
        violations.require("D11", right, format!("{place}: codingDependency, maxPlayoutRate"));
    }
}

/// Checks the media of all sets for trick play.
pub(super) fn dash(capture: &Capture, tracks: &[Parsed], violations: &mut Violations) {
    for frames in capture.trick_play_tracks() {
        let Some(track) = tracks.iter().find(|track| track.name == frames.name) else {
            violations.require("D11", false, format!("{}: no such rendition", frames.name));
            continue;
        };
        let parts = frames.segments.into_iter().map(|part| (part.path, part.bytes));
        key_frames("D11", &parts.collect::<Vec<_>>(), track, violations);
    }
}

/// Checks a set of thumbnails.
pub(super) fn dash_images(
    capture: &Capture,
    set: Node,
    total: Option<f64>,
    violations: &mut Violations,
) {
    let place = format!("AdaptationSet {}", set.attribute("id").unwrap_or_default());
    let child = |node: Node, name: &str| {
        let attributes = node.children().find(|n| n.has_tag_name_local(name));
        attributes
            .map(|n| n.attributes().map(|a| (a.name().to_owned(), a.value().to_owned())))
            .map(Iterator::collect::<std::collections::BTreeMap<_, _>>)
            .unwrap_or_default()
    };
    let (template, picture) = (child(set, "SegmentTemplate"), child(set, "Representation"));
    let node = set.children().find(|n| n.has_tag_name_local("Representation"));
    let property = node.map(|node| child(node, "EssentialProperty")).unwrap_or_default();
    let tiles = property.get("value").and_then(|value| pair(value));
    let scheme = property.get("schemeIdUri").map(String::as_str);
    let known = scheme == Some("http://dashif.org/guidelines/thumbnail_tile");
    violations.require("D12", known && tiles.is_some(), format!("{place}: {property:?}"));
    let value = |from: &std::collections::BTreeMap<String, String>, name: &str| {
        from.get(name).and_then(|value| value.parse::<f64>().ok()).unwrap_or(0.0)
    };
    let sheet = value(&template, "duration") / value(&template, "timescale").max(1.0);
    let sheets = value(&template, "endNumber") + 1.0 - value(&template, "startNumber");
    let covers = total.is_some_and(|total| (total / sheet - 0.0001).ceil() == sheets);
    violations.require("D12", covers, format!("{place}: {sheets} sheets of {sheet} s"));
    let own: Vec<_> =
        capture.media.iter().filter(|(path, _)| rendition(path) == "storyboard").collect();
    violations.require("D12", own.len() as f64 == sheets, format!("{place}: {} sheets", own.len()));
    for (path, bytes) in own {
        let size = (value(&picture, "width") as u32, value(&picture, "height") as u32);
        violations.require("D12", jpeg_size(bytes) == Some(size), format!("{path}: size {size:?}"));
    }
}
