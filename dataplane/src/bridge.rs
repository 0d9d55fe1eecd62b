//! REST for browsers: each route is one gRPC call with the caller's own credentials. Nothing is decided
//! here that control decides; what is here are shapes, sizes and names.

mod auth;
mod events;
mod fields;
mod jobs;
mod json;
pub(crate) mod openapi;
pub(crate) mod upload;
mod videos;

use std::{net::IpAddr, sync::Arc};

use api::code::{Code, Problem};
use http::{Method, request::Parts};

pub(crate) use crate::control::caller::Caller;
use crate::{app::App, intake::Intake, reply::Reply, route::Route};

/// Answers a REST route.
pub(crate) async fn serve(
    app: &Arc<App>,
    route: &Route,
    request: &Parts,
    address: IpAddr,
    body: &Intake,
) -> Result<Reply, Problem> {
    let caller = Caller::bearing(app, &request.headers, address)?;
    let (headers, query) = (&request.headers, request.uri.query());
    match (&request.method, route) {
        (_, Route::Upload) => upload::form(app, &caller, request, body).await,
        (_, Route::Source(video)) => upload::source(app, &caller, *video, request, body).await,
        (_, Route::Uploads) => upload::tus::serve(app, &caller, None, request, body).await,
        (_, Route::ResumableUpload(upload)) => {
            upload::tus::serve(app, &caller, Some(*upload), request, body).await
        }
        (_, Route::Videos) => videos::list(app, &caller, headers, query).await,
        (&Method::PATCH, Route::Video(video)) => {
            let fields = fields::Fields::read(headers, body).await?;
            videos::update(app, &caller, *video, fields).await
        }
        (&Method::DELETE, Route::Video(video)) => videos::delete(app, &caller, *video).await,
        (_, Route::Video(video)) => videos::get(app, &caller, headers, *video).await,
        (_, Route::Transcode(video)) => {
            let fields = fields::Fields::read(headers, body).await?;
            jobs::create(app, &caller, *video, fields).await
        }
        (_, Route::PlaybackToken(video)) => {
            let fields = fields::Fields::read(headers, body).await?;
            auth::playback_token(app, &caller, *video, fields).await
        }
        (_, Route::Jobs) => jobs::list(app, &caller, headers, query).await,
        (&Method::DELETE, Route::Job(job)) => jobs::cancel(app, &caller, *job).await,
        (_, Route::Job(job)) => jobs::get(app, &caller, headers, *job).await,
        (_, Route::RetryJob(job)) => jobs::retry(app, &caller, *job).await,
        (_, Route::JobEvents(job)) => events::watch(app, &caller, headers, *job).await,
        (_, Route::Exchange) => auth::exchange(app, &caller, request).await,
        _ => Err(Problem::new(Code::NotFound, "no such resource")),
    }
}
