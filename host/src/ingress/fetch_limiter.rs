//! Who may have a published key fetched now. Pure: the time is an argument.
//!
//! Whoever sends a request may name a key in it, so that fetches are few. Strangers have an allowance in common, of which
//! no address gets more than a share. Addresses from which requests were verified before have another one, which no
//! stranger can touch: a key that their sender has changed is had, however many keys strangers name.

use std::time::Duration;

use rustc_hash::FxHashMap;
use weir_core::rate::{Bucket, Rate};

use super::penalties::Network;

/// FetchLimiter at once, after a time without any, and how long one of them takes to be allowed again.
const ALL: (u32, Duration) = (10, Duration::from_secs(5));
/// The same of one address.
const SHARE: (u32, Duration) = (3, Duration::from_secs(30));
/// Addresses that are known to have sent what was verified; past it, who was seen least of late is forgotten.
const PROVEN_MAX: usize = 1_024;

/// The fetches that are allowed for one source.
#[derive(Debug, Default)]
pub(super) struct FetchLimiter {
    strangers: Allowance,
    proven: Allowance,
    /// Who is proven, with when it was seen last.
    known: FxHashMap<Network, Duration>,
}

/// What may be fetched for some.
#[derive(Debug, Default)]
struct Allowance {
    all: Bucket,
    /// What each has had of late. There are never more than have been allowed in the time that a share takes to be free.
    shares: FxHashMap<Network, Bucket>,
}

impl FetchLimiter {
    /// A request of this address was verified.
    pub(super) fn mark_proven(&mut self, network: Network, now: Duration) {
        self.known.insert(network, now);
        if self.known.len() > PROVEN_MAX {
            let oldest = self.known.iter().min_by_key(|(_, seen)| **seen).map(|(who, _)| *who);
            oldest.map(|who| self.known.remove(&who));
        }
    }

    /// Whether a request of this address was verified before.
    pub(super) fn is_proven(&self, network: Option<Network>) -> bool {
        network.is_some_and(|network| self.known.contains_key(&network))
    }

    /// Takes one fetch, if it may be had; `network` is none of those who cannot be told apart.
    pub(super) fn take(&mut self, network: Option<Network>, now: Duration) -> bool {
        let is_proven = self.is_proven(network);
        (is_proven && self.proven.take(network, now)) || self.strangers.take(network, now)
    }
}

impl Allowance {
    fn take(&mut self, network: Option<Network>, now: Duration) -> bool {
        let rate = |(burst, each): (u32, Duration)| Rate::new(1, each, burst);
        self.shares.retain(|_, share| share.has_spent(now));
        let share = network.and_then(|network| self.shares.get(&network).copied());
        let mut share = share.unwrap_or_default();
        let may = share.take(rate(SHARE), now).is_ok() && self.all.take(rate(ALL), now).is_ok();
        if let Some(network) = network.filter(|_| may) {
            self.shares.insert(network, share);
        }
        may
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

    /// How many of so many are allowed.
    fn allowed(fetches: &mut FetchLimiter, of: Option<Network>, now: Duration) -> usize {
        (0..1_000).filter(|_| fetches.take(of, now)).count()
    }

    #[test]
    fn fetches_are_allowed_in_a_burst_and_then_one_in_a_while() {
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
    fn a_crowd_of_strangers_takes_nothing_from_who_is_proven() {
        let mut fetches = FetchLimiter::default();
        fetches.mark_proven(network(7).unwrap(), secs(0));
        let crowd = (100..10_000).filter(|n| fetches.take(network(*n), secs(1))).count();
        assert_eq!(crowd, 10);
        assert!(fetches.take(network(7), secs(1)));
        assert_eq!(allowed(&mut fetches, network(7), secs(1)), 2, "and it has a share only");
        assert_eq!(allowed(&mut fetches, network(8), secs(1)), 0);
    }

    #[test]
    fn whoever_asks_little_is_remembered() {
        let mut fetches = FetchLimiter::default();
        for n in 0..20_000 {
            let now = Duration::from_millis(10 * u64::from(n));
            fetches.mark_proven(network(n % 5_000).unwrap(), now);
            fetches.take(network(n), now);
        }
        assert_eq!(fetches.known.len(), PROVEN_MAX);
        assert!(fetches.is_proven(network(4_999)) && !fetches.is_proven(network(0)));
        let most = 10 + 90 / 5 + 1;
        let Allowance { shares, .. } = &fetches.strangers;
        assert!(shares.len() <= most, "{} of strangers", shares.len());
    }
}
