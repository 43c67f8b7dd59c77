//! One TLS handshake with a server, and what the server showed, also if it is not trusted.

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use rustls::ClientConfig;
use rustls::client::danger::{ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use weir_core::certificate;
use weir_core::time::Timestamp;

use super::TrustedRoots;
use super::delegation::signatures_verified_by;
use super::roots::{self, RootsError};

/// A handshake that did not end well.
#[derive(Debug, Error)]
pub(crate) enum TlsHandshakeError {
    #[error(transparent)]
    Roots(#[from] RootsError),
    #[error("`{0}` is no name that a certificate can have")]
    Name(String),
    /// The server is not trusted, or does not speak TLS.
    #[error("{cause}")]
    Failed {
        cause: std::io::Error,
        /// The end of the certificate that the server showed, if it showed one.
        not_after: Option<Timestamp>,
    },
}

/// A connection with TLS, and the facts of its handshake.
#[derive(Debug)]
pub(crate) struct TlsSession {
    pub(crate) stream: TlsStream<TcpStream>,
    /// Such as `TLSv1_3`.
    pub(crate) version: String,
    /// The end of the server's certificate.
    pub(crate) not_after: Option<Timestamp>,
}

/// Makes the handshake for HTTP/1.1 with a host, which these authorities must vouch for.
pub(crate) async fn shake_hands(
    stream: TcpStream,
    host: &str,
    ca: Option<PathBuf>,
) -> Result<TlsSession, TlsHandshakeError> {
    let trust = TrustedRoots { ca, ..TrustedRoots::default() };
    let seen = Arc::new(Mutex::new(None));
    let recorder = Recorder { verifier: roots::verifier(&trust)?, seen: seen.clone() };
    let crypto = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(crypto)
        .with_safe_default_protocol_versions()
        .map_err(|error| RootsError::Tls(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(recorder))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let name = ServerName::try_from(bare.to_owned());
    let name = name.map_err(|_| TlsHandshakeError::Name(bare.to_owned()))?;
    let shaken = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    let not_after = seen.lock().as_deref().and_then(certificate::not_after);
    let stream = shaken.map_err(|cause| TlsHandshakeError::Failed { cause, not_after })?;
    let version = stream.get_ref().1.protocol_version();
    let version = version.map_or_else(String::new, |version| format!("{version:?}"));
    Ok(TlsSession { stream, version, not_after })
}

/// Verifies as the hub does, and remembers the certificate.
#[derive(Debug)]
struct Recorder {
    verifier: Arc<dyn ServerCertVerifier>,
    seen: Arc<Mutex<Option<Vec<u8>>>>,
}

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        *self.seen.lock() = Some(certificate.to_vec());
        self.verifier.verify_server_cert(certificate, between, name, ocsp, now)
    }

    signatures_verified_by!(self, self.verifier);
}
