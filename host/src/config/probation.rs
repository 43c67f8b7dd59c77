//! `probation` tables: the keys of one table over those of its default, and the resulting policy.

use std::time::Duration;

use weir_core::probation::{InvalidProbationPolicy, ProbationPolicy};

use super::retry::InvalidSetting;
use super::tree::Section;

/// The probation of the new versions of a handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbationSetting {
    /// A new version replaces the old one at once.
    Off,
    On(ProbationPolicy),
}

impl ProbationSetting {
    /// The limits; none if it is off.
    #[must_use]
    pub const fn policy(&self) -> Option<&ProbationPolicy> {
        match self {
            Self::Off => None,
            Self::On(policy) => Some(policy),
        }
    }
}

/// The keys of a `probation` table; each may be absent.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct RawProbation {
    enabled: Option<bool>,
    runs: Option<u32>,
    time: Option<Duration>,
    strikes: Option<u32>,
}

impl RawProbation {
    /// Reads the whole table.
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let raw = Self {
            enabled: section.maybe("enabled"),
            runs: section.maybe("runs"),
            time: section.maybe("time"),
            strikes: section.maybe("strikes"),
        };
        section.finish();
        raw
    }

    /// The keys of this table, completed from `below`.
    pub(super) fn over(&self, below: &Self) -> Self {
        Self {
            enabled: self.enabled.or(below.enabled),
            runs: self.runs.or(below.runs),
            time: self.time.or(below.time),
            strikes: self.strikes.or(below.strikes),
        }
    }

    /// The setting, or the invalid key.
    pub(super) fn setting(&self) -> Result<ProbationSetting, InvalidSetting> {
        let missing = |key| (key, "is missing".to_owned());
        let enabled = self.enabled.ok_or_else(|| missing("enabled"))?;
        let runs = self.runs.ok_or_else(|| missing("runs"))?;
        let time = self.time.ok_or_else(|| missing("time"))?;
        let strikes = self.strikes.ok_or_else(|| missing("strikes"))?;
        let policy = ProbationPolicy::try_new(runs, time, strikes).map_err(|error| {
            let key = match error {
                InvalidProbationPolicy::NoRuns => "runs",
                InvalidProbationPolicy::NoTime => "time",
                InvalidProbationPolicy::Strikes(_) => "strikes",
            };
            let what = error.to_string();
            (key, what.strip_prefix(key).unwrap_or(&what).trim().to_owned())
        })?;
        Ok(if enabled { ProbationSetting::On(policy) } else { ProbationSetting::Off })
    }
}
