//! Hop counts: they end a loop of messages that come back to the hub through the network. Pure.
//!
//! A message carries a header with the number of times that its chain has left this hub, signed
//! together with the body by a key of the hub's own: `3;HEX`. A received request counts only if the
//! signature is valid; any other has hop count 0.

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::payload::Payload;

/// The header on messages and requests. A stored payload has the bare number here, once verified.
pub const HOPS_HEADER: &str = "x-weir-hops";
/// Binds the signature to this purpose.
const PURPOSE: &[u8] = b"weir hops 1\0";
/// Headers of this name that are read; more are ignored.
const VALUES_MAX: usize = 4;

/// The key that signs hop counts.
#[derive(Clone)]
pub struct HopKey(Hmac<Sha256>);

impl fmt::Debug for HopKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HopKey")
    }
}

impl HopKey {
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        // HMAC pads a shorter key with zeros to one block.
        let mut block = [0; 64];
        block[..key.len()].copy_from_slice(key);
        Self(Hmac::new(&block.into()))
    }

    /// The header's value for a body with this hop count.
    #[must_use]
    pub fn sign(&self, hops: u8, body: &[u8]) -> String {
        format!("{hops};{}", hex::encode(self.mac(hops, body).finalize().into_bytes()))
    }

    /// The hop count of a body: the largest valid one of its headers, or 0.
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
    /// The verified hop count, as [`Payload::set_hops`] stored it.
    #[must_use]
    pub fn hops(&self) -> u8 {
        let noted = self.header(HOPS_HEADER).and_then(|value| std::str::from_utf8(value).ok());
        noted.and_then(number).unwrap_or(0)
    }

    /// Stores the verified hop count, and drops what the sender wrote there.
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
    fn only_a_signature_of_this_hub_is_read() {
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
    fn forged_header_beside_a_valid_one_is_ignored() {
        let (low, high) = (key(1).sign(2, b""), key(1).sign(5, b""));
        let values = ["7;00", low.as_str(), high.as_str()].map(str::as_bytes);
        assert_eq!(key(1).read(values, b""), 5);
    }

    #[test]
    fn signature_is_plain_hmac() {
        let mut mac = Hmac::<Sha256>::new_from_slice(&[1; 32]).unwrap();
        mac.update(b"weir hops 1\0\x03{}");
        let expected = format!("3;{}", hex::encode(mac.finalize().into_bytes()));
        assert_eq!(key(1).sign(3, b"{}"), expected);
    }

    proptest! {
        #[test]
        fn any_hop_count_reads_back(
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
        fn arbitrary_header_is_read_without_panic(value in prop::collection::vec(any::<u8>(), 0..100)) {
            prop_assert_eq!(key(1).read([&value[..]], b""), 0);
            let mut payload = Payload::default();
            payload.headers.push((HOPS_HEADER.into(), value.into()));
            let _ = payload.hops();
        }
    }
}
