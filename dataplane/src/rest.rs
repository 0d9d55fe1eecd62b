//! REST for browsers: each route is one gRPC call with the caller's own credentials. The control plane
//! makes all decisions; this module only handles formats, sizes and names.

mod auth;
mod captions;
mod events;
mod fields;
mod jobs;
mod json;
pub(crate) mod openapi;
pub(crate) mod upload;
mod videos;

use std::{net::IpAddr, sync::Arc};

use api::code::{Code, Problem};
use authz::AuthError;
use http::{Method, request::Parts};
use runtime::{Clock, SystemClock};

pub(crate) use crate::control::caller::Caller;
use crate::{
    app::App,
    http::{reply::Reply, request_body::Intake},
    route::Route,
};

/// Handles a REST route.
pub(crate) async fn serve(
    app: &Arc<App>,
    route: &Route,
    request: &Parts,
    address: IpAddr,
    body: &Intake,
) -> Result<Reply, Problem> {
    let caller = Caller::bearing(app, &request.headers, address)?;
    let answer = answer(app, &caller, route, request, body).await;
    match answer {
        // The error may precede the call to the control plane; a caller without a valid token gets an
        // authentication error instead.
        Err(problem)
            if is_of_the_request(problem.code)
                && *route != Route::Exchange
                && !caller.is_admitted() =>
        {
            Err(genuine(app, &caller).await.err().unwrap_or(problem))
        }
        answer => answer,
    }
}

/// Whether the error is in the request itself and can be detected without knowing the caller.
const fn is_of_the_request(code: Code) -> bool {
    matches!(
        code,
        Code::Malformed
            | Code::InvalidField
            | Code::UnsupportedMediaType
            | Code::TooLarge
            | Code::PreconditionFailed
    )
}

/// Checks whether the caller's token is valid; the control plane decides what it permits.
async fn genuine(app: &App, caller: &Caller) -> Result<(), Problem> {
    let token = caller.token().unwrap_or_default();
    let refused = |text: String| Err(Problem::new(Code::Unauthenticated, text));
    if authz::is_jwt(token) {
        return match app.exchange.biscuit(app, token, caller).await.map_err(|p| (p.code, p)) {
            Err((Code::Unauthenticated | Code::NotConfigured, problem)) => refused(problem.message),
            Err((Code::UnknownRole | Code::UnknownTenant, problem)) => Err(problem),
            _ => Ok(()),
        };
    }
    match app.verifier.identify(token, SystemClock.now_unix()) {
        Ok(_) | Err(AuthError::Forbidden(_) | AuthError::Busy) => Ok(()),
        // Without keys, tokens cannot be checked.
        Err(_) if !app.verifier.has_keys() => Ok(()),
        Err(error) => refused(error.to_string()),
    }
}

async fn answer(
    app: &Arc<App>,
    caller: &Caller,
    route: &Route,
    request: &Parts,
    body: &Intake,
) -> Result<Reply, Problem> {
    let (headers, query) = (&request.headers, request.uri.query());
    match (&request.method, route) {
        (_, Route::Upload) => upload::form(app, caller, request, body).await,
        (_, Route::Source(video)) => upload::source(app, caller, *video, request, body).await,
        (_, Route::Uploads) => upload::tus::serve(app, caller, None, request, body).await,
        (_, Route::ResumableUpload(upload)) => {
            upload::tus::serve(app, caller, Some(*upload), request, body).await
        }
        (_, Route::Videos) => videos::list(app, caller, headers, query).await,
        (&Method::PATCH, Route::Video(video)) => {
            let fields = fields::Fields::read(headers, body).await?;
            videos::update(app, caller, headers, *video, fields).await
        }
        (&Method::DELETE, Route::Video(video)) => {
            videos::delete(app, caller, headers, *video).await
        }
        (_, Route::Video(video)) => videos::get(app, caller, headers, *video).await,
        (_, Route::Probe(video)) => videos::probe(app, caller, *video).await,
        (_, Route::Transcode(video)) => {
            let fields = fields::Fields::read(headers, body).await?;
            jobs::create(app, caller, *video, fields).await
        }
        (&Method::POST, Route::Captions(video)) => {
            captions::create(app, caller, *video, request, body).await
        }
        (_, Route::Captions(video)) => captions::list(app, caller, headers, *video).await,
        (_, Route::Caption { video, caption }) => {
            captions::delete(app, caller, *video, *caption).await
        }
        (_, Route::PlaybackToken(video)) => {
            let fields = fields::Fields::read(headers, body).await?;
            auth::playback_token(app, caller, *video, fields).await
        }
        (_, Route::Jobs) => jobs::list(app, caller, headers, query).await,
        (&Method::DELETE, Route::Job(job)) => jobs::cancel(app, caller, *job).await,
        (_, Route::Job(job)) => jobs::get(app, caller, headers, *job).await,
        (_, Route::RetryJob(job)) => jobs::retry(app, caller, *job).await,
        (_, Route::JobEvents(job)) => events::watch(app, caller, headers, *job).await,
        (_, Route::Exchange) => auth::exchange(app, caller, request).await,
        _ => Err(Problem::new(Code::NotFound, "no such resource")),
    }
}
