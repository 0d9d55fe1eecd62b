//! Routes of pages for people, and of the files that the pages consist of.

use media::VideoId;

use super::{Route, id};

/// A page, or a file of pages. Names of files are keys of a table in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PageRoute {
    /// `/console`
    ConsoleRoot,
    /// `/console/{path}`: a file of the console, or a screen of it.
    Console(String),
    /// `/player/{file}`
    PlayerFile(String),
    /// `/watch/{id}`; `None` if the id is malformed, which is a page, too.
    Watch(Option<VideoId>),
    /// `/embed/{id}`
    Embed(Option<VideoId>),
    /// `/oembed`
    OEmbed,
}

impl PageRoute {
    /// The route's path pattern.
    pub(super) const fn pattern(&self) -> &'static str {
        match self {
            Self::ConsoleRoot => "/console",
            Self::Console(_) => "/console/{path}",
            Self::PlayerFile(_) => "/player/{file}",
            Self::Watch(_) => "/watch/{id}",
            Self::Embed(_) => "/embed/{id}",
            Self::OEmbed => "/oembed",
        }
    }

    /// Resolves a path without its leading slash; `None` if it is not the path of a page.
    pub(super) fn resolve(path: &str) -> Option<Self> {
        let (first, below) = path.split_once('/').unwrap_or((path, ""));
        match first {
            "console" if path == first => Some(Self::ConsoleRoot),
            "console" => Some(Self::Console(below.to_owned())),
            "player" if !below.is_empty() && !below.contains('/') => {
                Some(Self::PlayerFile(below.to_owned()))
            }
            "watch" if path != first => Some(Self::Watch(id("id", below).ok())),
            "embed" if path != first => Some(Self::Embed(id("id", below).ok())),
            "oembed" if path == first => Some(Self::OEmbed),
            _ => None,
        }
    }
}

impl Route {
    /// Whether it is a page for people, or a file that pages consist of.
    pub(crate) const fn is_page(&self) -> bool {
        matches!(self, Self::Page(_))
    }
}

/// One of each, for the table of all routes.
#[cfg(test)]
pub(super) fn each() -> Vec<Route> {
    let (path, file) = (String::new(), "player.js".to_owned());
    let pages = [
        PageRoute::ConsoleRoot,
        PageRoute::Console(path),
        PageRoute::PlayerFile(file),
        PageRoute::Watch(None),
        PageRoute::Embed(None),
        PageRoute::OEmbed,
    ];
    pages.map(Route::Page).into()
}
