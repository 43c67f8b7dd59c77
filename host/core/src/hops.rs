//! How often a message has come back to the hub that sent it, so that a circle through the network ends.
//!
//! What goes out says in a header how many times the line of messages that it belongs to has left this hub, signed
//! with a key that only the hub has, together with the body: `3;HEX`. What comes in with a signature that holds has
//! left here before; anything else counts as never having been here. Pure.

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::payload::Payload;

/// The header, on the way out and on the way in; with a stored payload it is the bare number, as it was found right.
pub const HOPS_HEADER: &str = "x-weir-hops";
/// What the signature is for, so that it is good for nothing else.
const PURPOSE: &[u8] = b"weir hops 1\0";
/// Headers of that name that are looked at.
const VALUES_MAX: usize = 4;

/// The key that hops are signed with.
#[derive(Clone)]
pub struct HopKey(Hmac<Sha256>);

impl fmt::Debug for HopKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HopKey")
    }
}

impl HopKey {
    /// Takes a key.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        // A block of the hash: a shorter key is filled up with zeros, says the algorithm.
        let mut block = [0; 64];
        block[..key.len()].copy_from_slice(key);
        Self(Hmac::new(&block.into()))
    }

    /// The header's value for a body that leaves for the `hops`th time.
    #[must_use]
    pub fn sign(&self, hops: u8, body: &[u8]) -> String {
        format!("{hops};{}", hex::encode(self.mac(hops, body).finalize().into_bytes()))
    }

    /// How often a body has left, by the values of its headers: the largest that holds, and 0 if none does.
    pub fn read<'a>(&self, values: impl IntoIterator<Item = &'a [u8]>, body: &[u8]) -> u8 {
        let read = values.into_iter().take(VALUES_MAX).filter_map(|v| self.read_one(v, body));
        read.max().unwrap_or(0)
    }

    fn read_one(&self, value: &[u8], body: &[u8]) -> Option<u8> {
        let (hops, signature) = std::str::from_utf8(value).ok()?.split_once(';')?;
        let hops = number(hops)?;
        let mut given = [0; 32];
        hex::decode_to_slice(signature, &mut given).ok()?;
        self.mac(hops, body).verify_slice(&given).is_ok().then_some(hops)
    }

    fn mac(&self, hops: u8, body: &[u8]) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        mac.update(PURPOSE);
        mac.update(&[hops]);
        mac.update(body);
        mac
    }
}

impl Payload {
    /// How often what came with this payload had left before, as [`Payload::set_hops`] noted it.
    #[must_use]
    pub fn hops(&self) -> u8 {
        let noted = self.header(HOPS_HEADER).and_then(|value| std::str::from_utf8(value).ok());
        noted.and_then(number).unwrap_or(0)
    }

    /// Notes how often it had left before, in place of whatever a stranger wrote there.
    pub fn set_hops(&mut self, hops: u8) {
        self.headers.retain(|(name, _)| &**name != HOPS_HEADER);
        if hops > 0 {
            self.headers.push((HOPS_HEADER.into(), hops.to_string().into()));
        }
    }
}

fn number(text: &str) -> Option<u8> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(byte: u8) -> HopKey {
        HopKey::new(&[byte; 32])
    }

    #[test]
    fn what_was_signed_here_is_read_and_nothing_else() {
        let signed = key(1).sign(3, b"{}");
        let read = |key: &HopKey, value: &str, body: &[u8]| key.read([value.as_bytes()], body);
        assert_eq!(read(&key(1), &signed, b"{}"), 3);
        assert_eq!(read(&key(2), &signed, b"{}"), 0, "another hub's");
        assert_eq!(read(&key(1), &signed, b"{ }"), 0, "another body's");
        assert_eq!(read(&key(1), &signed.replacen('3', "0", 1), b"{}"), 0, "counted down");
        for forged in ["", "3", "3;", ";", "+3;00", "256;00", "3;zz", &format!("{signed}00")] {
            assert_eq!(read(&key(1), forged, b"{}"), 0, "{forged}");
        }
    }

    #[test]
    fn a_forged_header_beside_a_right_one_changes_nothing() {
        let (low, high) = (key(1).sign(2, b""), key(1).sign(5, b""));
        let values = ["7;00", low.as_str(), high.as_str()].map(str::as_bytes);
        assert_eq!(key(1).read(values, b""), 5);
    }

    #[test]
    fn the_algorithm_is_plain_hmac() {
        let mut mac = Hmac::<Sha256>::new_from_slice(&[1; 32]).unwrap();
        mac.update(b"weir hops 1\0\x03{}");
        let expected = format!("3;{}", hex::encode(mac.finalize().into_bytes()));
        assert_eq!(key(1).sign(3, b"{}"), expected);
    }

    proptest! {
        #[test]
        fn any_number_and_body_come_back(
            hops in any::<u8>(), body in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            let signed = key(1).sign(hops, &body);
            prop_assert_eq!(key(1).read([signed.as_bytes()], &body), hops);
            let mut payload = Payload::new("text/plain", body.into());
            payload.headers.push((HOPS_HEADER.into(), "9".into()));
            payload.set_hops(hops);
            prop_assert_eq!(payload.hops(), hops);
            prop_assert_eq!(payload.header(HOPS_HEADER).is_some(), hops > 0);
        }

        #[test]
        fn no_header_breaks_the_reading(value in prop::collection::vec(any::<u8>(), 0..100)) {
            prop_assert_eq!(key(1).read([&value[..]], b""), 0);
            let mut payload = Payload::default();
            payload.headers.push((HOPS_HEADER.into(), value.into()));
            let _ = payload.hops();
        }
    }
}
