//! `/api/profiles`.

use api::{
    code::Problem,
    v1::{self, job_service_client::JobServiceClient},
};
use http::HeaderMap;
use serde_json::json;

use super::{Caller, json as shape};
use crate::{
    http::reply::{self, Reply},
    rest::Rest,
};

/// Lists the configured profiles.
pub(crate) async fn list(
    rest: &Rest,
    caller: &Caller,
    headers: &HeaderMap,
) -> Result<Reply, Problem> {
    let listed = rest
        .control
        .unary(caller, v1::ListProfilesRequest {}, async |channel, request| {
            JobServiceClient::new(channel).list_profiles(request).await
        })
        .await?;
    let profiles: Vec<_> = listed.profiles.iter().map(shape::profile).collect();
    Ok(reply::json_document(headers, &json!({ "profiles": profiles })))
}
