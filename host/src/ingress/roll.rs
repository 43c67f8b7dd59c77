//! Who is connected: how many connections each address has, and which of them make place when there is none left.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use tokio::time::Instant;

use super::debts::Network;
use super::limits::{HEAD_TIME_MIN, IDLE_TIME_MIN, MAKE_ROOM_SHARE};
use super::wire::{Pace, Phase};

/// The connections that are open. There are never more than there are places.
#[derive(Debug)]
pub(super) struct Roll {
    open: Mutex<Open>,
    per_address: usize,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    connections: FxHashMap<u64, Entry>,
    counts: FxHashMap<Network, usize>,
}

#[derive(Debug)]
struct Entry {
    network: Option<Network>,
    pace: Arc<Pace>,
}

/// A connection that is counted to its address, and struck when dropped.
#[derive(Debug)]
pub(super) struct Enrolled {
    roll: Arc<Roll>,
    network: Option<Network>,
    /// Of a connection that has a place.
    id: Option<u64>,
}

/// Who makes place first: those of the address that has many open, then those that nobody expects anything of, then
/// those that have waited longest.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Claim {
    crowd: Reverse<u32>,
    asking: bool,
    waited: Reverse<Duration>,
}

impl Roll {
    /// Nobody is connected. One address may have `per_address` connections.
    pub(super) fn new(per_address: usize) -> Arc<Self> {
        Arc::new(Self { open: Mutex::default(), per_address })
    }

    /// Counts a connection, unless its address has as many as it may.
    pub(super) fn enter(self: &Arc<Self>, network: Option<Network>) -> Option<Enrolled> {
        if let Some(network) = network {
            let mut open = self.open.lock();
            let count = open.counts.entry(network).or_default();
            if *count >= self.per_address {
                return None;
            }
            *count += 1;
        }
        Some(Enrolled { roll: Arc::clone(self), network, id: None })
    }

    /// Asks a share of the idle connections to end; how many.
    pub(super) fn make_room(&self, now: Instant) -> usize {
        let open = self.open.lock();
        let mut candidates: Vec<_> = open
            .connections
            .iter()
            .filter_map(|(id, entry)| Some((open.claim(entry, now)?, *id)))
            .collect();
        let share = (open.connections.len() / MAKE_ROOM_SHARE).max(1).min(candidates.len());
        if let Some(last) = share.checked_sub(1) {
            candidates.select_nth_unstable(last);
        }
        let chosen = candidates.iter().take(share);
        chosen.filter_map(|(_, id)| open.connections.get(id)).for_each(|e| e.pace.ask_to_end());
        share
    }
}

impl Open {
    /// None for a connection that is at work, or just now came.
    fn claim(&self, entry: &Entry, now: Instant) -> Option<Claim> {
        let (phase, waited) = entry.pace.waiting(now)?;
        let (asking, least) = match phase {
            Phase::Silent | Phase::Idle => (false, IDLE_TIME_MIN),
            Phase::Head => (true, HEAD_TIME_MIN),
            Phase::Serving => return None,
        };
        let count = entry.network.and_then(|network| self.counts.get(&network));
        let crowd = Reverse(count.and_then(|count| count.checked_ilog2()).unwrap_or(0));
        (waited >= least).then_some(Claim { crowd, asking, waited: Reverse(waited) })
    }
}

impl Enrolled {
    /// It has a place, which it may be asked to give up.
    pub(super) fn seat(&mut self, pace: &Arc<Pace>) {
        let mut open = self.roll.open.lock();
        let id = open.next;
        open.next += 1;
        open.connections.insert(id, Entry { network: self.network, pace: Arc::clone(pace) });
        self.id = Some(id);
    }
}

impl Drop for Enrolled {
    fn drop(&mut self) {
        let mut open = self.roll.open.lock();
        if let Some(id) = self.id {
            open.connections.remove(&id);
        }
        let Some(network) = self.network else { return };
        if let Some(count) = open.counts.get_mut(&network) {
            *count -= 1;
            if *count == 0 {
                open.counts.remove(&network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::super::wire::Patience;
    use super::*;

    const PATIENCE: Patience =
        Patience { head: Duration::from_secs(10), idle: Duration::from_secs(75) };

    struct Room {
        roll: Arc<Roll>,
        start: Instant,
        all: Vec<(Arc<Pace>, Enrolled)>,
    }

    impl Room {
        fn new() -> Self {
            Self { roll: Roll::new(1_000), start: Instant::now(), all: Vec::new() }
        }

        /// A connection of that address, opened so many milliseconds after the start.
        fn open(&mut self, address: u32, at_ms: u64) -> Arc<Pace> {
            let network = Network::of(Ipv4Addr::from_bits(address).into());
            let pace = Arc::new(Pace::new(PATIENCE, self.at(at_ms)));
            let mut enrolled = self.roll.enter(Some(network)).unwrap();
            enrolled.seat(&pace);
            self.all.push((Arc::clone(&pace), enrolled));
            pace
        }

        fn at(&self, ms: u64) -> Instant {
            self.start + Duration::from_millis(ms)
        }

        fn told(&self) -> Vec<usize> {
            let told = self.all.iter().enumerate().filter(|(_, (pace, _))| pace.is_asked_to_end());
            told.map(|(n, _)| n).collect()
        }
    }

    #[test]
    fn who_waited_longest_for_nothing_makes_place_and_who_is_at_work_does_not() {
        let mut room = Room::new();
        room.open(1, 0).serving();
        room.open(1, 200);
        room.open(1, 100);
        assert_eq!(room.roll.make_room(room.at(1_000)), 1);
        assert_eq!(room.told(), [2]);
        assert_eq!(room.roll.make_room(room.at(1_000)), 1);
        assert_eq!(room.told(), [1, 2], "nobody is told twice");
        assert_eq!(room.roll.make_room(room.at(60_000)), 0);
    }

    #[test]
    fn who_just_came_is_given_the_time_to_ask() {
        let mut room = Room::new();
        room.open(1, 0);
        assert_eq!(room.roll.make_room(room.at(50)), 0);
        room.open(1, 0).arrived(b"POST /", room.at(10));
        assert_eq!(room.roll.make_room(room.at(500)), 1);
        assert_eq!(room.told(), [0], "one that has begun to ask comes after one that is silent");
        assert_eq!(room.roll.make_room(room.at(500)), 0);
        assert_eq!(room.roll.make_room(room.at(1_010)), 1, "but a head takes no second");
    }

    #[test]
    fn a_crowd_makes_place_before_a_single_client() {
        let mut room = Room::new();
        room.open(1, 0);
        for n in 0..20 {
            room.open(2, 100 + n);
        }
        for _ in 0..20 {
            assert_eq!(room.roll.make_room(room.at(5_000)), 1);
        }
        assert_eq!(room.told(), (1..21).collect::<Vec<_>>());
    }

    #[test]
    fn one_in_so_many_is_told_at_once() {
        let mut room = Room::new();
        for n in 0..640 {
            room.open(1, n);
        }
        assert_eq!(room.roll.make_room(room.at(5_000)), 10);
        assert_eq!(room.told(), (0..10).collect::<Vec<_>>(), "the idlest");
    }

    #[test]
    fn an_address_has_so_many_and_gets_another_when_one_has_ended() {
        let roll = Roll::new(2);
        let network = |n: u32| Some(Network::of(Ipv4Addr::from_bits(n).into()));
        let one = roll.enter(network(1)).unwrap();
        let two = roll.enter(network(1)).unwrap();
        assert!(roll.enter(network(1)).is_none());
        assert!(roll.enter(network(2)).is_some());
        assert!((0..9).map(|_| roll.enter(None)).collect::<Option<Vec<_>>>().is_some());
        drop(one);
        assert!(roll.enter(network(1)).is_some());
        drop(two);
        assert!(roll.open.lock().counts.is_empty(), "and who has gone leaves nothing behind");
    }
}
