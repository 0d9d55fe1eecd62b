//! `/api/tokens`: minting, listing and revoking bearer tokens.

use api::{
    code::{Code, Problem},
    v1::{self, auth_service_client::AuthServiceClient},
};
use http::StatusCode;
use media::TokenId;
use serde_json::{Value, json};

use super::{
    Caller,
    fields::{Fields, Page},
    json as shape,
};
use crate::{
    http::reply::{self, Reply},
    rest::Rest,
};

/// Mints a token of the caller's tenant. The reply is the only one that contains it.
pub(crate) async fn mint(
    rest: &Rest,
    caller: &Caller,
    mut fields: Fields,
) -> Result<Reply, Problem> {
    let message = v1::MintTokenRequest {
        role: fields.text("role")?.unwrap_or_default(),
        subject: fields.text("subject")?.unwrap_or_default(),
        ttl_seconds: fields.positive_integer("ttlSeconds")?.unwrap_or(0),
        tenant: String::new(),
    };
    fields.finish()?;
    let minted = rest
        .control
        .unary(caller, message, async |channel, request| {
            AuthServiceClient::new(channel).mint_token(request).await
        })
        .await?;
    let record = minted.record.ok_or_else(|| {
        Problem::new(Code::Internal, "the control plane did not describe the token")
    })?;
    let mut document = identity(&record);
    document["token"] = minted.token.into();
    Ok(reply::json(StatusCode::CREATED, &document))
}

/// Lists the records of the tenant's tokens, newest first.
pub(crate) async fn list(
    rest: &Rest,
    caller: &Caller,
    query: Option<&str>,
) -> Result<Reply, Problem> {
    let page = Page::read(query)?;
    let message = v1::ListTokensRequest { page_size: page.size, page_token: page.token };
    let listed = rest
        .control
        .unary(caller, message, async |channel, request| {
            AuthServiceClient::new(channel).list_tokens(request).await
        })
        .await?;
    let records = listed.tokens.iter().map(|record| {
        let mut document = identity(record);
        document["lastUsedDay"] = shape::non_empty(&record.last_used_day);
        document
    });
    let tokens: Vec<Value> = records.collect();
    let next = shape::non_empty(&listed.next_page_token);
    Ok(reply::json(StatusCode::OK, &json!({ "tokens": tokens, "nextPageToken": next })))
}

/// Revokes the token of a record.
pub(crate) async fn delete(rest: &Rest, caller: &Caller, id: TokenId) -> Result<Reply, Problem> {
    let message = v1::DeleteTokenRequest { token_id: id.to_string() };
    rest.control
        .unary(caller, message, async |channel, request| {
            AuthServiceClient::new(channel).delete_token(request).await
        })
        .await?;
    Ok(reply::status(StatusCode::NO_CONTENT))
}

/// The fields that a record has from the beginning.
fn identity(record: &v1::TokenRecord) -> Value {
    json!({
        "id": record.token_id,
        "subject": record.subject,
        "role": record.role,
        "tenant": record.tenant,
        "createdAt": shape::time(record.created_at.as_ref()),
        "expiresAt": shape::time(record.expires_at.as_ref()),
    })
}
