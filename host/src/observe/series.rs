//! The plain numbers that metrics are made of: atomics that the hot path touches without looking anything up.
//!
//! No names, no labels and no text here.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// A number that only rises.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn inc(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    /// So many more.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Relaxed);
    }

    /// How many so far.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Different codes that one [`CounterByCode`] counts apart; further ones are counted as [`OTHER`].
pub const CODES_MAX: usize = 48;

/// The code, or name, of what is past a limit on series.
pub const OTHER: &str = "other";

/// Counters by stable code. A code gets its counter when it is first met, without a lock.
#[derive(Debug)]
pub struct CounterByCode {
    slots: [OnceLock<(&'static str, Counter)>; CODES_MAX],
    other: Counter,
}

impl Default for CounterByCode {
    fn default() -> Self {
        Self { slots: [const { OnceLock::new() }; CODES_MAX], other: Counter::default() }
    }
}

impl CounterByCode {
    /// One more of this code.
    pub fn inc(&self, code: &'static str) {
        for slot in &self.slots {
            // Whoever loses the race for an empty slot sees the winner's code and looks on.
            let (taken_by, counter) = slot.get_or_init(|| (code, Counter::default()));
            if *taken_by == code {
                return counter.inc();
            }
        }
        self.other.inc();
    }

    /// All codes met so far with their counts.
    pub fn each(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let known = self.slots.iter().map_while(OnceLock::get).map(|(code, n)| (*code, n.get()));
        let other = self.other.get();
        known.chain((other > 0).then_some((OTHER, other)))
    }

    /// The sum over all codes for which `counts` says yes.
    pub fn total(&self, counts: impl Fn(&str) -> bool) -> u64 {
        self.each().filter(|(code, _)| counts(code)).map(|(_, n)| n).sum()
    }
}

/// Upper ends of the buckets of every duration, in microseconds: half a millisecond to a minute, so that both a
/// quick acknowledgement and a slow endpoint fall where they can be told apart.
pub const BUCKETS_US: [u64; 16] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000, 30_000_000, 60_000_000,
];

/// How long things took.
#[derive(Debug, Default)]
pub struct DurationHistogram {
    /// One per bucket, and one for what took longer than all.
    buckets: [AtomicU64; BUCKETS_US.len() + 1],
    sum_us: AtomicU64,
}

impl DurationHistogram {
    /// Adds one.
    pub fn observe(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.buckets[BUCKETS_US.partition_point(|end| *end < us)].fetch_add(1, Relaxed);
        self.sum_us.fetch_add(us, Relaxed);
    }

    /// Sum in seconds, and per bucket its end in seconds and how many fell into it; the last has no end.
    #[must_use]
    pub fn read(&self) -> (f64, Vec<(f64, u64)>) {
        let ends = BUCKETS_US.iter().map(|us| seconds(*us)).chain([f64::INFINITY]);
        let buckets = ends.zip(self.buckets.iter().map(|n| n.load(Relaxed))).collect();
        (seconds(self.sum_us.load(Relaxed)), buckets)
    }
}

fn seconds(us: u64) -> f64 {
    Duration::from_micros(us).as_secs_f64()
}

/// A number that rises and falls. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Gauge(Arc<AtomicU64>);

impl Gauge {
    /// Adds `amount` until what is returned is dropped, on return, error and panic alike.
    #[must_use = "the amount is taken back when this is dropped"]
    pub fn hold(&self, amount: u64) -> GaugeGuard {
        self.0.fetch_add(amount, Relaxed);
        GaugeGuard { of: self.clone(), amount }
    }

    /// Adds one until what is returned is dropped.
    #[must_use = "it is taken back when this is dropped"]
    pub fn inc(&self) -> GaugeGuard {
        self.hold(1)
    }

    /// The number now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// An amount that a [`Gauge`] counts while this lives.
#[derive(Debug)]
pub struct GaugeGuard {
    of: Gauge,
    amount: u64,
}

impl GaugeGuard {
    /// Adds to the amount that is held.
    pub fn grow(&mut self, by: u64) {
        self.of.0.fetch_add(by, Relaxed);
        self.amount += by;
    }
}

impl Drop for GaugeGuard {
    fn drop(&mut self) {
        self.of.0.fetch_sub(self.amount, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_falls_into_the_first_bucket_that_is_long_enough() {
        let durations = DurationHistogram::default();
        for us in [0, 500, 501, 60_000_000, 60_000_001] {
            durations.observe(Duration::from_micros(us));
        }
        let (sum, buckets) = durations.read();
        let counts: Vec<u64> = buckets.iter().map(|(_, n)| *n).collect();
        assert_eq!((counts[0], counts[1], counts[15], counts[16]), (2, 1, 1, 1));
        assert!((sum - 120.001_002).abs() < 1e-6);
    }

    #[test]
    fn codes_past_the_limit_are_counted_together() {
        let names: Vec<&'static str> =
            (0..CODES_MAX + 3).map(|i| &*Box::leak(format!("code_{i}").into_boxed_str())).collect();
        let by_code = CounterByCode::default();
        for name in &names {
            by_code.inc(name);
            by_code.inc(name);
        }
        assert_eq!(by_code.each().count(), CODES_MAX + 1);
        assert_eq!(by_code.each().last(), Some((OTHER, 6)));
        assert_eq!(by_code.total(|_| true), 2 * names.len() as u64);
    }

    #[test]
    fn threads_that_meet_a_code_together_share_its_counter() {
        let by_code = CounterByCode::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for code in ["a", "b", "c"].into_iter().cycle().take(3000) {
                        by_code.inc(code);
                    }
                });
            }
        });
        let mut counts: Vec<_> = by_code.each().collect();
        counts.sort_unstable();
        assert_eq!(counts, [("a", 4000), ("b", 4000), ("c", 4000)]);
    }

    #[test]
    fn a_gauge_falls_when_its_guard_is_dropped_even_by_a_panic() {
        let gauge = Gauge::default();
        let mut held = gauge.hold(10);
        held.grow(5);
        assert_eq!(gauge.get(), 15);
        let inside = gauge.clone();
        let _ = std::panic::catch_unwind(move || {
            let _one = inside.inc();
            panic!("in the middle of a request");
        });
        assert_eq!(gauge.get(), 15);
        drop(held);
        assert_eq!(gauge.get(), 0);
    }
}
