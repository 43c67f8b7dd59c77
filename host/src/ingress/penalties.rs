//! What refused requests cost the address that they came from: a bucket an address, in a table of fixed size. Pure:
//! the time is an argument.
//!
//! Only refusals are charged, so a sender whose requests verify never comes to owe anything. A debt is to one source:
//! junk for one costs its address nothing at another.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use weir_core::rate::{Bucket, Rate};

use super::limits::{PENALTIES_PER_ROW, PENALTY_ROWS};

/// The addresses that one client is taken to have: one of IPv4, or a /64 of IPv6, which is the least that is given
/// to anybody and as many addresses as anybody could want.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Network {
    V4([u8; 4]),
    V6([u8; 8]),
}

impl Network {
    /// Where an address belongs. IPv4 in the clothes of IPv6 is IPv4.
    pub(super) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self::V4(v4.octets()),
            IpAddr::V6(v6) => {
                let [a, b, c, d, e, f, g, h, ..] = v6.octets();
                Self::V6([a, b, c, d, e, f, g, h])
            }
        }
    }
}

impl Network {
    /// The network around a client of IPv6: its /48, of which one customer of a provider can have every /64. None for
    /// IPv4, where neighbours are strangers to each other.
    pub(super) const fn surrounding(self) -> Option<Self> {
        match self {
            Self::V4(_) => None,
            Self::V6([a, b, c, d, e, f, ..]) => Some(Self::V6([a, b, c, d, e, f, 0, 0])),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(octets) => fmt::Display::fmt(&Ipv4Addr::from(*octets), f),
            Self::V6(first) => {
                let mut octets = [0; 16];
                octets[..8].copy_from_slice(first);
                write!(f, "{}/64", Ipv6Addr::from(octets))
            }
        }
    }
}

/// One entry. One with nothing left to pay says no more than an empty one.
#[derive(Debug, Clone, Copy, Default)]
struct Penalty {
    key: u64,
    bucket: Bucket,
}

/// Who owes what. Its memory is taken once: where a row is full, who owes least is forgotten, which is the one that
/// was idle the longest.
#[derive(Debug)]
pub(super) struct RefusalLimiter {
    rows: Box<[[Penalty; PENALTIES_PER_ROW]]>,
    keyed: RandomState,
    rate: Rate,
}

impl RefusalLimiter {
    /// Nobody owes anything. An address may have so many refusals as `rate` say.
    pub(super) fn new(rate: Rate) -> Self {
        Self {
            rows: vec![[Penalty::default(); PENALTIES_PER_ROW]; PENALTY_ROWS].into(),
            // A stranger who knew the hash could choose addresses that push others out of their row.
            keyed: RandomState::new(),
            rate,
        }
    }

    /// How long an address has to wait until another refusal of its could be borne; none if it may go on.
    pub(super) fn wait(
        &self,
        of: Network,
        source: Option<&str>,
        now: Duration,
    ) -> Option<Duration> {
        let key = self.key(of, source);
        let debtor = self.rows[row(key)].iter().find(|debtor| debtor.key == key)?;
        debtor.bucket.wait(self.rate, now)
    }

    /// Charges an address with a refusal.
    pub(super) fn charge(&mut self, to: Network, source: Option<&str>, now: Duration) {
        let (key, rate) = (self.key(to, source), self.rate);
        place(&mut self.rows[row(key)], key).charge(rate, now);
    }

    fn key(&self, network: Network, source: Option<&str>) -> u64 {
        self.keyed.hash_one((network, source))
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the low bits of a hash are as good as all")]
const fn row(key: u64) -> usize {
    key as usize % PENALTY_ROWS
}

/// What `key` owes, kept in the place of the one that owes least if it was not kept yet.
fn place(row: &mut [Penalty; PENALTIES_PER_ROW], key: u64) -> &mut Bucket {
    let known = row.iter().position(|debtor| debtor.key == key);
    let at = known.unwrap_or_else(|| {
        let least = row.iter().enumerate().min_by_key(|(_, debtor)| debtor.bucket);
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
    fn an_ipv6_client_is_its_64_and_ipv4_is_ipv4_however_it_is_written() {
        let of = |text: &str| Network::of(text.parse().unwrap());
        assert_eq!(of("2001:db8:0:1::1"), of("2001:db8:0:1:ffff:ffff:ffff:ffff"));
        assert_ne!(of("2001:db8:0:1::1"), of("2001:db8:0:2::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }

    #[test]
    fn a_debt_to_one_source_is_none_to_another() {
        let mut penalties = penalties();
        for _ in 0..5 {
            penalties.charge(v4(1), Some("github"), Duration::ZERO);
        }
        assert!(penalties.wait(v4(1), Some("github"), Duration::ZERO).is_some());
        assert_eq!(penalties.wait(v4(1), Some("stripe"), Duration::ZERO), None);
        assert_eq!(penalties.wait(v4(1), None, Duration::ZERO), None);
    }

    #[test]
    fn who_owes_least_makes_place_in_a_full_row() {
        let rate = Rate::new(1, Duration::from_secs(1), 100);
        let mut row = [Penalty::default(); PENALTIES_PER_ROW];
        for n in 1..=PENALTIES_PER_ROW as u64 {
            let penalties = if n == 4 { 1 } else { 10 };
            (0..penalties).for_each(|_| place(&mut row, n).charge(rate, Duration::ZERO));
        }
        let before = row;
        place(&mut row, 99).charge(rate, Duration::ZERO);
        assert_eq!(row[3].key, 99);
        assert_eq!(*place(&mut row, 1), before[0].bucket, "and nobody else was touched");
    }

    #[test]
    fn a_million_addresses_need_no_more_memory_than_none() {
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
        fn in_any_stretch_of_time_an_address_has_no_more_refusals_than_its_terms(
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
        fn who_waits_as_long_as_told_may_go_on(charges in 1usize..50, after_ms in 0u64..3_000) {
            let mut penalties = penalties();
            for _ in 0..charges {
                penalties.charge(v4(1), None, Duration::from_secs(1));
            }
            let now = Duration::from_millis(1_000 + after_ms);
            if let Some(wait) = penalties.wait(v4(1), None, now) {
                prop_assert!(wait <= Duration::from_millis(100), "one refusal is forgiven in that time");
                prop_assert_eq!(penalties.wait(v4(1), None, now + wait), None);
            }
        }

        #[test]
        fn who_was_refused_nothing_is_kept_waiting_by_nobody(
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
