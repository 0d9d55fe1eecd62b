//! The query parameters of a route.

use http::Method;

use super::Route;

impl Route {
    /// The query parameters of lists and of the console's routes, where every other parameter is an
    /// error; `None` for routes that ignore unknown ones, or check them with the rest of the request.
    pub(crate) fn parameters(&self, method: &Method) -> Option<&'static [&'static str]> {
        match self {
            // The fields of a text track.
            Self::Captions(_) if method == Method::POST => None,
            Self::Videos => Some(&["q", "state", "sort", "pageSize", "pageToken"]),
            Self::Jobs => Some(&["videoId", "state", "pageSize", "pageToken"]),
            Self::Tokens => Some(&["pageSize", "pageToken"]),
            Self::Captions(_)
            | Self::Profiles
            | Self::Workers
            | Self::DrainWorker(_)
            | Self::System
            | Self::Events
            | Self::Me
            | Self::Token(_)
            | Self::SignIn
            | Self::Session
            | Self::SignOut => Some(&[]),
            _ => None,
        }
    }
}
