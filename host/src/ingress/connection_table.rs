//! Who is connected: how many connections each address has, and which of them make place when there is none left.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use tokio::time::Instant;

use super::limits::{
    BODY_TIME_MIN, EVICTION_SHARE, HEAD_TIME_MIN, IDLE_TIME_MIN, SURROUNDING_SHARE,
    WAITING_CONNECTIONS_MAX,
};
use super::penalties::Network;
use super::timed_io::{ConnectionPhase, ConnectionState};

/// The connections that are open. There are never more than there are places.
#[derive(Debug)]
pub(super) struct ConnectionTable {
    open: Mutex<Open>,
    per_address: usize,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    connections: FxHashMap<u64, OpenConnection>,
    counts: FxHashMap<Network, usize>,
    /// The same by the networks around them.
    surrounding: FxHashMap<Network, usize>,
}

#[derive(Debug)]
struct OpenConnection {
    network: Option<Network>,
    state: Arc<ConnectionState>,
}

/// A connection that is counted to its address, and struck when dropped.
#[derive(Debug)]
pub(super) struct ConnectionGuard {
    connection_table: Arc<ConnectionTable>,
    network: Option<Network>,
    /// Of a connection that has a place.
    id: Option<u64>,
}

/// Who makes place first: those of the address that has many open, then those that nobody expects anything of, then
/// those that have waited longest.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct EvictionRank {
    connections_of: Reverse<u32>,
    asks: Asks,
    waited: Reverse<Duration>,
}

/// How far a connection has come with what it asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Asks {
    Nothing,
    Head,
    Body,
}

/// What looking for a place came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Eviction {
    /// The number of connections that were asked to end.
    Asked(usize),
    /// None can be, and the client that wants a place has many that wait for it already.
    Crowd,
}

impl ConnectionTable {
    /// Nobody is connected. One address may have `per_address` connections.
    pub(super) fn new(per_address: usize) -> Arc<Self> {
        Arc::new(Self { open: Mutex::default(), per_address })
    }

    /// Counts a connection, unless its address has as many as it may.
    pub(super) fn enter(self: &Arc<Self>, network: Option<Network>) -> Option<ConnectionGuard> {
        if let Some(network) = network {
            let mut open = self.open.lock();
            let count = open.counts.entry(network).or_default();
            if *count >= self.per_address {
                return None;
            }
            *count += 1;
            if let Some(surrounding) = network.surrounding() {
                *open.surrounding.entry(surrounding).or_default() += 1;
            }
        }
        Some(ConnectionGuard { connection_table: Arc::clone(self), network, id: None })
    }

    /// Asks a share of the connections that wait for their client to end, because `newcomer` needs a place.
    pub(super) fn evict_idle(&self, now: Instant, newcomer: Option<Network>) -> Eviction {
        let open = self.open.lock();
        let mut candidates: Vec<_> = open
            .connections
            .iter()
            .filter_map(|(id, entry)| Some((open.claim(entry, now)?, *id)))
            .collect();
        let share = (open.connections.len() / EVICTION_SHARE).max(1).min(candidates.len());
        if let Some(last) = share.checked_sub(1) {
            candidates.select_nth_unstable(last);
        }
        let chosen = candidates.iter().take(share);
        chosen
            .filter_map(|(_, id)| open.connections.get(id))
            .for_each(|e| e.state.request_eviction());
        match newcomer {
            Some(newcomer)
                if share == 0 && open.waited_for(newcomer, now) >= WAITING_CONNECTIONS_MAX =>
            {
                Eviction::Crowd
            }
            _ => Eviction::Asked(share),
        }
    }
}

impl Open {
    /// None for a connection that is at work, or just now came.
    fn claim(&self, entry: &OpenConnection, now: Instant) -> Option<EvictionRank> {
        let (phase, waited) = entry.state.waiting(now)?;
        let (asks, least) = match phase {
            ConnectionPhase::Silent | ConnectionPhase::Idle => (Asks::Nothing, IDLE_TIME_MIN),
            ConnectionPhase::Head => (Asks::Head, HEAD_TIME_MIN),
            ConnectionPhase::Body => (Asks::Body, BODY_TIME_MIN),
            ConnectionPhase::Serving => return None,
        };
        let count = entry.network.map_or(0, |network| self.connections_of(network));
        let connections_of = Reverse(count.checked_ilog2().unwrap_or(0));
        (waited >= least).then_some(EvictionRank { connections_of, asks, waited: Reverse(waited) })
    }

    /// How many connections a client has, or seems to have by the network around it.
    fn connections_of(&self, network: Network) -> usize {
        let own = self.counts.get(&network).copied().unwrap_or(0);
        let surrounding =
            network.surrounding().and_then(|surrounding| self.surrounding.get(&surrounding));
        own.max(surrounding.map_or(0, |count| count / SURROUNDING_SHARE))
    }

    /// Connections of a client, or of the network around it, on which the client is waited for.
    fn waited_for(&self, client: Network, now: Instant) -> usize {
        let whole = |network: Network| network.surrounding().unwrap_or(network);
        let is_its = |entry: &&OpenConnection| entry.network.map(whole) == Some(whole(client));
        let waits = |entry: &&OpenConnection| {
            let waiting = entry.state.waiting(now);
            waiting.is_none_or(|(phase, _)| phase != ConnectionPhase::Serving)
        };
        self.connections.values().filter(is_its).filter(waits).count()
    }
}

impl ConnectionGuard {
    /// It has a place, which it may be asked to give up.
    pub(super) fn register(&mut self, state: &Arc<ConnectionState>) {
        let mut open = self.connection_table.open.lock();
        let id = open.next;
        open.next += 1;
        open.connections
            .insert(id, OpenConnection { network: self.network, state: Arc::clone(state) });
        self.id = Some(id);
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        let mut open = self.connection_table.open.lock();
        if let Some(id) = self.id {
            open.connections.remove(&id);
        }
        let Some(network) = self.network else { return };
        decrement(&mut open.counts, network);
        if let Some(surrounding) = network.surrounding() {
            decrement(&mut open.surrounding, surrounding);
        }
    }
}

fn decrement(counts: &mut FxHashMap<Network, usize>, network: Network) {
    if let Some(count) = counts.get_mut(&network) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&network);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use super::super::timed_io::Timeouts;
    use super::*;

    const TIMEOUTS: Timeouts =
        Timeouts { head: Duration::from_secs(10), idle: Duration::from_secs(75) };

    struct Room {
        connection_table: Arc<ConnectionTable>,
        start: Instant,
        all: Vec<(Arc<ConnectionState>, ConnectionGuard)>,
    }

    impl Room {
        fn new() -> Self {
            Self {
                connection_table: ConnectionTable::new(1_000),
                start: Instant::now(),
                all: Vec::new(),
            }
        }

        /// A connection of that address, opened so many milliseconds after the start.
        fn open(&mut self, address: u32, at_ms: u64) -> Arc<ConnectionState> {
            self.open_from(Ipv4Addr::from_bits(address).into(), at_ms)
        }

        fn open_from(&mut self, address: IpAddr, at_ms: u64) -> Arc<ConnectionState> {
            let network = Network::of(address);
            let state = Arc::new(ConnectionState::new(TIMEOUTS, self.at(at_ms)));
            let mut enrolled = self.connection_table.enter(Some(network)).unwrap();
            enrolled.register(&state);
            self.all.push((Arc::clone(&state), enrolled));
            state
        }

        fn at(&self, ms: u64) -> Instant {
            self.start + Duration::from_millis(ms)
        }

        /// Asks for room for an address that has no connection yet; how many were asked.
        fn evict_idle(&self, at_ms: u64) -> usize {
            match self.connection_table.evict_idle(self.at(at_ms), None) {
                Eviction::Asked(count) => count,
                Eviction::Crowd => panic!("a newcomer of no address is no crowd"),
            }
        }

        fn told(&self) -> Vec<usize> {
            let told =
                self.all.iter().enumerate().filter(|(_, (state, _))| state.is_eviction_requested());
            told.map(|(n, _)| n).collect()
        }
    }

    #[test]
    fn who_waited_longest_for_nothing_makes_place_and_who_is_at_work_does_not() {
        let mut room = Room::new();
        room.open(1, 0).serving();
        room.open(1, 200);
        room.open(1, 100);
        assert_eq!(room.evict_idle(1_000), 1);
        assert_eq!(room.told(), [2]);
        assert_eq!(room.evict_idle(1_000), 1);
        assert_eq!(room.told(), [1, 2], "nobody is told twice");
        assert_eq!(room.evict_idle(60_000), 0);
    }

    #[test]
    fn who_just_came_is_given_the_time_to_ask() {
        let mut room = Room::new();
        room.open(1, 0);
        assert_eq!(room.evict_idle(50), 0);
        room.open(1, 0).arrived(b"POST /", room.at(10));
        assert_eq!(room.evict_idle(500), 1);
        assert_eq!(room.told(), [0], "one that has begun to ask comes after one that is silent");
        assert_eq!(room.evict_idle(500), 0);
        assert_eq!(room.evict_idle(1_010), 1, "but a head takes no second");
    }

    #[test]
    fn a_crowd_makes_place_before_a_single_client() {
        let mut room = Room::new();
        room.open(1, 0);
        for n in 0..20 {
            room.open(2, 100 + n);
        }
        for _ in 0..20 {
            assert_eq!(room.evict_idle(5_000), 1);
        }
        assert_eq!(room.told(), (1..21).collect::<Vec<_>>());
    }

    /// A connection whose body is waited for since then.
    fn half_sent(room: &mut Room, address: IpAddr, at_ms: u64) -> Arc<ConnectionState> {
        let state = room.open_from(address, at_ms);
        state.serving();
        state.body_begins(room.at(at_ms));
        state
    }

    #[test]
    fn a_body_that_is_waited_for_takes_no_second_when_places_run_out() {
        let mut room = Room::new();
        let of = |n| IpAddr::from(Ipv4Addr::from_bits(n));
        half_sent(&mut room, of(1), 0);
        for _ in 0..30 {
            half_sent(&mut room, of(2), 10);
        }
        let whole = half_sent(&mut room, of(3), 0);
        whole.body_ends();
        assert_eq!(room.evict_idle(900), 0, "a second is theirs");
        for _ in 0..30 {
            assert_eq!(room.evict_idle(1_010), 1);
        }
        assert_eq!(room.told(), (1..31).collect::<Vec<_>>(), "the largest crowd first");
        assert_eq!(room.evict_idle(1_010), 1);
        assert_eq!(room.evict_idle(60_000), 0, "and never one that is at work");
    }

    #[test]
    fn the_64s_of_one_48_are_a_crowd() {
        let mut room = Room::new();
        let of = |net: u128, n: u128| IpAddr::from(Ipv6Addr::from_bits(net << 80 | n << 64 | 1));
        half_sent(&mut room, of(0x2001_0db8_0001, 7), 0);
        for n in 0..30 {
            half_sent(&mut room, of(0x2001_0db8_0002, n), 100);
        }
        for _ in 0..30 {
            assert_eq!(room.evict_idle(5_000), 1);
        }
        assert_eq!(room.told(), (1..31).collect::<Vec<_>>());
        room.all.clear();
        assert!(
            room.connection_table.open.lock().surrounding.is_empty(),
            "and nothing is left of them"
        );
    }

    #[test]
    fn a_client_with_many_waiting_connections_gets_no_further_one() {
        let mut room = Room::new();
        let of = |n| Some(Network::of(Ipv4Addr::from_bits(n).into()));
        for _ in 0..WAITING_CONNECTIONS_MAX {
            half_sent(&mut room, Ipv4Addr::from_bits(1).into(), 0);
            room.open(2, 0).serving();
        }
        let newcomer = |n, at_ms| room.connection_table.evict_idle(room.at(at_ms), of(n));
        assert_eq!(newcomer(1, 500), Eviction::Crowd);
        assert_eq!(newcomer(2, 500), Eviction::Asked(0), "its requests are being served");
        assert_eq!(newcomer(3, 500), Eviction::Asked(0));
        assert_eq!(newcomer(1, 1_500), Eviction::Asked(1), "and now there is one to end");
    }

    #[test]
    fn one_in_so_many_is_told_at_once() {
        let mut room = Room::new();
        for n in 0..640 {
            room.open(1, n);
        }
        assert_eq!(room.evict_idle(5_000), 10);
        assert_eq!(room.told(), (0..10).collect::<Vec<_>>(), "the idlest");
    }

    #[test]
    fn an_address_has_so_many_and_gets_another_when_one_has_ended() {
        let connection_table = ConnectionTable::new(2);
        let network = |n: u32| Some(Network::of(Ipv4Addr::from_bits(n).into()));
        let one = connection_table.enter(network(1)).unwrap();
        let two = connection_table.enter(network(1)).unwrap();
        assert!(connection_table.enter(network(1)).is_none());
        assert!(connection_table.enter(network(2)).is_some());
        assert!((0..9).map(|_| connection_table.enter(None)).collect::<Option<Vec<_>>>().is_some());
        drop(one);
        assert!(connection_table.enter(network(1)).is_some());
        drop(two);
        assert!(
            connection_table.open.lock().counts.is_empty(),
            "and who has gone leaves nothing behind"
        );
    }
}
