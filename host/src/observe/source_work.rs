//! The attempts at the events of one source: how they end, how long they take, the last failure,
//! and the state of the source that follows.
//!
//! Not here: the thresholds, which the alerts know.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use weir_core::delivery::Outcome;
use weir_core::name::Target;
use weir_core::time::Timestamp;
use weir_core::word_enum;

use super::notice::cut;
use super::percentiles::percentile;
use super::series::{Counter, DurationHistogram};

word_enum! {
    /// The state of a source.
    SourceState {
        Ok = "ok",
        /// Too many attempts at its events fail.
        Failing = "failing",
        /// It has accepted no request for longer than it should.
        Silent = "silent",
        /// The hub cannot take its messages: there is no connection to its server.
        Disconnected = "disconnected",
    }
}

/// A failed attempt at an event of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceError {
    pub at: Timestamp,
    pub target: Target,
    pub outcome: Outcome,
    pub reason: Option<Box<str>>,
}

/// The attempts at the events of one source.
#[derive(Debug, Default)]
pub struct SourceWork {
    pub(super) processed: Counter,
    pub(super) failed: Counter,
    pub(super) took: DurationHistogram,
    last_error: Mutex<Option<SourceError>>,
    is_failing: AtomicBool,
    is_silent: AtomicBool,
    is_disconnected: AtomicBool,
}

impl SourceWork {
    /// Counts a successful attempt.
    pub fn succeeded(&self, took: Duration) {
        self.processed.inc();
        self.took.observe(took);
    }

    /// Counts a failed attempt.
    pub fn failed(
        &self,
        took: Duration,
        at: Timestamp,
        target: &Target,
        (outcome, reason): (Outcome, Option<&str>),
    ) {
        self.failed.inc();
        self.took.observe(took);
        let reason = reason.map(cut);
        let error = SourceError { at, target: target.clone(), outcome, reason };
        *self.last_error.lock() = Some(error);
    }

    /// Successful and failed attempts.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (self.processed.get(), self.failed.get())
    }

    /// The mean duration of attempts, and the time within which 99 of 100 end.
    #[must_use]
    pub fn durations(&self) -> Option<(Duration, Duration)> {
        Some((self.took.mean()?, percentile(&self.took.counts(), 0.99)?))
    }

    #[must_use]
    pub fn last_error(&self) -> Option<SourceError> {
        self.last_error.lock().clone()
    }

    /// Sets what the thresholds say of the source.
    pub fn judge(&self, is_failing: bool, is_silent: bool) {
        self.is_failing.store(is_failing, Relaxed);
        self.is_silent.store(is_silent, Relaxed);
    }

    /// Sets whether the connection to the server of the source is missing.
    pub fn set_disconnected(&self, is_disconnected: bool) {
        self.is_disconnected.store(is_disconnected, Relaxed);
    }

    /// The state of the source. One that fails and is silent is silent: nothing new comes. One
    /// without its connection is disconnected, which may be why it is silent.
    #[must_use]
    pub fn state(&self) -> SourceState {
        if self.is_disconnected.load(Relaxed) {
            return SourceState::Disconnected;
        }
        match (self.is_silent.load(Relaxed), self.is_failing.load(Relaxed)) {
            (true, _) => SourceState::Silent,
            (false, true) => SourceState::Failing,
            (false, false) => SourceState::Ok,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_tells_its_last_error_and_its_times() {
        let work = SourceWork::default();
        assert_eq!((work.durations(), work.last_error()), (None, None));
        for _ in 0..99 {
            work.succeeded(Duration::from_millis(2));
        }
        let target: Target = "handler:orders".parse().unwrap();
        let at = Timestamp::from_millis(7);
        work.failed(Duration::from_secs(2), at, &target, (Outcome::Reject, Some("no")));
        let (mean, p99) = work.durations().unwrap();
        assert!((21..23).contains(&mean.as_millis()), "{mean:?}");
        assert!(p99 <= Duration::from_micros(2_500) && p99 > Duration::from_millis(1), "{p99:?}");
        assert_eq!(work.counts(), (99, 1));
        assert_eq!(work.last_error().unwrap().outcome, Outcome::Reject);
    }

    #[test]
    fn silence_hides_failures() {
        let work = SourceWork::default();
        assert_eq!(work.state(), SourceState::Ok);
        work.judge(true, false);
        assert_eq!(work.state(), SourceState::Failing);
        work.judge(true, true);
        assert_eq!(work.state(), SourceState::Silent);
        work.set_disconnected(true);
        assert_eq!(work.state(), SourceState::Disconnected);
    }
}
