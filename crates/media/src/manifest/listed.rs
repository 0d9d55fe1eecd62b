//! Which rungs the manifests of a finished video offer to new sessions.
//!
//! With a constant rate factor a rung can need at least as many bytes as the next higher one, which
//! also looks better: scaled text, for example, is harder to encode than sharp text. A player that
//! chooses the smaller picture then gains nothing. Such a rung stays in the index, so that running
//! sessions and downloads have it, but the manifests of new sessions leave it out.

use super::by_codec;
use crate::{
    index::{Index, VideoRendition},
    ladder::lines,
};

/// Devices that decode 1080 lines do not always decode more (H.264 levels above 4.2), so a rung
/// with more lines never replaces one with at most this many.
const COMMON_LINES: u32 = 1080;
/// A rung below this average bit rate, in bit/s, is always listed: it needs less than its audio, so
/// players gain nothing without it.
const BITRATE_MIN: f64 = 100_000.0;

/// The rungs of a complete video that are left out of the manifests of new sessions, each with the
/// higher rung that replaces it.
pub fn replaced(index: &Index) -> Vec<(&VideoRendition, &VideoRendition)> {
    let rungs: Vec<&VideoRendition> = index.video_renditions.iter().collect();
    by_codec(&rungs).iter().flat_map(|rungs| split(index, rungs).1).collect()
}

/// `rungs` of a complete video without those that are replaced by another one of them.
pub(super) fn listed<'a>(index: &Index, rungs: &[&'a VideoRendition]) -> Vec<&'a VideoRendition> {
    by_codec(rungs).iter().flat_map(|rungs| split(index, rungs).0).collect()
}

/// Splits the rungs of one codec, lowest first, into those to list and those to leave out: a rung
/// whose average bit rate is at least that of the next higher listed rung.
fn split<'a>(
    index: &Index,
    rungs: &[&'a VideoRendition],
) -> (Vec<&'a VideoRendition>, Vec<Replaced<'a>>) {
    let bytes_min = (BITRATE_MIN / 8.0 * index.grid.duration()) as u64;
    let mut listed: Vec<&VideoRendition> = Vec::new();
    let mut left_out: Vec<Replaced<'_>> = Vec::new();
    for rung in rungs.iter().rev() {
        let common = |r: &VideoRendition| lines(r.width, r.height) <= COMMON_LINES;
        let replaces = |higher: &&&VideoRendition| {
            bytes(rung) >= bytes(higher).max(bytes_min) && (common(higher) || !common(rung))
        };
        match listed.last().filter(replaces) {
            Some(higher) => left_out.push((rung, higher)),
            None => listed.push(rung),
        }
    }
    listed.reverse();
    left_out.reverse();
    (listed, left_out)
}

/// A rung and the higher one that replaces it.
type Replaced<'a> = (&'a VideoRendition, &'a VideoRendition);

/// Bytes of all fragments. All renditions of a complete video have the same length, so their
/// average bit rates compare as these do.
fn bytes(rung: &VideoRendition) -> u64 {
    rung.track.committed().map(|fragment| u64::from(fragment.bytes)).sum()
}
