//! Conversion of numbers to and from columns, which are signed 64-bit integers.

use std::time::Duration;

use weir_core::time::Timestamp;

/// A count or length as a column.
pub(crate) fn column(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// A column that is a count. A negative one is 0.
pub(crate) fn count(stored: i64) -> u64 {
    u64::try_from(stored).unwrap_or(0)
}

/// A column that is a length in memory.
pub(crate) fn length(stored: i64) -> usize {
    usize::try_from(stored).unwrap_or(0)
}

/// A column that is a small number.
pub(crate) fn small(stored: i64) -> u32 {
    u32::try_from(stored).unwrap_or(0)
}

/// A time as a column.
pub(crate) fn stored_time(at: Timestamp) -> i64 {
    i64::try_from(at.as_millis()).unwrap_or(i64::MAX)
}

/// A column that is a time.
pub(crate) fn time(stored: i64) -> Timestamp {
    Timestamp::from_millis(count(stored))
}

/// A duration in whole microseconds as a column.
pub(crate) fn micros(d: Duration) -> i64 {
    i64::try_from(d.as_micros()).unwrap_or(i64::MAX)
}

/// A duration in whole seconds as a column.
pub(crate) fn seconds(d: Duration) -> i64 {
    i64::try_from(d.as_secs()).unwrap_or(i64::MAX)
}

/// The time `life` before `at`, for comparing with stored times.
pub(crate) fn stored_time_before(at: Timestamp, life: Duration) -> i64 {
    let life = u64::try_from(life.as_millis()).unwrap_or(u64::MAX);
    stored_time(Timestamp::from_millis(at.as_millis().saturating_sub(life)))
}

/// The 128 bits of an id as stored bytes.
pub(crate) fn stored_id(bits: u128) -> [u8; 16] {
    bits.to_be_bytes()
}

/// Stored bytes as the 128 bits of an id.
pub(crate) fn id_bits(stored: &[u8]) -> Option<u128> {
    stored.try_into().ok().map(u128::from_be_bytes)
}
