//! Counters, gauges and histograms: atomics that the hot path changes without a lookup.
//!
//! Not here: names, labels and text.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use weir_core::trace::TraceId;

use crate::runtime::clock;

#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn inc(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Relaxed);
    }

    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Codes with their own counter in one [`CounterByCode`]; further ones share [`OTHER`].
pub const CODES_MAX: usize = 48;

/// The code or name of everything above a limit.
pub const OTHER: &str = "other";

/// Counters by stable code. A code gets its counter at its first use, without a lock.
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
    pub fn inc(&self, code: &'static str) {
        for slot in &self.slots {
            // The loser of a race for an empty slot sees the winner's code and continues.
            let (taken_by, counter) = slot.get_or_init(|| (code, Counter::default()));
            if *taken_by == code {
                return counter.inc();
            }
        }
        self.other.inc();
    }

    /// All codes with their counts.
    pub fn each(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let known = self.slots.iter().map_while(OnceLock::get).map(|(code, n)| (*code, n.get()));
        let other = self.other.get();
        known.chain((other > 0).then_some((OTHER, other)))
    }

    /// The sum of the codes for which `counts` is true.
    pub fn total(&self, counts: impl Fn(&str) -> bool) -> u64 {
        self.each().filter(|(code, _)| counts(code)).map(|(_, n)| n).sum()
    }
}

/// Upper bounds of the buckets, in microseconds: half a millisecond to a minute, for quick answers
/// and slow endpoints.
pub const BUCKETS_US: [u64; 16] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000, 30_000_000, 60_000_000,
];

/// A histogram of durations.
#[derive(Debug, Default)]
pub struct DurationHistogram {
    /// One per bucket, and one for longer durations.
    buckets: [AtomicU64; BUCKETS_US.len() + 1],
    sum_us: AtomicU64,
    /// The newest example of each bucket, once there is one.
    examples: OnceLock<Box<[Mutex<Option<Example>>; BUCKETS_US.len() + 1]>>,
}

/// A duration with the trace that it belongs to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Example {
    pub trace: TraceId,
    pub seconds: f64,
    pub at: SystemTime,
}

impl DurationHistogram {
    pub fn observe(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.buckets[BUCKETS_US.partition_point(|end| *end < us)].fetch_add(1, Relaxed);
        self.sum_us.fetch_add(us, Relaxed);
    }

    /// The count of each bucket of [`BUCKETS_US`], and of longer durations.
    #[must_use]
    pub fn counts(&self) -> Vec<u64> {
        self.buckets.iter().map(|n| n.load(Relaxed)).collect()
    }

    /// Keeps the trace of a duration as the example of its bucket. Does nothing if another thread
    /// is there.
    pub fn example(&self, took: Duration, trace: TraceId) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let examples = self.examples.get_or_init(Box::default);
        if let Some(mut newest) = examples[BUCKETS_US.partition_point(|end| *end < us)].try_lock() {
            *newest = Some(Example { trace, seconds: seconds(us), at: clock::precise() });
        }
    }

    /// The newest example of a bucket.
    #[must_use]
    pub fn example_of(&self, bucket: usize) -> Option<Example> {
        *self.examples.get()?.get(bucket)?.lock()
    }

    /// The mean; none without durations.
    #[must_use]
    pub fn mean(&self) -> Option<Duration> {
        let count: u64 = self.buckets.iter().map(|n| n.load(Relaxed)).sum();
        Some(Duration::from_micros(self.sum_us.load(Relaxed).checked_div(count)?))
    }

    /// The sum in seconds, and per bucket its upper bound in seconds and its count; the last has no
    /// bound.
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
    /// Adds `amount` until the guard is dropped, also after an error or a panic.
    #[must_use = "the amount is taken back when this is dropped"]
    pub fn hold(&self, amount: u64) -> GaugeGuard {
        self.0.fetch_add(amount, Relaxed);
        GaugeGuard { of: self.clone(), amount }
    }

    /// Adds one until the guard is dropped.
    #[must_use = "it is taken back when this is dropped"]
    pub fn inc(&self) -> GaugeGuard {
        self.hold(1)
    }

    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// An amount that a [`Gauge`] contains while this lives.
#[derive(Debug)]
pub struct GaugeGuard {
    of: Gauge,
    amount: u64,
}

impl GaugeGuard {
    /// Adds to the amount.
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
    fn a_duration_counts_in_the_first_sufficient_bucket() {
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
    fn codes_above_the_limit_are_counted_together() {
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
    fn a_new_code_gets_one_counter_for_all_threads() {
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
    fn a_gauge_falls_with_its_guard_even_after_a_panic() {
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
