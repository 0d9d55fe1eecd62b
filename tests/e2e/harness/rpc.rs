//! gRPC clients with an admin's token on every call.

use api::v1::{
    auth_service_client::AuthServiceClient, job_service_client::JobServiceClient,
    video_service_client::VideoServiceClient, worker_service_client::WorkerServiceClient,
};
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};

/// Adds the token to each call.
#[derive(Clone)]
pub(crate) struct Bearer(MetadataValue<Ascii>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

type Authorised = InterceptedService<Channel, Bearer>;

/// Clients of one control plane; they connect at the first call.
#[derive(Clone)]
pub(crate) struct Rpc {
    channel: Channel,
    bearer: Bearer,
}

impl Rpc {
    /// Clients of `address` (`host:port`).
    pub(crate) fn new(address: &str, token: &str) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("gRPC address");
        let text = format!("Bearer {token}").parse().expect("token is ASCII");
        Self { channel: endpoint.connect_lazy(), bearer: Bearer(text) }
    }

    /// The same clients with another token.
    pub(crate) fn with_token(&self, token: &str) -> Self {
        let text = format!("Bearer {token}").parse().expect("token is ASCII");
        Self { channel: self.channel.clone(), bearer: Bearer(text) }
    }

    /// JobService.
    pub(crate) fn jobs(&self) -> JobServiceClient<Authorised> {
        JobServiceClient::with_interceptor(self.channel.clone(), self.bearer.clone())
    }

    /// VideoService.
    pub(crate) fn videos(&self) -> VideoServiceClient<Authorised> {
        VideoServiceClient::with_interceptor(self.channel.clone(), self.bearer.clone())
    }

    /// AuthService.
    pub(crate) fn auth(&self) -> AuthServiceClient<Authorised> {
        AuthServiceClient::with_interceptor(self.channel.clone(), self.bearer.clone())
    }

    /// WorkerService.
    pub(crate) fn workers(&self) -> WorkerServiceClient<Authorised> {
        WorkerServiceClient::with_interceptor(self.channel.clone(), self.bearer.clone())
    }

    /// Mints a token of `role`.
    pub(crate) async fn mint(&self, role: &str) -> String {
        let request = api::v1::MintTokenRequest {
            role: role.to_owned(),
            subject: format!("e2e-{role}"),
            ttl_seconds: 3600,
            tenant: String::new(),
        };
        self.auth().mint_token(request).await.expect("mint token").into_inner().token
    }
}
