//! `AuthService`.

mod records;
mod sign_in;

use std::{net::IpAddr, time::Duration};

use api::{
    code::{Code, Problem},
    v1::{self, auth_service_server::AuthService},
    wire,
};
use authz::{
    AuthError, Credential, Grant, JwtNames, Operation, PLAYBACK_SECONDS_MAX, PlaybackGrant,
    RenewalError, Renewed, Role, is_jwt,
    jwt::{self, Identity},
};
use jiff::Timestamp;
use tonic::{Request, Response, Status};

use super::{
    Services,
    authorize::{self, Rpc, bearer},
    db_status, input,
    lookup::video,
};
use crate::{
    cluster::events::Event,
    db::{CALL_TRIES_MAX, revocations, tokens},
    domain::OPERATOR_TENANT,
    identity::rejected_tokens::TokenProblem,
    state::AppState,
};

const TTL_SECONDS: i64 = 3600;
const TTL_SECONDS_MAX: i64 = 31_536_000;
const PLAYBACK_TTL_SECONDS: i64 = 14_400;
/// Minimum time for which a revocation is stored, because a transfer may outlive the token with
/// which it began, as may the renewals of a playback token ([`PLAYBACK_SECONDS_MAX`]).
const REVOKED_SECONDS_MIN: i64 = 7 * 86_400;
const _: () = assert!(REVOKED_SECONDS_MIN >= PLAYBACK_SECONDS_MAX);
/// Maximum length of a subject or tenant, in bytes.
const NAME_BYTES_MAX: usize = 256;

#[tonic::async_trait]
impl AuthService for Services {
    async fn mint_token(
        &self,
        request: Request<v1::MintTokenRequest>,
    ) -> Result<Response<v1::MintTokenResponse>, Status> {
        let principal = self.0.authorize(Rpc::MintToken, &request, None)?;
        // A narrowed token must not mint a wider one.
        let credential = self.0.credential(&request)?;
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
                let text = "only the operator's admins may mint tokens for other tenants, workers and data planes";
                return Err(Problem::new(Code::PermissionDenied, text).into());
            }
        }
        let ttl = input::ttl(message.ttl_seconds, TTL_SECONDS, TTL_SECONDS_MAX)?;
        let expires_at = self.0.clock.now_unix() + ttl;
        let expires_at = principal.narrowed_end.map_or(expires_at, |end| end.min(expires_at));
        let grant = Grant { subject, tenant, role };
        Ok(Response::new(self.mint(credential, grant, expires_at).await?))
    }

    async fn revoke_token(
        &self,
        request: Request<v1::RevokeTokenRequest>,
    ) -> Result<Response<v1::RevokeTokenResponse>, Status> {
        let callers = bearer(request.metadata())?;
        let token = request.get_ref().token.as_str();
        if same(callers, token) {
            // Any role may revoke its own token, so the operation is not checked.
            self.0.verify_token(&request)?;
        } else {
            self.0.authorize(Operation::Admin, &request, None)?;
        }
        let (ids, expires_at) = self.revocable(token).await?;
        revoke(&self.0, &ids, expires_at).await?;
        Ok(Response::new(v1::RevokeTokenResponse {}))
    }

    async fn exchange_token(
        &self,
        request: Request<v1::ExchangeTokenRequest>,
    ) -> Result<Response<v1::ExchangeTokenResponse>, Status> {
        let Some(provider) = &self.0.jwt else {
            let text = "no identity provider is configured";
            return Err(Problem::new(Code::NotConfigured, text).into());
        };
        let token = request.get_ref().token.trim();
        if token.is_empty() {
            return Err(Problem::field("token", "is missing").into());
        }
        let identity = self.identity(token).await.map_err(|rejected| {
            self.0.rejected_tokens.reject(rejected, self.0.client(&request), self.0.clock.now_ms())
        })?;
        let latest = self.0.clock.now_unix().saturating_add(provider.ttl);
        let expires_at = identity.expires_at.min(latest);
        let Identity { subject, tenant, role, .. } = identity;
        let (grant, names) = (Grant { subject, tenant, role }, JwtNames::of(token));
        let minted = self.0.keys.signing().mint_exchanged(&grant, expires_at, &names.signed);
        let token = minted.map_err(authorize::problem)?;
        tracing::info!(
            subject = grant.subject, tenant = grant.tenant, role = %role, "token exchanged"
        );
        Ok(Response::new(v1::ExchangeTokenResponse { token, expires_at: time(expires_at) }))
    }

    async fn mint_playback_token(
        &self,
        request: Request<v1::MintPlaybackTokenRequest>,
    ) -> Result<Response<v1::MintPlaybackTokenResponse>, Status> {
        let id = wire::id("video_id", &request.get_ref().video_id);
        let principal = self.0.authorize(Rpc::MintPlaybackToken, &request, id.clone().ok())?;
        let (id, message) = (id?, request.into_inner());
        video(&self.0, &principal.tenant, id).await?;
        let address: Option<IpAddr> = match message.address.as_str() {
            "" => None,
            text => {
                Some(text.parse().map_err(|_| Problem::field("address", "must be an IP address"))?)
            }
        };
        let ttl = input::ttl(message.ttl_seconds, PLAYBACK_TTL_SECONDS, PLAYBACK_SECONDS_MAX)?;
        let now = self.0.clock.now_unix();
        let expires_at = now + ttl;
        let max_height = Some(message.max_height).filter(|height| *height > 0);
        let grant = PlaybackGrant { video: id, max_height, address };
        let token = self
            .0
            .keys
            .signing()
            .mint_playback(&grant, now, expires_at)
            .map_err(authorize::problem)?;
        Ok(Response::new(v1::MintPlaybackTokenResponse { token, expires_at: time(expires_at) }))
    }

    async fn renew_playback_token(
        &self,
        request: Request<v1::RenewPlaybackTokenRequest>,
    ) -> Result<Response<v1::RenewPlaybackTokenResponse>, Status> {
        let (client, token) = (self.0.client(&request), request.get_ref().token.trim());
        if token.is_empty() {
            return Err(Problem::field("token", "is missing").into());
        }
        let keys = self.0.keys.signing();
        let renewed = self.0.verifier.renew(&keys, token, self.0.clock.now_ms(), client);
        let Renewed { token, video, expires_at } =
            renewed.map_err(|error| self.not_renewed(error, client))?;
        Ok(Response::new(v1::RenewPlaybackTokenResponse {
            token,
            video_id: video.to_string(),
            expires_at: time(expires_at),
        }))
    }

    async fn create_sign_in_code(
        &self,
        request: Request<v1::CreateSignInCodeRequest>,
    ) -> Result<Response<v1::CreateSignInCodeResponse>, Status> {
        sign_in::create_code(&self.0, &request).await.map(Response::new)
    }

    async fn sign_in(
        &self,
        request: Request<v1::SignInRequest>,
    ) -> Result<Response<v1::SignInResponse>, Status> {
        sign_in::with_code(&self.0, &request).await.map(Response::new)
    }

    async fn create_session(
        &self,
        request: Request<v1::CreateSessionRequest>,
    ) -> Result<Response<v1::CreateSessionResponse>, Status> {
        sign_in::exchange(&self.0, &request).map(Response::new)
    }

    async fn sign_out(
        &self,
        request: Request<v1::SignOutRequest>,
    ) -> Result<Response<v1::SignOutResponse>, Status> {
        sign_in::out(&self.0, &request).await.map(Response::new)
    }

    async fn get_caller(
        &self,
        request: Request<v1::GetCallerRequest>,
    ) -> Result<Response<v1::GetCallerResponse>, Status> {
        sign_in::caller(&self.0, &request).map(Response::new)
    }

    async fn list_tokens(
        &self,
        request: Request<v1::ListTokensRequest>,
    ) -> Result<Response<v1::ListTokensResponse>, Status> {
        records::list(&self.0, request).await.map(Response::new)
    }

    async fn delete_token(
        &self,
        request: Request<v1::DeleteTokenRequest>,
    ) -> Result<Response<v1::DeleteTokenResponse>, Status> {
        records::delete(&self.0, &request).await.map(Response::new)
    }

    async fn get_sign_in_options(
        &self,
        _request: Request<v1::GetSignInOptionsRequest>,
    ) -> Result<Response<v1::GetSignInOptionsResponse>, Status> {
        Ok(Response::new(sign_in::options(&self.0)?))
    }

    async fn report_token_uses(
        &self,
        request: Request<v1::ReportTokenUsesRequest>,
    ) -> Result<Response<v1::ReportTokenUsesResponse>, Status> {
        records::report(&self.0, request).await.map(Response::new)
    }
}

impl Services {
    /// Mints a token with the restrictions of the caller's credential, and records it.
    async fn mint(
        &self,
        credential: Credential,
        grant: Grant,
        expires_at: i64,
    ) -> Result<v1::MintTokenResponse, Status> {
        let app = &self.0;
        let minted = app.keys.signing().mint_narrowed(&grant, expires_at, &credential.checks);
        let token = minted.map_err(authorize::problem)?;
        let described = app.verifier.revocation_ids(&token).map_err(authorize::problem)?;
        let id = described.0.into_iter().next().unwrap_or_default();
        let ends = Timestamp::from_second(expires_at).unwrap_or(Timestamp::MAX);
        let row = app
            .db
            .run(CALL_TRIES_MAX, async |db| tokens::create(db, &id, &grant, ends).await)
            .await
            .map_err(db_status)?;
        tracing::info!(
            token.id = %row.id, subject = grant.subject, tenant = grant.tenant, role = %grant.role,
            by = credential.grant.subject, "token minted"
        );
        let expires_at = time(expires_at);
        let (token_id, record) = (row.id.to_string(), Some(row.into()));
        Ok(v1::MintTokenResponse { token, expires_at, token_id, record })
    }

    /// Verifies a JWT and returns the identity in its claims.
    async fn identity(&self, token: &str) -> Result<Identity, TokenProblem> {
        let Some(provider) = &self.0.jwt else { return Err(AuthError::Malformed.into()) };
        if !is_jwt(token) {
            return Err(AuthError::Malformed.into());
        }
        let identity = provider.verify(token, self.0.clock.now_unix()).await?;
        if self.0.verifier.is_revoked(&JwtNames::of(token).revocation_ids()) {
            return Err(TokenProblem::revoked());
        }
        Ok(identity)
    }

    /// Like [`Self::identity`], but also accepts an expired JWT, because a transfer that began with
    /// it may continue.
    async fn signed(&self, token: &str) -> Result<Identity, TokenProblem> {
        let expired = match self.identity(token).await {
            Err(rejected) if rejected.reason == AuthError::Expired.reason() => rejected,
            identity => return identity,
        };
        match (&self.0.jwt, jwt::claimed_end(token)) {
            (Some(provider), Some(end)) => Ok(provider.verify(token, end - 1).await?),
            _ => Err(expired),
        }
    }

    /// The error for a playback token that is not renewed.
    fn not_renewed(&self, error: RenewalError, client: Option<IpAddr>) -> Problem {
        match error {
            RenewalError::Early(seconds) => {
                let retry_after = Some(Duration::from_secs(seconds));
                Problem { retry_after, ..Problem::new(Code::Conflict, error.to_string()) }
            }
            RenewalError::Token(error) => {
                let now_ms = self.0.clock.now_ms();
                let mut problem = self.0.rejected_tokens.reject(error.into(), client, now_ms);
                // The caller itself needs no credentials.
                if problem.code == Code::Unauthenticated {
                    problem.code = Code::PermissionDenied;
                }
                problem
            }
        }
    }

    /// The ids by which a token is revoked, and when it expires.
    async fn revocable(&self, token: &str) -> Result<(Vec<Vec<u8>>, i64), Problem> {
        let unreadable = || Problem::field("token", "is not a token of this service");
        if is_jwt(token) {
            let identity = self.signed(token).await.map_err(|_| unreadable())?;
            return Ok((JwtNames::of(token).revocation_ids(), identity.expires_at));
        }
        let (id, expires_at) = self.0.verifier.revoking_id(token).map_err(|_| unreadable())?;
        Ok((vec![id], expires_at))
    }
}

/// Revokes a token that expires at `expires_at`, in Unix seconds, by these ids.
async fn revoke(app: &AppState, ids: &[Vec<u8>], expires_at: i64) -> Result<(), Status> {
    let remembered = expires_at.max(app.clock.now_unix() + REVOKED_SECONDS_MIN);
    let expires_at = Timestamp::from_second(remembered).ok();
    app.db
        .run(CALL_TRIES_MAX, async |db| revocations::add(db, ids, expires_at).await)
        .await
        .map_err(db_status)?;
    app.verifier.revoke(ids.iter().cloned());
    for id in ids {
        app.bus.publish(Event::Revoked(id.clone()));
    }
    Ok(())
}

/// Whether two texts are the same token, regardless of the form of a JWT's signature.
fn same(one: &str, other: &str) -> bool {
    let jwts = is_jwt(one) && is_jwt(other);
    one == other || jwts && JwtNames::of(one).signed == JwtNames::of(other).signed
}

fn name(field: &str, text: &str) -> Result<String, Problem> {
    let text = text.trim();
    if text.is_empty() || text.len() > NAME_BYTES_MAX || text.chars().any(char::is_control) {
        return Err(Problem::field(
            field,
            format!("must be 1 to {NAME_BYTES_MAX} bytes without control characters"),
        ));
    }
    Ok(text.to_owned())
}

fn time(unix: i64) -> Option<prost_types::Timestamp> {
    Timestamp::from_second(unix).ok().map(wire::timestamp)
}
