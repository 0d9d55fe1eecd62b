//! Object keys. Everything of a video lies below `videos/{id}/`, everything of one job below
//! `videos/{id}/{job}/`; a key's bytes never change once written.

use crate::{CaptionId, JobId, UploadId, VideoId};

/// Everything of a video; ends in a slash.
pub fn video_prefix(video: VideoId) -> String {
    format!("videos/{video}/")
}

/// The uploaded file.
pub fn source(video: VideoId) -> String {
    format!("videos/{video}/source")
}

/// The final index that data planes fall back to; rewritten when a later job replaces it.
pub fn index(video: VideoId) -> String {
    format!("videos/{video}/index")
}

/// Everything a job makes; ends in a slash.
pub fn job_prefix(video: VideoId, job: JobId) -> String {
    format!("videos/{video}/{job}/")
}

/// A chunk of a rendition below `prefix`: unique per lease and content, so losers never overwrite.
pub fn chunk(prefix: &str, rendition: &str, chunk: u32, token: u64, sha256_hex: &str) -> String {
    format!("{prefix}{rendition}/{chunk}/{token}-{}.m4s", &sha256_hex[..sha256_hex.len().min(32)])
}

/// A picture or clip below `prefix`, by its name and file type: unique per lease and content.
pub fn picture(prefix: &str, name: &str, token: u64, sha256_hex: &str, extension: &str) -> String {
    let hash = &sha256_hex[..sha256_hex.len().min(32)];
    format!("{prefix}pictures/{name}/{token}-{hash}.{extension}")
}

/// An uploaded text track: unique per content.
pub fn caption(video: VideoId, caption: CaptionId, hash: &str) -> String {
    format!("videos/{video}/captions/{caption}-{hash}.vtt")
}

/// What a lease of a picture task reads instead of the upload; swept after the job.
pub fn scenes(prefix: &str, kind: &str, token: u64) -> String {
    format!("{prefix}scenes/{kind}-{token}.mp4")
}

/// The sample tables of a rendition below `prefix`: unique per content.
pub fn tables(prefix: &str, rendition: &str, hash: &str) -> String {
    format!("{prefix}{rendition}/tables-{hash}")
}

/// A source in the making, in a store that is a folder.
pub fn upload_file(video: VideoId, upload: UploadId) -> String {
    format!("videos/{video}/upload-{upload}")
}

/// The side object with what an upload has beyond its last whole part.
pub fn upload_tail(video: VideoId, upload: UploadId, name: u64) -> String {
    format!("videos/{video}/upload-{upload}-{name:016x}")
}
