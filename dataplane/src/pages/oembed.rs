//! `/oembed` (oembed.com): the HTML with which another site embeds a public video.

use std::{net::IpAddr, sync::Arc};

use api::code::{Code, Problem};
use http::{StatusCode, request::Parts};
use media::{VideoId, pictures::POSTER, urls};
use serde_json::json;
use url::{Url, form_urlencoded};

use super::{found, html::escape, parameters::Parameters, tags::SITE, video::Shown};
use crate::{
    http::{
        cache::CachePolicy,
        reply::{self, Document, Reply, Text},
    },
    playback::{Playback, access},
    route::{PageRoute, Route},
};

/// For how long other sites may keep the reply, in seconds: a video may become private.
const CACHE_SECONDS: u32 = 300;
/// Largest maximum that is read, in pixels.
const SIDE_MAX: u32 = 100_000;
/// The features that the embedding page grants to the embedded one.
const ALLOW: &str = "autoplay; fullscreen; picture-in-picture; encrypted-media";

/// The parameters of a request. Others are ignored: some sites add their own.
#[derive(Debug, Default)]
struct Query {
    url: String,
    width_max: Option<u32>,
    height_max: Option<u32>,
    format: String,
}

/// Handles a GET or HEAD.
pub(super) async fn serve(
    playback: &Playback,
    request: &Parts,
    (address, base): (IpAddr, Option<&str>),
) -> Result<Reply, Problem> {
    let query = Query::read(request.uri.query())?;
    if query.format == "xml" {
        let problem = Problem::at(Code::UnsupportedMediaType, "format", "must be json");
        return Ok(reply::problem_with_status(StatusCode::NOT_IMPLEMENTED, &problem));
    }
    if !matches!(query.format.as_str(), "" | "json") {
        return Err(invalid("format", "must be json"));
    }
    let base = base.ok_or_else(access::unknown)?;
    let (video, parameters) = query.video(base)?;
    let found = found::find(playback, video, None, address).await?;
    let shown = Shown::new(video, &found);
    let document = document(&query, &shown, &parameters, base);
    let text = Arc::new(Text::new(document.to_string()));
    let cache = CachePolicy::Seconds(CACHE_SECONDS).header(false);
    let document = Document { content_type: "application/json", cache, text };
    Ok(reply::document(&request.headers, &document))
}

impl Query {
    fn read(query: Option<&str>) -> Result<Self, Problem> {
        let mut read = Self::default();
        let side = |name: &str, value: &str| {
            let side = value.parse().ok().filter(|side| (1..=SIDE_MAX).contains(side));
            let text = format!("must be a number of pixels from 1 to {SIDE_MAX}");
            side.map(Some).ok_or_else(|| invalid(name, &text))
        };
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            match name.as_ref() {
                "url" => read.url = value.into_owned(),
                "maxwidth" => read.width_max = side("maxwidth", &value)?,
                "maxheight" => read.height_max = side("maxheight", &value)?,
                "format" => read.format = value.into_owned(),
                _ => {}
            }
        }
        if read.url.is_empty() {
            return Err(invalid("url", "is missing"));
        }
        Ok(read)
    }

    /// The video of the URL, and the parameters of the player in it, as a query string.
    ///
    /// # Errors
    /// The URL is malformed (400), belongs to another site or to no video (404).
    fn video(&self, base: &str) -> Result<(VideoId, String), Problem> {
        let url = Url::parse(&self.url).map_err(|_| invalid("url", "must be an absolute URL"))?;
        let own = Url::parse(base).map_err(|_| access::unknown())?;
        let prefix = own.path().trim_end_matches('/');
        let path = url.path().strip_prefix(prefix).filter(|_| url.origin() == own.origin());
        let route = path.map(Route::resolve);
        let Some(Ok(Route::Page(PageRoute::Watch(Some(video)) | PageRoute::Embed(Some(video))))) =
            route
        else {
            return Err(access::unknown());
        };
        let reason = |problem: Problem| invalid("url", &problem.message);
        Parameters::read(url.query()).map_err(reason)?;
        // A token in the address has no effect: what it opens is not for other sites.
        let kept = url.query_pairs().filter(|(name, _)| name != "token");
        let kept = form_urlencoded::Serializer::new(String::new()).extend_pairs(kept).finish();
        Ok((video, if kept.is_empty() { kept } else { format!("?{kept}") }))
    }

    /// The size, scaled down into the maxima; never scaled up.
    fn fit(&self, (width, height): (u32, u32)) -> (u32, u32) {
        let factor = |side: u32, max: Option<u32>| {
            max.map_or(1.0, |max| (f64::from(max) / f64::from(side.max(1))).min(1.0))
        };
        let factor = factor(width, self.width_max).min(factor(height, self.height_max));
        let scaled = |side: u32, max: Option<u32>| {
            let side = (f64::from(side) * factor).round() as u32;
            side.clamp(1, max.unwrap_or(u32::MAX))
        };
        (scaled(width, self.width_max), scaled(height, self.height_max))
    }
}

fn document(query: &Query, shown: &Shown<'_>, parameters: &str, base: &str) -> serde_json::Value {
    let (width, height) = query.fit(shown.size);
    let source = escape(&format!("{base}/embed/{}{parameters}", shown.video));
    let title = shown.title.map(|title| format!(" title=\"{}\"", escape(title)));
    let title = title.unwrap_or_default();
    let html = format!(
        "<iframe src=\"{source}\" width=\"{width}\" height=\"{height}\"{title} \
         style=\"border:0\" allow=\"{ALLOW}\" allowfullscreen></iframe>"
    );
    let mut document = json!({
        "type": "video",
        "version": "1.0",
        "provider_name": SITE,
        "provider_url": format!("{base}/"),
        "width": width,
        "height": height,
        "html": html,
        "cache_age": CACHE_SECONDS,
    });
    if let Some(title) = shown.title {
        document["title"] = title.into();
    }
    let fits = |(width, height): &(u32, u32)| {
        query.width_max.is_none_or(|max| *width <= max)
            && query.height_max.is_none_or(|max| *height <= max)
    };
    if let Some((width, height)) = shown.poster.filter(fits) {
        let poster = urls::stream(shown.video, format_args!("{POSTER}.jpg"));
        document["thumbnail_url"] = format!("{base}{poster}").into();
        document["thumbnail_width"] = width.into();
        document["thumbnail_height"] = height.into();
    }
    document
}

fn invalid(name: &str, text: &str) -> Problem {
    Problem::at(Code::Malformed, name, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "01936b2e-7c1a-7d33-8b0e-000000000001";

    fn query(text: &str) -> Query {
        Query::read(Some(&format!("url=x&{text}"))).unwrap()
    }

    #[test]
    fn sizes_keep_their_ratio_inside_the_maxima_and_are_never_enlarged() {
        for (text, expected) in [
            ("", (1920, 1080)),
            ("maxwidth=640", (640, 360)),
            ("maxheight=360", (640, 360)),
            ("maxwidth=640&maxheight=100", (178, 100)),
            ("maxwidth=3840", (1920, 1080)),
            ("maxwidth=1", (1, 1)),
        ] {
            assert_eq!(query(text).fit((1920, 1080)), expected, "{text}");
        }
        assert_eq!(query("maxwidth=300&maxheight=300").fit((1080, 1920)), (169, 300));
    }

    #[test]
    fn only_own_pages_of_videos_are_accepted() {
        let find = |url: &str, base: &str| {
            let url = url.replace(":id", ID);
            let query = Query { url, ..Query::default() };
            query.video(base).map(|(_, parameters)| parameters).map_err(|problem| problem.code)
        };
        let base = "https://video.example/base";
        for (url, expected) in [
            ("https://video.example/base/watch/:id", ""),
            ("https://VIDEO.example:443/base/embed/:id?t=1m30s&cc=en", "?t=1m30s&cc=en"),
            ("https://video.example/base/watch/:id?token=secret&t=2#x", "?t=2"),
        ] {
            assert_eq!(find(url, base), Ok(expected.to_owned()), "{url}");
        }
        for url in [
            "http://video.example/base/watch/:id",
            "https://video.example/watch/:id",
            "https://video.example:8443/base/watch/:id",
            "https://video.example.evil/base/watch/:id",
            "https://evil.example/base/watch/:id",
            "https://video.example/base/watch/nope",
            "https://video.example/base/console/",
            "https://video.example/based/watch/:id",
        ] {
            assert_eq!(find(url, base), Err(Code::NotFound), "{url}");
        }
        for url in ["nope", "/watch/:id", "https://video.example/base/watch/:id?x=1"] {
            assert_eq!(find(url, base), Err(Code::Malformed), "{url}");
        }
    }

    #[test]
    fn maxima_are_positive_numbers_and_the_url_is_required() {
        for bad in
            ["url=x&maxwidth=0", "url=x&maxwidth=-1", "url=x&maxheight=1.5", "maxwidth=1", ""]
        {
            assert_eq!(Query::read(Some(bad)).unwrap_err().code, Code::Malformed, "{bad}");
        }
    }
}
