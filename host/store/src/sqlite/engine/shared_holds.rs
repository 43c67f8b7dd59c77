//! Ending and listing holds.

use weir_core::time::Timestamp;

use crate::hold::{Hold, HoldId};
use crate::sqlite::engine::shared::Shared;

impl Shared {
    /// Ends expired holds. Retention removes their rows.
    pub(crate) fn end_holds(&self, now: Timestamp) {
        let mut holds = self.holds.lock();
        if holds.in_force.is_empty() {
            return;
        }
        let over = |hold: &Hold| hold.hold.until.is_some_and(|until| until <= now);
        let ended: Vec<HoldId> =
            holds.in_force.values().filter(|(h, _)| over(h)).map(|(h, _)| h.id).collect();
        for id in ended {
            if let Some((_, held)) = holds.in_force.remove(&id) {
                self.due.lock().release(held);
            }
        }
    }

    /// The earliest end of a hold.
    pub(crate) fn next_hold_end(&self) -> Option<Timestamp> {
        self.holds.lock().in_force.values().filter_map(|(h, _)| h.hold.until).min()
    }

    pub(crate) fn holds_in_force(&self) -> Vec<Hold> {
        self.holds.lock().in_force.values().map(|(hold, _)| hold.clone()).collect()
    }
}
