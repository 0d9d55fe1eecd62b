//! Sessions of browsers: begun with a one-time code or in exchange for another token, ended by
//! signing out.

use api::{
    code::{Code, Problem},
    v1, wire,
};
use authz::{AuthError, Credential};
use jiff::Timestamp;
use tonic::{Request, Status};

use super::{revoke, time};
use crate::{
    db::{CALL_TRIES_MAX, sign_in},
    grpc::{
        authorize::{self, Rpc, bearer},
        db_status,
    },
    identity::rejected_tokens::TokenProblem,
    state::AppState,
};

/// Random bytes of a code, which is their hexadecimal form.
const CODE_BYTES: usize = 20;

/// Creates a code with which a browser gets a session with the caller's rights.
pub(super) async fn create_code(
    app: &AppState,
    request: &Request<v1::CreateSignInCodeRequest>,
) -> Result<v1::CreateSignInCodeResponse, Status> {
    let principal = app.authorize(Rpc::CreateSignInCode, request, None)?;
    let credential = app.credential(request)?;
    let code = hex::encode(rand::random::<[u8; CODE_BYTES]>());
    let hash = authz::digest(&code);
    let expires_at = app
        .db
        .run(CALL_TRIES_MAX, async |db| sign_in::create(db, &hash, &credential).await)
        .await
        .map_err(db_status)?;
    tracing::info!(subject = principal.subject, tenant = principal.tenant, "sign-in code created");
    Ok(v1::CreateSignInCodeResponse { code, expires_at: Some(wire::timestamp(expires_at)) })
}

/// Exchanges a code for a session, once.
pub(super) async fn with_code(
    app: &AppState,
    request: &Request<v1::SignInRequest>,
) -> Result<v1::SignInResponse, Status> {
    let code = request.get_ref().code.trim();
    if code.is_empty() {
        return Err(Problem::field("code", "is missing").into());
    }
    let hash = authz::digest(code);
    let found = app
        .db
        .run(CALL_TRIES_MAX, async |db| sign_in::redeem(db, &hash).await)
        .await
        .map_err(db_status)?;
    let rejected = || {
        let text = "the code is unknown, used or expired";
        let problem = Problem::new(Code::Unauthenticated, text);
        let rejected = TokenProblem { reason: "code", problem };
        app.rejected_tokens.reject(rejected, app.client(request), app.clock.now_ms())
    };
    let credential = found.filter(|credential| is_valid(app, credential)).ok_or_else(rejected)?;
    let (token, expires_at) = session(app, &credential)?;
    Ok(v1::SignInResponse { token, expires_at })
}

/// Whether the credential of a code's creator still verifies.
fn is_valid(app: &AppState, credential: &Credential) -> bool {
    let key = |key| app.keys.public().0.iter().any(|(id, _)| *id == key);
    credential.expires_at > app.clock.now_unix()
        && credential.key.is_none_or(key)
        && !app.verifier.is_revoked(&credential.revocation_ids)
}

/// Exchanges the caller's bearer token for a session.
pub(super) fn exchange(
    app: &AppState,
    request: &Request<v1::CreateSessionRequest>,
) -> Result<v1::CreateSessionResponse, Status> {
    let credential = app.credential(request)?;
    let (token, expires_at) = session(app, &credential)?;
    Ok(v1::CreateSessionResponse { token, expires_at })
}

fn session(
    app: &AppState,
    credential: &Credential,
) -> Result<(String, Option<prost_types::Timestamp>), Problem> {
    let minted = app.keys.signing().mint_session(credential, app.clock.now_unix());
    let (token, expires_at) = minted.map_err(|error| match error {
        AuthError::Limit => {
            let text = "the token has too many or too large restrictions for a session";
            Problem::new(Code::PermissionDenied, text)
        }
        error => authorize::problem(error),
    })?;
    let grant = &credential.grant;
    tracing::info!(
        subject = grant.subject, tenant = grant.tenant, role = %grant.role, "session created"
    );
    Ok((token, time(expires_at)))
}

/// Revokes the session with which the call is made; any other token stays valid.
pub(super) async fn out(
    app: &AppState,
    request: &Request<v1::SignOutRequest>,
) -> Result<v1::SignOutResponse, Status> {
    let principal = app.caller(request)?;
    let token = bearer(request.metadata())?;
    if app.verifier.is_session(token) {
        let (id, expires_at) = app.verifier.revoking_id(token).map_err(authorize::problem)?;
        revoke(app, &[id], expires_at).await?;
        tracing::info!(subject = principal.subject, tenant = principal.tenant, "session ended");
    }
    Ok(v1::SignOutResponse {})
}

/// The identity in the caller's token.
pub(super) fn caller<T>(
    app: &AppState,
    request: &Request<T>,
) -> Result<v1::GetCallerResponse, Status> {
    let principal = app.caller(request)?;
    let expires_at = Timestamp::from_second(principal.ends_at()).ok();
    Ok(v1::GetCallerResponse {
        role: principal.role.text().to_owned(),
        subject: principal.subject,
        tenant: principal.tenant,
        expires_at: expires_at.map(wire::timestamp),
    })
}

/// Where browsers may sign in besides.
pub(super) fn options(app: &AppState) -> Result<v1::GetSignInOptionsResponse, Problem> {
    let Some(discovery) = app.jwt.as_ref().and_then(|provider| provider.discovery.as_ref()) else {
        return Ok(v1::GetSignInOptionsResponse::default());
    };
    let options = discovery.options().ok_or_else(|| {
        Problem::new(Code::Unavailable, "the identity provider has not answered yet")
    })?;
    Ok(v1::GetSignInOptionsResponse {
        issuer: options.issuer.clone(),
        client_id: options.client_id.clone(),
        origins: options.origins.clone(),
    })
}
