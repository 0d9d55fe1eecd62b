//! What workers offer, as far as the wire's checks reach.

use media::source::Source;

use crate::{db::lease::LeaseId, domain::Failure};

/// One object as its worker describes it.
#[derive(Clone, Debug)]
pub struct Offered {
    /// "360p" or "audio-0".
    pub rendition: String,
    /// Its number on the grid.
    pub chunk: u32,
    /// In the video's store.
    pub key: String,
    /// Size.
    pub bytes: u64,
    /// Raw, 32 bytes.
    pub sha256: Vec<u8>,
    /// The rendition's init segment.
    pub init: Vec<u8>,
}

/// One picture or clip as its worker describes it.
#[derive(Clone, Debug)]
pub struct OfferedPicture {
    /// "poster", "thumbnails/3", "storyboard/0", "preview".
    pub name: String,
    /// In the video's store.
    pub key: String,
    /// Size.
    pub bytes: u64,
    /// Of its bytes.
    pub sha256: [u8; 32],
}

/// What a worker wants committed.
#[derive(Clone, Debug)]
pub struct Offer {
    /// By what right.
    pub lease: LeaseId,
    /// The objects.
    pub outputs: Vec<Offered>,
    /// Of a picture task: everything that it makes.
    pub pictures: Vec<OfferedPicture>,
    /// The task is finished with them.
    pub last: bool,
    /// Of a probe: what it found, or why that is no video.
    pub source: Option<Result<Source, String>>,
    /// The trace context of the worker's commit; may be empty.
    pub traceparent: String,
}

/// What became of an offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Committed, now or by the same offer before.
    Committed,
    /// Not admitted; the attempt has failed.
    Refused(Failure),
    /// Not now: the same offer may be repeated under the same lease.
    Later(Failure),
    /// The lease is somebody else's, or nobody's.
    Lost,
}
