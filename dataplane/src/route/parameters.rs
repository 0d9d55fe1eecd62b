//! The query parameters of a route.

use super::Route;

impl Route {
    /// The query parameters of lists and of the console's routes, where every other parameter is an
    /// error; `None` for routes that ignore what they do not know.
    pub(crate) const fn parameters(&self) -> Option<&'static [&'static str]> {
        match self {
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
