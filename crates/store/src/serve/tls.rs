//! The store's own TLS, with a certificate that may change while it runs.

use std::fs::{File, metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::time::{Duration, SystemTime};

use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{error, info};

use crate::locks;

/// How often the files are looked at. Certificates are renewed days before they end.
const REREAD_EVERY: Duration = Duration::from_secs(2);

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file, and why it cannot be used.
    #[error("--tls-cert {0}: {1}; it takes a certificate in PEM, and after it those that sign it")]
    Certificate(PathBuf, String),
    /// The file, and why it cannot be used.
    #[error("--tls-key {0}: {1}; it takes an unencrypted private key in PEM")]
    Key(PathBuf, String),
    /// The two files, and why they do not match.
    #[error("--tls-cert {0} and --tls-key {1} do not belong together: {2}")]
    Apart(PathBuf, PathBuf, rustls::Error),
    /// The library's error.
    #[error("TLS cannot be set up: {0}")]
    Setup(rustls::Error),
}

/// The TLS side of connections.
#[derive(Clone)]
pub struct Tls {
    acceptor: TlsAcceptor,
    shown: Arc<Shown>,
    files: Arc<Files>,
    seen: Written,
}

/// When each file was written, and its length.
type Written = [Option<(SystemTime, u64)>; 2];

struct Files {
    certificate: PathBuf,
    key: PathBuf,
    provider: Arc<CryptoProvider>,
}

/// The certificate for new connections.
#[derive(Debug)]
struct Shown(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&locks::read(&self.0)))
    }
}

impl Tls {
    /// Reads a certificate and its key from their files.
    ///
    /// # Errors
    /// A file cannot be used; the error says which, and why.
    pub fn read(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let files = Files { certificate: certificate.to_owned(), key: key.to_owned(), provider };
        // The times are read before the files, so that a file which is written meanwhile is read again.
        let seen = files.written();
        let shown = Arc::new(Shown(RwLock::new(Arc::new(files.read()?))));
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&files.provider))
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Setup)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&shown) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), shown, files: Arc::new(files), seen })
    }

    /// Completes the handshake.
    ///
    /// # Errors
    /// The client does not speak this TLS, or has gone.
    pub async fn greet<S: AsyncRead + AsyncWrite + Unpin>(&self, socket: S) -> io::Result<TlsStream<S>> {
        self.acceptor.accept(socket).await
    }

    /// Uses new certificates for as long as it is polled. If the new files do not fit, the old certificate stays: two
    /// files cannot be written at once, so they may fit a moment later.
    pub async fn keep_up(&self) {
        let mut seen = self.seen;
        loop {
            sleep(REREAD_EVERY).await;
            let written = self.files.written();
            if written == seen {
                continue;
            }
            seen = written;
            let files = Arc::clone(&self.files);
            match spawn_blocking(move || files.read()).await {
                Ok(Ok(key)) => {
                    *locks::write(&self.shown.0) = Arc::new(key);
                    info!("the certificate was reread");
                }
                Ok(Err(why)) => error!("{why}; the old certificate stays"),
                Err(why) => error!(%why, "the certificate could not be reread"),
            }
        }
    }
}

impl Files {
    fn read(&self) -> Result<CertifiedKey, TlsError> {
        let of_certificate = |why: String| TlsError::Certificate(self.certificate.clone(), why);
        let file = File::open(&self.certificate).map_err(|why| of_certificate(why.to_string()))?;
        let chain = CertificateDer::pem_reader_iter(file).collect::<Result<Vec<_>, _>>();
        let chain = chain.map_err(|why| of_certificate(why.to_string()))?;
        if chain.is_empty() {
            return Err(of_certificate("it contains none".to_owned()));
        }
        let key = PrivateKeyDer::from_pem_file(&self.key)
            .map_err(|why| TlsError::Key(self.key.clone(), why.to_string()))?;
        CertifiedKey::from_der(chain, key, &self.provider)
            .map_err(|why| TlsError::Apart(self.certificate.clone(), self.key.clone(), why))
    }

    /// In a Secret that Kubernetes mounts, the names are links that change their targets, so the targets are looked at.
    fn written(&self) -> Written {
        [&self.certificate, &self.key].map(|file| {
            let file = metadata(file).ok()?;
            Some((file.modified().ok()?, file.len()))
        })
    }
}
