//! Numbers on their way in and out of SQLite, whose integers are signed and 64 bits wide.

use std::time::Duration;

use weir_core::time::Timestamp;

/// A count or length as a column.
pub(super) fn column(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// A column that counts something. What cannot be a count is none of it.
pub(super) fn count(stored: i64) -> u64 {
    u64::try_from(stored).unwrap_or(0)
}

/// A column that is a length in memory.
pub(super) fn length(stored: i64) -> usize {
    usize::try_from(stored).unwrap_or(0)
}

/// A column that is a small number.
pub(super) fn small(stored: i64) -> u32 {
    u32::try_from(stored).unwrap_or(0)
}

/// A time as a column.
pub(super) fn stored_time(at: Timestamp) -> i64 {
    i64::try_from(at.as_millis()).unwrap_or(i64::MAX)
}

/// A column that is a time.
pub(super) fn time(stored: i64) -> Timestamp {
    Timestamp::from_millis(count(stored))
}

/// A duration in whole microseconds as a column.
pub(super) fn micros(d: Duration) -> i64 {
    i64::try_from(d.as_micros()).unwrap_or(i64::MAX)
}

/// A length in milliseconds before `at`, for comparing with stored times.
pub(super) fn stored_time_before(at: Timestamp, life: Duration) -> i64 {
    let life = u64::try_from(life.as_millis()).unwrap_or(u64::MAX);
    stored_time(Timestamp::from_millis(at.as_millis().saturating_sub(life)))
}

/// The 128 bits of an id as stored bytes.
pub(super) fn stored_id(bits: u128) -> [u8; 16] {
    bits.to_be_bytes()
}

/// Stored bytes as the 128 bits of an id.
pub(super) fn id_bits(stored: &[u8]) -> Option<u128> {
    stored.try_into().ok().map(u128::from_be_bytes)
}
