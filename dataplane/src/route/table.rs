//! Every pattern with its methods, for tests that compare documents with the routes.

use media::{CaptionId, JobId, TokenId, UploadId, VideoId, WorkerId, segment::SegmentName};

use super::{ImageFile, MediaFile, Route, pages};

/// Every pattern with its methods, all of which the OpenAPI document must list.
pub(crate) fn table() -> Vec<(&'static str, &'static str)> {
    let video = VideoId::new(uuid::Uuid::nil());
    let job = JobId::new(uuid::Uuid::nil());
    let caption = CaptionId::new(uuid::Uuid::nil());
    let file = MediaFile::Segment(SegmentName::Init);
    let media = Route::Media { video, version: job, rendition: "720p".to_owned(), file };
    let routes = [
        Route::Root,
        Route::Health,
        Route::PlaybackHealth,
        Route::Metrics,
        Route::OpenApi,
        Route::Exchange,
        Route::SignIn,
        Route::Session,
        Route::SignOut,
        Route::Me,
        Route::Tokens,
        Route::Token(TokenId::new(uuid::Uuid::nil())),
        Route::RenewPlaybackToken,
        Route::Videos,
        Route::Upload,
        Route::Video(video),
        Route::Source(video),
        Route::Uploads,
        Route::ResumableUpload(UploadId::new(uuid::Uuid::nil())),
        Route::Transcode(video),
        Route::Probe(video),
        Route::PlaybackToken(video),
        Route::Captions(video),
        Route::Caption { video, caption },
        Route::CaptionFile { video, caption },
        Route::Jobs,
        Route::Job(job),
        Route::RetryJob(job),
        Route::JobEvents(job),
        Route::Events,
        Route::Profiles,
        Route::Workers,
        Route::DrainWorker(WorkerId::new(uuid::Uuid::nil())),
        Route::System,
        Route::HlsPlaylist(video),
        Route::DashManifest(video),
        Route::PlaybackEvents(video),
        Route::Download { video, rung: "720p".to_owned() },
        media,
    ];
    let files = [
        ImageFile::Poster,
        ImageFile::Thumbnails,
        ImageFile::Thumbnail(0),
        ImageFile::Storyboard,
        ImageFile::Preview,
    ];
    let images = files.map(|file| Route::Image { video, file });
    routes
        .iter()
        .chain(&images)
        .chain(&pages::each())
        .map(|route| (route.pattern(), route.allow()))
        .collect()
}
