//! What JWTs are revoked and exchanged by: what was signed, and never the signature.
//!
//! A signature has more than one form: with every ES256 signature `(r, s)` goes its twin `(r, n - s)`, which
//! anybody can compute and which verifies as well. So a name made of the whole text would let a revoked
//! token live on under another name.

/// The names of one JWT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JwtNames {
    /// Digest of `header.payload`, the bytes that are signed.
    pub signed: [u8; 32],
    /// Digest of the whole text: the name that earlier releases gave it. Their revocations still count, and
    /// what is revoked now is revoked for them, too, should one of them be started again.
    pub former: [u8; 32],
}

impl JwtNames {
    /// The names of a JWT; of a text without a signature both are the same.
    pub fn of(jwt: &str) -> Self {
        let signed = jwt.rsplit_once('.').map_or(jwt, |(signed, _)| signed);
        Self { signed: crate::digest(signed), former: crate::digest(jwt) }
    }

    /// All of them, as revocation ids: any of them refuses the token.
    pub fn revocation_ids(&self) -> Vec<Vec<u8>> {
        vec![self.signed.to_vec(), self.former.to_vec()]
    }
}

#[cfg(test)]
mod tests {
    use super::JwtNames;

    #[test]
    fn a_signature_is_no_part_of_the_name() {
        let (one, twin) = (JwtNames::of("h.p.s"), JwtNames::of("h.p.t"));
        assert_eq!(one.signed, twin.signed);
        assert_ne!(one.former, twin.former);
        assert_ne!(one.signed, JwtNames::of("h.q.s").signed);
    }
}
