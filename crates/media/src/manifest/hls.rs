//! HLS
use super::Links;
use crate::index::Index;
/// Which of the two media playlists of a rendition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Playlist {
    /// Grows; stays valid after the end.
    Event,
    /// Exists only when final.
    Vod,
}
/// Multivariant.
pub fn multivariant(_index: &Index, _links: &Links<'_>) -> Option<String> {
    None
}
/// Media.
pub fn media(
    _index: &Index,
    _rendition: &str,
    _playlist: Playlist,
    _links: &Links<'_>,
) -> Option<String> {
    None
}
/// I-frames.
pub fn iframes(_index: &Index, _rendition: &str, _links: &Links<'_>) -> Option<String> {
    None
}
