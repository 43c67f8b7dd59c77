//! TLS of the listeners: certificate, key and client authorities, loaded as a whole and reloaded
//! when a file changes. Invalid files never replace valid ones.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use sha2::{Digest as _, Sha256};
use thiserror::Error;
use tokio::time::MissedTickBehavior;
use weir_core::certificate;
use weir_core::time::Timestamp;

use crate::runtime::shutdown::Drain;

/// Between two checks of the files.
const RESCAN: Duration = Duration::from_secs(2);
/// Largest certificate file, in bytes: four times a bundle of all public authorities.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// The protocols of a listener as TLS names them, preferred first.
pub type Protocols = &'static [&'static [u8]];
/// HTTP/2, or HTTP/1.1 for older clients.
pub const HTTP_2_OR_1: Protocols = &[b"h2", b"http/1.1"];
pub const HTTP_1: Protocols = &[b"http/1.1"];

/// The reason why files cannot be used.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{} cannot be read: {cause}", path.display())]
    Unreadable { path: PathBuf, cause: io::Error },
    /// A file is not PEM, or has something else in it.
    #[error("{} contains no usable {what}: {cause}", path.display())]
    Pem {
        path: PathBuf,
        /// The expected content.
        what: &'static str,
        cause: pem::Error,
    },
    /// A certificate cannot be used to check clients.
    #[error("{} contains a certificate that cannot be used to verify clients: \
        {cause}", path.display())]
    Authority { path: PathBuf, cause: rustls::Error },
    /// The client authorities are unusable.
    #[error("cannot verify clients: {0}")]
    Verifier(VerifierBuilderError),
    /// The key does not match the certificate, or its kind is not supported.
    #[error("cannot use certificate and key: {0}")]
    Unusable(rustls::Error),
}

/// The PEM files of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate chain without the root.
    pub cert: PathBuf,
    /// The private key of the certificate.
    pub key: PathBuf,
    /// The authorities for client certificates, if clients may or must have one.
    pub client_ca: Option<ClientCa>,
}

/// The authorities for client certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCa {
    pub file: PathBuf,
    /// True if a client without a certificate gets no connection.
    pub required: bool,
}

/// The TLS configuration of a listener, replaced when its files change.
#[derive(Debug)]
pub struct ServerTls {
    files: TlsFiles,
    protocols: Protocols,
    current: ArcSwap<Served>,
    /// The digest of the files at the last check, valid or not.
    seen: Mutex<[u8; 32]>,
}

/// The configuration of valid files.
#[derive(Debug)]
struct Served {
    config: Arc<ServerConfig>,
    not_after: Option<Timestamp>,
}

/// A listener that speaks TLS. Cheap to clone.
#[derive(Debug, Clone)]
pub struct TlsListener {
    /// The name in the configuration: `server`, `admin`.
    pub listener: &'static str,
    pub tls: Arc<ServerTls>,
}

/// The contents of the files.
struct Read {
    cert: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

impl ServerTls {
    /// Loads the files.
    pub fn load(files: &TlsFiles, protocols: Protocols) -> Result<Self, TlsError> {
        let read = Read::all(files)?;
        Ok(Self {
            current: ArcSwap::from_pointee(made(files, &read, protocols)?),
            files: files.clone(),
            protocols,
            seen: Mutex::new(read.digest()),
        })
    }

    /// The configuration for the next connection.
    #[must_use]
    pub fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.load().config)
    }

    /// The earliest expiry of the chain. None if no certificate has a readable one.
    #[must_use]
    pub fn not_after(&self) -> Option<Timestamp> {
        self.current.load().not_after
    }

    #[must_use]
    pub fn certificates(&self) -> &Path {
        &self.files.cert
    }

    /// Checks the files for changes until claiming stops.
    pub async fn watch(self: Arc<Self>, drain: Drain) {
        let mut tick = tokio::time::interval(RESCAN);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = drain.claiming_stopped() => return,
                _ = tick.tick() => {}
            }
            let tls = self.clone();
            // A file system that hangs must not block a thread of other tasks.
            if let Err(error) = tokio::task::spawn_blocking(move || tls.look()).await {
                tracing::error!(%error, "cannot check the certificate files");
            }
        }
    }

    /// Uses the files if they have changed and are valid.
    fn look(&self) {
        let cert = self.files.cert.display();
        let read = match Read::all(&self.files) {
            Ok(read) => read,
            // Logged once: an unreadable state of the files has a digest too.
            Err(error) => return self.keep(&error, Sha256::digest(error.to_string()).into()),
        };
        let digest = read.digest();
        if *self.seen.lock() == digest {
            return;
        }
        match made(&self.files, &read, self.protocols) {
            Ok(served) => {
                self.current.store(Arc::new(served));
                *self.seen.lock() = digest;
                tracing::info!(%cert, "certificate replaced; new connections use it");
            }
            Err(error) => self.keep(&error, digest),
        }
    }

    fn keep(&self, error: &TlsError, digest: [u8; 32]) {
        let before = std::mem::replace(&mut *self.seen.lock(), digest);
        if before != digest {
            let cert = self.files.cert.display();
            tracing::error!(%cert, %error, "changed certificate files are invalid; the last good \
                ones are used");
        }
    }
}

impl Read {
    fn all(files: &TlsFiles) -> Result<Self, TlsError> {
        let ca = files.client_ca.as_ref().map(|ca| contents(&ca.file));
        Ok(Self {
            cert: contents(&files.cert)?,
            key: contents(&files.key)?,
            client_ca: ca.transpose()?,
        })
    }

    fn digest(&self) -> [u8; 32] {
        let mut all = Sha256::new();
        for file in [Some(&self.cert), Some(&self.key), self.client_ca.as_ref()].iter().flatten() {
            all.update(file.len().to_le_bytes());
            all.update(file);
        }
        all.finalize().into()
    }
}

fn contents(path: &Path) -> Result<Vec<u8>, TlsError> {
    let read = || {
        if fs::metadata(path)?.len() > FILE_BYTES_MAX {
            return Err(io::Error::other("larger than 1MiB"));
        }
        fs::read(path)
    };
    read().map_err(|cause| TlsError::Unreadable { path: path.into(), cause })
}

fn made(files: &TlsFiles, read: &Read, protocols: Protocols) -> Result<Served, TlsError> {
    let crypto = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(crypto.clone())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Unusable)?;
    let builder = match files.client_ca.as_ref().zip(read.client_ca.as_ref()) {
        None => builder.with_no_client_auth(),
        Some((ClientCa { file, required }, pem)) => {
            let mut roots = RootCertStore::empty();
            for authority in certificates(file, pem)? {
                let unusable = |cause| TlsError::Authority { path: file.clone(), cause };
                roots.add(authority).map_err(unusable)?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), crypto);
            let verifier = if *required { verifier } else { verifier.allow_unauthenticated() };
            builder.with_client_cert_verifier(verifier.build().map_err(TlsError::Verifier)?)
        }
    };
    let chain = certificates(&files.cert, &read.cert)?;
    let key = PrivateKeyDer::from_pem_slice(&read.key).map_err(|cause| TlsError::Pem {
        path: files.key.clone(),
        what: "private key",
        cause,
    })?;
    let not_after = chain.iter().filter_map(|certificate| certificate::not_after(certificate));
    let not_after = not_after.min();
    let mut config = builder.with_single_cert(chain, key).map_err(TlsError::Unusable)?;
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    Ok(Served { config: Arc::new(config), not_after })
}

/// At least one certificate.
fn certificates(path: &Path, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |cause| TlsError::Pem { path: path.into(), what: "certificate", cause };
    let all = CertificateDer::pem_slice_iter(text).collect::<Result<Vec<_>, _>>();
    match all.map_err(failed)? {
        none if none.is_empty() => Err(failed(pem::Error::NoItemsFound)),
        all => Ok(all),
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};
    use tempfile::TempDir;

    use super::*;

    fn write(folder: &TempDir, key_of: Option<&KeyPair>) -> KeyPair {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["hub".to_owned()]).unwrap();
        let cert = params.self_signed(&key).unwrap();
        fs::write(folder.path().join("cert"), cert.pem()).unwrap();
        fs::write(folder.path().join("key"), key_of.unwrap_or(&key).serialize_pem()).unwrap();
        key
    }

    fn files(folder: &TempDir) -> TlsFiles {
        let path = |name| folder.path().join(name);
        TlsFiles { cert: path("cert"), key: path("key"), client_ca: None }
    }

    #[test]
    fn invalid_files_never_replace_valid_ones() {
        let folder = tempfile::tempdir().unwrap();
        let first = write(&folder, None);
        let tls = ServerTls::load(&files(&folder), HTTP_1).unwrap();
        let good = tls.current();
        tls.look();
        assert!(Arc::ptr_eq(&good, &tls.current()), "nothing has changed");
        // A key that does not match, an empty file, and no file.
        write(&folder, Some(&first));
        tls.look();
        assert!(Arc::ptr_eq(&good, &tls.current()));
        fs::write(folder.path().join("cert"), "garbage").unwrap();
        tls.look();
        fs::remove_file(folder.path().join("key")).unwrap();
        tls.look();
        assert!(Arc::ptr_eq(&good, &tls.current()));
        write(&folder, None);
        tls.look();
        assert!(!Arc::ptr_eq(&good, &tls.current()), "and then a good one is taken");
    }

    #[test]
    fn the_earliest_expiry_of_the_chain_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let until = |year, key: &KeyPair| {
            let mut params = CertificateParams::new(vec!["hub".to_owned()]).unwrap();
            params.not_after = rcgen::date_time_ymd(year, 1, 1);
            params.self_signed(key).unwrap().pem()
        };
        let (key, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let chain = format!("{}{}", until(2040, &key), until(2030, &other));
        fs::write(folder.path().join("cert"), chain).unwrap();
        fs::write(folder.path().join("key"), key.serialize_pem()).unwrap();
        let tls = ServerTls::load(&files(&folder), HTTP_1).unwrap();
        let seconds = tls.not_after().unwrap().as_millis() / 1_000;
        assert_eq!(seconds, 1_893_456_000, "2030-01-01");
        fs::write(folder.path().join("cert"), until(2040, &key)).unwrap();
        tls.look();
        assert_eq!(tls.not_after().unwrap().as_millis() / 1_000, 2_208_988_800, "2040-01-01");
    }

    #[test]
    fn errors_name_the_invalid_file() {
        let folder = tempfile::tempdir().unwrap();
        let said = || ServerTls::load(&files(&folder), HTTP_1).unwrap_err().to_string();
        assert!(said().contains("cert cannot be read: No such file"), "{}", said());
        let other = KeyPair::generate().unwrap();
        write(&folder, Some(&other));
        assert!(said().starts_with("cannot use certificate and key"), "{}", said());
        fs::write(folder.path().join("key"), "garbage").unwrap();
        assert!(said().contains("key contains no usable private key"), "{}", said());
        fs::write(folder.path().join("cert"), "garbage").unwrap();
        assert!(said().contains("cert contains no usable certificate"), "{}", said());
    }
}
