//! Signing keys, and fresh secrets.

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING,
    ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair,
    RSA_PKCS1_SHA256, RSA_PSS_SHA512, RsaEncoding, RsaKeyPair,
};
use zeroize::Zeroizing;

use super::{SecretForm, SignError};
use crate::verify::{
    Algorithm, KeyError, KeyForm, PreparedKey, Scheme, Secret, ed25519_spki, join, p256_spki,
    p384_spki,
};

/// The length of a fresh shared secret: the output of its hash, and what Standard Webhooks permits.
const SHARED_BYTES: usize = 32;

/// A key that signs with one scheme.
pub(super) enum SigningKey {
    Shared(PreparedKey),
    /// A static token.
    Token(Zeroizing<Vec<u8>>),
    Ed25519(Ed25519KeyPair),
    Ecdsa(EcdsaKeyPair),
    Rsa(RsaKeyPair, &'static dyn RsaEncoding),
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(…)")
    }
}

impl SigningKey {
    pub(super) fn new(
        scheme: &Scheme,
        secret: &Secret,
        random: &SystemRandom,
    ) -> Result<Self, SignError> {
        let wrong = |cause| SignError::Key { scheme: scheme.name.to_string(), cause };
        // A private key is PEM or base64.
        let form = match scheme.key {
            KeyForm::PublicKey if scheme.algorithm.has_key_pair() => KeyForm::Base64,
            form => form,
        };
        let decoded = || form.decode(secret).map_err(wrong);
        let ecdsa = |algorithm| {
            let pair = EcdsaKeyPair::from_pkcs8(algorithm, &decoded()?, random);
            Ok(Self::Ecdsa(pair.map_err(|_| wrong(KeyError::NotPrivate))?))
        };
        let rsa = |encoding| {
            let pair = RsaKeyPair::from_pkcs8(&decoded()?);
            Ok(Self::Rsa(pair.map_err(|_| wrong(KeyError::NotPrivate))?, encoding))
        };
        Ok(match scheme.algorithm {
            Algorithm::HmacSha1
            | Algorithm::HmacSha256
            | Algorithm::HmacSha384
            | Algorithm::HmacSha512
            | Algorithm::Sha256SecretPrefix => {
                Self::Shared(PreparedKey::new(scheme, secret).map_err(wrong)?)
            }
            Algorithm::StaticEquals => Self::Token(decoded()?),
            Algorithm::Ed25519 => {
                let key = decoded()?;
                // If a shared secret is also possible, a bare seed cannot be distinguished from
                // one.
                let bare = scheme.key == KeyForm::PublicKey && key.len() == 32;
                let pair = if bare { None } else { ed25519(&key) };
                Self::Ed25519(pair.ok_or(wrong(KeyError::NotPrivate))?)
            }
            Algorithm::EcdsaP256Sha256Der => ecdsa(&ECDSA_P256_SHA256_ASN1_SIGNING)?,
            Algorithm::EcdsaP256Sha256 => ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING)?,
            Algorithm::EcdsaP384Sha384 => ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING)?,
            Algorithm::RsaPkcs1Sha256 => rsa(&RSA_PKCS1_SHA256)?,
            Algorithm::RsaPssSha512 => rsa(&RSA_PSS_SHA512)?,
            // RSA signatures with SHA-1 are obsolete, and ring does not make them.
            Algorithm::RsaPkcs1Sha1 => {
                return Err(SignError::VerifiedOnly { scheme: scheme.name.to_string() });
            }
        })
    }

    pub(super) fn sign(
        &self,
        parts: &[Cow<'_, [u8]>],
        random: &SystemRandom,
    ) -> Result<Vec<u8>, SignError> {
        Ok(match self {
            Self::Shared(key) => key.digest(parts, &mut [0; 64]).to_vec(),
            Self::Token(token) => token.to_vec(),
            Self::Ed25519(pair) => pair.sign(&join(parts)).as_ref().to_vec(),
            Self::Ecdsa(pair) => {
                let signature = pair.sign(random, &join(parts));
                signature.map_err(|_| SignError::NoRandomness)?.as_ref().to_vec()
            }
            Self::Rsa(pair, encoding) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(*encoding, random, &join(parts), &mut signature)
                    .map_err(|_| SignError::NoRandomness)?;
                signature
            }
        })
    }
}

/// Reads a private key: its seed, its seed and public half, or PKCS #8.
pub(super) fn ed25519(key: &[u8]) -> Option<Ed25519KeyPair> {
    match key.len() {
        32 => Ed25519KeyPair::from_seed_unchecked(key).ok(),
        64 => Ed25519KeyPair::from_seed_and_public_key(&key[..32], &key[32..]).ok(),
        _ => Ed25519KeyPair::from_pkcs8_maybe_unchecked(key).ok(),
    }
}

/// The two sides of a fresh secret; the same text if the secret is shared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretPair {
    pub sending: Secret,
    pub verifying: Secret,
}

impl SecretPair {
    /// Generates a secret for a scheme, in the form that its provider uses.
    pub fn generate(scheme: &Scheme, random: &SystemRandom) -> Result<Self, SignError> {
        let none = |_| SignError::NoRandomness;
        match scheme.algorithm {
            Algorithm::Ed25519 => {
                let mut seed = Zeroizing::new([0; 32]);
                random.fill(&mut *seed).map_err(none)?;
                let pair = Ed25519KeyPair::from_seed_unchecked(&*seed)
                    .map_err(|_| SignError::NoRandomness)?;
                let public = pair.public_key().as_ref();
                let private = Zeroizing::new([&seed[..], public].concat());
                let public = match scheme.key {
                    KeyForm::PublicKey => ed25519_spki(public),
                    _ => public.to_vec(),
                };
                Ok(Self {
                    sending: write(scheme.key, "whsk_", &private),
                    verifying: write(scheme.key, "whpk_", &public),
                })
            }
            Algorithm::EcdsaP256Sha256Der => {
                Self::ecdsa(scheme, &ECDSA_P256_SHA256_ASN1_SIGNING, p256_spki, random)
            }
            Algorithm::EcdsaP256Sha256 => {
                Self::ecdsa(scheme, &ECDSA_P256_SHA256_FIXED_SIGNING, p256_spki, random)
            }
            Algorithm::EcdsaP384Sha384 => {
                Self::ecdsa(scheme, &ECDSA_P384_SHA384_FIXED_SIGNING, p384_spki, random)
            }
            Algorithm::RsaPkcs1Sha1 | Algorithm::RsaPkcs1Sha256 | Algorithm::RsaPssSha512 => {
                Err(SignError::KeyPairNeeded { scheme: scheme.name.to_string() })
            }
            _ => {
                let mut bytes = Zeroizing::new([0; SHARED_BYTES]);
                random.fill(&mut *bytes).map_err(none)?;
                let secret = write(scheme.key, "whsec_", &*bytes);
                Ok(Self { sending: secret.clone(), verifying: secret })
            }
        }
    }
}

impl SecretPair {
    /// Generates a shared secret in this form.
    pub(super) fn of_form(form: &SecretForm, random: &SystemRandom) -> Result<Self, SignError> {
        let mut bytes = Zeroizing::new(vec![0; form.random_bytes()]);
        random.fill(&mut bytes).map_err(|_| SignError::NoRandomness)?;
        let secret = Secret::new(form.write(&bytes));
        Ok(Self { sending: secret.clone(), verifying: secret })
    }

    fn ecdsa(
        scheme: &Scheme,
        algorithm: &'static EcdsaSigningAlgorithm,
        spki: fn(&[u8]) -> Vec<u8>,
        random: &SystemRandom,
    ) -> Result<Self, SignError> {
        let none = |_| SignError::NoRandomness;
        let private = EcdsaKeyPair::generate_pkcs8(algorithm, random).map_err(none)?;
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, private.as_ref(), random)
            .map_err(|_| SignError::NoRandomness)?;
        Ok(Self {
            sending: write(scheme.key, "", private.as_ref()),
            verifying: write(scheme.key, "", &spki(pair.public_key().as_ref())),
        })
    }
}

/// Encodes a key so that `form` decodes it; `prefix` is for the forms that have one.
fn write(form: KeyForm, prefix: &str, key: &[u8]) -> Secret {
    match form {
        KeyForm::Utf8 | KeyForm::Nfkd | KeyForm::HtmlText | KeyForm::Sha1 | KeyForm::Hex => {
            Secret::new(hex::encode(key))
        }
        KeyForm::Base64 | KeyForm::PublicKey => Secret::new(STANDARD.encode(key)),
        KeyForm::Whsec | KeyForm::WhsecOnly | KeyForm::WhsecOrUtf8 | KeyForm::Whpk => {
            let text = Zeroizing::new(STANDARD.encode(key));
            Secret::new(format!("{prefix}{}", *text))
        }
    }
}
