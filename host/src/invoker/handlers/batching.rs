//! The number of events of one handler to claim and run at a time. Pure: from its runs so far,
//! to numbers.
//!
//! A batch is worth a few milliseconds of runs. So a quick handler needs few claims and commits,
//! and no event waits long behind a slow handler's others. Runs of one handler conflict if one
//! reads state that another writes; the more they do, the fewer claims the handler gets, down to
//! one.

use std::time::Duration;

/// The run time that a batch should be worth.
const BATCH_TIME_US: f64 = 2_000.0;
/// The most claims in a batch.
const BATCH_MAX: f64 = 64.0;
/// The most claims of a handler that are neither settled nor given back.
const CLAIMS_MAX: f64 = 1_024.0;
/// The most bytes of events in those claims, about.
const BYTES_MAX: usize = 64 * 1024 * 1024;
/// The most processor time of a quick handler's runs, on average.
const QUICK_US: f64 = 20_000.0;
/// The least processor time of a slow handler's runs, on average.
const SLOW_US: f64 = 250_000.0;
/// The weight of the newest run in the averages.
const NEWEST: f64 = 0.2;
/// The share of settled claims by which the limit of claims grows.
const GROWTH: f64 = 0.125;

/// The class of a handler by its latest runs, from cheap to expensive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum RunClass {
    Quick,
    /// Neither quick nor slow, or no run has ended yet.
    Ordinary,
    Slow,
    /// The last run was stopped at its deadline.
    Stuck,
}

/// Averages over the runs of one handler.
#[derive(Debug, Clone)]
pub(crate) struct Batching {
    run_us: f64,
    core_us: f64,
    claims: f64,
    event_bytes: f64,
    last: LastRun,
}

/// One finished run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RunSample {
    /// Wall-clock time.
    pub(crate) took: Duration,
    /// Processor time.
    pub(crate) core: Duration,
    pub(crate) event_bytes: usize,
    /// True if it was stopped at its deadline.
    pub(crate) stopped: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LastRun {
    None,
    Ended,
    Stopped,
}

impl Default for Batching {
    /// One event in a batch until a run has ended.
    fn default() -> Self {
        Self {
            run_us: BATCH_TIME_US,
            core_us: 0.0,
            claims: CLAIMS_MAX,
            event_bytes: 1.0,
            last: LastRun::None,
        }
    }
}

impl Batching {
    /// Takes a finished run into account.
    pub(crate) fn add(&mut self, run: RunSample) {
        let RunSample { took, core, event_bytes, stopped } = run;
        self.last = if stopped { LastRun::Stopped } else { LastRun::Ended };
        self.core_us += (core.as_secs_f64() * 1e6 - self.core_us) * NEWEST;
        let us = took.as_secs_f64() * 1e6;
        self.run_us += (us - self.run_us) * NEWEST;
        #[expect(clippy::cast_precision_loss, reason = "a size in memory is far below 2^52")]
        let bytes = event_bytes as f64;
        // Grows at once and falls slowly, because it bounds memory.
        self.event_bytes = bytes.max(self.event_bytes * 0.95);
    }

    /// Takes a settled batch into account: claims that were settled, and claims whose reads were
    /// out of date.
    pub(crate) fn settled(&mut self, settled: usize, conflicts: usize) {
        let (settled, conflicts) = (float(settled), float(conflicts));
        if conflicts > 0.0 {
            self.claims *= 1.0 - 0.5 * conflicts / (settled + conflicts);
        }
        self.claims = (self.claims + settled * GROWTH).clamp(1.0, CLAIMS_MAX);
    }

    pub(crate) fn run_class(&self) -> RunClass {
        match self.last {
            LastRun::Stopped => RunClass::Stuck,
            LastRun::Ended if self.core_us <= QUICK_US => RunClass::Quick,
            LastRun::Ended if self.core_us > SLOW_US => RunClass::Slow,
            LastRun::Ended | LastRun::None => RunClass::Ordinary,
        }
    }

    /// The claims to run in one batch.
    pub(crate) fn batch_size(&self) -> usize {
        whole((BATCH_TIME_US / self.run_us.max(1.0)).clamp(1.0, BATCH_MAX))
    }

    /// The most claims that may be neither settled nor given back.
    pub(crate) fn claims_max(&self) -> usize {
        let fitting = BYTES_MAX / whole(self.event_bytes.max(1.0));
        whole(self.claims).min(fitting).max(1)
    }
}

fn float(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to between 1 and the size of memory"
)]
fn whole(number: f64) -> usize {
    number as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(took: Duration, event_bytes: usize) -> RunSample {
        RunSample { took, core: took, event_bytes, stopped: false }
    }

    #[test]
    fn batches_are_large_for_quick_handlers_and_single_for_slow_ones() {
        let mut batching = Batching::default();
        assert_eq!(batching.batch_size(), 1);
        for _ in 0..50 {
            batching.add(sample(Duration::from_micros(50), 2_000));
        }
        assert!((30..=64).contains(&batching.batch_size()), "{}", batching.batch_size());
        for _ in 0..50 {
            batching.add(sample(Duration::from_secs(2), 2_000));
        }
        assert_eq!(batching.batch_size(), 1);
    }

    #[test]
    fn the_run_class_follows_the_last_runs() {
        let mut batching = Batching::default();
        assert_eq!(batching.run_class(), RunClass::Ordinary);
        let ran = |batching: &mut Batching, ms, stopped| {
            batching.add(RunSample { stopped, ..sample(Duration::from_millis(ms), 2_000) });
            batching.run_class()
        };
        assert_eq!(ran(&mut batching, 1, false), RunClass::Quick);
        assert_eq!(ran(&mut batching, 5_000, true), RunClass::Stuck);
        assert_eq!(ran(&mut batching, 1, false), RunClass::Slow);
        for _ in 0..7 {
            ran(&mut batching, 1, false);
        }
        assert_eq!(batching.run_class(), RunClass::Ordinary);
        for _ in 0..20 {
            ran(&mut batching, 1, false);
        }
        assert_eq!(batching.run_class(), RunClass::Quick);
        assert_eq!(ran(&mut batching, 2_000, false), RunClass::Slow);
    }

    #[test]
    fn waiting_for_a_core_does_not_make_a_handler_slow() {
        let mut batching = Batching::default();
        for _ in 0..20 {
            let core = Duration::from_millis(1);
            batching.add(RunSample { core, ..sample(Duration::from_secs(1), 2_000) });
        }
        assert_eq!(batching.run_class(), RunClass::Quick);
    }

    #[test]
    fn constant_conflicts_leave_one_or_two_claims() {
        let mut batching = Batching::default();
        for _ in 0..200 {
            let claims = batching.claims_max();
            batching.settled(1, claims - 1);
        }
        assert!(batching.claims_max() <= 2, "{}", batching.claims_max());
    }

    #[test]
    fn a_few_conflicts_among_many_runs_do_not_slow_down() {
        let mut batching = Batching { claims: 40.0, ..Batching::default() };
        for _ in 0..100 {
            let conflicts = batching.claims_max() / 20;
            batching.settled(batching.claims_max() - conflicts, conflicts);
        }
        assert!(batching.claims_max() > 1_000, "{}", batching.claims_max());
    }

    #[test]
    fn the_limit_of_claims_rises_when_conflicts_end() {
        let mut batching = Batching::default();
        for _ in 0..50 {
            batching.settled(0, 10);
        }
        assert_eq!(batching.claims_max(), 1);
        for _ in 0..100 {
            let claims = batching.claims_max();
            batching.settled(claims, 0);
        }
        assert_eq!(batching.claims_max(), 1_024);
    }

    #[test]
    fn large_events_are_claimed_a_few_at_a_time() {
        let mut batching = Batching::default();
        batching.add(sample(Duration::from_millis(1), 25 * 1024 * 1024));
        assert_eq!(batching.claims_max(), 2);
        for _ in 0..500 {
            batching.add(sample(Duration::from_millis(1), 2_000));
        }
        assert_eq!(batching.claims_max(), 1_024);
    }
}
