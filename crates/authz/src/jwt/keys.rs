//! Keys that verify JWTs: from a JWK set, a PEM file, or a shared secret. Each is bound to one
//! algorithm.

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{DecodingKey, crypto};
use serde_json::Value;

use super::JwtError;

/// Keys in one set; providers publish two or three.
const KEYS_MAX: usize = 64;
/// Bytes of an RSA modulus: 2048 to 8192 bits.
const MODULUS_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;
/// Bytes of an RSA modulus and exponent together, as DER.
const RSA_DER_BYTES: std::ops::RangeInclusive<usize> = 266..=1056;
/// Bytes of an RSA exponent.
const EXPONENT_BYTES_MAX: usize = 8;
/// Bytes of one coordinate on P-256, and of an Ed25519 key.
const POINT_BYTES: usize = 32;
/// Bytes of a shared secret: a shorter one can be guessed offline from a single token.
const SECRET_BYTES_MIN: usize = 16;

/// Why keys cannot be used. No variant contains key material.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum KeySetError {
    /// Neither PEM, nor a JWK, nor a JWK set.
    #[error("contains neither PEM nor a JWK set")]
    Form,
    /// No key that can verify RS256, ES256 or EdDSA.
    #[error("contains no key for RS256 (2048 bits or more), ES256 or EdDSA (Ed25519)")]
    NoKey,
    /// More keys than a set may contain.
    #[error("contains more than 64 keys")]
    TooMany,
    /// A private key, which must not be configured here.
    #[error("contains a private key; only the public key is needed")]
    Private,
    /// The shared secret is too short.
    #[error("contains a secret shorter than 16 bytes")]
    Short,
}

/// The signature algorithms that are supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    Rs256,
    Es256,
    EdDsa,
    Hs256,
}

impl Algorithm {
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text {
            "RS256" => Some(Self::Rs256),
            "ES256" => Some(Self::Es256),
            "EdDSA" => Some(Self::EdDsa),
            "HS256" => Some(Self::Hs256),
            _ => None,
        }
    }

    const fn library(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::Rs256 => jsonwebtoken::Algorithm::RS256,
            Self::Es256 => jsonwebtoken::Algorithm::ES256,
            Self::EdDsa => jsonwebtoken::Algorithm::EdDSA,
            Self::Hs256 => jsonwebtoken::Algorithm::HS256,
        }
    }
}

#[derive(Clone)]
struct Key {
    /// A key without an id is tried for every token of its algorithm.
    id: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

/// Keys that verify JWTs.
#[derive(Clone, Default)]
pub struct JwtKeys(Vec<Key>);

impl fmt::Debug for JwtKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: Vec<_> = self.0.iter().map(|key| (key.algorithm, &key.id)).collect();
        f.debug_tuple("JwtKeys").field(&shown).finish()
    }
}

impl JwtKeys {
    /// Reads a JWK set in the form that providers publish. Keys of other types and uses are
    /// ignored.
    ///
    /// # Errors
    /// When the text is not a JWK set, lists more than 64 keys, or has no usable key.
    pub fn from_jwks(text: &[u8]) -> Result<Self, KeySetError> {
        let document: Value = serde_json::from_slice(text).map_err(|_| KeySetError::Form)?;
        let listed = document.get("keys").and_then(Value::as_array).ok_or(KeySetError::Form)?;
        if listed.len() > KEYS_MAX {
            return Err(KeySetError::TooMany);
        }
        let keys: Vec<Key> = listed.iter().filter_map(from_jwk).collect();
        if keys.is_empty() { Err(KeySetError::NoKey) } else { Ok(Self(keys)) }
    }

    /// Reads a file: one or more PEM public keys, one JWK, or a JWK set.
    ///
    /// # Errors
    /// When the file has none of these forms, contains a private key, lists more than 64 keys, or
    /// has no usable key.
    pub fn from_file(text: &[u8]) -> Result<Self, KeySetError> {
        let text = std::str::from_utf8(text).map_err(|_| KeySetError::Form)?.trim();
        if text.contains("-----BEGIN ") {
            return from_pems(text);
        }
        let document: Value = serde_json::from_str(text).map_err(|_| KeySetError::Form)?;
        if document.get("keys").is_some() {
            return Self::from_jwks(text.as_bytes());
        }
        if document.get("kty").is_none() {
            return Err(KeySetError::Form);
        }
        from_jwk(&document).map(|key| Self(vec![key])).ok_or(KeySetError::NoKey)
    }

    /// Uses a secret shared with the provider, for HS256. One trailing line break is not part of
    /// the secret.
    ///
    /// # Errors
    /// [`KeySetError::Short`] when the secret has fewer than 16 bytes.
    pub fn from_secret(secret: &[u8]) -> Result<Self, KeySetError> {
        let secret = match std::str::from_utf8(secret) {
            Ok(text) => {
                let text = text.strip_suffix('\n').unwrap_or(text);
                text.strip_suffix('\r').unwrap_or(text).as_bytes()
            }
            Err(_) => secret,
        };
        if secret.len() < SECRET_BYTES_MIN {
            return Err(KeySetError::Short);
        }
        let key = DecodingKey::from_secret(secret);
        Ok(Self(vec![Key { id: None, algorithm: Algorithm::Hs256, key }]))
    }

    /// Adds the keys of another set.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Checks whether the signature was made by one of the keys of that algorithm; where the token
    /// and the key both have an id, the ids must match.
    pub(super) fn verify(
        &self,
        algorithm: Algorithm,
        id: Option<&str>,
        message: &str,
        signature: &str,
    ) -> Result<(), JwtError> {
        let mut named = false;
        for key in self.0.iter().filter(|key| key.algorithm == algorithm) {
            let own = key.id.as_deref();
            if let (Some(own), Some(id)) = (own, id)
                && own != id
            {
                continue;
            }
            named |= own.is_some() && own == id;
            let library = algorithm.library();
            if matches!(crypto::verify(signature, message.as_bytes(), &key.key, library), Ok(true))
            {
                return Ok(());
            }
        }
        // Fetching the provider's keys again cannot help: a shared secret is never fetched, and a
        // key with the token's own id did not match.
        let known = named || algorithm == Algorithm::Hs256;
        Err(if known { JwtError::BadSignature } else { JwtError::UnknownKey })
    }
}

fn from_jwk(jwk: &Value) -> Option<Key> {
    let text = |name: &str| jwk.get(name).and_then(Value::as_str);
    let bytes = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?).ok();
    let point = |name: &str| bytes(name).filter(|bytes| bytes.len() == POINT_BYTES);
    if text("use").is_some_and(|purpose| purpose != "sig") {
        return None;
    }
    let operations = jwk.get("key_ops").and_then(Value::as_array);
    if operations.is_some_and(|all| !all.iter().any(|one| one == "verify")) {
        return None;
    }
    let (algorithm, key) = match (text("kty")?, text("crv")) {
        ("RSA", _) => {
            let modulus = bytes("n").filter(|n| MODULUS_BYTES.contains(&n.len()))?;
            let exponent = bytes("e").filter(|e| e.len() <= EXPONENT_BYTES_MAX)?;
            (Algorithm::Rs256, DecodingKey::from_rsa_raw_components(&modulus, &exponent))
        }
        ("EC", Some("P-256")) => {
            let uncompressed = [&[4][..], &point("x")?, &point("y")?].concat();
            (Algorithm::Es256, DecodingKey::from_ec_der(&uncompressed))
        }
        ("OKP", Some("Ed25519")) => (Algorithm::EdDsa, DecodingKey::from_ed_der(&point("x")?)),
        // A symmetric key in a public set is not secret, so it is ignored.
        _ => return None,
    };
    match text("alg") {
        Some(alg) if Algorithm::parse(alg) != Some(algorithm) => None,
        _ => Some(Key { id: text("kid").map(str::to_owned), algorithm, key }),
    }
}

fn from_pems(text: &str) -> Result<JwtKeys, KeySetError> {
    let mut keys = Vec::new();
    for block in text.split("-----BEGIN ").skip(1) {
        if keys.len() == KEYS_MAX {
            return Err(KeySetError::TooMany);
        }
        let tag = block.split("-----").next().unwrap_or_default();
        if tag.contains("PRIVATE") {
            return Err(KeySetError::Private);
        }
        // A certificate contains other bit strings, which the library could mistake for the key.
        if !matches!(tag, "PUBLIC KEY" | "RSA PUBLIC KEY") {
            return Err(KeySetError::NoKey);
        }
        keys.push(from_pem(&format!("-----BEGIN {block}")).ok_or(KeySetError::NoKey)?);
    }
    Ok(JwtKeys(keys))
}

fn from_pem(pem: &str) -> Option<Key> {
    let pem = pem.as_bytes();
    let bound = |algorithm, key| Some(Key { id: None, algorithm, key });
    let bytes = |key: &DecodingKey| key.try_get_as_bytes().map_or(0, <[u8]>::len);
    if let Ok(key) = DecodingKey::from_ed_pem(pem) {
        return bound(Algorithm::EdDsa, key);
    }
    if let Ok(key) = DecodingKey::from_ec_pem(pem) {
        // Points on other curves are longer.
        let p256 = bytes(&key) == 1 + 2 * POINT_BYTES;
        return p256.then(|| bound(Algorithm::Es256, key))?;
    }
    let key = DecodingKey::from_rsa_pem(pem).ok()?;
    RSA_DER_BYTES.contains(&bytes(&key)).then(|| bound(Algorithm::Rs256, key))?
}
