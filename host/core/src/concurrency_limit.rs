//! The concurrency limit of a destination that reports overload. Pure.
//!
//! The limit is halved at an overload, once for all sends that were under way together, and grows
//! by one with each successful send. A limit of one is not halved: pauses take its place, each
//! twice as long as the one before. A wait that the endpoint asks for pauses all sends.

use std::time::Duration;

use crate::time::Timestamp;

/// The first pause at a limit of one.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
/// The maximum pause, asked for or not: after it, the next response tells more.
const PAUSE_MAX: Duration = Duration::from_secs(300);

/// The concurrency limit of one destination.
#[derive(Debug, Clone)]
pub struct ConcurrencyLimit {
    most: usize,
    places: usize,
    /// The length of the next pause.
    pause: Duration,
    until: Timestamp,
    /// The last time the limit was lowered or a pause began: sends that started before it have been
    /// counted.
    lowered_at: Timestamp,
}

impl ConcurrencyLimit {
    /// Starts with the full limit, at least one.
    #[must_use]
    pub fn new(most: usize) -> Self {
        let most = most.max(1);
        let never = Timestamp::from_millis(0);
        Self { most, places: most, pause: PAUSE_FIRST, until: never, lowered_at: never }
    }

    /// The number of sends that may be under way at `now`.
    #[must_use]
    pub fn places(&self, now: Timestamp) -> usize {
        if self.paused_until(now).is_some() { 0 } else { self.places }
    }

    /// The end of the current pause. An end beyond the maximum pause means that the clock was set
    /// back.
    #[must_use]
    pub fn paused_until(&self, now: Timestamp) -> Option<Timestamp> {
        (self.until > now && self.until.since(now) <= PAUSE_MAX).then_some(self.until)
    }

    /// Records that the send that started at `started_at` met an overload, perhaps with a wait that
    /// the endpoint asks for.
    pub fn slowed(&mut self, started_at: Timestamp, asked: Option<Duration>, now: Timestamp) {
        let mut pause = asked.unwrap_or_default();
        if started_at >= self.lowered_at {
            if self.places > 1 {
                self.places /= 2;
            } else {
                pause = pause.max(self.pause);
                self.pause = (self.pause * 2).min(PAUSE_MAX);
            }
            // Later than any send that started in the same millisecond.
            self.lowered_at = now.after(Duration::from_millis(1));
        }
        if !pause.is_zero() {
            let until = now.after(pause.min(PAUSE_MAX));
            self.until =
                if self.paused_until(now).is_some() { self.until.max(until) } else { until };
        }
    }

    /// Records a successful send.
    pub fn on_success(&mut self) {
        self.places = self.places.saturating_add(1).min(self.most);
        self.pause = PAUSE_FIRST;
    }

    /// Starts again with one, as for an endpoint that has just come back.
    pub fn restart_at_one(&mut self) {
        *self = Self { places: 1, ..Self::new(self.most) };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_millis(1_000_000 + ms)
    }

    const fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn sends_under_way_together_halve_the_limit_once() {
        let mut throttle = ConcurrencyLimit::new(16);
        for _ in 0..16 {
            throttle.slowed(at(0), None, at(50));
        }
        assert_eq!(throttle.places(at(50)), 8);
        throttle.slowed(at(60), None, at(90));
        assert_eq!(throttle.places(at(90)), 4);
    }

    #[test]
    fn successes_restore_the_limit_one_by_one() {
        let mut throttle = ConcurrencyLimit::new(4);
        throttle.slowed(at(0), None, at(1));
        for places in [3, 4, 4] {
            throttle.on_success();
            assert_eq!(throttle.places(at(1)), places);
        }
        throttle.restart_at_one();
        assert_eq!(throttle.places(at(1)), 1);
    }

    #[test]
    fn pauses_double_until_a_success() {
        let mut throttle = ConcurrencyLimit::new(1);
        let mut now = 0;
        for pause in [1_000, 2_000, 4_000] {
            throttle.slowed(at(now), None, at(now));
            assert_eq!(throttle.places(at(now + pause - 1)), 0);
            assert_eq!(throttle.places(at(now + pause)), 1);
            now += pause;
        }
        throttle.on_success();
        throttle.slowed(at(now), None, at(now));
        assert_eq!(throttle.paused_until(at(now)), Some(at(now + 1_000)));
    }

    #[test]
    fn a_requested_wait_pauses_all_sends_for_a_limited_time() {
        let mut throttle = ConcurrencyLimit::new(8);
        throttle.slowed(at(0), Some(secs(30)), at(1));
        throttle.slowed(at(0), Some(secs(5)), at(2));
        assert_eq!(throttle.paused_until(at(2)), Some(at(30_001)));
        assert_eq!(throttle.places(at(30_001)), 4);
        throttle.slowed(at(40_000), Some(secs(999_999)), at(40_000));
        assert_eq!(throttle.paused_until(at(40_000)), Some(at(40_000).after(PAUSE_MAX)));
    }

    #[test]
    fn a_clock_that_was_set_back_ends_a_pause() {
        let mut throttle = ConcurrencyLimit::new(1);
        throttle.slowed(at(900_000), Some(secs(10)), at(900_000));
        assert_eq!(throttle.places(at(0)), 1);
    }

    proptest! {
        #[test]
        fn a_pause_always_ends(
            most in 1_usize..100,
            steps in prop::collection::vec((any::<bool>(), 0_u64..5_000, 0_u64..9_000), 0..100),
        ) {
            let (mut throttle, mut now) = (ConcurrencyLimit::new(most), 0);
            for (well, wait, asked) in steps {
                if well {
                    throttle.on_success();
                } else {
                    throttle.slowed(at(now), Some(Duration::from_millis(asked)), at(now));
                }
                now += wait;
                prop_assert!(throttle.places(at(now)) <= most);
                let later = at(now).after(PAUSE_MAX);
                prop_assert!((1..=most).contains(&throttle.places(later)));
            }
        }
    }
}
