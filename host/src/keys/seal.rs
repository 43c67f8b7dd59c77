//! Sealing: what this host must keep and nobody else should read, encrypted under a key in the data folder.
//!
//! It keeps secrets and strangers' bytes out of the database's raw bytes and its backups. Whoever can read the whole
//! data folder can read them.

use std::fmt;
use std::path::Path;

use rand::TryRng as _;
use rand::rngs::SysRng;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use super::load_or_create;

/// The key's file in the data folder.
const FILE: &str = "sealing.key";

/// Seals and opens.
pub struct Seal(LessSafeKey);

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seal(…)")
    }
}

impl Seal {
    /// With the key in a data folder, made at the first start.
    ///
    /// # Errors
    /// If the key can be neither read nor made.
    pub fn load_or_create(data_dir: &Path) -> anyhow::Result<Self> {
        Ok(Self::new(&load_or_create(&data_dir.join(FILE))?))
    }

    /// With this key.
    #[must_use]
    #[expect(clippy::expect_used, reason = "the key has the algorithm's length")]
    pub fn new(key: &[u8; 32]) -> Self {
        let key = UnboundKey::new(&CHACHA20_POLY1305, key).expect("32 bytes are a key");
        Self(LessSafeKey::new(key))
    }

    /// Seals bytes for one place; they open under its name only.
    #[must_use]
    #[expect(clippy::expect_used, reason = "as for every secret that is made here")]
    pub fn close(&self, place: &str, plain: &[u8]) -> Vec<u8> {
        let mut nonce = [0; NONCE_LEN];
        SysRng.try_fill_bytes(&mut nonce).expect("the system gives no random bytes");
        let mut sealed = Vec::with_capacity(NONCE_LEN + plain.len() + CHACHA20_POLY1305.tag_len());
        sealed.extend_from_slice(&nonce);
        let mut text = plain.to_vec();
        let place = Aad::from(place.as_bytes());
        self.0
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), place, &mut text)
            .expect("no text is longer than what a key may seal");
        sealed.extend_from_slice(&text);
        sealed
    }

    /// What was sealed for this place; none if it was not, or not under this key, or was changed.
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
    fn what_is_sealed_opens_in_its_place_under_its_key_and_only_as_it_was() {
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
