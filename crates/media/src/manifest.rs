//! The common parts of HLS and DASH manifests.
//!
//! Manifests are written from the index alone, at the time of the request. All text in them that
//! users entered (labels, languages) is untrusted until it is escaped here.

pub mod captions;
pub mod dash;
pub mod hls;
pub mod images;
mod listed;
mod pace;
mod playlist;
mod rate;
mod timeline;
mod xsd;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

pub use self::listed::replaced;
use crate::{
    Codec,
    index::{Index, Track, VideoRendition},
    ladder::lines,
    urls,
};

/// How URLs in a manifest are built, and which renditions it lists.
#[derive(Clone, Copy, Debug, Default)]
pub struct Links<'a> {
    /// The playback token of the request, which is added to every URL.
    pub token: Option<&'a str>,
    /// Base URL of a CDN, without a trailing slash; without it URLs are relative.
    pub base: Option<&'a str>,
    /// Rungs with more lines than this are hidden, except the lowest.
    pub max_height: Option<u32>,
}

impl Links<'_> {
    /// The prefix of a path that is `below` `/api/stream/{id}/`; `relative` is the path from the
    /// manifest to that folder.
    pub fn prefix(&self, index: &Index, relative: &str, below: &str) -> String {
        match self.base {
            Some(base) => format!("{base}{}", urls::stream(index.video, below)),
            None => relative.to_owned(),
        }
    }

    /// The suffix of every path.
    pub fn suffix(&self) -> String {
        self.token.map_or_else(String::new, |token| format!("?token={}", percent(token)))
    }
}

/// How many seconds a session that begins now can play: the listed part of the lowest video rung that
/// has begun, or of the default audio in a video without pictures.
pub fn edge(index: &Index) -> f64 {
    let video = index.video_renditions.iter().map(|r| &r.track).find(|track| track.started());
    let audio = index.audio_renditions.first().map(|r| &r.track);
    let track = video.or_else(|| audio.filter(|_| index.video_renditions.is_empty()));
    let listed = track.map(|track| pace::listed_segments(index, track)).unwrap_or_default();
    listed.last().map_or(0.0, |gops| index.grid.seconds(index.grid.gop(gops.end - 1).end))
}

/// Whether enough is encoded to start an HLS session: the default audio and, if the video has a
/// video track, a rung that every player supports, because sessions keep to the renditions of the
/// first playlist. A ladder without H.264 starts with its first rung.
pub fn hls_playable(index: &Index) -> bool {
    let (video, sound) = (&index.video_renditions, index.audio_renditions.first());
    let plays_everywhere =
        |track: &Track| track.started() && Codec::of_rfc6381(&track.codec) == Some(Codec::H264);
    let pictures = match video.first() {
        Some(first) => first.track.started() || video.iter().any(|r| plays_everywhere(&r.track)),
        None => sound.is_some(),
    };
    index.hls && pictures && sound.is_none_or(|r| r.track.started())
}

/// Whether enough is encoded to start a DASH session. An MPD must not gain representations later,
/// so every planned rendition must have started.
pub fn dash_playable(index: &Index) -> bool {
    index.dash
        && !(index.video_renditions.is_empty() && index.audio_renditions.is_empty())
        && index.video_renditions.iter().all(|r| r.track.started())
        && index.audio_renditions.iter().all(|r| r.track.started())
}

/// Whether a viewer limited to `max_height` lines may have `rendition`. Audio is always allowed,
/// and so is the lowest rung, because otherwise nothing would be playable.
pub fn visible(index: &Index, rendition: &str, max_height: Option<u32>) -> bool {
    let place = index.video_renditions.iter().position(|r| r.name == rendition);
    match (place, max_height) {
        (Some(place), Some(max)) if place > 0 => {
            let rung = &index.video_renditions[place];
            lines(rung.width, rung.height) <= max
        }
        _ => true,
    }
}

fn visible_rungs<'a>(
    index: &'a Index,
    links: &Links<'_>,
) -> impl Iterator<Item = &'a VideoRendition> {
    let max_height = links.max_height;
    index.video_renditions.iter().filter(move |r| visible(index, &r.name, max_height))
}

/// Groups rungs by codec and keeps their order: no player switches between codecs.
fn by_codec<'a>(rungs: &[&'a VideoRendition]) -> Vec<Vec<&'a VideoRendition>> {
    let mut groups: Vec<Vec<&VideoRendition>> = Vec::new();
    for rung in rungs {
        let codec = Codec::of_rfc6381(&rung.track.codec);
        let same = |group: &&mut Vec<&VideoRendition>| {
            group.first().is_some_and(|r| Codec::of_rfc6381(&r.track.codec) == codec)
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.push(rung),
            None => groups.push(vec![rung]),
        }
    }
    groups
}

/// All but unreserved characters (RFC 3986, section 2.3).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Percent-encodes all but unreserved characters.
fn percent(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

/// Converts text for an HLS quoted-string, which has no escapes: line breaks and double quotes are
/// replaced.
fn quoted(text: &str) -> String {
    let plain = |c: char| match c {
        '"' => '\'',
        c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}') => ' ',
        c => c,
    };
    text.chars().map(plain).collect()
}

/// Escapes text for an XML attribute or element.
fn xml(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            // XML 1.0 cannot represent most control characters or these two.
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push(' '),
            c => out.push(c),
        }
    }
    out
}
