//! Root keys and the tokens that `up` mints.
//!
//! A start uses the tokens of the last one again, so that starts leave neither valid tokens nor
//! records of tokens behind. Whether a token was revoked is known only to control, which is asked once
//! it runs.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use api::v1::GetCallerRequest;
use authz::{Grant, PublicKeys, Role, RootKeys, Verifier};
use runtime::{Clock, SystemClock};
use tonic::Code;

use super::folder::{self, Folder};
use crate::{
    key_file,
    server::Target,
    session::{Session, call},
    token::TENANT,
};

/// The life of a token in seconds.
const TOKEN_LIFE: i64 = 365 * 86_400;
/// A start uses a token again that has more than this part of its life left.
const LIFE_LEFT_MIN: i64 = TOKEN_LIFE / 3 * 2;

/// A token of `up` and its file.
struct Token {
    grant: Grant,
    file: PathBuf,
}

/// The root keys and the tokens that are valid as far as their text shows.
pub(crate) struct Credentials {
    /// The absolute path of the root keys.
    pub(crate) path: PathBuf,
    keys: RootKeys,
    /// Tokens of an earlier start.
    kept: Vec<Token>,
}

impl Credentials {
    /// Loads the root keys, generating them at the first start, and writes the tokens that are missing
    /// or have less than two thirds of their life left.
    ///
    /// # Errors
    /// If configured keys do not exist, or a file cannot be read or written.
    pub(crate) fn prepare(folder: &Folder, configured: Option<&Path>) -> Result<Self> {
        let configured = configured.filter(|path| !path.as_os_str().is_empty());
        let path = configured.map_or_else(|| folder.root.join("root.keys"), Path::to_owned);
        if !path.exists() {
            if configured.is_some() {
                bail!(
                    "{} does not exist (create it with: streaming-service keys new)",
                    path.display()
                );
            }
            let keys = RootKeys::generate();
            key_file::save(&keys, &path)?;
        }
        let keys = key_file::load(&path)?;
        let now = SystemClock.now_unix();
        let mut kept = Vec::new();
        for token in tokens(folder) {
            if token.is_kept(&keys, now) {
                kept.push(token);
            } else {
                token.mint(&keys, now)?;
            }
        }
        let path = path.canonicalize().with_context(|| format!("find {}", path.display()))?;
        Ok(Self { path, keys, kept })
    }

    /// Replaces the tokens of an earlier start that control at `grpc` rejects, because they were revoked.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub(crate) async fn replace_rejected(
        &self,
        folder: &Folder,
        grpc: SocketAddr,
        certificate: Option<&Path>,
    ) -> Result<()> {
        for token in &self.kept {
            let target = Target {
                data: folder.root.clone(),
                http_addr: None,
                grpc_addr: Some(grpc.to_string()),
                token: None,
                token_file: Some(token.file.clone()),
                tls_ca_file: certificate.map(Path::to_owned),
            };
            // Tokens stay where control cannot be asked.
            let session = Session { target: &target, json: false };
            let Ok(mut auth) = session.auth().await else { continue };
            let reply = auth.get_caller(call(GetCallerRequest {})).await;
            if reply.is_err_and(|status| status.code() == Code::Unauthenticated) {
                token.mint(&self.keys, SystemClock.now_unix())?;
            }
        }
        Ok(())
    }
}

/// The tokens of `up`.
fn tokens(folder: &Folder) -> [Token; 3] {
    let token = |subject: &str, role, file| Token {
        grant: Grant { subject: subject.to_owned(), tenant: TENANT.to_owned(), role },
        file,
    };
    [
        token("admin", Role::Admin, folder.admin_token()),
        token("dataplane", Role::Dataplane, folder.run().join("dataplane.token")),
        token("worker", Role::Worker, folder.run().join("worker.token")),
    ]
}

impl Token {
    /// Whether the file has a token of the newest key with exactly this grant, and with enough of its
    /// life left.
    fn is_kept(&self, keys: &RootKeys, now: i64) -> bool {
        let Ok(text) = fs::read_to_string(&self.file) else { return false };
        let newest = keys.public().0.pop();
        let verifier = Verifier::new(PublicKeys(newest.into_iter().collect()));
        verifier.identify(text.trim(), now).is_ok_and(|found| {
            // A narrowed token has a revocation id for each of its blocks.
            found.revocation_ids.len() == 1
                && (&found.subject, &found.tenant, found.role)
                    == (&self.grant.subject, &self.grant.tenant, self.grant.role)
                && found.ends_at() - now > LIFE_LEFT_MIN
        })
    }

    fn mint(&self, keys: &RootKeys, now: i64) -> Result<()> {
        let token = keys.mint(&self.grant, now + TOKEN_LIFE).context("mint a token")?;
        folder::write_private(&self.file, &token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_used_again_only_if_it_is_whole_and_young_and_of_the_newest_key() {
        let file = std::env::temp_dir().join(format!("streaming-token-{}", std::process::id()));
        let grant = |subject: &str, role| Grant {
            subject: subject.to_owned(),
            tenant: TENANT.to_owned(),
            role,
        };
        let token = Token { grant: grant("admin", Role::Admin), file: file.clone() };
        let mut keys = RootKeys::generate();
        let now = 1_900_000_000;
        let _ = fs::remove_file(&file);
        assert!(!token.is_kept(&keys, now), "without a file");
        token.mint(&keys, now).unwrap();
        assert!(token.is_kept(&keys, now));
        assert!(token.is_kept(&keys, now + TOKEN_LIFE / 3 - 2));
        assert!(!token.is_kept(&keys, now + TOKEN_LIFE / 3 + 2), "after a third of its life");
        let text = fs::read_to_string(&file).unwrap();
        for (place, other) in [
            ("another role", keys.mint(&grant("admin", Role::Editor), now + TOKEN_LIFE).unwrap()),
            ("another subject", keys.mint(&grant("ana", Role::Admin), now + TOKEN_LIFE).unwrap()),
            ("another key", RootKeys::generate().mint(&token.grant, now + TOKEN_LIFE).unwrap()),
            ("narrowed", narrowed(&text)),
            ("damaged", text[..text.len() - 4].to_owned()),
            ("empty", String::new()),
        ] {
            fs::write(&file, other).unwrap();
            assert!(!token.is_kept(&keys, now), "{place}");
        }
        fs::write(&file, format!("{text}\n")).unwrap();
        assert!(token.is_kept(&keys, now), "as an editor saves it");
        keys.rotate();
        assert!(!token.is_kept(&keys, now), "of an older key");
        fs::remove_file(&file).unwrap();
    }

    fn narrowed(text: &str) -> String {
        let restriction =
            authz::Restriction { expires_at: Some(4_000_000_000), ..Default::default() };
        authz::narrow(text, &restriction).unwrap()
    }
}
