//! Schedules: the times of the events that a `[[schedule]]` emits, and those that are still emitted
//! if the hub was not running at their time. Pure: the time is an argument.
//!
//! Not here: the task that waits, and the event itself.

use std::fmt;
use std::time::Duration;

use cronexpr::{Crontab, FallbackTimezoneOption, MakeTimestamp, ParseOptions};
use thiserror::Error;

use crate::time::{Timestamp, millis};
use crate::word_enum;

/// The shortest period of `every`.
pub const PERIOD_MIN: Duration = Duration::from_secs(1);
/// The longest period of `every`.
pub const PERIOD_MAX: Duration = Duration::from_secs(366 * 24 * 60 * 60);
/// Events that one look emits at most. The next look goes on after them.
pub const EVENTS_PER_LOOK: usize = 100;
/// The delay up to which a time counts as kept and not as missed.
pub const TOLERANCE: Duration = Duration::from_secs(60);
/// Longest text of a cron expression, in bytes.
const CRON_BYTES_MAX: usize = 200;

/// A text that gives no times. It is the operator's to correct.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidRecurrence {
    #[error("must be between 1s and 366d")]
    Period,
    #[error("is longer than 200 bytes")]
    TooLong,
    #[error(
        "is not a cron expression such as \"30 9 * * MON-FRI Europe/Berlin\" (minute, hour, day, \
         month, day of the week, time zone; without a zone in UTC): {0}"
    )]
    NotCron(String),
    #[error("never comes: no day of the next four years fits")]
    Never,
}

/// The times of a schedule.
#[derive(Clone)]
pub struct Recurrence(Kind);

#[derive(Clone)]
enum Kind {
    /// In milliseconds. The times are the multiples since 1970-01-01 UTC.
    Every(u64),
    Cron {
        text: Box<str>,
        crontab: Box<Crontab>,
    },
}

word_enum! {
    /// The rule for times that passed while the hub was not running.
    MissedTimes {
        /// One event for all, with the latest time.
        Once = "once",
        /// An event for each.
        All = "all",
        /// No event.
        Skip = "skip",
    }
}

/// The times of events that are due.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DueTimes {
    /// In order.
    pub times: Vec<Timestamp>,
    /// The time up to which everything is emitted or left out, once these are emitted.
    pub until: Timestamp,
}

impl Recurrence {
    /// Every so long, at the multiples of the period since 1970-01-01 UTC: `every = "15m"` is at
    /// :00, :15, :30 and :45.
    ///
    /// # Errors
    /// The period is too short or too long.
    pub fn every(period: Duration) -> Result<Self, InvalidRecurrence> {
        if (PERIOD_MIN..=PERIOD_MAX).contains(&period) {
            Ok(Self(Kind::Every(millis(period))))
        } else {
            Err(InvalidRecurrence::Period)
        }
    }

    /// By a cron expression with five fields and perhaps a time zone. `now` only serves to find out
    /// that no time fits.
    ///
    /// # Errors
    /// It is no cron expression, or no time fits it.
    pub fn cron(text: &str, now: Timestamp) -> Result<Self, InvalidRecurrence> {
        if text.len() > CRON_BYTES_MAX {
            return Err(InvalidRecurrence::TooLong);
        }
        let mut options = ParseOptions::default();
        options.fallback_timezone_option = FallbackTimezoneOption::UTC;
        let crontab = cronexpr::parse_crontab_with(text, options).map_err(|error| {
            let said = error.to_string();
            InvalidRecurrence::NotCron(said.lines().last().unwrap_or_default().trim().to_owned())
        })?;
        let timing = Self(Kind::Cron { text: text.into(), crontab: Box::new(crontab) });
        timing.next(now).map(|_| timing).ok_or(InvalidRecurrence::Never)
    }

    /// The first time after this one; none if there is none within four years.
    #[must_use]
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        match &self.0 {
            Kind::Every(period) => {
                let next = (after.as_millis() / period).checked_add(1)?.checked_mul(*period)?;
                Some(Timestamp::from_millis(next))
            }
            Kind::Cron { crontab, .. } => {
                let after = i64::try_from(after.as_millis()).ok()?;
                let next = crontab.find_next(MakeTimestamp::from_millisecond(after).ok()?).ok()?;
                u64::try_from(next.timestamp().as_millisecond()).ok().map(Timestamp::from_millis)
            }
        }
    }

    /// The latest time that is after `after` and not after `now`.
    fn latest(&self, after: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let mut latest = self.next(after).filter(|next| *next <= now)?;
        if let Kind::Every(period) = &self.0 {
            return Some(Timestamp::from_millis(now.as_millis() / period * period));
        }
        // Looks back twice as far each time, so that few times lie between.
        let mut back = TOLERANCE;
        loop {
            let from = now.before(back).max(after);
            if let Some(found) = self.next(from).filter(|next| *next <= now) {
                latest = found;
                break;
            }
            if from == after {
                break;
            }
            back *= 2;
        }
        while let Some(next) = self.next(latest).filter(|next| *next <= now) {
            latest = next;
        }
        Some(latest)
    }

    /// The times for which events are due, if everything until `last` is done.
    #[must_use]
    pub fn due(&self, missed: MissedTimes, last: Timestamp, now: Timestamp) -> DueTimes {
        let Some(latest) = self.latest(last, now) else {
            return DueTimes { times: Vec::new(), until: last };
        };
        if missed == MissedTimes::All {
            let mut times = Vec::new();
            let mut at = last;
            while let Some(next) = self.next(at).filter(|next| *next <= now) {
                times.push(next);
                at = next;
                if times.len() == EVENTS_PER_LOOK {
                    break;
                }
            }
            return DueTimes { times, until: at };
        }
        let is_kept = now.since(latest) <= TOLERANCE;
        let times = if missed == MissedTimes::Once || is_kept { vec![latest] } else { Vec::new() };
        DueTimes { times, until: latest }
    }
}

impl fmt::Display for Recurrence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Every(period) => {
                let period = crate::units::format_duration(Duration::from_millis(*period));
                write!(f, "every {period}")
            }
            Kind::Cron { text, .. } => f.write_str(text),
        }
    }
}

impl fmt::Debug for Recurrence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recurrence({self})")
    }
}

impl PartialEq for Recurrence {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Kind::Every(one), Kind::Every(two)) => one == two,
            (Kind::Cron { text: one, .. }, Kind::Cron { text: two, .. }) => one == two,
            _ => false,
        }
    }
}

impl Eq for Recurrence {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> Timestamp {
        serde_json::from_value(serde_json::Value::from(text)).unwrap()
    }

    fn cron(text: &str) -> Recurrence {
        Recurrence::cron(text, at("2026-01-01T00:00:00Z")).unwrap()
    }

    fn every(seconds: u64) -> Recurrence {
        Recurrence::every(Duration::from_secs(seconds)).unwrap()
    }

    #[test]
    fn a_period_is_counted_from_the_beginning_of_the_day() {
        let quarter = every(900);
        let next = quarter.next(at("2026-03-01T10:00:00Z"));
        assert_eq!(next, Some(at("2026-03-01T10:15:00Z")));
        assert_eq!(quarter.next(at("2026-03-01T10:14:59.999Z")), next);
    }

    #[test]
    fn a_cron_expression_is_read_in_its_zone() {
        let nine = cron("0 9 * * MON-FRI Europe/Berlin");
        // Friday, before and after the clocks are put forward on 2026-03-29.
        assert_eq!(nine.next(at("2026-03-27T09:00:00Z")), Some(at("2026-03-30T07:00:00Z")));
        assert_eq!(
            cron("0 9 * * *").next(at("2026-03-27T09:00:00Z")),
            Some(at("2026-03-28T09:00:00Z"))
        );
    }

    #[test]
    fn what_gives_no_times_is_refused_with_the_reason() {
        let now = at("2026-01-01T00:00:00Z");
        let refused = |text: &str| Recurrence::cron(text, now).unwrap_err().to_string();
        assert!(refused("every day").starts_with("is not a cron expression"), "{}", refused("x"));
        assert!(refused("* * * * * Mars/Olympus").starts_with("is not a cron expression"));
        assert!(refused("0 0 30 2 *").starts_with("never comes"));
        assert!(refused(&"*".repeat(201)).starts_with("is longer"));
        assert_eq!(Recurrence::every(Duration::from_millis(10)), Err(InvalidRecurrence::Period));
    }

    #[test]
    fn missed_times_are_made_up_for_as_the_rule_says() {
        let daily = cron("0 3 * * *");
        let (last, now) = (at("2026-05-01T03:00:00Z"), at("2026-05-04T09:00:00Z"));
        let days = [2, 3, 4].map(|day| at(&format!("2026-05-0{day}T03:00:00Z")));
        let due = |missed| daily.due(missed, last, now);
        assert_eq!(due(MissedTimes::Once), DueTimes { times: vec![days[2]], until: days[2] });
        assert_eq!(due(MissedTimes::All), DueTimes { times: days.to_vec(), until: days[2] });
        assert_eq!(due(MissedTimes::Skip), DueTimes { times: vec![], until: days[2] });
        let just_now = at("2026-05-04T03:00:01Z");
        assert_eq!(daily.due(MissedTimes::Skip, last, just_now).times, [days[2]]);
    }

    #[test]
    fn a_minute_schedule_that_was_off_for_years_is_found_soon() {
        let minutes = cron("* * * JAN *");
        let (last, now) = (at("2020-01-01T00:00:00Z"), at("2026-12-01T00:00:00Z"));
        let due = minutes.due(MissedTimes::Once, last, now);
        assert_eq!(due.times, [at("2026-01-31T23:59:00Z")]);
        let due = minutes.due(MissedTimes::All, last, now);
        assert_eq!((due.times.len(), due.until), (EVENTS_PER_LOOK, at("2020-01-01T01:40:00Z")));
    }

    proptest! {
        #[test]
        fn looking_often_or_rarely_emits_the_same_times(
            period in 1_u64..5_000,
            begin in 0_u64..1_000_000,
            steps in prop::collection::vec(1_u64..20_000, 1..20),
        ) {
            let timing = every(period);
            let begin = Timestamp::from_millis(begin * 1_000);
            let (mut last, mut now, mut seen) = (begin, begin, Vec::new());
            for step in steps {
                now = now.after(Duration::from_secs(step));
                loop {
                    let due = timing.due(MissedTimes::All, last, now);
                    last = due.until;
                    if due.times.is_empty() {
                        break;
                    }
                    seen.extend(due.times);
                }
            }
            let period = period * 1_000;
            let first = begin.as_millis() / period + 1;
            let wanted: Vec<_> = (first..=now.as_millis() / period)
                .map(|n| Timestamp::from_millis(n * period))
                .collect();
            prop_assert_eq!(seen, wanted);
        }

        #[test]
        fn one_event_is_emitted_for_all_that_was_missed(
            period in 1_u64..5_000,
            begin in 0_u64..1_000_000,
            off in 1_u64..10_000_000,
        ) {
            let timing = every(period);
            let begin = Timestamp::from_millis(begin * 1_000);
            let now = begin.after(Duration::from_secs(off));
            let due = timing.due(MissedTimes::Once, begin, now);
            prop_assert!(due.times.len() <= 1);
            prop_assert_eq!(timing.due(MissedTimes::Once, due.until, now).times, vec![]);
            if let Some(time) = due.times.first() {
                prop_assert!(*time > begin && *time <= now);
            }
        }
    }
}
