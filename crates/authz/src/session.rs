//! Sessions: tokens that a browser gets in exchange for another credential, with the same rights and
//! restrictions and a short life.
//!
//! The authority block of a session names the revocation ids of its credential in
//! `session(ids)`, so that the session is revoked together with the credential. Revoking the session
//! does not revoke the credential.

use std::fmt;

use biscuit_auth::builder::{bytes, fact};

use crate::{
    AuthError, Grant, RootKeys, blocks, mint,
    token::{Kind, TOKEN_BYTES_MAX},
    verify::Verifier,
};

/// Longest life of a session, in seconds: 12 hours.
pub const SESSION_SECONDS_MAX: i64 = 12 * 3600;

/// How a bearer token came to exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Minted by an admin or with the key file.
    Minted,
    /// A JWT, or a token that a JWT was exchanged for.
    Provider,
    /// A session.
    Session,
}

/// The origin of a session: everything about a token or JWT except the token itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    /// The identity.
    pub grant: Grant,
    /// When it expires, in Unix seconds; earlier than in its authority block if a holder
    /// narrowed it.
    pub expires_at: i64,
    /// The ids that revoke it.
    pub revocation_ids: Vec<Vec<u8>>,
    /// The blocks with which holders narrowed it, as Datalog.
    pub checks: Vec<String>,
    /// The root key that signed it, which also signs the session, so that removing the key ends both;
    /// `None` for a JWT.
    pub key: Option<u32>,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential")
            .field("grant", &self.grant)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

impl Verifier {
    /// Reads a genuine bearer token as a credential. The checks with which it was narrowed are not
    /// evaluated, because they are copied to the tokens that are made from it.
    ///
    /// # Errors
    /// If the token is not a genuine bearer token, is expired or revoked, or contains a block that
    /// cannot be copied.
    pub fn credential(&self, text: &str, now: i64) -> Result<Credential, AuthError> {
        let principal = self.identify(text, now)?;
        let verified = self.genuine(text)?;
        Ok(Credential {
            expires_at: principal.ends_at(),
            grant: Grant {
                subject: principal.subject,
                tenant: principal.tenant,
                role: principal.role,
            },
            revocation_ids: principal.revocation_ids,
            checks: blocks::sources(&verified.biscuit)?,
            key: Some(verified.biscuit.root_key_id().unwrap_or(0)),
        })
    }

    /// Whether the text is a genuine session, regardless of its expiry.
    pub fn is_session(&self, text: &str) -> bool {
        let session = |kind: &Kind| matches!(kind, Kind::Bearer { origin: Origin::Session, .. });
        self.genuine(text).is_ok_and(|verified| session(&verified.kind))
    }
}

impl RootKeys {
    /// Mints a session from a credential. It expires [`SESSION_SECONDS_MAX`] after `now`, but not
    /// later than the credential. Returns the token and its expiry.
    ///
    /// # Errors
    /// [`AuthError::Expired`] if the credential has expired, [`AuthError::Limit`] if it has no room
    /// for the ids and checks that the session must carry, [`AuthError::Busy`] if its key cannot sign
    /// yet.
    pub fn mint_session(
        &self,
        credential: &Credential,
        now: i64,
    ) -> Result<(String, i64), AuthError> {
        let expires_at = credential.expires_at.min(now.saturating_add(SESSION_SECONDS_MAX));
        if expires_at <= now {
            return Err(AuthError::Expired);
        }
        let mut facts = mint::bearer(&credential.grant)?;
        facts.push(fact("session", &[bytes(&encode(&credential.revocation_ids)?)]));
        let (id, pair) = match credential.key {
            // This instance may verify with a new key a few seconds before it signs with it.
            Some(id) => (id, self.find(id).ok_or(AuthError::Busy)?),
            None => self.newest(),
        };
        let session = mint::with_end(&facts, expires_at)?
            .root_key_id(id)
            .build(pair)
            .map_err(|_| AuthError::Malformed)?;
        let session = blocks::append(session, &credential.checks)?;
        let text = session.to_base64().map_err(|_| AuthError::Malformed)?;
        if text.len() > TOKEN_BYTES_MAX { Err(AuthError::Limit) } else { Ok((text, expires_at)) }
    }
}

/// Each id after its length in one byte.
fn encode(ids: &[Vec<u8>]) -> Result<Vec<u8>, AuthError> {
    let mut text = Vec::new();
    for id in ids {
        text.push(u8::try_from(id.len()).map_err(|_| AuthError::Limit)?);
        text.extend_from_slice(id);
    }
    Ok(text)
}

/// The ids that [`encode`] wrote.
pub(crate) fn decode(mut text: &[u8]) -> Result<Vec<Vec<u8>>, AuthError> {
    let mut ids = Vec::new();
    while let Some((length, rest)) = text.split_first() {
        let (id, rest) = rest.split_at_checked(usize::from(*length)).ok_or(AuthError::Malformed)?;
        ids.push(id.to_vec());
        text = rest;
    }
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::{decode, encode};
    use crate::AuthError;

    #[test]
    fn ids_of_different_lengths_read_back() {
        let ids = vec![vec![1; 64], vec![2; 32], Vec::new()];
        assert_eq!(decode(&encode(&ids).unwrap()), Ok(ids));
        assert_eq!(decode(&[]), Ok(Vec::new()));
        assert_eq!(decode(&[3, 1, 2]), Err(AuthError::Malformed));
        assert_eq!(encode(&[vec![0; 256]]), Err(AuthError::Limit));
    }
}
