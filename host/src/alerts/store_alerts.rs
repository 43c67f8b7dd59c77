//! Alerts about a store with a problem that still works: one when it begins and one when it ends.

use weir_core::time::Timestamp;
use weir_store::health::StoreHealth;

use crate::observe::notice::Notice;

/// The condition of the store at the last check.
#[derive(Debug, Default)]
pub(super) struct StoreAlerts {
    full_since: Option<Timestamp>,
    unreadable: u64,
    lost_was_told: bool,
}

impl StoreAlerts {
    /// The notices about what has changed since the last check.
    pub(super) fn look(&mut self, condition: &StoreHealth, now: Timestamp) -> Vec<Notice> {
        let mut notices = Vec::new();
        match (std::mem::replace(&mut self.full_since, condition.full_since), condition.full_since)
        {
            (None, Some(since)) => notices.push(Notice::StoreFull { since }),
            (Some(since), None) => {
                notices.push(Notice::StoreHasRoom { full_for: now.since(since) });
            }
            _ => {}
        }
        if condition.unreadable > std::mem::replace(&mut self.unreadable, condition.unreadable) {
            notices.push(Notice::StoreUnreadable { rows: condition.unreadable });
        }
        if !condition.lost.is_empty() && !std::mem::replace(&mut self.lost_was_told, true) {
            notices.push(Notice::StoreLost { lost: condition.lost.clone() });
        }
        notices
    }
}

#[cfg(test)]
mod tests {
    use weir_store::health::LostRows;

    use super::*;

    fn kinds(notices: &[Notice]) -> Vec<&'static str> {
        notices.iter().map(Notice::kind).collect()
    }

    #[test]
    fn each_store_problem_raises_one_alert_and_one_at_its_end() {
        let mut store_alerts = StoreAlerts::default();
        let at = Timestamp::from_millis;
        let mut look = |condition: &StoreHealth| kinds(&store_alerts.look(condition, at(9_000)));
        let sound = StoreHealth::default();
        assert!(look(&sound).is_empty());
        let full = StoreHealth { full_since: Some(at(5_000)), ..sound.clone() };
        assert_eq!(look(&full), ["store.full"]);
        assert!(look(&full).is_empty());
        assert_eq!(look(&sound), ["store.has_room"]);
        let mut bad = StoreHealth { unreadable: 2, ..sound };
        assert_eq!(look(&bad), ["store.unreadable"]);
        assert!(look(&bad).is_empty());
        bad.unreadable = 3;
        bad.lost = vec![LostRows { what: "event", first: 7, last: 9, found_at: at(1) }];
        assert_eq!(look(&bad), ["store.unreadable", "store.lost"]);
        assert!(look(&bad).is_empty());
    }
}
