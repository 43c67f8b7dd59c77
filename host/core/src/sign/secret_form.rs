//! The form of a provider's secrets: a text with placeholders for random values, such as
//! `whsec_{base64:32}`.
//!
//! Pure; the random bytes are passed in.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;

use crate::template::{Piece, Unclosed, pieces};

/// The maximum of random bytes in one placeholder.
const BYTES_MAX: usize = 64;
/// The alphabet of `letters`: 64 characters, so that six bits choose one.
const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789AZ";

/// The form of a provider's secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretForm(Vec<SecretPart>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum SecretPart {
    Literal(String),
    Base64(usize),
    Hex(usize),
    Letters(usize),
}

/// An error in the text of a form.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidForm {
    #[error(transparent)]
    Unclosed(#[from] Unclosed),
    /// An unknown placeholder.
    #[error("{{{0}}} is not {{base64:N}}, {{hex:N}} or {{letters:N}} with N from 1 to 64")]
    Unknown(String),
}

impl SecretForm {
    /// Parses a form.
    pub fn parse(text: &str) -> Result<Self, InvalidForm> {
        let part = |piece| match piece {
            Piece::Literal(text) => Ok(SecretPart::Literal(text)),
            Piece::Placeholder(name) => placeholder(&name).ok_or(InvalidForm::Unknown(name)),
        };
        Ok(Self(pieces(text)?.into_iter().map(part).collect::<Result<_, _>>()?))
    }

    /// The text that every such secret starts with; empty if there is none.
    #[must_use]
    pub fn prefix(&self) -> &str {
        match self.0.first() {
            Some(SecretPart::Literal(text)) => text,
            _ => "",
        }
    }

    /// The number of random bytes that [`SecretForm::write`] needs.
    #[must_use]
    pub fn random_bytes(&self) -> usize {
        let needed = |part: &SecretPart| match part {
            SecretPart::Literal(_) => 0,
            SecretPart::Base64(n) | SecretPart::Letters(n) => *n,
            SecretPart::Hex(n) => n.div_ceil(2),
        };
        self.0.iter().map(needed).sum()
    }

    /// Writes a secret with these random bytes.
    #[must_use]
    pub fn write(&self, mut random: &[u8]) -> String {
        let mut out = String::new();
        let mut take = |n: usize| {
            let (taken, rest) = random.split_at(n.min(random.len()));
            random = rest;
            taken
        };
        for part in &self.0 {
            match part {
                SecretPart::Literal(text) => out.push_str(text),
                SecretPart::Base64(n) => out.push_str(&STANDARD.encode(take(*n))),
                SecretPart::Hex(n) => {
                    let digits = hex::encode(take(n.div_ceil(2)));
                    out.push_str(&digits[..(*n).min(digits.len())]);
                }
                SecretPart::Letters(n) => {
                    out.extend(take(*n).iter().map(|b| char::from(LETTERS[usize::from(b & 63)])));
                }
            }
        }
        out
    }
}

fn placeholder(name: &str) -> Option<SecretPart> {
    let (kind, count) = name.split_once(':')?;
    let count: usize = count.parse().ok().filter(|count| (1..=BYTES_MAX).contains(count))?;
    match kind {
        "base64" => Some(SecretPart::Base64(count)),
        "hex" => Some(SecretPart::Hex(count)),
        "letters" => Some(SecretPart::Letters(count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_filled_with_the_given_bytes() {
        let form = SecretForm::parse("a_{hex:3}-{letters:2}.{base64:3}").unwrap();
        assert_eq!((form.prefix(), form.random_bytes()), ("a_", 7));
        assert_eq!(form.write(&[0xab, 0xcd, 0, 1, 0xff, 0xff, 0xff]), "a_abc-AB.////");
        assert_eq!(SecretForm::parse("{hex:64}").unwrap().prefix(), "");
        for wrong in ["{hex:0}", "{hex:65}", "{words:3}", "{hex}", "a{hex:3"] {
            assert!(SecretForm::parse(wrong).is_err(), "{wrong}");
        }
    }
}
