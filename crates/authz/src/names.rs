//! The names by which JWTs are revoked and exchanged: digests of the signed bytes, without the
//! signature.
//!
//! A signature has more than one form: for every ES256 signature `(r, s)`, `(r, n - s)` verifies as
//! well, and anyone can compute it. If the name covered the whole text, a revoked token would stay
//! valid in its other form.

/// The names of one JWT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JwtNames {
    /// Digest of `header.payload`, the bytes that are signed.
    pub signed: [u8; 32],
    /// Digest of the whole text, the name that earlier releases used. Revocations that they stored
    /// still count, and new revocations store this name, too, so that they hold if such a release
    /// is started again.
    pub former: [u8; 32],
}

impl JwtNames {
    /// The names of a JWT; for a text without a signature both are the same.
    pub fn of(jwt: &str) -> Self {
        let signed = jwt.rsplit_once('.').map_or(jwt, |(signed, _)| signed);
        Self { signed: crate::digest(signed), former: crate::digest(jwt) }
    }

    /// Both names as revocation ids; each of them revokes the token.
    pub fn revocation_ids(&self) -> Vec<Vec<u8>> {
        vec![self.signed.to_vec(), self.former.to_vec()]
    }
}

#[cfg(test)]
mod tests {
    use super::JwtNames;

    #[test]
    fn the_signature_is_not_part_of_the_name() {
        let (one, twin) = (JwtNames::of("h.p.s"), JwtNames::of("h.p.t"));
        assert_eq!(one.signed, twin.signed);
        assert_ne!(one.former, twin.former);
        assert_ne!(one.signed, JwtNames::of("h.q.s").signed);
    }
}
