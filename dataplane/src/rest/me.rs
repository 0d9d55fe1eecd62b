//! `/api/me`: the caller's identity and what remains of its rate limits.

use std::net::IpAddr;

use api::{
    code::Problem,
    v1::{self, auth_service_client::AuthServiceClient},
};
use http::{StatusCode, request::Parts};
use serde_json::{Value, json};

use super::{Caller, json as shape};
use crate::{
    http::reply::{self, Reply},
    limit::Allowance,
    rest::Rest,
};

/// Describes the caller. Reading its limits counts no request besides this one.
pub(crate) async fn get(
    rest: &Rest,
    caller: &Caller,
    request: &Parts,
    address: IpAddr,
) -> Result<Reply, Problem> {
    let me = rest
        .control
        .unary(caller, v1::GetCallerRequest {}, async |channel, request| {
            AuthServiceClient::new(channel).get_caller(request).await
        })
        .await?;
    if let Some(jwt) = caller.token().filter(|token| authz::is_jwt(token)) {
        // The requests of a JWT's holder are counted by the biscuit that it is exchanged for. If
        // that fails, they are still counted by address.
        rest.exchange.biscuit(jwt, caller).await.ok();
    }
    let [general, upload, stream] = rest.limiter.state(request, address).await;
    let document = json!({
        "subject": me.subject,
        "role": me.role,
        "tenant": me.tenant,
        "expiresAt": shape::time(me.expires_at.as_ref()),
        "limits": {
            "general": limit(general),
            "upload": limit(upload),
            "stream": limit(stream),
        },
    });
    Ok(reply::json(StatusCode::OK, &document))
}

/// One limit, or null if it is off.
fn limit(state: Option<Allowance>) -> Value {
    state.map_or(Value::Null, |state| {
        json!({
            "limit": state.limit(),
            "remaining": state.remaining(),
            "resetSeconds": state.reset_seconds(),
        })
    })
}
