//! The contents of a store as the [`weir_store::Store`] trait shows them, with names that do not
//! depend on ids. Both the model's expectation and the store's contents are a [`World`], and are
//! compared whole.
//!
//! Names: `s7` is the event whose body has serial 7, `s7>handler:orders` its delivery, `…#0.2` the
//! second attempt of generation 0, `…#0.2+m0` the first message that it sent, `…#0.2+e0` the first
//! event that it emitted.

use std::collections::{BTreeMap, BTreeSet};

use weir_core::delivery::{DeliveryState, Outcome};
use weir_core::time::Timestamp;

/// The name of a row.
pub type Key = String;

/// The contents of a store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct World {
    /// Events by name.
    pub events: BTreeMap<Key, EventRow>,
    /// Deliveries by name, messages included.
    pub deliveries: BTreeMap<Key, DeliveryRow>,
    /// Attempts by name.
    pub attempts: BTreeMap<Key, AttemptRow>,
    /// Live values of handlers' state, by handler and key.
    pub state: BTreeMap<(String, String), String>,
    /// Handlers' keys under which an effect waits.
    pub waiting: BTreeSet<(String, String)>,
    /// Active holds: scope, end, and time of placement.
    pub holds: Vec<(String, Option<Timestamp>, Timestamp)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRow {
    pub source: String,
    /// Its type.
    pub kind: String,
    /// The time at which it was stored.
    pub at: Timestamp,
    /// The sender's id.
    pub delivery_id: Option<String>,
    /// True if the sender used the id before.
    pub id_reused: bool,
    /// The outward id of an emitted event.
    pub outward: Option<u128>,
    /// The parent of an emitted event.
    pub parent: Option<Key>,
    /// Its body.
    pub body: String,
    /// Its deliveries, in order.
    pub deliveries: Vec<Key>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryRow {
    pub target: String,
    /// Its state.
    pub state: DeliveryState,
    /// Its generation: the number of its replays.
    pub generation: u32,
    /// Attempts in this generation.
    pub attempts: u32,
    /// The time at which it is due.
    pub due_at: Option<Timestamp>,
    /// The outward id of a message.
    pub message: Option<u128>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptRow {
    /// Start time of the attempt.
    pub started_at: Timestamp,
    /// Outcome of the attempt.
    pub outcome: Outcome,
    /// Messages that it sent.
    pub messages: Vec<Key>,
    /// Events that it emitted.
    pub emitted: Vec<Key>,
}

impl World {
    /// The differences, one row per line: `-` for expected and `+` for stored. Limited to about one
    /// screen.
    #[must_use]
    pub fn differences(&self, seen: &Self) -> Vec<String> {
        let mut lines = Vec::new();
        rows("event", &self.events, &seen.events, &mut lines);
        rows("delivery", &self.deliveries, &seen.deliveries, &mut lines);
        rows("attempt", &self.attempts, &seen.attempts, &mut lines);
        rows("state", &self.state, &seen.state, &mut lines);
        let waiting = |of: &Self| of.waiting.iter().map(|k| (k.clone(), ())).collect();
        let (mine, theirs): (BTreeMap<_, _>, BTreeMap<_, _>) = (waiting(self), waiting(seen));
        rows("waiting under", &mine, &theirs, &mut lines);
        if self.holds != seen.holds {
            lines.push(format!("- holds {:?}", self.holds));
            lines.push(format!("+ holds {:?}", seen.holds));
        }
        lines.truncate(40);
        lines
    }

    /// True if it can be claimed: neither finished nor claimed.
    #[must_use]
    pub fn waits(&self, delivery: &str) -> bool {
        let state = self.deliveries.get(delivery).map(|d| d.state);
        matches!(state, Some(DeliveryState::Pending | DeliveryState::Retrying))
    }
}

fn rows<K: Ord + std::fmt::Debug, V: PartialEq + std::fmt::Debug>(
    what: &str,
    expected: &BTreeMap<K, V>,
    seen: &BTreeMap<K, V>,
    lines: &mut Vec<String>,
) {
    let keys: BTreeSet<&K> = expected.keys().chain(seen.keys()).collect();
    for key in keys {
        let (mine, theirs) = (expected.get(key), seen.get(key));
        if mine != theirs {
            lines.extend(mine.map(|row| format!("- {what} {key:?}: {row:?}")));
            lines.extend(theirs.map(|row| format!("+ {what} {key:?}: {row:?}")));
        }
    }
}
