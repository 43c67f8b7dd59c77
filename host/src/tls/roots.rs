//! The authorities for servers that the hub calls: a built-in list or the system's, and further
//! ones from files, which are reloaded when they change. An invalid file never replaces a valid
//! one.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::client::danger::{ServerCertVerified, ServerCertVerifier};
use rustls::client::{WantsClientCert, WebPkiServerVerifier, verify_server_name};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, ConfigBuilder, RootCertStore};
use thiserror::Error;
use tokio::time::MissedTickBehavior;
use weir_core::certificate;

use super::delegation::signatures_verified_by;
use super::identity::{ClientIdentity, ClientIdentityError};
use crate::runtime::shutdown::Drain;

/// Between two checks of the files.
const RESCAN: Duration = Duration::from_secs(2);
/// Largest certificate file, in bytes: four times a bundle of all public authorities.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Most files of one folder.
const FOLDER_FILES_MAX: usize = 4_096;

/// The reason why servers cannot be verified as configured.
#[derive(Debug, Error)]
pub enum RootsError {
    /// A file cannot be read.
    #[error("{} cannot be read: {cause}", path.display())]
    Unreadable { path: PathBuf, cause: std::io::Error },
    /// A file has no certificate.
    #[error("{} contains no certificate in PEM form: {what}", path.display())]
    NoCertificate { path: PathBuf, what: String },
    /// A certificate cannot be used to check servers.
    #[error("{} contains a certificate that cannot be used to verify servers: \
        {cause}", path.display())]
    Unusable { path: PathBuf, cause: rustls::Error },
    /// The system has no authorities.
    #[error("cannot use the system's list of authorities: {0}")]
    System(String),
    /// TLS cannot be set up.
    #[error("cannot set up TLS: {0}")]
    Tls(String),
    /// The client's own certificate cannot be used.
    #[error(transparent)]
    Identity(ClientIdentityError),
}

/// The authorities that vouch for the servers which the hub calls.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedRoots {
    /// Uses the system's list instead of the built-in one.
    pub system: bool,
    /// A PEM file with further authorities.
    pub ca: Option<PathBuf>,
    /// The file that `SSL_CERT_FILE` names.
    pub ssl_cert_file: Option<PathBuf>,
    /// The folders that `SSL_CERT_DIR` names.
    pub ssl_cert_dirs: Vec<PathBuf>,
}

impl TrustedRoots {
    /// The files that may change.
    fn files(&self) -> impl Iterator<Item = &Path> {
        self.ca.iter().chain(&self.ssl_cert_file).chain(&self.ssl_cert_dirs).map(PathBuf::as_path)
    }
}

/// All lists in use, for [`watch`].
static IN_USE: Mutex<Vec<Weak<Roots>>> = Mutex::new(Vec::new());

/// The authorities of some of the hub's clients.
#[derive(Debug)]
struct Roots {
    trust: TrustedRoots,
    current: ArcSwap<Checks>,
    /// The files at the last check, valid or not.
    seen: Mutex<Vec<FileStamp>>,
}

/// The verifier of server certificates.
#[derive(Debug)]
struct Checks {
    by_authority: Arc<WebPkiServerVerifier>,
    /// The certificates of the operator's files: a server may also have one of these itself.
    own: Vec<CertificateDer<'static>>,
}

type FileStamp = Option<(u64, u64, i64, i64)>;

/// The TLS configuration of clients that trust these authorities.
pub(crate) fn client(trust: &TrustedRoots) -> Result<ClientConfig, RootsError> {
    Ok(verifying(trust)?.with_no_client_auth())
}

/// The same for a client that has a certificate of its own.
pub(crate) fn client_with_identity(
    trust: &TrustedRoots,
    identity: &ClientIdentity,
) -> Result<ClientConfig, RootsError> {
    let (chain, key) = identity.parts().map_err(RootsError::Identity)?;
    let config = verifying(trust)?.with_client_auth_cert(chain, key);
    config.map_err(|error| RootsError::Identity(ClientIdentityError::Unusable(error)))
}

type Verifying = ConfigBuilder<ClientConfig, WantsClientCert>;

fn verifying(trust: &TrustedRoots) -> Result<Verifying, RootsError> {
    let roots = Roots::of(trust)?;
    let crypto = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(crypto)
        .with_safe_default_protocol_versions()
        .map_err(|error| RootsError::Tls(error.to_string()))?;
    let verifier = Arc::new(Verifier(roots));
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier))
}

/// The verifier of servers by these authorities.
pub(crate) fn verifier(trust: &TrustedRoots) -> Result<Arc<dyn ServerCertVerifier>, RootsError> {
    Ok(Arc::new(Verifier(Roots::of(trust)?)))
}

/// Tries to read a file of authorities.
pub(crate) fn try_file(file: &Path) -> Result<(), RootsError> {
    let mut store = RootCertStore::empty();
    add(&mut store, file).map(|_| ())
}

/// Reloads changed files until claiming stops.
pub(crate) async fn watch(drain: Drain) {
    let mut look = tokio::time::interval(RESCAN);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = drain.claiming_stopped() => return,
            _ = look.tick() => {}
        }
        let _ended = tokio::task::spawn_blocking(look_again).await;
    }
}

fn look_again() {
    let in_use: Vec<_> = IN_USE.lock().iter().filter_map(Weak::upgrade).collect();
    in_use.iter().for_each(|roots| roots.look());
}

impl Roots {
    /// The list in use for these roots, else a new one.
    fn of(trust: &TrustedRoots) -> Result<Arc<Self>, RootsError> {
        let mut in_use = IN_USE.lock();
        in_use.retain(|roots| roots.strong_count() > 0);
        let known = in_use.iter().filter_map(Weak::upgrade).find(|roots| roots.trust == *trust);
        if let Some(known) = known {
            known.look();
            return Ok(known);
        }
        let seen = Mutex::new(signs(trust));
        let current = ArcSwap::from_pointee(read(trust)?);
        let made = Arc::new(Self { trust: trust.clone(), current, seen });
        in_use.push(Arc::downgrade(&made));
        Ok(made)
    }

    fn look(&self) {
        let signs = signs(&self.trust);
        let mut seen = self.seen.lock();
        if *seen == signs {
            return;
        }
        *seen = signs;
        match read(&self.trust) {
            Ok(read) => {
                self.current.store(Arc::new(read));
                tracing::info!("authorities for servers reloaded");
            }
            Err(error) => {
                tracing::error!(%error, "changed authorities for servers are invalid; the last \
                    good ones are used")
            }
        }
    }
}

fn signs(trust: &TrustedRoots) -> Vec<FileStamp> {
    let sign = |file: &Path| {
        let data = fs::metadata(file).ok()?;
        Some((data.ino(), data.len(), data.mtime(), data.ctime_nsec()))
    };
    trust.files().map(sign).collect()
}

fn read(trust: &TrustedRoots) -> Result<Checks, RootsError> {
    let mut store = RootCertStore::empty();
    if trust.system {
        let found = rustls_native_certs::load_native_certs();
        let (added, _) = store.add_parsable_certificates(found.certs);
        if added == 0 {
            let said: Vec<_> = found.errors.iter().map(ToString::to_string).collect();
            return Err(RootsError::System(said.join("; ")));
        }
    } else {
        store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    let mut own = Vec::new();
    for file in trust.ca.iter().chain(&trust.ssl_cert_file) {
        own.extend(add(&mut store, file)?);
    }
    for folder in &trust.ssl_cert_dirs {
        for file in fs::read_dir(folder).into_iter().flatten().flatten().take(FOLDER_FILES_MAX) {
            // Such a folder contains other files too.
            let _other = add(&mut store, &file.path());
        }
    }
    let crypto = Arc::new(rustls::crypto::ring::default_provider());
    let by_authority = WebPkiServerVerifier::builder_with_provider(Arc::new(store), crypto)
        .build()
        .map_err(|error| RootsError::Tls(error.to_string()))?;
    Ok(Checks { by_authority, own })
}

/// Adds the certificates of a file to a store, and returns them.
fn add(store: &mut RootCertStore, file: &Path) -> Result<Vec<CertificateDer<'static>>, RootsError> {
    let path = || file.to_path_buf();
    let read = || {
        if fs::metadata(file)?.len() > FILE_BYTES_MAX {
            return Err(std::io::Error::other("it is larger than 1MiB"));
        }
        fs::read(file)
    };
    let text = read().map_err(|cause| RootsError::Unreadable { path: path(), cause })?;
    let none = |what: &str| RootsError::NoCertificate { path: path(), what: what.into() };
    let all = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
    let all = all.map_err(|error| none(&error.to_string()))?;
    if all.is_empty() {
        return Err(none(match () {
            () if memchr::memmem::find(&text, b"PRIVATE KEY-----").is_some() => {
                "it contains a private key"
            }
            () if text.is_empty() => "it is empty",
            () if text.first() == Some(&0x30) => {
                "it looks like DER; `openssl x509 -inform der -in FILE` converts it"
            }
            () => "there is no `-----BEGIN CERTIFICATE-----` in it",
        }));
    }
    for certificate in &all {
        let unusable = |cause| RootsError::Unusable { path: path(), cause };
        store.add(certificate.clone()).map_err(unusable)?;
    }
    Ok(all)
}

/// Verifies servers by the current list.
#[derive(Debug)]
struct Verifier(Arc<Roots>);

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let checks = self.0.current.load();
        let checked = checks.by_authority.verify_server_cert(certificate, between, name, ocsp, now);
        // A self-signed server certificate: webpki accepts none that is marked as an authority, but
        // the operator named this very certificate.
        if checked.is_err() && checks.own.iter().any(|own| own == certificate) {
            verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
            let until = certificate::not_after(certificate);
            if until.is_some_and(|until| until.as_secs() >= now.as_secs()) {
                return Ok(ServerCertVerified::assertion());
            }
        }
        checked
    }

    signatures_verified_by!(self, self.0.current.load().by_authority);
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use tempfile::TempDir;

    use super::*;

    struct Made {
        authority: CertifiedIssuer<'static, KeyPair>,
        server: CertificateDer<'static>,
    }

    fn made() -> Made {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["ops.internal".to_owned()]).unwrap();
        let server = params.signed_by(&key, &authority).unwrap().der().clone();
        Made { authority, server }
    }

    fn trusts(roots: &Arc<Roots>, certificate: &CertificateDer<'_>, name: &str) -> bool {
        let name = ServerName::try_from(name).unwrap();
        let now = UnixTime::since_unix_epoch(Duration::from_secs(1_790_000_000));
        let verifier = Verifier(roots.clone());
        verifier.verify_server_cert(certificate, &[], &name, &[], now).is_ok()
    }

    fn file(folder: &TempDir, name: &str, text: &str) -> PathBuf {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn an_authority_file_is_trusted_and_reloaded() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (made(), made());
        let ca = file(&folder, "ca.pem", &one.authority.pem());
        let trust = TrustedRoots { ca: Some(ca.clone()), ..TrustedRoots::default() };
        let roots = Roots::of(&trust).unwrap();
        assert!(trusts(&roots, &one.server, "ops.internal"));
        assert!(!trusts(&roots, &one.server, "other.internal"));
        assert!(!trusts(&roots, &other.server, "ops.internal"));
        assert!(Arc::ptr_eq(&roots, &Roots::of(&trust).unwrap()), "one list for all who share it");
        fs::write(&ca, "garbage").unwrap();
        roots.look();
        assert!(trusts(&roots, &one.server, "ops.internal"), "what could be used stays");
        fs::write(&ca, other.authority.pem()).unwrap();
        roots.look();
        assert!(trusts(&roots, &other.server, "ops.internal"));
        assert!(!trusts(&roots, &one.server, "ops.internal"));
    }

    #[test]
    fn the_variables_of_openssl_add_authorities() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other, third) = (made(), made(), made());
        let ssl_cert_file = Some(file(&folder, "one.pem", &one.authority.pem()));
        let certs = tempfile::tempdir().unwrap();
        file(&certs, "0a1b2c3d.0", &other.authority.pem());
        file(&certs, "README", "no certificate");
        let ssl_cert_dirs = vec![certs.path().to_owned()];
        let trust = TrustedRoots { ssl_cert_file, ssl_cert_dirs, ..TrustedRoots::default() };
        let roots = Roots::of(&trust).unwrap();
        assert!(trusts(&roots, &one.server, "ops.internal"));
        assert!(trusts(&roots, &other.server, "ops.internal"));
        assert!(!trusts(&roots, &third.server, "ops.internal"));
    }

    #[test]
    fn a_self_signed_server_is_trusted_by_its_certificate_only() {
        let folder = tempfile::tempdir().unwrap();
        let own = || {
            let mut params = CertificateParams::new(vec!["ops.internal".to_owned()]).unwrap();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.self_signed(&KeyPair::generate().unwrap()).unwrap()
        };
        let (own, other) = (own(), own());
        let trust = TrustedRoots {
            ca: Some(file(&folder, "own.pem", &own.pem())),
            ..TrustedRoots::default()
        };
        let roots = Roots::of(&trust).unwrap();
        assert!(trusts(&roots, own.der(), "ops.internal"));
        assert!(!trusts(&roots, own.der(), "other.internal"));
        assert!(!trusts(&roots, other.der(), "ops.internal"));
    }

    #[test]
    fn an_invalid_authority_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let said = |name: &str, text: Option<&str>| {
            if let Some(text) = text {
                file(&folder, name, text);
            }
            try_file(&folder.path().join(name)).unwrap_err().to_string()
        };
        let key = KeyPair::generate().unwrap().serialize_pem();
        for (name, text, what) in [
            ("gone.pem", None, "gone.pem cannot be read: No such file"),
            (
                "key.pem",
                Some(&*key),
                "key.pem contains no certificate in PEM form: it contains a private",
            ),
            ("empty.pem", Some(""), "it is empty"),
            ("der.pem", Some("0\u{1}\u{2}"), "it looks like DER"),
            ("text.pem", Some("hello"), "there is no `-----BEGIN CERTIFICATE-----` in it"),
            (
                "bad.pem",
                Some("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
                "bad.pem contains a certificate that cannot be used to verify servers",
            ),
        ] {
            let said = said(name, text);
            assert!(said.contains(what), "{said}");
        }
    }
}
