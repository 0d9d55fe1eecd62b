//! REST for browsers: each route is one gRPC call with the caller's own credentials. Nothing is decided
//! here that control decides; what is here are shapes, sizes and names.

mod auth;
mod events;
mod fields;
mod jobs;
mod json;
pub(crate) mod openapi;
mod upload;
mod videos;

use std::sync::Arc;

use api::code::{Code, Problem};
use http::{HeaderValue, Method, header, request::Parts};

use crate::{app::App, intake::Intake, playback::access, reply::Reply, route::Route};

/// Who asks: passed on to control as it came.
pub(crate) struct Caller {
    authorization: HeaderValue,
}

impl Caller {
    /// # Errors
    /// 401 without a bearer token.
    fn read(request: &Parts) -> Result<Self, Problem> {
        let missing = || Problem::new(Code::Unauthenticated, "a bearer token is needed");
        access::bearer(&request.headers).ok_or_else(missing)?;
        let value = request.headers.get(header::AUTHORIZATION).ok_or_else(missing)?;
        Ok(Self { authorization: value.clone() })
    }

    /// A gRPC request in the caller's name.
    fn ask<T>(&self, message: T) -> tonic::Request<T> {
        crate::control::forwarded(message, &self.authorization)
    }
}

/// Answers a REST route.
pub(crate) async fn serve(
    app: &Arc<App>,
    route: &Route,
    request: &Parts,
    body: &Intake,
) -> Result<Reply, Problem> {
    let caller = Caller::read(request)?;
    let (headers, query) = (&request.headers, request.uri.query());
    match (&request.method, route) {
        (_, Route::Upload) => upload::form(app, &caller, request, body).await,
        (_, Route::Source(video)) => upload::source(app, &caller, *video, request, body).await,
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
        (_, Route::Exchange) => auth::exchange(app, request).await,
        _ => Err(Problem::new(Code::NotFound, "no such resource")),
    }
}
