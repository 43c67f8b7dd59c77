//! The promises as predicates. Each error says in a sentence what broke. The simulator checks them
//! after every step, after every start, and at every possible crash.

use std::collections::{BTreeMap, BTreeSet};

use weir_core::delivery::DeliveryState;
use weir_core::time::Timestamp;
use weir_store::upkeep::CheckReport;

use crate::model::{Settles, Stored};
use crate::world::{Key, World};

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// The name of the promise: `INV-1` to `INV-6`, or another rule.
    pub promise: &'static str,
    /// The difference that was found.
    pub how: String,
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} is broken: {}", self.promise, self.how)
    }
}

/// The result of a check.
pub type Holds = Result<(), Broken>;

/// Reports a broken promise.
///
/// # Errors
/// Always.
pub fn broken(promise: &'static str, how: impl Into<String>) -> Holds {
    Err(Broken { promise, how: how.into() })
}

/// INV-1: an acknowledged event is stored as it came, with its deliveries, whatever happened since.
/// `may_go` lists the events that retention may have removed.
pub fn nothing_acknowledged_is_lost(
    acknowledged: &World,
    seen: &World,
    may_go: &BTreeSet<Key>,
) -> Holds {
    for (key, event) in &acknowledged.events {
        let Some(found) = seen.events.get(key) else {
            if may_go.contains(key) {
                continue;
            }
            return broken("INV-1", format!("event {key} was acknowledged and is gone"));
        };
        if found.body != event.body {
            return broken("INV-1", format!("event {key} is not what came: {}", found.body));
        }
        for delivery in &event.deliveries {
            if !seen.deliveries.contains_key(delivery) {
                return broken("INV-1", format!("delivery {delivery} is gone"));
            }
        }
    }
    Ok(())
}

/// INV-1, second half: an unfinished delivery can be claimed, or it would never finish.
pub fn what_waits_is_handed_out(wanted: &BTreeSet<Key>, claimed: &BTreeSet<Key>) -> Holds {
    match wanted.difference(claimed).next() {
        Some(key) => broken("INV-1", format!("delivery {key} is due and cannot be claimed")),
        None => Ok(()),
    }
}

/// INV-2: each delivery is in one state, `processing` exactly while a claim is held, and rows agree
/// with each other. `may` lists what may be claimed, `must` what is surely claimed; `oddities`
/// lists what reading the store found.
pub fn each_delivery_is_in_one_state(
    seen: &World,
    may: &BTreeSet<Key>,
    must: &BTreeSet<Key>,
    oddities: &[String],
) -> Holds {
    if let Some(oddity) = oddities.first() {
        return broken("INV-2", oddity.clone());
    }
    for (key, row) in &seen.deliveries {
        let processing = row.state == DeliveryState::Processing;
        let claimed = if processing { may.contains(key) } else { must.contains(key) };
        if processing != claimed && !row.state.is_final() {
            let how = format!("delivery {key} is {} while claims are {may:?}", row.state);
            return broken("INV-2", how);
        }
        if row.state.is_final() && row.due_at.is_some() {
            return broken("INV-2", format!("delivery {key} is {} and due", row.state));
        }
        if row.state == DeliveryState::Retrying && row.due_at.is_none() {
            return broken("INV-2", format!("delivery {key} is to be retried at no time"));
        }
    }
    Ok(())
}

/// INV-3: the store shows one of the possible worlds, whole. During an operation there are several:
/// with it, without it, and for a batch with any of its items. Returns the index of that world.
///
/// # Errors
/// [`Broken`] with the difference to the nearest of them.
pub fn all_or_nothing(possible: &[World], seen: &World) -> Result<usize, Broken> {
    if let Some(which) = possible.iter().position(|world| world == seen) {
        return Ok(which);
    }
    let differences = possible.iter().map(|world| world.differences(seen));
    let nearest = differences.min_by_key(Vec::len).unwrap_or_default();
    let how = format!(
        "what is stored is none of {} possible outcomes; from the nearest it differs by\n  {}",
        possible.len(),
        nearest.join("\n  ")
    );
    Err(Broken { promise: "INV-3", how })
}

/// INV-4: a superseded claim settles nothing, and a valid one is not refused.
pub fn fenced(delivery: &str, predicted: Settles, answered: Settles) -> Holds {
    if predicted == answered {
        return Ok(());
    }
    let how = format!("settling {delivery} was answered {answered:?} instead of {predicted:?}");
    match (predicted, answered) {
        (Settles::Conflict, _) | (_, Settles::Conflict) => broken("INV-3", how),
        _ => broken("INV-4", how),
    }
}

/// The common part of two sendings of one message: event, handler, target, content, and the index
/// among equal messages.
pub type Saying = (u128, String, String, String, Vec<u8>, usize);

/// INV-5: the content of each outward id over the whole life of a store.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    ids: BTreeMap<Saying, u128>,
    sayings: BTreeMap<u128, Saying>,
}

impl Ledger {
    /// Records a message. The same message has its earlier id, and a changed one a new id.
    ///
    /// # Errors
    /// [`Broken`] if that is not so.
    pub fn note(&mut self, saying: Saying, id: u128) -> Holds {
        let known = *self.ids.entry(saying.clone()).or_insert(id);
        if known != id {
            return broken("INV-5", format!("{saying:?} was {known:032x} and is {id:032x}"));
        }
        let first = self.sayings.entry(id).or_insert_with(|| saying.clone());
        if *first != saying {
            return broken("INV-5", format!("{id:032x} is both {first:?} and {saying:?}"));
        }
        Ok(())
    }
}

/// INV-5 at the send: a message carries its stored id and content.
pub fn a_message_keeps_its_id(key: &str, given: (u128, &[u8]), carried: (u128, &[u8])) -> Holds {
    if given == carried {
        return Ok(());
    }
    let how = format!("message {key} was given {given:02x?} and carries {carried:02x?}");
    broken("INV-5", how)
}

/// INV-6: within the life of a dedup key one event has it. `firsts` holds the live keys by event.
pub fn once_in(seen: &World, alive: &BTreeMap<Key, String>) -> Holds {
    let mut first: BTreeMap<&str, &str> = BTreeMap::new();
    for key in seen.events.keys() {
        let Some(dedup) = alive.get(key) else { continue };
        if let Some(other) = first.insert(dedup, key) {
            let how = format!("{other} and {key} are both stored and have the same key {dedup}");
            return broken("INV-6", how);
        }
    }
    Ok(())
}

/// INV-6 in answers: accepted where the key is new, and a duplicate of the first event where it is
/// not.
pub fn a_duplicate_names_the_first(predicted: &Stored, answered: &Stored) -> Holds {
    if predicted == answered {
        return Ok(());
    }
    broken("INV-6", format!("an event was answered {answered:?} instead of {predicted:?}"))
}

/// The store's own checks pass: SQLite's integrity, durability settings, rows that must agree.
pub fn sound(report: &CheckReport) -> Holds {
    match report.problems.first() {
        Some(problem) => broken("soundness", problem.clone()),
        None => Ok(()),
    }
}

/// Retention removes nothing while the clock is not confirmed.
pub fn a_doubted_clock_removes_nothing(doubted: bool, pruned: bool, now: Timestamp) -> Holds {
    if doubted && pruned {
        return broken(
            "retention",
            format!("at {now} the clock had jumped, and rows were removed"),
        );
    }
    Ok(())
}

/// A clock that is set back delays no delivery by more than the second that two clocks may differ.
pub fn no_wait_is_longer(line_before: Timestamp, line_after: Timestamp) -> Holds {
    if line_before.since(line_after) > std::time::Duration::from_secs(1) {
        return broken(
            "waits",
            format!("due times stood at {line_before} and at {line_after} after"),
        );
    }
    Ok(())
}

/// After a failed write or sync no call succeeds until the next start.
pub fn poisoned_stays_poisoned(what: &str, succeeded: bool) -> Holds {
    if succeeded {
        return broken("poison", format!("{what} succeeded after a failed write or sync"));
    }
    Ok(())
}

/// A full disk is only an error: the store works again once there is space.
pub fn a_full_disk_passes(what: &str, error: Option<&weir_store::StoreError>) -> Holds {
    match error {
        None => Ok(()),
        Some(error) => broken("full disk", format!("{what} with room on the disk: {error}")),
    }
}
