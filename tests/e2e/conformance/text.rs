//! Text tracks: rules H7 and H8 of HLS, D7 of DASH, and the WebVTT timing that both share.

use roxmltree::Node;

use super::{Violations, hls};
use crate::harness::{
    capture::{Capture, LocalName, is_text, rendition, resolve},
    m3u8::{Media, Multivariant},
};

/// A cue's start, end (seconds) and text.
pub(crate) type Cue = (f64, f64, String);

/// Checks every SUBTITLES rendition, its playlist and its segments.
pub(super) fn hls(
    capture: &Capture,
    playlist: &Multivariant,
    media: &[(String, Media)],
    violations: &mut Violations,
) {
    for track in playlist.media.iter().filter(|m| m.get("TYPE").is_some_and(|t| t == "SUBTITLES")) {
        let name = hls::text(track, "NAME").unwrap_or_default();
        let uri = hls::text(track, "URI").map(|uri| resolve(&capture.manifest, uri));
        let own = uri.as_ref().and_then(|uri| media.iter().find(|(path, _)| path == uri));
        let Some((path, own)) = own else {
            violations.require("H8", false, format!("{name}: no playlist at URI {uri:?}"));
            continue;
        };
        let bare = |key: &str| matches!(track.get(key).map(String::as_str), Some("YES" | "NO"));
        violations.require("H7", bare("FORCED"), format!("{name}: FORCED"));
        let selected = track.get("AUTOSELECT").is_some_and(|value| value == "YES");
        violations.require("H7", selected, format!("{name}: AUTOSELECT"));
        segments(capture, path, own, violations);
    }
    let listed = playlist.media.iter().filter_map(|m| hls::text(m, "URI")).map(rendition);
    let listed: Vec<String> = listed.collect();
    for (path, _) in media.iter().filter(|(path, _)| is_text(path)) {
        violations.require(
            "H8",
            listed.contains(&rendition(path)),
            format!("{path}: of no rendition"),
        );
    }
}

/// Each segment maps its timestamps, and contains exactly the cues that are visible in it: a cue
/// that crosses a boundary is in both segments.
fn segments(capture: &Capture, path: &str, playlist: &Media, violations: &mut Violations) {
    let mut start = 0.0;
    let mut read = Vec::new();
    for segment in &playlist.segments {
        let at = resolve(path, &segment.uri);
        let bytes = capture.media.get(&at).cloned().unwrap_or_default();
        let end = start + segment.duration;
        match mapped(&String::from_utf8_lossy(&bytes)) {
            Ok(cues) => read.push((at, start, end, cues)),
            Err(error) => violations.require("H8", false, format!("{at}: {error}")),
        }
        start = end;
    }
    let all: Vec<Cue> = read.iter().flat_map(|(.., cues)| cues.clone()).collect();
    for (at, start, end, cues) in &read {
        // The last cue may extend past the end by one audio frame.
        let shows = |cue: &&Cue| cue.0 < *end - 0.002 && cue.1 > *start + 0.002;
        for cue in all.iter().filter(shows) {
            violations.require("H8", cues.contains(cue), format!("{at}: lacks {cue:?}"));
        }
        let stray = cues.iter().find(|cue| cue.0 > end + 0.002 || cue.1 < start - 0.002);
        violations.require("H8", stray.is_none(), format!("{at}: holds {stray:?}"));
    }
}

/// The cues of a segment on the video's timeline, shifted by X-TIMESTAMP-MAP.
fn mapped(text: &str) -> Result<Vec<Cue>, String> {
    let map = text.lines().nth(1).and_then(|line| line.strip_prefix("X-TIMESTAMP-MAP="));
    let map = map.ok_or("no X-TIMESTAMP-MAP")?;
    let value = |name: &str| map.split(',').find_map(|part| part.strip_prefix(name));
    let mpegts = value("MPEGTS:").and_then(|ticks| ticks.parse::<f64>().ok());
    let local = value("LOCAL:").and_then(seconds);
    let (Some(mpegts), Some(local)) = (mpegts, local) else {
        return Err(format!("X-TIMESTAMP-MAP={map}"));
    };
    let shift = mpegts / 90_000.0 - local;
    let cues = cues(text)?;
    Ok(cues.into_iter().map(|(start, end, text)| (start + shift, end + shift, text)).collect())
}

/// Parses the simple WebVTT that the service writes.
pub(crate) fn cues(text: &str) -> Result<Vec<Cue>, String> {
    if !text.starts_with("WEBVTT\n") {
        return Err("not WebVTT".to_owned());
    }
    let mut cues = Vec::new();
    for block in text.split("\n\n").skip(1) {
        let (times, text) = block.trim_end().split_once('\n').ok_or(format!("block {block:?}"))?;
        let (start, rest) = times.split_once(" --> ").ok_or(format!("times {times:?}"))?;
        let end = rest.split(' ').next().unwrap_or_default();
        match (seconds(start), seconds(end)) {
            (Some(start), Some(end)) if start < end => cues.push((start, end, text.to_owned())),
            _ => return Err(format!("times {times:?}")),
        }
    }
    let ordered = cues.windows(2).all(|pair| pair[0].0 <= pair[1].0);
    if ordered { Ok(cues) } else { Err("cues out of order".to_owned()) }
}

fn seconds(text: &str) -> Option<f64> {
    let mut total = 0.0;
    for part in text.split(':') {
        total = total * 60.0 + part.parse::<f64>().ok()?;
    }
    Some(total)
}

/// Checks an AdaptationSet that references one whole file.
pub(super) fn dash(capture: &Capture, set: Node, violations: &mut Violations) {
    let place = format!("AdaptationSet {}", set.attribute("id").unwrap_or_default());
    let right = set.attribute("mimeType") == Some("text/vtt");
    violations.require("D7", right, format!("{place}: @mimeType"));
    let language = set.attribute("lang").is_some_and(|lang| !lang.is_empty());
    violations.require("D7", language, format!("{place}: no @lang"));
    let mut roles = set.children().filter(|n| n.has_tag_name_local("Role"));
    let role = roles.any(|role| matches!(role.attribute("value"), Some("subtitle" | "caption")));
    violations.require("D7", role, format!("{place}: no Role"));
    let representations = || set.children().filter(|n| n.has_tag_name_local("Representation"));
    violations.require("D7", representations().count() == 1, format!("{place}: Representations"));
    for representation in representations() {
        let rate = representation.attribute("bandwidth").and_then(|v| v.parse::<u64>().ok());
        violations.require("D7", rate.is_some_and(|rate| rate > 0), format!("{place}: @bandwidth"));
        let url = representation.children().find(|n| n.has_tag_name_local("BaseURL"));
        let at = url.and_then(|url| url.text()).map(|url| resolve(&capture.manifest, url));
        let bytes = at.as_ref().and_then(|at| capture.media.get(at)).cloned().unwrap_or_default();
        let read = cues(&String::from_utf8_lossy(&bytes));
        violations.require("D7", read.is_ok(), format!("{place}: {at:?} {:?}", read.err()));
    }
}
