//! The retry schedule: the wait after each failed attempt, by its number and a random draw. Pure.

use std::time::Duration;

use rand::Rng;
use rand::RngExt as _;
use thiserror::Error;

/// The waits after failed attempts.
#[derive(Debug, Clone, PartialEq)]
pub enum Backoff {
    /// `first`, then `factor` times the wait before, up to `max`.
    Exponential {
        first: Duration,
        /// At least 1.
        factor: f64,
        max: Duration,
    },
    /// One wait for each failure; the last one repeats.
    List(Vec<Duration>),
}

/// The retries of one target.
#[derive(Debug, Clone, PartialEq)]
pub struct RetryPolicy {
    backoff: Backoff,
    max_attempts: u32,
    jitter: f64,
}

/// Values that do not make a policy.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum InvalidRetryPolicy {
    #[error("max_attempts must be at least 1")]
    NoAttempts,
    #[error("factor must be at least 1 and finite, not {0}")]
    Factor(f64),
    #[error("max ({max:?}) is shorter than first ({first:?})")]
    MaxBelowFirst { first: Duration, max: Duration },
    #[error("schedule must list at least one delay")]
    EmptyList,
    #[error("jitter must be between 0 and 1, not {0}")]
    Jitter(f64),
}

impl RetryPolicy {
    /// A policy. `jitter` is the share of each wait that is random: 1 spreads a retry over the
    /// whole wait ("full jitter"), 0 keeps each wait exact.
    pub fn try_new(
        backoff: Backoff,
        max_attempts: u32,
        jitter: f64,
    ) -> Result<Self, InvalidRetryPolicy> {
        match &backoff {
            Backoff::Exponential { factor, .. } if !(factor.is_finite() && *factor >= 1.0) => {
                return Err(InvalidRetryPolicy::Factor(*factor));
            }
            Backoff::Exponential { first, max, .. } if max < first => {
                return Err(InvalidRetryPolicy::MaxBelowFirst { first: *first, max: *max });
            }
            Backoff::List(list) if list.is_empty() => return Err(InvalidRetryPolicy::EmptyList),
            _ => {}
        }
        if max_attempts == 0 {
            return Err(InvalidRetryPolicy::NoAttempts);
        }
        if !(0.0..=1.0).contains(&jitter) {
            return Err(InvalidRetryPolicy::Jitter(jitter));
        }
        Ok(Self { backoff, max_attempts, jitter })
    }

    /// The default for handlers: 8 attempts, 1 s doubling to at most 10 min, half of it jitter.
    #[must_use]
    pub fn for_handlers() -> Self {
        let (first, max) = (Duration::from_secs(1), Duration::from_secs(600));
        Self {
            backoff: Backoff::Exponential { first, factor: 2.0, max },
            max_attempts: 8,
            jitter: 0.5,
        }
    }

    /// The default for destinations: the schedule that Standard Webhooks suggests (5 s, 5 min,
    /// 30 min, 2 h, 5 h, 10 h, 14 h, 20 h, 24 h), a tenth of it jitter.
    #[must_use]
    pub fn for_destinations() -> Self {
        let list = [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400];
        Self {
            backoff: Backoff::List(list.into_iter().map(Duration::from_secs).collect()),
            max_attempts: 10,
            jitter: 0.1,
        }
    }

    /// The same policy with attempts only while the planned waits before them add up to at most
    /// `window`. Only waits count: a hold, an open breaker or a stopped hub takes nothing of it.
    #[must_use]
    pub fn within(mut self, window: Duration) -> Self {
        let mut waited = Duration::ZERO;
        let fits = |attempt: &u32| {
            waited = waited.saturating_add(self.planned(*attempt));
            waited <= window
        };
        let retries = (1..self.max_attempts).take_while(fits).count();
        self.max_attempts = u32::try_from(retries).unwrap_or(u32::MAX).saturating_add(1);
        self
    }

    /// Attempts in total, the first included.
    #[must_use]
    pub fn max_attempts(&self) -> u32 {
        self.max_attempts
    }

    /// The time from the first attempt to the last one, if each wait is as long as planned and the
    /// attempts take no time. The worst case without a `Retry-After`, holds and pauses.
    #[must_use]
    pub fn longest_window(&self) -> Duration {
        let waits = (1..self.max_attempts).map(|attempt| self.planned(attempt));
        waits.fold(Duration::ZERO, Duration::saturating_add)
    }

    /// The same if every answer asks for the longest wait that is honoured.
    #[must_use]
    pub fn longest_window_asked(&self) -> Duration {
        self.longest().saturating_mul(self.max_attempts.saturating_sub(1))
    }

    /// The longest planned wait. A longer `Retry-After` is cut to it.
    #[must_use]
    pub fn longest(&self) -> Duration {
        match &self.backoff {
            Backoff::Exponential { max, .. } => *max,
            Backoff::List(list) => list.iter().copied().max().unwrap_or_default(),
        }
    }

    /// The wait after `attempt` (from 1) failed; none after the last one.
    pub fn delay_after(&self, attempt: u32, random: &mut impl Rng) -> Option<Duration> {
        if attempt >= self.max_attempts {
            return None;
        }
        let planned = self.planned(attempt);
        let fixed = 1.0 - self.jitter;
        Some(planned.mul_f64(fixed + self.jitter * random.random::<f64>()))
    }

    fn planned(&self, attempt: u32) -> Duration {
        let failures = attempt.saturating_sub(1);
        match &self.backoff {
            Backoff::Exponential { first, factor, max } => {
                let power = i32::try_from(failures).unwrap_or(i32::MAX);
                let seconds = first.as_secs_f64() * factor.powi(power);
                if seconds < max.as_secs_f64() { Duration::from_secs_f64(seconds) } else { *max }
            }
            Backoff::List(list) => {
                let last = list.len().saturating_sub(1);
                list.get((failures as usize).min(last)).copied().unwrap_or_default()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    fn exact(first: u64, max: u64, attempts: u32) -> RetryPolicy {
        let (first, max) = (Duration::from_secs(first), Duration::from_secs(max));
        RetryPolicy::try_new(Backoff::Exponential { first, factor: 2.0, max }, attempts, 0.0)
            .unwrap()
    }

    #[test]
    fn waits_double_up_to_the_longest() {
        let policy = exact(1, 5, 5);
        let mut random = StdRng::seed_from_u64(0);
        let waits: Vec<_> = (1..=5).map(|n| policy.delay_after(n, &mut random)).collect();
        let s = |n| Some(Duration::from_secs(n));
        assert_eq!(waits, [s(1), s(2), s(4), s(5), None]);
    }

    #[test]
    fn list_repeats_its_last_wait() {
        let list = Backoff::List(vec![Duration::from_secs(5), Duration::from_secs(60)]);
        let policy = RetryPolicy::try_new(list, 9, 0.0).unwrap();
        let wait = policy.delay_after(7, &mut StdRng::seed_from_u64(0));
        assert_eq!(wait, Some(Duration::from_secs(60)));
    }

    #[test]
    fn window_ends_the_attempts_whose_waits_exceed_it() {
        let secs = Duration::from_secs;
        // Waits of 1, 2, 4, 8 and 16 s.
        let attempts = |window| exact(1, 100, 6).within(secs(window)).max_attempts();
        assert_eq!([0, 1, 2, 3, 7, 30, 31, 900].map(attempts), [1, 2, 2, 3, 4, 5, 6, 6]);
        let policy = exact(1, 100, 6).within(secs(10));
        assert_eq!((policy.longest_window(), policy.longest_window_asked()), (secs(7), secs(300)));
        assert_eq!(policy.delay_after(4, &mut StdRng::seed_from_u64(0)), None);
        let schedule = RetryPolicy::for_destinations();
        assert_eq!(schedule.longest_window(), secs(272_105));
        assert_eq!(exact(1, 1, 1).longest_window(), secs(0));
    }

    #[test]
    fn invalid_policy_is_refused_with_its_reason() {
        let backoff = |first, max| Backoff::Exponential {
            first: Duration::from_secs(first),
            factor: 2.0,
            max: Duration::from_secs(max),
        };
        let error = RetryPolicy::try_new(backoff(10, 5), 3, 0.0).unwrap_err();
        assert!(error.to_string().contains("shorter than first"));
        assert!(RetryPolicy::try_new(backoff(1, 5), 0, 0.0).is_err());
        assert!(RetryPolicy::try_new(backoff(1, 5), 1, 1.5).is_err());
        assert!(RetryPolicy::try_new(Backoff::List(vec![]), 1, 0.0).is_err());
    }

    proptest! {
        #[test]
        fn every_wait_lies_between_its_fixed_share_and_the_plan(
            first in 1u64..10_000, more in 0u64..1_000_000, factor in 1.0f64..10.0,
            attempts in 1u32..200, jitter in 0.0f64..=1.0, attempt in 1u32..200, seed in any::<u64>(),
        ) {
            let max = Duration::from_millis(first + more);
            let first = Duration::from_millis(first);
            let policy = RetryPolicy::try_new(
                Backoff::Exponential { first, factor, max }, attempts, jitter).unwrap();
            match policy.delay_after(attempt, &mut StdRng::seed_from_u64(seed)) {
                None => prop_assert!(attempt >= attempts),
                Some(wait) => {
                    prop_assert!(attempt < attempts && wait <= max);
                    let slack = Duration::from_micros(1);
                    prop_assert!(wait + slack >= first.min(max).mul_f64(1.0 - jitter));
                }
            }
        }
    }
}
