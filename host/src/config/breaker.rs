//! `breaker` tables: the keys of one table over those of its default, and the resulting policy.

use std::time::Duration;

use weir_core::breaker::{BreakerPolicy, InvalidBreakerPolicy};

use super::retry::InvalidSetting;
use super::tree::Section;
use weir_core::units::format_duration as show;

/// The keys of a `breaker` table; each may be absent.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct RawBreaker {
    window: Option<Duration>,
    min_attempts: Option<u32>,
    failure_rate: Option<f64>,
    pause: Option<Duration>,
    max_pause: Option<Duration>,
}

impl RawBreaker {
    /// Reads the whole table.
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let raw = Self {
            window: section.maybe("window"),
            min_attempts: section.maybe("min_attempts"),
            failure_rate: section.maybe("failure_rate"),
            pause: section.maybe("pause"),
            max_pause: section.maybe("max_pause"),
        };
        section.finish();
        raw
    }

    /// The keys of this table, completed from `below`.
    pub(super) fn over(&self, below: &Self) -> Self {
        Self {
            window: self.window.or(below.window),
            min_attempts: self.min_attempts.or(below.min_attempts),
            failure_rate: self.failure_rate.or(below.failure_rate),
            pause: self.pause.or(below.pause),
            max_pause: self.max_pause.or(below.max_pause),
        }
    }

    /// The policy, or the invalid key.
    pub(super) fn policy(&self) -> Result<BreakerPolicy, InvalidSetting> {
        let missing = |key| (key, "is missing".to_owned());
        let window = self.window.ok_or_else(|| missing("window"))?;
        let min_attempts = self.min_attempts.ok_or_else(|| missing("min_attempts"))?;
        let failure_rate = self.failure_rate.ok_or_else(|| missing("failure_rate"))?;
        let pause = self.pause.ok_or_else(|| missing("pause"))?;
        let max_pause = self.max_pause.ok_or_else(|| missing("max_pause"))?;
        BreakerPolicy::try_new(window, min_attempts, failure_rate, (pause, max_pause))
            .map_err(|error| invalid_setting(&error))
    }
}

fn invalid_setting(error: &InvalidBreakerPolicy) -> InvalidSetting {
    match error {
        InvalidBreakerPolicy::Window => ("window", "must be at least 10ms".into()),
        InvalidBreakerPolicy::NoAttempts => ("min_attempts", "must be at least 1".into()),
        InvalidBreakerPolicy::Rate(rate) => {
            ("failure_rate", format!("must be above 0 and at most 1, not {rate}"))
        }
        InvalidBreakerPolicy::MaxBelowFirst { first, max } => {
            ("max_pause", format!("{} is shorter than pause ({})", show(*max), show(*first)))
        }
    }
}
