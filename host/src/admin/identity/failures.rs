//! Limits failed sign-ins, for each address and for all of them. Pure except for a lock: the time
//! is an argument.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The time over which failures are counted.
const WINDOW: Duration = Duration::from_secs(60);
/// Most failures of one address in that time.
const OF_ADDRESS_MAX: u32 = 10;
/// Most failures of all addresses in that time.
const OF_ALL_MAX: u32 = 200;
/// Most addresses that are remembered. A new one above it shares the count of all.
const ADDRESSES_MAX: usize = 1_024;

/// The failed sign-ins of the last minute.
#[derive(Debug, Default)]
pub(super) struct FailedSignIns(Mutex<Failures>);

#[derive(Debug, Default)]
struct Failures {
    since: Option<Instant>,
    of_all: u32,
    by_address: HashMap<IpAddr, u32>,
}

impl FailedSignIns {
    /// True if an address may try again.
    pub(super) fn may_try(&self, from: IpAddr, now: Instant) -> bool {
        let failures = &mut *self.0.lock();
        failures.forget(now);
        let own = failures.by_address.get(&from.to_canonical()).copied().unwrap_or(0);
        own < OF_ADDRESS_MAX && failures.of_all < OF_ALL_MAX
    }

    /// Notes a failure.
    pub(super) fn note(&self, from: IpAddr, now: Instant) {
        let failures = &mut *self.0.lock();
        failures.forget(now);
        failures.of_all = failures.of_all.saturating_add(1);
        let is_known = failures.by_address.contains_key(&from.to_canonical());
        if is_known || failures.by_address.len() < ADDRESSES_MAX {
            *failures.by_address.entry(from.to_canonical()).or_default() += 1;
        }
    }
}

impl Failures {
    fn forget(&mut self, now: Instant) {
        let since = *self.since.get_or_insert(now);
        if now.saturating_duration_since(since) >= WINDOW {
            *self = Self { since: Some(now), ..Self::default() };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_failures_stop_an_address_for_a_minute_and_no_other() {
        let (failures, start) = (FailedSignIns::default(), Instant::now());
        let (one, other) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        for _ in 0..OF_ADDRESS_MAX {
            assert!(failures.may_try(one, start));
            failures.note(one, start);
        }
        assert!(!failures.may_try(one, start) && failures.may_try(other, start));
        assert!(failures.may_try(one, start + WINDOW));
    }

    #[test]
    fn failures_from_everywhere_are_limited_too() {
        let (failures, now) = (FailedSignIns::default(), Instant::now());
        for n in 0..OF_ALL_MAX {
            failures.note(std::net::Ipv4Addr::from_bits(n).into(), now);
        }
        assert!(!failures.may_try([203, 0, 113, 9].into(), now));
    }
}
