//! `Upload-Checksum`: the expected digest of one request's bytes; on a mismatch none of them are
//! kept.

use api::code::{Code, Problem};
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName};
use sha1::Sha1;
use sha2::{Digest, Sha256};

const HEADER: HeaderName = HeaderName::from_static("upload-checksum");
/// The value of `Tus-Checksum-Algorithm`.
pub(super) const ALGORITHMS: &str = "sha1,sha256";

enum Hasher {
    Sha1(Sha1),
    Sha256(Sha256),
}

/// A checksum being computed, and its expected value.
pub(super) struct Checksum {
    hasher: Hasher,
    expected: Vec<u8>,
}

impl Checksum {
    /// Reads the header; `None` when it is absent.
    ///
    /// # Errors
    /// When the algorithm is not supported or the digest is malformed.
    pub(super) fn read(headers: &HeaderMap) -> Result<Option<Self>, Problem> {
        let Some(text) = super::headers::text(headers, HEADER)? else { return Ok(None) };
        let malformed = |text| Problem::at(Code::Malformed, "Upload-Checksum", text);
        let (name, value) = text
            .split_once(' ')
            .ok_or_else(|| malformed("must be an algorithm and a digest in base64"))?;
        let (hasher, length) = match name {
            "sha1" => (Hasher::Sha1(Sha1::new()), 20),
            "sha256" => (Hasher::Sha256(Sha256::new()), 32),
            _ => return Err(malformed("must use sha1 or sha256")),
        };
        let expected = STANDARD.decode(value.trim()).ok().filter(|digest| digest.len() == length);
        let expected =
            expected.ok_or_else(|| malformed("must have a digest of its algorithm's length"))?;
        Ok(Some(Self { hasher, expected }))
    }

    /// Hashes `bytes`.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        match &mut self.hasher {
            Hasher::Sha1(hasher) => hasher.update(bytes),
            Hasher::Sha256(hasher) => hasher.update(bytes),
        }
    }

    /// Compares the digest with the expected one.
    ///
    /// # Errors
    /// [`Code::ChecksumMismatch`] when they differ.
    pub(super) fn verify(self) -> Result<(), Problem> {
        let found = match self.hasher {
            Hasher::Sha1(hasher) => hasher.finalize().to_vec(),
            Hasher::Sha256(hasher) => hasher.finalize().to_vec(),
        };
        if found == self.expected {
            return Ok(());
        }
        let text = "the bytes do not match Upload-Checksum and were discarded";
        Err(Problem::new(Code::ChecksumMismatch, text))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn read(value: &str) -> Result<Option<Checksum>, Problem> {
        Checksum::read(&HeaderMap::from_iter([(HEADER, HeaderValue::from_str(value).unwrap())]))
    }

    #[test]
    fn both_algorithms_detect_changed_bytes() {
        for good in [
            "sha1 qZk+NkcGgWq6PiVxeFDCbJzQ2J0=",
            "sha256 ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=",
        ] {
            let mut checksum = read(good).unwrap().unwrap();
            checksum.update(b"a");
            checksum.update(b"bc");
            assert!(checksum.verify().is_ok(), "{good}");
            let mut wrong = read(good).unwrap().unwrap();
            wrong.update(b"abd");
            assert_eq!(wrong.verify().unwrap_err().code, Code::ChecksumMismatch);
        }
        assert!(Checksum::read(&HeaderMap::new()).unwrap().is_none());
    }

    #[test]
    fn other_algorithms_and_malformed_digests_are_rejected() {
        for bad in ["", "sha1", "md5 qZk+NkcGgWq6PiVxeA==", "sha1 !!!", "sha256 qZk+NkcGgWq6PiU="] {
            assert_eq!(read(bad).err().unwrap().code, Code::Malformed, "{bad}");
        }
    }
}
