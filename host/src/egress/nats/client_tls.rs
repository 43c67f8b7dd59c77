//! TLS for a client that connects to an address but has to verify a name.

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::danger::{ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

use crate::egress::server::{ReachError, TlsSettings};
use crate::tls::signatures_verified_by;

/// A configuration that verifies this host, whatever address the client connects to.
pub(super) fn named(tls: &TlsSettings, host: &str) -> Result<ClientConfig, ReachError> {
    let name = ServerName::try_from(host.to_owned())?;
    let verifier = Arc::new(Named { name, inner: tls.verifier.clone() });
    let mut config = (*tls.config).clone();
    config.dangerous().set_certificate_verifier(verifier);
    Ok(config)
}

/// Verifies one name by another verifier.
#[derive(Debug)]
struct Named {
    name: ServerName<'static>,
    inner: Arc<dyn ServerCertVerifier>,
}

impl ServerCertVerifier for Named {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.inner.verify_server_cert(certificate, between, &self.name, ocsp, now)
    }

    signatures_verified_by!(self, self.inner);
}
