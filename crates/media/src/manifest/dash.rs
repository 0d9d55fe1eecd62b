//! DASH
use super::Links;
use crate::index::Index;
/// The MPD.
pub fn mpd(_index: &Index, _now_ms: i64, _links: &Links<'_>) -> Option<String> {
    None
}
