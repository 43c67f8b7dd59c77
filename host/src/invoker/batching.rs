//! How much of one handler's work to take at once. Pure: what happened so far, to a number.
//!
//! Claims are made in batches worth a few milliseconds, so that a quick handler costs few claims and commits and
//! a slow one keeps nothing waiting behind it. Runs of one handler that read what others of them write conflict;
//! the more they do, the fewer are taken on at a time, down to one.

use std::time::Duration;

use super::slots::RunClass;

/// What one batch should take to run.
const BATCH_TIME_US: f64 = 2_000.0;
/// Claims in a batch, whatever they take.
const BATCH_MAX: f64 = 64.0;
/// Claims in hand: being run, or waiting to be settled.
const WINDOW_MAX: f64 = 1_024.0;
/// Bytes of the events in hand, about.
const BYTES_MAX: usize = 64 * 1024 * 1024;
/// A handler whose runs have a core for longer, on average, is not quick.
const QUICK_US: f64 = 20_000.0;
/// A handler whose runs have a core for longer, on average, is slow.
const SLOW_US: f64 = 250_000.0;
/// The weight of the newest run in the average.
const NEWEST: f64 = 0.2;
/// How much of what went well is added to the window.
const GROWTH: f64 = 0.125;

/// The pace of one handler.
#[derive(Debug, Clone)]
pub(crate) struct Batching {
    run_us: f64,
    core_us: f64,
    window: f64,
    event_bytes: f64,
    last: Last,
}

/// A run that has ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RunSample {
    /// How long it took.
    pub(crate) took: Duration,
    /// For how much of that it had a core.
    pub(crate) core: Duration,
    /// The size of its event.
    pub(crate) event_bytes: usize,
    /// Whether it was stopped at its deadline, and did not end by itself.
    pub(crate) stopped: bool,
}

/// How the last run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    None,
    ByItself,
    AtItsDeadline,
}

impl Default for Batching {
    /// Careful until something is known.
    fn default() -> Self {
        Self {
            run_us: BATCH_TIME_US,
            core_us: 0.0,
            window: WINDOW_MAX,
            event_bytes: 1.0,
            last: Last::None,
        }
    }
}

impl Batching {
    /// A run of an event of this size has ended.
    pub(crate) fn ran(&mut self, ran: RunSample) {
        let RunSample { took, core, event_bytes, stopped } = ran;
        self.last = if stopped { Last::AtItsDeadline } else { Last::ByItself };
        self.core_us += (core.as_secs_f64() * 1e6 - self.core_us) * NEWEST;
        let us = took.as_secs_f64() * 1e6;
        self.run_us += (us - self.run_us) * NEWEST;
        #[expect(clippy::cast_precision_loss, reason = "a size in memory is far below 2^52")]
        let bytes = event_bytes as f64;
        // Up at once, down slowly: it guards memory.
        self.event_bytes = bytes.max(self.event_bytes * 0.95);
    }

    /// So many settled well, and so many were found to have read what has changed.
    pub(crate) fn settled(&mut self, well: usize, conflicts: usize) {
        let (well, conflicts) = (share(well), share(conflicts));
        if conflicts > 0.0 {
            self.window *= 1.0 - 0.5 * conflicts / (well + conflicts);
        }
        self.window = (self.window + well * GROWTH).clamp(1.0, WINDOW_MAX);
    }

    /// What its runs are like.
    pub(crate) fn run_class(&self) -> RunClass {
        match self.last {
            Last::AtItsDeadline => RunClass::Stuck,
            Last::ByItself if self.core_us <= QUICK_US => RunClass::Quick,
            Last::ByItself if self.core_us > SLOW_US => RunClass::Slow,
            Last::ByItself | Last::None => RunClass::Ordinary,
        }
    }

    /// How many claims to run one after another.
    pub(crate) fn batch(&self) -> usize {
        whole((BATCH_TIME_US / self.run_us.max(1.0)).clamp(1.0, BATCH_MAX))
    }

    /// How many claims may be in hand.
    pub(crate) fn window(&self) -> usize {
        let fitting = BYTES_MAX / whole(self.event_bytes.max(1.0));
        whole(self.window).min(fitting).max(1)
    }
}

fn share(count: usize) -> f64 {
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

    fn ran(took: Duration, event_bytes: usize) -> RunSample {
        RunSample { took, core: took, event_bytes, stopped: false }
    }

    #[test]
    fn a_quick_handler_gets_large_batches_and_a_slow_one_single_events() {
        let mut batching = Batching::default();
        assert_eq!(batching.batch(), 1);
        for _ in 0..50 {
            batching.ran(ran(Duration::from_micros(50), 2_000));
        }
        assert!((30..=64).contains(&batching.batch()), "{}", batching.batch());
        for _ in 0..50 {
            batching.ran(ran(Duration::from_secs(2), 2_000));
        }
        assert_eq!(batching.batch(), 1);
    }

    #[test]
    fn manners_follow_what_the_last_runs_did() {
        let mut batching = Batching::default();
        assert_eq!(batching.run_class(), RunClass::Ordinary);
        let ran = |batching: &mut Batching, ms, stopped| {
            batching.ran(RunSample { stopped, ..ran(Duration::from_millis(ms), 2_000) });
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
    fn who_had_to_wait_for_a_core_is_not_slow() {
        let mut batching = Batching::default();
        for _ in 0..20 {
            let core = Duration::from_millis(1);
            batching.ran(RunSample { core, ..ran(Duration::from_secs(1), 2_000) });
        }
        assert_eq!(batching.run_class(), RunClass::Quick);
    }

    #[test]
    fn runs_that_always_conflict_are_soon_taken_on_one_or_two_at_a_time() {
        let mut batching = Batching::default();
        for _ in 0..200 {
            let taken = batching.window();
            batching.settled(1, taken - 1);
        }
        assert!(batching.window() <= 2, "{}", batching.window());
    }

    #[test]
    fn a_few_conflicts_among_many_runs_slow_nothing_down() {
        let mut batching = Batching { window: 40.0, ..Batching::default() };
        for _ in 0..100 {
            let conflicts = batching.window() / 20;
            batching.settled(batching.window() - conflicts, conflicts);
        }
        assert!(batching.window() > 1_000, "{}", batching.window());
    }

    #[test]
    fn the_window_opens_again_when_conflicts_end() {
        let mut batching = Batching::default();
        for _ in 0..50 {
            batching.settled(0, 10);
        }
        assert_eq!(batching.window(), 1);
        for _ in 0..100 {
            let taken = batching.window();
            batching.settled(taken, 0);
        }
        assert_eq!(batching.window(), 1_024);
    }

    #[test]
    fn large_events_are_taken_on_a_few_at_a_time() {
        let mut batching = Batching::default();
        batching.ran(ran(Duration::from_millis(1), 25 * 1024 * 1024));
        assert_eq!(batching.window(), 2);
        for _ in 0..500 {
            batching.ran(ran(Duration::from_millis(1), 2_000));
        }
        assert_eq!(batching.window(), 1_024);
    }
}
