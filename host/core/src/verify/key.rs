//! Keys: a configured secret is decoded and prepared once per source.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_PAD_INDIFFERENT;
use hmac::{Hmac, KeyInit};
use ring::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha384, Sha512};
use thiserror::Error;
use zeroize::Zeroizing;

use super::public_key::KeySet;
use super::scheme::{Algorithm, KeyForm, Scheme};
use super::secret::Secret;
use super::strength::is_of_key_pair;

/// Why a secret cannot be a key of a scheme. Contains nothing of the secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum KeyError {
    /// Empty: anyone could sign with it.
    #[error("secret is empty")]
    Empty,
    #[error("secret is not base64")]
    NotBase64,
    #[error("secret is not hexadecimal")]
    NotHex,
    #[error("secret is not UTF-8 text")]
    NotText,
    /// An Ed25519 key, but the scheme needs a shared secret.
    #[error("secret is an Ed25519 key (whpk_ or whsk_), not a shared whsec_ secret")]
    NotShared,
    /// A shared secret, but the scheme needs an Ed25519 public key.
    #[error("secret is not an Ed25519 key, which starts with whpk_")]
    NotWhpk,
    /// The private key, but verifying needs the public one.
    #[error("secret is a private key; verifying needs the public one")]
    Private,
    /// A key of a key pair, but the scheme needs a shared secret: a public key is not secret.
    #[error(
        "secret is a PEM file, a JSON Web Key or another key of a key pair, which is not shared"
    )]
    KeyPair,
    /// Not a signing secret in the one form that the scheme accepts.
    #[error("secret is not whsec_ and the base64 of 32 bytes")]
    NotWhsec,
    /// Not a private key, which signing needs.
    #[error("secret is not a private key of the scheme's algorithm")]
    NotPrivate,
    /// Not a public key of this algorithm.
    #[error("secret is not a public key of the scheme's algorithm")]
    NotPublicKey,
    /// Not certificates, or too many of them.
    #[error("document is not exactly the expected certificate in PEM")]
    NotCertificate,
    /// No trusted authority signed the certificate.
    #[error("certificate is not from a trusted authority")]
    UnknownAuthority,
    /// The certificate or one of its issuers is not yet or no longer valid.
    #[error("certificate or one of its issuers is not valid at this time")]
    NotValidNow,
}

impl KeyError {
    /// True for a certificate that can be read but is not trusted.
    #[must_use]
    pub const fn is_distrust(self) -> bool {
        matches!(self, Self::UnknownAuthority | Self::NotValidNow)
    }
}

impl KeyForm {
    /// Decodes a secret to the bytes of the key.
    pub(crate) fn decode(self, secret: &Secret) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let bytes = secret.expose();
        let key = match self {
            Self::Utf8 => bytes.to_vec(),
            Self::Nfkd => {
                use unicode_normalization::UnicodeNormalization;
                let text = std::str::from_utf8(bytes).map_err(|_| KeyError::NotText)?;
                text.nfkd().collect::<String>().into_bytes()
            }
            Self::HtmlText => unescape_html(bytes),
            Self::Sha1 if bytes.is_empty() => Vec::new(),
            Self::Sha1 => Sha1::digest(bytes).to_vec(),
            Self::PublicKey => bytes.to_vec(),
            Self::Hex => hex::decode(bytes.trim_ascii()).map_err(|_| KeyError::NotHex)?,
            Self::Base64 => base64_key(&without_pem_lines(bytes))?,
            Self::Whsec => {
                let bytes = bytes.trim_ascii();
                if bytes.starts_with(b"whpk_") || bytes.starts_with(b"whsk_") {
                    return Err(KeyError::NotShared);
                }
                base64_key(bytes.strip_prefix(b"whsec_").unwrap_or(bytes))?
            }
            Self::WhsecOrUtf8 => match standard_webhooks_key(bytes) {
                // Secrets with the other prefix were used as text at first.
                Some(key) if bytes.starts_with(b"whsec_") => key,
                _ => bytes.to_vec(),
            },
            Self::WhsecOnly => {
                let rest = bytes.trim_ascii().strip_prefix(b"whsec_").ok_or(KeyError::NotWhsec)?;
                let key = base64_key(rest)?;
                if key.len() != 32 {
                    return Err(KeyError::NotWhsec);
                }
                key
            }
            Self::Whpk => {
                let bytes = bytes.trim_ascii();
                let rest = bytes.strip_prefix(b"whpk_").or_else(|| bytes.strip_prefix(b"whsk_"));
                base64_key(rest.ok_or(KeyError::NotWhpk)?)?
            }
        };
        if key.is_empty() {
            return Err(KeyError::Empty);
        }
        Ok(Zeroizing::new(key))
    }
}

/// The minimum length of a Standard Webhooks key in schemes where the secret may also be text.
const STANDARD_WEBHOOKS_KEY_BYTES_MIN: usize = 16;

/// The key that Standard Webhooks decodes from a secret with a prefix.
fn standard_webhooks_key(secret: &[u8]) -> Option<Vec<u8>> {
    let secret = secret.trim_ascii();
    let rest = secret.strip_prefix(b"whsec_").or_else(|| secret.strip_prefix(b"polar_whs_"))?;
    let key = base64_key(rest).ok()?;
    (key.len() >= STANDARD_WEBHOOKS_KEY_BYTES_MIN).then_some(key)
}

fn base64_key(text: &[u8]) -> Result<Vec<u8>, KeyError> {
    STANDARD_PAD_INDIFFERENT.decode(text).map_err(|_| KeyError::NotBase64)
}

/// Decodes the HTML escapes of five characters, once, as web shops store their secrets. Numeric
/// escapes may have leading zeros.
fn unescape_html(bytes: &[u8]) -> Vec<u8> {
    fn escape(rest: &[u8]) -> Option<(u8, usize)> {
        let end = memchr::memchr(b';', &rest[..rest.len().min(16)])?;
        let name = std::str::from_utf8(rest.get(1..end)?).ok()?;
        let code = match name {
            "amp" => b'&',
            "lt" => b'<',
            "gt" => b'>',
            "quot" => b'"',
            _ => {
                let number = name.strip_prefix('#')?;
                let code = match number.strip_prefix(['x', 'X']) {
                    Some(hex) => u8::from_str_radix(hex, 16).ok()?,
                    None => number.parse().ok()?,
                };
                Some(code).filter(|code| b"&<>\"'".contains(code))?
            }
        };
        Some((code, end + 1))
    }
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(first) = rest.first() {
        let (byte, length) = match first {
            b'&' => escape(rest).unwrap_or((b'&', 1)),
            other => (*other, 1),
        };
        out.push(byte);
        rest = &rest[length..];
    }
    out
}

/// Base64 text without white space and without the header and footer lines of PEM.
pub(super) fn without_pem_lines(bytes: &[u8]) -> Zeroizing<Vec<u8>> {
    let lines = bytes.split(|b| *b == b'\n').filter(|line| !line.starts_with(b"-----"));
    Zeroizing::new(lines.flatten().copied().filter(|b| !b.is_ascii_whitespace()).collect())
}

/// A prepared key, cloned for each request.
#[derive(Clone)]
pub(crate) enum PreparedKey {
    HmacSha1(Hmac<Sha1>),
    HmacSha256(Hmac<Sha256>),
    HmacSha384(Hmac<Sha384>),
    HmacSha512(Hmac<Sha512>),
    /// SHA-256 that has already hashed the secret.
    Sha256SecretPrefix(Sha256),
    Public(UnparsedPublicKey<Vec<u8>>),
    /// Published keys, for one algorithm.
    Published(Algorithm, KeySet),
    /// The SHA-256 of the token, so that a comparison does not reveal its length.
    Static([u8; 32]),
}

impl fmt::Debug for PreparedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PreparedKey(…)")
    }
}

impl PreparedKey {
    /// The keys of `scheme` from a configured secret: two if the secret can be read in two ways.
    pub(crate) fn every(scheme: &Scheme, secret: &Secret) -> Result<Vec<Self>, KeyError> {
        let mut keys = vec![Self::new(scheme, secret)?];
        if scheme.key == KeyForm::WhsecOrUtf8
            && let Some(decoded) = standard_webhooks_key(secret.expose())
        {
            let other = if secret.expose().starts_with(b"whsec_") {
                secret.expose()
            } else {
                decoded.as_slice()
            };
            keys.push(Self::of_bytes(scheme.algorithm, other)?);
        }
        Ok(keys)
    }

    /// The key of `scheme` from a configured secret.
    pub(crate) fn new(scheme: &Scheme, secret: &Secret) -> Result<Self, KeyError> {
        if secret.is_empty() {
            return Err(KeyError::Empty);
        }
        if scheme.key == KeyForm::Whpk && secret.expose().trim_ascii().starts_with(b"whsk_") {
            return Err(KeyError::Private);
        }
        let key = scheme.key.decode(secret);
        if !scheme.algorithm.has_key_pair()
            && !matches!(key, Err(KeyError::NotShared))
            && is_of_key_pair(secret.expose())
        {
            return Err(KeyError::KeyPair);
        }
        let key = key?;
        if scheme.key == KeyForm::PublicKey && scheme.algorithm.has_key_pair() {
            if memchr::memmem::find(&key, b"PRIVATE KEY-----").is_some() {
                return Err(KeyError::Private);
            }
            let set = KeySet::parse(&key)?;
            if !set.fits(scheme.algorithm) {
                return Err(KeyError::NotPublicKey);
            }
            return Ok(Self::Published(scheme.algorithm, set));
        }
        Self::of_bytes(scheme.algorithm, &key)
    }

    fn of_bytes(algorithm: Algorithm, key: &[u8]) -> Result<Self, KeyError> {
        Ok(match algorithm {
            Algorithm::HmacSha1 => Self::HmacSha1(keyed(key)?),
            Algorithm::HmacSha256 => Self::HmacSha256(keyed(key)?),
            Algorithm::HmacSha384 => Self::HmacSha384(keyed(key)?),
            Algorithm::HmacSha512 => Self::HmacSha512(keyed(key)?),
            Algorithm::Sha256SecretPrefix => Self::Sha256SecretPrefix(Sha256::new_with_prefix(key)),
            Algorithm::StaticEquals => Self::Static(Sha256::digest(key).into()),
            Algorithm::Ed25519 => Self::public(&signature::ED25519, ed25519_public(key)?),
            Algorithm::EcdsaP256Sha256Der => {
                Self::public(&signature::ECDSA_P256_SHA256_ASN1, p256_public(key)?)
            }
            Algorithm::RsaPkcs1Sha1 => Self::public(
                &signature::RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
                rsa_public(key)?,
            ),
            Algorithm::RsaPkcs1Sha256 => {
                Self::public(&signature::RSA_PKCS1_2048_8192_SHA256, rsa_public(key)?)
            }
            Algorithm::RsaPssSha512 => {
                Self::public(&signature::RSA_PSS_2048_8192_SHA512, rsa_public(key)?)
            }
            Algorithm::EcdsaP256Sha256 => {
                Self::public(&signature::ECDSA_P256_SHA256_FIXED, p256_public(key)?)
            }
            // A point of this curve is accepted only as the sender publishes it.
            Algorithm::EcdsaP384Sha384 => return Err(KeyError::NotPublicKey),
        })
    }

    fn public(algorithm: &'static dyn VerificationAlgorithm, key: &[u8]) -> Self {
        Self::Public(UnparsedPublicKey::new(algorithm, key.to_vec()))
    }
}

pub(crate) fn keyed<M: KeyInit>(key: &[u8]) -> Result<M, KeyError> {
    M::new_from_slice(key).map_err(|_| KeyError::Empty)
}

/// The DER of a SubjectPublicKeyInfo for P-256, up to the point.
const P256_SPKI: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// The DER of a SubjectPublicKeyInfo for Ed25519, up to the point.
const ED25519_SPKI: [u8; 12] =
    [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// The algorithm field of an RSA SubjectPublicKeyInfo.
const RSA_ALGORITHM: [u8; 15] =
    [0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];

/// The SubjectPublicKeyInfo of an Ed25519 point.
pub(crate) fn ed25519_spki(point: &[u8]) -> Vec<u8> {
    [&ED25519_SPKI[..], point].concat()
}

/// True if `key` is a SubjectPublicKeyInfo of a curve point.
pub(super) fn is_wrapped_point(key: &[u8]) -> bool {
    key.starts_with(&P256_SPKI) || key.starts_with(&ED25519_SPKI)
}

/// The SubjectPublicKeyInfo of a P-256 point.
pub(crate) fn p256_spki(point: &[u8]) -> Vec<u8> {
    [&P256_SPKI[..], point].concat()
}

pub(super) fn p256_public(key: &[u8]) -> Result<&[u8], KeyError> {
    let point = key.strip_prefix(&P256_SPKI[..]).unwrap_or(key);
    if point.len() == 65 && point[0] == 4 { Ok(point) } else { Err(KeyError::NotPublicKey) }
}

pub(super) fn ed25519_public(key: &[u8]) -> Result<&[u8], KeyError> {
    let point = key.strip_prefix(&ED25519_SPKI[..]).unwrap_or(key);
    if point.len() == 32 { Ok(point) } else { Err(KeyError::NotPublicKey) }
}

/// The RSAPublicKey in a SubjectPublicKeyInfo, or the bytes themselves if they are one.
pub(super) fn rsa_public(key: &[u8]) -> Result<&[u8], KeyError> {
    let (0x30, inner, []) = der_value(key).ok_or(KeyError::NotPublicKey)? else {
        return Err(KeyError::NotPublicKey);
    };
    let Some(bits) = inner.strip_prefix(&RSA_ALGORITHM[..]) else { return Ok(key) };
    match der_value(bits) {
        Some((0x03, [0, public @ ..], [])) => Ok(public),
        _ => Err(KeyError::NotPublicKey),
    }
}

/// The tag and content of the first DER value, and the rest after it.
fn der_value(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        0x81..=0x83 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (digits.iter().fold(0, |n, d| n << 8 | usize::from(*d)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(form: KeyForm, text: &str) -> Result<Vec<u8>, KeyError> {
        form.decode(&Secret::new(text)).map(|key| key.to_vec())
    }

    #[test]
    fn a_whsec_secret_may_lack_its_prefix() {
        assert_eq!(decoded(KeyForm::Whsec, "whsec_AAE="), Ok(vec![0, 1]));
        assert_eq!(decoded(KeyForm::Whsec, "AAE"), Ok(vec![0, 1]));
        assert_eq!(decoded(KeyForm::Whsec, "whpk_AAE="), Err(KeyError::NotShared));
        assert_eq!(decoded(KeyForm::Whpk, "whsec_AAE="), Err(KeyError::NotWhpk));
        assert_eq!(decoded(KeyForm::Whsec, "whsec_"), Err(KeyError::Empty));
    }

    #[test]
    fn an_ambiguous_secret_gives_both_keys() {
        let encoded = STANDARD_PAD_INDIFFERENT.encode([7; 32]);
        let of = |text: &str| decoded(KeyForm::WhsecOrUtf8, text).unwrap();
        assert_eq!(of(&format!("whsec_{encoded}")), [7; 32]);
        let old = format!("polar_whs_{encoded}");
        assert_eq!(of(&old), old.as_bytes());
        assert_eq!(standard_webhooks_key(old.as_bytes()), Some(vec![7; 32]));
        for text in
            ["whsec_AA==", "polar_whs_AAAA", "whsec_", "whsec_not base64 at all, no", &encoded]
        {
            assert_eq!(of(text), text.as_bytes());
            assert_eq!(standard_webhooks_key(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_pem_file_is_read_as_its_base64() {
        let pem = "-----BEGIN PUBLIC KEY-----\r\nAA\r\nE=\r\n-----END PUBLIC KEY-----\r\n";
        assert_eq!(decoded(KeyForm::Base64, pem), Ok(vec![0, 1]));
    }

    #[test]
    fn nfkd_decomposes_letters() {
        assert_eq!(decoded(KeyForm::Nfkd, "é"), Ok("e\u{301}".as_bytes().to_vec()));
    }

    #[test]
    fn whsec_only_refuses_a_plain_token() {
        let of = |text: &str| decoded(KeyForm::WhsecOnly, text).map(|key| key.len());
        let base64 = STANDARD_PAD_INDIFFERENT.encode([7; 32]);
        assert_eq!(of(&format!("whsec_{base64}")), Ok(32));
        assert_eq!(of(&base64), Err(KeyError::NotWhsec));
        assert_eq!(of("whsec_AAE="), Err(KeyError::NotWhsec));
    }

    #[test]
    fn html_escapes_are_decoded_once() {
        let of = |text: &str| String::from_utf8(decoded(KeyForm::HtmlText, text).unwrap()).unwrap();
        assert_eq!(of("a&amp;b&lt;&gt;&quot;&#039;&#x26;"), "a&b<>\"'&");
        assert_eq!(of("&amp;amp;"), "&amp;");
        assert_eq!(of("&nbsp;&#65;& &amp"), "&nbsp;&#65;& &amp");
    }

    #[test]
    fn the_key_can_be_the_hash_of_the_secret() {
        assert_eq!(decoded(KeyForm::Sha1, "abc").unwrap().len(), 20);
        assert_eq!(decoded(KeyForm::Sha1, ""), Err(KeyError::Empty));
    }

    #[test]
    fn an_rsa_key_is_found_in_its_spki() {
        let bare = [0x30, 0x03, 0x02, 0x01, 0x05];
        let wrapped = [&[0x30, 0x17][..], &RSA_ALGORITHM, &[0x03, 0x06, 0x00], &bare].concat();
        assert_eq!(rsa_public(&wrapped), Ok(&bare[..]));
        assert_eq!(rsa_public(&bare), Ok(&bare[..]));
        assert_eq!(rsa_public(&wrapped[1..]), Err(KeyError::NotPublicKey));
    }
}
