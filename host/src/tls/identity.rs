//! The certificate by which the hub shows a server who it is.

use std::fmt;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use thiserror::Error;
use weir_core::verify::Secret;

/// A certificate and its key that cannot be used. Lasts until the operator changes them.
#[derive(Debug, Error)]
pub enum ClientIdentityError {
    #[error("there is no certificate in PEM form")]
    NoCertificate,
    #[error("there is no private key in PEM form")]
    NoKey,
    /// The key is not that of the first certificate, or its kind is not supported.
    #[error("the key cannot be used with the certificate: {0}")]
    Unusable(rustls::Error),
}

impl ClientIdentityError {
    /// True if the key is at fault, as far as can be known.
    #[must_use]
    pub fn is_about_the_key(&self) -> bool {
        !matches!(self, Self::NoCertificate)
    }
}

/// A client's certificate chain and private key.
#[derive(Clone)]
pub struct ClientIdentity {
    chain: Vec<CertificateDer<'static>>,
    key: Secret,
}

impl fmt::Debug for ClientIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientIdentity").field("chain", &self.chain).finish_non_exhaustive()
    }
}

impl ClientIdentity {
    /// Reads a chain, the client's own certificate first, and its key.
    ///
    /// # Errors
    /// If they do not belong together.
    pub fn from_pem(chain: &[u8], key: Secret) -> Result<Self, ClientIdentityError> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<_, _>>()
            .map_err(|_| ClientIdentityError::NoCertificate)?;
        if chain.is_empty() {
            return Err(ClientIdentityError::NoCertificate);
        }
        let identity = Self { chain, key };
        let (chain, key) = identity.parts()?;
        let crypto = rustls::crypto::ring::default_provider();
        CertifiedKey::from_der(chain, key, &crypto).map_err(ClientIdentityError::Unusable)?;
        Ok(identity)
    }

    /// The private key in PEM form.
    #[must_use]
    pub fn key(&self) -> &Secret {
        &self.key
    }

    pub(super) fn parts(
        &self,
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), ClientIdentityError> {
        let key = PrivateKeyDer::from_pem_slice(self.key.expose());
        Ok((self.chain.clone(), key.map_err(|_| ClientIdentityError::NoKey)?))
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    #[test]
    fn only_a_key_of_the_certificate_is_taken() {
        let (key, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let params = CertificateParams::new(vec!["hub".to_owned()]).unwrap();
        let chain = params.self_signed(&key).unwrap().pem();
        let read = |chain: &str, key: &str| {
            ClientIdentity::from_pem(chain.as_bytes(), Secret::new(key)).map(|_| ())
        };
        assert!(read(&chain, &key.serialize_pem()).is_ok());
        let wrong = read(&chain, &other.serialize_pem()).unwrap_err();
        assert!(matches!(wrong, ClientIdentityError::Unusable(_)) && wrong.is_about_the_key());
        assert!(matches!(read(&chain, "key"), Err(ClientIdentityError::NoKey)));
        assert!(matches!(read("", &key.serialize_pem()), Err(ClientIdentityError::NoCertificate)));
    }
}
