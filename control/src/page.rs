//! Cuts lists into pages. Page tokens are opaque, bound to caller and list, and tamper-evident.
//!
//! A token contains the position of the last row and a keyed hash of it and the list's name, tenant
//! and filter. A token of another tenant or list does not verify.

use std::sync::{PoisonError, RwLock};

use api::{
    code::{Code, Problem},
    limits::TITLE_CHARS_MAX,
};
use authz::RootKeys;
use jiff::Timestamp;
use uuid::Uuid;

/// Maximum bytes of a position: a title of 200 characters and an id.
const PLACE_BYTES_MAX: usize = 4 * TITLE_CHARS_MAX + 16;
const PROOF_BYTES: usize = 16;
const CONTEXT: &str = "streaming-service 2026-11 page tokens";

/// The position of a row in a list that is ordered by creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// When the row was created, in whole microseconds, the precision of Postgres.
    pub time: Timestamp,
    /// The row's id.
    pub id: Uuid,
}

/// The position of a row in a list that is ordered by title.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TitleCursor {
    /// The row's title.
    pub title: String,
    /// The row's id.
    pub id: Uuid,
}

/// A position that page tokens contain.
pub trait Position: Sized {
    /// Its bytes.
    fn to_bytes(&self) -> Vec<u8>;
    /// The position that has these bytes.
    fn from_bytes(bytes: &[u8]) -> Option<Self>;
}

impl Position for Cursor {
    fn to_bytes(&self) -> Vec<u8> {
        [&self.time.as_microsecond().to_be_bytes()[..], self.id.as_bytes()].concat()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (time, id) = bytes.split_first_chunk()?;
        let time = Timestamp::from_microsecond(i64::from_be_bytes(*time)).ok()?;
        Some(Self { time, id: Uuid::from_slice(id).ok()? })
    }
}

impl Position for TitleCursor {
    fn to_bytes(&self) -> Vec<u8> {
        [self.id.as_bytes(), self.title.as_bytes()].concat()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (id, title) = bytes.split_first_chunk()?;
        let title = String::from_utf8(title.to_vec()).ok()?;
        Some(Self { title, id: Uuid::from_bytes(*id) })
    }
}

/// A list as one caller sees it.
#[derive(Clone, Copy, Debug)]
pub struct List<'a> {
    /// For example "videos".
    pub name: &'a str,
    /// The caller's tenant.
    pub tenant: &'a str,
    /// The filter of the list; may be empty.
    pub filter: &'a str,
}

/// A page that a caller requests.
#[derive(Clone, Copy, Debug)]
pub struct PageRequest<'a, P = Cursor> {
    list: List<'a>,
    size: usize,
    /// The last row of the page before; `None` for the first page.
    pub after: Option<P>,
    /// The number of rows to read: one more than shown, which reveals whether there is a next page.
    pub limit: i64,
}

/// Creates and verifies page tokens.
pub struct Pages {
    /// Oldest first; the last one signs.
    keys: RwLock<Vec<[u8; 32]>>,
}

impl Pages {
    /// Instances with the same root keys accept each other's tokens.
    pub fn new(keys: &RootKeys) -> Self {
        Self { keys: RwLock::new(keys.derive(CONTEXT)) }
    }

    /// Uses other root keys from now on.
    pub fn replace(&self, keys: &RootKeys) {
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys.derive(CONTEXT);
    }

    fn keys(&self) -> Vec<[u8; 32]> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Creates the token for the page after `last`.
    pub fn seal(&self, list: List<'_>, last: &impl Position) -> String {
        let place = last.to_bytes();
        let key = self.keys().pop().unwrap_or_default();
        let proof = proof(&key, list, &place);
        format!("{}{}", hex::encode(place), hex::encode(proof))
    }

    /// Reads the position from a token; `None` for the first page.
    ///
    /// # Errors
    /// The token is not valid for this list and tenant; the error names `page_token`.
    pub fn open<P: Position>(&self, list: List<'_>, token: &str) -> Result<Option<P>, Problem> {
        if token.is_empty() {
            return Ok(None);
        }
        self.read(list, token).map(Some).ok_or_else(|| {
            // Clients do not write tokens themselves, so REST returns 400 instead of 422.
            Problem::at(Code::Malformed, "page_token", "is not a token of this list")
        })
    }

    /// The page of `size` rows that begins after the position in `token`.
    ///
    /// # Errors
    /// Those of [`Self::open`].
    pub fn request<'a, P: Position>(
        &self,
        list: List<'a>,
        size: usize,
        token: &str,
    ) -> Result<PageRequest<'a, P>, Problem> {
        let after = self.open(list, token)?;
        let limit = i64::try_from(size + 1).unwrap_or(i64::MAX);
        Ok(PageRequest { list, size, after, limit })
    }

    /// Cuts the rows that were read to the requested page, converts them, and creates the token of
    /// the next page if there is one.
    pub fn cut<T, M, P: Position>(
        &self,
        page: PageRequest<'_, P>,
        mut rows: Vec<T>,
        cursor: impl Fn(&T) -> P,
        convert: impl FnMut(T) -> M,
    ) -> (Vec<M>, String) {
        let more = rows.len() > page.size;
        rows.truncate(page.size);
        let last = rows.last().filter(|_| more);
        let next = last.map(|row| self.seal(page.list, &cursor(row))).unwrap_or_default();
        (rows.into_iter().map(convert).collect(), next)
    }

    fn read<P: Position>(&self, list: List<'_>, token: &str) -> Option<P> {
        if token.len() > 2 * (PLACE_BYTES_MAX + PROOF_BYTES) {
            return None;
        }
        let bytes = hex::decode(token).ok()?;
        // Only lower case is valid, so that each token has exactly one spelling.
        if token.bytes().any(|letter| letter.is_ascii_uppercase()) {
            return None;
        }
        let (place, proof) = bytes.split_at_checked(bytes.len().checked_sub(PROOF_BYTES)?)?;
        // Hashes of blake3 are compared in constant time.
        let given = blake3::Hash::from_bytes(padded(proof));
        let fits = |key: &[u8; 32]| {
            given == blake3::Hash::from_bytes(padded(&self::proof(key, list, place)))
        };
        if !self.keys().iter().any(fits) {
            return None;
        }
        P::from_bytes(place)
    }
}

fn proof(key: &[u8; 32], list: List<'_>, place: &[u8]) -> [u8; PROOF_BYTES] {
    let mut hasher = blake3::Hasher::new_keyed(key);
    for part in [list.name.as_bytes(), list.tenant.as_bytes(), list.filter.as_bytes(), place] {
        hasher.update(&(part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    let mut proof = [0; PROOF_BYTES];
    proof.copy_from_slice(&hasher.finalize().as_bytes()[..PROOF_BYTES]);
    proof
}

fn padded(proof: &[u8]) -> [u8; 32] {
    let mut wide = [0; 32];
    wide[..proof.len()].copy_from_slice(proof);
    wide
}

impl std::fmt::Debug for Pages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pages").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use authz::RootKeys;
    use tonic::Code as Grpc;

    use super::{Cursor, List, Pages, TitleCursor};

    const VIDEOS: List<'static> = List { name: "videos", tenant: "a", filter: "" };

    fn cursor() -> Cursor {
        let time = jiff::Timestamp::from_microsecond(1_700_000_000_123_456).unwrap();
        Cursor { time, id: uuid::Uuid::from_u128(7) }
    }

    #[test]
    fn a_token_decodes_to_its_cursor() {
        let pages = Pages::new(&RootKeys::generate());
        let token = pages.seal(VIDEOS, &cursor());
        assert_eq!(pages.open(VIDEOS, &token), Ok(Some(cursor())));
        assert_eq!(pages.open::<Cursor>(VIDEOS, ""), Ok(None));
    }

    #[test]
    fn a_token_carries_the_longest_title() {
        let pages = Pages::new(&RootKeys::generate());
        for title in [String::new(), "\u{10348}".repeat(200)] {
            let last = TitleCursor { title, id: uuid::Uuid::from_u128(7) };
            let token = pages.seal(VIDEOS, &last);
            assert_eq!(pages.open(VIDEOS, &token), Ok(Some(last)));
        }
    }

    #[test]
    fn a_page_is_cut_and_has_a_token_only_before_another_page() {
        let pages = Pages::new(&RootKeys::generate());
        let page = pages.request(VIDEOS, 2, "").unwrap();
        assert_eq!((page.after, page.limit), (None, 3));
        let position = |id: &u128| Cursor { id: uuid::Uuid::from_u128(*id), ..cursor() };
        let (shown, next) = pages.cut(page, vec![1, 2, 3], position, |id| id);
        assert_eq!(shown, [1, 2]);
        assert_eq!(pages.request(VIDEOS, 2, &next).unwrap().after, Some(position(&2)));
        assert_eq!(pages.cut(page, vec![1, 2], position, |id| id), (vec![1, 2], String::new()));
    }

    #[test]
    fn a_token_with_any_changed_character_is_rejected() {
        let pages = Pages::new(&RootKeys::generate());
        let token = pages.seal(VIDEOS, &cursor());
        for place in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[place] = if changed[place] == b'0' { b'1' } else { b'0' };
            let changed = String::from_utf8(changed).unwrap();
            let problem = pages.open::<Cursor>(VIDEOS, &changed).unwrap_err();
            assert_eq!(problem.violations[0].field, "page_token");
            assert_eq!((problem.code.http(), problem.code.grpc()), (400, Grpc::InvalidArgument));
        }
        let shouted = token.to_ascii_uppercase();
        for junk in ["x", "00", &token[..token.len() - 2], &format!("{token}00"), &shouted] {
            assert!(pages.open::<Cursor>(VIDEOS, junk).is_err());
        }
    }

    #[test]
    fn tokens_of_other_tenants_lists_and_keys_are_rejected() {
        let pages = Pages::new(&RootKeys::generate());
        let token = pages.seal(VIDEOS, &cursor());
        for other in [
            List { tenant: "b", ..VIDEOS },
            List { name: "jobs", ..VIDEOS },
            List { filter: "x", ..VIDEOS },
        ] {
            assert!(pages.open::<Cursor>(other, &token).is_err());
        }
        assert!(Pages::new(&RootKeys::generate()).open::<Cursor>(VIDEOS, &token).is_err());
    }

    #[test]
    fn tokens_survive_a_rotation_until_their_key_is_removed() {
        let mut keys = RootKeys::generate();
        let pages = Pages::new(&keys);
        let token = pages.seal(VIDEOS, &cursor());
        keys.rotate();
        pages.replace(&keys);
        assert_eq!(pages.open(VIDEOS, &token), Ok(Some(cursor())));
        assert_ne!(pages.seal(VIDEOS, &cursor()), token);
        assert!(keys.remove(0) && !keys.remove(1));
        pages.replace(&keys);
        assert!(pages.open::<Cursor>(VIDEOS, &token).is_err());
    }
}
