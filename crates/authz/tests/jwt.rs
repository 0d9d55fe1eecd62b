//! JWTs: which tokens are accepted, and tables of tokens that must be rejected.

#![cfg(test)] // helpers fail by panicking, as tests do

mod provider;

use authz::{
    Role, is_jwt,
    jwt::{Identity, JwtError, JwtKeys, KeySetError, Policy, verify},
};
use provider::{AUDIENCE, ISSUER, Signer, claims, jwks, with};
use serde_json::{Value, json};

const NOW: i64 = 1_800_000_000;
const END: i64 = NOW + 600;

fn policy() -> Policy {
    Policy {
        issuer: ISSUER.to_owned(),
        audience: AUDIENCE.to_owned(),
        role_claim: "role".to_owned(),
        tenant_claim: "tenant".to_owned(),
        default_tenant: None,
        leeway: 10,
    }
}

fn set(signers: &[&Signer]) -> JwtKeys {
    JwtKeys::from_jwks(jwks(signers).to_string().as_bytes()).unwrap()
}

fn good() -> Value {
    claims("editor", "acme", END)
}

/// Verifies a well-signed token with these claims.
fn verified(claims: &Value) -> Result<Identity, JwtError> {
    let signer = Signer::eddsa("a");
    verify(&signer.token(claims), &set(&[&signer]), &policy(), NOW)
}

#[test]
fn every_algorithm_verifies_from_every_kind_of_key_file() {
    let identity = Identity {
        subject: "ana".to_owned(),
        tenant: "acme".to_owned(),
        role: Role::Editor,
        expires_at: END,
    };
    for signer in [Signer::rs256("r"), Signer::es256("e"), Signer::eddsa("d")] {
        let token = signer.token(&good());
        let files = [signer.pem(), signer.jwk().to_string(), jwks(&[&signer]).to_string()];
        for file in files {
            let keys = JwtKeys::from_file(file.as_bytes()).unwrap();
            let verified = verify(&token, &keys, &policy(), NOW);
            assert_eq!(verified, Ok(identity.clone()), "{} {file}", signer.alg());
        }
    }
    let secret = b"0123456789abcdef0123456789abcdef";
    let token = Signer::hs256(secret).token(&good());
    for file in [&secret[..], &[&secret[..], b"\n"].concat(), &[&secret[..], b"\r\n"].concat()] {
        let keys = JwtKeys::from_secret(file).unwrap();
        assert_eq!(verify(&token, &keys, &policy(), NOW), Ok(identity.clone()));
    }
}

#[test]
fn a_file_may_hold_several_keys() {
    let (one, two) = (Signer::rs256("r"), Signer::es256("e"));
    let keys = JwtKeys::from_file(format!("{}\n{}", one.pem(), two.pem()).as_bytes()).unwrap();
    for signer in [&one, &two] {
        assert!(verify(&signer.token(&good()), &keys, &policy(), NOW).is_ok());
    }
}

#[test]
fn the_key_determines_the_algorithm_of_a_token() {
    let (rsa, ec) = (Signer::rs256("a"), Signer::es256("a"));
    let keys = set(&[&rsa]);
    let other = |alg: &str| json!({"alg": alg, "kid": "a", "typ": "JWT"});
    let rejected = |token: &str| verify(token, &keys, &policy(), NOW).unwrap_err();
    for alg in ["none", "None", "NONE", "", "HS384", "RS512", "PS256", "ES384", "RS256 "] {
        assert_eq!(rejected(&rsa.sign(&other(alg), &good())), JwtError::Algorithm, "{alg}");
    }
    // A token without a signature is malformed, whichever algorithm its header names.
    let token = rsa.token(&good());
    let (message, _) = token.rsplit_once('.').unwrap();
    assert_eq!(rejected(&format!("{message}.")), JwtError::Malformed);
    // The public key used as a shared secret, in each form in which it is published.
    for secret in [rsa.pem(), rsa.pem().trim().to_owned(), rsa.jwk().to_string()] {
        let forged = Signer::hs256(secret.as_bytes()).sign(&other("HS256"), &good());
        assert_eq!(rejected(&forged), JwtError::BadSignature);
    }
    // A key of another algorithm: with its own header, with a header that claims RS256, and as the
    // only known key.
    assert_eq!(rejected(&ec.token(&good())), JwtError::UnknownKey);
    assert_eq!(rejected(&ec.sign(&other("RS256"), &good())), JwtError::BadSignature);
    let keys = set(&[&ec]);
    assert_eq!(verify(&token, &keys, &policy(), NOW), Err(JwtError::UnknownKey));
}

#[test]
fn changed_tokens_are_rejected() {
    let signer = Signer::eddsa("a");
    let keys = set(&[&signer]);
    let token = signer.token(&good());
    for position in 0..token.len() - 1 {
        let mut bytes = token.clone().into_bytes();
        bytes[position] = if bytes[position] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(bytes).unwrap();
        assert!(verify(&changed, &keys, &policy(), NOW).is_err(), "position {position}");
    }
    let parts: Vec<&str> = token.split('.').collect();
    for bad in [
        "..",
        "a.b.c",
        &format!("{}.{}", parts[0], parts[1]),
        &format!("{token}.x"),
        &format!("{token}="),
        &format!("{} .{}.{}", parts[0], parts[1], parts[2]),
        &format!(".{}.{}", parts[1], parts[2]),
        &format!("{}..{}", parts[0], parts[2]),
    ] {
        assert!(verify(bad, &keys, &policy(), NOW).is_err(), "{bad}");
    }
    let huge = format!("{token}{}", "A".repeat(1 << 20));
    assert_eq!(verify(&huge, &keys, &policy(), NOW), Err(JwtError::TooLong));
}

#[test]
fn claims_are_read_strictly() {
    let cases = [
        ("exp", json!("9999999999"), JwtError::Claim("exp")),
        ("exp", Value::Null, JwtError::Claim("exp")),
        ("exp", json!([END]), JwtError::Claim("exp")),
        ("exp", json!(true), JwtError::Claim("exp")),
        ("exp", json!(-1), JwtError::Claim("exp")),
        ("exp", json!(1e300), JwtError::Claim("exp")),
        ("exp", json!(NOW), JwtError::Expired),
        ("exp", json!(NOW - 1), JwtError::Expired),
        ("nbf", json!(NOW + 11), JwtError::NotYet),
        ("nbf", json!("0"), JwtError::Claim("nbf")),
        ("iat", json!(NOW + 11), JwtError::NotYet),
        ("iat", json!({}), JwtError::Claim("iat")),
        ("iss", Value::Null, JwtError::Claim("iss")),
        ("iss", json!("https://id.example.com"), JwtError::Claim("iss")),
        ("iss", json!([ISSUER]), JwtError::Claim("iss")),
        ("aud", Value::Null, JwtError::Claim("aud")),
        ("aud", json!("other"), JwtError::Claim("aud")),
        ("aud", json!([]), JwtError::Claim("aud")),
        ("aud", json!(["other", "streaming2"]), JwtError::Claim("aud")),
        ("aud", json!(["streaming", 7]), JwtError::Claim("aud")),
        ("aud", json!({"streaming": true}), JwtError::Claim("aud")),
        ("sub", Value::Null, JwtError::Claim("sub")),
        ("sub", json!(""), JwtError::Claim("sub")),
        ("sub", json!(7), JwtError::Claim("sub")),
        ("sub", json!("a\nb"), JwtError::Claim("sub")),
        ("sub", json!("x".repeat(257)), JwtError::Claim("sub")),
        ("typ", json!("ID"), JwtError::Claim("typ")),
        ("typ", json!("id_token"), JwtError::Claim("typ")),
        ("typ", json!("Refresh"), JwtError::Claim("typ")),
        ("token_use", json!("id"), JwtError::Claim("token_use")),
        ("role", Value::Null, JwtError::Role),
        ("role", json!("root"), JwtError::Role),
        ("role", json!("Admin"), JwtError::Role),
        ("role", json!("worker"), JwtError::Role),
        ("role", json!("dataplane"), JwtError::Role),
        ("role", json!(["worker", "owner"]), JwtError::Role),
        ("role", json!({"admin": true}), JwtError::Role),
        ("tenant", Value::Null, JwtError::Tenant),
        ("tenant", json!(""), JwtError::Tenant),
        ("tenant", json!(["acme"]), JwtError::Tenant),
    ];
    for (claim, value, error) in cases {
        assert_eq!(verified(&with(&good(), claim, value.clone())), Err(error), "{claim} {value}");
    }
    for (claim, value) in [
        ("exp", json!(END as f64 + 0.5)),
        ("nbf", json!(NOW + 10)),
        ("nbf", json!(NOW - 5)),
        ("iat", json!(NOW)),
        ("aud", json!(["other", AUDIENCE])),
        ("typ", json!("Bearer")),
        ("token_use", json!("access")),
        ("jku", json!("http://evil.example.com/")),
    ] {
        assert!(verified(&with(&good(), claim, value.clone())).is_ok(), "{claim} {value}");
    }
}

#[test]
fn headers_are_read_strictly_and_references_in_them_are_not_followed() {
    let (signer, evil) = (Signer::rs256("a"), Signer::rs256("a"));
    let keys = set(&[&signer]);
    let verified = |signer: &Signer, header: Value| {
        verify(&signer.sign(&header, &good()), &keys, &policy(), NOW)
    };
    for typ in ["id_token", "JWE", "logout+jwt", "dpop+jwt", ""] {
        let header = with(&signer.header(), "typ", json!(typ));
        assert_eq!(verified(&signer, header), Err(JwtError::Claim("typ")), "{typ}");
    }
    for typ in [json!("at+jwt"), json!("jwt"), Value::Null] {
        assert!(verified(&signer, with(&signer.header(), "typ", typ)).is_ok());
    }
    let critical = with(&signer.header(), "crit", json!(["b64"]));
    assert_eq!(verified(&signer, critical), Err(JwtError::Malformed));
    for (name, value) in [
        ("jwk", evil.jwk()),
        ("jku", json!("http://127.0.0.1:1/jwks")),
        ("x5u", json!("http://127.0.0.1:1/cert")),
        ("x5c", json!(["AAAA"])),
    ] {
        let header = with(&signer.header(), name, value);
        assert!(verified(&signer, header.clone()).is_ok(), "{name} is ignored");
        assert_eq!(
            verified(&evil, header),
            Err(JwtError::BadSignature),
            "{name} is ignored for another key"
        );
    }
    for kid in ["../../dev/null", "' or 1=1", "b", "\u{0}", "A"] {
        let header = with(&signer.header(), "kid", json!(kid));
        assert_eq!(verified(&signer, header), Err(JwtError::UnknownKey), "{kid}");
    }
    for kid in [json!("x".repeat(257)), json!(7), json!(["a"])] {
        let header = with(&signer.header(), "kid", kid);
        assert_eq!(verified(&signer, header), Err(JwtError::Malformed));
    }
    let long = with(&signer.header(), "kid", json!("x".repeat(1 << 20)));
    assert_eq!(verified(&signer, long), Err(JwtError::TooLong));
    assert!(verified(&signer, with(&signer.header(), "kid", Value::Null)).is_ok());
}

#[test]
fn the_strongest_known_role_counts_and_claims_may_be_nested() {
    for (role, expected) in [
        (json!("admin"), Role::Admin),
        (json!(["viewer", "admin", "x"]), Role::Admin),
        (json!(["viewer", "editor", 7]), Role::Editor),
        (json!(["viewer"]), Role::Viewer),
    ] {
        assert_eq!(verified(&with(&good(), "role", role)).unwrap().role, expected);
    }
    let signer = Signer::es256("a");
    let keys = set(&[&signer]);
    let nested = Policy {
        role_claim: "realm_access.roles".to_owned(),
        tenant_claim: "https://example.com/tenant".to_owned(),
        ..policy()
    };
    let claims = with(&good(), "realm_access", json!({"roles": ["viewer"]}));
    let claims = with(&claims, "https://example.com/tenant", json!("globex"));
    let identity = verify(&signer.token(&claims), &keys, &nested, NOW).unwrap();
    assert_eq!((identity.role, identity.tenant.as_str()), (Role::Viewer, "globex"));
    let lenient = Policy { default_tenant: Some("only".to_owned()), ..policy() };
    let token = signer.token(&with(&good(), "tenant", Value::Null));
    assert_eq!(verify(&token, &keys, &lenient, NOW).unwrap().tenant, "only");
    // A claim that is present but not a valid tenant does not fall back to the default.
    let token = signer.token(&with(&good(), "tenant", json!(7)));
    assert_eq!(verify(&token, &keys, &lenient, NOW), Err(JwtError::Tenant));
}

#[test]
fn unusable_keys_are_left_out_of_a_set_and_rejected_in_a_file() {
    let (signer, secret) = (Signer::rs256("a"), Signer::hs256(&[7; 32]));
    let shown = signer.jwk();
    for (name, value) in [
        ("use", json!("enc")),
        ("key_ops", json!(["encrypt"])),
        ("alg", json!("RS512")),
        ("kty", json!("oct")),
        ("n", json!("AQAB")),
        ("n", Value::Null),
    ] {
        let jwk = with(&shown, name, value.clone()).to_string();
        let rejected = JwtKeys::from_file(jwk.as_bytes()).unwrap_err();
        assert_eq!(rejected, KeySetError::NoKey, "{name} {value}");
    }
    // A shared secret in a public set verifies nothing.
    let published = jwks(&[&signer, &secret]).to_string();
    let keys = JwtKeys::from_jwks(published.as_bytes()).unwrap();
    let forged = secret.token(&good());
    assert_eq!(verify(&forged, &keys, &policy(), NOW), Err(JwtError::BadSignature));
    let private = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    assert_eq!(JwtKeys::from_file(private.as_bytes()).unwrap_err(), KeySetError::Private);
    for (text, error) in [
        ("", KeySetError::Form),
        ("{}", KeySetError::Form),
        ("not a key", KeySetError::Form),
        (r#"{"keys": []}"#, KeySetError::NoKey),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", KeySetError::NoKey),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", KeySetError::NoKey),
    ] {
        assert_eq!(JwtKeys::from_file(text.as_bytes()).unwrap_err(), error, "{text}");
    }
    let many = json!({"keys": vec![shown; 65]}).to_string();
    assert_eq!(JwtKeys::from_jwks(many.as_bytes()).unwrap_err(), KeySetError::TooMany);
    assert_eq!(JwtKeys::from_secret(b"short\n").unwrap_err(), KeySetError::Short);
}

#[test]
fn biscuits_are_not_mistaken_for_jwts() {
    assert!(is_jwt("a.b.c") && is_jwt(&Signer::eddsa("a").token(&good())));
    assert!(!is_jwt("En0KEwoEMTIzNBgDIgkKBwgKEgMYgAgSJAgAEiA") && !is_jwt("a.b.c.d.e"));
}
