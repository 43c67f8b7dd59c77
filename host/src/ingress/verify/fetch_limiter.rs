//! Limits the fetches that requests ask a hub for. Pure: the time is an argument.
//!
//! Any sender can name keys in its requests, so fetches are few. All unproven networks share one
//! allowance, of which no network gets more than a share. Networks from which requests were
//! verified share another one, so that unproven senders cannot keep a new key from a real sender.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use weir_core::rate::{Bucket, Rate};

use super::Unavailable;
use crate::ingress::connection::network::Network;

/// The burst of fetches of one allowance, and the time after which one more is allowed.
const ALLOWANCE: (u32, Duration) = (10, Duration::from_secs(5));
/// The same for one network.
const SHARE: (u32, Duration) = (3, Duration::from_secs(30));
/// Proven networks that are remembered. Above this the one seen longest ago is forgotten.
const PROVEN_MAX: usize = 1_024;

/// The limiter of one source, by the clock of this process. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct SourceFetches {
    limiter: Arc<Mutex<FetchLimiter>>,
    started: Instant,
}

impl SourceFetches {
    pub(crate) fn new() -> Self {
        Self { limiter: Arc::default(), started: Instant::now() }
    }

    /// The time since this limiter was made.
    pub(crate) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Notes that a request of this network was verified.
    pub(crate) fn mark_proven(&self, network: Network) {
        self.limiter.lock().mark_proven(network, self.now());
    }

    /// True if a request of this network was verified before.
    pub(crate) fn is_proven(&self, network: Option<Network>) -> bool {
        self.limiter.lock().is_proven(network)
    }

    /// Takes one fetch for a request of this network.
    pub(crate) fn take(&self, network: Option<Network>) -> Result<(), Unavailable> {
        if self.limiter.lock().take(network, self.now()) {
            Ok(())
        } else {
            Err(Unavailable::TooMany)
        }
    }
}

#[derive(Debug, Default)]
struct FetchLimiter {
    unproven: Allowance,
    proven: Allowance,
    /// Proven networks, each with the time at which it was seen last.
    known: FxHashMap<Network, Duration>,
}

/// The fetches that a group of networks may have.
#[derive(Debug, Default)]
struct Allowance {
    all: Bucket,
    /// The recent fetches of each network. Bounded by the fetches that are allowed while a share
    /// refills.
    shares: FxHashMap<Network, Bucket>,
}

impl FetchLimiter {
    fn mark_proven(&mut self, network: Network, now: Duration) {
        self.known.insert(network, now);
        if self.known.len() > PROVEN_MAX {
            let oldest = self.known.iter().min_by_key(|(_, seen)| **seen);
            let oldest = oldest.map(|(network, _)| *network);
            oldest.map(|network| self.known.remove(&network));
        }
    }

    fn is_proven(&self, network: Option<Network>) -> bool {
        network.is_some_and(|network| self.known.contains_key(&network))
    }

    /// Takes one fetch if it is allowed. Senders that cannot be told apart have no network.
    fn take(&mut self, network: Option<Network>, now: Duration) -> bool {
        let is_proven = self.is_proven(network);
        (is_proven && self.proven.take(network, now)) || self.unproven.take(network, now)
    }
}

impl Allowance {
    fn take(&mut self, network: Option<Network>, now: Duration) -> bool {
        let rate = |(burst, each): (u32, Duration)| Rate::new(1, each, burst);
        self.shares.retain(|_, share| share.has_spent(now));
        let share = network.and_then(|network| self.shares.get(&network).copied());
        let mut share = share.unwrap_or_default();
        let allowed =
            share.take(rate(SHARE), now).is_ok() && self.all.take(rate(ALLOWANCE), now).is_ok();
        if let Some(network) = network.filter(|_| allowed) {
            self.shares.insert(network, share);
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn network(n: u32) -> Option<Network> {
        Some(Network::of(Ipv4Addr::from_bits(n).into()))
    }

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    /// The number of fetches that are allowed out of a thousand.
    fn allowed(fetches: &mut FetchLimiter, of: Option<Network>, now: Duration) -> usize {
        (0..1_000).filter(|_| fetches.take(of, now)).count()
    }

    #[test]
    fn fetches_are_allowed_in_a_burst_and_then_one_by_one() {
        let mut fetches = FetchLimiter::default();
        assert_eq!(allowed(&mut fetches, None, secs(0)), 10);
        assert_eq!(allowed(&mut fetches, None, secs(4)), 0);
        assert_eq!(allowed(&mut fetches, None, secs(15)), 3);
        assert_eq!(allowed(&mut fetches, None, secs(86_400)), 10);
    }

    #[test]
    fn one_address_gets_its_share_and_leaves_the_rest_to_others() {
        let mut fetches = FetchLimiter::default();
        assert_eq!(allowed(&mut fetches, network(1), secs(0)), 3);
        assert_eq!(allowed(&mut fetches, network(2), secs(0)), 3);
        assert_eq!(allowed(&mut fetches, network(1), secs(29)), 0);
        assert_eq!(allowed(&mut fetches, network(1), secs(30)), 1);
    }

    #[test]
    fn unproven_networks_take_nothing_from_a_proven_one() {
        let mut fetches = FetchLimiter::default();
        fetches.mark_proven(network(7).unwrap(), secs(0));
        let unproven = (100..10_000).filter(|n| fetches.take(network(*n), secs(1))).count();
        assert_eq!(unproven, 10);
        assert!(fetches.take(network(7), secs(1)));
        assert_eq!(allowed(&mut fetches, network(7), secs(1)), 2, "it has no more than a share");
        assert_eq!(allowed(&mut fetches, network(8), secs(1)), 0);
    }

    #[test]
    fn the_networks_seen_last_are_remembered() {
        let mut fetches = FetchLimiter::default();
        for n in 0..20_000 {
            let now = Duration::from_millis(10 * u64::from(n));
            fetches.mark_proven(network(n % 5_000).unwrap(), now);
            fetches.take(network(n), now);
        }
        assert_eq!(fetches.known.len(), PROVEN_MAX);
        assert!(fetches.is_proven(network(4_999)) && !fetches.is_proven(network(0)));
        let most = 10 + 90 / 5 + 1;
        let Allowance { shares, .. } = &fetches.unproven;
        assert!(shares.len() <= most, "{} of unproven networks", shares.len());
    }
}
