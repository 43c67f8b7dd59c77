//! Sealing: encryption under a key of the data folder.
//!
//! It keeps secrets and quarantined requests out of the raw bytes of the database and its backups.
//! A reader of the whole data folder can decrypt them.

use std::fmt;
use std::path::Path;

use rand::TryRng as _;
use rand::rngs::SysRng;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use super::load_or_create;

/// The key file in the data folder.
const FILE: &str = "sealing.key";

/// Encrypts and decrypts under one key.
pub struct Seal(LessSafeKey);

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seal(…)")
    }
}

impl Seal {
    /// With the key of a data folder, which is created if it is absent.
    pub fn load_or_create(data_dir: &Path) -> anyhow::Result<Self> {
        Ok(Self::new(&load_or_create(&data_dir.join(FILE))?))
    }

    #[must_use]
    #[expect(clippy::expect_used, reason = "the key has the algorithm's length")]
    pub fn new(key: &[u8; 32]) -> Self {
        let key = UnboundKey::new(&CHACHA20_POLY1305, key).expect("32 bytes are a key");
        Self(LessSafeKey::new(key))
    }

    /// Encrypts bytes for one place. They can be decrypted under the same place only.
    #[must_use]
    #[expect(clippy::expect_used, reason = "without randomness nothing can be sealed")]
    pub fn close(&self, place: &str, plain: &[u8]) -> Vec<u8> {
        let mut nonce = [0; NONCE_LEN];
        SysRng.try_fill_bytes(&mut nonce).expect("the system returned no random bytes");
        let mut sealed = Vec::with_capacity(NONCE_LEN + plain.len() + CHACHA20_POLY1305.tag_len());
        sealed.extend_from_slice(&nonce);
        let mut text = plain.to_vec();
        let place = Aad::from(place.as_bytes());
        self.0
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), place, &mut text)
            .expect("the text is shorter than the limit of the cipher");
        sealed.extend_from_slice(&text);
        sealed
    }

    /// Decrypts bytes that were sealed for this place. None if the place or key differs, or if the
    /// bytes were changed.
    #[must_use]
    pub fn open(&self, place: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, text) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut text = text.to_vec();
        let plain = self.0.open_in_place(nonce, Aad::from(place.as_bytes()), &mut text).ok()?.len();
        text.truncate(plain);
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sealed_bytes_open_only_unchanged_in_their_place() {
        let seal = Seal::new(&[7; 32]);
        let sealed = seal.close("here", b"hunter2");
        assert!(!sealed.windows(7).any(|part| part == b"hunter2"));
        assert_eq!(seal.open("here", &sealed).unwrap(), b"hunter2");
        assert_eq!(seal.open("there", &sealed), None);
        assert_eq!(Seal::new(&[8; 32]).open("here", &sealed), None);
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(seal.open("here", &changed), None);
            assert_eq!(seal.open("here", &sealed[..at]), None);
        }
        assert_ne!(
            seal.close("here", b"hunter2"),
            sealed,
            "the same text looks different each time"
        );
    }
}
