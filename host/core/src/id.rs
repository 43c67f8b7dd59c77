//! Public ids: a prefix that says what it names, and 128 bits as ULID text.
//!
//! Two kinds share the form. *Row ids* name a stored row: 48 bits of time, 32 random bits, and a 48-bit row
//! number that the store mixes so that it tells nothing. *Outward ids* are hashes of what a thing says, so
//! that the same thing sent again carries the same id and a changed one a new id (INV-5).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;
use ulid::Ulid;

/// Text that is not an id of the kind asked for.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "not {kind} id: expected `{prefix}` and 26 characters, such as {prefix}01K9ZR3V6QH8N4T2M5W7XADCBE"
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
            /// What the text form begins with.
            pub const PREFIX: &'static str = $prefix;

            /// From its 128 bits.
            #[must_use]
            pub const fn from_bits(bits: u128) -> Self {
                Self(bits)
            }

            /// Its 128 bits.
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
    /// A request as it arrived and was verified.
    RequestId, "req_", "a request";
    /// An event. A row id, or for what a handler emits also an outward id.
    EventId, "evt_", "an event";
    /// A delivery: the unit of retry.
    DeliveryId, "dlv_", "a delivery";
    /// One try of a delivery.
    AttemptId, "att_", "an attempt";
    /// A message to a destination; always an outward id.
    MessageId, "msg_", "a message";
    /// A request that was not believed and is kept apart.
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
    fn an_id_of_another_kind_is_refused() {
        let text = RequestId::from_bits(7).to_string();
        assert!(text.parse::<EventId>().unwrap_err().to_string().contains("evt_"));
    }

    #[test]
    fn a_refused_id_is_named_with_its_article() {
        let refused = |error: InvalidId| error.to_string().split(':').next().unwrap().to_owned();
        assert_eq!(refused("dlv_1".parse::<EventId>().unwrap_err()), "not an event id");
        assert_eq!(refused("evt_1".parse::<DeliveryId>().unwrap_err()), "not a delivery id");
    }
}
