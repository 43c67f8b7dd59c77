//! The arithmetic: is one of these signatures valid for this message under this key?
//!
//! The time of a comparison does not depend on where the first difference is.

use std::borrow::Cow;

use hmac::Mac;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::encoding::SIGNATURE_BYTES_MAX;
use super::key::PreparedKey;
use super::scheme::{CandidateRule, Encoding};

/// The maximum output of a keyed hash, in bytes.
const MAC_BYTES_MAX: usize = 64;

/// The result of comparing a list of signatures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Match,
    Mismatch,
    /// No signature could be decoded.
    Malformed,
}

impl PreparedKey {
    /// Compares `candidates` with the signature of the message made of `parts`.
    pub(super) fn check(
        &self,
        parts: &[Cow<'_, [u8]>],
        candidates: &[Cow<'_, [u8]>],
        encoding: Encoding,
        rule: CandidateRule,
    ) -> Comparison {
        match self {
            Self::Public(key) => {
                let whole = join(parts);
                compare(candidates, encoding, rule, |sig| key.verify(&whole, sig).is_ok())
            }
            Self::Published(algorithm, keys) => {
                let whole = join(parts);
                compare(candidates, encoding, rule, |sig| keys.verify(*algorithm, &whole, sig))
            }
            Self::Static(expected) => {
                compare(candidates, encoding, rule, |sig| equal(&Sha256::digest(sig), expected))
            }
            _ => {
                let mut buffer = [0; MAC_BYTES_MAX];
                let expected = self.digest(parts, &mut buffer);
                compare(candidates, encoding, rule, |sig| equal(sig, expected))
            }
        }
    }

    /// The keyed hash of the message; empty for keys of other algorithms.
    pub(crate) fn digest<'r>(
        &self,
        parts: &[Cow<'_, [u8]>],
        buffer: &'r mut [u8; MAC_BYTES_MAX],
    ) -> &'r [u8] {
        match self {
            Self::HmacSha1(keyed) => mac(keyed, parts, buffer),
            Self::HmacSha256(keyed) => mac(keyed, parts, buffer),
            Self::HmacSha384(keyed) => mac(keyed, parts, buffer),
            Self::HmacSha512(keyed) => mac(keyed, parts, buffer),
            Self::Sha256SecretPrefix(keyed) => {
                let mut hash = keyed.clone();
                parts.iter().for_each(|part| hash.update(part));
                copy_into(buffer, &hash.finalize())
            }
            Self::Public(_) | Self::Published(..) | Self::Static(_) => &[],
        }
    }
}

fn mac<'r, M: Mac + Clone>(
    keyed: &M,
    parts: &[Cow<'_, [u8]>],
    buffer: &'r mut [u8; MAC_BYTES_MAX],
) -> &'r [u8] {
    let mut mac = keyed.clone();
    parts.iter().for_each(|part| mac.update(part));
    copy_into(buffer, &mac.finalize().into_bytes())
}

fn copy_into<'r>(buffer: &'r mut [u8; MAC_BYTES_MAX], bytes: &[u8]) -> &'r [u8] {
    let length = bytes.len().min(MAC_BYTES_MAX);
    buffer[..length].copy_from_slice(&bytes[..length]);
    &buffer[..length]
}

/// Joins the parts to one message.
pub(crate) fn join<'a>(parts: &'a [Cow<'_, [u8]>]) -> Cow<'a, [u8]> {
    match parts {
        [only] => Cow::Borrowed(only),
        parts => Cow::Owned(parts.concat()),
    }
}

fn equal(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

fn compare(
    candidates: &[Cow<'_, [u8]>],
    encoding: Encoding,
    rule: CandidateRule,
    fits: impl Fn(&[u8]) -> bool,
) -> Comparison {
    let mut buffer = [0; SIGNATURE_BYTES_MAX];
    let mut decoded = 0;
    let mut right = 0;
    for candidate in candidates {
        let Some(signature) = encoding.decode(candidate, &mut buffer) else { continue };
        decoded += 1;
        right += usize::from(fits(signature));
    }
    let enough = match rule {
        CandidateRule::Any => right > 0,
        CandidateRule::All | CandidateRule::One => right > 0 && right == candidates.len(),
    };
    match (enough, decoded) {
        (true, _) => Comparison::Match,
        (false, 0) => Comparison::Malformed,
        (false, _) => Comparison::Mismatch,
    }
}
