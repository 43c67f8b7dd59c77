//! The table of open connections: how many each client has, and which of them are asked to end when
//! all connection slots are taken.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use tokio::time::Instant;

use super::limits::{
    BODY_TIME_MIN, EVICTION_SHARE, HEAD_TIME_MIN, IDLE_TIME_MIN, SURROUNDING_SHARE,
    WAITING_CONNECTIONS_MAX,
};
use super::network::Network;
use super::state::{ConnectionPhase, ConnectionState};

/// All open connections. Their number is limited by the connection slots.
#[derive(Debug)]
pub(crate) struct ConnectionTable {
    inner: Mutex<Inner>,
    per_address: usize,
}

#[derive(Debug, Default)]
struct Inner {
    next_id: u64,
    connections: FxHashMap<u64, OpenConnection>,
    /// Connections of each client.
    counts: FxHashMap<Network, usize>,
    /// Connections of each surrounding network.
    surrounding: FxHashMap<Network, usize>,
}

#[derive(Debug)]
struct OpenConnection {
    network: Option<Network>,
    state: Arc<ConnectionState>,
}

/// Counts one connection until it is dropped.
#[derive(Debug)]
pub(crate) struct ConnectionGuard {
    table: Arc<ConnectionTable>,
    network: Option<Network>,
    /// Set once the connection has a slot.
    id: Option<u64>,
}

/// The order in which connections are asked to end, smallest first: those of the client with the
/// most connections, then those with the least progress, then those that have waited longest. One
/// number, as a full table is sorted by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct EvictionRank(u64);

/// The part of its current request that a connection has received.
#[derive(Debug, Clone, Copy)]
enum Progress {
    Nothing,
    Head,
    Body,
}

impl EvictionRank {
    /// The bits for the wait, in nanoseconds: two years.
    const WAIT_BITS: u32 = 56;

    /// `connections` is the number that the client has. Clients whose numbers have the same binary
    /// logarithm count as equal.
    fn new(connections: usize, progress: Progress, waited: Duration) -> Self {
        let wait_max = (1 << Self::WAIT_BITS) - 1;
        let waited = u64::try_from(waited.as_nanos()).map_or(wait_max, |ns| ns.min(wait_max));
        let crowd = u64::from(u64::BITS - 1 - connections.checked_ilog2().unwrap_or(0));
        let order = crowd << 2 | progress as u64;
        Self(order << Self::WAIT_BITS | (wait_max - waited))
    }
}

/// The result of looking for connections to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Eviction {
    /// The number of connections that were asked to end.
    Asked(usize),
    /// No connection can end, and the client that wants a slot has many waiting connections
    /// already.
    TooManyWaiting,
}

impl ConnectionTable {
    /// An empty table. One client may have `per_address` connections.
    pub(crate) fn new(per_address: usize) -> Arc<Self> {
        Arc::new(Self { inner: Mutex::default(), per_address })
    }

    /// Counts a connection. `None` if its client has as many as it may.
    pub(crate) fn admit(self: &Arc<Self>, network: Option<Network>) -> Option<ConnectionGuard> {
        if let Some(network) = network {
            let mut inner = self.inner.lock();
            let count = inner.counts.entry(network).or_default();
            if *count >= self.per_address {
                return None;
            }
            *count += 1;
            if let Some(surrounding) = network.surrounding() {
                *inner.surrounding.entry(surrounding).or_default() += 1;
            }
        }
        Some(ConnectionGuard { table: self.clone(), network, id: None })
    }

    /// Asks some of the connections that wait for their client to end, because `newcomer` needs a
    /// slot.
    pub(crate) fn evict_waiting(&self, now: Instant, newcomer: Option<Network>) -> Eviction {
        let inner = self.inner.lock();
        let mut candidates: Vec<_> = inner
            .connections
            .iter()
            .filter_map(|(id, open)| Some((inner.rank(open, now)?, *id)))
            .collect();
        let share = (inner.connections.len() / EVICTION_SHARE).max(1).min(candidates.len());
        if let Some(last) = share.checked_sub(1) {
            candidates.select_nth_unstable(last);
        }
        for (_, id) in &candidates[..share] {
            inner.connections[id].state.request_eviction();
        }
        let too_many_waiting = |newcomer| {
            share == 0 && inner.waiting_connections(newcomer, now) >= WAITING_CONNECTIONS_MAX
        };
        match newcomer {
            Some(newcomer) if too_many_waiting(newcomer) => Eviction::TooManyWaiting,
            _ => Eviction::Asked(share),
        }
    }
}

impl Inner {
    /// `None` for a connection that serves a request or is too young to end.
    fn rank(&self, open: &OpenConnection, now: Instant) -> Option<EvictionRank> {
        let (phase, waited) = open.state.waiting(now)?;
        let (progress, minimum) = match phase {
            ConnectionPhase::Silent | ConnectionPhase::Idle => (Progress::Nothing, IDLE_TIME_MIN),
            ConnectionPhase::Head => (Progress::Head, HEAD_TIME_MIN),
            ConnectionPhase::Body => (Progress::Body, BODY_TIME_MIN),
            ConnectionPhase::Serving => return None,
        };
        if waited < minimum {
            return None;
        }
        let connections = open.network.map_or(0, |network| self.connections_of(network));
        Some(EvictionRank::new(connections, progress, waited))
    }

    /// The number of connections that a client has, or seems to have by the network around it.
    fn connections_of(&self, network: Network) -> usize {
        let own = self.counts.get(&network).copied().unwrap_or(0);
        let surrounding = network.surrounding().and_then(|around| self.surrounding.get(&around));
        own.max(surrounding.map_or(0, |count| count / SURROUNDING_SHARE))
    }

    /// The connections of a client, or of the network around it, that wait for the client.
    fn waiting_connections(&self, client: Network, now: Instant) -> usize {
        let widest = |network: Network| network.surrounding().unwrap_or(network);
        let is_of_client =
            |open: &&OpenConnection| open.network.map(widest) == Some(widest(client));
        let is_waiting = |open: &&OpenConnection| {
            let waiting = open.state.waiting(now);
            waiting.is_none_or(|(phase, _)| phase != ConnectionPhase::Serving)
        };
        self.connections.values().filter(is_of_client).filter(is_waiting).count()
    }
}

impl ConnectionGuard {
    /// Adds the connection, which has a slot now, to those that may be asked to end.
    pub(crate) fn register(&mut self, state: &Arc<ConnectionState>) {
        let mut inner = self.table.inner.lock();
        let id = inner.next_id;
        inner.next_id += 1;
        inner
            .connections
            .insert(id, OpenConnection { network: self.network, state: state.clone() });
        self.id = Some(id);
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        let mut inner = self.table.inner.lock();
        if let Some(id) = self.id {
            inner.connections.remove(&id);
        }
        let Some(network) = self.network else { return };
        decrement(&mut inner.counts, network);
        if let Some(surrounding) = network.surrounding() {
            decrement(&mut inner.surrounding, surrounding);
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

    use super::super::state::Timeouts;
    use super::*;

    const TIMEOUTS: Timeouts =
        Timeouts { head: Duration::from_secs(10), idle: Duration::from_secs(75) };

    struct Fixture {
        table: Arc<ConnectionTable>,
        start: Instant,
        all: Vec<(Arc<ConnectionState>, ConnectionGuard)>,
    }

    impl Fixture {
        fn new() -> Self {
            Self { table: ConnectionTable::new(1_000), start: Instant::now(), all: Vec::new() }
        }

        /// Opens a connection from an address, `at_ms` after the start.
        fn open(&mut self, address: u32, at_ms: u64) -> Arc<ConnectionState> {
            self.open_from(Ipv4Addr::from_bits(address).into(), at_ms)
        }

        fn open_from(&mut self, address: IpAddr, at_ms: u64) -> Arc<ConnectionState> {
            let network = Network::of(address);
            let state = Arc::new(ConnectionState::new(TIMEOUTS, self.at(at_ms)));
            let mut guard = self.table.admit(Some(network)).unwrap();
            guard.register(&state);
            self.all.push((state.clone(), guard));
            state
        }

        fn at(&self, ms: u64) -> Instant {
            self.start + Duration::from_millis(ms)
        }

        /// Evicts for a client without a network. The number of connections that were asked to end.
        fn evict_waiting(&self, at_ms: u64) -> usize {
            match self.table.evict_waiting(self.at(at_ms), None) {
                Eviction::Asked(count) => count,
                Eviction::TooManyWaiting => {
                    panic!("a client without a network has no waiting connections")
                }
            }
        }

        fn evicted(&self) -> Vec<usize> {
            let evicted =
                self.all.iter().enumerate().filter(|(_, (state, _))| state.is_eviction_requested());
            evicted.map(|(n, _)| n).collect()
        }
    }

    #[test]
    fn the_longest_idle_connection_is_evicted_and_a_busy_one_is_not() {
        let mut fixture = Fixture::new();
        fixture.open(1, 0).head_received();
        fixture.open(1, 200);
        fixture.open(1, 100);
        assert_eq!(fixture.evict_waiting(1_000), 1);
        assert_eq!(fixture.evicted(), [2]);
        assert_eq!(fixture.evict_waiting(1_000), 1);
        assert_eq!(fixture.evicted(), [1, 2], "each is asked once");
        assert_eq!(fixture.evict_waiting(60_000), 0);
    }

    #[test]
    fn a_new_connection_gets_time_to_send_its_head() {
        let mut fixture = Fixture::new();
        fixture.open(1, 0);
        assert_eq!(fixture.evict_waiting(50), 0);
        fixture.open(1, 0).bytes_received(b"POST /", fixture.at(10));
        assert_eq!(fixture.evict_waiting(500), 1);
        assert_eq!(fixture.evicted(), [0], "a begun head comes after a silent connection");
        assert_eq!(fixture.evict_waiting(500), 0);
        assert_eq!(fixture.evict_waiting(1_010), 1, "a head takes less than a second");
    }

    #[test]
    fn the_client_with_most_connections_is_evicted_first() {
        let mut fixture = Fixture::new();
        fixture.open(1, 0);
        for n in 0..20 {
            fixture.open(2, 100 + n);
        }
        for _ in 0..20 {
            assert_eq!(fixture.evict_waiting(5_000), 1);
        }
        assert_eq!(fixture.evicted(), (1..21).collect::<Vec<_>>());
    }

    /// A connection that waits for a body since `at_ms`.
    fn half_sent(fixture: &mut Fixture, address: IpAddr, at_ms: u64) -> Arc<ConnectionState> {
        let state = fixture.open_from(address, at_ms);
        state.head_received();
        state.body_wait_started(fixture.at(at_ms));
        state
    }

    #[test]
    fn a_connection_that_waits_for_a_body_is_evicted_after_a_second() {
        let mut fixture = Fixture::new();
        let of = |n| IpAddr::from(Ipv4Addr::from_bits(n));
        half_sent(&mut fixture, of(1), 0);
        for _ in 0..30 {
            half_sent(&mut fixture, of(2), 10);
        }
        let whole = half_sent(&mut fixture, of(3), 0);
        whole.body_wait_ended();
        assert_eq!(fixture.evict_waiting(900), 0, "each body has a second");
        for _ in 0..30 {
            assert_eq!(fixture.evict_waiting(1_010), 1);
        }
        assert_eq!(
            fixture.evicted(),
            (1..31).collect::<Vec<_>>(),
            "the client with most connections first"
        );
        assert_eq!(fixture.evict_waiting(1_010), 1);
        assert_eq!(fixture.evict_waiting(60_000), 0, "a busy connection is never evicted");
    }

    #[test]
    fn the_64s_of_one_48_count_together() {
        let mut fixture = Fixture::new();
        let of = |net: u128, n: u128| IpAddr::from(Ipv6Addr::from_bits(net << 80 | n << 64 | 1));
        half_sent(&mut fixture, of(0x2001_0db8_0001, 7), 0);
        for n in 0..30 {
            half_sent(&mut fixture, of(0x2001_0db8_0002, n), 100);
        }
        for _ in 0..30 {
            assert_eq!(fixture.evict_waiting(5_000), 1);
        }
        assert_eq!(fixture.evicted(), (1..31).collect::<Vec<_>>());
        fixture.all.clear();
        assert!(fixture.table.inner.lock().surrounding.is_empty(), "no count is left");
    }

    #[test]
    fn a_client_with_many_waiting_connections_gets_no_further_one() {
        let mut fixture = Fixture::new();
        let of = |n| Some(Network::of(Ipv4Addr::from_bits(n).into()));
        for _ in 0..WAITING_CONNECTIONS_MAX {
            half_sent(&mut fixture, Ipv4Addr::from_bits(1).into(), 0);
            fixture.open(2, 0).head_received();
        }
        let newcomer = |n, at_ms| fixture.table.evict_waiting(fixture.at(at_ms), of(n));
        assert_eq!(newcomer(1, 500), Eviction::TooManyWaiting);
        assert_eq!(newcomer(2, 500), Eviction::Asked(0), "its requests are being served");
        assert_eq!(newcomer(3, 500), Eviction::Asked(0));
        assert_eq!(newcomer(1, 1_500), Eviction::Asked(1), "now one can end");
    }

    #[test]
    fn one_in_64_is_evicted_at_a_time() {
        let mut fixture = Fixture::new();
        for n in 0..640 {
            fixture.open(1, n);
        }
        assert_eq!(fixture.evict_waiting(5_000), 10);
        assert_eq!(fixture.evicted(), (0..10).collect::<Vec<_>>(), "those that are idle longest");
    }

    #[test]
    fn an_address_gets_a_further_connection_when_one_has_ended() {
        let table = ConnectionTable::new(2);
        let network = |n: u32| Some(Network::of(Ipv4Addr::from_bits(n).into()));
        let one = table.admit(network(1)).unwrap();
        let two = table.admit(network(1)).unwrap();
        assert!(table.admit(network(1)).is_none());
        assert!(table.admit(network(2)).is_some());
        assert!((0..9).map(|_| table.admit(None)).collect::<Option<Vec<_>>>().is_some());
        drop(one);
        assert!(table.admit(network(1)).is_some());
        drop(two);
        assert!(table.inner.lock().counts.is_empty(), "no count is left");
    }
}
