//! An identity provider for tests: keys of every kind, tokens signed with them, and its JWK set.
//! Tests of other crates include this file, too.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use aws_lc_rs::{
    encoding::AsDer,
    hmac,
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
        RsaKeyPair, RsaPublicKeyComponents,
    },
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde_json::{Value, json};

/// The issuer that the tests' servers are configured with.
pub(crate) const ISSUER: &str = "https://id.example.com/";
/// The audience that the tests' servers are configured with.
pub(crate) const AUDIENCE: &str = "streaming";

enum Private {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
    Shared(Vec<u8>),
}

/// One key of the provider.
pub(crate) struct Signer {
    pub(crate) id: String,
    private: Private,
}

impl Signer {
    /// A 2048-bit RSA key.
    pub(crate) fn rs256(id: &str) -> Self {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).expect("generate RSA key");
        Self { id: id.to_owned(), private: Private::Rsa(pair) }
    }

    /// A P-256 key.
    pub(crate) fn es256(id: &str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("generate key");
        Self { id: id.to_owned(), private: Private::Ec(pair) }
    }

    /// An Ed25519 key.
    pub(crate) fn eddsa(id: &str) -> Self {
        let pair = Ed25519KeyPair::generate().expect("generate key");
        Self { id: id.to_owned(), private: Private::Ed(pair) }
    }

    /// A shared secret.
    pub(crate) fn hs256(secret: &[u8]) -> Self {
        Self { id: String::new(), private: Private::Shared(secret.to_owned()) }
    }

    /// The JWA name of the algorithm.
    pub(crate) fn alg(&self) -> &'static str {
        match self.private {
            Private::Rsa(_) => "RS256",
            Private::Ec(_) => "ES256",
            Private::Ed(_) => "EdDSA",
            Private::Shared(_) => "HS256",
        }
    }

    /// The header as a provider writes it.
    pub(crate) fn header(&self) -> Value {
        json!({"alg": self.alg(), "kid": self.id, "typ": "JWT"})
    }

    /// Signs a token with these claims.
    pub(crate) fn token(&self, claims: &Value) -> String {
        self.sign(&self.header(), claims)
    }

    /// Signs a token with any header.
    pub(crate) fn sign(&self, header: &Value, claims: &Value) -> String {
        let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let message = format!("{}.{}", encode(header), encode(claims));
        let signature = URL_SAFE_NO_PAD.encode(self.signature(message.as_bytes()));
        format!("{message}.{signature}")
    }

    fn signature(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.private {
            Private::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).expect("sign");
                signature
            }
            Private::Ec(pair) => pair.sign(&random, message).expect("sign").as_ref().to_vec(),
            Private::Ed(pair) => pair.sign(message).as_ref().to_vec(),
            Private::Shared(secret) => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
                hmac::sign(&key, message).as_ref().to_vec()
            }
        }
    }

    /// The public key as the provider publishes it.
    pub(crate) fn jwk(&self) -> Value {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let (id, alg) = (&self.id, self.alg());
        match &self.private {
            Private::Rsa(pair) => {
                let parts = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public_key());
                let (n, e) = (encode(&parts.n), encode(&parts.e));
                json!({"kty": "RSA", "use": "sig", "alg": alg, "kid": id, "n": n, "e": e})
            }
            Private::Ec(pair) => {
                let point = pair.public_key().as_ref();
                let (x, y) = (encode(&point[1..33]), encode(&point[33..]));
                json!({"kty": "EC", "crv": "P-256", "alg": alg, "kid": id, "x": x, "y": y})
            }
            Private::Ed(pair) => {
                let x = encode(pair.public_key().as_ref());
                json!({"kty": "OKP", "crv": "Ed25519", "alg": alg, "kid": id, "x": x})
            }
            Private::Shared(secret) => json!({"kty": "oct", "alg": alg, "k": encode(secret)}),
        }
    }

    /// The public key as PEM.
    pub(crate) fn pem(&self) -> String {
        let der = match &self.private {
            Private::Rsa(pair) => pair.public_key().as_der().expect("DER").as_ref().to_vec(),
            Private::Ec(pair) => pair.public_key().as_der().expect("DER").as_ref().to_vec(),
            Private::Ed(pair) => pair.public_key().as_der().expect("DER").as_ref().to_vec(),
            Private::Shared(_) => Vec::new(),
        };
        let text = STANDARD.encode(der);
        let lines: Vec<&str> = text
            .as_bytes()
            .chunks(64)
            .map(|line| std::str::from_utf8(line).expect("ASCII"))
            .collect();
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"))
    }
}

/// Order of the P-256 group.
const P256_ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

/// The same ES256 token with the other form of its signature: `(r, n - s)` for `(r, s)`.
pub(crate) fn other_form(token: &str) -> String {
    let (message, signature) = token.rsplit_once('.').expect("a JWT");
    let mut signature = URL_SAFE_NO_PAD.decode(signature).expect("base64");
    let mut borrow = false;
    for (s, n) in signature[32..].iter_mut().zip(P256_ORDER).rev() {
        let (rest, first) = n.overflowing_sub(*s);
        let (rest, second) = rest.overflowing_sub(u8::from(borrow));
        (*s, borrow) = (rest, first || second);
    }
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// The JWK set that the provider serves.
pub(crate) fn jwks(signers: &[&Signer]) -> Value {
    json!({"keys": signers.iter().map(|signer| signer.jwk()).collect::<Vec<_>>()})
}

/// Valid claims that expire at `expires_at`.
pub(crate) fn claims(role: &str, tenant: &str, expires_at: i64) -> Value {
    json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": "ana", "exp": expires_at,
        "role": role, "tenant": tenant,
    })
}

/// The same claims with one replaced, or removed if `value` is null.
pub(crate) fn with(claims: &Value, name: &str, value: Value) -> Value {
    let mut changed = claims.clone();
    let map = changed.as_object_mut().expect("claims are an object");
    if value.is_null() {
        map.remove(name)
    } else {
        map.insert(name.to_owned(), value)
    };
    changed
}
