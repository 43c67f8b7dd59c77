//! A signature scheme as data: where the signature stands, what it covers, how it is made. Already checked;
//! the text form and its checks are `provider`'s.

use std::sync::Arc;
use std::time::Duration;

use crate::provider::Source;

use super::message::Message;

/// One way in which a provider signs.
#[derive(Debug, Clone)]
pub struct Scheme {
    /// Its name within the provider, such as `v1`.
    pub name: Arc<str>,
    /// Places of the signature. The first that is present counts; a plural source gives all it finds.
    pub signature: Vec<Source>,
    /// How signatures stand in the text found there.
    pub format: Format,
    /// How a signature is written.
    pub encoding: Encoding,
    /// How a signature is made.
    pub algorithm: Algorithm,
    /// How the configured secret becomes a key.
    pub key: KeyForm,
    /// What is signed.
    pub message: Message,
    /// The signed time, if the scheme has one.
    pub timestamp: Option<TimestampRule>,
    /// Headers that must have exactly this value.
    pub require: Vec<(Box<str>, Box<str>)>,
    /// How many of the signatures found must be right.
    pub candidates: CandidateRule,
    /// A digest of the body among the signed fields, for messages that do not hold the body itself.
    pub body_digest: Option<BodyDigest>,
}

/// How signatures stand in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Format {
    /// The whole text, after a prefix that may be empty.
    Prefix(Box<str>),
    /// Several items; those that start with `prefix` are signatures.
    List {
        /// Any of these characters separates.
        separators: Box<str>,
        /// What a signature of the right version starts with.
        prefix: Box<str>,
    },
    /// Several `key=value` items; the values of `key` are signatures.
    Pairs {
        /// Any of these characters separates.
        separators: Box<str>,
        /// The key of a signature of the right version.
        key: Box<str>,
    },
}

/// How a signature is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Lower-case hexadecimal.
    Hex,
    /// Hexadecimal in either case.
    HexAnyCase,
    /// Base64, padded or not.
    Base64,
    /// Base64 with the URL alphabet, padded or not.
    Base64Url,
    /// As it stands; for static tokens.
    Plain,
}

/// How a signature is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC with SHA-1.
    HmacSha1,
    /// HMAC with SHA-256.
    HmacSha256,
    /// HMAC with SHA-512.
    HmacSha512,
    /// SHA-256 over the secret and then the message.
    Sha256SecretPrefix,
    /// Ed25519.
    Ed25519,
    /// ECDSA on P-256 with SHA-256, signature in ASN.1 DER.
    EcdsaP256Sha256Der,
    /// RSA PKCS #1 v1.5 with SHA-1; legacy.
    RsaPkcs1Sha1,
    /// RSA PKCS #1 v1.5 with SHA-256.
    RsaPkcs1Sha256,
    /// The secret itself stands in the request.
    StaticEquals,
}

impl Algorithm {
    /// True if signing takes another key than verifying.
    #[must_use]
    pub const fn has_key_pair(self) -> bool {
        matches!(
            self,
            Self::Ed25519 | Self::EcdsaP256Sha256Der | Self::RsaPkcs1Sha1 | Self::RsaPkcs1Sha256
        )
    }
}

/// How the configured secret becomes a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyForm {
    /// Its bytes.
    Utf8,
    /// Base64, with the lines of a PEM file taken off.
    Base64,
    /// Hexadecimal.
    Hex,
    /// Base64 after an optional `whsec_`.
    Whsec,
    /// Base64 after `whpk_`, or `whsk_` for signing.
    Whpk,
    /// Its bytes after Unicode normalisation NFKD.
    Nfkd,
}

/// Where the time is and how far it may be from ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimestampRule {
    /// Where; the first that is present counts.
    pub from: Vec<Source>,
    /// How it is written.
    pub unit: TimeUnit,
    /// How far it may be from our clock; `None` accepts any time.
    pub tolerance: Option<Duration>,
    /// In which direction.
    pub direction: Direction,
}

/// How a time is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeUnit {
    /// Unix seconds in decimal digits.
    Seconds,
    /// Unix milliseconds in decimal digits.
    Millis,
    /// RFC 3339.
    Rfc3339,
}

/// In which direction a time is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Neither too old nor too far ahead.
    Both,
    /// Not too old; may lie ahead.
    Past,
}

/// How many of the signatures found must be right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CandidateRule {
    /// One is enough, as in a rotation of keys.
    Any,
    /// Every one, as where each item of a batch carries the token.
    All,
}

/// Where the SHA-256 of the body stands among the signed fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BodyDigest {
    /// Where it stands.
    pub from: Source,
    /// How it is written.
    pub encoding: Encoding,
}

impl Scheme {
    /// Number of families: sets of header names that belong together, such as `webhook-*` and `svix-*`.
    #[must_use]
    pub fn families(&self) -> usize {
        self.signature.iter().map(Source::families).max().unwrap_or(1)
    }

    /// True if changing the body always breaks the signature.
    #[must_use]
    pub fn covers_body(&self) -> bool {
        self.algorithm != Algorithm::StaticEquals && self.message.covers_body()
    }
}
