//! `/watch/{id}` and `/embed/{id}`: a page with the player. The tags for other sites are in the
//! HTML itself and need no script. A video of which nothing can be played yet has a neutral page,
//! without its title; the player fills it as soon as there is something to play.

use std::{fmt::Write, net::IpAddr, sync::Arc};

use api::{code::Problem, v1};
use http::{header, request::Parts};
use media::{
    VideoId,
    manifest::hls_playable,
    pictures::{self, POSTER},
    urls,
};

use super::{
    Pages,
    found::{self, Found},
    html::{self, HTML_TYPE, escape},
    parameters::Parameters,
    policy::PageKind,
    tags::Tags,
};
use crate::{
    http::{
        cache::CachePolicy,
        reply::{self, Document, Reply, Text},
    },
    playback::Playback,
};

/// The title of a page that must not show that of the video.
const NEUTRAL_TITLE: &str = "Video";
/// The title of a video without one.
const UNTITLED: &str = "Untitled video";
/// The size of a video without pictures, in pixels.
const DEFAULT_SIZE: (u32, u32) = (640, 360);
/// Keeps the lines of a description.
const DESCRIPTION_STYLE: &str =
    "<style>.description{white-space:pre-wrap;overflow-wrap:anywhere}</style>\n";

/// The properties of a video that pages and oEmbed documents show.
pub(super) struct Shown<'a> {
    pub(super) video: VideoId,
    found: &'a Found,
    /// Whether a player can begin.
    pub(super) begins: bool,
    /// `None` if it must not be shown.
    pub(super) title: Option<&'a str>,
    /// May be empty.
    description: &'a str,
    /// In pixels.
    pub(super) size: (u32, u32),
    /// In seconds; 0 while it is not known.
    duration: f64,
    /// Size of the poster, if there is one, in pixels.
    pub(super) poster: Option<(u32, u32)>,
}

/// Handles a GET or HEAD for a page with the player of `video`; `None` is a malformed id.
pub(super) async fn serve(
    pages: &Pages,
    playback: &Playback,
    (kind, video): (PageKind, Option<VideoId>),
    request: &Parts,
    (address, base): (IpAddr, &str),
) -> Result<Reply, Problem> {
    let parameters = Parameters::read(request.uri.query())?;
    let video = video.ok_or_else(crate::playback::access::unknown)?;
    let found = found::find(playback, video, parameters.token.clone(), address).await?;
    let shown = Shown::new(video, &found);
    let links = pages.player.as_deref();
    let page = write(&shown, kind, &parameters, links, base);
    // A token in the address belongs to its bearer, even for a video that does not need one.
    let secret = parameters.token.is_some() || !found.public;
    let policy = if secret { CachePolicy::NoStore } else { CachePolicy::Revalidate };
    let (cache, text) = (policy.header(secret), Arc::new(Text::new(page)));
    let document = Document { content_type: HTML_TYPE, cache, text };
    let mut reply = reply::document(&request.headers, &document);
    if secret {
        reply::set(&mut reply, header::REFERRER_POLICY, "no-referrer");
    }
    Ok(reply)
}

impl<'a> Shown<'a> {
    /// Selects the values that the page shows from the details and the index of a video.
    pub(super) fn new(video: VideoId, found: &'a Found) -> Self {
        let details = found.details.as_ref();
        let index = found.playable.as_ref().map(|playable| &playable.index);
        let index = index.filter(|index| !index.hls || hls_playable(index));
        let probed = details.and_then(|details| details.metadata.as_ref());
        let largest = index.and_then(|index| index.video_renditions.last());
        let size = probed.map(|probed| (probed.width, probed.height));
        let size = size.filter(|size| size.0 > 0 && size.1 > 0);
        let size = size.or_else(|| largest.map(|rung| (rung.width, rung.height)));
        let duration = probed.map_or(0.0, |probed| probed.duration_seconds);
        let planned = index.map_or(0.0, |index| index.grid.duration());
        let text = |text: &'a str, default| if text.is_empty() { default } else { text };
        let made = |index: &&media::index::Index| index.pictures.poster.is_some();
        Self {
            video,
            found,
            begins: index.is_some_and(|index| index.hls),
            title: index.map(|index| text(&index.title, UNTITLED)),
            description: details.filter(|_| index.is_some()).map_or("", |video| &video.description),
            size: size.unwrap_or(DEFAULT_SIZE),
            duration: if duration > 0.0 { duration } else { planned },
            poster: index
                .filter(made)
                .and_then(pictures::plan::poster_size)
                .map(|size| (size.width, size.height)),
        }
    }

    /// The player's element.
    fn player(&self, parameters: &Parameters) -> String {
        let video = self.video;
        let token = self.found.viewer.token.as_deref();
        let query = token.map(|token| {
            let encoded: String = url::form_urlencoded::byte_serialize(token.as_bytes()).collect();
            format!("?token={encoded}")
        });
        let query = query.unwrap_or_default();
        // Relative to the page: /watch/{id} and /embed/{id}.
        let link = |file: &str| escape(&format!("..{}{query}", urls::stream(video, file)));
        let mut element = format!("<stream-player video=\"{video}\"");
        let mut attribute = |name: &str, value: &str| {
            // Writing into memory cannot fail.
            let _written = write!(element, " {name}=\"{value}\"");
        };
        attribute("events", &link("events"));
        attribute("state", self.state());
        if self.duration > 0.0 {
            let milliseconds = (self.duration * 1000.0).round() / 1000.0;
            attribute("duration", &milliseconds.to_string());
        }
        if self.begins {
            attribute("src", &link("hls/playlist.m3u8"));
        }
        if self.poster.is_some() {
            attribute("poster", &link(&format!("{POSTER}.jpg")));
        }
        let index = self.found.playable.as_ref().map(|playable| &playable.index);
        if index.is_some_and(|index| index.pictures.storyboard.is_some()) {
            attribute("storyboard", &link("storyboard.vtt"));
        }
        if let Some(title) = self.title {
            attribute("title", &escape(title));
        }
        element + &parameters.attributes() + "></stream-player>\n"
    }

    /// The state of the video for the player.
    fn state(&self) -> &'static str {
        let failed = self.found.details.as_ref().map(v1::Video::state);
        let index = self.found.playable.as_ref().map(|playable| &playable.index);
        match index.filter(|_| self.title.is_some()) {
            Some(index) if index.finished_at_ms.is_some() => "ready",
            _ if failed == Some(v1::VideoState::Failed) => "failed",
            Some(_) => "growing",
            None => "waiting",
        }
    }

    /// When the video was created, or else when its first chunk could be played, as RFC 3339.
    fn created(&self) -> String {
        let created = self.found.details.as_ref().and_then(|video| video.created_at.as_ref());
        let created = created.and_then(api::wire::time);
        let playable = self.found.playable.as_ref();
        let published = || jiff::Timestamp::from_millisecond(playable?.index.published_at_ms).ok();
        created.or_else(published).map(|time| time.to_string()).unwrap_or_default()
    }
}

/// Writes the page. `links` load the player; without them it was not built.
fn write(
    shown: &Shown<'_>,
    kind: PageKind,
    parameters: &Parameters,
    links: Option<&str>,
    base: &str,
) -> String {
    let title = shown.title.unwrap_or(NEUTRAL_TITLE);
    let mut head = match shown.title {
        Some(title) if shown.found.public => tags(shown, title, base),
        // Links with a token, and pages without content, are not for search engines.
        _ => "<meta name=\"robots\" content=\"noindex\">\n".to_owned(),
    };
    head.push_str(links.unwrap_or(html::STYLE));
    let mut body = "<main>\n".to_owned();
    match links {
        _ if shown.title.is_some() && !shown.begins => {
            body += "<p>This video has no HLS stream, which this player needs.</p>\n";
        }
        Some(_) => body += &shown.player(parameters),
        None => {
            body +=
                "<p>This program was built without the player: run <code>make build</code>.</p>\n"
        }
    }
    // The style sheet of the player hides it in an embed.
    body += &format!("<h1>{}</h1>\n", escape(title));
    if kind == PageKind::Watch && !shown.description.is_empty() {
        head.push_str(DESCRIPTION_STYLE);
        body += &format!("<p class=\"description\">{}</p>\n", escape(shown.description));
    }
    body += "<noscript><p>The player needs JavaScript.</p></noscript>\n</main>\n";
    html::page(parameters.lang.as_deref().unwrap_or("en"), title, &head, &body)
}

fn tags(shown: &Shown<'_>, title: &str, base: &str) -> String {
    let video = shown.video;
    let page = format!("{base}/watch/{video}");
    let encoded: String = url::form_urlencoded::byte_serialize(page.as_bytes()).collect();
    let poster = format!("{base}{}", urls::stream(video, format_args!("{POSTER}.jpg")));
    let tags = Tags {
        title,
        description: shown.description,
        page: &page,
        embed: &format!("{base}/embed/{video}"),
        playlist: &format!("{base}{}", urls::hls(video)),
        oembed: &format!("{base}/oembed?url={encoded}&format=json"),
        poster: shown.poster.map(|size| (poster.as_str(), size)),
        size: shown.size,
        duration: shown.duration,
        created: &shown.created(),
    };
    tags.write()
}
