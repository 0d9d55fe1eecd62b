//! `SystemService`: health and load of the whole service.

use api::v1::{self, system_service_server::SystemService};
use tonic::{Request, Response, Status};

use super::{Services, authorize::Rpc, db_status};
use crate::{
    background::status,
    db::{CALL_TRIES_MAX, task_counts},
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
        let queue_depth = self
            .0
            .db
            .run(CALL_TRIES_MAX, async |db| task_counts::ready(db, tenant).await)
            .await
            .map_err(db_status)?;
        Ok(Response::new(v1::System {
            dependencies: status::get(&self.0).await,
            queue_depth,
            playable_seconds: None,
            operator,
        }))
    }
}
