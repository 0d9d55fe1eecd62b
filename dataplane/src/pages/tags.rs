//! The tags of a public video's page for other sites and search engines: OpenGraph, a Twitter card,
//! JSON-LD, and the links to its canonical address and its oEmbed document.

use std::fmt::Write;

use serde_json::json;

use super::html::{escape, json_in_script};

/// The service's name on other sites.
pub(super) const SITE: &str = "streaming-service";

/// The data of the tags. All URLs are absolute.
pub(super) struct Tags<'a> {
    pub(super) title: &'a str,
    /// May be empty.
    pub(super) description: &'a str,
    /// The watch page.
    pub(super) page: &'a str,
    /// The page with only the player.
    pub(super) embed: &'a str,
    /// The HLS playlist.
    pub(super) playlist: &'a str,
    pub(super) oembed: &'a str,
    /// The URL of the poster and its size in pixels.
    pub(super) poster: Option<(&'a str, (u32, u32))>,
    /// In pixels.
    pub(super) size: (u32, u32),
    /// In seconds.
    pub(super) duration: f64,
    /// RFC 3339.
    pub(super) created: &'a str,
}

impl Tags<'_> {
    /// The tags as HTML for the head of a page.
    pub(super) fn write(&self) -> String {
        let mut head = String::new();
        let mut line = |text: std::fmt::Arguments<'_>| {
            // Writing into memory cannot fail.
            let _written = writeln!(head, "{text}");
        };
        line(format_args!("<link rel=\"canonical\" href=\"{}\">", escape(self.page)));
        line(format_args!(
            "<link rel=\"alternate\" type=\"application/json+oembed\" href=\"{}\" title=\"{}\">",
            escape(self.oembed),
            escape(self.title)
        ));
        if !self.description.is_empty() {
            let description = escape(self.description);
            line(format_args!("<meta name=\"description\" content=\"{description}\">"));
        }
        for (attribute, name, content) in self.properties() {
            let content = escape(&content);
            line(format_args!("<meta {attribute}=\"{name}\" content=\"{content}\">"));
        }
        let linked_data = json_in_script(&self.linked_data());
        line(format_args!("<script type=\"application/ld+json\">{linked_data}</script>"));
        head
    }

    /// The attribute that names the property, its name and its content.
    fn properties(&self) -> Vec<(&'static str, &'static str, String)> {
        let (width, height) = (self.size.0.to_string(), self.size.1.to_string());
        let text = str::to_owned;
        let mut tags = vec![
            ("property", "og:site_name", text(SITE)),
            ("property", "og:type", text("video.other")),
            ("property", "og:title", text(self.title)),
            ("property", "og:url", text(self.page)),
            ("property", "og:video", text(self.embed)),
            ("property", "og:video:url", text(self.embed)),
            ("property", "og:video:type", text("text/html")),
            ("property", "og:video:width", width.clone()),
            ("property", "og:video:height", height.clone()),
            ("property", "video:duration", format!("{:.0}", self.duration)),
            ("property", "video:release_date", text(self.created)),
            ("name", "twitter:card", text("player")),
            ("name", "twitter:title", text(self.title)),
            ("name", "twitter:player", text(self.embed)),
            ("name", "twitter:player:width", width),
            ("name", "twitter:player:height", height),
        ];
        if self.embed.starts_with("https:") {
            tags.push(("property", "og:video:secure_url", text(self.embed)));
        }
        if !self.description.is_empty() {
            tags.push(("property", "og:description", text(self.description)));
            tags.push(("name", "twitter:description", text(self.description)));
        }
        if let Some((poster, (width, height))) = self.poster {
            tags.push(("property", "og:image", text(poster)));
            tags.push(("property", "og:image:type", text(media::pictures::JPEG_CONTENT_TYPE)));
            tags.push(("property", "og:image:width", width.to_string()));
            tags.push(("property", "og:image:height", height.to_string()));
            tags.push(("property", "og:image:alt", text(self.title)));
            tags.push(("name", "twitter:image", text(poster)));
        }
        tags
    }

    /// A `VideoObject` of schema.org.
    fn linked_data(&self) -> serde_json::Value {
        let mut video = json!({
            "@context": "https://schema.org",
            "@type": "VideoObject",
            "name": self.title,
            "uploadDate": self.created,
            "duration": format!("PT{:.3}S", self.duration),
            "url": self.page,
            "embedUrl": self.embed,
            "contentUrl": self.playlist,
            "width": self.size.0,
            "height": self.size.1,
        });
        if !self.description.is_empty() {
            video["description"] = self.description.into();
        }
        if let Some((poster, _)) = self.poster {
            video["thumbnailUrl"] = json!([poster]);
        }
        video
    }
}
