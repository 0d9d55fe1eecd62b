//! Object keys. All objects of a video have the prefix `videos/{id}/`, all objects of one job the
//! prefix `videos/{id}/{job}/`. The bytes under a key never change once written.

use crate::{CaptionId, JobId, UploadId, VideoId};

/// Prefix of all objects of a video; ends in a slash.
pub fn video_prefix(video: VideoId) -> String {
    format!("videos/{video}/")
}

/// The source.
pub fn source(video: VideoId) -> String {
    format!("videos/{video}/source")
}

/// The final index, which data planes fall back to; rewritten when a later job replaces it.
pub fn index(video: VideoId) -> String {
    format!("videos/{video}/index")
}

/// Prefix of all objects that a job makes; ends in a slash.
pub fn job_prefix(video: VideoId, job: JobId) -> String {
    format!("videos/{video}/{job}/")
}

/// A chunk of a rendition below `prefix`; unique per lease and content, so that stale leases never
/// overwrite it.
pub fn chunk(prefix: &str, rendition: &str, chunk: u32, token: u64, sha256_hex: &str) -> String {
    format!("{prefix}{rendition}/{chunk}/{token}-{}.m4s", &sha256_hex[..sha256_hex.len().min(32)])
}

/// An image or clip below `prefix`, by name and file type; unique per lease and content.
pub fn picture(prefix: &str, name: &str, token: u64, sha256_hex: &str, extension: &str) -> String {
    let hash = &sha256_hex[..sha256_hex.len().min(32)];
    format!("{prefix}pictures/{name}/{token}-{hash}.{extension}")
}

/// An uploaded text track; unique per content.
pub fn caption(video: VideoId, caption: CaptionId, hash: &str) -> String {
    format!("videos/{video}/captions/{caption}-{hash}.vtt")
}

/// The input of a lease of an image task, used instead of the source; deleted after the job.
pub fn excerpt(prefix: &str, kind: &str, token: u64) -> String {
    format!("{prefix}scenes/{kind}-{token}.mp4")
}

/// The sample tables of a rendition below `prefix`; unique per content.
pub fn tables(prefix: &str, rendition: &str, hash: &str) -> String {
    format!("{prefix}{rendition}/tables-{hash}")
}

/// A partial upload, in a store that is a folder.
pub fn upload_file(video: VideoId, upload: UploadId) -> String {
    format!("videos/{video}/upload-{upload}")
}

/// The name that a copy of [`upload_file`] has until it takes the file's place.
pub fn upload_copy(name: &std::ffi::OsStr) -> std::ffi::OsString {
    let mut copy = name.to_owned();
    copy.push(".copy");
    copy
}

/// The side object with the bytes of an upload past its last complete part.
pub fn upload_tail(video: VideoId, upload: UploadId, name: u64) -> String {
    format!("videos/{video}/upload-{upload}-{name:016x}")
}
