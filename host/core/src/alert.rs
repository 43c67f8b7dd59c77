//! When the hub tells of itself: how many failures are too many, how often the same thing is told, how much in all.
//!
//! Times are since any fixed moment, by a clock that no one sets.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// What the hub tells of: the types of the events of its source.
pub const ALERT_TYPES: [&str; 18] = [
    "dead_letter",
    "handler.load_failed",
    "handler.failing",
    "handler.held",
    "handler.released",
    "plugins.away",
    "provider.load_failed",
    "source.unrouted",
    "source.refusing",
    "source.silent",
    "certificate.expiring",
    "hold.old",
    "destination.failing",
    "destination.ok",
    "store.full",
    "store.has_room",
    "store.unreadable",
    "store.lost",
];

/// Pieces that a window is kept in: as exact as the judgement on it.
const BUCKETS: u32 = 30;

/// How much of something went well and how much did not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OutcomeCounts {
    /// Went well.
    pub good: u64,
    /// Did not.
    pub bad: u64,
}

impl OutcomeCounts {
    /// All of it.
    #[must_use]
    pub const fn total(self) -> u64 {
        self.good.saturating_add(self.bad)
    }

    /// What came since an earlier tally of the same numbers, which only rise.
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

    /// Whether so many in a thousand or more were bad.
    fn is_at_least(self, per_mille: u16) -> bool {
        u128::from(self.bad) * 1_000 >= u128::from(self.total()) * u128::from(per_mille)
    }
}

/// What is too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailureThreshold {
    /// How far back is looked.
    pub window: Duration,
    /// Fewer than so many are not judged.
    pub at_least: u64,
    /// So many in a thousand are too many; half of that is few enough again.
    pub per_mille: u16,
}

/// The share of failures in a sliding window, told once when it becomes too much, and not again before it was well.
#[derive(Debug, Clone, Default)]
pub struct FailureMonitor {
    pieces: VecDeque<(Duration, OutcomeCounts)>,
    sum: OutcomeCounts,
    raised: bool,
}

impl FailureMonitor {
    /// Takes in what happened since the last look. The tally of the window if it has just become too much.
    pub fn look(
        &mut self,
        came: OutcomeCounts,
        too_much: &FailureThreshold,
        now: Duration,
    ) -> Option<OutcomeCounts> {
        let piece = too_much.window / BUCKETS;
        while let Some((since, old)) = self.pieces.front().copied()
            && now >= since + piece + too_much.window
        {
            self.sum = self.sum.since(old);
            self.pieces.pop_front();
        }
        if came.total() > 0 {
            self.sum.add(came);
            match self.pieces.back_mut() {
                Some((since, last)) if now < *since + piece => last.add(came),
                _ => self.pieces.push_back((now, came)),
            }
        }
        let (judged, sum) = (self.sum.total() >= too_much.at_least, self.sum);
        if self.raised {
            // With nothing left to judge by, what comes next is judged anew.
            let well = judged && !sum.is_at_least(too_much.per_mille.div_ceil(2));
            self.raised = !(well || sum.total() == 0);
            return None;
        }
        self.raised = judged && sum.is_at_least(too_much.per_mille);
        self.raised.then_some(sum)
    }

    /// Begins anew, with nothing seen: as one that was told of, or not.
    pub fn restart(&mut self, told: bool) {
        *self = Self { raised: told, ..Self::default() };
    }

    /// Whether it was told of and has not been well since.
    #[must_use]
    pub const fn is_raised(&self) -> bool {
        self.raised
    }
}

/// Something that ends at a known time, told of when that is near, and then once a day.
#[derive(Debug, Clone, Copy, Default)]
pub struct ExpiryReminder {
    /// When it may be told again.
    again_at: Duration,
}

impl ExpiryReminder {
    /// Between two tellings.
    pub const EVERY: Duration = Duration::from_secs(24 * 60 * 60);

    /// It was told so long before now.
    pub fn was_told(&mut self, ago: Duration, now: Duration) {
        self.again_at = self.again_at.max((now + Self::EVERY).saturating_sub(ago));
    }

    /// Whether to tell now of what ends at a time that is `left` away, if `ahead` is near.
    pub fn look(&mut self, left: Duration, ahead: Duration, now: Duration) -> bool {
        let tell = left <= ahead && now >= self.again_at;
        if tell {
            self.was_told(Duration::ZERO, now);
        }
        tell
    }
}

/// The same thing told again and again becomes one telling with a count: the first at once, those that follow it
/// within [`RepeatAggregator::EVERY`] together at its end.
#[derive(Debug, Clone)]
pub struct RepeatAggregator<K, T> {
    subjects: BTreeMap<K, Subject<T>>,
    subjects_max: usize,
}

#[derive(Debug, Clone)]
struct Subject<T> {
    at: Duration,
    /// How many since, and the latest.
    since: Option<(u64, T)>,
}

/// A telling that is not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooManySubjects;

impl<K: Ord + Clone, T> RepeatAggregator<K, T> {
    /// Each thing is told at most once in so long.
    pub const EVERY: Duration = Duration::from_secs(60);

    /// Keeps account of at most so many things at once.
    #[must_use]
    pub const fn new(subjects_max: usize) -> Self {
        Self { subjects: BTreeMap::new(), subjects_max }
    }

    /// Something happened `count` times. What is to be told of it now, if anything.
    ///
    /// # Errors
    /// [`TooManySubjects`] when account is kept of as many things as may be; it is not told.
    pub fn happened(
        &mut self,
        subject: K,
        count: u64,
        latest: T,
        now: Duration,
    ) -> Result<Option<(u64, T)>, TooManySubjects> {
        if let Some(told) = self.subjects.get_mut(&subject) {
            let before = told.since.take().map_or(0, |(count, _)| count);
            told.since = Some((before.saturating_add(count), latest));
            return Ok(None);
        }
        if self.subjects.len() >= self.subjects_max {
            return Err(TooManySubjects);
        }
        self.subjects.insert(subject, Subject { at: now, since: None });
        Ok(Some((count, latest)))
    }

    /// What was kept back and is to be told now.
    pub fn due(&mut self, now: Duration) -> Vec<(u64, T)> {
        let mut due = Vec::new();
        self.subjects.retain(|_, told| {
            if now < told.at + Self::EVERY {
                return true;
            }
            let Some(kept) = told.since.take() else { return false };
            due.push(kept);
            told.at = now;
            true
        });
        due
    }
}

/// How many may be told in all: some at once, and then as many as fit into the hour.
#[derive(Debug, Clone)]
pub struct AlertBudget {
    per_hour: u32,
    /// What may be had, in pieces of which one telling takes [`AlertBudget::ONE`].
    left: u64,
    at: Duration,
}

impl AlertBudget {
    /// Tellings that may be made at once.
    pub const AT_ONCE: u32 = 60;
    /// Milliseconds of an hour: each brings as many pieces as there are tellings in an hour.
    const ONE: u64 = 3_600_000;

    /// So many in an hour.
    #[must_use]
    pub fn new(per_hour: u32) -> Self {
        Self { per_hour, left: Self::most(per_hour), at: Duration::ZERO }
    }

    fn most(per_hour: u32) -> u64 {
        u64::from(per_hour.min(Self::AT_ONCE)) * Self::ONE
    }

    /// Takes one, if there is one.
    pub fn take(&mut self, now: Duration) -> bool {
        let waited = crate::time::millis(now.saturating_sub(self.at));
        let came = waited.saturating_mul(self.per_hour.into());
        self.at = self.at.saturating_add(Duration::from_millis(waited));
        self.left = self.left.saturating_add(came).min(Self::most(self.per_hour));
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

    fn tally(good: u64, bad: u64) -> OutcomeCounts {
        OutcomeCounts { good, bad }
    }

    #[test]
    fn too_many_failures_are_told_once_until_it_was_well() {
        let mut watch = FailureMonitor::default();
        assert_eq!(watch.look(tally(0, 9), &HALF, secs(1)), None, "too few to judge");
        assert_eq!(watch.look(tally(0, 1), &HALF, secs(2)), Some(tally(0, 10)));
        assert_eq!(watch.look(tally(0, 500), &HALF, secs(3)), None, "told already");
        assert_eq!(watch.look(tally(700, 0), &HALF, secs(4)), None, "not well yet");
        assert_eq!(watch.look(tally(0, 700), &HALF, secs(5)), None);
        assert_eq!(watch.look(tally(9_000, 0), &HALF, secs(6)), None);
        assert!(!watch.is_raised(), "well");
        assert!(watch.look(tally(0, 90_000), &HALF, secs(7)).is_some(), "and told anew");
    }

    #[test]
    fn what_left_the_window_is_not_judged_any_more() {
        let mut watch = FailureMonitor::default();
        assert_eq!(watch.look(tally(1_000, 0), &HALF, secs(0)), None);
        assert_eq!(watch.look(tally(0, 20), &HALF, secs(200)), None);
        assert_eq!(watch.look(tally(0, 0), &HALF, secs(320)), Some(tally(0, 20)));
        assert_eq!(watch.look(tally(0, 0), &HALF, secs(900)), None);
        assert!(!watch.is_raised(), "with nothing to judge by it begins anew");
    }

    #[test]
    fn a_watch_that_begins_anew_as_told_says_nothing_before_it_was_well() {
        let mut watch = FailureMonitor::default();
        watch.restart(true);
        assert_eq!(watch.look(tally(0, 50), &HALF, secs(1)), None);
        watch.restart(false);
        assert!(watch.look(tally(0, 50), &HALF, secs(2)).is_some());
    }

    #[test]
    fn the_first_is_told_at_once_and_the_rest_of_the_minute_together() {
        let mut collapse = RepeatAggregator::new(2);
        assert_eq!(collapse.happened("a", 1, 'x', secs(0)), Ok(Some((1, 'x'))));
        assert_eq!(collapse.happened("a", 3, 'y', secs(1)), Ok(None));
        assert_eq!(collapse.happened("b", 1, 'b', secs(2)), Ok(Some((1, 'b'))));
        assert_eq!(collapse.happened("a", 4, 'z', secs(59)), Ok(None));
        assert_eq!(collapse.happened("c", 1, 'c', secs(59)), Err(TooManySubjects));
        assert_eq!(collapse.due(secs(59)), []);
        assert_eq!(collapse.due(secs(60)), [(7, 'z')]);
        assert_eq!(collapse.happened("a", 1, 'w', secs(61)), Ok(None), "a new minute began");
        assert_eq!(collapse.due(secs(120)), [(1, 'w')]);
        assert_eq!(collapse.due(secs(180)), [], "a minute with none, and it is forgotten");
        assert_eq!(collapse.happened("c", 2, 'c', secs(181)), Ok(Some((2, 'c'))));
    }

    #[test]
    fn a_budget_is_spent_and_comes_back_by_the_hour() {
        let mut budget = AlertBudget::new(600);
        let at_once = (0..1_000).filter(|_| budget.take(secs(0))).count();
        assert_eq!(at_once, 60);
        assert!(!budget.take(secs(5)) && budget.take(secs(6)) && !budget.take(secs(6)));
        assert!(!AlertBudget::new(0).take(secs(100_000)));
    }

    proptest! {
        #[test]
        fn no_hour_holds_more_than_the_budget_and_what_may_come_at_once(
            per_hour in 0_u32..2_000,
            waits in prop::collection::vec(0_u64..5_000, 1..2_000),
        ) {
            let mut budget = AlertBudget::new(per_hour);
            let (mut now, mut told) = (0, 0_u64);
            for wait in waits {
                now += wait;
                told += u64::from(budget.take(Duration::from_millis(now)));
            }
            let most = u64::from(per_hour) * now / 3_600_000 + u64::from(per_hour.min(AlertBudget::AT_ONCE));
            prop_assert!(told <= most, "{told} of {most}");
        }

        #[test]
        fn a_windows_sum_is_that_of_its_pieces(
            looks in prop::collection::vec((0_u64..40, 0_u64..9, 0_u64..9), 1..200),
        ) {
            let (mut watch, mut now) = (FailureMonitor::default(), 0);
            for (wait, good, bad) in looks {
                now += wait;
                watch.look(tally(good, bad), &HALF, secs(now));
                let mut sum = OutcomeCounts::default();
                watch.pieces.iter().for_each(|(_, piece)| sum.add(*piece));
                prop_assert_eq!(sum, watch.sum);
                prop_assert!(watch.pieces.len() <= BUCKETS as usize + 2);
            }
        }
    }

    #[test]
    fn what_ends_soon_is_told_of_once_a_day() {
        let (hour, day) = (Duration::from_secs(3_600), ExpiryReminder::EVERY);
        let mut expiry = ExpiryReminder::default();
        assert!(!expiry.look(15 * day, 14 * day, hour));
        assert!(expiry.look(14 * day, 14 * day, 24 * hour));
        assert!(!expiry.look(13 * day, 14 * day, 47 * hour));
        assert!(expiry.look(Duration::ZERO, 14 * day, 48 * hour), "also when it is over");
        assert!(!expiry.look(Duration::ZERO, 14 * day, 71 * hour));
        // After a restart time begins anew.
        let mut expiry = ExpiryReminder::default();
        expiry.was_told(20 * hour, Duration::ZERO);
        expiry.was_told(100 * hour, Duration::ZERO);
        assert!(!expiry.look(day, 14 * day, 3 * hour));
        assert!(expiry.look(day, 14 * day, 4 * hour));
    }
}
