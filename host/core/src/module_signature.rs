//! Signatures of handlers: Ed25519 over a handler's name, its module and its sidecar together.
//!
//! The name is signed too, so that a signed handler cannot take the place, and the state, of
//! another one. A signature file has one signature a line: `ed25519 KEY SIGNATURE`, both in base64.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use sha2::{Digest as _, Sha256};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::bounds::KIB;
use crate::name::HandlerName;
use crate::verify::Secret;

/// The largest signature file, in bytes.
pub const SIGNATURE_FILE_BYTES_MAX: usize = 8 * KIB;
/// The most signatures in one file.
const SIGNATURES_MAX: usize = 16;

const WORD: &str = "ed25519";
const KEY_BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const KEY_END: &str = "-----END PRIVATE KEY-----";

/// The files of a handler that are signed together.
#[derive(Clone, Copy)]
pub struct Signed<'a> {
    pub name: &'a HandlerName,
    pub module: &'a [u8],
    /// The text of the sidecar, if there is one.
    pub sidecar: Option<&'a str>,
}

impl fmt::Debug for Signed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signed").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Signed<'_> {
    /// The bytes that are signed.
    fn statement(&self) -> Vec<u8> {
        let mut statement = b"weir handler 1\0".to_vec();
        statement.extend(self.name.as_str().as_bytes());
        statement.push(0);
        statement.extend(Sha256::digest(self.module));
        match self.sidecar {
            None => statement.push(0),
            Some(sidecar) => {
                statement.push(1);
                statement.extend(Sha256::digest(sidecar.as_bytes()));
            }
        }
        statement
    }
}

/// The public half of a key that signs handlers. Written `ed25519:BASE64`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ModuleKey([u8; 32]);

/// The text is no public key.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "must be a public key as `weir sign --new-key` prints it: ed25519: and 44 letters of base64"
)]
pub struct InvalidModuleKey;

impl FromStr for ModuleKey {
    type Err = InvalidModuleKey;

    fn from_str(text: &str) -> Result<Self, InvalidModuleKey> {
        let (word, key) = text.split_once(':').ok_or(InvalidModuleKey)?;
        if word != WORD {
            return Err(InvalidModuleKey);
        }
        fixed(key).map(Self).ok_or(InvalidModuleKey)
    }
}

impl fmt::Display for ModuleKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{WORD}:{}", STANDARD.encode(self.0))
    }
}

/// A private key that signs handlers.
pub struct ModuleSigner(Ed25519KeyPair);

impl fmt::Debug for ModuleSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ModuleSigner").field(&self.public()).finish()
    }
}

/// The text is no private key.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("it has no Ed25519 private key in PEM; make one with `weir sign --new-key FILE`")]
pub struct InvalidModuleSigner;

impl ModuleSigner {
    /// A fresh key, as the PEM text to keep. None if the system has no randomness.
    #[must_use]
    pub fn generate(random: &SystemRandom) -> Option<Secret> {
        let key = Ed25519KeyPair::generate_pkcs8(random).ok()?;
        let text = Zeroizing::new(STANDARD.encode(key.as_ref()));
        let mut pem = Zeroizing::new(format!("{KEY_BEGIN}\n"));
        for line in text.as_bytes().chunks(64) {
            pem.push_str(&String::from_utf8_lossy(line));
            pem.push('\n');
        }
        pem.push_str(KEY_END);
        pem.push('\n');
        Some(Secret::new(pem.as_bytes()))
    }

    /// Reads PEM, as [`Self::generate`] or another tool made it.
    pub fn parse(pem: &Secret) -> Result<Self, InvalidModuleSigner> {
        let inside = std::str::from_utf8(pem.expose())
            .map_err(|_| InvalidModuleSigner)?
            .split_once(KEY_BEGIN)
            .and_then(|(_, rest)| rest.split_once(KEY_END))
            .ok_or(InvalidModuleSigner)?
            .0;
        let text: Zeroizing<String> =
            Zeroizing::new(inside.chars().filter(|c| !c.is_ascii_whitespace()).collect());
        let key = Zeroizing::new(STANDARD.decode(&*text).map_err(|_| InvalidModuleSigner)?);
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&key);
        pair.map(Self).map_err(|_| InvalidModuleSigner)
    }

    #[must_use]
    pub fn public(&self) -> ModuleKey {
        let mut key = [0; 32];
        key.copy_from_slice(self.0.public_key().as_ref());
        ModuleKey(key)
    }

    /// The signature file with the signature of this key. Signatures of other keys in `before` are
    /// kept: they may be of the same files.
    #[must_use]
    pub fn sign(&self, signed: Signed<'_>, before: &str) -> String {
        let signature = self.0.sign(&signed.statement());
        let own = STANDARD.encode(self.public().0);
        let others = before.lines().filter(|line| {
            line.split_ascii_whitespace().nth(1).is_some_and(|key| key != own)
                && verify_line(line, signed)
        });
        let mut text = format!("{WORD} {own} {}\n", STANDARD.encode(signature.as_ref()));
        for line in others.take(SIGNATURES_MAX - 1) {
            text.push_str(line.trim());
            text.push('\n');
        }
        text
    }
}

/// The reason that a handler's files do not count as signed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NotSigned {
    #[error(
        "plugins.require_signature is set and there is no {0}.sig; sign the handler with \
         `weir sign {0}.wasm --key FILE`"
    )]
    Missing(HandlerName),
    #[error("{0}.sig is not a signature file; sign the handler again with `weir sign`")]
    Unreadable(HandlerName),
    #[error(
        "no signature in {0}.sig is by one of plugins.keys; sign the handler with one of these \
         keys, or add the signer's public key"
    )]
    UnknownKey(HandlerName),
    #[error(
        "the signature in {0}.sig is not of these files: {0}.wasm, {0}.toml or the name was \
         changed after signing; sign the handler again with `weir sign`"
    )]
    Changed(HandlerName),
}

/// Checks that one of `keys` signed the files, by the text of their signature file.
pub fn verify(keys: &[ModuleKey], signed: Signed<'_>, file: Option<&str>) -> Result<(), NotSigned> {
    let name = || signed.name.clone();
    let lines: Vec<&str> = file
        .ok_or_else(|| NotSigned::Missing(name()))?
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let signatures: Option<Vec<_>> = lines.iter().map(|line| parse_line(line)).collect();
    let signatures = signatures
        .filter(|all| (1..=SIGNATURES_MAX).contains(&all.len()))
        .ok_or_else(|| NotSigned::Unreadable(name()))?;
    let mut by_known = signatures.iter().filter(|(key, _)| keys.contains(key)).peekable();
    if by_known.peek().is_none() {
        return Err(NotSigned::UnknownKey(name()));
    }
    let statement = signed.statement();
    let valid = by_known.any(|(key, signature)| valid(key, &statement, signature));
    if valid { Ok(()) } else { Err(NotSigned::Changed(name())) }
}

fn parse_line(line: &str) -> Option<(ModuleKey, [u8; 64])> {
    let mut words = line.split_ascii_whitespace();
    let (word, key, signature) = (words.next()?, words.next()?, words.next()?);
    if word != WORD || words.next().is_some() {
        return None;
    }
    Some((ModuleKey(fixed(key)?), fixed(signature)?))
}

fn verify_line(line: &str, signed: Signed<'_>) -> bool {
    parse_line(line).is_some_and(|(key, signature)| valid(&key, &signed.statement(), &signature))
}

fn valid(key: &ModuleKey, statement: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ED25519, key.0).verify(statement, signature).is_ok()
}

fn fixed<const N: usize>(base64: &str) -> Option<[u8; N]> {
    STANDARD.decode(base64).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn signer() -> ModuleSigner {
        ModuleSigner::parse(&ModuleSigner::generate(&SystemRandom::new()).unwrap()).unwrap()
    }

    fn name(text: &str) -> HandlerName {
        HandlerName::new(text).unwrap()
    }

    fn verdict(keys: &[&ModuleSigner], signed: Signed<'_>, file: Option<&str>) -> String {
        let keys: Vec<ModuleKey> = keys.iter().map(|key| key.public()).collect();
        match verify(&keys, signed, file) {
            Ok(()) => "ok".into(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_signature_covers_name_module_and_sidecar_together() {
        let (key, orders, other) = (signer(), name("orders"), name("other"));
        let signed = Signed { name: &orders, module: b"module", sidecar: Some("on = []") };
        let file = key.sign(signed, "");
        assert_eq!(verdict(&[&key], signed, Some(&file)), "ok");
        for changed in [
            Signed { name: &other, ..signed },
            Signed { module: b"modulf", ..signed },
            Signed { sidecar: Some("on = [] "), ..signed },
            Signed { sidecar: None, ..signed },
        ] {
            let said = verdict(&[&key], changed, Some(&file));
            assert!(said.contains("was changed after signing"), "{said}");
        }
        let bare = Signed { sidecar: None, ..signed };
        let file = key.sign(bare, "");
        assert!(verdict(&[&key], signed, Some(&file)).contains("was changed after signing"));
        let empty = Signed { sidecar: Some(""), ..signed };
        assert!(verdict(&[&key], empty, Some(&file)).contains("was changed after signing"));
    }

    #[test]
    fn each_reason_says_the_next_step() {
        let (key, stranger, orders) = (signer(), signer(), name("orders"));
        let signed = Signed { name: &orders, module: b"module", sidecar: None };
        let by_stranger = stranger.sign(signed, "");
        for (file, wanted) in [
            (None, "sign the handler with `weir sign orders.wasm --key FILE`"),
            (Some("garbage"), "not a signature file"),
            (Some(""), "not a signature file"),
            (Some(&*by_stranger), "add the signer's public key"),
        ] {
            let said = verdict(&[&key], signed, file);
            assert!(said.contains(wanted), "{said}");
        }
        let many = by_stranger.repeat(SIGNATURES_MAX + 1);
        assert!(verdict(&[&stranger], signed, Some(&many)).contains("not a signature file"));
        assert!(verdict(&[], signed, Some(&by_stranger)).contains("by one of plugins.keys"));
    }

    #[test]
    fn signatures_of_several_keys_stand_side_by_side() {
        let (first, second, orders) = (signer(), signer(), name("orders"));
        let signed = Signed { name: &orders, module: b"module", sidecar: None };
        let both = second.sign(signed, &first.sign(signed, ""));
        assert_eq!(both.lines().count(), 2);
        assert_eq!(verdict(&[&first], signed, Some(&both)), "ok");
        assert_eq!(verdict(&[&second], signed, Some(&both)), "ok");
        assert_eq!(second.sign(signed, &both), both, "signing again changes nothing");
        let changed = Signed { module: b"new", ..signed };
        assert_eq!(second.sign(changed, &both).lines().count(), 1, "old signatures are dropped");
    }

    #[test]
    fn a_public_key_reads_back_as_printed() {
        let key = signer().public();
        assert_eq!(key.to_string().parse(), Ok(key.clone()));
        for wrong in ["", "ed25519:", "rsa:AAAA", &key.to_string()[8..], "ed25519:AAAA"] {
            assert_eq!(wrong.parse::<ModuleKey>(), Err(InvalidModuleKey));
        }
        assert!(ModuleSigner::parse(&Secret::new("nothing")).is_err());
        assert!(!format!("{:?}", signer()).contains("PRIVATE"));
    }

    proptest! {
        #[test]
        fn no_text_is_a_signature_by_chance(text in ".{0,400}") {
            let (key, orders) = (signer(), name("orders"));
            let signed = Signed { name: &orders, module: b"module", sidecar: None };
            prop_assert_ne!(verdict(&[&key], signed, Some(&text)), "ok");
        }
    }
}
