//! Public ids: a prefix that names the kind, and 128 bits as ULID text.
//!
//! There are two kinds. *Row ids* name a stored row: 48 bits of time, 32 random bits, and a 48-bit
//! row number that the store scrambles. *Outward ids* are hashes of content: the same content has
//! the same id when it is sent again, changed content has a new one (INV-5).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;
use ulid::Ulid;

use crate::time::Timestamp;

/// A text is not an id of the expected kind.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "not {kind} id: expected `{prefix}` and 26 characters, such as \
     {prefix}01K9ZR3V6QH8N4T2M5W7XADCBE"
)]
pub struct InvalidId {
    kind: &'static str,
    prefix: &'static str,
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident, $prefix:literal, $kind:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u128);

        impl $name {
            /// The prefix of the text form.
            pub const PREFIX: &'static str = $prefix;

            #[must_use]
            pub const fn from_bits(bits: u128) -> Self {
                Self(bits)
            }

            /// From a time and random bits, of which 80 are used.
            #[must_use]
            pub fn from_parts(at: Timestamp, random: u128) -> Self {
                Self(Ulid::from_parts(at.as_millis(), random).0)
            }

            #[must_use]
            pub const fn bits(self) -> u128 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($prefix)?;
                Ulid(self.0).fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let invalid = InvalidId { kind: $kind, prefix: $prefix };
                let ulid = text.strip_prefix($prefix).ok_or_else(|| invalid.clone())?;
                Ulid::from_string(ulid).map(|u| Self(u.0)).map_err(|_| invalid)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

ids! {
    /// A request that was received and verified.
    RequestId, "req_", "a request";
    /// An event: a row id, or an outward id if a handler emitted it.
    EventId, "evt_", "an event";
    /// A delivery: the unit of retry.
    DeliveryId, "dlv_", "a delivery";
    /// One try of a delivery.
    AttemptId, "att_", "an attempt";
    /// A message to a destination; always an outward id.
    MessageId, "msg_", "a message";
    /// A quarantined request.
    QuarantineId, "qrt_", "a quarantine";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_its_text_form() {
        let id = EventId::from_bits(0x0193_4567_89ab_cdef_0123_4567_89ab_cdef);
        assert_eq!(id.to_string().parse::<EventId>().unwrap(), id);
        assert!(id.to_string().starts_with("evt_") && id.to_string().len() == 30);
    }

    #[test]
    fn an_id_of_parts_holds_the_time_and_80_random_bits() {
        let id = EventId::from_parts(Timestamp::from_millis(0x0193_4567_89ab), u128::MAX);
        assert_eq!(id.bits(), 0x0193_4567_89ab_ffff_ffff_ffff_ffff_ffff);
        let low = EventId::from_parts(Timestamp::from_millis(1), 1 << 80);
        assert_eq!(low.bits(), 1 << 80, "higher bits are dropped");
    }

    #[test]
    fn an_id_of_another_kind_is_refused() {
        let text = RequestId::from_bits(7).to_string();
        assert!(text.parse::<EventId>().unwrap_err().to_string().contains("evt_"));
    }

    #[test]
    fn an_invalid_id_names_the_expected_kind() {
        let refused = |error: InvalidId| error.to_string().split(':').next().unwrap().to_owned();
        assert_eq!(refused("dlv_1".parse::<EventId>().unwrap_err()), "not an event id");
        assert_eq!(refused("evt_1".parse::<DeliveryId>().unwrap_err()), "not a delivery id");
    }
}
