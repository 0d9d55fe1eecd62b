//! REST for browsers: each route is one gRPC call with the caller's own credentials. The control
//! plane makes all decisions; this module only handles formats, sizes and names.

mod auth;
mod captions;
mod changes;
mod events;
mod fields;
mod jobs;
mod json;
mod me;
pub(crate) mod openapi;
mod profiles;
mod sign_in;
mod system;
mod tokens;
pub(crate) mod upload;
mod videos;
mod workers;

use std::{net::IpAddr, sync::Arc};

use api::code::{Code, Problem};
use authz::{AuthError, Verifier};
use http::{Method, request::Parts};
use runtime::{Clock, Shutdown, SystemClock};
use store::Stores;

use self::upload::transfers::Transfers;
pub(crate) use crate::control::caller::Caller;
use crate::{
    control::Control,
    health::Health,
    http::{reply::Reply, request_body::RequestBody},
    limit::Limiter,
    load::Load,
    metrics::Metrics,
    playback::{exchange::TokenExchange, index_cache::IndexCache},
    route::Route,
    shared::Shared,
};

/// The parts that the handlers of REST routes share.
pub(crate) struct Rest {
    pub(crate) control: Arc<Control>,
    pub(crate) stores: Stores,
    pub(crate) verifier: Arc<Verifier>,
    /// Biscuits that JWTs were exchanged for.
    pub(crate) exchange: Arc<TokenExchange>,
    pub(crate) index_cache: Arc<IndexCache>,
    /// Metadata of videos that all data planes share.
    pub(crate) shared: Arc<Shared>,
    pub(crate) limiter: Arc<Limiter>,
    /// Requests that write resumable uploads.
    pub(crate) transfers: Transfers,
    pub(crate) metrics: Metrics,
    pub(crate) load: Arc<Load>,
    pub(crate) health: Arc<Health>,
    pub(crate) shutdown: Shutdown,
    pub(crate) upload_bytes_max: u64,
    /// The base of the URLs of streams.
    pub(crate) cdn_base: Option<String>,
}

/// Handles a REST route.
pub(crate) async fn serve(
    rest: &Arc<Rest>,
    route: &Route,
    request: &Parts,
    address: IpAddr,
    body: &RequestBody,
) -> Result<Reply, Problem> {
    let caller = match route {
        Route::SignIn | Route::RenewPlaybackToken => Caller::anonymous(&rest.control, address),
        _ => Caller::bearing(&rest.control, &request.headers, address)?,
    };
    let known = route.parameters(&request.method);
    let checked = known.map(|known| fields::check_parameters(request.uri.query(), known));
    let reply = match (checked, route) {
        (Some(Err(problem)), _) => Err(problem),
        (_, Route::Me) => me::get(rest, &caller, request, address).await,
        _ => dispatch(rest, &caller, route, request, body).await,
    };
    match reply {
        // The error may precede the call to the control plane; a caller without a valid token gets
        // an authentication error instead.
        Err(problem)
            if is_of_the_request(problem.code)
                && !matches!(
                    route,
                    Route::Exchange | Route::SignIn | Route::RenewPlaybackToken
                )
                && !caller.is_authorized() =>
        {
            Err(check_token(rest, &caller).await.err().unwrap_or(problem))
        }
        reply => reply,
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
async fn check_token(rest: &Rest, caller: &Caller) -> Result<(), Problem> {
    let token = caller.token().unwrap_or_default();
    let rejected = |text: String| Err(Problem::new(Code::Unauthenticated, text));
    if authz::is_jwt(token) {
        return match rest.exchange.biscuit(token, caller).await.map_err(|p| (p.code, p)) {
            Err((Code::Unauthenticated | Code::NotConfigured, problem)) => {
                rejected(problem.message)
            }
            Err((Code::UnknownRole | Code::UnknownTenant, problem)) => Err(problem),
            _ => Ok(()),
        };
    }
    match rest.verifier.identify(token, SystemClock.now_unix()) {
        Ok(_) | Err(AuthError::Forbidden(_) | AuthError::Busy) => Ok(()),
        // Without keys, tokens cannot be checked.
        Err(_) if !rest.verifier.has_keys() => Ok(()),
        Err(error) => rejected(error.to_string()),
    }
}

async fn dispatch(
    rest: &Arc<Rest>,
    caller: &Caller,
    route: &Route,
    request: &Parts,
    body: &RequestBody,
) -> Result<Reply, Problem> {
    let (headers, query) = (&request.headers, request.uri.query());
    match (&request.method, route) {
        (_, Route::Upload) => upload::form(rest, caller, request, body).await,
        (_, Route::Source(video)) => upload::source(rest, caller, *video, request, body).await,
        (_, Route::Uploads) => upload::serve_tus(rest, caller, None, request, body).await,
        (_, Route::ResumableUpload(upload)) => {
            upload::serve_tus(rest, caller, Some(*upload), request, body).await
        }
        (_, Route::Videos) => videos::list(rest, caller, headers, query).await,
        (&Method::PATCH, Route::Video(video)) => {
            let fields = fields::Fields::read(headers, body).await?;
            videos::update(rest, caller, headers, *video, fields).await
        }
        (&Method::DELETE, Route::Video(video)) => {
            videos::delete(rest, caller, headers, *video).await
        }
        (_, Route::Video(video)) => videos::get(rest, caller, headers, *video).await,
        (_, Route::Probe(video)) => videos::probe(rest, caller, *video).await,
        (_, Route::Transcode(video)) => {
            let fields = fields::Fields::read(headers, body).await?;
            jobs::create(rest, caller, *video, fields).await
        }
        (&Method::POST, Route::Captions(video)) => {
            captions::create(rest, caller, *video, request, body).await
        }
        (_, Route::Captions(video)) => captions::list(rest, caller, headers, *video).await,
        (_, Route::Caption { video, caption }) => {
            captions::delete(rest, caller, *video, *caption).await
        }
        (_, Route::PlaybackToken(video)) => {
            let fields = fields::Fields::read(headers, body).await?;
            auth::playback_token(rest, caller, *video, fields).await
        }
        (_, Route::Jobs) => jobs::list(rest, caller, headers, query).await,
        (&Method::DELETE, Route::Job(job)) => jobs::cancel(rest, caller, *job).await,
        (_, Route::Job(job)) => jobs::get(rest, caller, headers, *job).await,
        (_, Route::RetryJob(job)) => jobs::retry(rest, caller, *job).await,
        (_, Route::Events) => changes::watch(rest, caller, headers).await,
        (_, Route::JobEvents(job)) => events::watch(rest, caller, headers, *job).await,
        (_, Route::Profiles) => profiles::list(rest, caller, headers).await,
        (_, Route::Workers) => workers::list(rest, caller, headers).await,
        (_, Route::DrainWorker(worker)) => workers::drain(rest, caller, *worker).await,
        (_, Route::System) => system::get(rest, caller).await,
        (_, Route::Exchange) => auth::exchange(rest, caller, request).await,
        (_, Route::SignIn) => {
            let fields = fields::Fields::read(headers, body).await?;
            sign_in::with_code(rest, caller, fields).await
        }
        (_, Route::Session) => sign_in::session(rest, caller).await,
        (_, Route::SignOut) => sign_in::out(rest, caller).await,
        (&Method::POST, Route::Tokens) => {
            let fields = fields::Fields::read(headers, body).await?;
            tokens::mint(rest, caller, fields).await
        }
        (_, Route::Tokens) => tokens::list(rest, caller, query).await,
        (_, Route::Token(token)) => tokens::delete(rest, caller, *token).await,
        (_, Route::RenewPlaybackToken) => {
            let fields = fields::Fields::read(headers, body).await?;
            auth::renew_playback_token(rest, caller, fields).await
        }
        _ => Err(Problem::new(Code::NotFound, "no such resource")),
    }
}
