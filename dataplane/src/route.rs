//! Maps a path to a resource, as a pure function: no framework, no state, and no percent-decoding.
//!
//! **Invariant:** every id in a [`Route`] is a UUID and every name is plain ASCII, except for files of
//! pages, which are compiled in; no path of a request ever becomes a path in a store or on disk.

mod files;
mod pages;
mod parameters;
#[cfg(test)]
mod table;
#[cfg(test)]
mod tests;

use http::Method;
use media::{
    CaptionId, JobId, TokenId, UploadId, VideoId, WorkerId, captions::of_rendition, ids::Id,
    manifest::images, segment::SegmentName,
};

pub(crate) use files::{ImageFile, TextFile};
pub(crate) use pages::PageRoute;
#[cfg(test)]
pub(crate) use table::table;

/// Longest rendition name in a URL.
const NAME_BYTES_MAX: usize = 64;

/// The resource of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// `/`
    Root,
    /// A page for people, or a file of pages.
    Page(PageRoute),
    /// `/health`
    Health,
    /// `/health/playback`
    PlaybackHealth,
    /// `/metrics`
    Metrics,
    /// `/api/openapi.json`
    OpenApi,
    /// `/api/auth/exchange`
    Exchange,
    /// `/api/auth/sign-in`
    SignIn,
    /// `/api/auth/session`
    Session,
    /// `/api/auth/sign-out`
    SignOut,
    /// `/api/me`
    Me,
    /// `/api/tokens`
    Tokens,
    /// `/api/tokens/{id}`
    Token(TokenId),
    /// `/api/playback-token/renew`
    RenewPlaybackToken,
    /// `/api/videos`
    Videos,
    /// `/api/videos/upload`
    Upload,
    /// `/api/videos/{id}`
    Video(VideoId),
    /// `/api/videos/{id}/source`
    Source(VideoId),
    /// `/api/uploads`
    Uploads,
    /// `/api/uploads/{id}`
    ResumableUpload(UploadId),
    /// `/api/videos/{id}/transcode`
    Transcode(VideoId),
    /// `/api/videos/{id}/probe`
    Probe(VideoId),
    /// `/api/videos/{id}/playback-token`
    PlaybackToken(VideoId),
    /// `/api/videos/{id}/captions`
    Captions(VideoId),
    /// `/api/videos/{id}/captions/{caption}`
    Caption {
        /// The video.
        video: VideoId,
        /// Its text track.
        caption: CaptionId,
    },
    /// `/api/jobs`
    Jobs,
    /// `/api/jobs/{id}`
    Job(JobId),
    /// `/api/jobs/{id}/retry`
    RetryJob(JobId),
    /// `/api/jobs/{id}/events`
    JobEvents(JobId),
    /// `/api/events`
    Events,
    /// `/api/profiles`
    Profiles,
    /// `/api/workers`
    Workers,
    /// `/api/workers/{id}/drain`
    DrainWorker(WorkerId),
    /// `/api/system`
    System,
    /// `/api/stream/{id}/hls/playlist.m3u8`
    HlsPlaylist(VideoId),
    /// `/api/stream/{id}/dash/manifest.mpd`
    DashManifest(VideoId),
    /// `/api/stream/{id}/events`
    PlaybackEvents(VideoId),
    /// `/api/stream/{id}/poster.jpg` and other images, and the preview
    Image {
        /// The video.
        video: VideoId,
        /// Which file.
        file: ImageFile,
    },
    /// `/api/stream/{id}/download/{rung}.mp4`
    Download {
        /// The video.
        video: VideoId,
        /// For example "720p".
        rung: String,
    },
    /// `/api/stream/{id}/captions/{caption}.vtt`
    CaptionFile {
        /// The video.
        video: VideoId,
        /// Its text track.
        caption: CaptionId,
    },
    /// `/api/stream/{id}/{version}/{rendition}/{file}` of a text track
    Text {
        /// The video.
        video: VideoId,
        /// The job whose grid defines the segments.
        version: JobId,
        /// The text track.
        caption: CaptionId,
        /// Which file.
        file: TextFile,
    },
    /// `/api/stream/{id}/{version}/{rendition}/{file}`
    Media {
        /// The video.
        video: VideoId,
        /// The job whose output it is.
        version: JobId,
        /// For example "720p" or "audio-0".
        rendition: String,
        /// Which file.
        file: MediaFile,
    },
}

/// A file of a rendition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum MediaFile {
    /// `event.m3u8`: the HLS playlist that may grow.
    Event,
    /// `vod.m3u8`: the final HLS playlist.
    Vod,
    /// `iframes.m3u8`
    IFrames,
    /// `init.mp4`, `h{n}.m4s`, `d{n}.m4s`, `i{n}.m4s`
    Segment(SegmentName),
    /// `{n}.jpg` of the storyboard.
    Sheet(u32),
    /// `images.m3u8` of the storyboard: the HLS playlist of its sheets.
    Sheets,
}

/// Why a path has no resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RouteError {
    /// No route matches.
    Unknown,
    /// The named part is not a UUID.
    InvalidId(&'static str),
}

impl Route {
    /// Finds the resource of a path (without its query).
    ///
    /// # Errors
    /// If the path has no resource, or a part that must be a UUID is not one.
    pub(crate) fn resolve(path: &str) -> Result<Self, RouteError> {
        let Some(path) = path.strip_prefix('/') else { return Err(RouteError::Unknown) };
        if let Some(page) = PageRoute::resolve(path) {
            return Ok(Self::Page(page));
        }
        let mut parts = [""; 7];
        let mut count = 0;
        for part in path.split('/') {
            *parts.get_mut(count).ok_or(RouteError::Unknown)? = part;
            count += 1;
        }
        match &parts[..count] {
            [""] => Ok(Self::Root),
            ["health"] => Ok(Self::Health),
            ["health", "playback"] => Ok(Self::PlaybackHealth),
            ["metrics"] => Ok(Self::Metrics),
            ["api", rest @ ..] => api(rest),
            _ => Err(RouteError::Unknown),
        }
    }

    /// The supported methods, in the form of an `Allow` header.
    pub(crate) const fn allow(&self) -> &'static str {
        match self {
            Self::Video(_) => "GET, HEAD, PATCH, DELETE",
            Self::Job(_) => "GET, HEAD, DELETE",
            Self::Source(_) => "PUT",
            Self::Captions(_) => "GET, HEAD, POST",
            Self::Caption { .. } | Self::Token(_) => "DELETE",
            Self::Tokens => "GET, HEAD, POST",
            Self::ResumableUpload(_) => "HEAD, PATCH, DELETE",
            Self::Upload
            | Self::Uploads
            | Self::Exchange
            | Self::SignIn
            | Self::Session
            | Self::SignOut
            | Self::RenewPlaybackToken
            | Self::Transcode(_)
            | Self::Probe(_)
            | Self::PlaybackToken(_)
            | Self::RetryJob(_)
            | Self::DrainWorker(_) => "POST",
            _ => "GET, HEAD",
        }
    }

    /// Whether it supports `method`.
    pub(crate) fn allows(&self, method: &Method) -> bool {
        self.allow().split(", ").any(|allowed| allowed == method.as_str())
    }

    /// The path's pattern, used as a label in metrics, so that the label has a bounded set of
    /// values.
    pub(crate) const fn pattern(&self) -> &'static str {
        match self {
            Self::Root => "/",
            Self::Page(page) => page.pattern(),
            Self::Health => "/health",
            Self::PlaybackHealth => "/health/playback",
            Self::Metrics => "/metrics",
            Self::OpenApi => "/api/openapi.json",
            Self::Exchange => "/api/auth/exchange",
            Self::SignIn => "/api/auth/sign-in",
            Self::Session => "/api/auth/session",
            Self::SignOut => "/api/auth/sign-out",
            Self::Me => "/api/me",
            Self::Tokens => "/api/tokens",
            Self::Token(_) => "/api/tokens/{id}",
            Self::RenewPlaybackToken => "/api/playback-token/renew",
            Self::Videos => "/api/videos",
            Self::Upload => "/api/videos/upload",
            Self::Video(_) => "/api/videos/{id}",
            Self::Source(_) => "/api/videos/{id}/source",
            Self::Uploads => "/api/uploads",
            Self::ResumableUpload(_) => "/api/uploads/{id}",
            Self::Transcode(_) => "/api/videos/{id}/transcode",
            Self::Probe(_) => "/api/videos/{id}/probe",
            Self::PlaybackToken(_) => "/api/videos/{id}/playback-token",
            Self::Captions(_) => "/api/videos/{id}/captions",
            Self::Caption { .. } => "/api/videos/{id}/captions/{caption}",
            Self::Jobs => "/api/jobs",
            Self::Job(_) => "/api/jobs/{id}",
            Self::RetryJob(_) => "/api/jobs/{id}/retry",
            Self::JobEvents(_) => "/api/jobs/{id}/events",
            Self::Events => "/api/events",
            Self::Profiles => "/api/profiles",
            Self::Workers => "/api/workers",
            Self::DrainWorker(_) => "/api/workers/{id}/drain",
            Self::System => "/api/system",
            Self::HlsPlaylist(_) => "/api/stream/{id}/hls/playlist.m3u8",
            Self::DashManifest(_) => "/api/stream/{id}/dash/manifest.mpd",
            Self::PlaybackEvents(_) => "/api/stream/{id}/events",
            Self::Image { file, .. } => file.pattern(),
            Self::Download { .. } => "/api/stream/{id}/download/{rung}.mp4",
            Self::CaptionFile { .. } => "/api/stream/{id}/captions/{caption}.vtt",
            Self::Text { .. } | Self::Media { .. } => {
                "/api/stream/{id}/{version}/{rendition}/{file}"
            }
        }
    }

    /// The video whose media it serves, if any.
    pub(crate) const fn stream(&self) -> Option<VideoId> {
        match self {
            Self::HlsPlaylist(video)
            | Self::DashManifest(video)
            | Self::PlaybackEvents(video)
            | Self::Image { video, .. }
            | Self::Download { video, .. }
            | Self::CaptionFile { video, .. }
            | Self::Text { video, .. }
            | Self::Media { video, .. } => Some(*video),
            _ => None,
        }
    }
}

/// Routes below `/api/`.
fn api(parts: &[&str]) -> Result<Route, RouteError> {
    match parts {
        ["openapi.json"] => Ok(Route::OpenApi),
        ["auth", "exchange"] => Ok(Route::Exchange),
        ["auth", "sign-in"] => Ok(Route::SignIn),
        ["auth", "session"] => Ok(Route::Session),
        ["auth", "sign-out"] => Ok(Route::SignOut),
        ["me"] => Ok(Route::Me),
        ["tokens"] => Ok(Route::Tokens),
        ["tokens", token] => Ok(Route::Token(id("id", token)?)),
        ["playback-token", "renew"] => Ok(Route::RenewPlaybackToken),
        ["videos"] => Ok(Route::Videos),
        ["videos", "upload"] => Ok(Route::Upload),
        ["videos", video] => Ok(Route::Video(id("id", video)?)),
        ["videos", video, "source"] => Ok(Route::Source(id("id", video)?)),
        // Clients of tus give their endpoint with or without a trailing slash.
        ["uploads"] | ["uploads", ""] => Ok(Route::Uploads),
        ["uploads", upload] => Ok(Route::ResumableUpload(id("id", upload)?)),
        ["videos", video, "transcode"] => Ok(Route::Transcode(id("id", video)?)),
        ["videos", video, "probe"] => Ok(Route::Probe(id("id", video)?)),
        ["videos", video, "playback-token"] => Ok(Route::PlaybackToken(id("id", video)?)),
        ["videos", video, "captions"] => Ok(Route::Captions(id("id", video)?)),
        ["videos", video, "captions", caption] => {
            Ok(Route::Caption { video: id("id", video)?, caption: id("caption", caption)? })
        }
        ["jobs"] => Ok(Route::Jobs),
        ["jobs", job] => Ok(Route::Job(id("id", job)?)),
        ["jobs", job, "retry"] => Ok(Route::RetryJob(id("id", job)?)),
        ["jobs", job, "events"] => Ok(Route::JobEvents(id("id", job)?)),
        ["events"] => Ok(Route::Events),
        ["profiles"] => Ok(Route::Profiles),
        ["workers"] => Ok(Route::Workers),
        ["workers", worker, "drain"] => Ok(Route::DrainWorker(id("id", worker)?)),
        ["system"] => Ok(Route::System),
        ["stream", video, "hls", "playlist.m3u8"] => Ok(Route::HlsPlaylist(id("id", video)?)),
        ["stream", video, "dash", "manifest.mpd"] => Ok(Route::DashManifest(id("id", video)?)),
        ["stream", video, "events"] => Ok(Route::PlaybackEvents(id("id", video)?)),
        ["stream", video, version, rendition, file] => media_file(video, version, rendition, file),
        ["stream", video, below @ ..] => files::below_video(video, below),
        _ => Err(RouteError::Unknown),
    }
}

fn media_file(
    video: &str,
    version: &str,
    rendition: &str,
    file: &str,
) -> Result<Route, RouteError> {
    if let Some(caption) = of_rendition(rendition) {
        let file = TextFile::parse(file).ok_or(RouteError::Unknown)?;
        let (video, version) = (id("id", video)?, id("version", version)?);
        return Ok(Route::Text { video, version, caption, file });
    }
    let file = match file {
        "event.m3u8" => MediaFile::Event,
        "vod.m3u8" => MediaFile::Vod,
        "iframes.m3u8" => MediaFile::IFrames,
        images::PLAYLIST if rendition == images::RENDITION => MediaFile::Sheets,
        _ => match files::numbered(file).filter(|_| rendition == images::RENDITION) {
            Some(number) => MediaFile::Sheet(number),
            None => MediaFile::Segment(SegmentName::parse(file).ok_or(RouteError::Unknown)?),
        },
    };
    if !plain(rendition) {
        return Err(RouteError::Unknown);
    }
    let (video, version) = (id("id", video)?, id("version", version)?);
    Ok(Route::Media { video, version, rendition: rendition.to_owned(), file })
}

/// Whether `name` can be the name of a rendition.
fn plain(name: &str) -> bool {
    let plain = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
    !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.bytes().all(plain)
}

/// Accepts only the hyphenated form: a UUID has many spellings, but a cache key must have one.
fn id<T>(field: &'static str, text: &str) -> Result<Id<T>, RouteError> {
    if text.is_empty() {
        return Err(RouteError::Unknown);
    }
    match text.parse() {
        Ok(id) if text.len() == 36 => Ok(id),
        _ => Err(RouteError::InvalidId(field)),
    }
}
