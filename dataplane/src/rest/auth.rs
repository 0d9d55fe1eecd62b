//! REST routes for tokens.

use api::{
    code::{Code, Problem},
    v1::{self, auth_service_client::AuthServiceClient},
};
use http::{StatusCode, request::Parts};
use media::{VideoId, urls};
use prost_types::Timestamp;
use serde_json::json;

use super::{Caller, fields::Fields, json as shape};
use crate::{
    http::{
        bearer,
        reply::{self, Reply},
    },
    rest::Rest,
};

/// Issues a token that plays one video, and the URLs that contain it.
pub(crate) async fn playback_token(
    rest: &Rest,
    caller: &Caller,
    video: VideoId,
    mut fields: Fields,
) -> Result<Reply, Problem> {
    let max_height = fields.positive_integer("maxHeight")?.unwrap_or(0);
    let address = fields.text("address")?;
    if address.as_deref() == Some("") {
        // In the gRPC message an empty address means any address.
        return Err(Problem::field("address", "must be an IP address"));
    }
    let message = v1::MintPlaybackTokenRequest {
        video_id: video.to_string(),
        ttl_seconds: fields.positive_integer("ttlSeconds")?.unwrap_or(0),
        max_height: u32::try_from(max_height)
            .map_err(|_| Problem::field("maxHeight", "is too large"))?,
        address: address.unwrap_or_default(),
    };
    fields.finish()?;
    let minted = rest
        .control
        .unary(caller, message, async |channel, request| {
            AuthServiceClient::new(channel).mint_playback_token(request).await
        })
        .await?;
    Ok(with_urls(rest, &video.to_string(), &minted.token, minted.expires_at.as_ref()))
}

/// Replaces a playback token, which is the only proof, by a new one for the same video.
pub(crate) async fn renew_playback_token(
    rest: &Rest,
    caller: &Caller,
    mut fields: Fields,
) -> Result<Reply, Problem> {
    let token = fields.text("token")?.unwrap_or_default();
    fields.finish()?;
    let message = v1::RenewPlaybackTokenRequest { token };
    let renewed = rest
        .control
        .unary(caller, message, async |channel, request| {
            AuthServiceClient::new(channel).renew_playback_token(request).await
        })
        .await?;
    Ok(with_urls(rest, &renewed.video_id, &renewed.token, renewed.expires_at.as_ref()))
}

/// The reply with a playback token and the URLs that contain it.
fn with_urls(rest: &Rest, video: &str, token: &str, expires_at: Option<&Timestamp>) -> Reply {
    let base = rest.cdn_base.as_deref().unwrap_or_default();
    let document = json!({
        "token": token,
        "hls": format!("{base}{}?token={token}", urls::hls(video)),
        "dash": format!("{base}{}?token={token}", urls::dash(video)),
        "expiresAt": shape::time(expires_at),
    });
    reply::json(StatusCode::OK, &document)
}

/// Exchanges an identity provider's token for a biscuit.
pub(crate) async fn exchange(
    rest: &Rest,
    caller: &Caller,
    request: &Parts,
) -> Result<Reply, Problem> {
    let missing = || Problem::new(Code::Unauthenticated, "a bearer token is needed");
    let token = bearer::token(&request.headers).ok_or_else(missing)?;
    let exchanged = rest
        .control
        .unary(
            caller,
            v1::ExchangeTokenRequest { token: token.to_owned() },
            async |channel, request| AuthServiceClient::new(channel).exchange_token(request).await,
        )
        .await?;
    let expires_at = shape::time(exchanged.expires_at.as_ref());
    let document = json!({ "token": exchanged.token, "expiresAt": expires_at });
    Ok(reply::json(StatusCode::OK, &document))
}
