//! TLS of the store's own, with a certificate that may change while it runs.

use std::fs::{File, metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::time::{Duration, SystemTime};

use crate::locks;
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

/// How often the files are looked at. Whoever renews certificates does it days before the old one ends.
const REREAD_EVERY: Duration = Duration::from_secs(2);

/// A certificate that cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file, and why.
    #[error("--tls-cert {0}: {1}; it takes a certificate in PEM, and after it those that sign it")]
    Certificate(PathBuf, String),
    /// The file, and why.
    #[error("--tls-key {0}: {1}; it takes an unencrypted private key in PEM")]
    Key(PathBuf, String),
    /// The two files, and why.
    #[error("--tls-cert {0} and --tls-key {1} do not belong together: {2}")]
    Apart(PathBuf, PathBuf, rustls::Error),
    /// The library's word.
    #[error("TLS cannot be set up: {0}")]
    Setup(rustls::Error),
}

/// What greets clients by TLS.
#[derive(Clone)]
pub struct Tls {
    acceptor: TlsAcceptor,
    shown: Arc<Shown>,
    files: Arc<Files>,
    seen: Written,
}

/// When each file was written, and how long it is.
type Written = [Option<(SystemTime, u64)>; 2];

struct Files {
    certificate: PathBuf,
    key: PathBuf,
    provider: Arc<CryptoProvider>,
}

/// The certificate that the next client sees.
#[derive(Debug)]
struct Shown(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&locks::read(&self.0)))
    }
}

impl Tls {
    /// From a certificate's file and its key's.
    ///
    /// # Errors
    /// What is wrong with which file.
    pub fn read(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let files = Files { certificate: certificate.to_owned(), key: key.to_owned(), provider };
        // Before they are read: what is written meanwhile is read again.
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

    /// The connection once both sides have agreed.
    ///
    /// # Errors
    /// When the client speaks something else, or goes.
    pub async fn greet<S: AsyncRead + AsyncWrite + Unpin>(&self, socket: S) -> io::Result<TlsStream<S>> {
        self.acceptor.accept(socket).await
    }

    /// Shows a new certificate once there is one, for as long as it is polled. Should the new files not do, the one before stays:
    /// two files cannot be written at once, so a moment later they may.
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
                    info!("the certificate was read again");
                }
                Ok(Err(why)) => error!("{why}; the certificate before stays"),
                Err(why) => error!(%why, "the certificate could not be read again"),
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
            return Err(of_certificate("there is none in it".to_owned()));
        }
        let key = PrivateKeyDer::from_pem_file(&self.key)
            .map_err(|why| TlsError::Key(self.key.clone(), why.to_string()))?;
        CertifiedKey::from_der(chain, key, &self.provider)
            .map_err(|why| TlsError::Apart(self.certificate.clone(), self.key.clone(), why))
    }

    /// Of a Secret that Kubernetes mounts the names stay and lead elsewhere, so it is asked for what they lead to.
    fn written(&self) -> Written {
        [&self.certificate, &self.key].map(|file| {
            let file = metadata(file).ok()?;
            Some((file.modified().ok()?, file.len()))
        })
    }
}
