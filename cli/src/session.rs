//! Connects client commands to the service: finds the server, adds the token, formats errors as one
//! line.

use std::time::Duration;

use anyhow::{Result, anyhow};
use api::{
    code::Problem,
    v1::{
        auth_service_client::AuthServiceClient, job_service_client::JobServiceClient,
        video_service_client::VideoServiceClient, worker_service_client::WorkerServiceClient,
    },
};
use runtime::tls;
use tonic::{
    Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};

use crate::{
    failure::Failure,
    output::{innermost, one_line},
    rest::Rest,
    server::Target,
};

const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// Timeout of one call; does not apply to streams.
pub(crate) const CALL_PATIENCE: Duration = Duration::from_secs(60);

/// A channel that adds the token to every call.
pub(crate) type Link = InterceptedService<Channel, Bearer>;

/// Adds the token to the metadata of a call.
#[derive(Clone)]
pub(crate) struct Bearer(MetadataValue<Ascii>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: tonic::Request<()>) -> Result<tonic::Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

/// State shared by all client commands.
pub(crate) struct Session<'a> {
    pub(crate) target: &'a Target,
    pub(crate) json: bool,
}

impl Session<'_> {
    /// A client of the REST API.
    pub(crate) fn rest(&self) -> Result<Rest> {
        Ok(Rest::new(self.target.http()?, self.target.bearer()?))
    }

    /// A connection to control.
    pub(crate) async fn link(&self) -> Result<Link> {
        let server = self.target.grpc()?;
        let text = format!("Bearer {}", self.target.bearer()?);
        let mut bearer: MetadataValue<Ascii> =
            text.parse().map_err(|_| anyhow!("the token contains invalid characters"))?;
        bearer.set_sensitive(true);
        let endpoint = Endpoint::from_shared(server.url.clone())?
            .connect_timeout(CONNECT_PATIENCE)
            .http2_keep_alive_interval(Duration::from_secs(20))
            .keep_alive_while_idle(true);
        let channel = tls::channel(&endpoint, server.ca_file.as_deref()).await;
        let channel =
            channel.map_err(|error| Failure::unreachable(&server.url, &innermost(&error)))?;
        Ok(InterceptedService::new(channel, Bearer(bearer)))
    }

    /// Videos.
    pub(crate) async fn videos(&self) -> Result<VideoServiceClient<Link>> {
        self.link().await.map(VideoServiceClient::new)
    }

    /// Jobs.
    pub(crate) async fn jobs(&self) -> Result<JobServiceClient<Link>> {
        self.link().await.map(JobServiceClient::new)
    }

    /// Workers.
    pub(crate) async fn workers(&self) -> Result<WorkerServiceClient<Link>> {
        self.link().await.map(WorkerServiceClient::new)
    }

    /// Tokens.
    pub(crate) async fn auth(&self) -> Result<AuthServiceClient<Link>> {
        self.link().await.map(AuthServiceClient::new)
    }
}

/// A request with a timeout.
pub(crate) fn call<T>(message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(CALL_PATIENCE);
    request
}

/// Formats an error status as one line: message, invalid fields, stable code.
pub(crate) fn status_error(status: Status) -> anyhow::Error {
    // The error does not come from the server: the connection broke, or the peer uses another
    // protocol.
    if let Some(source) = std::error::Error::source(&status) {
        return Failure::unreachable("the service", &innermost(source)).into();
    }
    let problem = Problem::from_status(&status);
    let mut line = one_line(&problem.message);
    if line.is_empty() {
        line = status.code().description().to_owned();
    }
    for violation in &problem.violations {
        if !line.contains(&violation.message) {
            line.push_str(&format!("; {}: {}", violation.field, one_line(&violation.message)));
        }
    }
    Failure::rejected(problem.code.text(), line).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_lines_name_field_and_code() {
        let status = Status::from(Problem::field("page_size", "must be at most 100"));
        assert_eq!(
            status_error(status).to_string(),
            "page_size: must be at most 100 (invalid_field)"
        );
        let foreign = Status::unimplemented("");
        assert!(status_error(foreign).to_string().ends_with("(not_configured)"));
    }
}
