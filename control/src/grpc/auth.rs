//! `AuthService`.

use std::net::IpAddr;

use api::{
    code::{Code, Problem},
    v1::{self, auth_service_server::AuthService},
    wire,
};
use authz::{Grant, Operation, PlaybackGrant, Request as Ask, Role};
use jiff::Timestamp;
use tonic::{Request, Response, Status};

use super::{
    Services,
    gate::{self, Rpc, bearer},
    input, refuse,
    videos::video,
};
use crate::{
    bus::Event,
    db::{CALL_TRIES_MAX, retrying, revocations},
};

/// The tenant of whoever runs the service. Only its admins mint for other tenants and for planes.
pub const OPERATOR_TENANT: &str = "default";
const TTL_SECONDS: i64 = 3600;
const TTL_SECONDS_MAX: i64 = 31_536_000;
const PLAYBACK_TTL_SECONDS: i64 = 14_400;
const PLAYBACK_TTL_SECONDS_MAX: i64 = 604_800;
/// Characters of a subject or tenant.
const NAME_BYTES_MAX: usize = 256;

#[tonic::async_trait]
impl AuthService for Services {
    async fn mint_token(
        &self,
        request: Request<v1::MintTokenRequest>,
    ) -> Result<Response<v1::MintTokenResponse>, Status> {
        let principal = self.0.enter(Rpc::MintToken, &request, None)?;
        let message = request.into_inner();
        let role: Role = message
            .role
            .parse()
            .map_err(|e: authz::role::RoleError| Problem::field("role", e.to_string()))?;
        let subject = name("subject", &message.subject)?;
        let tenant = match message.tenant.as_str() {
            "" => principal.tenant.clone(),
            tenant => name("tenant", tenant)?,
        };
        if principal.tenant != OPERATOR_TENANT {
            let foreign = tenant != principal.tenant;
            if foreign || matches!(role, Role::Worker | Role::Dataplane) {
                let text = "only the operator's admins mint for other tenants and for planes";
                return Err(Problem::new(Code::PermissionDenied, text).into());
            }
        }
        let ttl = input::ttl(message.ttl_seconds, TTL_SECONDS, TTL_SECONDS_MAX)?;
        let expires_at = self.0.clock.now_unix() + ttl;
        let grant = Grant { subject, tenant, role };
        let token = self.0.keys.mint(&grant, expires_at).map_err(gate::refusal)?;
        tracing::info!(
            subject = grant.subject, tenant = grant.tenant, role = %role, by = principal.subject,
            "token minted"
        );
        Ok(Response::new(v1::MintTokenResponse { token, expires_at: time(expires_at) }))
    }

    async fn revoke_token(
        &self,
        request: Request<v1::RevokeTokenRequest>,
    ) -> Result<Response<v1::RevokeTokenResponse>, Status> {
        let callers = bearer(request.metadata())?;
        let token = request.get_ref().token.as_str();
        if callers == token {
            // Any role may end its own token; which operation it is for does not matter.
            self.0.genuine(&request)?;
        } else {
            let ask = Ask {
                now: self.0.clock.now_unix(),
                operation: Operation::Admin,
                video: None,
                address: request.remote_addr().map(|address| address.ip()),
            };
            self.0.verifier.authenticate(callers, &ask).map_err(gate::refusal)?;
        }
        let unreadable = |_| Problem::field("token", "is no token of this service");
        let (ids, expires_at) = self.0.verifier.revocation_ids(token).map_err(unreadable)?;
        // The last block's id: what this one was narrowed from goes on working.
        let id = ids.last().ok_or_else(|| Problem::field("token", "cannot be revoked"))?;
        let expires_at = Timestamp::from_second(expires_at).ok();
        retrying(CALL_TRIES_MAX, || async {
            revocations::add(&*self.0.db.get().await?, id, expires_at).await
        })
        .await
        .map_err(refuse)?;
        self.0.verifier.revoke([id.clone()]);
        self.0.bus.tell(Event::Revoked(id.clone()));
        Ok(Response::new(v1::RevokeTokenResponse {}))
    }

    async fn exchange_token(
        &self,
        _request: Request<v1::ExchangeTokenRequest>,
    ) -> Result<Response<v1::ExchangeTokenResponse>, Status> {
        Err(Problem::new(Code::NotConfigured, "no identity provider is configured").into())
    }

    async fn mint_playback_token(
        &self,
        request: Request<v1::MintPlaybackTokenRequest>,
    ) -> Result<Response<v1::MintPlaybackTokenResponse>, Status> {
        let id = wire::id("video_id", &request.get_ref().video_id);
        let principal = self.0.enter(Rpc::MintPlaybackToken, &request, id.clone().ok())?;
        let (id, message) = (id?, request.into_inner());
        video(&self.0, &principal.tenant, id).await?;
        let address: Option<IpAddr> = match message.address.as_str() {
            "" => None,
            text => Some(text.parse().map_err(|_| Problem::field("address", "is no IP address"))?),
        };
        let ttl = input::ttl(message.ttl_seconds, PLAYBACK_TTL_SECONDS, PLAYBACK_TTL_SECONDS_MAX)?;
        let expires_at = self.0.clock.now_unix() + ttl;
        let max_height = Some(message.max_height).filter(|height| *height > 0);
        let grant = PlaybackGrant { video: id, max_height, address };
        let token = self.0.keys.mint_playback(&grant, expires_at).map_err(gate::refusal)?;
        Ok(Response::new(v1::MintPlaybackTokenResponse { token, expires_at: time(expires_at) }))
    }
}

fn name(field: &str, text: &str) -> Result<String, Problem> {
    let text = text.trim();
    if text.is_empty() || text.len() > NAME_BYTES_MAX || text.chars().any(char::is_control) {
        return Err(Problem::field(field, format!("must be 1 to {NAME_BYTES_MAX} bytes of text")));
    }
    Ok(text.to_owned())
}

fn time(unix: i64) -> Option<prost_types::Timestamp> {
    Timestamp::from_second(unix).ok().map(wire::timestamp)
}
