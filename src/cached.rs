//! Redis keys that control and the data planes share: data planes cache replies under them, and
//! control deletes them when a video changes.
//!
//! A reply is cached only if two values that were read before it was built are still current. The
//! first is the video's *generation*, which control changes with every change of the video. The
//! second applies to everything that is not content-addressed: the *epoch*, which control changes
//! whenever it may have missed an invalidation, and which expires by itself when no control plane
//! reaches Redis.

use media::VideoId;

/// The key of the epoch.
pub const EPOCH: &str = "streaming:epoch";
/// How long the epoch remains after the last control plane renewed it, in seconds.
pub const EPOCH_SECONDS: i64 = 15;
/// How long a generation remains, in seconds: longer than building any reply takes.
pub const GENERATION_SECONDS: i64 = 60;
/// How long manifests are cached, in seconds.
pub const MANIFEST_SECONDS: i64 = 3600;
/// How long metadata is cached, in seconds.
pub const METADATA_SECONDS: i64 = 86_400;

/// The key of a hash with a video's manifests; a field names all inputs of its manifest.
pub fn manifests(video: VideoId) -> String {
    format!("streaming:manifest:{video}")
}

/// The key of a hash with a video's metadata, by epoch and tenant.
pub fn metadata(video: VideoId) -> String {
    format!("streaming:metadata:{video}")
}

/// The key of a video's generation: a random text that every change replaces.
pub fn generation(video: VideoId) -> String {
    format!("streaming:generation:{video}")
}
