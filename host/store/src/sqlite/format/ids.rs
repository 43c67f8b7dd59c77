//! Public row ids, made from a row's time and number and read back without an index.
//!
//! An id has 48 bits of time, a 32-bit keyed hash, and the 48-bit row number masked with a keyed
//! hash of the other 80 bits. It shows the time and nothing else, and a forged one is refused
//! without a look-up.

use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher13};
use weir_core::id::{AttemptId, DeliveryId, EventId, RequestId};
use weir_core::time::Timestamp;

use crate::sqlite::format::schema::Keys;

const NUMBER_BITS: u32 = 48;

const NUMBER_MASK: u64 = (1 << NUMBER_BITS) - 1;

/// Kind of a row. It is part of the hash, so that ids of different kinds share no pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum RowKind {
    Request = 1,
    Event = 2,
    Delivery = 3,
    Attempt = 4,
}

/// A row's number and the time in its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) at: Timestamp,
    pub(crate) n: i64,
}

/// Makes and reads ids.
#[derive(Clone)]
pub(crate) struct Ids {
    key: [u8; 16],
}

impl std::fmt::Debug for Ids {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ids")
    }
}

impl Ids {
    pub(crate) fn new(keys: &Keys) -> Self {
        Self { key: keys.ids }
    }

    /// The id of a row. Its time has 48 bits, which lasts until the year 10889.
    pub(crate) fn make(&self, kind: RowKind, row: Row) -> u128 {
        let ms = row.at.as_millis() & NUMBER_MASK;
        let n = row.n.unsigned_abs() & NUMBER_MASK;
        let proof = self.proof(kind, ms, n);
        let mixed = n ^ self.mask(kind, ms, proof);
        u128::from(ms) << 80 | u128::from(proof) << NUMBER_BITS | u128::from(mixed)
    }

    /// The row that an id names, if this store made the id.
    pub(crate) fn open(&self, kind: RowKind, id: u128) -> Option<Row> {
        let number = |bits: u128, width: u32| u64::try_from(bits & ((1 << width) - 1)).unwrap_or(0);
        let ms = number(id >> 80, NUMBER_BITS);
        let proof = low_bits(number(id >> NUMBER_BITS, 32));
        let n = number(id, NUMBER_BITS) ^ self.mask(kind, ms, proof);
        let row = Row { at: Timestamp::from_millis(ms), n: n.cast_signed() };
        (self.proof(kind, ms, n) == proof).then_some(row)
    }

    pub(crate) fn request(&self, at: Timestamp, n: i64) -> RequestId {
        RequestId::from_bits(self.make(RowKind::Request, Row { at, n }))
    }

    pub(crate) fn event(&self, at: Timestamp, n: i64) -> EventId {
        EventId::from_bits(self.make(RowKind::Event, Row { at, n }))
    }

    /// A delivery's id carries the time of its event.
    pub(crate) fn delivery(&self, event_at: Timestamp, n: i64) -> DeliveryId {
        DeliveryId::from_bits(self.make(RowKind::Delivery, Row { at: event_at, n }))
    }

    pub(crate) fn attempt(&self, started_at: Timestamp, n: i64) -> AttemptId {
        AttemptId::from_bits(self.make(RowKind::Attempt, Row { at: started_at, n }))
    }

    fn proof(&self, kind: RowKind, ms: u64, n: u64) -> u32 {
        let mut hash = SipHasher13::new_with_key(&self.key);
        hash.write_u8(kind as u8);
        hash.write_u64(ms);
        hash.write_u64(n);
        low_bits(hash.finish128().h1)
    }

    fn mask(&self, kind: RowKind, ms: u64, proof: u32) -> u64 {
        let mut hash = SipHasher13::new_with_key(&self.key);
        hash.write_u8(kind as u8 | 0x80);
        hash.write_u64(ms);
        hash.write_u32(proof);
        hash.finish128().h1 & NUMBER_MASK
    }
}

fn low_bits(wide: u64) -> u32 {
    u32::try_from(wide & u64::from(u32::MAX)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ids(key: u8) -> Ids {
        Ids { key: [key; 16] }
    }

    proptest! {
        #[test]
        fn an_id_gives_its_row_back(ms in 0u64..1 << 48, n in 1i64..1 << 48) {
            let row = Row { at: Timestamp::from_millis(ms), n };
            for kind in [RowKind::Request, RowKind::Event, RowKind::Delivery, RowKind::Attempt] {
                let id = ids(1).make(kind, row);
                prop_assert_eq!(ids(1).open(kind, id), Some(row));
            }
        }

        #[test]
        fn an_id_with_one_bit_changed_is_refused(ms in 0u64..1 << 48, n in 1i64..1 << 48, bit in 0u32..128) {
            let row = Row { at: Timestamp::from_millis(ms), n };
            let id = ids(1).make(RowKind::Event, row);
            prop_assert_ne!(ids(1).open(RowKind::Event, id ^ (1 << bit)), Some(row));
        }

        #[test]
        fn ids_begin_with_their_time(a in 0u64..1 << 47, later in 1u64..1 << 40, n in 1i64..1 << 48) {
            let id = |ms| ids(1).make(RowKind::Event, Row { at: Timestamp::from_millis(ms), n });
            prop_assert!(id(a) < id(a + later));
        }
    }

    #[test]
    fn an_id_of_another_store_or_kind_is_refused() {
        let row = Row { at: Timestamp::from_millis(1_760_000_000_000), n: 42 };
        let id = ids(1).make(RowKind::Event, row);
        assert_eq!(ids(2).open(RowKind::Event, id), None);
        assert_eq!(ids(1).open(RowKind::Delivery, id), None);
    }

    #[test]
    fn ids_of_neighbouring_rows_look_unrelated() {
        let at = Timestamp::from_millis(1_760_000_000_000);
        let low = u128::from(NUMBER_MASK);
        let number = |n| ids(1).make(RowKind::Event, Row { at, n }) & low;
        let steps: std::collections::HashSet<u128> =
            (1..1000).map(|n| number(n + 1).abs_diff(number(n))).collect();
        assert!(steps.len() > 900, "only {} distinct steps", steps.len());
    }
}
