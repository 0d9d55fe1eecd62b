//! A listener's certificate and key, in their current state on disk.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use rustls::{
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use super::{TlsError, crypto, read};

/// The files and their last valid contents.
#[derive(Debug)]
pub(super) struct Identity {
    cert: PathBuf,
    key: PathBuf,
    current: RwLock<Loaded>,
}

struct Loaded {
    /// The bytes of the files, for detecting changes.
    bytes: (Vec<u8>, Vec<u8>),
    certified: Arc<CertifiedKey>,
}

// The derived Debug would print the key.
impl std::fmt::Debug for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Loaded")
    }
}

impl Identity {
    pub(super) fn load(cert: &Path, key: &Path) -> Result<Self, TlsError> {
        let bytes = (read(cert)?, read(key)?);
        let certified = certified(cert, key, &bytes)?;
        let current = RwLock::new(Loaded { bytes, certified });
        Ok(Self { cert: cert.to_owned(), key: key.to_owned(), current })
    }

    /// Reads the files again; returns true if their contents have changed, and uses the new
    /// contents from then on.
    pub(super) fn reload(&self) -> Result<bool, TlsError> {
        let bytes = (read(&self.cert)?, read(&self.key)?);
        if self.current.read().unwrap_or_else(PoisonError::into_inner).bytes == bytes {
            return Ok(false);
        }
        let certified = certified(&self.cert, &self.key, &bytes)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Loaded { bytes, certified };
        Ok(true)
    }
}

impl ResolvesServerCert for Identity {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Some(Arc::clone(&current.certified))
    }
}

fn certified(
    cert: &Path,
    key: &Path,
    bytes: &(Vec<u8>, Vec<u8>),
) -> Result<Arc<CertifiedKey>, TlsError> {
    let empty = |path: &Path, what| TlsError::Empty { path: path.to_owned(), what };
    let chain = CertificateDer::pem_slice_iter(&bytes.0).collect::<Result<Vec<_>, _>>();
    let chain = chain.ok().filter(|chain| !chain.is_empty());
    let chain = chain.ok_or_else(|| empty(cert, "certificate"))?;
    let private = PrivateKeyDer::from_pem_slice(&bytes.1);
    let private = private.map_err(|_| empty(key, "private key"))?;
    Ok(Arc::new(CertifiedKey::from_der(chain, private, &crypto())?))
}
