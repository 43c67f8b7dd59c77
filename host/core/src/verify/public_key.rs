//! Public keys as senders publish them: PEM, X.509 certificates, JSON Web Keys (RFC 7517) and sets
//! of them.
//!
//! Parses keys and verifies signatures. `fetched` decides which addresses of keys are trusted.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_PAD_INDIFFERENT, URL_SAFE_PAD_INDIFFERENT};
use ring::signature::{
    self, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};
use serde::Deserialize;
use x509_cert::Certificate;
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use super::key::{
    KeyError, ed25519_public, is_wrapped_point, p256_public, rsa_public, without_pem_lines,
};
use super::scheme::Algorithm;
use crate::time::{Timestamp, millis};

/// The maximum number of keys in one set; large senders publish fewer than ten.
pub(crate) const KEYS_PER_SET_MAX: usize = 64;
/// The maximum size of a key document, in bytes.
pub const KEY_DOCUMENT_BYTES_MAX: usize = 256 * 1024;

/// One public key, or those of a published set.
#[derive(Clone, PartialEq, Eq)]
pub struct KeySet {
    keys: Vec<PublishedKey>,
}

#[derive(Clone, PartialEq, Eq)]
pub(crate) struct PublishedKey {
    /// The id by which tokens refer to the key.
    pub(crate) id: Option<String>,
    key: PublicKey,
    /// The other content of its certificate, if it came in one.
    pub(crate) certified: Option<Certified>,
}

/// The names and the validity that a certificate gives its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Certified {
    /// The host names of the certificate: its alternative names, else its common name.
    pub(crate) names: Vec<String>,
    pub(crate) not_before: Timestamp,
    pub(crate) not_after: Timestamp,
}

#[derive(Clone, PartialEq, Eq)]
enum PublicKey {
    Ed25519(Vec<u8>),
    P256(Vec<u8>),
    P384(Vec<u8>),
    /// An `RSAPublicKey`.
    Rsa(Vec<u8>),
    RsaNumbers(Vec<u8>, Vec<u8>),
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeySet").field("keys", &self.keys.len()).finish()
    }
}

impl KeySet {
    /// Reads PEM (a public key or certificates), bare base64, a JSON Web Key or a set of them. Keys
    /// of unsupported kinds in a set are left out; a document without any key is an error.
    pub fn parse(document: &[u8]) -> Result<Self, KeyError> {
        if document.len() > KEY_DOCUMENT_BYTES_MAX {
            return Err(KeyError::NotPublicKey);
        }
        let text = document.trim_ascii();
        let keys = if text.starts_with(b"{") {
            web_keys(text)?
        } else if memchr::memmem::find(text, b"-----BEGIN CERTIFICATE-----").is_some() {
            vec![first_certificate(text)?]
        } else {
            let der = STANDARD_PAD_INDIFFERENT.decode(&*without_pem_lines(text));
            let key = PublicKey::from_der(&der.map_err(|_| KeyError::NotPublicKey)?)?;
            vec![PublishedKey { id: None, key, certified: None }]
        };
        if keys.is_empty() || keys.len() > KEYS_PER_SET_MAX {
            return Err(KeyError::NotPublicKey);
        }
        Ok(Self { keys })
    }

    /// Reads a JSON Web Key or a set of them, and nothing else.
    pub(crate) fn of_web_keys(document: &[u8]) -> Result<Self, KeyError> {
        let text = document.trim_ascii();
        if text.starts_with(b"{") { Self::parse(text) } else { Err(KeyError::NotPublicKey) }
    }

    /// Reads one public key in PEM, and nothing else.
    pub(crate) fn of_public_key(document: &[u8]) -> Result<Self, KeyError> {
        const BEGIN: &[u8] = b"-----BEGIN PUBLIC KEY-----";
        const END: &[u8] = b"-----END PUBLIC KEY-----";
        let text = document.trim_ascii();
        let whole = text.starts_with(BEGIN)
            && text.ends_with(END)
            && memchr::memmem::find_iter(text, "-----BEGIN").count() == 1;
        if whole { Self::parse(text) } else { Err(KeyError::NotPublicKey) }
    }

    /// The key of a certificate that an authority confirms for this period.
    pub(crate) fn of_certificate(
        der: &[u8],
        not_before: Timestamp,
        not_after: Timestamp,
    ) -> Result<Self, KeyError> {
        let mut key = certificate(der)?;
        if let Some(certified) = &mut key.certified {
            (certified.not_before, certified.not_after) = (not_before, not_after);
        }
        Ok(Self { keys: vec![key] })
    }

    /// A set without keys: cached for a document that is not trusted, so that it is not fetched
    /// again at once.
    #[must_use]
    pub fn distrusted() -> Self {
        Self { keys: Vec::new() }
    }

    /// True if one of the keys fits this algorithm.
    pub(crate) fn fits(&self, algorithm: Algorithm) -> bool {
        self.keys.iter().any(|key| key.key.algorithm(algorithm).is_some())
    }

    /// The candidate keys of a token that names `id`: those with this id, else those without an id;
    /// all keys if the token names none.
    pub(crate) fn named(&self, id: Option<&str>) -> impl Iterator<Item = &PublishedKey> {
        self.keys.iter().filter(move |key| match (id, &key.id) {
            (Some(wanted), Some(id)) => wanted == id,
            _ => true,
        })
    }

    /// True if `signature` is valid for the message under one of the keys.
    pub(crate) fn verify(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        self.keys.iter().any(|key| key.verify(algorithm, message, signature))
    }
}

impl PublishedKey {
    pub(crate) fn verify(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        match (&self.key, self.key.algorithm(algorithm)) {
            (PublicKey::RsaNumbers(n, e), Some(Fitting::Rsa(rsa))) => {
                RsaPublicKeyComponents { n, e }.verify(rsa, message, signature).is_ok()
            }
            (PublicKey::Rsa(bytes), Some(Fitting::Rsa(rsa))) => {
                UnparsedPublicKey::new(rsa, bytes).verify(message, signature).is_ok()
            }
            (
                PublicKey::Ed25519(bytes) | PublicKey::P256(bytes) | PublicKey::P384(bytes),
                Some(Fitting::Curve(curve)),
            ) => UnparsedPublicKey::new(curve, bytes).verify(message, signature).is_ok(),
            _ => false,
        }
    }
}

/// An algorithm of ring.
enum Fitting {
    Rsa(&'static RsaParameters),
    Curve(&'static dyn VerificationAlgorithm),
}

impl PublicKey {
    fn from_der(der: &[u8]) -> Result<Self, KeyError> {
        // A bare point cannot be distinguished from a shared secret of 32 or 65 bytes.
        let wrapped = is_wrapped_point(der);
        if let (true, Ok(point)) = (wrapped, p256_public(der)) {
            return Ok(Self::P256(point.to_vec()));
        }
        if let Some(point) = der.strip_prefix(&P384_SPKI[..]).filter(|p| p.len() == 97) {
            return Ok(Self::P384(point.to_vec()));
        }
        if let (true, Ok(point)) = (wrapped, ed25519_public(der)) {
            return Ok(Self::Ed25519(point.to_vec()));
        }
        Ok(Self::Rsa(rsa_public(der)?.to_vec()))
    }

    /// The algorithm of ring, if keys of this kind fit it.
    fn algorithm(&self, algorithm: Algorithm) -> Option<Fitting> {
        Some(match (self, algorithm) {
            (Self::Ed25519(_), Algorithm::Ed25519) => Fitting::Curve(&signature::ED25519),
            (Self::P256(_), Algorithm::EcdsaP256Sha256Der) => {
                Fitting::Curve(&signature::ECDSA_P256_SHA256_ASN1)
            }
            (Self::P256(_), Algorithm::EcdsaP256Sha256) => {
                Fitting::Curve(&signature::ECDSA_P256_SHA256_FIXED)
            }
            (Self::P384(_), Algorithm::EcdsaP384Sha384) => {
                Fitting::Curve(&signature::ECDSA_P384_SHA384_FIXED)
            }
            (Self::Rsa(_) | Self::RsaNumbers(..), algorithm) => Fitting::Rsa(match algorithm {
                Algorithm::RsaPkcs1Sha1 => &signature::RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
                Algorithm::RsaPkcs1Sha256 => &signature::RSA_PKCS1_2048_8192_SHA256,
                Algorithm::RsaPssSha512 => &signature::RSA_PSS_2048_8192_SHA512,
                _ => return None,
            }),
            _ => return None,
        })
    }
}

/// The DER of a SubjectPublicKeyInfo for P-384, up to the point.
const P384_SPKI: [u8; 23] = [
    0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b,
    0x81, 0x04, 0x00, 0x22, 0x03, 0x62, 0x00,
];

/// The SubjectPublicKeyInfo of a P-384 point.
pub(crate) fn p384_spki(point: &[u8]) -> Vec<u8> {
    [&P384_SPKI[..], point].concat()
}

/// The first certificate of a PEM document; the signing certificate comes first.
fn first_certificate(pem: &[u8]) -> Result<PublishedKey, KeyError> {
    let wrong = KeyError::NotPublicKey;
    let start = memchr::memmem::find(pem, b"-----BEGIN CERTIFICATE-----").ok_or(wrong)?;
    let end = memchr::memmem::find(&pem[start..], b"-----END CERTIFICATE-----").ok_or(wrong)?;
    let base64 = without_pem_lines(&pem[start..start + end]);
    certificate(&STANDARD_PAD_INDIFFERENT.decode(&*base64).map_err(|_| wrong)?)
}

/// The key of a certificate, with its names and validity.
fn certificate(der: &[u8]) -> Result<PublishedKey, KeyError> {
    let wrong = KeyError::NotPublicKey;
    let certificate = Certificate::from_der(der).map_err(|_| wrong)?;
    let body = certificate.tbs_certificate();
    let key = body.subject_public_key_info().to_der().map_err(|_| wrong)?;
    let mut names = Vec::new();
    if let Ok(Some((_, SubjectAltName(general)))) = body.get_extension::<SubjectAltName>() {
        names.extend(general.into_iter().filter_map(|name| match name {
            GeneralName::DnsName(name) => Some(name.as_str().to_owned()),
            _ => None,
        }));
    }
    // The common name counts only if there are no alternative names.
    if names.is_empty()
        && let Ok(Some(name)) = body.subject().common_name()
    {
        names.push(name.value().to_string());
    }
    let at = |time: &x509_cert::time::Time| Timestamp::from_millis(millis(time.to_unix_duration()));
    let validity = body.validity();
    Ok(PublishedKey {
        id: None,
        key: PublicKey::from_der(&key)?,
        certified: Some(Certified {
            names,
            not_before: at(&validity.not_before),
            not_after: at(&validity.not_after),
        }),
    })
}

/// The fields of a JSON Web Key that signatures need.
#[derive(Deserialize)]
struct WebKey {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    /// One provider marks an expired key so.
    expired_at: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct WebKeySet {
    keys: Vec<WebKey>,
}

fn web_keys(json: &[u8]) -> Result<Vec<PublishedKey>, KeyError> {
    let wrong = |_| KeyError::NotPublicKey;
    let keys = match serde_json::from_slice::<WebKeySet>(json) {
        Ok(set) => set.keys,
        Err(_) => vec![serde_json::from_slice::<WebKey>(json).map_err(wrong)?],
    };
    if keys.len() > KEYS_PER_SET_MAX {
        return Err(KeyError::NotPublicKey);
    }
    Ok(keys.into_iter().filter_map(web_key).collect())
}

fn web_key(key: WebKey) -> Option<PublishedKey> {
    let expired = key.expired_at.as_ref().is_some_and(|at| !at.is_null());
    if expired || key.purpose.as_deref().is_some_and(|purpose| purpose != "sig") {
        return None;
    }
    let bytes = |text: &Option<String>| {
        URL_SAFE_PAD_INDIFFERENT.decode(text.as_deref()?).ok().filter(|bytes| !bytes.is_empty())
    };
    let point = |size: usize| {
        let (x, y) = (bytes(&key.x)?, bytes(&key.y)?);
        (x.len() == size && y.len() == size).then(|| [&[4], &x[..], &y[..]].concat())
    };
    let found = match (key.kty.as_str(), key.crv.as_deref()) {
        ("RSA", _) => PublicKey::RsaNumbers(bytes(&key.n)?, bytes(&key.e)?),
        ("EC", Some("P-256")) => PublicKey::P256(point(32)?),
        ("EC", Some("P-384")) => PublicKey::P384(point(48)?),
        ("OKP", Some("Ed25519")) => PublicKey::Ed25519(bytes(&key.x).filter(|x| x.len() == 32)?),
        _ => return None,
    };
    Some(PublishedKey { id: key.kid, key: found, certified: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    const P256: &str = r#"{"kty":"EC","crv":"P-256","kid":"a","x":"fCUDBePKAGhGcTb8u44BUBhVvFVm228z5cIY3kWCKIQ","y":"9y8RWKDSECt3rXZsBgkwNFv3zdIMG1n1bzHjAoR5VS8"}"#;

    #[test]
    fn a_set_leaves_out_keys_that_cannot_sign() {
        let set = format!(
            r#"{{"keys":[{P256},{{"kty":"oct","k":"AAAA"}},{{"kty":"RSA","use":"enc","n":"AQAB","e":"AQAB"}}]}}"#
        );
        let set = KeySet::parse(set.as_bytes()).unwrap();
        assert_eq!(set.keys.len(), 1);
        assert!(set.fits(Algorithm::EcdsaP256Sha256) && !set.fits(Algorithm::RsaPkcs1Sha256));
        assert_eq!(set.named(Some("a")).count(), 1);
        assert_eq!(set.named(Some("b")).count(), 0);
        assert_eq!(set.named(None).count(), 1);
    }

    #[test]
    fn an_expired_key_is_left_out() {
        let expired = P256.replace("\"kid\":\"a\"", "\"kid\":\"a\",\"expired_at\":1560466150");
        assert_eq!(KeySet::parse(expired.as_bytes()), Err(KeyError::NotPublicKey));
        let live = P256.replace("\"kid\":\"a\"", "\"kid\":\"a\",\"expired_at\":null");
        assert!(KeySet::parse(live.as_bytes()).is_ok());
    }

    #[test]
    fn other_documents_are_refused() {
        let oversized = vec![b'A'; KEY_DOCUMENT_BYTES_MAX + 1];
        for document in [
            &b""[..],
            b"{}",
            b"{\"keys\":[]}",
            b"AAAA",
            b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----",
            b"-----BEGIN CERTIFICATE-----",
            &P256.as_bytes()[1..],
            &oversized,
        ] {
            assert_eq!(KeySet::parse(document), Err(KeyError::NotPublicKey));
        }
        let bare_point = STANDARD_PAD_INDIFFERENT.encode([7; 32]);
        assert_eq!(KeySet::parse(bare_point.as_bytes()), Err(KeyError::NotPublicKey));
        let short = P256.replace("fCUDBePK", "");
        assert_eq!(KeySet::parse(short.as_bytes()), Err(KeyError::NotPublicKey));
    }
}
