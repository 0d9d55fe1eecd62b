//! Checks a JWT's claims strictly and reads the caller's identity from them.
//!
//! A claim of the wrong type makes the token invalid. Nothing is coerced: a library that read
//! `"exp": "9999999999"` as "never expires" had a vulnerability for it (CVE-2026-25537).

use serde_json::{Map, Value};

use super::JwtError;
use crate::role::Role;

/// Bytes of a subject or tenant.
const NAME_BYTES_MAX: usize = 256;
/// Roles that one claim may list.
const ROLES_MAX: usize = 256;
/// The largest time that a double represents exactly.
const SECONDS_MAX: f64 = 9_007_199_254_740_992.0;
/// The roles of people, strongest first. Workers and data planes use biscuits: they are parts of
/// the service, and identity providers cannot grant their roles.
const ROLES: [Role; 3] = [Role::Admin, Role::Editor, Role::Viewer];
/// Values that providers write into an access token's `typ` claim; "ID" and "Refresh" mark tokens
/// for other purposes.
const TYPES: [&str; 4] = ["bearer", "jwt", "at+jwt", "access"];

/// The claims that a token must have, and which of them contain the role and the tenant.
#[derive(Clone, Debug)]
pub struct Policy {
    /// `iss` must be exactly this.
    pub issuer: String,
    /// `aud` must be exactly this or contain it.
    pub audience: String,
    /// The claim that contains the role: a name, or a dotted path into nested objects.
    pub role_claim: String,
    /// The claim that contains the tenant, in the same form.
    pub tenant_claim: String,
    /// The tenant of tokens without that claim; without a default they are rejected.
    pub default_tenant: Option<String>,
    /// How far in the future `nbf` and `iat` may be by this machine's clock, in seconds. `exp` has
    /// no leeway.
    pub leeway: i64,
}

/// The identity that a JWT's claims state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// `sub`.
    pub subject: String,
    /// From the tenant claim.
    pub tenant: String,
    /// From the role claim.
    pub role: Role,
    /// `exp`, in Unix seconds.
    pub expires_at: i64,
}

pub(super) fn identity(
    claims: &Map<String, Value>,
    policy: &Policy,
    now: i64,
) -> Result<Identity, JwtError> {
    let expires_at = time(claims, "exp")?.ok_or(JwtError::Claim("exp"))?;
    if now >= expires_at {
        return Err(JwtError::Expired);
    }
    for begin in ["nbf", "iat"] {
        if time(claims, begin)?.is_some_and(|begin| begin > now.saturating_add(policy.leeway)) {
            return Err(JwtError::NotYet);
        }
    }
    if claims.get("iss").and_then(Value::as_str) != Some(&policy.issuer) {
        return Err(JwtError::Claim("iss"));
    }
    audience(claims.get("aud"), &policy.audience)?;
    kind(claims)?;
    let subject = claims.get("sub").and_then(name).ok_or(JwtError::Claim("sub"))?;
    let role = find(claims, &policy.role_claim).and_then(role).ok_or(JwtError::Role)?;
    let tenant = match find(claims, &policy.tenant_claim) {
        Some(value) => name(value),
        None => policy.default_tenant.clone(),
    };
    Ok(Identity { subject, tenant: tenant.ok_or(JwtError::Tenant)?, role, expires_at })
}

/// A `NumericDate` in whole seconds, rounded down.
pub(super) fn time(
    claims: &Map<String, Value>,
    name: &'static str,
) -> Result<Option<i64>, JwtError> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let Value::Number(number) = value else { return Err(JwtError::Claim(name)) };
    match number.as_f64() {
        Some(seconds) if (0.0..=SECONDS_MAX).contains(&seconds) => Ok(Some(seconds as i64)),
        _ => Err(JwtError::Claim(name)),
    }
}

fn audience(claim: Option<&Value>, ours: &str) -> Result<(), JwtError> {
    let meant = match claim {
        Some(Value::String(one)) => one == ours,
        Some(Value::Array(all)) => {
            all.iter().all(Value::is_string) && all.iter().any(|one| one == ours)
        }
        _ => false,
    };
    if meant { Ok(()) } else { Err(JwtError::Claim("aud")) }
}

/// Some providers state a token's purpose in a claim: only access tokens authorize requests.
fn kind(claims: &Map<String, Value>) -> Result<(), JwtError> {
    let check_claim = |name: &'static str, allowed: &[&str]| match claims.get(name) {
        None => Ok(()),
        Some(Value::String(text)) if allowed.contains(&text.to_ascii_lowercase().as_str()) => {
            Ok(())
        }
        Some(_) => Err(JwtError::Claim(name)),
    };
    check_claim("typ", &TYPES)?;
    check_claim("token_use", &["access"])
}

/// Finds a claim by its whole name first, because names may contain dots, then by its path into
/// nested objects.
fn find<'a>(claims: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    if let Some(value) = claims.get(path) {
        return Some(value);
    }
    let mut parts = path.split('.');
    let mut value = claims.get(parts.next()?)?;
    for part in parts {
        value = value.as_object()?.get(part)?;
    }
    // A path of one part was looked up above.
    path.contains('.').then_some(value)
}

/// The strongest role that the claim names.
fn role(claim: &Value) -> Option<Role> {
    let names: &[Value] = match claim {
        Value::String(_) => std::slice::from_ref(claim),
        Value::Array(all) if all.len() <= ROLES_MAX => all,
        _ => return None,
    };
    ROLES.into_iter().find(|role| names.iter().any(|name| name == role.text()))
}

fn name(claim: &Value) -> Option<String> {
    let text = claim.as_str()?;
    let good = !text.trim().is_empty()
        && text.len() <= NAME_BYTES_MAX
        && !text.chars().any(char::is_control);
    good.then(|| text.to_owned())
}
