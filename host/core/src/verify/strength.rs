//! The strength of a secret: the decoded key is checked for length and content.
//!
//! Pure. The results contain nothing of the secret but its length and what is wrong with it.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_PAD_INDIFFERENT;
use thiserror::Error;

use super::scheme::{KeyForm, Scheme};
use super::secret::Secret;

/// The minimum of visible bytes of a text secret. Documentation of providers has examples with four
/// letters, so this is accepted, with a warning.
pub const TEXT_BYTES_MIN: usize = 4;
/// The minimum length of a text of one repeated character, accepted with a warning: Contentful's
/// documentation has such an example.
const REPEATED_BYTES_MIN: usize = 32;
/// The minimum length of a text secret without a warning.
const TEXT_BYTES_GOOD: usize = 16;
/// The minimum length of a key that is decoded from base64 or hexadecimal.
const KEY_BYTES_MIN: usize = 16;
/// The minimum length of such a key without a warning: what Standard Webhooks asks for.
const KEY_BYTES_GOOD: usize = 24;

/// Why a secret is refused as too weak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum WeakSecret {
    /// No visible character.
    #[error("has only spaces, control characters or invisible characters")]
    Invisible,
    #[error("is one repeated character")]
    Repeated,
    #[error("has {found} visible bytes; at least {least} are needed")]
    ShortText { found: usize, least: usize },
    #[error("decodes to a key of {found} bytes; at least {least} are needed")]
    ShortKey {
        /// The length without NUL bytes at the end, which change nothing in a keyed hash.
        found: usize,
        least: usize,
    },
    /// A key of a key pair, whose public half is known.
    #[error("is a key of a key pair, whose public half is not secret; a shared secret is needed")]
    KeyPair,
    /// A public key for which anyone can make signatures.
    #[error("is a public key of small order: signatures for it can be made without a private key")]
    SmallOrder,
}

/// A warning about a secret that is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SecretWarning {
    /// A well-known placeholder.
    #[error("is a well-known placeholder; make one with `weir secret generate`")]
    Placeholder,
    #[error("is one repeated character; make one with `weir secret generate`")]
    Repeated,
    #[error(
        "has {found} bytes; a secret of less than {good} can be guessed from one captured request"
    )]
    Short {
        /// The length after decoding.
        found: usize,
        /// The minimum without a warning.
        good: usize,
    },
}

/// The minimum that a scheme demands of a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MinimumSecret {
    /// This number of visible bytes.
    Text(usize),
    /// This number of bytes after decoding.
    Key(usize),
    PublicKey,
}

impl fmt::Display for MinimumSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(least) => write!(f, "at least {least} bytes of text"),
            Self::Key(least) => write!(f, "at least {least} bytes once decoded"),
            Self::PublicKey => f.write_str("a public key"),
        }
    }
}

impl Scheme {
    #[must_use]
    pub fn minimum_secret(&self) -> MinimumSecret {
        match self.key {
            _ if self.algorithm.has_key_pair() => MinimumSecret::PublicKey,
            KeyForm::Base64
            | KeyForm::Hex
            | KeyForm::Whsec
            | KeyForm::WhsecOnly
            | KeyForm::Whpk => MinimumSecret::Key(KEY_BYTES_MIN),
            KeyForm::Utf8
            | KeyForm::WhsecOrUtf8
            | KeyForm::Nfkd
            | KeyForm::HtmlText
            | KeyForm::Sha1
            | KeyForm::PublicKey => MinimumSecret::Text(TEXT_BYTES_MIN),
        }
    }

    /// Checks a secret of this scheme. A secret that the scheme cannot use at all is not checked
    /// here.
    pub fn check_secret_strength(&self, secret: &Secret) -> Result<Vec<SecretWarning>, WeakSecret> {
        let least = self.minimum_secret();
        if least != MinimumSecret::PublicKey && is_of_key_pair(secret.expose()) {
            // It is not a key of this scheme, and is refused unless another scheme accepts it.
            return Ok(Vec::new());
        }
        match least {
            MinimumSecret::PublicKey => match self.key.decode(secret) {
                Ok(key) if is_small_order(&key) => Err(WeakSecret::SmallOrder),
                _ => Ok(Vec::new()),
            },
            // A hash is as easy to guess as its secret.
            MinimumSecret::Text(_) if self.key == KeyForm::Sha1 => {
                check_text_secret(secret.expose())
            }
            // Both keys are tried, so both must be strong.
            MinimumSecret::Text(_) if self.key == KeyForm::WhsecOrUtf8 => {
                let warnings = check_text_secret(secret.expose())?;
                match self.key.decode(secret) {
                    Ok(key) if *key != secret.expose() => check_key(&key, secret.expose()),
                    _ => Ok(warnings),
                }
            }
            least => match (self.key.decode(secret), least) {
                (Err(_), _) => Ok(Vec::new()),
                (Ok(key), MinimumSecret::Key(_)) => check_key(&key, secret.expose()),
                (Ok(text), _) => check_text_secret(&text),
            },
        }
    }
}

/// Checks a secret of Standard Webhooks: `whsec_` and base64.
pub fn check_whsec_secret(secret: &Secret) -> Result<Vec<SecretWarning>, WeakSecret> {
    match KeyForm::Whsec.decode(secret) {
        Ok(key) => check_key(&key, secret.expose()),
        Err(_) => Ok(Vec::new()),
    }
}

/// Checks a secret that is used as text, such as a token.
pub fn check_text_secret(bytes: &[u8]) -> Result<Vec<SecretWarning>, WeakSecret> {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return check_key(bytes, bytes);
    };
    let visible = || text.chars().filter(|c| !is_invisible(*c));
    let found: usize = visible().map(char::len_utf8).sum();
    let first = visible().next().ok_or(WeakSecret::Invisible)?;
    if found < TEXT_BYTES_MIN {
        return Err(WeakSecret::ShortText { found, least: TEXT_BYTES_MIN });
    }
    let is_repeated = visible().all(|c| c == first);
    if is_repeated && found < REPEATED_BYTES_MIN {
        return Err(WeakSecret::Repeated);
    }
    if is_of_key_pair(bytes) {
        return Err(WeakSecret::KeyPair);
    }
    let mut warnings = warnings(bytes, found, TEXT_BYTES_GOOD);
    if is_repeated {
        warnings.push(SecretWarning::Repeated);
    }
    Ok(warnings)
}

fn check_key(key: &[u8], written: &[u8]) -> Result<Vec<SecretWarning>, WeakSecret> {
    // A keyed hash pads a short key with NUL bytes, so those at its end do not change the key.
    let end = key.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1);
    let significant = &key[..end];
    let found = significant.len();
    if found < KEY_BYTES_MIN {
        return Err(WeakSecret::ShortKey { found, least: KEY_BYTES_MIN });
    }
    if significant.iter().all(|b| *b == significant[0]) {
        return Err(WeakSecret::Repeated);
    }
    if holds_key_oid(key) {
        return Err(WeakSecret::KeyPair);
    }
    Ok(warnings(written, found, KEY_BYTES_GOOD))
}

fn warnings(written: &[u8], found: usize, good: usize) -> Vec<SecretWarning> {
    let mut warnings = Vec::new();
    if is_placeholder(written) {
        warnings.push(SecretWarning::Placeholder);
    } else if found < good {
        warnings.push(SecretWarning::Short { found, good });
    }
    warnings
}

/// True for white space, control characters, and other characters that show nothing.
pub(super) fn is_invisible(c: char) -> bool {
    c.is_whitespace()
        || c.is_control()
        || matches!(
            u32::from(c),
            0xad | 0x34f
                | 0x61c
                | 0x115f..=0x1160
                | 0x17b4..=0x17b5
                | 0x180b..=0x180f
                | 0x200b..=0x200f
                | 0x202a..=0x202e
                | 0x2060..=0x206f
                | 0x2800
                | 0x3164
                | 0xfe00..=0xfe0f
                | 0xfeff
                | 0xffa0
                | 0xfff0..=0xfffb
                | 0x1_d173..=0x1_d17a
                | 0xe_0000..=0xe_0fff
        )
}

/// Words from documentation and templates and common first guesses, without `-`, `_`, spaces and
/// upper case.
const PLACEHOLDERS: [&str; 62] = [
    "abc123",
    "abcdef",
    "abcdefgh",
    "admin",
    "admin123",
    "administrator",
    "apikey",
    "asdfgh",
    "changeit",
    "changeme",
    "changemenow",
    "changethis",
    "default",
    "demo",
    "dummy",
    "example",
    "examplesecret",
    "fixme",
    "foobar",
    "githubwebhooksecret",
    "hunter2",
    "insertsecrethere",
    "itsasecrettoeverybody",
    "letmein",
    "mysecret",
    "mysecretkey",
    "mysecrettoken",
    "mytoken",
    "mywebhooksecret",
    "none",
    "notasecret",
    "passw0rd",
    "password",
    "password1",
    "password123",
    "placeholder",
    "pleasechangeme",
    "qwerty",
    "qwertyuiop",
    "redacted",
    "replaceme",
    "replacethis",
    "s3cr3t",
    "s3cret",
    "sample",
    "secret",
    "secret123",
    "secretkey",
    "secrettoken",
    "signingsecret",
    "supersecret",
    "supersecretkey",
    "test",
    "testing",
    "testsecret",
    "todo",
    "token",
    "topsecret",
    "undefined",
    "webhook",
    "webhooksecret",
    "yoursecretkey",
];

/// Example secrets that documentation and libraries publish.
const PUBLISHED: [&str; 4] = [
    "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "plJ3nmyCDGBKInavdOK15jsl",
    "C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
    "5WbX5kEWLlfzsGNjH64I8lOOqUB6e8FH",
];

/// True if the text is a well-known placeholder, in any case and with any prefix and hyphens.
#[must_use]
pub fn is_placeholder(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let text = text.trim();
    let bare = text.strip_prefix("whsec_").unwrap_or(text);
    if PUBLISHED.contains(&bare.trim_end_matches('=')) {
        return true;
    }
    let is_word = |c: &char| c.is_alphanumeric();
    let plain = |text: &str| text.chars().filter(is_word).collect::<String>().to_lowercase();
    let (word, bare) = (plain(text), plain(bare));
    let known = |word: &str| PLACEHOLDERS.contains(&word);
    let yours = word.strip_prefix("your").or(word.strip_prefix("my")).unwrap_or(&word);
    let here = yours.strip_suffix("here").unwrap_or(yours);
    let counted =
        !bare.is_empty() && bare.chars().zip("1234567890123456789012".chars()).all(|(a, b)| a == b);
    let crossed = !bare.is_empty() && bare.chars().all(|c| c == 'x');
    known(&word) || known(&bare) || known(yours) || known(here) || counted || crossed
}

/// True for a PEM file, a JSON Web Key or a set of them, an SSH key, and the base64 of a key with
/// its algorithm.
pub(super) fn is_of_key_pair(bytes: &[u8]) -> bool {
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii();
    let holds = |what: &[u8]| memchr::memmem::find(text, what).is_some();
    let starts = [&b"ssh-rsa "[..], b"ssh-ed25519 ", b"ecdsa-sha2-", b"whpk_", b"whsk_"];
    if holds(b"-----BEGIN ") || starts.iter().any(|start| text.starts_with(start)) {
        return true;
    }
    if text.starts_with(b"{") && (holds(b"\"kty\"") || holds(b"\"keys\"")) {
        return true;
    }
    let packed: Vec<u8> = text.iter().copied().filter(|b| !b.is_ascii_whitespace()).collect();
    let decoded = STANDARD_PAD_INDIFFERENT.decode(&packed);
    decoded.is_ok_and(|der| holds_key_oid(&der))
}

/// True for DER that names a key-pair algorithm near its beginning; a random key does not.
fn holds_key_oid(der: &[u8]) -> bool {
    const EC: &[u8] = &[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
    const RSA: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
    const ED25519: &[u8] = &[0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70];
    let head = &der[..der.len().min(40)];
    der.first() == Some(&0x30)
        && [EC, RSA, ED25519].iter().any(|oid| memchr::memmem::find(head, oid).is_some())
}

/// The points of Ed25519 with an order of at most 8, without the sign bit.
const SMALL_ORDER: [[u8; 2]; 2] = [[0x26, 0xe8], [0xc7, 0x17]];
const SMALL_ORDER_ENDS: [u8; 2] = [0x05, 0x7a];

fn is_small_order(key: &[u8]) -> bool {
    let point = key.get(key.len().saturating_sub(32)..).filter(|point| point.len() == 32);
    let Some((last, rest)) = point.and_then(<[u8]>::split_last) else { return false };
    let last = last & 0x7f;
    let middle = rest.get(1..).unwrap_or_default();
    let around_zero = rest[0] <= 1 && last == 0 && middle.iter().all(|b| *b == 0);
    let around_p = rest[0] >= 0xec && last == 0x7f && middle.iter().all(|b| *b == 0xff);
    let of_order_8 = SMALL_ORDER
        .iter()
        .zip(SMALL_ORDER_ENDS)
        .any(|(start, end)| rest.starts_with(start) && last == end);
    around_zero || around_p || of_order_8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invisible_secret_is_refused() {
        for text in ["   ", "\u{200b}", "\0", "\t\n", "\u{feff}", "\u{2800}\u{3164}", "\u{e0020}"] {
            assert_eq!(check_text_secret(text.as_bytes()), Err(WeakSecret::Invisible), "{text:?}");
        }
        assert_eq!(check_text_secret(b""), Err(WeakSecret::Invisible));
        assert_eq!(
            check_text_secret(b"x"),
            Err(WeakSecret::ShortText { found: 1, least: TEXT_BYTES_MIN })
        );
        assert_eq!(
            check_text_secret(b"  x   y  "),
            Err(WeakSecret::ShortText { found: 2, least: TEXT_BYTES_MIN })
        );
        assert_eq!(check_text_secret(b"aaaaaaaaaaaaaaaaaaaa"), Err(WeakSecret::Repeated));
        assert_eq!(check_text_secret(&[b'a'; 40]), Ok(vec![SecretWarning::Repeated]));
        assert_eq!(
            check_text_secret(b"hush"),
            Ok(vec![SecretWarning::Short { found: 4, good: 16 }])
        );
        assert_eq!(check_text_secret(b"Xk2hfF93jfSdpQa1"), Ok(vec![]));
    }

    #[test]
    fn a_key_is_measured_after_decoding() {
        assert_eq!(check_key(&[0], b""), Err(WeakSecret::ShortKey { found: 0, least: 16 }));
        let filled_up = [&[1, 2, 3][..], &[0; 40]].concat();
        assert_eq!(check_key(&filled_up, b""), Err(WeakSecret::ShortKey { found: 3, least: 16 }));
        assert_eq!(check_key(&[7; 32], b""), Err(WeakSecret::Repeated));
        let key: Vec<u8> = (1..=16).collect();
        assert_eq!(check_key(&key, b""), Ok(vec![SecretWarning::Short { found: 16, good: 24 }]));
    }

    #[test]
    fn placeholders_are_found_in_any_spelling() {
        for text in [
            "changeme",
            "CHANGE_ME",
            "secret",
            "your-webhook-secret",
            "<your secret>",
            "my_webhook_secret",
            "whsec_xxxxxxxxxxxx",
            "12345678",
            "It's a Secret to Everybody",
            "${WEBHOOK_SECRET}",
            "your_secret_here",
            "password",
            "replace-me",
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        ] {
            assert!(is_placeholder(text.as_bytes()), "{text}");
        }
        for text in ["a secret of some length", "whsec_Zm9vYmFyYmF6", "correct horse"] {
            assert!(!is_placeholder(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn keys_of_a_key_pair_are_found_in_any_form() {
        for text in [
            "-----BEGIN PUBLIC KEY-----\nMCow\n-----END PUBLIC KEY-----",
            "\u{feff}-----BEGIN CERTIFICATE-----\nAA",
            "subject=/CN=x\n-----BEGIN CERTIFICATE-----",
            "{ \"use\": \"sig\", \"kty\": \"RSA\" }",
            "{\"keys\":[]}",
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE operator@host",
            "whpk_AAAA",
            "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=",
            "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE83T4O/n84iotIvIW4mdBgQ/7dAfSmpqIM8kF9mN1flpVKS3GRqe62gw+2fNNRaINXvVpiglSI8eNEc6wEA3F+g==",
        ] {
            assert!(is_of_key_pair(text.as_bytes()), "{text}");
        }
        assert!(!is_of_key_pair(b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"));
    }

    #[test]
    fn points_of_small_order_are_refused() {
        let mut one = [0; 32];
        assert!(is_small_order(&one));
        one[0] = 1;
        assert!(is_small_order(&one));
        one[31] = 0x80;
        assert!(is_small_order(&one));
        assert!(!is_small_order(&[9; 32]));
    }
}
