//! `retry` tables: what one says, laid over what holds otherwise, and the policy that comes of both.

use std::time::Duration;

use weir_core::retry::{Backoff, InvalidRetryPolicy, RetryPolicy};

use super::tree::Section;

/// Most delays of a schedule.
const SCHEDULE_MAX: usize = 100;
/// Most attempts of one delivery.
const ATTEMPTS_MAX: u32 = 1_000;

/// What a `retry` table says, each part perhaps nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct RawRetry {
    first: Option<Duration>,
    factor: Option<f64>,
    max: Option<Duration>,
    schedule: Option<Vec<Duration>>,
    jitter: Option<f64>,
    max_attempts: Option<u32>,
}

/// Why a policy cannot be made, and which key of the table says so.
pub(super) type InvalidSetting = (&'static str, String);

impl RawRetry {
    /// Reads a table and ends its reading.
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let grows = ["first", "factor", "max"].iter().any(|key| section.has(key));
        let raw = Self {
            first: section.maybe("first"),
            factor: section.maybe("factor"),
            max: section.maybe("max"),
            // A schedule may come of the defaults; growing waits that are said here replace it.
            schedule: section.list("schedule").filter(|_| !grows),
            jitter: section.maybe("jitter"),
            max_attempts: section.maybe("max_attempts"),
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

    /// What this says, and where it says nothing, what `below` says. Waits are of one kind: a schedule here
    /// leaves no growing waits below it, and the other way round.
    pub(super) fn over(&self, below: &Self) -> Self {
        let grows = self.first.is_some() || self.factor.is_some() || self.max.is_some();
        let jitter = self.jitter.or(below.jitter);
        let max_attempts = self.max_attempts.or(below.max_attempts);
        if self.schedule.is_some() {
            let schedule = self.schedule.clone();
            return Self { schedule, jitter, max_attempts, ..Self::default() };
        }
        Self {
            first: self.first.or(below.first),
            factor: self.factor.or(below.factor),
            max: self.max.or(below.max),
            schedule: if grows { None } else { below.schedule.clone() },
            jitter,
            max_attempts,
        }
    }

    /// This, and where its waits grow but it does not say how, as `other` has it.
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

    /// The policy, or the key that stands against it.
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
        RetryPolicy::try_new(backoff, max_attempts, jitter).map_err(|error| invalid_setting(&error))
    }
}

fn invalid_setting(error: &InvalidRetryPolicy) -> InvalidSetting {
    use weir_core::units::format_duration as show;
    match error {
        InvalidRetryPolicy::NoAttempts => ("max_attempts", "must be at least 1".into()),
        InvalidRetryPolicy::Factor(factor) => {
            ("factor", format!("must be at least 1, not {factor}: waits may not shrink"))
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
