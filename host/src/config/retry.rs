//! `retry` tables: the keys of one table over those of its default, and the resulting policy.

use std::time::Duration;

use weir_core::retry::{Backoff, InvalidRetryPolicy, RetryPolicy};

use super::tree::Section;

const SCHEDULE_MAX: usize = 100;
const ATTEMPTS_MAX: u32 = 1_000;

/// The keys of a `retry` table; each may be absent.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct RawRetry {
    first: Option<Duration>,
    factor: Option<f64>,
    max: Option<Duration>,
    schedule: Option<Vec<Duration>>,
    jitter: Option<f64>,
    max_attempts: Option<u32>,
    window: Option<Duration>,
}

/// The invalid key of a policy and the reason.
pub(super) type InvalidSetting = (&'static str, String);

impl RawRetry {
    /// Reads the whole table.
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let grows = ["first", "factor", "max"].iter().any(|key| section.has(key));
        let raw = Self {
            first: section.maybe("first"),
            factor: section.maybe("factor"),
            max: section.maybe("max"),
            // A default schedule is overridden by growing waits.
            schedule: section.list("schedule").filter(|_| !grows),
            jitter: section.maybe("jitter"),
            max_attempts: section.maybe("max_attempts"),
            window: section.maybe("window"),
        };
        if section.has("schedule") && grows {
            section.problem("schedule", "either a schedule, or first, factor and max, not both");
        }
        if raw.schedule.as_ref().is_some_and(|list| list.len() > SCHEDULE_MAX) {
            section.problem("schedule", format!("lists more than {SCHEDULE_MAX} delays"));
        }
        if raw.max_attempts.is_some_and(|n| n > ATTEMPTS_MAX) {
            section.problem("max_attempts", format!("must be at most {ATTEMPTS_MAX}"));
        }
        section.finish();
        raw
    }

    /// The keys of this table, completed from `below`. There is one kind of waits: a schedule here
    /// removes growing waits below, and the reverse.
    pub(super) fn over(&self, below: &Self) -> Self {
        let grows = self.first.is_some() || self.factor.is_some() || self.max.is_some();
        let jitter = self.jitter.or(below.jitter);
        let max_attempts = self.max_attempts.or(below.max_attempts);
        let window = self.window.or(below.window);
        if self.schedule.is_some() {
            let schedule = self.schedule.clone();
            return Self { schedule, jitter, max_attempts, window, ..Self::default() };
        }
        Self {
            first: self.first.or(below.first),
            factor: self.factor.or(below.factor),
            max: self.max.or(below.max),
            schedule: if grows { None } else { below.schedule.clone() },
            jitter,
            max_attempts,
            window,
        }
    }

    /// This table, with missing keys of growing waits from `other`.
    pub(super) fn growing_as(self, other: &Self) -> Self {
        if self.schedule.is_some() {
            return self;
        }
        Self {
            first: self.first.or(other.first),
            factor: self.factor.or(other.factor),
            max: self.max.or(other.max),
            ..self
        }
    }

    /// The policy, or the invalid key.
    pub(super) fn policy(&self) -> Result<RetryPolicy, InvalidSetting> {
        let missing = |key| (key, "is missing".to_owned());
        let backoff = match &self.schedule {
            Some(list) => Backoff::List(list.clone()),
            None => Backoff::Exponential {
                first: self.first.ok_or_else(|| missing("first"))?,
                factor: self.factor.ok_or_else(|| missing("factor"))?,
                max: self.max.ok_or_else(|| missing("max"))?,
            },
        };
        let max_attempts = self.max_attempts.ok_or_else(|| missing("max_attempts"))?;
        let jitter = self.jitter.ok_or_else(|| missing("jitter"))?;
        let policy = RetryPolicy::try_new(backoff, max_attempts, jitter)
            .map_err(|error| invalid_setting(&error))?;
        Ok(match self.window {
            Some(window) => policy.within(window),
            None => policy,
        })
    }
}

fn invalid_setting(error: &InvalidRetryPolicy) -> InvalidSetting {
    use weir_core::units::format_duration as show;
    match error {
        InvalidRetryPolicy::NoAttempts => ("max_attempts", "must be at least 1".into()),
        InvalidRetryPolicy::Factor(factor) => {
            ("factor", format!("must be at least 1, not {factor}: waits must not become shorter"))
        }
        InvalidRetryPolicy::MaxBelowFirst { first, max } => {
            ("max", format!("{} is shorter than first ({})", show(*max), show(*first)))
        }
        InvalidRetryPolicy::EmptyList => ("schedule", "must list at least one delay".into()),
        InvalidRetryPolicy::Jitter(share) => {
            ("jitter", format!("must be between 0 and 1, not {share}"))
        }
    }
}
