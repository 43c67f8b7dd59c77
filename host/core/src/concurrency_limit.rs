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
    max: usize,
    current: usize,
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
    pub fn new(max: usize) -> Self {
        let max = max.max(1);
        let never = Timestamp::from_millis(0);
        Self { max, current: max, pause: PAUSE_FIRST, until: never, lowered_at: never }
    }

    /// The number of sends that may be under way at `now`.
    #[must_use]
    pub fn permits(&self, now: Timestamp) -> usize {
        if self.paused_until(now).is_some() { 0 } else { self.current }
    }

    /// The end of the current pause. An end beyond the maximum pause means that the clock was set
    /// back.
    #[must_use]
    pub fn paused_until(&self, now: Timestamp) -> Option<Timestamp> {
        (self.until > now && self.until.since(now) <= PAUSE_MAX).then_some(self.until)
    }

    /// Records that the send that started at `started_at` met an overload, perhaps with a wait that
    /// the endpoint asks for.
    pub fn on_overload(&mut self, started_at: Timestamp, asked: Option<Duration>, now: Timestamp) {
        let mut pause = asked.unwrap_or_default();
        if started_at >= self.lowered_at {
            if self.current > 1 {
                self.current /= 2;
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
        self.current = self.current.saturating_add(1).min(self.max);
        self.pause = PAUSE_FIRST;
    }

    /// Starts again with one, as for an endpoint that has just come back.
    pub fn restart_at_one(&mut self) {
        *self = Self { current: 1, ..Self::new(self.max) };
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
        let mut limit = ConcurrencyLimit::new(16);
        for _ in 0..16 {
            limit.on_overload(at(0), None, at(50));
        }
        assert_eq!(limit.permits(at(50)), 8);
        limit.on_overload(at(60), None, at(90));
        assert_eq!(limit.permits(at(90)), 4);
    }

    #[test]
    fn successes_restore_the_limit_one_by_one() {
        let mut limit = ConcurrencyLimit::new(4);
        limit.on_overload(at(0), None, at(1));
        for expected in [3, 4, 4] {
            limit.on_success();
            assert_eq!(limit.permits(at(1)), expected);
        }
        limit.restart_at_one();
        assert_eq!(limit.permits(at(1)), 1);
    }

    #[test]
    fn pauses_double_until_a_success() {
        let mut limit = ConcurrencyLimit::new(1);
        let mut now = 0;
        for pause in [1_000, 2_000, 4_000] {
            limit.on_overload(at(now), None, at(now));
            assert_eq!(limit.permits(at(now + pause - 1)), 0);
            assert_eq!(limit.permits(at(now + pause)), 1);
            now += pause;
        }
        limit.on_success();
        limit.on_overload(at(now), None, at(now));
        assert_eq!(limit.paused_until(at(now)), Some(at(now + 1_000)));
    }

    #[test]
    fn a_requested_wait_pauses_all_sends_for_a_limited_time() {
        let mut limit = ConcurrencyLimit::new(8);
        limit.on_overload(at(0), Some(secs(30)), at(1));
        limit.on_overload(at(0), Some(secs(5)), at(2));
        assert_eq!(limit.paused_until(at(2)), Some(at(30_001)));
        assert_eq!(limit.permits(at(30_001)), 4);
        limit.on_overload(at(40_000), Some(secs(999_999)), at(40_000));
        assert_eq!(limit.paused_until(at(40_000)), Some(at(40_000).after(PAUSE_MAX)));
    }

    #[test]
    fn a_clock_that_was_set_back_ends_a_pause() {
        let mut limit = ConcurrencyLimit::new(1);
        limit.on_overload(at(900_000), Some(secs(10)), at(900_000));
        assert_eq!(limit.permits(at(0)), 1);
    }

    proptest! {
        #[test]
        fn a_pause_always_ends(
            max in 1_usize..100,
            steps in prop::collection::vec((any::<bool>(), 0_u64..5_000, 0_u64..9_000), 0..100),
        ) {
            let (mut limit, mut now) = (ConcurrencyLimit::new(max), 0);
            for (well, wait, asked) in steps {
                if well {
                    limit.on_success();
                } else {
                    limit.on_overload(at(now), Some(Duration::from_millis(asked)), at(now));
                }
                now += wait;
                prop_assert!(limit.permits(at(now)) <= max);
                let later = at(now).after(PAUSE_MAX);
                prop_assert!((1..=max).contains(&limit.permits(later)));
            }
        }
    }
}
