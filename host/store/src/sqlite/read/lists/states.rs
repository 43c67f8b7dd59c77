//! The states of deliveries and the status of events, from the sets of rows in rare states.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, OptionalExtension};
use weir_core::delivery::{DeliveryState, EventStatus};

use super::PageStart;
use super::walk::{Table, blocks};
use crate::sqlite::engine::shared::Shared;
use crate::sqlite::format::block::{BLOCK, Block, DeliveryClass, UNLISTED};
use crate::sqlite::format::names::NameId;
use crate::sqlite::memory::due::QueueKey;
use crate::sqlite::memory::listed::Listed;
use crate::sqlite::memory::number_set::NumberSet;
use crate::sqlite::rows;

/// The states of all deliveries at one moment.
pub(super) struct States {
    pub(super) listed: Listed,
    pub(super) claimed: NumberSet,
}

impl States {
    pub(super) fn now(shared: &Shared) -> Self {
        let listed = shared.totals.lock().listed.clone();
        let mut claimed = NumberSet::default();
        for n in shared.due.lock().claimed_numbers() {
            claimed.insert(n);
        }
        Self { listed, claimed }
    }

    /// The state of a delivery that exists.
    pub(super) fn of(&self, n: i64) -> DeliveryState {
        let Listed { pending, retrying, dead, cancelled, .. } = &self.listed;
        let waits = pending.contains(n) || retrying.contains(n);
        if waits && self.claimed.contains(n) {
            DeliveryState::Processing
        } else if retrying.contains(n) {
            DeliveryState::Retrying
        } else if waits {
            DeliveryState::Pending
        } else if dead.contains(n) {
            DeliveryState::DeadLetter
        } else if cancelled.contains(n) {
            DeliveryState::Cancelled
        } else {
            DeliveryState::Processed
        }
    }

    /// The sets that have all deliveries of these states; none if processed ones are among them.
    pub(super) fn sets(&self, states: &[DeliveryState]) -> Option<Vec<&NumberSet>> {
        if states.is_empty() || states.contains(&DeliveryState::Processed) {
            return None;
        }
        let Listed { pending, retrying, dead, cancelled, .. } = &self.listed;
        let sets = states.iter().flat_map(|state| match state {
            DeliveryState::Pending => vec![pending],
            DeliveryState::Retrying => vec![retrying],
            DeliveryState::DeadLetter => vec![dead],
            DeliveryState::Cancelled => vec![cancelled],
            DeliveryState::Processing => vec![&self.claimed],
            DeliveryState::Processed => Vec::new(),
        });
        Some(sets.collect())
    }
}

/// The status of events: processed, unless it is known to be another.
pub(super) struct Statuses {
    wanted: Vec<EventStatus>,
    unrouted: NumberSet,
    /// Events with a delivery that is not processed, by block and place.
    others: BTreeMap<i64, Box<[EventStatus]>>,
    /// The same events.
    set: NumberSet,
}

impl Statuses {
    /// None if every status is wanted.
    pub(super) fn of(
        shared: &Shared,
        conn: &Connection,
        wanted: &[EventStatus],
    ) -> rusqlite::Result<Option<Self>> {
        let Some(lowest) = wanted.iter().min().copied() else { return Ok(None) };
        let states = States::now(shared);
        let mut statuses = Self {
            wanted: wanted.to_vec(),
            unrouted: NumberSet::default(),
            others: BTreeMap::new(),
            set: NumberSet::default(),
        };
        if lowest < EventStatus::Unrouted {
            statuses.find(shared, conn, &states, lowest)?;
        }
        statuses.unrouted = states.listed.unrouted;
        Ok(Some(statuses))
    }

    /// Finds the events with deliveries in states that are not below the lowest wanted status.
    fn find(
        &mut self,
        shared: &Shared,
        conn: &Connection,
        states: &States,
        lowest: EventStatus,
    ) -> rusqlite::Result<()> {
        let Listed { pending, retrying, dead, .. } = &states.listed;
        let mut sets = vec![dead];
        if lowest <= EventStatus::Retrying {
            sets.push(retrying);
        }
        if lowest <= EventStatus::Held {
            sets.push(pending);
        }
        let in_blocks: BTreeSet<i64> = sets.iter().flat_map(|set| set.blocks()).collect();
        for block in in_blocks {
            let rows = rows::blocks::deliveries(conn, block)?;
            let held = held(shared, &rows);
            for (place, row) in rows.present() {
                let n = block * BLOCK + i64::try_from(place).unwrap_or(0);
                if !sets.iter().any(|set| set.contains(n)) {
                    continue;
                }
                let is_held = match held.get(usize::from(row.class)) {
                    Some(held) => *held,
                    None => is_held(shared, conn, n)?,
                };
                self.raise(row.number, EventStatus::of([(states.of(n), is_held)]));
            }
        }
        Ok(())
    }

    fn raise(&mut self, event: i64, status: EventStatus) {
        let (block, place) = (event.div_euclid(BLOCK), event.rem_euclid(BLOCK));
        let length = usize::try_from(BLOCK).unwrap_or(0);
        let of_block = self
            .others
            .entry(block)
            .or_insert_with(|| vec![EventStatus::Processed; length].into_boxed_slice());
        if let Some(known) = of_block.get_mut(usize::try_from(place).unwrap_or(0)) {
            *known = status.max(*known);
        }
        self.set.insert(event);
    }

    /// True if the event has one of the wanted statuses.
    pub(super) fn has(&self, event: i64) -> bool {
        let (block, place) = (event.div_euclid(BLOCK), event.rem_euclid(BLOCK));
        let place = usize::try_from(place).unwrap_or(0);
        let status = match self.others.get(&block).and_then(|block| block.get(place)) {
            _ if self.unrouted.contains(event) => EventStatus::Unrouted,
            Some(status) => *status,
            None => EventStatus::Processed,
        };
        self.wanted.contains(&status)
    }

    /// The sets that have all events of the wanted statuses; none if processed ones are among them.
    pub(super) fn sets(&self) -> Option<Vec<&NumberSet>> {
        if self.wanted.contains(&EventStatus::Processed) {
            return None;
        }
        let mut sets = vec![&self.set];
        if self.wanted.contains(&EventStatus::Unrouted) {
            sets.push(&self.unrouted);
        }
        Some(sets)
    }
}

/// For each class of a block, true if its deliveries are under a hold.
fn held(shared: &Shared, block: &Block<DeliveryClass>) -> Vec<bool> {
    let due = shared.due.lock();
    let key = |class: &DeliveryClass| QueueKey { target: class.target, source: class.source };
    block.classes.iter().map(|class| due.is_held(key(class))).collect()
}

/// The same for one delivery, whose class is not in its block.
fn is_held(shared: &Shared, conn: &Connection, n: i64) -> rusqlite::Result<bool> {
    let key = conn
        .prepare_cached("SELECT target, source FROM delivery WHERE n = ?1")?
        .query_row([n], |row| Ok(QueueKey { target: row.get(0)?, source: row.get(1)? }))
        .optional()?;
    Ok(key.is_some_and(|key| shared.due.lock().is_held(key)))
}

/// The events with a delivery or message for one of these targets.
pub(super) fn events_of_targets(
    conn: &Connection,
    targets: &[NameId],
) -> rusqlite::Result<NumberSet> {
    let mut events = NumberSet::default();
    for n in blocks(conn, Table::Delivery, PageStart::Newest, None)? {
        let block = rows::blocks::deliveries(conn, n)?;
        let classes: Vec<bool> =
            block.classes.iter().map(|class| targets.contains(&class.target)).collect();
        if !classes.contains(&true) && block.rows.iter().all(|row| row.class != UNLISTED) {
            continue;
        }
        for (place, row) in block.present() {
            let is_target = match classes.get(usize::from(row.class)) {
                Some(is_target) => *is_target,
                None => {
                    let n = n * BLOCK + i64::try_from(place).unwrap_or(0);
                    target_of(conn, n)?.is_some_and(|target| targets.contains(&target))
                }
            };
            if is_target {
                events.insert(row.number);
            }
        }
    }
    Ok(events)
}

fn target_of(conn: &Connection, delivery: i64) -> rusqlite::Result<Option<NameId>> {
    conn.prepare_cached("SELECT target FROM delivery WHERE n = ?1")?
        .query_row([delivery], |row| row.get(0))
        .optional()
}
