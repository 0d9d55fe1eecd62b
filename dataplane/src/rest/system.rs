//! `/api/system`.

use api::{
    code::Problem,
    v1::{self, system_service_client::SystemServiceClient},
};
use http::StatusCode;
use serde_json::{Value, json};

use super::Caller;
use crate::{
    http::reply::{self, Reply},
    load::Recent,
    rest::Rest,
};

/// Describes health and load: control's figures, and those of this plane for the operator.
pub(crate) async fn get(rest: &Rest, caller: &Caller) -> Result<Reply, Problem> {
    let system = rest
        .control
        .unary(caller, v1::GetSystemRequest {}, async |channel, request| {
            SystemServiceClient::new(channel).get_system(request).await
        })
        .await?;
    // This plane's traffic is that of all tenants.
    let recent = if system.operator { rest.load.recent() } else { Recent::default() };
    let seconds = |percentile: fn(&v1::PlayableSeconds) -> f64| {
        system.playable_seconds.as_ref().map_or(Value::Null, |found| percentile(found).into())
    };
    let document = json!({
        "dependencies": rest.health.dependencies().await,
        "queueDepth": system.queue_depth,
        "playableSeconds": { "p50": seconds(|found| found.p50), "p95": seconds(|found| found.p95) },
        "egressBytesPerSecond": recent.egress,
        "cacheHitRatio": recent.hit_ratio,
    });
    Ok(reply::json(StatusCode::OK, &document))
}
