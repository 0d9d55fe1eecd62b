//! Records of bearer tokens: listed, revoked by their id, and updated with the days of use that data
//! planes report.

use api::{code::Problem, limits::TOKEN_USES_MAX, v1, wire};
use authz::{Grant, TokenUse};
use media::TokenId;
use tonic::{Request, Status};

use super::revoke;
use crate::{
    db::{
        CALL_TRIES_MAX,
        tokens::{self, TokenRow},
    },
    grpc::{authorize::Rpc, db_status, input},
    page::{Cursor, List, PageRequest},
    state::AppState,
};

/// Bytes of a revocation id.
const ID_BYTES: usize = 64;

impl From<TokenRow> for v1::TokenRecord {
    fn from(row: TokenRow) -> Self {
        Self {
            token_id: row.id.to_string(),
            subject: row.subject,
            role: row.role,
            tenant: row.tenant,
            created_at: Some(wire::timestamp(row.created_at)),
            expires_at: Some(wire::timestamp(row.expires_at)),
            last_used_day: row.last_used_day.map(|day| day.to_string()).unwrap_or_default(),
        }
    }
}

/// One page of the records of the caller's tenant.
pub(super) async fn list(
    app: &AppState,
    request: Request<v1::ListTokensRequest>,
) -> Result<v1::ListTokensResponse, Status> {
    let principal = app.authorize(Rpc::ListTokens, &request, None)?;
    let message = request.into_inner();
    let size = input::page_size(message.page_size)?;
    let list = List { name: "tokens", tenant: &principal.tenant, filter: "" };
    let page = app.pages.request(list, size, &message.page_token)?;
    let PageRequest { after, limit, .. } = page;
    let rows = app
        .db
        .run(CALL_TRIES_MAX, async |db| tokens::list(db, &principal.tenant, after, limit).await)
        .await
        .map_err(db_status)?;
    let position = |row: &TokenRow| Cursor { time: row.created_at, id: row.id.uuid() };
    let (tokens, next_page_token) = app.pages.cut(page, rows, position, Into::into);
    Ok(v1::ListTokensResponse { tokens, next_page_token })
}

/// Revokes the token of a record.
pub(super) async fn delete(
    app: &AppState,
    request: &Request<v1::DeleteTokenRequest>,
) -> Result<v1::DeleteTokenResponse, Status> {
    let principal = app.authorize(Rpc::DeleteToken, request, None)?;
    let id: TokenId = wire::id("token_id", &request.get_ref().token_id)?;
    let found = app
        .db
        .run(CALL_TRIES_MAX, async |db| tokens::find(db, &principal.tenant, id).await)
        .await
        .map_err(db_status)?;
    let (revocation_id, expires_at) = found.ok_or_else(|| Problem::not_found("token"))?;
    revoke(app, &[revocation_id], expires_at.as_second()).await?;
    tracing::info!(token.id = %id, by = principal.subject, "token revoked");
    Ok(v1::DeleteTokenResponse {})
}

/// Records the uses that a data plane saw.
pub(super) async fn report(
    app: &AppState,
    request: Request<v1::ReportTokenUsesRequest>,
) -> Result<v1::ReportTokenUsesResponse, Status> {
    app.authorize(Rpc::ReportTokenUses, &request, None)?;
    let uses = request.into_inner().uses;
    if uses.len() > TOKEN_USES_MAX {
        let text = format!("must have at most {TOKEN_USES_MAX} items");
        return Err(Problem::field("uses", text).into());
    }
    let read = uses.into_iter().enumerate().map(|(number, one)| {
        one_use(one).map_err(|text| Problem::field(format!("uses[{number}]"), text))
    });
    let uses = read.collect::<Result<Vec<_>, _>>()?;
    app.db
        .run(CALL_TRIES_MAX, async |db| tokens::record_uses(db, &uses).await)
        .await
        .map_err(db_status)?;
    Ok(v1::ReportTokenUsesResponse {})
}

fn one_use(one: v1::TokenUse) -> Result<TokenUse, String> {
    let v1::TokenUse { revocation_id, subject, role, tenant, expires_at, used_at } = one;
    if revocation_id.len() != ID_BYTES {
        return Err(format!("must have a revocation id of {ID_BYTES} bytes"));
    }
    let role = role.parse().map_err(|error: authz::role::RoleError| error.to_string())?;
    let revocation_id = revocation_id.to_vec();
    Ok(TokenUse { revocation_id, grant: Grant { subject, tenant, role }, expires_at, used_at })
}
