//! Rate limits: a token bucket that refills at a constant rate. Pure: the time is an argument.

use std::fmt;
use std::time::Duration;

use crate::units::format_duration;

/// A rate with a burst.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// The nanoseconds in which one token is refilled.
    token_nanos: u64,
    /// The nanoseconds in which an empty bucket is refilled.
    burst_nanos: u64,
}

impl Rate {
    /// `count` per `per`, with a burst of `burst`; both at least one.
    #[must_use]
    pub fn new(count: u32, per: Duration, burst: u32) -> Self {
        let token_nanos = (nanos(per) / u64::from(count.max(1))).max(1);
        Self { token_nanos, burst_nanos: token_nanos.saturating_mul(u64::from(burst.max(1))) }
    }

    /// The time in which one token is refilled.
    #[must_use]
    pub fn one(self) -> Duration {
        Duration::from_nanos(self.token_nanos)
    }
}

impl fmt::Display for Rate {
    /// In the largest count that states it exactly: `10/s`, `90/m`, `5/h`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u64, char); 3] = [(1, 's'), (60, 'm'), (3_600, 'h')];
        let counted = UNITS.iter().find_map(|(seconds, unit)| {
            let per = seconds * 1_000_000_000;
            let count = (per + self.token_nanos / 2) / self.token_nanos;
            (count > 0 && per / count == self.token_nanos).then_some((count, unit))
        });
        match counted {
            Some((count, unit)) => write!(f, "{count}/{unit}"),
            None => write!(f, "1 in {}", format_duration(self.one())),
        }
    }
}

/// The state of a bucket: the moment at which it is full again, in nanoseconds. After that moment,
/// a bucket equals a new one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bucket {
    full_at: u64,
}

impl Bucket {
    /// The time until a token is available; `None` if one is available now.
    #[must_use]
    pub fn wait(self, rate: Rate, now: Duration) -> Option<Duration> {
        let now = nanos(now);
        let available_at =
            self.full_at.saturating_add(rate.token_nanos).saturating_sub(rate.burst_nanos);
        (available_at > now).then(|| Duration::from_nanos(available_at - now))
    }

    /// The tokens that are available now.
    #[must_use]
    pub fn available(self, rate: Rate, now: Duration) -> usize {
        let spent = self.full_at.saturating_sub(nanos(now));
        let left = rate.burst_nanos.saturating_sub(spent) / rate.token_nanos;
        usize::try_from(left).unwrap_or(usize::MAX)
    }

    /// True if the bucket is not full. A full one equals a new one.
    #[must_use]
    pub fn has_spent(self, now: Duration) -> bool {
        self.full_at > nanos(now)
    }

    /// Takes a token even if none is available. The debt never exceeds the burst: requests that
    /// were under way when the bucket ran empty do not lengthen the wait.
    pub fn charge(&mut self, rate: Rate, now: Duration) {
        let now = nanos(now);
        let full_at = self.full_at.max(now).saturating_add(rate.token_nanos);
        self.full_at = full_at.min(now.saturating_add(rate.burst_nanos));
    }

    /// Takes a token, or returns the time to wait for one.
    pub fn take(&mut self, rate: Rate, now: Duration) -> Result<(), Duration> {
        match self.wait(rate, now) {
            Some(wait) => Err(wait),
            None => {
                self.charge(rate, now);
                Ok(())
            }
        }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_rate_is_shown_as_it_is_written() {
        for (count, seconds, text) in [
            (1, 1, "1/s"),
            (3, 1, "3/s"),
            (1_000, 1, "1000/s"),
            (90, 60, "90/m"),
            (120, 60, "2/s"),
            (7, 3_600, "7/h"),
        ] {
            let rate = Rate::new(count, Duration::from_secs(seconds), 1);
            assert_eq!(rate.to_string(), text);
        }
        assert_eq!(Rate::new(1, Duration::from_secs(7_200), 1).to_string(), "1 in 2h");
    }

    #[test]
    fn a_burst_passes_at_once_then_one_at_a_time() {
        let rate = Rate::new(100, Duration::from_secs(1), 3);
        let mut bucket = Bucket::default();
        let mut at = |ms| bucket.take(rate, Duration::from_millis(ms));
        assert_eq!((at(0), at(0), at(0)), (Ok(()), Ok(()), Ok(())));
        assert_eq!(at(0), Err(Duration::from_millis(10)));
        assert_eq!(at(4), Err(Duration::from_millis(6)), "asking costs nothing");
        assert_eq!((at(10), at(10)), (Ok(()), Err(Duration::from_millis(10))));
        assert_eq!((at(1_000), at(1_000), at(1_000)), (Ok(()), Ok(()), Ok(())));
        let available = |ms| bucket.available(rate, Duration::from_millis(ms));
        assert_eq!((available(1_000), available(1_010), available(1_029)), (0, 1, 2));
        assert_eq!((available(1_030), available(9_000)), (3, 3));
        let has_spent = |ms| bucket.has_spent(Duration::from_millis(ms));
        assert_eq!((has_spent(1_029), has_spent(1_030)), (true, false));
    }

    #[test]
    fn the_smallest_rate_is_one() {
        assert_eq!(
            Rate::new(0, Duration::from_secs(1), 0),
            Rate::new(1, Duration::from_secs(1), 1)
        );
    }

    proptest! {
        #[test]
        fn no_period_exceeds_the_rate_and_a_burst(
            count in 1u32..50,
            burst in 1u32..20,
            gaps_ms in prop::collection::vec(0u64..400, 1..200),
        ) {
            let rate = Rate::new(count, Duration::from_secs(1), burst);
            let (mut bucket, mut now, mut had) = (Bucket::default(), Duration::ZERO, Vec::new());
            for gap in gaps_ms {
                now += Duration::from_millis(gap);
                match bucket.take(rate, now) {
                    Ok(()) => had.push(now),
                    Err(wait) => prop_assert_eq!(bucket.wait(rate, now + wait), None),
                }
            }
            for (first, from) in had.iter().enumerate() {
                for (n, until) in (1u32..).zip(&had[first..]) {
                    let forgiven = (*until - *from).as_secs_f64() * f64::from(count);
                    prop_assert!(f64::from(n) <= f64::from(burst) + forgiven + 1e-4);
                }
            }
        }
    }
}
