//! REST routes for sessions: begun with a one-time code or another token, ended by signing out.

use api::{
    code::Problem,
    v1::{self, auth_service_client::AuthServiceClient},
};
use http::StatusCode;
use prost_types::Timestamp;
use serde_json::json;

use super::{Caller, fields::Fields, json as shape};
use crate::{
    http::reply::{self, Reply},
    rest::Rest,
};

/// Exchanges a one-time code, which is the only proof, for a session.
pub(crate) async fn with_code(
    rest: &Rest,
    caller: &Caller,
    mut fields: Fields,
) -> Result<Reply, Problem> {
    let code = fields.text("code")?.unwrap_or_default();
    fields.finish()?;
    let session = rest
        .control
        .unary(caller, v1::SignInRequest { code }, async |channel, request| {
            AuthServiceClient::new(channel).sign_in(request).await
        })
        .await?;
    Ok(token(&session.token, session.expires_at.as_ref()))
}

/// Exchanges the caller's bearer token for a session with the same rights.
pub(crate) async fn session(rest: &Rest, caller: &Caller) -> Result<Reply, Problem> {
    let session = rest
        .control
        .unary(caller, v1::CreateSessionRequest {}, async |channel, request| {
            AuthServiceClient::new(channel).create_session(request).await
        })
        .await?;
    Ok(token(&session.token, session.expires_at.as_ref()))
}

/// Revokes the session that is the caller's bearer token; any other token stays valid.
pub(crate) async fn out(rest: &Rest, caller: &Caller) -> Result<Reply, Problem> {
    rest.control
        .unary(caller, v1::SignOutRequest {}, async |channel, request| {
            AuthServiceClient::new(channel).sign_out(request).await
        })
        .await?;
    Ok(reply::status(StatusCode::NO_CONTENT))
}

fn token(token: &str, expires_at: Option<&Timestamp>) -> Reply {
    let document = json!({ "token": token, "expiresAt": shape::time(expires_at) });
    reply::json(StatusCode::OK, &document)
}
