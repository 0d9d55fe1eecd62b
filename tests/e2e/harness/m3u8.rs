//! A strict parser of HLS playlists (RFC 8216bis): unknown lines are errors.

use std::collections::BTreeMap;

use anyhow::{Context, bail};

/// A tag's attribute list; values keep their quotes, so that quoted and unquoted values differ.
pub(crate) type Attributes = BTreeMap<String, String>;

/// A multivariant playlist.
#[derive(Clone, Debug, Default)]
pub(crate) struct Multivariant {
    pub(crate) version: Option<u32>,
    pub(crate) independent: bool,
    pub(crate) start: Option<Attributes>,
    pub(crate) media: Vec<Attributes>,
    pub(crate) variants: Vec<(Attributes, String)>,
    pub(crate) iframes: Vec<Attributes>,
    pub(crate) images: Vec<Attributes>,
}

/// A media playlist.
#[derive(Clone, Debug, Default)]
pub(crate) struct Media {
    pub(crate) version: Option<u32>,
    pub(crate) target: Option<u64>,
    pub(crate) sequence: u64,
    pub(crate) kind: Option<String>,
    pub(crate) independent: bool,
    pub(crate) iframes_only: bool,
    pub(crate) images_only: bool,
    pub(crate) start: Option<Attributes>,
    pub(crate) map: Option<(String, Option<Range>)>,
    pub(crate) segments: Vec<Segment>,
    pub(crate) end: bool,
    pub(crate) discontinuities: u32,
}

/// A segment's URI with the tags before it.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) uri: String,
    pub(crate) duration: f64,
    pub(crate) range: Option<Range>,
    /// Of an image playlist.
    pub(crate) tiles: Option<Attributes>,
}

/// A byte range of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) start: usize,
    pub(crate) length: usize,
}

/// A value without its quotes.
pub(crate) fn unquoted(value: &str) -> Option<&str> {
    value.strip_prefix('"')?.strip_suffix('"')
}

/// Parses an attribute list.
pub(crate) fn attributes(text: &str) -> anyhow::Result<Attributes> {
    let mut found = Attributes::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=').context("attribute without a value")?;
        let quoted = after.starts_with('"');
        let end = if quoted {
            after[1..].find('"').context("unclosed quote")? + 2
        } else {
            after.find(',').unwrap_or(after.len())
        };
        if found.insert(name.to_owned(), after[..end].to_owned()).is_some() {
            bail!("attribute {name} twice");
        }
        rest = after[end..].strip_prefix(',').unwrap_or(&after[end..]);
    }
    Ok(found)
}

fn lines(text: &str) -> anyhow::Result<impl Iterator<Item = &str>> {
    let mut lines = text.lines();
    if lines.next() != Some("#EXTM3U") {
        bail!("the first line is not #EXTM3U");
    }
    // A comment is a line that begins with # but not with #EXT.
    Ok(lines.filter(|l| !l.is_empty() && (!l.starts_with('#') || l.starts_with("#EXT"))))
}

fn split(line: &str) -> (&str, &str) {
    line.split_once(':').unwrap_or((line, ""))
}

/// Parses a multivariant playlist.
pub(crate) fn multivariant(text: &str) -> anyhow::Result<Multivariant> {
    let mut playlist = Multivariant::default();
    let mut pending: Option<Attributes> = None;
    for line in lines(text)? {
        if let Some(variant) = pending.take() {
            if line.starts_with('#') {
                bail!("STREAM-INF is not followed by a URI");
            }
            playlist.variants.push((variant, line.to_owned()));
            continue;
        }
        let (tag, value) = split(line);
        match tag {
            "#EXT-X-VERSION" => playlist.version = Some(value.parse()?),
            "#EXT-X-INDEPENDENT-SEGMENTS" => playlist.independent = true,
            "#EXT-X-START" => playlist.start = Some(attributes(value)?),
            "#EXT-X-MEDIA" => playlist.media.push(attributes(value)?),
            "#EXT-X-STREAM-INF" => pending = Some(attributes(value)?),
            "#EXT-X-I-FRAME-STREAM-INF" => playlist.iframes.push(attributes(value)?),
            "#EXT-X-IMAGE-STREAM-INF" => playlist.images.push(attributes(value)?),
            _ => bail!("unexpected line in a multivariant playlist: {line}"),
        }
    }
    Ok(playlist)
}

/// Parses a media playlist.
pub(crate) fn media(text: &str) -> anyhow::Result<Media> {
    let mut playlist = Media::default();
    let (mut duration, mut range, mut previous) = (None, None, None::<(String, usize)>);
    let mut tiles = None;
    for line in lines(text)? {
        let (tag, value) = split(line);
        match tag {
            "#EXT-X-VERSION" => playlist.version = Some(value.parse()?),
            "#EXT-X-TARGETDURATION" => playlist.target = Some(value.parse()?),
            "#EXT-X-MEDIA-SEQUENCE" => playlist.sequence = value.parse()?,
            "#EXT-X-PLAYLIST-TYPE" => playlist.kind = Some(value.to_owned()),
            "#EXT-X-INDEPENDENT-SEGMENTS" => playlist.independent = true,
            "#EXT-X-I-FRAMES-ONLY" => playlist.iframes_only = true,
            "#EXT-X-IMAGES-ONLY" => playlist.images_only = true,
            "#EXT-X-TILES" => tiles = Some(attributes(value)?),
            "#EXT-X-START" => playlist.start = Some(attributes(value)?),
            "#EXT-X-DISCONTINUITY" => playlist.discontinuities += 1,
            "#EXT-X-ENDLIST" => playlist.end = true,
            "#EXT-X-MAP" => playlist.map = Some(map(&attributes(value)?)?),
            "#EXTINF" => duration = Some(value.trim_end_matches(',').parse::<f64>()?),
            "#EXT-X-BYTERANGE" => range = Some(value.to_owned()),
            _ if tag.starts_with('#') => bail!("unexpected line in a media playlist: {line}"),
            _ => {
                let duration = duration.take().context("a segment without EXTINF")?;
                let after = previous.take().filter(|(uri, _)| uri == line).map(|(_, end)| end);
                let range = range.take().map(|text| byte_range(&text, after)).transpose()?;
                previous = range.map(|range| (line.to_owned(), range.start + range.length));
                let (uri, tiles) = (line.to_owned(), tiles.take());
                playlist.segments.push(Segment { uri, duration, range, tiles });
            }
        }
    }
    Ok(playlist)
}

fn map(attributes: &Attributes) -> anyhow::Result<(String, Option<Range>)> {
    let uri = attributes.get("URI").and_then(|v| unquoted(v)).context("EXT-X-MAP without URI")?;
    let range = attributes.get("BYTERANGE").and_then(|v| unquoted(v));
    Ok((uri.to_owned(), range.map(|text| byte_range(text, None)).transpose()?))
}

/// Rule H18: a range without an offset continues the previous range of the same resource.
fn byte_range(text: &str, after: Option<usize>) -> anyhow::Result<Range> {
    let (length, offset) = text.split_once('@').map_or((text, None), |(l, o)| (l, Some(o)));
    let start = match offset {
        Some(offset) => offset.parse()?,
        None => after.context("BYTERANGE without an offset follows no range of the same URI")?,
    };
    Ok(Range { start, length: length.parse()? })
}
