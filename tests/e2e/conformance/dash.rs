//! MPDs: rules D1 to D13, G4.

use roxmltree::{Document, Node};

use super::{Parsed, Phase, Violations, parse, text, trick_play};
use crate::harness::capture::{Capture, LocalName, is_trick_play, timeline};

const NAMESPACE: &str = "urn:mpeg:dash:schema:mpd:2011";

/// Checks all DASH rules on a captured video.
pub(crate) fn check(capture: &Capture, phase: Phase) -> Violations {
    let mut violations = Violations::default();
    let tracks = parse(&capture.dash_tracks(), &mut violations);
    let text = capture.manifest_text();
    let document = match Document::parse(&text) {
        Ok(document) => document,
        Err(error) => {
            violations.require("D1", false, error.to_string());
            return violations;
        }
    };
    let mpd = document.root_element();
    let is_mpd = mpd.tag_name().name() == "MPD" && mpd.tag_name().namespace() == Some(NAMESPACE);
    violations.require("D1", is_mpd, "the root is not an MPD");
    let kind = capture.texts[&capture.manifest].header("content-type").to_owned();
    violations.require("D1", kind == "application/dash+xml", format!("content type {kind}"));
    top(mpd, phase, &mut violations);
    unique_ids(mpd, &mut violations);
    let total = seconds(mpd.attribute("mediaPresentationDuration"));
    let periods: Vec<Node> = mpd.children().filter(|n| n.has_tag_name_local("Period")).collect();
    violations.require("D2", periods.len() == 1, format!("{} periods", periods.len()));
    let sets = || mpd.descendants().filter(|n| n.has_tag_name_local("AdaptationSet"));
    let mut main_video = 0;
    for set in sets() {
        let representation = set.children().find(|n| n.has_tag_name_local("Representation"));
        match set.attribute("contentType") {
            Some("text") => text::dash(capture, set, &mut violations),
            Some("image") => trick_play::dash_images(capture, set, total, &mut violations),
            _ if representation.is_some_and(|n| is_trick_play(&n)) => {
                trick_play::dash_set(set, &mut violations);
            }
            kind => {
                adaptation_set(set, mpd, phase, &tracks, total, &mut violations);
                main_video += usize::from(kind == Some("video") && has_role(set, "main"));
            }
        }
    }
    let video = tracks.iter().any(|track| track.init.video);
    violations.require("D13", main_video == usize::from(video), format!("{main_video} main sets"));
    trick_play::dash(capture, &tracks, &mut violations);
    violations
}

fn has_role(set: Node, role: &str) -> bool {
    let mut roles = set.children().filter(|n| n.has_tag_name_local("Role"));
    roles.any(|n| n.attribute("value") == Some(role))
}

/// Parses an xs:duration of hours, minutes and seconds; `None` for other forms, such as the years
/// and months that rule D1 forbids.
pub(crate) fn seconds(text: Option<&str>) -> Option<f64> {
    let time = text?.strip_prefix("PT")?;
    let mut total = 0.0;
    let mut digits = String::new();
    for c in time.chars() {
        let unit = match c {
            'H' => 3600.0,
            'M' => 60.0,
            'S' => 1.0,
            _ => {
                digits.push(c);
                continue;
            }
        };
        total += digits.parse::<f64>().ok()? * unit;
        digits.clear();
    }
    digits.is_empty().then_some(total)
}

fn top(mpd: Node, phase: Phase, violations: &mut Violations) {
    let has = |name: &str| mpd.attribute(name).is_some();
    violations.require(
        "D7",
        mpd.attribute("profiles").is_some_and(|p| p.contains("urn:mpeg:")),
        "no @profiles",
    );
    violations.require(
        "D8",
        seconds(mpd.attribute("minBufferTime")).is_some(),
        "no @minBufferTime",
    );
    let total = seconds(mpd.attribute("mediaPresentationDuration"));
    violations.require("D2", total.is_some_and(|t| t > 0.0), "no @mediaPresentationDuration");
    let period = mpd.children().find(|n| n.has_tag_name_local("Period"));
    let start = period.and_then(|p| seconds(p.attribute("start")));
    violations.require("D2", start == Some(0.0), "the first Period does not start at 0");
    violations.require("G4", !has("timeShiftBufferDepth"), "@timeShiftBufferDepth");
    match phase {
        Phase::Final => {
            violations.require(
                "D2",
                mpd.attribute("type").unwrap_or("static") == "static",
                "not static",
            );
            for name in
                ["availabilityStartTime", "minimumUpdatePeriod", "suggestedPresentationDelay"]
            {
                violations.require("D2", !has(name), format!("static with @{name}"));
            }
        }
        Phase::Growing => {
            violations.require("D10", mpd.attribute("type") == Some("dynamic"), "not dynamic");
            violations.require("D10", has("availabilityStartTime"), "no @availabilityStartTime");
            let timing = mpd.children().any(|n| n.has_tag_name_local("UTCTiming"));
            violations.require("D10", timing, "no UTCTiming");
            let delay = seconds(mpd.attribute("suggestedPresentationDelay"));
            violations.require(
                "G4",
                delay == Some(0.0),
                format!("@suggestedPresentationDelay {delay:?}"),
            );
            let update = seconds(mpd.attribute("minimumUpdatePeriod"));
            violations.require(
                "G4",
                update.is_some_and(|u| u > 0.0 && u <= 5.0),
                format!("@minimumUpdatePeriod {update:?}"),
            );
        }
    }
}

fn unique_ids(mpd: Node, violations: &mut Violations) {
    for name in ["Representation", "AdaptationSet", "Period"] {
        let nodes = || mpd.descendants().filter(|n| n.has_tag_name_local(name));
        let mut ids: Vec<&str> = nodes().filter_map(|n| n.attribute("id")).collect();
        ids.sort_unstable();
        ids.dedup();
        violations.require(
            "D7",
            ids.len() == nodes().count(),
            format!("{name}: an @id is missing or double"),
        );
    }
}

fn adaptation_set(
    set: Node,
    mpd: Node,
    phase: Phase,
    tracks: &[Parsed],
    total: Option<f64>,
    violations: &mut Violations,
) {
    let id = set.attribute("id").unwrap_or_default();
    let place = format!("AdaptationSet {id}");
    let aligned = set.attribute("segmentAlignment").is_some_and(|v| v == "true" || v == "1");
    violations.require("D7", aligned, format!("{place}: no @segmentAlignment"));
    let sap = set.attribute("startWithSAP").is_some_and(|v| v == "1" || v == "2");
    violations.require("D7", sap, format!("{place}: no @startWithSAP"));
    let templates: Vec<Node> =
        set.descendants().filter(|n| n.has_tag_name_local("SegmentTemplate")).collect();
    violations.require("D4", !templates.is_empty(), format!("{place}: no SegmentTemplate"));
    for template in templates {
        addressing(template, &place, violations);
    }
    let representations = || set.children().filter(|n| n.has_tag_name_local("Representation"));
    let mut codecs: Vec<String> = representations()
        .map(|n| n.attribute("codecs").unwrap_or_default().chars().take(4).collect())
        .collect();
    codecs.dedup();
    violations.require("C3", codecs.len() == 1, format!("{place}: of several codecs {codecs:?}"));
    for representation in representations() {
        let name = representation.attribute("id").unwrap_or_default();
        let Some(track) = tracks.iter().find(|track| track.name == name) else {
            violations.require(
                "D7",
                false,
                format!("Representation {name}: its media cannot be read"),
            );
            continue;
        };
        attributes(set, representation, track, violations);
        cover(representation, track, phase, total, violations);
        leaky_bucket(mpd, representation, track, violations);
    }
}

fn addressing(template: Node, place: &str, violations: &mut Violations) {
    let media = template.attribute("media").unwrap_or_default();
    let numbered = media.contains("$Number") || media.contains("$Time");
    violations.require("D4", numbered, format!("{place}: @media {media}"));
    violations.require(
        "D3",
        template.attribute("timescale").is_some(),
        format!("{place}: no @timescale"),
    );
    violations.require(
        "D4",
        template.attribute("duration").is_none(),
        format!("{place}: @duration and timeline"),
    );
    let mut end = None;
    for s in template.descendants().filter(|n| n.has_tag_name_local("S")) {
        violations.require("D4", s.attribute("n").is_none(), format!("{place}: S@n"));
        let number = |name: &str| s.attribute(name).and_then(|v| v.parse::<i64>().ok());
        let (start, length) = (number("t"), number("d").unwrap_or(0));
        let repeat = number("r").unwrap_or(0);
        violations.require(
            "D3",
            repeat >= 0 && length > 0,
            format!("{place}: S of d={length} r={repeat}"),
        );
        let gapless = end.is_none() || start.is_none() || start == end;
        violations.require(
            "D3",
            gapless,
            format!("{place}: S@t {start:?} does not continue {end:?}"),
        );
        end = Some(start.or(end).unwrap_or(0) + length * (repeat.max(0) + 1));
    }
}

fn attributes(set: Node, representation: Node, track: &Parsed, violations: &mut Violations) {
    let get =
        |name: &str| representation.attribute(name).or(set.attribute(name)).unwrap_or_default();
    let mut equal = |name: &str, expected: String| {
        let found = get(name);
        let message = format!("Representation {}: @{name} {found}, track {expected}", track.name);
        violations.require("D7", found.eq_ignore_ascii_case(&expected), message);
    };
    let init = &track.init;
    equal("codecs", init.codec.clone());
    if init.video {
        equal("mimeType", "video/mp4".to_owned());
        equal("width", init.width.to_string());
        equal("height", init.height.to_string());
    } else {
        equal("mimeType", "audio/mp4".to_owned());
        equal("audioSamplingRate", init.rate.to_string());
        let channels = channels(set);
        let message = format!("Representation {}: {channels:?} channels", track.name);
        violations.require("D7", channels == Some(init.channels), message);
    }
    if init.video {
        let ticks = track.segments.first().map_or(1, |s| s.fragments[0].samples[0].duration);
        let rate = get("frameRate");
        let (num, den) = rate.split_once('/').unwrap_or((rate, "1"));
        let number = |text: &str| text.parse::<u64>().unwrap_or(0);
        let right = number(num) * u64::from(ticks) == number(den) * u64::from(init.timescale);
        violations.require(
            "D7",
            right,
            format!("Representation {}: @frameRate {rate}", track.name),
        );
    }
}

/// The number of channels by AudioChannelConfiguration, whose value is that number, or has one bit
/// per loudspeaker.
fn channels(set: Node) -> Option<u32> {
    let configuration =
        set.children().find(|node| node.has_tag_name_local("AudioChannelConfiguration"))?;
    let value = configuration.attribute("value")?;
    match configuration.attribute("schemeIdUri")? {
        "urn:mpeg:dash:23003:3:audio_channel_configuration:2011" => value.parse().ok(),
        "tag:dolby.com,2014:dash:audio_channel_configuration:2011" => {
            u32::from_str_radix(value, 16).ok().map(u32::count_ones)
        }
        _ => None,
    }
}

/// Rules D3, D9, C1: the timeline matches the segments, and covers the whole video once it is
/// final.
fn cover(
    representation: Node,
    track: &Parsed,
    phase: Phase,
    total: Option<f64>,
    violations: &mut Violations,
) {
    let template = representation
        .ancestors()
        .find_map(|node| node.children().find(|n| n.has_tag_name_local("SegmentTemplate")));
    let Some(template) = template else { return };
    let timescale: f64 =
        template.attribute("timescale").and_then(|v| v.parse().ok()).unwrap_or(1.0);
    // Audio can only be cut at the nearest AAC frame.
    let slack = if track.init.video { 1.5 / f64::from(track.init.timescale) } else { 0.022 };
    let entries = timeline(template);
    violations.require(
        "D3",
        entries.len() == track.segments.len(),
        format!("{}: count", track.name),
    );
    let last = template.attribute("endNumber").and_then(|v| v.parse::<usize>().ok());
    let correct = last.is_some_and(|last| match phase {
        Phase::Final => last + 1 == entries.len(),
        Phase::Growing => last + 1 >= entries.len(),
    });
    violations.require("D4", correct, format!("{}: @endNumber {last:?}", track.name));
    let mut end = 0.0;
    for ((start, length), segment) in entries.iter().zip(&track.segments) {
        let (start, length) = (*start as f64 / timescale, *length as f64 / timescale);
        let first = segment.fragments[0].time as f64 / f64::from(track.init.timescale);
        let exact = (start - first).abs() <= slack
            && (length - track.seconds(segment)).abs() <= 2.0 * slack;
        violations.require(
            "D3",
            exact,
            format!(
                "{}: S {start}+{length} s, tfdt {first} s, media {} s",
                track.name,
                track.seconds(segment)
            ),
        );
        end = start + length;
    }
    if phase == Phase::Final {
        let whole = total.is_some_and(|total| (total - end).abs() < 0.05);
        violations.require("D2", whole, format!("{}: ends at {end} of {total:?} s", track.name));
    }
    let longest = entries.iter().map(|(_, length)| *length as f64 / timescale).fold(0.0, f64::max);
    let mpd = representation.document().root_element();
    if let Some(limit) = mpd.attribute("maxSegmentDuration") {
        let holds = seconds(Some(limit)).is_some_and(|limit| limit + 0.001 >= longest);
        violations.require("D9", holds, format!("{}: {longest} s is over {limit}", track.name));
    }
}

/// Rule D8: a player that starts at any segment, after buffering minBufferTime at @bandwidth, never
/// underruns.
fn leaky_bucket(mpd: Node, representation: Node, track: &Parsed, violations: &mut Violations) {
    let Some(buffer) = seconds(mpd.attribute("minBufferTime")) else { return };
    let rate: f64 =
        representation.attribute("bandwidth").and_then(|v| v.parse().ok()).unwrap_or(0.0);
    for first in 0..track.segments.len() {
        let (mut bits, mut played) = (0.0, 0.0);
        for segment in &track.segments[first..] {
            bits += segment.bytes as f64 * 8.0;
            played += track.seconds(segment);
            if bits > rate * (buffer + played) {
                let message =
                    format!("{}: @bandwidth {rate} is too low from segment {first}", track.name);
                violations.require("D8", false, message);
                return;
            }
        }
    }
}
