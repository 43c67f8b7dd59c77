//! The oldest waiting delivery of each queue.

use rustc_hash::FxHashMap;
use weir_core::time::Timestamp;

use super::{Due, QueueKey};

/// The oldest delivery of one queue that memory knows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Oldest {
    pub(crate) queue_key: QueueKey,
    pub(crate) n: Option<i64>,
    /// Fresh deliveries above this are on disk only, and none is in memory.
    pub(crate) fresh_after: Option<i64>,
    /// Deliveries due after this are on disk only.
    pub(crate) late_after: Option<(Timestamp, i64)>,
}

impl Due {
    /// For each queue that is not empty: the smallest number that waits in memory or is claimed,
    /// and the start of the part that is on disk only.
    pub(crate) fn oldest(&self) -> Vec<Oldest> {
        let mut all: FxHashMap<QueueKey, Oldest> = FxHashMap::default();
        for (target, queue) in &self.targets {
            for (source, line) in &queue.lines {
                let fresh = line.fresh.iter().map(|entry| entry.n).min();
                let late = line.late.values().map(|entry| entry.n).min();
                let n = fresh.into_iter().chain(late).min();
                let fresh_after = line.fresh_boundary.filter(|_| fresh.is_none());
                let late_after = line.late_boundary;
                if n.is_some() || fresh_after.is_some() || late_after.is_some() {
                    let queue_key = QueueKey { target: *target, source: *source };
                    all.insert(queue_key, Oldest { queue_key, n, fresh_after, late_after });
                }
            }
        }
        for claim in self.claims.values() {
            let none =
                Oldest { queue_key: claim.queue_key, n: None, fresh_after: None, late_after: None };
            let known = all.entry(claim.queue_key).or_insert(none);
            known.n = Some(known.n.map_or(claim.entry.n, |n| n.min(claim.entry.n)));
        }
        all.into_values().collect()
    }
}
