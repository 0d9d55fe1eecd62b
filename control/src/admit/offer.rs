//! What workers offer, as far as the wire's checks reach.

use media::{pictures::Picture, source::Source};

use crate::{
    db::{lease::LeaseId, outputs::Offered},
    domain::Failure,
};

/// One picture or clip as its worker describes it.
#[derive(Clone, Debug)]
pub struct OfferedPicture {
    /// "poster", "thumbnails/3", "storyboard/0", "preview".
    pub name: String,
    /// The object.
    pub picture: Picture,
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
