//! Names in Redis that control and data planes share: data planes keep replies there, control forgets
//! them on each change.
//!
//! A reply is kept only while two things that were read before it was made still hold: the video's
//! *generation*, which control changes with each change of the video, and for what is not addressed by its
//! content the *epoch*, which control changes whenever it may have missed to forget something, and which
//! ends by itself when no control reaches Redis.

use media::VideoId;

/// The epoch's key.
pub const EPOCH: &str = "streaming:epoch";
/// How long the epoch outlives the last control that kept it up, in seconds.
pub const EPOCH_SECONDS: i64 = 15;
/// How long a generation is remembered, in seconds: longer than any reply is in the making.
pub const GENERATION_SECONDS: i64 = 60;
/// How long manifests are kept, in seconds.
pub const MANIFEST_SECONDS: i64 = 3600;
/// How long metadata is kept, in seconds.
pub const METADATA_SECONDS: i64 = 86_400;

/// A hash with the manifests of a video, by what they were written from.
pub fn manifests(video: VideoId) -> String {
    format!("streaming:manifest:{video}")
}

/// A hash with the metadata of a video, by epoch and tenant.
pub fn metadata(video: VideoId) -> String {
    format!("streaming:metadata:{video}")
}

/// A random text, another one after each change.
pub fn generation(video: VideoId) -> String {
    format!("streaming:generation:{video}")
}
