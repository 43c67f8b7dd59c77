//! Keys to sign with, and fresh secrets.

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
    RsaKeyPair,
};
use zeroize::Zeroizing;

use super::SignError;
use crate::verify::{Algorithm, KeyError, KeyForm, PreparedKey, Scheme, Secret, join, p256_spki};

/// Bytes of a fresh shared secret: as many as the hash's output, and what Standard Webhooks allows.
const SHARED_BYTES: usize = 32;

/// A key that signs by one scheme.
pub(super) enum SigningKey {
    Shared(PreparedKey),
    /// The static token itself.
    Token(Zeroizing<Vec<u8>>),
    Ed25519(Ed25519KeyPair),
    Ecdsa(EcdsaKeyPair),
    Rsa(RsaKeyPair),
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
        let decoded = || scheme.key.decode(secret).map_err(wrong);
        Ok(match scheme.algorithm {
            Algorithm::HmacSha1
            | Algorithm::HmacSha256
            | Algorithm::HmacSha512
            | Algorithm::Sha256SecretPrefix => {
                Self::Shared(PreparedKey::new(scheme, secret).map_err(wrong)?)
            }
            Algorithm::StaticEquals => Self::Token(decoded()?),
            Algorithm::Ed25519 => {
                Self::Ed25519(ed25519(&decoded()?).ok_or(wrong(KeyError::NotPrivate))?)
            }
            Algorithm::EcdsaP256Sha256Der => {
                let pair =
                    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &decoded()?, random);
                Self::Ecdsa(pair.map_err(|_| wrong(KeyError::NotPrivate))?)
            }
            Algorithm::RsaPkcs1Sha256 => {
                let pair = RsaKeyPair::from_pkcs8(&decoded()?);
                Self::Rsa(pair.map_err(|_| wrong(KeyError::NotPrivate))?)
            }
            Algorithm::RsaPkcs1Sha1 => {
                return Err(SignError::Unsupported { scheme: scheme.name.to_string() });
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
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, random, &join(parts), &mut signature)
                    .map_err(|_| SignError::NoRandomness)?;
                signature
            }
        })
    }
}

/// A private key: its seed, its seed and public half, or PKCS #8.
pub(super) fn ed25519(key: &[u8]) -> Option<Ed25519KeyPair> {
    match key.len() {
        32 => Ed25519KeyPair::from_seed_unchecked(key).ok(),
        64 => Ed25519KeyPair::from_seed_and_public_key(&key[..32], &key[32..]).ok(),
        _ => Ed25519KeyPair::from_pkcs8_maybe_unchecked(key).ok(),
    }
}

/// The two sides of a fresh secret; the same text twice where it is shared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretPair {
    /// What the sender signs with.
    pub sending: Secret,
    /// What the receiver verifies with.
    pub verifying: Secret,
}

impl SecretPair {
    /// A fresh secret for a scheme, in the form in which its provider hands secrets out.
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
                Ok(Self {
                    sending: write(scheme.key, "whsk_", &private),
                    verifying: write(scheme.key, "whpk_", public),
                })
            }
            Algorithm::EcdsaP256Sha256Der => {
                let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
                let private = EcdsaKeyPair::generate_pkcs8(algorithm, random).map_err(none)?;
                let pair = EcdsaKeyPair::from_pkcs8(algorithm, private.as_ref(), random)
                    .map_err(|_| SignError::NoRandomness)?;
                Ok(Self {
                    sending: write(scheme.key, "", private.as_ref()),
                    verifying: write(scheme.key, "", &p256_spki(pair.public_key().as_ref())),
                })
            }
            Algorithm::RsaPkcs1Sha1 | Algorithm::RsaPkcs1Sha256 => {
                Err(SignError::Unsupported { scheme: scheme.name.to_string() })
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

/// Writes a key in the form that `form` reads; `prefix` is for the forms that have one.
fn write(form: KeyForm, prefix: &str, key: &[u8]) -> Secret {
    match form {
        KeyForm::Utf8 | KeyForm::Nfkd | KeyForm::Hex => Secret::new(hex::encode(key)),
        KeyForm::Base64 => Secret::new(STANDARD.encode(key)),
        KeyForm::Whsec | KeyForm::Whpk => {
            let text = Zeroizing::new(STANDARD.encode(key));
            Secret::new(format!("{prefix}{}", *text))
        }
    }
}
