//! Root keys: the private keys mint tokens, their public halves verify them.
//!
//! Several keys are valid at the same time, and every token carries the id of its key, so that a
//! new key can be introduced before an old one is retired.

use std::fmt;

use biscuit_auth::{Algorithm, KeyPair, PrivateKey, PublicKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// Keys in one set.
const KEYS_MAX: usize = 16;

/// The text is not a list of root keys as [`RootKeys::to_json`] writes it. Contains no part of the
/// text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the text does not contain root keys")]
pub struct KeyError;

/// Private root keys; the newest (highest id) mints.
pub struct RootKeys(Vec<(u32, KeyPair)>);

/// The keys that verify tokens; as JSON `[{"id": 0, "key": "<hex>"}]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PublicKeys(pub Vec<(u32, [u8; 32])>);

#[derive(Deserialize)]
struct PrivateEntry {
    id: u32,
    private: String,
}

#[derive(Serialize, Deserialize)]
struct PublicEntry {
    id: u32,
    key: String,
}

impl RootKeys {
    /// Generates one key, with id 0.
    pub fn generate() -> Self {
        Self(vec![(0, KeyPair::new())])
    }

    /// Adds a new key, which mints all later tokens; older keys still verify theirs.
    pub fn rotate(&mut self) {
        self.0.push((self.newest().0 + 1, KeyPair::new()));
        if self.0.len() > KEYS_MAX {
            self.0.remove(0);
        }
    }

    /// Reads the text that [`RootKeys::to_json`] wrote.
    ///
    /// # Errors
    /// The text is not in that format, or contains no keys or too many.
    pub fn parse(text: &[u8]) -> Result<Self, KeyError> {
        Self::read(text).ok_or(KeyError)
    }

    fn read(text: &[u8]) -> Option<Self> {
        let entries: Vec<PrivateEntry> = serde_json::from_slice(text).ok()?;
        let mut keys = Vec::with_capacity(entries.len().min(KEYS_MAX));
        for entry in entries {
            let key = PrivateKey::from_bytes_hex(&entry.private, Algorithm::Ed25519).ok()?;
            keys.push((entry.id, KeyPair::from(&key)));
        }
        keys.sort_by_key(|(id, _)| *id);
        let unique = keys.windows(2).all(|pair| pair[0].0 < pair[1].0);
        (unique && (1..=KEYS_MAX).contains(&keys.len())).then_some(Self(keys))
    }

    /// The private keys as JSON, for a file that only its owner may read.
    pub fn to_json(&self) -> String {
        let entry = |(id, pair): &(u32, KeyPair)| serde_json::json!({"id": id, "private": pair.private().to_bytes_hex()});
        serde_json::Value::Array(self.0.iter().map(entry).collect()).to_string()
    }

    /// The public keys, which verify tokens minted by these keys.
    pub fn public(&self) -> PublicKeys {
        let key = |pair: &KeyPair| pair.public().to_bytes().try_into().unwrap_or([0; 32]);
        PublicKeys(self.0.iter().map(|(id, pair)| (*id, key(pair))).collect())
    }

    /// Removes an old key: tokens that it signed are rejected from then on. Returns `false` if the
    /// id is unknown or is that of the key that mints.
    pub fn remove(&mut self, id: u32) -> bool {
        let before = self.0.len();
        if self.newest().0 != id {
            self.0.retain(|(known, _)| *known != id);
        }
        self.0.len() < before
    }

    /// Ids, oldest first; the last one mints.
    pub fn ids(&self) -> Vec<u32> {
        self.0.iter().map(|(id, _)| *id).collect()
    }

    /// Derives a secret for another purpose from each key, oldest first.
    pub fn derive(&self, context: &str) -> Vec<[u8; 32]> {
        let derive = |(_, pair): &(u32, KeyPair)| {
            blake3::derive_key(context, pair.private().to_bytes_hex().as_bytes())
        };
        self.0.iter().map(derive).collect()
    }

    /// The private key with this id.
    pub(crate) fn find(&self, id: u32) -> Option<&KeyPair> {
        self.0.iter().find(|(known, _)| *known == id).map(|(_, pair)| pair)
    }

    /// The key that mints.
    pub(crate) fn newest(&self) -> (u32, &KeyPair) {
        // The list is never empty: it is generated or loaded with at least one key.
        let (id, pair) = &self.0[self.0.len() - 1];
        (*id, pair)
    }
}

impl fmt::Debug for RootKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<_> = self.0.iter().map(|(id, _)| id).collect();
        f.debug_struct("RootKeys").field("ids", &ids).finish_non_exhaustive()
    }
}

impl PublicKeys {
    /// The key with this id, if it is known and is a point on the curve.
    pub(crate) fn find(&self, id: u32) -> Option<PublicKey> {
        let (_, key) = self.0.iter().find(|(known, _)| *known == id)?;
        PublicKey::from_bytes(key, Algorithm::Ed25519).ok()
    }
}

impl Serialize for PublicKeys {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(
            self.0.iter().map(|(id, key)| PublicEntry { id: *id, key: hex::encode(key) }),
        )
    }
}

impl<'de> Deserialize<'de> for PublicKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let entries = Vec::<PublicEntry>::deserialize(deserializer)?;
        if entries.len() > KEYS_MAX {
            return Err(D::Error::custom("too many keys"));
        }
        let mut keys = Vec::with_capacity(entries.len());
        for entry in entries {
            let mut key = [0; 32];
            hex::decode_to_slice(&entry.key, &mut key).map_err(D::Error::custom)?;
            keys.push((entry.id, key));
        }
        Ok(Self(keys))
    }
}

#[cfg(test)]
mod tests {
    use super::{PublicKeys, RootKeys};

    #[test]
    fn private_keys_read_back_as_json() {
        let mut keys = RootKeys::generate();
        keys.rotate();
        let text = keys.to_json();
        assert!(text.starts_with(r#"[{"id":0,"private":""#), "unexpected JSON form");
        let read = RootKeys::parse(text.as_bytes()).unwrap();
        assert_eq!((read.public(), read.newest().0), (keys.public(), 1));
    }

    #[test]
    fn invalid_key_files_are_rejected_without_showing_them() {
        let twice =
            r#"[{"id":0,"private":"K"},{"id":0,"private":"K"}]"#.replace('K', &"ab".repeat(32));
        for text in ["", "[]", "{}", r#"[{"id":0,"private":"abc"}]"#, &twice] {
            let error = RootKeys::parse(text.as_bytes()).unwrap_err();
            assert!(!format!("{error:?}{error}").contains("abab"), "{error}");
        }
        assert!(!format!("{:?}", RootKeys::generate()).contains("private"));
    }

    #[test]
    fn public_keys_read_back_as_json() {
        let keys = RootKeys::generate().public();
        let text = serde_json::to_string(&keys).unwrap();
        assert!(text.starts_with(r#"[{"id":0,"key":""#), "{text}");
        assert_eq!(serde_json::from_str::<PublicKeys>(&text).unwrap(), keys);
        assert!(serde_json::from_str::<PublicKeys>(r#"[{"id":0,"key":"ab"}]"#).is_err());
    }
}
