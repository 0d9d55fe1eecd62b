//! Pages for people: the console below `/console/`, and the files that it and the player consist
//! of. The files are compiled in; no request reads the disk.

pub(crate) mod files;
pub(crate) mod html;
pub(crate) mod policy;

use std::sync::Arc;

use api::code::{Code, Problem};
use http::{HeaderMap, StatusCode, header, request::Parts};
use serde_json::json;

use self::{
    files::WebFiles,
    html::HTML_TYPE,
    policy::{PageKind, Policy, PolicyOrigins},
};
use crate::{
    http::{
        cache::CachePolicy,
        reply::{self, Document, Reply, Text},
    },
    route::{PageRoute, Route},
};

/// Replaced in the page of the console by its settings.
const CONFIG_MARK: &str = "<!--config-->";
/// Where the console is, relative to `/` and to `/console`.
const CONSOLE: &str = "console/";

/// Settings of the pages.
#[derive(Clone, Debug)]
pub(crate) struct PageSettings {
    /// `STREAMING_CONSOLE`: whether pages are served at all.
    pub(crate) enabled: bool,
    /// The origins of the security headers.
    pub(crate) origins: PolicyOrigins,
}

/// The parts that the handlers of pages share.
pub(crate) struct Pages {
    /// Whether pages are served at all.
    pub(crate) enabled: bool,
    files: WebFiles,
    policy: Policy,
    /// The console's page; `None` if it was not built.
    console: Option<Arc<Text>>,
}

impl Pages {
    /// Prepares the pages.
    pub(crate) fn new(settings: &PageSettings, files: WebFiles) -> Self {
        let console = files.get("console/index.html").map(|index| {
            let config = json!({
                "version": runtime::program_version(),
                "cdn": settings.origins.cdn,
                "oidc": null,
            });
            let config = html::json_in_script(&config);
            let script =
                format!("<script type=\"application/json\" id=\"config\">{config}</script>");
            let index = String::from_utf8_lossy(index.plain());
            Arc::new(Text::new(index.replacen(CONFIG_MARK, &script, 1)))
        });
        Self { enabled: settings.enabled, files, policy: Policy::new(&settings.origins), console }
    }

    /// Replies to a request with an error: as a page where the route is one.
    pub(crate) fn problem(&self, route: Option<&Route>, problem: &Problem) -> Reply {
        let Some(kind) = route.and_then(page_kind).filter(|_| self.enabled) else {
            return reply::problem(problem);
        };
        let plain = reply::problem(problem);
        let heading = plain.status().canonical_reason().unwrap_or("Error");
        let mut page = html::message(plain.status(), heading, &problem.message);
        if let Some(after) = plain.headers().get(header::RETRY_AFTER) {
            page.headers_mut().insert(header::RETRY_AFTER, after.clone());
        }
        self.policy.apply(kind, &mut page);
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
    page: &PageRoute,
    request: &Parts,
) -> Result<Reply, Problem> {
    match page {
        PageRoute::ConsoleRoot => Ok(redirect_to(CONSOLE)),
        PageRoute::Console(path) => {
            let mut reply = console(pages, path, &request.headers)?;
            pages.policy.apply(PageKind::Console, &mut reply);
            Ok(reply)
        }
        PageRoute::PlayerFile(file) => {
            let found = pages.files.get(&format!("player/{file}"));
            // The manifest is for this program.
            let found = found.filter(|_| !file.ends_with(".json"));
            found.map(|file| file.reply(&request.headers)).ok_or_else(missing)
        }
    }
}

/// The console is one page: each path without an extension is a screen of it.
fn console(pages: &Pages, path: &str, request: &HeaderMap) -> Result<Reply, Problem> {
    let name = path.rsplit('/').next().unwrap_or_default();
    if name.contains('.') && path != "index.html" {
        let file = pages.files.get(&format!("console/{path}"));
        return file.map(|file| file.reply(request)).ok_or_else(missing);
    }
    let Some(text) = &pages.console else { return Ok(not_built()) };
    let cache = CachePolicy::Revalidate.header(false);
    Ok(reply::document(request, &Document { content_type: HTML_TYPE, cache, text: text.clone() }))
}

/// The reply without web files.
fn not_built() -> Reply {
    let text = "This program was built without the web console. Run `make build`, which installs \
        Node if it is missing, or `tools/build-web` and then `cargo build`; then start the program \
        again. The API works without the console.";
    html::message(StatusCode::SERVICE_UNAVAILABLE, "The web console was not built", text)
}

const fn page_kind(route: &Route) -> Option<PageKind> {
    match route {
        Route::Page(PageRoute::Console(_)) => Some(PageKind::Console),
        _ => None,
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
