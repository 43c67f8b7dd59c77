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
use crate::sqlite::memory::number_set::{InBlock, NumberSet};
use crate::sqlite::rows;

/// The states of all deliveries at one moment.
pub(super) struct States {
    pub(super) listed: Listed,
    claimed: NumberSet,
}

/// The states of the deliveries of one block.
#[derive(Clone, Copy)]
pub(super) struct BlockStates<'s> {
    pending: InBlock<'s>,
    retrying: InBlock<'s>,
    dead: InBlock<'s>,
    cancelled: InBlock<'s>,
    claimed: InBlock<'s>,
}

impl States {
    pub(super) fn now(shared: &Shared) -> Self {
        let listed = shared.totals.lock().listed.clone();
        let mut claimed = NumberSet::inserting();
        for n in shared.due.lock().claimed_numbers() {
            claimed.insert(n);
        }
        Self { listed, claimed: claimed.done() }
    }

    pub(super) fn in_block(&self, block: i64) -> BlockStates<'_> {
        let Listed { pending, retrying, dead, cancelled, .. } = &self.listed;
        BlockStates {
            pending: pending.in_block(block),
            retrying: retrying.in_block(block),
            dead: dead.in_block(block),
            cancelled: cancelled.in_block(block),
            claimed: self.claimed.in_block(block),
        }
    }

    /// The blocks that have all deliveries of these states; none if processed ones are among them.
    pub(super) fn blocks(&self, states: &[DeliveryState]) -> Option<BTreeSet<i64>> {
        if states.is_empty() || states.contains(&DeliveryState::Processed) {
            return None;
        }
        let Listed { pending, retrying, dead, cancelled, .. } = &self.listed;
        let sets = states.iter().filter_map(|state| match state {
            DeliveryState::Pending => Some(pending),
            DeliveryState::Retrying => Some(retrying),
            DeliveryState::DeadLetter => Some(dead),
            DeliveryState::Cancelled => Some(cancelled),
            DeliveryState::Processing => Some(&self.claimed),
            DeliveryState::Processed => None,
        });
        Some(sets.flat_map(NumberSet::blocks).collect())
    }
}

impl BlockStates<'_> {
    /// The state of a delivery that exists.
    pub(super) fn of(&self, place: usize) -> DeliveryState {
        let retries = self.retrying.has(place);
        if retries || self.pending.has(place) {
            return match self.claimed.has(place) {
                true => DeliveryState::Processing,
                false if retries => DeliveryState::Retrying,
                false => DeliveryState::Pending,
            };
        }
        if self.dead.has(place) {
            DeliveryState::DeadLetter
        } else if self.cancelled.has(place) {
            DeliveryState::Cancelled
        } else {
            DeliveryState::Processed
        }
    }
}

/// The status of events: processed, unless it is known to be another.
pub(super) struct Statuses {
    wanted: Vec<EventStatus>,
    unrouted: NumberSet,
    /// Statuses of events with a delivery that is not processed, by block and place.
    others: BTreeMap<i64, OfBlock>,
}

type OfBlock = Box<[EventStatus]>;

/// The statuses of the events of one block.
pub(super) struct BlockStatuses<'s> {
    wanted: &'s [EventStatus],
    unrouted: InBlock<'s>,
    others: Option<&'s OfBlock>,
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
        let others = match lowest {
            EventStatus::Unrouted => BTreeMap::new(),
            lowest => others(shared, conn, &states, lowest)?,
        };
        Ok(Some(Self { wanted: wanted.to_vec(), unrouted: states.listed.unrouted, others }))
    }

    pub(super) fn in_block(&self, block: i64) -> BlockStatuses<'_> {
        let unrouted = self.unrouted.in_block(block);
        BlockStatuses { wanted: &self.wanted, unrouted, others: self.others.get(&block) }
    }

    /// The blocks that have all events of the wanted statuses; none if processed ones are among
    /// them.
    pub(super) fn blocks(&self) -> Option<BTreeSet<i64>> {
        if self.wanted.contains(&EventStatus::Processed) {
            return None;
        }
        let mut blocks: BTreeSet<i64> = self.others.keys().copied().collect();
        if self.wanted.contains(&EventStatus::Unrouted) {
            blocks.extend(self.unrouted.blocks());
        }
        Some(blocks)
    }
}

impl BlockStatuses<'_> {
    /// True if the event has one of the wanted statuses.
    pub(super) fn has(&self, place: usize) -> bool {
        let status = match self.others.and_then(|others| others.get(place)) {
            _ if self.unrouted.has(place) => EventStatus::Unrouted,
            Some(status) => *status,
            None => EventStatus::Processed,
        };
        self.wanted.contains(&status)
    }
}

/// Finds the events with deliveries in states that are not below the lowest wanted status.
fn others(
    shared: &Shared,
    conn: &Connection,
    states: &States,
    lowest: EventStatus,
) -> rusqlite::Result<BTreeMap<i64, OfBlock>> {
    let Listed { pending, retrying, dead, .. } = &states.listed;
    let mut sets = vec![dead];
    if lowest <= EventStatus::Retrying {
        sets.push(retrying);
    }
    if lowest <= EventStatus::Held {
        sets.push(pending);
    }
    let in_blocks: BTreeSet<i64> = sets.iter().flat_map(|set| set.blocks()).collect();
    let mut raising = Raising { others: BTreeMap::new(), current: None };
    for n in in_blocks {
        let block = rows::blocks::deliveries(conn, n)?;
        let held = held(shared, &block);
        let sets: Vec<InBlock<'_>> = sets.iter().map(|set| set.in_block(n)).collect();
        let states = states.in_block(n);
        for (place, row) in block.present() {
            if !sets.iter().any(|set| set.has(place)) {
                continue;
            }
            let is_held = match held.get(usize::from(row.class)) {
                Some(held) => *held,
                None => is_held(shared, conn, n * BLOCK + i64::try_from(place).unwrap_or(0))?,
            };
            raising.raise(row.number, EventStatus::of([(states.of(place), is_held)]));
        }
    }
    Ok(raising.done())
}

/// Raises the statuses of events, which are mostly near to each other.
struct Raising {
    others: BTreeMap<i64, OfBlock>,
    current: Option<(i64, OfBlock)>,
}

impl Raising {
    fn raise(&mut self, event: i64, status: EventStatus) {
        let (block, place) = (event.div_euclid(BLOCK), event.rem_euclid(BLOCK));
        if self.current.as_ref().is_none_or(|(current, _)| *current != block) {
            self.put_back();
            let length = usize::try_from(BLOCK).unwrap_or(0);
            let new = || vec![EventStatus::Processed; length].into_boxed_slice();
            self.current = Some((block, self.others.remove(&block).unwrap_or_else(new)));
        }
        let place = usize::try_from(place).unwrap_or(0);
        if let Some((_, statuses)) = &mut self.current {
            statuses[place] = status.max(statuses[place]);
        }
    }

    fn put_back(&mut self) {
        self.others.extend(self.current.take());
    }

    fn done(mut self) -> BTreeMap<i64, OfBlock> {
        self.put_back();
        self.others
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
    let mut events = NumberSet::inserting();
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
    Ok(events.done())
}

fn target_of(conn: &Connection, delivery: i64) -> rusqlite::Result<Option<NameId>> {
    conn.prepare_cached("SELECT target FROM delivery WHERE n = ?1")?
        .query_row([delivery], |row| row.get(0))
        .optional()
}
