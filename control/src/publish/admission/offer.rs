//! Outputs that workers offer, after the checks of the message format.

use media::{pictures::Picture, source::Source};

use crate::{
    db::{lease::LeaseId, outputs::Offered},
    domain::Failure,
};

/// One image or clip as its worker describes it.
#[derive(Clone, Debug)]
pub struct OfferedImage {
    /// "poster", "thumbnails/3", "storyboard/0", "preview".
    pub name: String,
    /// The object.
    pub picture: Picture,
}

/// Outputs that a worker requests control to commit.
#[derive(Clone, Debug)]
pub struct Offer {
    /// The lease under which the task runs.
    pub lease: LeaseId,
    /// The objects.
    pub outputs: Vec<Offered>,
    /// For an image task: everything that it makes.
    pub pictures: Vec<OfferedImage>,
    /// Whether these outputs complete the task.
    pub last: bool,
    /// For a probe: its result, or why the source is not a supported video.
    pub source: Option<Result<Source, String>>,
    /// The trace context of the worker's commit; may be empty.
    pub traceparent: String,
}

/// The result of an offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Committed, now or earlier by the same offer.
    Committed,
    /// Not admitted; the attempt has failed.
    Rejected(Failure),
    /// Undecided: the worker may repeat the same offer under the same lease.
    Undecided(Failure),
    /// The worker does not hold the lease any more.
    Lost,
}
