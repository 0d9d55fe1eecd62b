//! HLS media playlists: rules H2, H11 to H20, H24, G1 and G2.

use super::{Parsed, Phase, Violations, hls::starts_at_zero, trick_play};
use crate::harness::{
    capture::{Capture, is_text, rendition, resolve},
    m3u8::Media,
};

/// Checks each media playlist and compares the playlists with each other.
pub(super) fn check(
    capture: &Capture,
    media: &[(String, Media)],
    tracks: &[Parsed],
    phase: Phase,
    violations: &mut Violations,
) {
    for (path, playlist) in media {
        let own = tracks.iter().find(|track| track.name == rendition(path));
        if playlist.iframes_only {
            iframes(capture, path, playlist, own, violations);
        } else if !playlist.images_only {
            general(path, playlist, phase, violations);
            if let Some(track) = own {
                durations(path, playlist, track, violations);
            }
        }
    }
    let plain: Vec<&(String, Media)> =
        media.iter().filter(|(_, list)| !list.iframes_only && !list.images_only).collect();
    for pair in plain.windows(2) {
        let pair_name = format!("{} and {}", pair[0].0, pair[1].0);
        let (a, b) = (&pair[0].1, &pair[1].1);
        violations.require(
            "H12",
            a.target == b.target,
            format!("{pair_name}: TARGETDURATION differs"),
        );
        violations.require(
            "H16",
            a.discontinuities == b.discontinuities,
            format!("{pair_name}: discontinuities differ"),
        );
        violations.require("G2", a.end == b.end, format!("{pair_name}: ENDLIST in one only"));
        violations.require("H15", a.kind == b.kind, format!("{pair_name}: PLAYLIST-TYPE differs"));
        if phase == Phase::Final {
            violations.require(
                "H15",
                a.segments.len() == b.segments.len(),
                format!("{pair_name}: different ranges"),
            );
        }
        boundaries(&pair_name, a, b, violations);
    }
}

fn general(path: &str, playlist: &Media, phase: Phase, violations: &mut Violations) {
    let version = playlist.version.unwrap_or(1);
    // WebVTT needs no init segment, so its playlist uses no tags newer than version 3 (decimal
    // durations).
    let least = if is_text(path) { 3 } else { 6 };
    violations.require("H2", (least..=7).contains(&version), format!("{path}: version {version}"));
    let mapped = playlist.map.is_some() != is_text(path);
    violations.require("H14", mapped, format!("{path}: EXT-X-MAP {:?}", playlist.map));
    let target = playlist.target.unwrap_or(0);
    violations.require("H12", target > 0, format!("{path}: no TARGETDURATION"));
    for segment in &playlist.segments {
        let short =
            segment.duration.round() as u64 <= target && segment.duration <= target as f64 + 0.5;
        violations.require(
            "H12",
            short,
            format!("{path}: {} s is over the target {target}", segment.duration),
        );
        violations.require(
            "H13",
            segment.duration > 0.0,
            format!("{path}: a segment of no length"),
        );
    }
    // Audio is cut at AAC frames.
    let last = playlist.segments.last().filter(|_| playlist.segments.len() > 1);
    let long = last.is_none_or(|last| last.duration >= 0.5 - 0.022);
    violations.require("H24", long, format!("{path}: the last segment is too short: {last:?}"));
    violations.require(
        "H15",
        playlist.sequence == 0,
        format!("{path}: MEDIA-SEQUENCE {}", playlist.sequence),
    );
    let kind = playlist.kind.as_deref();
    match phase {
        Phase::Growing => {
            violations.require(
                "G1",
                kind == Some("EVENT"),
                format!("{path}: PLAYLIST-TYPE {kind:?} while growing"),
            );
            violations.require(
                "G1",
                starts_at_zero(playlist.start.as_ref()),
                format!("{path}: no EXT-X-START near 0"),
            );
        }
        Phase::Final => {
            let known = matches!(kind, Some("VOD" | "EVENT"));
            violations.require(
                "H15",
                known && playlist.end,
                format!("{path}: type {kind:?}, end {}", playlist.end),
            );
        }
    }
}

/// Rule H13: the sum of any run of EXTINFs is within one frame of the media duration.
fn durations(path: &str, playlist: &Media, track: &Parsed, violations: &mut Violations) {
    let frame = frame_seconds(track);
    let (mut low, mut high, mut drift) = (0.0_f64, 0.0_f64, 0.0_f64);
    for (segment, true_one) in playlist.segments.iter().zip(&track.segments) {
        drift += segment.duration - track.seconds(true_one);
        low = low.min(drift);
        high = high.max(drift);
    }
    violations.require(
        "H13",
        high - low <= frame,
        format!("{path}: EXTINF drifts by {} s", high - low),
    );
}

pub(super) fn frame_seconds(track: &Parsed) -> f64 {
    let first = track.segments.first().and_then(|segment| segment.fragments.first());
    let ticks = first.map_or(0, |fragment| fragment.samples[0].duration);
    f64::from(ticks) / f64::from(track.init.timescale.max(1))
}

/// Rule H19: all renditions have the same segment boundaries, within one audio packet.
fn boundaries(pair_name: &str, a: &Media, b: &Media, violations: &mut Violations) {
    let (mut at_a, mut at_b) = (0.0, 0.0);
    for (index, (one, other)) in a.segments.iter().zip(&b.segments).enumerate() {
        at_a += one.duration;
        at_b += other.duration;
        let near = f64::abs(at_a - at_b) < 0.033;
        violations.require(
            "H19",
            near,
            format!("{pair_name}: segment {index} ends at {at_a} and {at_b}"),
        );
    }
}

/// Rule H11: each segment is a fragment of one sample, the key frame of its GOP.
fn iframes(
    capture: &Capture,
    path: &str,
    playlist: &Media,
    track: Option<&Parsed>,
    violations: &mut Violations,
) {
    let version = playlist.version.unwrap_or(1);
    violations.require("H2", (5..=7).contains(&version), format!("{path}: version {version}"));
    violations.require("H14", playlist.map.is_some(), format!("{path}: no EXT-X-MAP"));
    let target = playlist.target.unwrap_or(0);
    let Some(track) = track else {
        violations.require("H11", false, format!("{path}: of no variant"));
        return;
    };
    let mut total = 0.0;
    let mut parts = Vec::new();
    for frame in &playlist.segments {
        total += frame.duration;
        let short = frame.duration.round() as u64 <= target;
        violations.require(
            "H12",
            short,
            format!("{path}: {} s is over the target {target}", frame.duration),
        );
        violations.require("H11", frame.range.is_none(), format!("{path}: a byte range"));
        let at = resolve(path, &frame.uri);
        parts.push((at.clone(), capture.media.get(&at).cloned().unwrap_or_default()));
    }
    trick_play::key_frames("H11", &parts, track, violations);
    let whole = (total - track.duration()).abs() <= frame_seconds(track);
    violations.require("H15", whole, format!("{path}: covers {total} of {} s", track.duration()));
}
