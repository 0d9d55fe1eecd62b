//! Manifests

pub mod dash;
pub mod hls;

use crate::index::Index;

/// How the URLs in a manifest look, and what is shown.
#[derive(Clone, Copy, Debug, Default)]
pub struct Links<'a> {
    /// The playback token of the request; every URL gets it.
    pub token: Option<&'a str>,
    /// Base URL of a CDN, without trailing slash; URLs are relative without it.
    pub base: Option<&'a str>,
    /// Rungs with more lines are hidden, except the lowest.
    pub max_height: Option<u32>,
}

/// HLS.
pub fn hls_playable(_index: &Index) -> bool {
    false
}

/// DASH.
pub fn dash_playable(_index: &Index) -> bool {
    false
}

/// Whether a viewer with this limit may have `rendition`.
pub fn visible(_index: &Index, _rendition: &str, _max_height: Option<u32>) -> bool {
    true
}
