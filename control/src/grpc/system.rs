//! `SystemService`: health and load of the whole service.

use api::v1::{self, system_service_server::SystemService};
use tonic::{Request, Response, Status};

use super::{Services, authorize::Rpc, db_status};
use crate::{
    background::status,
    db::{CALL_TRIES_MAX, system},
    domain::OPERATOR_TENANT,
};

#[tonic::async_trait]
impl SystemService for Services {
    async fn get_system(
        &self,
        request: Request<v1::GetSystemRequest>,
    ) -> Result<Response<v1::System>, Status> {
        let principal = self.0.authorize(Rpc::GetSystem, &request, None)?;
        let operator = principal.tenant == OPERATOR_TENANT;
        let tenant = (!operator).then_some(principal.tenant.as_str());
        let figures = self.0.db.run(CALL_TRIES_MAX, async |db| {
            let queue_depth = system::queue_depth(db, tenant).await?;
            Ok((queue_depth, system::playable_seconds(db, tenant).await?))
        });
        // This call is made to find out which dependency fails.
        let (queue_depth, percentiles) = match figures.await {
            Ok((depth, percentiles)) => (Some(depth), percentiles),
            Err(error) if error.transient() => (None, None),
            Err(error) => return Err(db_status(error)),
        };
        Ok(Response::new(v1::System {
            dependencies: status::get(&self.0).await,
            queue_depth,
            playable_seconds: percentiles.map(|(p50, p95)| v1::PlayableSeconds { p50, p95 }),
            operator,
        }))
    }
}
