//! The client side: connections to `http://` and `https://` servers, verified against the system's
//! authorities or those in a file.
//!
//! A server certificate that is itself in that file is trusted for any host name, because only the
//! holder of its key can use it. A self-signed certificate therefore works when the file contains
//! it, also between processes on one machine.

use std::{
    future::Future,
    io,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
};

use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint, Error as TransportError};

use super::{Stream, TlsError, crypto, non_empty, read};

const HTTP: &[u8] = b"http/1.1";
const GRPC: &[u8] = b"h2";

/// Connects according to a URI's scheme: `http` in plaintext, `https` with TLS.
#[derive(Clone, Debug)]
pub struct Connector {
    ca_file: Option<Arc<PathBuf>>,
    alpn: &'static [u8],
}

impl Connector {
    /// A connector for HTTP/1.1 clients.
    pub fn http(ca_file: Option<&Path>) -> Self {
        Self { ca_file: ca_file.map(|path| Arc::new(path.to_owned())), alpn: HTTP }
    }

    /// A connector for gRPC clients.
    pub fn grpc(ca_file: Option<&Path>) -> Self {
        Self { alpn: GRPC, ..Self::http(ca_file) }
    }

    /// Connects to the server that `uri` names.
    ///
    /// # Errors
    /// The server cannot be reached, or its certificate is not trusted.
    pub async fn connect(&self, uri: &Uri) -> io::Result<Stream> {
        let secure = uri.scheme_str() == Some("https");
        let host = uri.host().ok_or_else(|| io::Error::other("the URL has no host"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let tcp = TcpStream::connect((host, port)).await?;
        let _best_effort = tcp.set_nodelay(true);
        if !secure {
            return Ok(Stream::Plain(tcp));
        }
        let config = config(self.ca_file.as_deref().map(PathBuf::as_path), self.alpn);
        let connector = TlsConnector::from(config.map_err(io::Error::other)?);
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let stream = connector.connect(name, tcp).await?;
        Ok(Stream::Tls(Box::new(stream.into())))
    }
}

impl tower_service::Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<Stream>>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move { connector.connect(&uri).await.map(TokioIo::new) })
    }
}

/// A channel that connects on first use.
pub fn channel_lazy(endpoint: &Endpoint, ca_file: Option<&Path>) -> Channel {
    if is_secure(endpoint) {
        return endpoint.connect_with_connector_lazy(Connector::grpc(ca_file));
    }
    endpoint.connect_lazy()
}

/// Connects a channel.
///
/// # Errors
/// The server cannot be reached, or its certificate is not trusted.
pub async fn channel(
    endpoint: &Endpoint,
    ca_file: Option<&Path>,
) -> Result<Channel, TransportError> {
    if is_secure(endpoint) {
        return endpoint.connect_with_connector(Connector::grpc(ca_file)).await;
    }
    endpoint.connect().await
}

fn is_secure(endpoint: &Endpoint) -> bool {
    endpoint.uri().scheme_str() == Some("https")
}

fn config(ca_file: Option<&Path>, alpn: &'static [u8]) -> Result<Arc<ClientConfig>, TlsError> {
    let mut config = client_config(ca_file)?;
    config.alpn_protocols = vec![alpn.to_vec()];
    Ok(Arc::new(config))
}

/// A client configuration that trusts the certificates in `ca_file` and those that they sign, or
/// without a file the system's authorities.
///
/// # Errors
/// The file cannot be read, or contains no certificate.
pub fn client_config(ca_file: Option<&Path>) -> Result<ClientConfig, TlsError> {
    let builder = ClientConfig::builder_with_provider(crypto());
    let builder = builder.with_safe_default_protocol_versions()?;
    Ok(match non_empty(ca_file) {
        // Read each time, like token files, because it may have been renewed.
        Some(path) => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Trust::load(path)?))
            .with_no_client_auth(),
        None => builder.with_root_certificates(system()).with_no_client_auth(),
    })
}

/// The system's authorities; if there are none, no server is trusted.
fn system() -> Arc<RootCertStore> {
    static SYSTEM: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    let load = || {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Arc::new(roots)
    };
    Arc::clone(SYSTEM.get_or_init(load))
}

/// The trust of a CA file: the certificates in it, and all certificates that they sign.
#[derive(Debug)]
struct Trust {
    named: Vec<CertificateDer<'static>>,
    certified: Arc<WebPkiServerVerifier>,
}

impl Trust {
    fn load(path: &Path) -> Result<Self, TlsError> {
        let bytes = read(path)?;
        let named = CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>();
        let named = named.ok().filter(|named| !named.is_empty());
        let empty = || TlsError::Empty { path: path.to_owned(), what: "certificate" };
        let named = named.ok_or_else(empty)?;
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(named.iter().cloned());
        let certified = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), crypto())
            .build()
            .map_err(|_| TlsError::Authorities { path: path.to_owned() })?;
        Ok(Self { named, certified })
    }
}

impl ServerCertVerifier for Trust {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.named.contains(end_entity) {
            return Ok(ServerCertVerified::assertion());
        }
        let (certified, name) = (&self.certified, server_name);
        certified.verify_server_cert(end_entity, intermediates, name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.certified.verify_tls12_signature(message, cert, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.certified.verify_tls13_signature(message, cert, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.certified.supported_verify_schemes()
    }
}
