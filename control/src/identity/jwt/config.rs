//! The provider's configuration: `STREAMING_JWT_*` and `STREAMING_OIDC_CLIENT_ID`. Without any of these variables no provider is
//! configured; otherwise one error lists all problems.

use std::{ffi::OsString, path::Path, sync::Arc, time::Duration};

use authz::jwt::{JwtKeys, KeySetError, Policy};
use clap::Args;
use opentelemetry::metrics::Meter;

use super::{Provider, discovery::Discovery, fetch::Fetcher, jwks::Jwks};

/// Maximum bytes of a key file.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Settings of the identity provider.
#[derive(Args, Clone, Debug)]
pub struct JwtArgs {
    /// Expected issuer (`iss`), the identity provider.
    #[arg(long, env = "STREAMING_JWT_ISSUER")]
    pub jwt_issuer: Option<String>,
    /// Expected audience (`aud`), the provider's name for this service.
    #[arg(long, env = "STREAMING_JWT_AUDIENCE")]
    pub jwt_audience: Option<String>,
    /// URL of the provider's key set (https, or http on this machine).
    #[arg(long, env = "STREAMING_JWT_JWKS_URL")]
    pub jwt_jwks_url: Option<String>,
    /// File with the provider's public keys: PEM, a JWK or a JWK set.
    #[arg(long, env = "STREAMING_JWT_PUBLIC_KEY_FILE")]
    pub jwt_public_key_file: Option<OsString>,
    /// File with a secret shared with the provider; HS256 is accepted only with it.
    #[arg(long, env = "STREAMING_JWT_HS256_SECRET_FILE")]
    pub jwt_hs256_secret_file: Option<OsString>,
    /// Name of the claim with the role.
    #[arg(long, env = "STREAMING_JWT_ROLE_CLAIM", default_value = "role")]
    pub jwt_role_claim: String,
    /// Name of the claim with the tenant.
    #[arg(long, env = "STREAMING_JWT_TENANT_CLAIM", default_value = "tenant")]
    pub jwt_tenant_claim: String,
    /// Tenant of tokens without that claim; unset: they are rejected.
    #[arg(long, env = "STREAMING_JWT_DEFAULT_TENANT")]
    pub jwt_default_tenant: Option<String>,
    /// How far the provider's clock may be ahead of this machine's (`nbf`, `iat`); `exp` has no
    /// leeway.
    #[arg(long, env = "STREAMING_JWT_LEEWAY", default_value = "10s",
          value_parser = runtime::duration::parse)]
    pub jwt_leeway: Duration,
    /// How long fetched keys are used if they cannot be fetched again.
    #[arg(long, env = "STREAMING_JWT_JWKS_MAX_AGE", default_value = "1h",
          value_parser = runtime::duration::parse)]
    pub jwt_jwks_max_age: Duration,
    /// Maximum lifetime of a token that a JWT is exchanged for.
    #[arg(long, env = "STREAMING_JWT_EXCHANGE_TTL", default_value = "1h",
          value_parser = runtime::duration::parse)]
    pub jwt_exchange_ttl: Duration,
    /// Name of the web console at the provider, an OpenID Connect client without a secret; set: the
    /// console offers to sign in there.
    #[arg(long, env = "STREAMING_OIDC_CLIENT_ID")]
    pub oidc_client_id: Option<String>,
}

/// The configuration is invalid; one entry per variable.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{}", .0.join("; "))]
pub struct JwtConfigError(pub Vec<String>);

/// Reads the configuration; `None` if no variable is set.
///
/// # Errors
/// A variable is missing or invalid; the error lists all of them.
pub fn provider(args: &JwtArgs, meter: &Meter) -> Result<Option<Arc<Provider>>, JwtConfigError> {
    let issuer = text(args.jwt_issuer.as_deref());
    let audience = text(args.jwt_audience.as_deref());
    let url = text(args.jwt_jwks_url.as_deref());
    let file = args.jwt_public_key_file.as_deref().filter(|path| !path.is_empty());
    let secret = args.jwt_hs256_secret_file.as_deref().filter(|path| !path.is_empty());
    let client_id = text(args.oidc_client_id.as_deref());
    let sources = [url.is_some(), file.is_some(), secret.is_some()];
    if [issuer, audience, client_id] == [None; 3] && sources == [false; 3] {
        return Ok(None);
    }
    let mut wrong = Vec::new();
    if issuer.is_none() {
        wrong.push("STREAMING_JWT_ISSUER: must be the expected issuer (iss)".to_owned());
    }
    if audience.is_none() {
        wrong.push("STREAMING_JWT_AUDIENCE: must be the expected audience (aud)".to_owned());
    }
    if sources == [false; 3] {
        wrong.push(
            "STREAMING_JWT_JWKS_URL, STREAMING_JWT_PUBLIC_KEY_FILE or \
             STREAMING_JWT_HS256_SECRET_FILE: one of them must be set"
                .to_owned(),
        );
    }
    let mut fixed = JwtKeys::default();
    type Read = fn(&[u8]) -> Result<JwtKeys, KeySetError>;
    let files: [(_, _, Read); 2] = [
        ("STREAMING_JWT_PUBLIC_KEY_FILE", file, JwtKeys::from_file),
        ("STREAMING_JWT_HS256_SECRET_FILE", secret, JwtKeys::from_secret),
    ];
    for (variable, path, read) in files {
        match path.map(|path| keys(Path::new(path), read)) {
            Some(Ok(keys)) => fixed.extend(keys),
            Some(Err(text)) => wrong.push(format!("{variable}: {text}")),
            None => {}
        }
    }
    let mut checked = |variable: &str, text| wrong.push(format!("{variable}: {text}"));
    let jwks = url.and_then(|url| match Fetcher::new(url) {
        Ok(fetcher) => Some(Arc::new(Jwks::new(fetcher, args.jwt_jwks_max_age, meter))),
        Err(text) => {
            checked("STREAMING_JWT_JWKS_URL", text);
            None
        }
    });
    // Without an issuer, the error above is sufficient.
    let discovery =
        client_id.zip(issuer).and_then(|(id, issuer)| match Discovery::new(issuer, id) {
            Ok(discovery) => Some(Arc::new(discovery)),
            Err(text) => {
                checked("STREAMING_OIDC_CLIENT_ID: the issuer (STREAMING_JWT_ISSUER)", text);
                None
            }
        });
    if !wrong.is_empty() {
        return Err(JwtConfigError(wrong));
    }
    let claim = |given: &str, default: &str| text(Some(given)).unwrap_or(default).to_owned();
    let policy = Policy {
        issuer: issuer.unwrap_or_default().to_owned(),
        audience: audience.unwrap_or_default().to_owned(),
        role_claim: claim(&args.jwt_role_claim, "role"),
        tenant_claim: claim(&args.jwt_tenant_claim, "tenant"),
        default_tenant: text(args.jwt_default_tenant.as_deref()).map(str::to_owned),
        leeway: seconds(args.jwt_leeway),
    };
    let ttl = seconds(args.jwt_exchange_ttl);
    Ok(Some(Arc::new(Provider { policy, ttl, fixed, jwks, discovery })))
}

/// An empty variable counts as unset.
fn text(value: Option<&str>) -> Option<&str> {
    value.map(str::trim).filter(|text| !text.is_empty())
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

fn keys(path: &Path, read: fn(&[u8]) -> Result<JwtKeys, KeySetError>) -> Result<JwtKeys, String> {
    let shown = path.display();
    let metadata = std::fs::metadata(path).map_err(|error| format!("{shown}: {error}"))?;
    if metadata.len() > FILE_BYTES_MAX {
        return Err(format!("{shown} is larger than {FILE_BYTES_MAX} bytes"));
    }
    let bytes = std::fs::read(path).map_err(|error| format!("{shown}: {error}"))?;
    read(&bytes).map_err(|error| format!("{shown} {error}"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        jwt: JwtArgs,
    }

    fn read(arguments: &[&str]) -> Result<Option<Arc<Provider>>, JwtConfigError> {
        let arguments = std::iter::once(&"control").chain(arguments);
        let meter = runtime::Telemetry::new("test").meter();
        provider(&Flags::parse_from(arguments).jwt, &meter)
    }

    fn config_error(arguments: &[&str]) -> String {
        read(arguments).unwrap_err().to_string()
    }

    #[test]
    fn unset_variables_disable_the_provider() {
        assert!(read(&[]).unwrap().is_none());
        assert!(read(&["--jwt-issuer", "", "--jwt-jwks-url", " "]).unwrap().is_none());
    }

    #[test]
    fn all_errors_are_listed_with_their_variables() {
        let folder = tempfile::tempdir().unwrap();
        let junk = folder.path().join("junk");
        std::fs::write(&junk, "hunter2").unwrap();
        let junk = junk.to_str().unwrap();
        let text = config_error(&[
            "--jwt-jwks-url",
            "http://id.example.com/keys",
            "--jwt-public-key-file",
            "/nowhere/key.pem",
            "--jwt-hs256-secret-file",
            junk,
        ]);
        for part in [
            "STREAMING_JWT_ISSUER: ",
            "STREAMING_JWT_AUDIENCE: ",
            "STREAMING_JWT_JWKS_URL: must be https",
            "STREAMING_JWT_PUBLIC_KEY_FILE: /nowhere/key.pem: ",
            "STREAMING_JWT_HS256_SECRET_FILE: ",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        assert!(!text.contains("hunter2") && !text.contains('\n'), "{text}");
        let text = config_error(&["--jwt-issuer", "a", "--jwt-audience", "b"]);
        assert!(text.contains("one of them must be set"), "{text}");
        let text = config_error(&[
            "--jwt-issuer",
            "a",
            "--jwt-audience",
            "b",
            "--jwt-public-key-file",
            junk,
        ]);
        assert!(text.contains("contains neither PEM nor a JWK set"), "{text}");
    }

    #[test]
    fn keys_are_fetched_over_tls_or_from_loopback() {
        let url =
            |url: &str| read(&["--jwt-issuer", "a", "--jwt-audience", "b", "--jwt-jwks-url", url]);
        for good in ["http://127.0.0.1:1/a", "http://localhost/a", "http://[::1]/a"] {
            assert!(url(good).is_ok(), "{good}");
        }
        for bad in ["ftp://a/b", "file:///etc/passwd", "x", "https://u:p@a/b", "http://10.0.0.1/"] {
            assert!(url(bad).is_err(), "{bad}");
        }
    }
}
