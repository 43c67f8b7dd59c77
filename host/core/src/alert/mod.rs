//! When the hub raises an alert: failure rates, reminders of expiry, repeats joined into one alert,
//! and the budget of alerts per hour. Pure: times are since a fixed moment, by a monotonic clock.
//!
//! `text` puts an alert into words, and `format` makes of it what chat services take.

pub mod format;
pub mod text;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// The types of the hub's own events (source `weir`).
pub const ALERT_TYPES: [&str; 25] = [
    "dead_letter",
    "order.blocked",
    "handler.load_failed",
    "handler.failing",
    "handler.held",
    "handler.released",
    "handler.rolled_back",
    "plugins.away",
    "provider.load_failed",
    "source.unrouted",
    "source.refusing",
    "source.failing",
    "source.shape_changed",
    "source.silent",
    "source.disconnected",
    "source.connected",
    "certificate.expiring",
    "hold.old",
    "destination.failing",
    "destination.ok",
    "store.full",
    "store.has_room",
    "store.over_limit",
    "store.unreadable",
    "store.lost",
];

/// Buckets of a sliding window.
const BUCKETS: u32 = 30;

/// Counts of successes and failures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OutcomeCounts {
    pub good: u64,
    pub bad: u64,
}

impl OutcomeCounts {
    #[must_use]
    pub const fn total(self) -> u64 {
        self.good.saturating_add(self.bad)
    }

    /// The difference to earlier counts of the same numbers, which only rise.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Self {
        Self {
            good: self.good.saturating_sub(earlier.good),
            bad: self.bad.saturating_sub(earlier.bad),
        }
    }

    fn add(&mut self, other: Self) {
        self.good = self.good.saturating_add(other.good);
        self.bad = self.bad.saturating_add(other.bad);
    }

    /// True if at least this share of the total is bad.
    fn is_bad_at_least(self, per_mille: u16) -> bool {
        u128::from(self.bad) * 1_000 >= u128::from(self.total()) * u128::from(per_mille)
    }
}

/// The failure rate at which an alert is raised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailureThreshold {
    /// Length of the sliding window.
    pub window: Duration,
    /// Totals below this are not judged.
    pub at_least: u64,
    /// An alert is raised at this share of failures, and cleared below half of it.
    pub per_mille: u16,
}

/// The failure rate in a sliding window. Raises once, and again only after it was cleared.
#[derive(Debug, Clone, Default)]
pub struct FailureMonitor {
    buckets: VecDeque<(Duration, OutcomeCounts)>,
    sum: OutcomeCounts,
    raised: bool,
}

impl FailureMonitor {
    /// Adds the counts since the last update. Returns the sum of the window if this update raises.
    pub fn update(
        &mut self,
        new: OutcomeCounts,
        threshold: &FailureThreshold,
        now: Duration,
    ) -> Option<OutcomeCounts> {
        let length = threshold.window / BUCKETS;
        while let Some((since, old)) = self.buckets.front().copied()
            && now >= since + length + threshold.window
        {
            self.sum = self.sum.since(old);
            self.buckets.pop_front();
        }
        if new.total() > 0 {
            self.sum.add(new);
            match self.buckets.back_mut() {
                Some((since, last)) if now < *since + length => last.add(new),
                _ => self.buckets.push_back((now, new)),
            }
        }
        let (judged, sum) = (self.sum.total() >= threshold.at_least, self.sum);
        if self.raised {
            let cleared = judged && !sum.is_bad_at_least(threshold.per_mille.div_ceil(2));
            // An empty window clears too.
            self.raised = !(cleared || sum.total() == 0);
            return None;
        }
        self.raised = judged && sum.is_bad_at_least(threshold.per_mille);
        self.raised.then_some(sum)
    }

    /// Empties the window and sets the state.
    pub fn reset(&mut self, raised: bool) {
        *self = Self { raised, ..Self::default() };
    }

    /// True if it was raised and has not been cleared since.
    #[must_use]
    pub const fn is_raised(&self) -> bool {
        self.raised
    }
}

/// A reminder of something that ends at a known time: when the end is near, then once a day.
#[derive(Debug, Clone, Copy, Default)]
pub struct ExpiryReminder {
    not_before: Duration,
}

impl ExpiryReminder {
    /// Time between two reminders.
    pub const EVERY: Duration = Duration::from_secs(24 * 60 * 60);

    /// Takes note of a reminder that was given `ago`.
    pub fn reminded(&mut self, ago: Duration, now: Duration) {
        self.not_before = self.not_before.max((now + Self::EVERY).saturating_sub(ago));
    }

    /// True if a reminder is due for an end that is `left` away; `ahead` counts as near.
    pub fn is_due(&mut self, left: Duration, ahead: Duration, now: Duration) -> bool {
        let due = left <= ahead && now >= self.not_before;
        if due {
            self.reminded(Duration::ZERO, now);
        }
        due
    }
}

/// Joins repeats of one subject: the first passes at once, those within the quiet time after it
/// become one with a count.
#[derive(Debug, Clone)]
pub struct RepeatAggregator<K, T> {
    subjects: BTreeMap<K, SubjectState<T>>,
    subjects_max: usize,
    quiet: Duration,
}

#[derive(Debug, Clone)]
struct SubjectState<T> {
    passed_at: Duration,
    /// The count since then, and the latest.
    since: Option<(u64, T)>,
}

/// The limit of subjects is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooManySubjects;

impl<K: Ord + Clone, T> RepeatAggregator<K, T> {
    /// A subject passes at most once in the time `quiet`.
    #[must_use]
    pub const fn new(subjects_max: usize, quiet: Duration) -> Self {
        Self { subjects: BTreeMap::new(), subjects_max, quiet }
    }

    /// Tells of a subject once in this time at most, from now on.
    pub const fn set_quiet(&mut self, quiet: Duration) {
        self.quiet = quiet;
    }

    /// Forgets what is held back of a subject. True if there was something.
    pub fn cancel(&mut self, subject: &K) -> bool {
        self.subjects.get_mut(subject).is_some_and(|state| state.since.take().is_some())
    }

    /// Adds `count` occurrences of a subject. Returns what passes now, if anything does.
    ///
    /// # Errors
    /// [`TooManySubjects`] if the subject is new and the limit is reached; nothing passes.
    pub fn add(
        &mut self,
        subject: K,
        count: u64,
        latest: T,
        now: Duration,
    ) -> Result<Option<(u64, T)>, TooManySubjects> {
        if let Some(known) = self.subjects.get_mut(&subject) {
            let before = known.since.take().map_or(0, |(count, _)| count);
            known.since = Some((before.saturating_add(count), latest));
            return Ok(None);
        }
        if self.subjects.len() >= self.subjects_max {
            return Err(TooManySubjects);
        }
        self.subjects.insert(subject, SubjectState { passed_at: now, since: None });
        Ok(Some((count, latest)))
    }

    /// Everything that was held back and passes now.
    pub fn due(&mut self, now: Duration) -> Vec<(u64, T)> {
        let (mut due, quiet) = (Vec::new(), self.quiet);
        self.subjects.retain(|_, subject| {
            if now < subject.passed_at + quiet {
                return true;
            }
            let Some(held_back) = subject.since.take() else { return false };
            due.push(held_back);
            subject.passed_at = now;
            true
        });
        due
    }
}

/// A limit on alerts: a burst, refilled over the hour.
#[derive(Debug, Clone)]
pub struct AlertBudget {
    per_hour: u32,
    /// In units of which one alert takes [`AlertBudget::ONE`].
    left: u64,
    at: Duration,
}

impl AlertBudget {
    /// Largest burst.
    pub const AT_ONCE: u32 = 60;
    /// Milliseconds of an hour: each refills as many units as there are alerts in an hour.
    const ONE: u64 = 3_600_000;

    #[must_use]
    pub fn new(per_hour: u32) -> Self {
        Self { per_hour, left: Self::most(per_hour), at: Duration::ZERO }
    }

    fn most(per_hour: u32) -> u64 {
        u64::from(per_hour.min(Self::AT_ONCE)) * Self::ONE
    }

    /// Takes one alert from the budget. False if none is left.
    pub fn take(&mut self, now: Duration) -> bool {
        let waited = crate::time::millis(now.saturating_sub(self.at));
        let refill = waited.saturating_mul(self.per_hour.into());
        self.at = self.at.saturating_add(Duration::from_millis(waited));
        self.left = self.left.saturating_add(refill).min(Self::most(self.per_hour));
        match self.left.checked_sub(Self::ONE) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HALF: FailureThreshold =
        FailureThreshold { window: Duration::from_secs(300), at_least: 10, per_mille: 500 };

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn counts(good: u64, bad: u64) -> OutcomeCounts {
        OutcomeCounts { good, bad }
    }

    #[test]
    fn failures_raise_once_until_cleared() {
        let mut monitor = FailureMonitor::default();
        assert_eq!(monitor.update(counts(0, 9), &HALF, secs(1)), None, "too few to judge");
        assert_eq!(monitor.update(counts(0, 1), &HALF, secs(2)), Some(counts(0, 10)));
        assert_eq!(monitor.update(counts(0, 500), &HALF, secs(3)), None, "raised already");
        assert_eq!(monitor.update(counts(700, 0), &HALF, secs(4)), None, "not cleared yet");
        assert_eq!(monitor.update(counts(0, 700), &HALF, secs(5)), None);
        assert_eq!(monitor.update(counts(9_000, 0), &HALF, secs(6)), None);
        assert!(!monitor.is_raised(), "cleared");
        assert!(monitor.update(counts(0, 90_000), &HALF, secs(7)).is_some(), "raised again");
    }

    #[test]
    fn counts_that_left_the_window_are_not_judged() {
        let mut monitor = FailureMonitor::default();
        assert_eq!(monitor.update(counts(1_000, 0), &HALF, secs(0)), None);
        assert_eq!(monitor.update(counts(0, 20), &HALF, secs(200)), None);
        assert_eq!(monitor.update(counts(0, 0), &HALF, secs(320)), Some(counts(0, 20)));
        assert_eq!(monitor.update(counts(0, 0), &HALF, secs(900)), None);
        assert!(!monitor.is_raised(), "an empty window clears");
    }

    #[test]
    fn monitor_reset_as_raised_is_silent_until_cleared() {
        let mut monitor = FailureMonitor::default();
        monitor.reset(true);
        assert_eq!(monitor.update(counts(0, 50), &HALF, secs(1)), None);
        monitor.reset(false);
        assert!(monitor.update(counts(0, 50), &HALF, secs(2)).is_some());
    }

    #[test]
    fn first_passes_at_once_and_repeats_of_a_minute_together() {
        let mut repeats = RepeatAggregator::new(2, secs(60));
        assert_eq!(repeats.add("a", 1, 'x', secs(0)), Ok(Some((1, 'x'))));
        assert_eq!(repeats.add("a", 3, 'y', secs(1)), Ok(None));
        assert_eq!(repeats.add("b", 1, 'b', secs(2)), Ok(Some((1, 'b'))));
        assert_eq!(repeats.add("a", 4, 'z', secs(59)), Ok(None));
        assert_eq!(repeats.add("c", 1, 'c', secs(59)), Err(TooManySubjects));
        assert_eq!(repeats.due(secs(59)), []);
        assert_eq!(repeats.due(secs(60)), [(7, 'z')]);
        assert_eq!(repeats.add("a", 1, 'w', secs(61)), Ok(None), "a new minute began");
        assert_eq!(repeats.due(secs(120)), [(1, 'w')]);
        assert_eq!(repeats.due(secs(180)), [], "forgotten after a minute without repeats");
        assert_eq!(repeats.add("c", 2, 'c', secs(181)), Ok(Some((2, 'c'))));
        assert!(!repeats.cancel(&"c") && !repeats.cancel(&"z"), "nothing is held back");
        assert_eq!(repeats.add("c", 2, 'd', secs(182)), Ok(None));
        assert!(repeats.cancel(&"c"));
        assert_eq!(repeats.due(secs(300)), []);
    }

    #[test]
    fn budget_is_spent_and_refilled_over_the_hour() {
        let mut budget = AlertBudget::new(600);
        let at_once = (0..1_000).filter(|_| budget.take(secs(0))).count();
        assert_eq!(at_once, 60);
        assert!(!budget.take(secs(5)) && budget.take(secs(6)) && !budget.take(secs(6)));
        assert!(!AlertBudget::new(0).take(secs(100_000)));
    }

    proptest! {
        #[test]
        fn no_hour_exceeds_the_budget_plus_a_burst(
            per_hour in 0_u32..2_000,
            waits in prop::collection::vec(0_u64..5_000, 1..2_000),
        ) {
            let mut budget = AlertBudget::new(per_hour);
            let (mut now, mut taken) = (0, 0_u64);
            for wait in waits {
                now += wait;
                taken += u64::from(budget.take(Duration::from_millis(now)));
            }
            let burst = u64::from(per_hour.min(AlertBudget::AT_ONCE));
            let most = u64::from(per_hour) * now / 3_600_000 + burst;
            prop_assert!(taken <= most, "{taken} of {most}");
        }

        #[test]
        fn sum_of_a_window_is_that_of_its_buckets(
            looks in prop::collection::vec((0_u64..40, 0_u64..9, 0_u64..9), 1..200),
        ) {
            let (mut monitor, mut now) = (FailureMonitor::default(), 0);
            for (wait, good, bad) in looks {
                now += wait;
                monitor.update(counts(good, bad), &HALF, secs(now));
                let mut sum = OutcomeCounts::default();
                monitor.buckets.iter().for_each(|(_, bucket)| sum.add(*bucket));
                prop_assert_eq!(sum, monitor.sum);
                prop_assert!(monitor.buckets.len() <= BUCKETS as usize + 2);
            }
        }
    }

    #[test]
    fn expiry_is_reminded_of_once_a_day() {
        let (hour, day) = (Duration::from_secs(3_600), ExpiryReminder::EVERY);
        let mut expiry = ExpiryReminder::default();
        assert!(!expiry.is_due(15 * day, 14 * day, hour));
        assert!(expiry.is_due(14 * day, 14 * day, 24 * hour));
        assert!(!expiry.is_due(13 * day, 14 * day, 47 * hour));
        assert!(expiry.is_due(Duration::ZERO, 14 * day, 48 * hour), "also after the end");
        assert!(!expiry.is_due(Duration::ZERO, 14 * day, 71 * hour));
        // After a restart of the hub, time starts from zero.
        let mut expiry = ExpiryReminder::default();
        expiry.reminded(20 * hour, Duration::ZERO);
        expiry.reminded(100 * hour, Duration::ZERO);
        assert!(!expiry.is_due(day, 14 * day, 3 * hour));
        assert!(expiry.is_due(day, 14 * day, 4 * hour));
    }
}
