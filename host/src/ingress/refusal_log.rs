//! Says refusals in the log, so many a second and then a count, each under an id that the sender was told too.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use weir_core::id::RequestId;
use weir_core::time::Timestamp;

use super::limits::REFUSALS_LOGGED_PER_SECOND;
use super::refused::Refused;

/// The log of refusals.
#[derive(Debug)]
pub(super) struct RefusalLog {
    gate: Mutex<Gate>,
    seed: u64,
    count: AtomicU64,
}

/// How many lines a second has had.
#[derive(Debug, Default)]
struct Gate {
    second: u64,
    lines: u32,
    missed: u64,
}

/// Whether to write a line, and how many went unwritten since the last.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    Write { missed: u64 },
    Skip,
}

impl Gate {
    fn pass(&mut self, now_s: u64) -> Line {
        if now_s != self.second {
            self.second = now_s;
            self.lines = 0;
        }
        if self.lines >= REFUSALS_LOGGED_PER_SECOND {
            self.missed += 1;
            return Line::Skip;
        }
        self.lines += 1;
        Line::Write { missed: std::mem::take(&mut self.missed) }
    }
}

impl RefusalLog {
    /// An empty log; `seed` keeps the ids of two processes apart.
    pub(super) fn new(seed: u64) -> Self {
        Self { gate: Mutex::default(), seed, count: AtomicU64::new(0) }
    }

    /// An id for a refused request: of the form of a stored request's, but told apart, for it is not stored.
    pub(super) fn next_id(&self, now: Timestamp) -> String {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let low = u128::from(self.seed.wrapping_add(count));
        let bits = u128::from(now.as_millis()) << 80 | low;
        RequestId::from_bits(bits).to_string().replacen(RequestId::PREFIX, "refused_", 1)
    }

    /// Writes a line, if this second has room for one.
    pub(super) fn note(&self, now: Timestamp, id: &str, source: Option<&str>, refused: &Refused) {
        let Line::Write { missed } = self.gate.lock().pass(now.as_secs()) else { return };
        if missed > 0 {
            tracing::info!(missed, "refusals were too many to log");
        }
        let (code, source) = (refused.code(), source.unwrap_or("-"));
        if refused.is_ours() {
            tracing::warn!(request_id = id, source, code, reason = %refused, "request turned away");
        } else if source == "-" {
            tracing::debug!(request_id = id, source, code, reason = %refused, "request refused");
        } else {
            tracing::info!(request_id = id, source, code, reason = %refused, "request refused");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_logged_by_its_first_lines_and_then_as_a_count() {
        let mut gate = Gate::default();
        let written = (0..1000).filter(|_| gate.pass(7) != Line::Skip).count();
        assert_eq!(written, REFUSALS_LOGGED_PER_SECOND as usize);
        assert_eq!(gate.pass(8), Line::Write { missed: 1000 - written as u64 });
        assert_eq!(gate.pass(8), Line::Write { missed: 0 }, "and the count is told once");
    }

    #[test]
    fn ids_of_refusals_differ_and_are_no_ids_of_stored_requests() {
        let log = RefusalLog::new(u64::MAX);
        let now = Timestamp::from_millis(1_760_000_000_000);
        let (one, other) = (log.next_id(now), log.next_id(now));
        assert_ne!(one, other);
        assert!(one.starts_with("refused_") && one.parse::<RequestId>().is_err());
    }
}
