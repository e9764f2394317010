//! Certificates for 127.0.0.1, from an authority that only a test trusts.

use std::fs;
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;

/// A directory with `ca.pem`, `server.pem` and `server.key`.
#[derive(Debug)]
pub struct Certificates {
    directory: TempDir,
}

impl Certificates {
    /// Creates them.
    ///
    /// # Errors
    /// When they cannot be made or written.
    pub fn new() -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("tollgate-certificates-").tempdir()?;
        let mut authority = CertificateParams::new(Vec::new())?;
        // With one name, the certificate would seem to sign itself.
        authority.distinguished_name.push(DnType::CommonName, "Tollgate's tests");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
        let key = KeyPair::generate()?;
        let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
        let mut server = CertificateParams::new(names)?;
        server.distinguished_name.push(DnType::CommonName, "127.0.0.1");
        let server = server.signed_by(&key, &authority)?;
        fs::write(directory.path().join("ca.pem"), authority.pem())?;
        fs::write(directory.path().join("server.pem"), server.pem())?;
        fs::write(directory.path().join("server.key"), key.serialize_pem())?;
        Ok(Self { directory })
    }

    /// Their directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }
}
