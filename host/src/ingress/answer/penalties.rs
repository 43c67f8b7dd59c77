//! Penalties: a network that sent too many refused requests has to wait before the next one.
//!
//! Only refusals are charged, so a sender whose requests verify never gets a penalty. A penalty is
//! for one source: refused requests for one source do not count at another.

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use weir_core::rate::{Bucket, Rate};

use super::refused::Refused;
use crate::ingress::connection::client::Caller;
use crate::ingress::connection::limits::{PENALTIES_PER_ROW, PENALTY_ROWS};
use crate::ingress::connection::network::Network;

/// The penalties of all networks, by the clock of this process.
#[derive(Debug)]
pub(crate) struct Penalties {
    limiter: Mutex<RefusalLimiter>,
    started: Instant,
}

impl Penalties {
    /// No penalties. `rate` is the number of refusals that a network may have.
    pub(crate) fn new(rate: Rate) -> Self {
        Self { limiter: Mutex::new(RefusalLimiter::new(rate)), started: Instant::now() }
    }

    /// Refuses a caller whose network has a penalty, except on a connection that has carried
    /// verified requests.
    pub(crate) fn check(
        &self,
        caller: Caller<'_>,
        source: Option<&str>,
        now: Instant,
    ) -> Result<(), Refused> {
        let Some(network) = caller.network.filter(|_| !caller.is_proven()) else { return Ok(()) };
        let wait = self.limiter.lock().wait(network, source, self.since_start(now));
        wait.map_or(Ok(()), |wait| Err(Refused::Penalized { wait }))
    }

    /// Charges a caller with a refusal.
    pub(crate) fn charge(&self, caller: Caller<'_>, source: Option<&str>) {
        caller.refused();
        if let Some(network) = caller.network {
            self.limiter.lock().charge(network, source, self.since_start(Instant::now()));
        }
    }

    fn since_start(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.started)
    }
}

/// The refusals of one network at one source. An empty bucket is the same as no entry.
#[derive(Debug, Clone, Copy, Default)]
struct Penalty {
    key: u64,
    bucket: Bucket,
}

/// A table of fixed size with the refusals of each network. In a full row, the entry with the least
/// refusals left is replaced, which is the one that was idle longest. Pure: the time is an
/// argument.
#[derive(Debug)]
struct RefusalLimiter {
    rows: Box<[[Penalty; PENALTIES_PER_ROW]]>,
    hasher: RandomState,
    rate: Rate,
}

impl RefusalLimiter {
    fn new(rate: Rate) -> Self {
        Self {
            rows: vec![[Penalty::default(); PENALTIES_PER_ROW]; PENALTY_ROWS].into(),
            // A sender that knew the hash could choose addresses that push others out of their row.
            hasher: RandomState::new(),
            rate,
        }
    }

    /// The time that a network has to wait before its next request. `None` if it has no penalty.
    fn wait(&self, network: Network, source: Option<&str>, now: Duration) -> Option<Duration> {
        let key = self.key(network, source);
        let penalty = self.rows[row(key)].iter().find(|penalty| penalty.key == key)?;
        penalty.bucket.wait(self.rate, now)
    }

    fn charge(&mut self, network: Network, source: Option<&str>, now: Duration) {
        let (key, rate) = (self.key(network, source), self.rate);
        bucket(&mut self.rows[row(key)], key).charge(rate, now);
    }

    fn key(&self, network: Network, source: Option<&str>) -> u64 {
        self.hasher.hash_one((network, source))
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the low bits of a hash are as good as all")]
const fn row(key: u64) -> usize {
    key as usize % PENALTY_ROWS
}

/// The bucket of `key`. A new one replaces the entry with the least refusals.
fn bucket(row: &mut [Penalty; PENALTIES_PER_ROW], key: u64) -> &mut Bucket {
    let known = row.iter().position(|penalty| penalty.key == key);
    let at = known.unwrap_or_else(|| {
        let least = row.iter().enumerate().min_by_key(|(_, penalty)| penalty.bucket);
        let at = least.map_or(0, |(at, _)| at);
        row[at] = Penalty { key, bucket: Bucket::default() };
        at
    });
    &mut row[at].bucket
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    const BURST: u32 = 5;
    const PER_SECOND: u32 = 10;

    fn penalties() -> RefusalLimiter {
        RefusalLimiter::new(Rate::new(PER_SECOND, Duration::from_secs(1), BURST))
    }

    fn v4(n: u32) -> Network {
        Network::of(Ipv4Addr::from_bits(n).into())
    }

    #[test]
    fn a_penalty_at_one_source_is_none_at_another() {
        let mut penalties = penalties();
        for _ in 0..5 {
            penalties.charge(v4(1), Some("github"), Duration::ZERO);
        }
        assert!(penalties.wait(v4(1), Some("github"), Duration::ZERO).is_some());
        assert_eq!(penalties.wait(v4(1), Some("stripe"), Duration::ZERO), None);
        assert_eq!(penalties.wait(v4(1), None, Duration::ZERO), None);
    }

    #[test]
    fn in_a_full_row_the_smallest_entry_is_replaced() {
        let rate = Rate::new(1, Duration::from_secs(1), 100);
        let mut row = [Penalty::default(); PENALTIES_PER_ROW];
        for n in 1..=PENALTIES_PER_ROW as u64 {
            let penalties = if n == 4 { 1 } else { 10 };
            (0..penalties).for_each(|_| bucket(&mut row, n).charge(rate, Duration::ZERO));
        }
        let before = row;
        bucket(&mut row, 99).charge(rate, Duration::ZERO);
        assert_eq!(row[3].key, 99);
        assert_eq!(*bucket(&mut row, 1), before[0].bucket, "the others are unchanged");
    }

    #[test]
    fn a_million_addresses_take_no_more_memory_than_none() {
        let mut penalties = penalties();
        let before = (penalties.rows.len(), penalties.rows.as_ptr());
        for n in 0..1_000_000u32 {
            let address = Ipv6Addr::from_bits(u128::from(n) << 64);
            penalties.charge(Network::of(address.into()), None, Duration::from_micros(n.into()));
        }
        assert_eq!((penalties.rows.len(), penalties.rows.as_ptr()), before);
    }

    proptest! {
        #[test]
        fn refusals_never_exceed_the_rate_in_any_stretch_of_time(
            gaps_ms in prop::collection::vec(0u64..400, 1..200),
        ) {
            let mut penalties = penalties();
            let (mut now, mut had) = (Duration::ZERO, Vec::new());
            for gap in gaps_ms {
                now += Duration::from_millis(gap);
                if penalties.wait(v4(1), None, now).is_none() {
                    penalties.charge(v4(1), None, now);
                    had.push(now);
                }
            }
            for (first, from) in had.iter().enumerate() {
                for (n, until) in (1u32..).zip(&had[first..]) {
                    let forgiven = (*until - *from).as_secs_f64() * f64::from(PER_SECOND);
                    prop_assert!(f64::from(n) <= f64::from(BURST) + forgiven + 1e-6);
                }
            }
        }

        #[test]
        fn a_network_that_waits_as_told_has_no_penalty(
            charges in 1usize..50,
            after_ms in 0u64..3_000,
        ) {
            let mut penalties = penalties();
            for _ in 0..charges {
                penalties.charge(v4(1), None, Duration::from_secs(1));
            }
            let now = Duration::from_millis(1_000 + after_ms);
            if let Some(wait) = penalties.wait(v4(1), None, now) {
                let for_one = Duration::from_millis(100);
                prop_assert!(wait <= for_one, "one refusal is forgiven in that time");
                prop_assert_eq!(penalties.wait(v4(1), None, now + wait), None);
            }
        }

        #[test]
        fn refusals_of_others_never_delay_a_network(
            charges in prop::collection::vec((1u32..5_000, 0u64..10), 0..2_000),
        ) {
            let mut penalties = penalties();
            let mut now = Duration::ZERO;
            for (key, gap) in charges {
                now += Duration::from_millis(gap);
                penalties.charge(v4(key), Some("github"), now);
                prop_assert_eq!(penalties.wait(v4(0), Some("github"), now), None);
            }
        }
    }
}
