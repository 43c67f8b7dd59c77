//! SQLite's two kinds of locks between the connections of one process.

use std::collections::BTreeMap;

/// The lock level of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// No lock.
    None,
    Shared,
    /// Reserved: it will write.
    Reserved,
    /// Pending: it waits for readers to finish.
    Pending,
    /// Exclusive: it writes.
    Exclusive,
}

/// Locks on a file by connection.
#[derive(Debug, Default)]
pub(crate) struct FileLocks(BTreeMap<u64, Level>);

impl FileLocks {
    /// Raises the lock of `who`. False if another connection's lock conflicts.
    pub(crate) fn lock(&mut self, who: u64, level: Level) -> bool {
        let highest = self.0.iter().filter(|(id, _)| **id != who).map(|(_, l)| *l).max();
        let highest = highest.unwrap_or(Level::None);
        let free = match level {
            Level::None => true,
            Level::Shared => highest < Level::Pending,
            Level::Reserved => highest < Level::Reserved,
            Level::Pending | Level::Exclusive => highest < Level::Shared,
        };
        if free {
            self.0.insert(who, level);
        } else if level == Level::Exclusive && highest < Level::Reserved {
            // No new reader is admitted while the present ones finish.
            self.0.insert(who, Level::Pending);
        }
        free
    }

    /// Lowers the lock of `who`.
    pub(crate) fn unlock(&mut self, who: u64, level: Level) {
        if level == Level::None {
            self.0.remove(&who);
        } else if let Some(held) = self.0.get_mut(&who) {
            *held = level.min(*held);
        }
    }

    pub(crate) fn is_reserved(&self) -> bool {
        self.0.values().any(|level| *level >= Level::Reserved)
    }
}

const SLOTS: usize = 8;

#[derive(Debug, Default, Clone)]
struct Slot {
    alone: Option<u64>,
    shared: Vec<u64>,
}

/// Locks on the slots of a log's index.
#[derive(Debug, Default)]
pub(crate) struct ShmLocks([Slot; SLOTS]);

impl ShmLocks {
    /// Takes all of the slots or none. False if another lock conflicts.
    pub(crate) fn lock(&mut self, who: u64, first: usize, n: usize, alone: bool) -> bool {
        let slots = &mut self.0[first..first + n];
        let free = |slot: &Slot| {
            slot.alone.is_none_or(|id| id == who)
                && (!alone || slot.shared.iter().all(|id| *id == who))
        };
        if !slots.iter().all(free) {
            return false;
        }
        for slot in slots {
            if alone {
                slot.alone = Some(who);
            } else if !slot.shared.contains(&who) {
                slot.shared.push(who);
            }
        }
        true
    }

    pub(crate) fn unlock(&mut self, who: u64, first: usize, n: usize) {
        for slot in &mut self.0[first..first + n] {
            slot.alone = slot.alone.filter(|id| *id != who);
            slot.shared.retain(|id| *id != who);
        }
    }

    pub(crate) fn unlock_all(&mut self, who: u64) {
        self.unlock(who, 0, SLOTS);
    }
}
