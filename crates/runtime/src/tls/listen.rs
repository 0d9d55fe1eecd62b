//! The server side of a TLS handshake: limited in number and time, with a certificate that may be
//! replaced at run time.

use std::{io, path::Path, sync::Arc, time::Duration};

use rustls::ServerConfig;
use tokio::{
    net::TcpStream,
    signal::unix::{SignalKind, signal},
    sync::Semaphore,
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_rustls::TlsAcceptor;

use super::{Stream, TlsError, crypto, identity::Identity};
use crate::Shutdown;

/// Maximum number of concurrent handshakes: each costs a signature, and a client that never
/// finishes one must not block the others.
const HANDSHAKES_MAX: usize = 256;
/// Time limit of a handshake, including the wait for a free slot.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);
/// How often the certificate's files are checked.
const RELOAD_EVERY: Duration = Duration::from_secs(10);

/// The protocols that a listener offers over TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocols {
    /// HTTP/2 and HTTP/1.1.
    Http,
    /// HTTP/2 only.
    Grpc,
}

impl Protocols {
    fn alpn(self) -> Vec<Vec<u8>> {
        let names: &[&[u8]] = match self {
            Self::Http => &[b"h2", b"http/1.1"],
            Self::Grpc => &[b"h2"],
        };
        names.iter().map(|name| name.to_vec()).collect()
    }
}

/// Turns accepted connections into streams; clones share the limit of handshakes.
#[derive(Clone)]
pub struct Acceptor(pub(super) Option<Tls>);

#[derive(Clone)]
pub(super) struct Tls {
    acceptor: TlsAcceptor,
    pub(super) identity: Arc<Identity>,
    handshakes: Arc<Semaphore>,
}

impl std::fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Acceptor").field(&self.is_tls()).finish()
    }
}

impl Acceptor {
    /// Passes connections through unchanged.
    pub fn plain() -> Self {
        Self(None)
    }

    /// Accepts TLS 1.2 and 1.3 with the certificate in these files.
    ///
    /// # Errors
    /// A file cannot be read, or the certificate or the key is invalid.
    pub fn tls(cert: &Path, key: &Path, protocols: Protocols) -> Result<Self, TlsError> {
        let identity = Arc::new(Identity::load(cert, key)?);
        let mut config = ServerConfig::builder_with_provider(crypto())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(identity.clone());
        config.alpn_protocols = protocols.alpn();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
        Ok(Self(Some(Tls { acceptor, identity, handshakes })))
    }

    /// Whether connections are encrypted.
    pub fn is_tls(&self) -> bool {
        self.0.is_some()
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> &'static str {
        if self.is_tls() { "https" } else { "http" }
    }

    /// Performs the TLS handshake if TLS is configured.
    ///
    /// # Errors
    /// The TLS handshake fails or times out.
    pub async fn accept(&self, tcp: TcpStream) -> io::Result<Stream> {
        let Some(tls) = &self.0 else { return Ok(Stream::Plain(tcp)) };
        let handshake = async {
            let _place = tls.handshakes.acquire().await.map_err(io::Error::other)?;
            tls.acceptor.accept(tcp).await
        };
        let stream = timeout(HANDSHAKE_TIME_MAX, handshake).await??;
        Ok(Stream::Tls(Box::new(stream.into())))
    }

    /// Reloads the certificate when its files change, until the soft stop: checks them every few
    /// seconds and immediately on SIGHUP. An invalid file is logged and otherwise ignored.
    pub async fn keep_fresh(self, shutdown: Shutdown) {
        let Some(tls) = self.0 else { return };
        let Ok(mut hangup) = signal(SignalKind::hangup()) else { return };
        let mut ticks = interval(RELOAD_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut broken = false;
        loop {
            tokio::select! {
                () = shutdown.soft.cancelled() => return,
                _ = hangup.recv() => {}
                _ = ticks.tick() => {}
            }
            match tls.identity.reload() {
                Ok(false) => broken = false,
                Ok(true) => {
                    broken = false;
                    tracing::info!("new TLS certificate loaded");
                }
                Err(error) if !broken => {
                    // The file is most likely half written; the old certificate remains valid.
                    broken = true;
                    tracing::warn!(%error, "failed to reload the TLS certificate");
                }
                Err(_) => {}
            }
        }
    }
}
