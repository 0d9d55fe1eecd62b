//! TLS for listeners and clients, and the rule for plaintext: it is allowed on loopback only,
//! unless the operator states that the connection is protected by other means.
//!
//! | variable | default | |
//! |---|---|---|
//! | `STREAMING_TLS_CERT_FILE` | none: plaintext | PEM, the certificate and its chain; read again when it changes |
//! | `STREAMING_TLS_KEY_FILE` | | PEM, its private key |
//! | `STREAMING_INSECURE` | `false` | plaintext on addresses beyond loopback |
//! | `STREAMING_TLS_CA_FILE` | the system's | CA bundle (PEM) for verifying `https://` servers |

mod dial;
mod identity;
mod listen;
mod stream;

use std::{
    ffi::OsString,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::{
    Args,
    builder::{FalseyValueParser, OsStringValueParser, TypedValueParser},
};
use rustls::crypto::{CryptoProvider, aws_lc_rs};

pub use dial::{Connector, channel, channel_lazy, client_config};
pub use listen::{Acceptor, Protocols};
pub use stream::Stream;

/// Flags of a listener.
#[derive(Args, Clone, Debug, Default)]
pub struct ListenArgs {
    /// Certificate chain (PEM) for serving TLS; reloaded when the file changes.
    #[arg(long, env = "STREAMING_TLS_CERT_FILE", value_parser = any_path())]
    pub tls_cert_file: Option<PathBuf>,
    /// Private key (PEM) of the certificate.
    #[arg(long, env = "STREAMING_TLS_KEY_FILE", value_parser = any_path())]
    pub tls_key_file: Option<PathBuf>,
    /// Allows plaintext on addresses other than loopback, behind a proxy that terminates TLS.
    #[arg(long, env = "STREAMING_INSECURE", value_parser = FalseyValueParser::new())]
    pub insecure: bool,
}

/// Flags of a client of `https://` servers.
#[derive(Args, Clone, Debug, Default)]
pub struct DialArgs {
    /// CA bundle (PEM) for verifying https:// servers; default: the system's authorities. Read at
    /// each connection.
    #[arg(long, env = "STREAMING_TLS_CA_FILE", value_parser = any_path())]
    pub tls_ca_file: Option<PathBuf>,
}

/// Why TLS cannot be used, or a listener cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Only one of the two files is configured.
    #[error("STREAMING_TLS_CERT_FILE and STREAMING_TLS_KEY_FILE must be set together")]
    Half,
    /// A file cannot be read.
    #[error("read {}: {cause}", path.display())]
    Unreadable {
        /// Path of the file.
        path: PathBuf,
        /// The cause. It is not a `source`, because it is part of the text and would be printed
        /// twice in an error chain.
        cause: io::Error,
    },
    /// A file does not contain the expected PEM items.
    #[error("read {}: no {what} in PEM found", path.display())]
    Empty {
        /// Path of the file.
        path: PathBuf,
        /// The expected item.
        what: &'static str,
    },
    /// The certificate or the key is invalid, or they do not belong together.
    #[error("use the TLS certificate: {0}")]
    Invalid(rustls::Error),
    /// The certificate authorities are not usable.
    #[error("use the certificate authorities in {}", path.display())]
    Authorities {
        /// Path of the file.
        path: PathBuf,
    },
    /// Plaintext on an address where others could read it.
    #[error(
        "cannot serve plaintext on {0}: set STREAMING_TLS_CERT_FILE and STREAMING_TLS_KEY_FILE, or, \
         where a proxy in front terminates TLS, --insecure (STREAMING_INSECURE=true)"
    )]
    Plaintext(SocketAddr),
}

impl From<rustls::Error> for TlsError {
    fn from(error: rustls::Error) -> Self {
        Self::Invalid(error)
    }
}

impl ListenArgs {
    /// Certificate and key if both are configured; `None` if neither is.
    ///
    /// # Errors
    /// Only one of the two files is configured.
    pub fn files(&self) -> Result<Option<(&Path, &Path)>, TlsError> {
        match (non_empty(self.tls_cert_file.as_deref()), non_empty(self.tls_key_file.as_deref())) {
            (Some(cert), Some(key)) => Ok(Some((cert, key))),
            (None, None) => Ok(None),
            _ => Err(TlsError::Half),
        }
    }

    /// Rejects plaintext on `addr` unless the address is loopback or plaintext is allowed.
    ///
    /// # Errors
    /// Plaintext is not allowed on `addr`, or only one of the two files is configured.
    pub fn check(&self, addr: SocketAddr) -> Result<(), TlsError> {
        let plain = self.files()?.is_none();
        if plain && !self.insecure && !addr.ip().to_canonical().is_loopback() {
            return Err(TlsError::Plaintext(addr));
        }
        Ok(())
    }

    /// Creates the acceptor for connections on `addr`: with TLS, or in plaintext where that is
    /// allowed.
    ///
    /// # Errors
    /// Plaintext is not allowed on `addr`, or the certificate or the key is missing or invalid.
    pub fn acceptor(&self, addr: SocketAddr, protocols: Protocols) -> Result<Acceptor, TlsError> {
        self.check(addr)?;
        match self.files()? {
            Some((cert, key)) => Acceptor::tls(cert, key, protocols),
            None => Ok(Acceptor::plain()),
        }
    }
}

impl DialArgs {
    /// The file; an empty variable counts as unset.
    pub fn ca_file(&self) -> Option<&Path> {
        non_empty(self.tls_ca_file.as_deref())
    }
}

fn non_empty(path: Option<&Path>) -> Option<&Path> {
    path.filter(|path| !path.as_os_str().is_empty())
}

/// Parses a path that may be empty; an empty path means that none is set.
pub fn any_path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(|text: OsString| PathBuf::from(text))
}

/// The crypto provider; every configuration names it explicitly, so that none has to be installed
/// globally.
fn crypto() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|cause| TlsError::Unreadable { path: path.to_owned(), cause })
}

#[cfg(test)]
mod tests;
