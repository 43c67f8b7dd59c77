//! SQLite's two kinds of locks, among the connections of one process.

use std::collections::BTreeMap;

/// How far a connection has locked a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Not at all.
    None,
    /// It reads.
    Shared,
    /// It means to write.
    Reserved,
    /// It waits for the readers to go.
    Pending,
    /// It writes, alone.
    Exclusive,
}

/// Locks on a file, by who holds them.
#[derive(Debug, Default)]
pub(crate) struct FileLocks(BTreeMap<u64, Level>);

impl FileLocks {
    /// Raises `who`'s lock. False if somebody else's is in the way.
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
            // Nobody new comes in while the readers go.
            self.0.insert(who, Level::Pending);
        }
        free
    }

    /// Lowers `who`'s lock.
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
    /// Takes slots, all or none. False if somebody else's lock is in the way.
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
