//! Pages for people: the console below `/console/`, `/watch/{id}` and `/embed/{id}` of a video,
//! and the files that they consist of. The files are compiled in; no request reads the disk.

pub(crate) mod base;
mod console;
mod files;
mod found;
mod html;
mod oembed;
mod parameters;
mod player_files;
pub(crate) mod policy;
mod tags;
mod video;

use std::{net::IpAddr, sync::Arc};

use api::code::{Code, Problem};
use http::{HeaderMap, StatusCode, header, request::Parts};

use self::{
    base::BaseUrl,
    console::Console,
    files::ServedFiles,
    policy::{PageKind, Policy},
};
use crate::{
    control::Control,
    http::{
        cache::CachePolicy,
        reply::{self, Reply},
    },
    playback::Playback,
    route::{PageRoute, Route},
    web_files::WebFiles,
};

/// Where the console is, relative to `/` and to `/console`.
const CONSOLE: &str = "console/";

/// Settings of the pages.
#[derive(Clone, Debug)]
pub(crate) struct PageSettings {
    /// `STREAMING_CONSOLE`: whether pages are served at all.
    pub(crate) enabled: bool,
    /// The base of absolute URLs.
    pub(crate) base: BaseUrl,
    /// The origins of the security headers.
    pub(crate) policy: Policy,
}

/// The parts that the handlers of pages share.
pub(crate) struct Pages {
    /// Whether pages are served at all.
    pub(crate) enabled: bool,
    files: ServedFiles,
    policy: Policy,
    base: BaseUrl,
    console: Console,
    /// Loads the player; `None` if it was not built.
    player: Option<String>,
}

/// Where a request comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sender {
    /// The peer of the connection.
    pub(crate) peer: IpAddr,
    /// The client's address.
    pub(crate) address: IpAddr,
}

impl Pages {
    /// Prepares the pages.
    pub(crate) fn new(settings: PageSettings, files: WebFiles, control: Arc<Control>) -> Self {
        let PageSettings { enabled, base, policy } = settings;
        Self {
            enabled,
            base,
            console: Console::new(&files, policy.cdn.clone(), control),
            player: player_files::links(&files),
            policy,
            files: ServedFiles::new(&files),
        }
    }

    /// Replies to a request with an error: as a page where the route is one.
    pub(crate) fn problem(&self, route: Option<&Route>, problem: &Problem) -> Reply {
        let plain = reply::problem(problem);
        let page = match route {
            Some(Route::Page(page)) if self.enabled => page.kind(),
            _ => None,
        };
        let Some(kind) = page else { return plain };
        let status = plain.status();
        let (heading, text) = match (kind, problem.code) {
            (PageKind::Watch | PageKind::Embed, Code::NotFound) => (
                "Video not found",
                "It does not exist, or only a link with a valid token opens it.",
            ),
            (PageKind::Watch | PageKind::Embed, Code::Malformed) => {
                ("Invalid link", problem.message.as_str())
            }
            _ => (status.canonical_reason().unwrap_or("Error"), problem.message.as_str()),
        };
        let mut page = html::message(status, heading, text);
        if let Some(after) = plain.headers().get(header::RETRY_AFTER) {
            page.headers_mut().insert(header::RETRY_AFTER, after.clone());
        }
        if kind != PageKind::Console {
            // The address may contain a token.
            reply::set(&mut page, header::REFERRER_POLICY, "no-referrer");
        }
        self.policy.apply(kind, &[], &mut page);
        page
    }

    /// Redirects a browser from `/` to the console; `None` for other clients.
    pub(crate) fn redirect(&self, request: &HeaderMap) -> Option<Reply> {
        (self.enabled && accepts_html(request)).then(|| redirect_to(CONSOLE))
    }
}

/// Handles a GET or HEAD of a page or of a file that pages consist of.
pub(crate) async fn serve(
    pages: &Pages,
    playback: &Playback,
    page: &PageRoute,
    request: &Parts,
    sender: Sender,
) -> Result<Reply, Problem> {
    let base = pages.base.of(request, sender.peer);
    let (mut reply, identity) = match page {
        PageRoute::ConsoleRoot => (redirect_to(CONSOLE), Vec::new()),
        PageRoute::Console(path) => console(pages, path, &request.headers).await?,
        PageRoute::PlayerFile(file) => {
            let found = pages.files.get(&format!("player/{file}"));
            // The manifest is for this program.
            let found = found.filter(|_| !file.ends_with(".json"));
            let reply = found.map(|file| file.reply(&request.headers)).ok_or_else(missing)?;
            (reply, Vec::new())
        }
        PageRoute::Watch(id) | PageRoute::Embed(id) => {
            let kind = page.kind().unwrap_or(PageKind::Watch);
            let from = (sender.address, base.as_deref().unwrap_or_default());
            (video::serve(pages, playback, (kind, *id), request, from).await?, Vec::new())
        }
        PageRoute::OEmbed => {
            let from = (sender.address, base.as_deref());
            (oembed::serve(playback, request, from).await?, Vec::new())
        }
    };
    if let Some(kind) = page.kind() {
        pages.policy.apply(kind, &identity, &mut reply);
    }
    Ok(reply)
}

/// The console is one page: each path without an extension is a screen of it. The origins are those
/// that it contacts to sign in.
async fn console(
    pages: &Pages,
    path: &str,
    request: &HeaderMap,
) -> Result<(Reply, Vec<String>), Problem> {
    let name = path.rsplit('/').next().unwrap_or_default();
    if name.contains('.') && path != "index.html" {
        let file = pages.files.get(&format!("console/{path}")).ok_or_else(missing)?;
        return Ok((file.reply(request), Vec::new()));
    }
    match pages.console.reply(path, request).await {
        Some(reply) => reply,
        None => Ok((not_built(), Vec::new())),
    }
}

/// The reply without web files.
fn not_built() -> Reply {
    let text = "This program was built without the web console. Run `make build`, which installs \
        Node if it is missing, or `tools/build-web` and then `cargo build`; then start the program \
        again. The API works without the console.";
    html::message(StatusCode::SERVICE_UNAVAILABLE, "The web console was not built", text)
}

impl PageRoute {
    /// The kind of page, if it is one.
    const fn kind(&self) -> Option<PageKind> {
        match self {
            Self::Console(_) => Some(PageKind::Console),
            Self::Watch(_) => Some(PageKind::Watch),
            Self::Embed(_) => Some(PageKind::Embed),
            Self::ConsoleRoot | Self::PlayerFile(_) | Self::OEmbed => None,
        }
    }
}

/// A redirect relative to the path of the request, so that it works behind any proxy.
fn redirect_to(location: &str) -> Reply {
    let mut reply = reply::status(StatusCode::FOUND);
    reply::set(&mut reply, header::LOCATION, location);
    reply.headers_mut().insert(header::CACHE_CONTROL, CachePolicy::Revalidate.header(false));
    reply
}

/// Whether `Accept` names `text/html` itself, as browsers do for a page.
fn accepts_html(request: &HeaderMap) -> bool {
    let values = request.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let html = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("text/html"));
        let quality = parts.find_map(|part| part.strip_prefix("q="));
        html && quality.is_none_or(|quality| quality.parse::<f32>().is_ok_and(|q| q > 0.0))
    })
}

fn missing() -> Problem {
    Problem::new(Code::NotFound, "no such resource")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_clients_that_name_html_are_browsers() {
        let accepts = |value: &str| {
            accepts_html(&HeaderMap::from_iter([(header::ACCEPT, value.parse().unwrap())]))
        };
        for yes in
            ["text/html", "text/html,application/xhtml+xml,*/*;q=0.8", "a/b, TEXT/HTML;q=0.1"]
        {
            assert!(accepts(yes), "{yes}");
        }
        for no in ["*/*", "text/*", "application/json", "", "text/html;q=0", "text/htmlx"] {
            assert!(!accepts(no), "{no}");
        }
        assert!(!accepts_html(&HeaderMap::new()));
    }
}
