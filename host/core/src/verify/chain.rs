//! Certificate chains: is a sender's certificate signed by a trusted authority?
//!
//! Fetches nothing. Senders such as Amazon SNS publish only the last certificate of the chain,
//! which names the address of its issuer's certificate. [`CertificateChain::verify`] returns that
//! address, and is called again with the fetched certificate.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use x509_cert::Certificate;
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::AuthorityInfoAccessSyntax;
use x509_cert::ext::pkix::name::GeneralName;

use super::key::KeyError;
use super::web_address::is_issuer_url;
use crate::time::{Timestamp, millis};

/// The maximum number of certificates in one document.
pub(super) const CERTIFICATES_MAX: usize = 8;
/// The maximum number of issuers that are fetched for one certificate.
pub const ISSUERS_MAX: usize = 4;
/// The access method that gives the address of the issuer's certificate.
const CA_ISSUERS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.2");

const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";
const END: &[u8] = b"-----END CERTIFICATE-----";

/// The trusted certificate authorities.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Authorities(Vec<TrustAnchor<'static>>);

impl std::fmt::Debug for Authorities {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Authorities").field(&self.0.len()).finish()
    }
}

impl Authorities {
    pub fn new(anchors: impl IntoIterator<Item = TrustAnchor<'static>>) -> Self {
        Self(anchors.into_iter().collect())
    }

    /// Adds the authorities of a PEM file and returns their number.
    ///
    /// # Errors
    /// Fails if the file holds anything but certificates, or none.
    pub fn add_pem(&mut self, pem: &[u8]) -> Result<usize, KeyError> {
        let certificates = pem_certificates(pem, usize::MAX)?;
        for der in &certificates {
            let der = CertificateDer::from(der.as_slice());
            let anchor = webpki::anchor_from_trusted_cert(&der);
            self.0.push(anchor.map_err(|_| KeyError::NotCertificate)?.to_owned());
        }
        Ok(certificates.len())
    }
}

/// The certificates of a PEM document that holds nothing else: at least one and at most `most`.
pub(super) fn pem_certificates(document: &[u8], most: usize) -> Result<Vec<Vec<u8>>, KeyError> {
    let wrong = KeyError::NotCertificate;
    let mut found = Vec::new();
    let mut rest = document.trim_ascii();
    while !rest.is_empty() {
        let inside = rest.strip_prefix(BEGIN).ok_or(wrong)?;
        let end = memchr::memmem::find(inside, END).ok_or(wrong)?;
        let base64: Vec<u8> =
            inside[..end].iter().copied().filter(|b| !b" \t\r\n".contains(b)).collect();
        found.push(STANDARD.decode(base64).map_err(|_| wrong)?);
        if found.len() > most {
            return Err(wrong);
        }
        rest = inside[end + END.len()..].trim_ascii_start();
    }
    if found.is_empty() { Err(wrong) } else { Ok(found) }
}

/// A certificate, and the candidates for the certificates between it and an authority.
pub(super) struct CertificateChain<'a> {
    pub(super) leaf: &'a [u8],
    pub(super) between: Vec<&'a [u8]>,
}

/// The result of following a chain.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ChainOutcome {
    /// The chain ends at an authority, and all of it is valid in this period.
    Trusted { not_before: Timestamp, not_after: Timestamp },
    /// The issuer's certificate must be fetched from this address.
    NeedIssuer(String),
}

impl CertificateChain<'_> {
    /// Follows the chain at time `now`.
    pub(super) fn verify(
        &self,
        authorities: &Authorities,
        now: Timestamp,
    ) -> Result<ChainOutcome, KeyError> {
        let leaf = CertificateDer::from(self.leaf);
        let between: Vec<_> = self.between.iter().map(|der| CertificateDer::from(*der)).collect();
        let end = webpki::EndEntityCert::try_from(&leaf).map_err(|_| KeyError::NotCertificate)?;
        let since_1970 = std::time::Duration::from_millis(now.as_millis());
        let path = end.verify_for_usage(
            webpki::ALL_VERIFICATION_ALGS,
            &authorities.0,
            &between,
            UnixTime::since_unix_epoch(since_1970),
            webpki::KeyUsage::server_auth(),
            None,
            None,
        );
        match path {
            Ok(path) => {
                let mut ders = vec![self.leaf.to_vec()];
                ders.extend(path.intermediate_certificates().map(|cert| cert.der().to_vec()));
                let spans: Vec<_> =
                    ders.iter().map(|der| validity(der)).collect::<Result<_, _>>()?;
                let not_before = spans.iter().map(|(from, _)| *from).max();
                let not_after = spans.iter().map(|(_, to)| *to).min();
                let spans = not_before.zip(not_after);
                let (not_before, not_after) = spans.ok_or(KeyError::NotCertificate)?;
                Ok(ChainOutcome::Trusted { not_before, not_after })
            }
            Err(webpki::Error::UnknownIssuer) => {
                self.missing_issuer().map(ChainOutcome::NeedIssuer)
            }
            Err(webpki::Error::CertExpired { .. } | webpki::Error::CertNotValidYet { .. }) => {
                Err(KeyError::NotValidNow)
            }
            Err(_) => Err(KeyError::UnknownAuthority),
        }
    }

    /// The address of the first missing issuer.
    fn missing_issuer(&self) -> Result<String, KeyError> {
        let read = |der: &[u8]| Certificate::from_der(der).map_err(|_| KeyError::NotCertificate);
        let mut last = read(self.leaf)?;
        let between = self.between.iter().map(|der| read(der)).collect::<Result<Vec<_>, _>>()?;
        for _ in 0..=between.len() {
            let body = last.tbs_certificate();
            if body.issuer() == body.subject() {
                return Err(KeyError::UnknownAuthority);
            }
            let next = between.iter().find(|issuer| {
                issuer.tbs_certificate().subject() == body.issuer() && **issuer != last
            });
            match next {
                Some(issuer) => last = issuer.clone(),
                None => return issuer_address(&last).ok_or(KeyError::UnknownAuthority),
            }
        }
        Err(KeyError::UnknownAuthority)
    }
}

fn issuer_address(certificate: &Certificate) -> Option<String> {
    let body = certificate.tbs_certificate();
    let (_, ways) = body.get_extension::<AuthorityInfoAccessSyntax>().ok()??;
    ways.0.into_iter().filter(|way| way.access_method == CA_ISSUERS).find_map(|way| {
        match way.access_location {
            GeneralName::UniformResourceIdentifier(url) if is_issuer_url(url.as_str()) => {
                Some(url.as_str().to_owned())
            }
            _ => None,
        }
    })
}

/// An issuer's certificate as published: DER, or one certificate in PEM.
pub(super) fn issuer(document: &[u8]) -> Result<Vec<u8>, KeyError> {
    let der = match pem_certificates(document, 1) {
        Ok(mut one) => one.remove(0),
        Err(_) => document.to_vec(),
    };
    let read = Certificate::from_der(&der).and_then(|certificate| certificate.to_der());
    if read.is_ok() { Ok(der) } else { Err(KeyError::NotCertificate) }
}

fn validity(der: &[u8]) -> Result<(Timestamp, Timestamp), KeyError> {
    let certificate = Certificate::from_der(der).map_err(|_| KeyError::NotCertificate)?;
    let at = |time: &x509_cert::time::Time| Timestamp::from_millis(millis(time.to_unix_duration()));
    let validity = certificate.tbs_certificate().validity();
    Ok((at(&validity.not_before), at(&validity.not_after)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_holds_only_certificates() {
        let pem = "-----BEGIN CERTIFICATE-----\nAAAA\nBBBB\n-----END CERTIFICATE-----\n";
        let read = |text: &str, most| pem_certificates(text.as_bytes(), most).map(|all| all.len());
        assert_eq!(read(pem, 1), Ok(1));
        assert_eq!(read(&format!("\r\n{}", pem.replace('\n', "\r\n")), 1), Ok(1));
        assert_eq!(read(&format!("{pem}{pem}"), 2), Ok(2));
        let wrong = Err(KeyError::NotCertificate);
        for text in [
            String::new(),
            format!("{pem}{pem}"),
            format!("<Error><Message>{pem}</Message></Error>"),
            format!("subject=CN\n{pem}"),
            format!("{pem}x"),
            pem.replace("AAAA", "AA<A"),
            pem.replace("CERTIFICATE", "PUBLIC KEY"),
            pem.replace("-----END", "-----FIN"),
        ] {
            assert_eq!(read(&text, 1), wrong, "{text}");
        }
    }
}
