//! Messages as a batch of records, format 2. Pure.
//!
//! Source: "Record Batch" in the implementation chapter of Apache Kafka's documentation.

use bytes::{BufMut as _, Bytes, BytesMut};
use weir_core::time::Timestamp;

/// A message of a partition.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) key: Option<String>,
    pub(super) value: Bytes,
    pub(super) headers: Vec<(String, String)>,
    pub(super) at: Timestamp,
}

/// Bytes of a record beside its fields, and of a header, at most.
const BESIDE: usize = 30;

impl Record {
    /// About as many bytes as it has in a batch, or a few more.
    pub(super) fn bytes(&self) -> usize {
        let headers = self.headers.iter().map(|(name, value)| name.len() + value.len() + BESIDE);
        let key = self.key.as_ref().map_or(0, String::len);
        BESIDE + key + self.value.len() + headers.sum::<usize>()
    }

    /// The record with its place in the batch and its age there.
    fn write(&self, to: &mut BytesMut, index: usize, first: Timestamp) {
        let mut record = BytesMut::with_capacity(self.bytes());
        record.put_u8(0);
        varint(&mut record, milliseconds(self.at) - milliseconds(first));
        varint(&mut record, signed(index));
        match &self.key {
            Some(key) => field(&mut record, key.as_bytes()),
            None => varint(&mut record, -1),
        }
        field(&mut record, &self.value);
        varint(&mut record, signed(self.headers.len()));
        for (name, value) in &self.headers {
            field(&mut record, name.as_bytes());
            field(&mut record, value.as_bytes());
        }
        field(to, &record);
    }
}

/// A batch of records without compression. It belongs to no producer id: a message that is sent
/// again is known by its own id, also after a restart, when a producer has another one.
pub(super) fn batch<'r>(records: impl ExactSizeIterator<Item = &'r Record> + Clone) -> Bytes {
    let times = records.clone().map(|record| record.at);
    let (first, last) = (times.clone().next().unwrap_or_default(), times.max().unwrap_or_default());
    let count = super::wire::length(records.len());
    // The part that the checksum is of.
    let mut checked = BytesMut::new();
    checked.put_i16(0);
    checked.put_i32(count.saturating_sub(1));
    checked.put_i64(milliseconds(first));
    checked.put_i64(milliseconds(last));
    checked.put_i64(-1);
    checked.put_i16(-1);
    checked.put_i32(-1);
    checked.put_i32(count);
    for (index, record) in records.enumerate() {
        record.write(&mut checked, index, first);
    }
    let mut batch = BytesMut::with_capacity(checked.len() + BESIDE);
    batch.put_i64(0);
    // What follows: the epoch of the leader, the format, the checksum, and the checked part.
    batch.put_i32(super::wire::length(4 + 1 + 4 + checked.len()));
    batch.put_i32(-1);
    batch.put_u8(2);
    batch.put_u32(crc32c::crc32c(&checked));
    batch.put_slice(&checked);
    batch.freeze()
}

fn milliseconds(at: Timestamp) -> i64 {
    signed_u64(at.as_millis())
}

fn signed(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn signed_u64(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Bytes with their length before them.
fn field(to: &mut BytesMut, bytes: &[u8]) {
    varint(to, signed(bytes.len()));
    to.put_slice(bytes);
}

/// A number in zigzag and groups of seven bits.
fn varint(to: &mut BytesMut, number: i64) {
    let mut rest = ((number << 1) ^ (number >> 63)).cast_unsigned();
    while rest >= 0x80 {
        to.put_u8(rest.to_le_bytes()[0] | 0x80);
        rest >>= 7;
    }
    to.put_u8(rest.to_le_bytes()[0]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_few_bytes_if_they_are_near_zero() {
        for (number, bytes) in [
            (0, &b"\x00"[..]),
            (-1, b"\x01"),
            (1, b"\x02"),
            (63, b"\x7e"),
            (-65, b"\x81\x01"),
            (i64::MIN, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
        ] {
            let mut to = BytesMut::new();
            varint(&mut to, number);
            assert_eq!(&to[..], bytes, "{number}");
        }
    }

    #[test]
    fn a_record_is_no_larger_than_it_says() {
        let record = Record {
            key: Some("k".repeat(200)),
            value: Bytes::from(vec![7; 70_000]),
            headers: vec![("n".repeat(300), String::new()), (String::new(), "v".repeat(20_000))],
            at: Timestamp::from_millis(1_796_000_000_000),
        };
        let alone = batch([&record].into_iter());
        // The head of a batch has 61 bytes.
        assert!(alone.len() - 61 <= record.bytes(), "{} of {}", alone.len(), record.bytes());
    }
}
