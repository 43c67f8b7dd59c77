//! The oldest waiting delivery of each line.

use rustc_hash::FxHashMap;
use weir_core::time::Timestamp;

use super::{Due, Place};

/// The oldest delivery of one line, as far as memory knows.
#[derive(Debug, Clone, Copy)]
pub(in crate::sqlite) struct Oldest {
    pub(in crate::sqlite) place: Place,
    pub(in crate::sqlite) n: Option<i64>,
    /// Fresh deliveries above this are on disk only, and none is in memory.
    pub(in crate::sqlite) fresh_after: Option<i64>,
    /// Deliveries due after this are on disk only.
    pub(in crate::sqlite) late_after: Option<(Timestamp, i64)>,
}

impl Due {
    /// For each line of a target that has something: the smallest number that waits in memory or is claimed, and
    /// where the part begins that is on disk only.
    pub(in crate::sqlite) fn oldest(&self) -> Vec<Oldest> {
        let mut all: FxHashMap<Place, Oldest> = FxHashMap::default();
        for (target, queue) in &self.targets {
            for (source, line) in &queue.lines {
                let fresh = line.fresh.iter().map(|entry| entry.n).min();
                let late = line.late.values().map(|entry| entry.n).min();
                let n = fresh.into_iter().chain(late).min();
                let fresh_after = line.fresh_boundary.filter(|_| fresh.is_none());
                let late_after = line.late_boundary;
                if n.is_some() || fresh_after.is_some() || late_after.is_some() {
                    let place = Place { target: *target, source: *source };
                    all.insert(place, Oldest { place, n, fresh_after, late_after });
                }
            }
        }
        for claim in self.claims.values() {
            let none = Oldest { place: claim.place, n: None, fresh_after: None, late_after: None };
            let known = all.entry(claim.place).or_insert(none);
            known.n = Some(known.n.map_or(claim.entry.n, |n| n.min(claim.entry.n)));
        }
        all.into_values().collect()
    }
}
