//! Typed identifiers. A function never takes or returns a bare UUID.

use std::{fmt, marker::PhantomData, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// A UUID (version 7 for those that this service creates) with the type of the object that it
/// identifies.
pub struct Id<T>(Uuid, PhantomData<fn() -> T>);

/// Marks [`VideoId`].
pub enum Video {}
/// Marks [`JobId`].
pub enum Job {}
/// Marks [`TaskId`].
pub enum Task {}
/// Marks [`WorkerId`].
pub enum Worker {}
/// Marks [`UploadId`].
pub enum Upload {}
/// Marks [`CaptionId`].
pub enum Caption {}
/// Marks [`TokenId`].
pub enum Token {}

/// Identifies a video.
pub type VideoId = Id<Video>;
/// Identifies a job, and also the version of the job's output.
pub type JobId = Id<Job>;
/// Identifies a task of a job.
pub type TaskId = Id<Task>;
/// Identifies one connection of a worker.
pub type WorkerId = Id<Worker>;
/// Identifies an upload of a source.
pub type UploadId = Id<Upload>;
/// Identifies a text track of a video.
pub type CaptionId = Id<Caption>;
/// Identifies the record of a bearer token.
pub type TokenId = Id<Token>;

impl<T> Id<T> {
    /// Wraps a UUID that is known to identify a `T`.
    pub const fn new(uuid: Uuid) -> Self {
        Self(uuid, PhantomData)
    }

    /// The UUID itself, for storage and the wire.
    pub const fn uuid(self) -> Uuid {
        self.0
    }
}

impl<T> Clone for Id<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Id<T> {}

impl<T> PartialEq for Id<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<T> Eq for Id<T> {}

impl<T> PartialOrd for Id<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Id<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}

impl<T> std::hash::Hash for Id<T> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl<T> fmt::Display for Id<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<T> fmt::Debug for Id<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<T> FromStr for Id<T> {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::try_parse(text).map(Self::new)
    }
}

impl<T> Serialize for Id<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de, T> Deserialize<'de> for Id<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Uuid::deserialize(deserializer).map(Self::new)
    }
}
