//! Downloads a video as a player would: manifest, playlists, init and media segments, through HLS
//! or DASH. Keeps the replies, so that checks and mutations work on them offline.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use roxmltree::{Document, Node};

use super::{
    client::{Client, Reply},
    m3u8,
};

/// The downloads of one video through one protocol; keys are paths with queries.
#[derive(Clone, Debug, Default)]
pub(crate) struct Capture {
    /// The path of the manifest, from which everything else was found.
    pub(crate) manifest: String,
    /// Playlists or the MPD, with headers.
    pub(crate) texts: BTreeMap<String, Reply>,
    /// Init and media segments.
    pub(crate) media: BTreeMap<String, Bytes>,
    /// The headers of one media segment.
    pub(crate) segment_reply: Option<Reply>,
}

/// A rendition assembled from its parts.
#[derive(Clone, Debug)]
pub(crate) struct Track {
    /// "360p", "audio-0" or "surround-0".
    pub(crate) name: String,
    pub(crate) init: Bytes,
    /// Media segments in order.
    pub(crate) segments: Vec<Part>,
}

/// A media segment.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) path: String,
    pub(crate) bytes: Bytes,
}

impl Track {
    /// True for audio.
    pub(crate) fn is_audio(&self) -> bool {
        self.name.starts_with("audio") || self.name.starts_with("surround")
    }

    /// Writes init and segments, back to back, as one playable file.
    pub(crate) fn write(&self, dir: &Path) -> PathBuf {
        let path = dir.join(format!("{}.mp4", self.name));
        let mut all = self.init.to_vec();
        self.segments.iter().for_each(|part| all.extend_from_slice(&part.bytes));
        fs::write(&path, all).expect("write rendition");
        path
    }
}

/// Resolves a relative reference against a path.
pub(crate) fn resolve(base: &str, reference: &str) -> String {
    let base = url::join(base, reference);
    base.unwrap_or_else(|| panic!("resolve {reference} against a manifest's URL"))
}

mod url {
    //! The small part of RFC 3986 that manifests use.

    /// Joins base and reference; `None` if the reference leaves the root.
    pub(super) fn join(base: &str, reference: &str) -> Option<String> {
        if let Some(rest) = reference.strip_prefix("http://") {
            return rest.find('/').map(|slash| rest[slash..].to_owned());
        }
        if reference.starts_with('/') {
            return Some(reference.to_owned());
        }
        let folder = base.split('?').next()?.rsplit_once('/')?.0;
        let mut parts: Vec<&str> = folder.split('/').collect();
        let mut rest = reference;
        while let Some(after) = rest.strip_prefix("../") {
            parts.pop().filter(|part| !part.is_empty())?;
            rest = after;
        }
        Some(format!("{}/{rest}", parts.join("/")))
    }
}

/// The rendition that a URL like `.../{version}/{rendition}/h0.m4s` belongs to.
pub(crate) fn rendition(path: &str) -> String {
    let mut parts = path.split('?').next().unwrap_or(path).rsplit('/');
    parts.nth(1).unwrap_or_default().to_owned()
}

impl Capture {
    /// Downloads everything that the HLS manifest references.
    pub(crate) async fn hls(client: &Client, manifest: &str) -> Self {
        let mut capture = Self { manifest: manifest.to_owned(), ..Self::default() };
        let text = capture.text(client, manifest).await;
        let playlist = m3u8::multivariant(&text).expect("multivariant playlist");
        let uri =
            |a: &m3u8::Attributes| a.get("URI").and_then(|v| m3u8::unquoted(v)).map(str::to_owned);
        let variants = playlist.variants.iter().map(|(_, uri)| uri.clone());
        let others = playlist.media.iter().chain(&playlist.iframes).chain(&playlist.images);
        let others = others.filter_map(uri);
        for reference in variants.chain(others).collect::<Vec<_>>() {
            let path = resolve(manifest, &reference);
            if !capture.texts.contains_key(&path) {
                let text = capture.text(client, &path).await;
                capture.media_of(client, &path, &text).await;
            }
        }
        capture
    }

    /// Downloads everything that the MPD references.
    pub(crate) async fn dash(client: &Client, manifest: &str) -> Self {
        let mut capture = Self { manifest: manifest.to_owned(), ..Self::default() };
        let text = capture.text(client, manifest).await;
        let tracks = [addresses(&text, manifest, false), addresses(&text, manifest, true)];
        for (_, init, parts) in tracks.into_iter().flatten() {
            capture.fetch(client, &init).await;
            for path in parts {
                capture.fetch(client, &path).await;
            }
        }
        for path in whole_files(&text, manifest).into_iter().chain(sheets(&text, manifest)) {
            capture.fetch(client, &path).await;
        }
        capture
    }

    async fn text(&mut self, client: &Client, path: &str) -> String {
        let reply = client.get(path).await.expect(200);
        let text = reply.text();
        self.texts.insert(path.to_owned(), reply);
        text
    }

    async fn media_of(&mut self, client: &Client, path: &str, text: &str) {
        let playlist = m3u8::media(text).unwrap_or_else(|e| panic!("{path}: {e:#}\n{text}"));
        let map = playlist.map.map(|(uri, _)| uri);
        for uri in map.into_iter().chain(playlist.segments.into_iter().map(|s| s.uri)) {
            self.fetch(client, &resolve(path, &uri)).await;
        }
    }

    async fn fetch(&mut self, client: &Client, path: &str) {
        if !self.media.contains_key(path) {
            let reply = client.get(path).await;
            assert_eq!(reply.status, 200, "rule H17: {path} is listed: {}", reply.text());
            self.media.insert(path.to_owned(), reply.body.clone());
            self.segment_reply.get_or_insert(reply);
        }
    }

    /// The manifest's text.
    pub(crate) fn manifest_text(&self) -> String {
        self.texts[&self.manifest].text()
    }

    /// The renditions that HLS media playlists describe.
    pub(crate) fn hls_tracks(&self) -> Vec<Track> {
        let mut tracks = Vec::new();
        for (path, reply) in self.texts.iter().filter(|(path, _)| **path != self.manifest) {
            let Ok(playlist) = m3u8::media(&reply.text()) else { continue };
            if playlist.iframes_only || playlist.images_only || is_text(path) {
                continue;
            }
            let part = |segment: &m3u8::Segment| {
                let at = resolve(path, &segment.uri);
                let bytes = self.media.get(&at).cloned().unwrap_or_default();
                Part { bytes, path: at }
            };
            let init = playlist.map.as_ref().map(|(uri, _)| resolve(path, uri));
            let init = init.and_then(|at| self.media.get(&at).cloned()).unwrap_or_default();
            let segments = playlist.segments.iter().map(part).collect();
            tracks.push(Track { name: rendition(path), init, segments });
        }
        tracks
    }

    /// The renditions that the MPD describes, except those for trick play.
    pub(crate) fn dash_tracks(&self) -> Vec<Track> {
        self.tracks_of_mpd(false)
    }

    /// The renditions for trick play that the MPD describes.
    pub(crate) fn trick_play_tracks(&self) -> Vec<Track> {
        self.tracks_of_mpd(true)
    }

    fn tracks_of_mpd(&self, trick_play: bool) -> Vec<Track> {
        let get = |path: &str| self.media.get(path).cloned().unwrap_or_default();
        let track = |(name, init, parts): (String, String, Vec<String>)| {
            let part = |path: String| Part { bytes: get(&path), path };
            Track { name, init: get(&init), segments: parts.into_iter().map(part).collect() }
        };
        let found = addresses(&self.manifest_text(), &self.manifest, trick_play);
        found.into_iter().map(track).collect()
    }
}

/// Whether a path belongs to a text track.
pub(crate) fn is_text(path: &str) -> bool {
    rendition(path).starts_with("text-")
}

/// The files that an MPD references by BaseURL.
fn whole_files(text: &str, manifest: &str) -> Vec<String> {
    let document = Document::parse(text).unwrap_or_else(|e| panic!("MPD: {e}\n{text}"));
    let urls = document.descendants().filter(|n| n.has_tag_name_local("BaseURL"));
    urls.filter_map(|url| Some(resolve(manifest, url.text()?))).collect()
}

/// Whether a Representation is for trick play.
pub(crate) fn is_trick_play(representation: &Node) -> bool {
    let set = representation.parent_element();
    let mut properties = set.into_iter().flat_map(|set| set.children());
    properties.any(|n| n.attribute("schemeIdUri") == Some("http://dashif.org/guidelines/trickmode"))
}

/// The sheets of thumbnails that an MPD references.
fn sheets(text: &str, manifest: &str) -> Vec<String> {
    let document = Document::parse(text).unwrap_or_else(|e| panic!("MPD: {e}\n{text}"));
    let sets = document.descendants().filter(|n| n.attribute("contentType") == Some("image"));
    let templates = sets.flat_map(|set| set.children());
    let templates = templates.filter(|n| n.has_tag_name_local("SegmentTemplate"));
    let paths = templates.flat_map(|template| {
        let number = |name: &str| template.attribute(name).and_then(|v| v.parse::<u64>().ok());
        let media = template.attribute("media").unwrap_or_default().to_owned();
        let numbers = number("startNumber").unwrap_or(1)..=number("endNumber").unwrap_or(0);
        numbers.map(move |n| resolve(manifest, &media.replace("$Number$", &n.to_string())))
    });
    paths.collect()
}

/// For each video and audio representation, either for trick play or not: rendition, path of the init
/// segment, paths of the media segments.
fn addresses(text: &str, manifest: &str, trick_play: bool) -> Vec<(String, String, Vec<String>)> {
    let document = Document::parse(text).unwrap_or_else(|e| panic!("MPD: {e}\n{text}"));
    let mut found = Vec::new();
    let of_file = |n: &Node| n.children().any(|n| n.has_tag_name_local("BaseURL"));
    let representations = document.descendants().filter(|n| n.has_tag_name_local("Representation"));
    let representations = representations.filter(|n| !of_file(n));
    let image = |n: &Node| n.ancestors().any(|n| n.attribute("contentType") == Some("image"));
    let representations = representations.filter(|n| !image(n) && is_trick_play(n) == trick_play);
    for representation in representations {
        let template = representation
            .ancestors()
            .find_map(|node| node.children().find(|n| n.has_tag_name_local("SegmentTemplate")))
            .expect("SegmentTemplate");
        let id = representation.attribute("id").expect("Representation@id");
        let attribute = |name: &str| template.attribute(name).unwrap_or_default();
        let fill = |text: &str, number: u64, time: u64| {
            let text =
                text.replace("$RepresentationID$", id).replace("$Number$", &number.to_string());
            resolve(manifest, &text.replace("$Time$", &time.to_string()))
        };
        let first =
            template.attribute("startNumber").map_or(1, |n| n.parse().expect("@startNumber"));
        let named = (first..).zip(timeline(template));
        let parts =
            named.map(|(number, (time, _))| fill(attribute("media"), number, time)).collect();
        let init = fill(attribute("initialization"), 0, 0);
        found.push((rendition(&init), init, parts));
    }
    found
}

/// Start and duration of every segment of a SegmentTimeline, in ticks.
pub(crate) fn timeline(template: Node) -> Vec<(u64, u64)> {
    let (mut time, mut found) = (0, Vec::new());
    for s in template.descendants().filter(|n| n.has_tag_name_local("S")) {
        let number = |name: &str| s.attribute(name).and_then(|v| v.parse::<u64>().ok());
        time = number("t").unwrap_or(time);
        for _ in 0..=number("r").unwrap_or(0) {
            let duration = number("d").expect("S@d");
            found.push((time, duration));
            time += duration;
        }
    }
    found
}

/// Compares element names without their namespace.
pub(crate) trait LocalName {
    /// True when the element's local name is `name`.
    fn has_tag_name_local(&self, name: &str) -> bool;
}

impl LocalName for Node<'_, '_> {
    fn has_tag_name_local(&self, name: &str) -> bool {
        self.is_element() && self.tag_name().name() == name
    }
}
